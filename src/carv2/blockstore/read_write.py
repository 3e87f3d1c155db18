"""Streaming blocks into an archive, for hours, through crashes; reading them back at any time.

A CARv2 under construction is a pragma, a header, and a payload that grows. A checkpoint makes the sections durable
first and the header, which promises them, second; so the file is a valid CARv2 after each one, for every reader.

Sources: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); go-car's ``blockstore.ReadWrite``,
whose unfinished files are gone on with.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Literal

from carv2 import _varint, multihash
from carv2._ahead import RightAhead
from carv2._finder import BlockFinder, Found
from carv2._scan import SectionScanner, batches
from carv2._storefile import StoreFile, in_few_pieces
from carv2.blockstore._checkpoints import Checkpoints
from carv2.blockstore._kept_index import is_as_wanted, take_over
from carv2.blockstore._mapping import ReadsOneByOne
from carv2.blockstore._settings import Settings, as_in_the_file
from carv2.blockstore._written import MAX_KINDS, PACK_FROM
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, ClosedError, FinalizedError, IndexMismatchError, LimitError
from carv2.header import PRAGMA, SIZE, CarV1Header
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.section import Block, BlockChecker
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, TypeAlias

    from carv2._storefile import WritableSource
    from carv2.blockstore._recovery import Recovery
    from carv2.blockstore._settings import Durability
    from carv2.blockstore._written import Written
    from carv2.cid import CIDLike
    from carv2.header import CarV2Header

    _Kind: TypeAlias = "tuple[int, Callable[[bytes], multihash.HashObject] | None]"

__all__ = ["PLACEHOLDER_ROOT", "ReadWriteBlockstore"]

PLACEHOLDER_ROOT = CID.of_data(b"", codec="dag-pb")
"""A root to begin with where the real one is known at the end: it takes as many bytes as most CIDs do."""

_FLUSH_SIZE = 256 << 10
_COPY_BELOW = 4096  # a smaller block is cheaper to join to its head than to keep beside it
_ALL = 1 << 63
_varint_of = functools.lru_cache(_COPY_BELOW)(_varint.encode)


class ReadWriteBlockstore(ReadsOneByOne):
    """An archive that blocks are put into and read from at once. Make one with :meth:`create` or :meth:`resume`.

    One lock covers each call as a whole: threads may share a store, a reader sees every block whose put returned.
    One process at a time has the file: a second writer gets :class:`LockedError`.

    As a context manager it finalizes on success, and leaves a file that can be resumed on an exception.

    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "sea.car")
    >>> cid = CID.of_data(b"fish")
    >>> with ReadWriteBlockstore.create(path, [cid]) as store:
    ...     store.put(cid, b"fish"), store[cid]
    (True, b'fish')
    >>> with ReadWriteBlockstore.resume(path, [cid]) as store:
    ...     store.recovery.state, store.put(cid, b"fish"), len(store)
    ('finalized', False, 1)
    >>> folder.cleanup()
    """

    def __init__(
        self, file: WritableSource, header: CarV1Header, settings: Settings, written: Written, *, payload: int
    ) -> None:
        self.recovery: Recovery | None = None
        """What :meth:`resume` found; None in a file that was created."""
        self._file, self._header, self._payload, self._written = file, header, payload, written
        self._version = 1 if payload == 0 else 2
        self._settings, self._limits = settings, settings.limits
        self._store_identity = settings.store_identity
        self._flushes_each_put = settings.durability == "each-put"
        self._deduplicates = settings.deduplicate is not None
        self._checker = BlockChecker() if settings.verify else None
        self._ahead = RightAhead(verify=settings.verify)
        self._kinds: dict[bytes, _Kind] = {}  # by all of a CID but its last 32 bytes
        self._lock = threading.RLock()
        written.cid_at = lambda offset: self._found_at(offset).cid
        self._pending: list[bytes] = []  # written by the caller, not to the file
        self._finalized = self._closed = False
        self._finished: CarV2Header | None = None  # of a finished archive that nothing was put into yet
        self._begin_at(len(header.to_bytes()), len(header.to_bytes()))
        self._checkpoints = Checkpoints(file, settings, payload=payload)

    def _begin_at(self, first: int, end: int) -> None:
        """Set where the sections start and where the next one goes, as payload offsets."""
        self._first: int = first
        self._end: int = end
        self._on_file: int = end  # payload offset where what is pending belongs
        self._finder = BlockFinder(self._file, self._payload, first, _ALL, self._limits)

    # -- making one -----------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        roots: Iterable[CIDLike] = (),
        *,
        version: int = 2,
        data_padding: int = 0,
        index_padding: int = 0,
        index_codec: int = CAR_MULTIHASH_INDEX_SORTED,
        deduplicate: Literal["multihash", "cid"] | None = "multihash",
        store_identity: bool = False,
        verify: bool = True,
        durability: Durability = "flush",
        max_memory: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> ReadWriteBlockstore:
        """Create an archive at ``path``.

        Args:
            path: where; must not exist.
            roots: for the header; :data:`PLACEHOLDER_ROOT` where the root comes last (:meth:`finalize`).
            version: 2, or 1 for a CARv1, which is whole after each write and gets no index.
            data_padding: zero bytes between a CARv2's header and its payload.
            index_padding: zero bytes between payload and index.
            index_codec: 0x0401 or 0x0400.
            deduplicate: a block is the same as another by its whole multihash, by its whole CID, or never (None).
            store_identity: write identity CIDs too, and list them in the index (go-car's StoreIdentityCIDs);
                otherwise they are answered from the CID itself and never written.
            verify: check what is put, and what is read, against its hash.
            durability: when bytes are made durable without being asked to: ``"none"`` never, not by :meth:`flush`
                either; ``"flush"`` by :meth:`flush` and :meth:`finalize`; ``"each-put"`` by each put too.
            max_memory: bytes that keeping track of blocks may take; beyond half of it goes to temporary files.
                None: 50 to 75 bytes a block.
            limits: what could not be read back with the same limits is refused.

        Raises:
            FileExistsError: ``path`` exists.
            LimitError: the header is larger than the limits.
            ValueError: a version that there is not, or padding below 0 bytes.
        """
        settings = Settings(
            index_padding=index_padding,
            index_codec=index_codec,
            deduplicate=deduplicate,
            store_identity=store_identity,
            verify=verify,
            durability=durability,
            max_memory=max_memory,
            limits=limits,
        )
        if version not in {1, 2}:
            raise ValueError(f"CAR version {version}, supported: 1 and 2")
        if data_padding < 0:
            raise ValueError(f"data padding of {data_padding} bytes")
        header = CarV1Header(tuple(map(CID.of, roots)))
        front, raw = b"" if version == 1 else PRAGMA + bytes(SIZE + data_padding), header.to_bytes()
        if len(raw) > limits.header:
            raise LimitError("header", found=len(raw), allowed=limits.header, position=len(front))
        file = StoreFile.create(path, front + raw, sync=settings.durability != "none")
        return cls(file, header, settings, settings.written(), payload=len(front))

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        roots: Iterable[CIDLike] | None = None,
        *,
        version: int | None = None,
        data_padding: int | None = None,
        index_padding: int | None = None,
        index_codec: int | None = None,
        deduplicate: Literal["multihash", "cid"] | None = "multihash",
        store_identity: bool | None = None,
        verify: bool = True,
        durability: Durability = "flush",
        max_memory: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        null_padding: bool = False,
        check_promised: bool = False,
        on_bytes: Callable[[int], object] | None = None,
    ) -> ReadWriteBlockstore:
        """Go on with the archive at ``path``: one that was not finished, whoever wrote it, or a finished one.

        Kept is what its header promises, and behind that each section that is whole and has the right hash, up to
        the first that is not. In a CARv1, and in a CARv2 with a header of zeros, nothing is promised and all is
        hashed. What follows is cut off: a torn section, zeros after a power cut, an index. ``store.recovery`` says
        what was found. Nothing is changed before all of that is known. The index of a finished archive is held
        against the sections; if it is right it is kept, in a temporary file, and old blocks take no memory.

        Args:
            path: the archive; must exist.
            roots: must be those of the file, in any order; None takes them as they are.
            version: must be the file's; None takes it as it is.
            data_padding: likewise.
            index_padding, index_codec, store_identity: None leaves them as the header and the index of the file
                have them; one that says nothing of them has those of :meth:`create`.
            check_promised: hash what the header promises too.
            verify: if False, whole sections whose hash function is not available here are kept too.
            null_padding: take a zero-length section for the end of the sections; new ones go over the padding.
            on_bytes: called with the bytes of sections that are looked over, some thousands of sections at a time.

        The other arguments are those of :meth:`create`; nothing in the file says what they were the last time.

        Raises:
            FileNotFoundError: there is no such file.
            LockedError: another writer has it.
            ResumeError: it is not the archive that the arguments describe.
            FormatError: it is not an archive, or damaged where it promises not to be. Like all of these, that
                leaves the file as it is: :func:`carv2.salvage` saves what it can.
        """
        expected = None if roots is None else tuple(map(CID.of, roots))
        file = StoreFile.resume(path)
        try:
            settings = Settings(
                **as_in_the_file(file, index_padding, index_codec, store_identity),
                deduplicate=deduplicate,
                verify=verify,
                durability=durability,
                max_memory=max_memory,
                limits=limits,
            )
            how = {"null_padding": null_padding, "check_promised": check_promised, "keep_unknown": not verify}
            store, found = cls._over(file, settings, settings.written(), on_bytes=on_bytes, **how)
            found.require(expected, version, data_padding)
            store._go_on(found)
        except BaseException:
            file.close()
            raise
        return store

    @classmethod
    def _over(
        cls, file: WritableSource, settings: Settings, written: Written, **how: Any
    ) -> tuple[ReadWriteBlockstore, Recovery]:
        """A store over what is in ``file``, and what that is; the file is not changed yet."""
        found = take_over(file, settings, written, **how)
        return cls(file, found.payload_header, settings, written, payload=found.payload_position), found

    def _go_on(self, found: Recovery) -> None:
        self.recovery = found
        self._begin_at(found.first_section, found.kept_end - self._payload)
        header = found.header
        if header is not None:
            self._checkpoints.synced = min(found.promised_end, found.kept_end) - self._payload
            if found.kept_end <= found.promised_end:
                self._checkpoints.promised = self._end
            if found.index_kept:
                self._finished = header
                return
            if header.has_index or found.kept_end < found.promised_end:
                self._checkpoints.write_header(self._end, 0)  # no longer promise what is about to go
        self._cut()

    def _cut(self) -> None:
        if self._file.size > self._payload + self._end:
            self._file.truncate(self._payload + self._end)
            self._checkpoints.sync(self._end)

    def _reopen(self) -> None:
        """Take the index off a finished archive, the promise of it first."""
        if self._finished is not None:
            self._checkpoints.write_header(self._on_file, 0)
            self._file.truncate(self._payload + self._on_file)
            self._checkpoints.sync(self._on_file)
            self._finished = None

    # -- putting ----------------------------------------------------------------------------------------------

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block; whether it was new. Readers see it at once; durable is what a flush has acknowledged.

        Raises:
            IntegrityError: ``data`` are not what ``cid`` names.
            LimitError: the section or the CID is too large; like all of these, nothing was written then.
            FinalizedError, ClosedError: it is too late.
            OSError: the file cannot be written; the block was not stored, or is not yet durable as each put should
                be. Put it again.
        """
        with self._lock:
            stored = self._put(cid, data, False)
            if self._flushes_each_put:
                self._flush_each_put()
            return stored

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]], /) -> int:
        """Store each (CID, data) pair, up to the first that fails; how many were new.

        Large blocks are asked for some ahead, and hashed in a thread for each processor.
        """
        try:
            return sum(self._ahead.each(self._put_alone, blocks))
        finally:
            if self._flushes_each_put:
                with self._lock:
                    self._flush_each_put()

    def _put_alone(self, cid: CIDLike, data: bytes, is_right: bool) -> bool:
        with self._lock:
            return self._put(cid, data, is_right)

    def _flush_each_put(self) -> None:
        if self._checkpoints.promised != self._end and not self._closed:
            self.flush()

    def _put(self, cid: CIDLike, data: bytes, is_right: bool) -> bool:
        if self._closed or self._finalized:
            self._refuse_if_over()
        raw = cid.raw if isinstance(cid, CID) else bytes(CID.of(cid))
        key_start, make = self._kinds.get(raw[:-32]) or self._kind_of(raw)
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if key_start < 0:
            if self._checker is not None:
                self._checker.check(raw, data, position=self._payload + self._end)
            return False
        size = len(raw) + len(data)
        if size > self._limits.section or len(raw) > self._limits.cid:
            raise self._too_large(len(raw), size)
        if self._checker is not None and not is_right and (make is None or make(data).digest() != raw[-32:]):
            self._checker.check(raw, data, position=self._payload + self._end)
        key, written = raw[key_start:], self._written
        if not written.is_whole:
            self._learn_again()
        recent, (older, mask) = written.recent, written.hints
        if self._deduplicates and (key in recent or (older[hash(key) & mask] and written.find_older(key))):
            return False
        if self._end - self._on_file > _FLUSH_SIZE:
            self._write_pending()
        if written.is_bounded or len(recent) >= PACK_FROM:
            written.make_room()
        head = _varint_of(size)
        end = self._end  # a signal's handler may get in between any two of these steps, and use the store or raise
        if size < _COPY_BELOW:
            self._pending.append(head + raw + data)
        else:
            self._pending += (head + raw, data)
        if recent.setdefault(key, end) != end:
            written.add(key, end)
        self._end = end + len(head) + size
        return True

    def _kind_of(self, raw: bytes) -> _Kind:
        """Where a CID's key starts, -1 if it is not written at all, and how its hash is made."""
        cid = CID.trusted(raw)
        if cid.is_identity and not self._store_identity:
            return -1, None
        key_start = 0 if self._settings.deduplicate == "cid" else len(raw) - len(cid.multihash)
        make = multihash.constructor(cid.hash_code, cid.parts.digest_size) if len(cid.digest) == 32 else None
        if make is not None and len(self._kinds) < MAX_KINDS:
            self._kinds[raw[:-32]] = key_start, make
        return key_start, make

    def _too_large(self, cid_size: int, size: int) -> LimitError:
        position = self._payload + self._end
        if cid_size > self._limits.cid:
            return LimitError("cid", found=cid_size, allowed=self._limits.cid, position=position)
        return LimitError("section", found=size, allowed=self._limits.section, position=position)

    def _refuse_if_over(self) -> None:
        if self._closed:
            raise ClosedError("the blockstore was closed")
        if self._finalized:
            raise FinalizedError("the archive was finalized")

    def _write_pending(self) -> None:
        if self._pending:
            self._reopen()
            self._checkpoints.check_length(self._on_file)
            start, many, size = self._on_file, len(self._pending), 0
            for data in in_few_pieces(self._pending[:many]):
                self._file.write_at(self._payload + start + size, data)
                size += len(data)
            if self._on_file == start:  # else a signal's handler wrote the same, and maybe more
                self._on_file += size
                del self._pending[:many]
        if self._on_file != self._end:  # something from outside, as Ctrl-C, came between two steps of a put
            self._written.is_whole = False
            self._end = self._on_file
            self._learn_again()

    def _learn_again(self) -> None:
        """Find out from the file what has been written."""
        if self._pending:
            self._write_pending()
        span = self._payload + self._first, self._payload + self._on_file
        self._written.learn(self._file, *span, payload=self._payload, limits=self._limits)

    # -- making it last -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """A checkpoint: make all blocks durable, then the header that promises them.

        When it returns, a crash of the process, the machine or its power loses none of them, and the file is a
        valid archive up to here (with ``durability="none"`` only a crash of the process is covered).

        Raises:
            OSError: that did not work out; nothing is lost that was promised before, and it may be tried again.
        """
        with self._lock:
            self._refuse_if_over()
            self._checkpoint()

    def _checkpoint(self) -> None:
        self._write_pending()
        if self._finished is None:
            self._checkpoints.promise(self._end)

    def finalize(self, roots: Iterable[CIDLike] | None = None) -> None:
        """A checkpoint, then the index, then the header that names it; the store stays readable.

        A crash in between leaves a valid CARv2 without an index, which can be resumed.

        Args:
            roots: replace the header's roots, which must take as many bytes; None leaves them.

        Raises:
            ValueError: the header with the new roots has another size; nothing was done.
            FinalizedError: called before.
        """
        with self._lock:
            self._refuse_if_over()
            header = self._header if roots is None else CarV1Header(tuple(map(CID.of, roots)))
            raw = header.to_bytes()
            if roots is not None and len(raw) != self._first:
                why = f"current header size ({self._first}) must match replacement header size ({len(raw)})"
                raise ValueError(why)
            self._checkpoint()
            if roots is not None and raw != self._header.to_bytes():
                self._file.write_at(self._payload, raw)
                self._header = header
                self._checkpoints.sync(self._end)
            as_it_was = is_as_wanted(self._finished, self._settings, self._written, self._file.size)
            if self._version == 2 and not as_it_was:
                self._reopen()
                try:
                    self._write_index()
                except BaseException:
                    self._checkpoints.promised = -1
                    with contextlib.suppress(OSError):
                        self._checkpoint()
                    raise
            self._finalized = True

    def _write_index(self) -> None:
        written = self._known()
        position = start = self._payload + self._end
        position += self._settings.index_padding
        self._file.truncate(position)  # with zeros
        for chunk in written.index_chunks(self._settings.index_codec, identity=self._store_identity):
            self._file.write_at(position, chunk)
            position += len(chunk)
        self._file.truncate(position)
        self._checkpoints.sync(self._end)
        self._checkpoints.write_header(self._end, start + self._settings.index_padding)

    def close(self) -> None:
        """Flush if there is something to, and let go of the file, which can be resumed; may be called twice.

        Raises:
            OSError: flushing did not work out; the file was let go of all the same.
        """
        with self._lock:
            try:
                if not self._closed and not self._finalized:
                    self._checkpoint()
            finally:
                self._let_go()

    def discard(self) -> None:
        """Let go of the file as it is: what was flushed stays, the rest may be lost; may be called twice."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._closed = True
        self._pending = []
        try:
            self._written.close()
        finally:
            self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._closed and not self._finalized:
                self.finalize()
        finally:
            self.close()

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def roots(self) -> tuple[CID, ...]:
        """The header's roots."""
        return self._header.roots

    def _found_at(self, offset: int) -> Found:
        if offset >= self._on_file:
            self._write_pending()
        return self._finder.at(offset)

    def _known(self) -> Written:
        """What is known of the blocks, all of it."""
        if self._closed:
            raise ClosedError("the blockstore was closed")
        if not self._written.is_whole:
            self._learn_again()
        return self._written

    def _find(self, wanted: CID) -> Found:
        written, raw = self._known(), bytes(wanted)
        key = written.key_of(raw)
        offset = written.find(key)
        if offset is not None and offset >= self._on_file:
            self._write_pending()
            offset = written.find(key)
        if offset is None:
            raise BlockNotFoundError(wanted)
        found = self._found_at(offset)
        if found.cid != raw and written.key_of(found.cid) != key:
            why = f"{wanted.short()} was written where {CID.trusted(found.cid).short()} is now"
            raise IndexMismatchError(why, cid=wanted, position=found.position)
        return found

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        if wanted.is_identity and not self._store_identity:
            return wanted.digest
        with self._lock:
            return self._finder.data_of(self._find(wanted), verify=self._settings.verify)

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block."""
        wanted = CID.of(cid)
        if wanted.is_identity and not self._store_identity:
            return len(wanted.digest)
        with self._lock:
            return self._find(wanted).size

    def __iter__(self) -> Iterator[CID]:
        """The CIDs in the order of the file; those that are put meanwhile may come too."""
        at = self._first
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError("the blockstore was closed")
                if at >= self._end:
                    return
                self._write_pending()
                end = self._end
            scanner = SectionScanner(self._limits)
            for batch in batches(self._file, self._payload + at, self._payload + end, scanner, bodies=False):
                for cid, _, _ in batch.entries:
                    yield CID.trusted(cid)
            at = end

    def blocks(self) -> Iterator[Block]:
        """The blocks in the order of the file, checked."""
        for cid in self:
            yield Block(cid, self[cid])

    def __len__(self) -> int:
        with self._lock:
            return self._known().count
