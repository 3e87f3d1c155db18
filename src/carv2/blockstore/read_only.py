"""Serving blocks out of an archive that does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._source import REMOTE_CHUNK_SIZE, FileSource, SliceView, open_source
from carv2.blockstore._mapping import ReadsOneByOne
from carv2.blockstore._ranges import read_merged
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    ChangedError,
    ClosedError,
    FormatError,
    IntegrityError,
    ReadOnlyError,
)
from carv2.header import PRAGMA, SIZE
from carv2.index import Index
from carv2.index import parse as parse_index
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    from carv2._finder import Found
    from carv2._source import Source, SourceLike
    from carv2.cid import CIDLike
    from carv2.errors import CarError
    from carv2.section import Block

__all__ = ["ReadOnlyBlockstore"]

_SPILL = 1 << 20
"""Bytes of a generated index that are kept in memory; a larger one goes to a temporary file."""


class ReadOnlyBlockstore(ReadsOneByOne):
    """The blocks of a CARv1 or CARv2 by CID, looked up through an index, each checked against its hash.

    Memory does not grow with the archive: its index is looked up in the file, and one that has to be generated
    goes to a temporary file. Threads may share a store: nothing in it has a cursor.

    Args:
        source: a path, bytes, a binary file, anything with positional reads, or an fsspec file.
        index: a detached index (a path, bytes, a file, or one that was parsed). Without it the archive's own is
            used, or one is generated where there is none.
        rebuild_index: generate one, whatever the archive carries.
        whole_cids: a block is found by its whole CID only (go-car's UseWholeCIDs); otherwise by its multihash,
            whatever version and codec the CID names.
        store_identity: look identity CIDs up like others (go-car's StoreIdentityCIDs); otherwise they are answered
            from the CID itself, whether the archive has them or not.
        verify: check what is read against its hash.
        null_padding: take a zero-length section for the end of the payload.
        memory_map: map the file at that path, data and index, into memory: gets cost less. **A file that is made
            shorter while it is mapped kills the whole process (SIGBUS) at the next read**, where it is an error
            otherwise; so does a disk that fails. Only for files that nobody changes. Of no effect on what is
            not a path.
        limits: upper bounds for what the file may claim.

    A look-up that finds nothing or nothing sound raises :class:`ChangedError`, if a writer has gone on with the
    file since it was opened.

    Raises:
        FormatError: not an archive, or one whose sections are damaged, where they have to be gone through.
        OSError: the file cannot be opened.

    >>> import carv2
    >>> cid = CID.of_data(b"fish")
    >>> store = ReadOnlyBlockstore(b"".join(carv2.iter_car([], [(cid, b"fish")])))
    >>> store[cid], cid in store, store.size_of(cid), len(store)
    (b'fish', True, 4, 1)
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        index: SourceLike | Index | None = None,
        rebuild_index: bool = False,
        whole_cids: bool = False,
        store_identity: bool = False,
        verify: bool = True,
        null_padding: bool = False,
        memory_map: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._whole_cids, self._store_identity, self._verify = whole_cids, store_identity, verify
        self._car = CarReader(source, limits=limits, null_padding=null_padding, memory_map=memory_map)
        self._closed = False
        self._index_source: Source | None = None
        """What was opened for the index alone."""
        self._count: int | None = None
        try:
            self._mark = self._state()
            self._finder = self._car.finder
            if isinstance(index, Index):
                self._index = index
            elif index is not None:
                opened = open_source(index)
                self._index_source = opened if opened is not index else None
                self._index = _index_in(opened)
            else:
                self._index = self._own_index(rebuild=rebuild_index)
            self._usual = self._finder.getter(self._index, verify=verify)
        except BaseException:
            self.close()
            raise

    def _own_index(self, *, rebuild: bool) -> Index:
        own = None if rebuild else self._car.index
        if own is None:
            return self._generate_index()
        if self._car.source.chunk_size == REMOTE_CHUNK_SIZE:  # else each look-up would be a request
            return self._index_in_temporary_file(own.chunks())
        return own

    def _generate_index(self) -> Index:
        builder = self._car.build_index(identity=True)
        if len(builder) * 40 <= _SPILL:
            return builder.to_index()
        return self._index_in_temporary_file(builder.chunks())

    def _index_in_temporary_file(self, chunks: Iterable[bytes]) -> Index:
        self._index_source = FileSource.temporary(chunks)
        return _index_in(self._index_source)

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots that the archive claims."""
        self._check_open()
        return self._car.roots

    @property
    def archive_size(self) -> int:
        """Bytes of the archive, headers and index included."""
        self._check_open()
        return self._car.source.size

    @property
    def index(self) -> Index:
        """The index that blocks are looked up in; closed with the store, unless it was given."""
        return self._index

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the blockstore was closed")

    def _state(self) -> bytes | int | None:
        """What a writer who goes on with the file changes; None of what is no file here."""
        source = self._car.source
        if not isinstance(source, FileSource):
            return None
        return source.read_at(0, len(PRAGMA) + SIZE) if self._car.version == 2 else source.size

    def _unless_changed(self, error: CarError) -> CarError:
        """``error``, which a look-up ended with; of a file that was changed behind our back, another one."""
        if self._state() == self._mark:
            return error
        return ChangedError("the archive was changed while it was open: open it again")

    def _answers_itself(self, wanted: CID) -> bool:
        return wanted.is_identity and not self._store_identity

    def _find(self, wanted: CID) -> Found:
        self._check_open()
        try:
            found = self._finder.find(self._index, wanted, whole=self._whole_cids)
        except (FormatError, IntegrityError) as error:
            raise self._unless_changed(error) from error.__cause__
        if found is None:
            raise self._unless_changed(BlockNotFoundError(wanted))
        return found

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = cid if isinstance(cid, CID) else CID.of(cid)
        data = self._usual(wanted.raw)
        return self._get(wanted) if data is None else data

    def _get(self, wanted: CID) -> bytes:
        if self._answers_itself(wanted):
            return wanted.digest
        found = self._find(wanted)
        try:
            return self._finder.data_of(found, verify=self._verify)
        except (FormatError, IntegrityError) as error:
            raise self._unless_changed(error) from error.__cause__

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block; its section is located, its data are neither read on purpose nor checked."""
        wanted = CID.of(cid)
        if self._answers_itself(wanted):
            return len(wanted.digest)
        return self._find(wanted).size

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; sections that lie near each other are read as one range.

        The first 512 are gathered, then more and more, up to 65,536 blocks and some 32 MiB at a time: ``cids`` may
        be endless.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
        """
        self._check_open()
        return read_merged(
            (cid if isinstance(cid, CID) else CID.of(cid) for cid in cids),
            source=self._car.source,
            finder=self._finder,
            locate=self._locate,
            read=self._read_at,
            fetch=self.__getitem__,
            verify=self._verify,
        )

    def _locate(self, wanted: list[CID], raws: list[bytes]) -> list[int | None]:
        """Where each of ``wanted`` should be, as far as the index tells; None if there is nothing to read."""
        offsets = self._index.usual_offsets(raws)
        if None in offsets:
            for at, cid in enumerate(wanted):
                if offsets[at] is None and not self._answers_itself(cid):
                    offset = self._index.usual_offset(raws[at])
                    offsets[at] = next(self._index.offsets_of(cid), None) if offset is None else offset
        return offsets

    def _read_at(self, offset: int, raw: bytes) -> bytes | None:
        return None if self._closed else self._finder.usual_block(offset, raw, verify=self._verify)

    def __iter__(self) -> Iterator[CID]:
        """The CIDs in file order, duplicates and identity CIDs included."""
        self._check_open()
        for batch in self._car.batches(bodies=False):
            for cid, _, _ in batch.entries:
                yield CID.trusted(cid)
                self._check_open()

    def __len__(self) -> int:
        """Sections of the archive: counted in one pass when it is first asked for."""
        self._check_open()
        if self._count is None:
            self._count = sum(len(batch.entries) for batch in self._car.batches(bodies=False))
        return self._count

    def put(self, _cid: CIDLike, _data: bytes, /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("the blockstore is for reading only")

    def put_many(self, _blocks: Iterable[tuple[CIDLike, bytes]], /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("the blockstore is for reading only")

    def close(self) -> None:
        """Close what was opened here; may be called twice. Iterations that are under way end with ClosedError."""
        self._closed = True
        self._usual = _nothing
        self._car.close()
        if self._index_source is not None:
            self._index_source.close()


def _index_in(source: Source) -> Index:
    return parse_index(SliceView(source, 0, source.size))


def _nothing(_: bytes) -> None:
    """What a store that was closed has for a CID."""
