"""One retrieval: the blocks of a DAG as they come in, into an archive that can be gone on with at any time.

What is checked when. Each block is held against its hash before it is stored. Whether the DAG has it cannot be
said at once for every stream: one that sends children first proves itself with its last block. So by default all
sound blocks are kept, up to ``max_bytes`` and ``max_blocks``; :meth:`Retrieval.check` walks down from the root,
names what is missing and counts what does not belong; and an export takes what belongs, nothing else. With
``only_linked`` a block is kept only if the root, or a block that is there, links to it: that suits streams that
send parents first, as Lotus and trustless gateways do.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._atomic import unlink
from carv2.cid import CID
from carv2.decoder import CarDecoder
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    FormatError,
    IncompleteError,
    IntegrityError,
    StateError,
)
from carv2.imports._damage import check_file
from carv2.imports._linked import Linked
from carv2.imports._retrieval_store import open_store, rebuild
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Generator, Iterable
    from types import TracebackType

    from carv2.blockstore import ReadWriteBlockstore
    from carv2.cid import CIDLike
    from carv2.imports._damage import RetrievalCheck
    from carv2.section import Block
    from carv2.units import Limits

__all__ = ["MAX_BLOCKS", "MAX_BYTES", "MAX_LINKS", "Received", "Retrieval"]

MAX_BYTES = 64 << 30
"""Of the blocks of a retrieval, unless told otherwise: as the largest sector, and so the largest piece, of
Filecoin."""

MAX_BLOCKS = 1 << 23
"""The same for their number; a file of 64 GiB has a 32nd of that."""

MAX_LINKS = 1 << 20
"""Different CIDs that ``only_linked`` remembers, unless told otherwise: 120 MB, and four times the links of a file
of 64 GiB."""

CHECKPOINT = 16 << 20
"""Bytes of new blocks after which they are made durable without being asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What came in."""

    block_count: int
    """Blocks that came, in all."""
    new_count: int
    """Those that were not there before."""
    known_count: int
    """Those that were, and identity CIDs, which are never stored."""
    left_out_count: int
    """Those that ``only_linked`` left out."""
    new_bytes: int
    """CIDs and data of the new ones."""

    def since(self, earlier: Received) -> Received:
        """What came after ``earlier``."""
        return Received(
            block_count=self.block_count - earlier.block_count,
            new_count=self.new_count - earlier.new_count,
            known_count=self.known_count - earlier.known_count,
            left_out_count=self.left_out_count - earlier.left_out_count,
            new_bytes=self.new_bytes - earlier.new_bytes,
        )


class Retrieval:
    """A retrieval under way, made by :meth:`Retrievals.start`, fed by one thread, and closed by ``with``.

    Closing keeps what is there, and so does a crash, up to the last :meth:`flush` at least; there is one by itself
    after every 16 MiB and at the end of each stream. Only :meth:`finish` ends a retrieval.

    >>> import carv2, tempfile
    >>> from carv2.imports import Retrievals
    >>> root = CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([root], [(root, b"fish")]))
    >>> with tempfile.TemporaryDirectory() as folder, Retrievals(folder).start(root, id="sea") as retrieval:
    ...     received = retrieval.receive([archive[:50], archive[50:]])
    ...     received.new_count, root in retrieval, retrieval.finish().complete
    (1, True, True)
    """

    def __init__(
        self,
        store: ReadWriteBlockstore,
        *,
        id: str,
        path: str,
        only_linked: bool,
        max_bytes: int,
        max_blocks: int,
        max_links: int,
        limits: Limits,
    ) -> None:
        self.id, self.path = id, path
        self.root = store.roots[0]
        self._store, self._limits = store, limits
        self._max_bytes, self._max_blocks = max_bytes, max_blocks
        self._checker = BlockChecker()
        self._decoder: CarDecoder | None = None
        self._linked: Linked | None = None
        self._unflushed, self._finished = 0, False
        self._came = self._new = self._known = self._new_bytes = 0
        found = store.recovery
        self.resumed_count = 0 if found is None else found.block_count
        """Blocks that were there at the start."""
        self.cut_bytes = 0 if found is None else found.cut_bytes
        """Bytes of a block that a crash left unfinished, and that were cut off at the start."""
        self.created = found is None
        """Whether it began with this object."""
        self.repaired = False
        """Whether damage was found, and the file made anew out of what is whole."""
        self._count = self._bytes = 0
        self._count_what_is_there()
        if only_linked:
            self._linked = Linked(self.root, max_links)
            self._linked.catch_up(store)

    # -- what is there --------------------------------------------------------------------------------------

    @property
    def received(self) -> Received:
        """What came in since the start."""
        left_out = self._came - self._new - self._known
        return Received(
            block_count=self._came,
            new_count=self._new,
            known_count=self._known,
            left_out_count=left_out,
            new_bytes=self._new_bytes,
        )

    def __contains__(self, cid: CIDLike) -> bool:
        return cid in self._store

    def __getitem__(self, cid: CIDLike) -> bytes:
        """The data of a block, checked; BlockNotFoundError if it is not there."""
        wanted = CID.of(cid)
        data = self._store[wanted]
        self._checker.check(bytes(wanted), data, position=0)
        return data

    def __len__(self) -> int:
        """How many blocks there are, of the DAG or not."""
        return len(self._store)

    def check(self) -> RetrievalCheck:
        """Flush, and walk from the root over all that is there: what is missing, what does not belong.

        Each block of the DAG is read and held against its hash. Memory: some 200 bytes for each of them and for
        each other block, and for what they link to and is missing no more than 30 MB: of the first 262,144 such
        multihashes each counts once, beyond them each link counts.

        Where the file turns out to be damaged, a new one takes its place, of all blocks that are whole; the others
        are missing, and are taken again when they come. :attr:`repaired` says so.

        Raises:
            FormatError: the file is damaged, and does not even say any more what it is of.
            UnknownHashError: a block of the DAG cannot be checked here.
        """
        if not self._finished:
            self.flush()
        try:
            found = check_file(self.path, self.root, self._limits)
        except FormatError as error:
            self._rebuild(error)
            return check_file(self.path, self.root, self._limits)
        if found.damaged_count:
            self._rebuild()
        return found

    def _rebuild(self, error: FormatError | None = None) -> None:
        """Go on with a new file of all that is whole in this one."""
        self._store.close()
        if not rebuild(self.path, self.root, self._limits) and error is not None:
            raise error
        self._store = open_store(self.path, self.root, create=False, limits=self._limits)
        self.repaired, self._finished = True, False
        self._count_what_is_there()

    def _count_what_is_there(self) -> None:
        found = self._store.recovery
        if found is not None:
            self._count = found.block_count
            self._bytes = found.kept_end - found.payload_position - found.first_section

    # -- taking blocks --------------------------------------------------------------------------------------

    def put(self, cid: CIDLike, data: bytes) -> bool:
        """Take one block; whether it was new, and wanted.

        Raises:
            IntegrityError: ``data`` are not what ``cid`` names; ``position`` is 0.
            BudgetError: there is no room for it under ``max_bytes`` or ``max_blocks``, or, with ``only_linked``,
                for its links under ``max_links``.
            LimitError: it is larger than ``limits`` allow.
            OSError: the file cannot be written; the block was not taken.
        """
        raw, data = bytes(CID.of(cid)), bytes(memoryview(data))
        make = self._checker.constructors.get(raw[:-32])
        if make is None or make(data).digest() != raw[-32:]:
            self._checker.check(raw, data, position=0)
        return self._take(raw, data)

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]]) -> int:
        """Take each (CID, data) pair, up to the first that fails; how many were new."""
        return sum(self.put(cid, data) for cid, data in blocks)

    def _take(self, raw: bytes, data: bytes) -> bool:
        """Store a block whose hash is right."""
        self._came += 1
        if self._linked is not None and not self._linked.admits(raw, data):
            return False
        cid, size = CID.trusted(raw), len(raw) + len(data)
        self._check_budget(cid, size)
        if not self._store.put(cid, data) and not (self._is_damaged(cid, data) and self._put_again(cid, data)):
            self._known += 1
            return False
        self._new += 1
        self._new_bytes += size
        self._count += 1
        self._bytes += size
        self._unflushed += size
        if self._unflushed >= CHECKPOINT:
            self.flush()
        return True

    def _is_damaged(self, cid: CID, data: bytes) -> bool:
        """Whether a block that is there is not what it was; only one from before the start can be."""
        if self.repaired or not self.resumed_count:
            return False
        try:
            return self._store[cid] != data
        except (FormatError, IntegrityError, BlockNotFoundError):
            return True

    def _put_again(self, cid: CID, data: bytes) -> bool:
        self._rebuild()
        return self._store.put(cid, data)

    def _check_budget(self, cid: CID, size: int) -> None:
        no_room = self._bytes + size > self._max_bytes
        if not no_room and self._count < self._max_blocks:
            return
        if cid in self._store or cid.is_identity:
            return
        if no_room:
            raise BudgetError("bytes of blocks", allowed=self._max_bytes, hint="max_bytes grants more")
        raise BudgetError("blocks", allowed=self._max_blocks, hint="max_blocks grants more")

    # -- taking streams -------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> int:
        """Take a chunk of a CAR stream, of either version; how many blocks it made whole, new or not.

        The first chunk begins a stream, :meth:`end_stream` ends it. The stream's own roots do not matter.

        Raises:
            IntegrityError: a block is not what its CID says; ``position`` is its place in the stream. What came
                before it is kept, here and in other cases; this and the next are raised until the stream is ended.
            FormatError: the stream is no CAR from here on.
            BudgetError, LimitError, OSError: as :meth:`put`; blocks of the chunk may be lost with it.
        """
        if self._decoder is None:
            self._decoder = CarDecoder(limits=self._limits)
        blocks = self._decoder.feed(chunk)
        self._take_all(blocks)
        if blocks:  # a fault behind them is known by now, and the next chunk may be long in coming
            self._decoder.feed(b"")
        return len(blocks)

    def _take_all(self, blocks: list[Block]) -> None:
        take = self._take
        for raw, data in blocks:
            take(raw, data)

    def end_stream(self) -> None:
        """Say that no more chunks will come, and flush; the next one begins another stream.

        Raises:
            TruncatedError: the stream was not whole; GatewayTruncatedError if its sender said why.
            FormatError, IntegrityError: what :meth:`feed` would have raised next.
        """
        decoder, self._decoder = self._decoder or CarDecoder(limits=self._limits), None
        self.flush()
        decoder.finish()

    def receive(self, chunks: Iterable[bytes], *, on_bytes: Callable[[int], object] | None = None) -> Received:
        """Take a CAR stream from its first chunk to its last; what came of it.

        Args:
            chunks: bytes in pieces of any size.
            on_bytes: called with the size of each.

        Raises:
            FormatError, IntegrityError, BudgetError, OSError: as :meth:`feed` and :meth:`end_stream`. What came
                before is kept, and made durable if possible; :attr:`received` counts it.
        """
        if isinstance(chunks, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"expected an iterable of chunks, got {type(chunks).__name__}: see feed()")
        before = self.received
        with self._one_stream():
            for chunk in chunks:
                self.feed(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
        return self.received.since(before)

    async def areceive(
        self, chunks: AsyncIterable[bytes], *, on_bytes: Callable[[int], object] | None = None
    ) -> Received:
        """The same for an asynchronous iterable, under any event loop; the file is written to in between."""
        before = self.received
        with self._one_stream():
            async for chunk in chunks:
                self.feed(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
        return self.received.since(before)

    @contextlib.contextmanager
    def _one_stream(self) -> Generator[None]:
        if self._decoder is not None:
            raise StateError("another stream is under way: end_stream() ends it")
        try:
            yield
            self.end_stream()
        except BaseException:
            self._decoder = None
            with contextlib.suppress(OSError, StateError):  # what went wrong first is what counts
                self.flush()
            raise

    # -- ends -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make all that was taken durable: no crash loses it then.

        Raises:
            OSError: that did not work out; it may be tried again.
        """
        self._store.flush()
        self._unflushed = 0

    def finish(self, *, partial: bool = False) -> RetrievalCheck:
        """Check that the DAG is there, and write the index: the retrieval is an archive like others then.

        Args:
            partial: do so although blocks are missing.

        Raises:
            IncompleteError: blocks are missing, and named; the retrieval stays as it is and can be gone on with.
            FormatError, UnknownHashError: as :meth:`check`.
        """
        found = self.check()
        if not (partial or found.complete):
            raise IncompleteError(_what_lacks(found), root=self.root, completeness=found)
        if not self._finished:
            self._store.finalize()
            self._finished = True
        return found

    def discard(self) -> None:
        """Remove the file, and let go of it."""
        self._decoder = None
        unlink(self.path)
        self._store.discard()

    def close(self) -> None:
        """Flush, and let go of the file; may be called twice. OSError if that did not work out."""
        self._decoder = None
        self._store.close()

    def __enter__(self) -> Retrieval:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(*([] if kind is None else [OSError, StateError])):
            self.close()


def _what_lacks(found: RetrievalCheck) -> str:
    if found.missing_count:
        many = "1 block is" if found.missing_count == 1 else f"{found.missing_count} blocks are"
        first = "" if found.missing_count == 1 else ", the first"
        return f"{many} missing{first}: {found.missing[0].cid.short()}"
    count = found.fault_count + sum(found.unknown_codecs.values())
    return f"the links of {count} block{'s' * (count > 1)} cannot be followed, so nobody knows what is missing"
