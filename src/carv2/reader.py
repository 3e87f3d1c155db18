"""Reading an archive of either version: its headers, its sections, its blocks, its index.

Sources: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/), the CARv2 specification
(https://ipld.io/specs/transport/car/carv2/); where these differ from the bytes that go-car writes, go-car.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2 import _blocks, header
from carv2._finder import BlockFinder, Found
from carv2._scan import Batch, SectionScanner, batches, gateway_error
from carv2._source import SliceView, Source, open_source
from carv2._varint import decode
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    FormatError,
    TruncatedError,
    VersionError,
)
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, Index, IndexBuilder
from carv2.index import parse as parse_index
from carv2.section import Block, BlockChecker, Section
from carv2.units import DEFAULT_LIMITS, FilePosition, Limits, PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from carv2._source import SourceLike
    from carv2.cid import CIDLike

__all__ = ["CarReader", "open", "read_version"]


def open(  # noqa: A001
    source: SourceLike,
    *,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    memory_map: bool = False,
) -> CarReader:
    """Open an archive for reading; the same as :class:`CarReader`, and a context manager.

    >>> import carv2
    >>> with carv2.open(bytes.fromhex("11a265726f6f7473806776657273696f6e01")) as car:
    ...     car.version, car.roots, list(car)
    (1, (), [])
    """
    return CarReader(source, limits=limits, null_padding=null_padding, memory_map=memory_map)


def read_version(source: SourceLike, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """The version that the first header of ``source`` names, also one that carv2 does not read.

    Raises:
        FormatError: what stands there is not a CAR header.

    >>> read_version(bytes.fromhex("0aa16776657273696f6e02"))
    2
    """
    opened = open_source(source)
    try:
        return header.version_of(_read_header(opened, 0, opened.size, limits), limits=limits)
    finally:
        if opened is not source:
            opened.close()


class CarReader:
    """A CARv1 or CARv2, read lazily: opening looks at the version and, in a CARv2, at its 40-byte header.

    Iteration gives the blocks in file order, each checked against its hash. A reader keeps one chunk of the
    file in memory, has no cursor, and may be used by several threads.

    Args:
        source: a path, bytes, a seekable binary file, or an fsspec file. What the caller opened stays open.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload (go-car's ZeroLengthSectionAsEOF:
            Filecoin pieces are padded with zeros); otherwise it is an error.
        memory_map: map the file at that path into memory: look-ups cost less. **A file that is made shorter while
            it is mapped kills the whole process (SIGBUS) at the next read**, where it is an error otherwise; so
            does a disk that fails. Only for files that nobody changes. Of no effect on what is not a path.

    Raises:
        FormatError: not a CAR, or a CARv2 whose header cannot be (:class:`UnfinalizedError` if never written).
        OSError: the file cannot be opened.

    >>> cid = CID.of_data(b"fish")
    >>> with CarReader(bytes.fromhex("11a265726f6f7473806776657273696f6e01")) as car:
    ...     list(car), car.header, car.first_section
    ([], None, 18)
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        limits: Limits = DEFAULT_LIMITS,
        null_padding: bool = False,
        memory_map: bool = False,
    ) -> None:
        self.limits, self.null_padding = limits, null_padding
        self.path = source if isinstance(source, (str, os.PathLike)) else None
        self.source: Source = open_source(source, memory_map=memory_map)
        self._owns_source = self.source is not source
        self._payload_header: tuple[header.CarV1Header, int] | None = None
        self._index: Index | None = None
        self._index_was_read = False
        self._finder: BlockFinder | None = None
        try:
            self.version, self.header = self._read_version()
        except BaseException as error:
            try:
                found = gateway_error(error, self.source, since=0) if isinstance(error, FormatError) else None
            finally:
                self.close()
            if found is not None:  # who asked a gateway may have got nothing else
                raise found from error
            raise

    def _read_version(self) -> tuple[int, header.CarV2Header | None]:
        source = self.source
        front = _read_header(source, 0, source.size, self.limits)
        wanted = header.header_size(front, limits=self.limits)
        if len(front) < wanted:  # it is not known yet of which version
            _, start = decode(front, 0, len(front), position=0)
            got = len(front) - start
            raise TruncatedError("CAR header", wanted=wanted - start, got=got, position=len(front))
        try:
            self._payload_header = header.CarV1Header.parse(front, limits=self.limits)
        except VersionError as error:
            if error.found != 2:
                raise VersionError(error.found, position=0) from None
        else:
            return 1, None
        if not front.startswith(header.PRAGMA):
            raise FormatError("a header of version 2 that is not the CARv2 pragma", position=0)
        return 2, header.CarV2Header.from_bytes(source.read_at(len(header.PRAGMA), header.SIZE))

    # -- where things are ---------------------------------------------------------------------------------

    @property
    def payload_position(self) -> FilePosition:
        """Where the CARv1 payload starts."""
        return FilePosition(0) if self.header is None else self.header.data_offset

    @property
    def payload_end(self) -> FilePosition:
        """Where it ends by the header: in a truncated CARv2 that is behind the end of the file."""
        return FilePosition(self.source.size) if self.header is None else self.header.data_end

    @property
    def payload_header(self) -> header.CarV1Header:
        """The CARv1 header, read when it is first asked for."""
        return self._read_payload_header()[0]

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots that the archive claims, in its order; maybe none."""
        return self.payload_header.roots

    @property
    def first_section(self) -> PayloadOffset:
        """Where the first section starts: the size of the CARv1 header as it stands in the file."""
        return PayloadOffset(self._read_payload_header()[1])

    def _read_payload_header(self) -> tuple[header.CarV1Header, int]:
        if self._payload_header is None:
            start, stop, size = self.payload_position, self.payload_end, self.source.size
            end = min(stop, size)
            if end <= start:
                raise TruncatedError("payload", wanted=stop - start, got=0, position=end)
            try:
                front = _read_header(self.source, start, end, self.limits)
                self._payload_header = header.CarV1Header.parse(front, position=start, limits=self.limits)
            except TruncatedError as error:
                if end == size:
                    raise
                why = f"CARv1 header runs over the end of the payload at byte {end}"
                raise FormatError(why, position=start) from error
        return self._payload_header

    # -- sections and blocks ------------------------------------------------------------------------------

    def batches(self, *, bodies: bool = True) -> Iterator[Batch]:
        """The sections in bulk, for code that cannot afford an object for each."""
        scanner = SectionScanner(self.limits, null_padding=self.null_padding)
        first = self.payload_position + self.first_section
        return batches(self.source, first, self.payload_end, scanner, bodies=bodies)

    def sections(self) -> Iterator[Section]:
        """Locate the blocks in file order, without reading those that are large, and without checking hashes."""
        payload = self.payload_position
        for batch in self.batches(bodies=False):
            base, position = batch.base, batch.base + batch.start
            for cid, data, stop in batch.entries:
                yield Section(
                    CID.trusted(cid),
                    PayloadOffset(position - payload),
                    FilePosition(position),
                    FilePosition(base + data),
                    stop - data,
                )
                position = base + stop

    def blocks(
        self,
        *,
        verify: bool = True,
        on_unverified: Callable[[CID], object] | None = None,
        workers: int | None = None,
    ) -> Iterator[Block]:
        """Yield the blocks in file order, duplicates and identity CIDs included.

        Args:
            verify: check each block against its hash before it is yielded.
            on_unverified: called with each CID whose hash function is not available here; the block is then
                yielded all the same. Without it such a block is an error.
            workers: threads that hash blocks of 32 KiB and more ahead, which holds 8 MiB of them, or two; 1 for
                none. By default one for each processor, four at most, in archives with more than 8 MiB of them.

        Raises:
            IntegrityError: a block is not what its CID says; the blocks before it were yielded.
            UnknownHashError: a block's hash function is not available.
            FormatError: the sections stop making sense; TruncatedError: the file ends too early.
        """
        if not verify:
            return _blocks.unchecked(self.batches())
        return _blocks.checked(self.batches(), BlockChecker(on_unverified), workers)

    def __iter__(self) -> Iterator[Block]:
        return self.blocks()

    # -- look-ups -----------------------------------------------------------------------------------------

    @property
    def index(self) -> Index | None:
        """The index that the archive carries, None if it has none. It is looked up in the file, not loaded.

        An index is a claim: what it says is checked where it is used.

        Raises:
            IndexFormatError: what stands at the index offset is no index.
        """
        if not self._index_was_read:
            if self.header is not None and self.header.has_index:
                start, size = self.header.index_offset, self.source.size
                if start >= size:
                    raise TruncatedError("index", wanted=start - size + 1, got=0, position=size)
                self._index = parse_index(SliceView(self.source, start, size), position=start)
            self._index_was_read = True
        return self._index

    def build_index(self, codec: int = CAR_MULTIHASH_INDEX_SORTED, *, identity: bool = False) -> IndexBuilder:
        """Index the sections, whatever index the archive carries: see :func:`carv2.build_index`."""
        builder = IndexBuilder(codec, identity=identity, limits=self.limits)
        payload = self.payload_position
        for batch in self.batches(bodies=False):
            shift = batch.base - payload
            builder.add_columns(batch.entries, batch.start + shift, shift, payload=payload)
        return builder

    def ignore_index(self) -> None:
        """Look blocks up by going through the file, whatever the archive's own index says."""
        self._index, self._index_was_read = None, True

    @property
    def finder(self) -> BlockFinder:
        """What follows payload offsets into this archive."""
        if self._finder is None:
            end = min(self.payload_end, self.source.size)
            self._finder = BlockFinder(self.source, self.payload_position, self.first_section, end, self.limits)
        return self._finder

    def section_at(self, offset: int) -> Section:
        """Locate the section at payload offset ``offset``.

        Raises:
            FormatError: there is none.
        """
        return self.finder.at(offset).section(self.payload_position)

    def find(self, cid: CIDLike) -> Section:
        """Locate a block by its multihash: by the index if there is one, else by looking through the file.

        Raises:
            BlockNotFoundError: it is not there (or the index does not have it).
            IndexMismatchError: the index says that it is where it is not.
        """
        wanted = CID.of(cid)
        if self.index is not None:
            return self._find_by_index(self.index, wanted).section(self.payload_position)
        section = next((s for s in self.sections() if s.cid.multihash == wanted.multihash), None)
        if section is None:
            raise BlockNotFoundError(wanted)
        return section

    def _find_by_index(self, index: Index, wanted: CID) -> Found:
        found = self.finder.find(index, wanted)
        if found is None:
            raise BlockNotFoundError(wanted)
        return found

    def read(self, section: Section, *, verify: bool = True) -> Block:
        """Read the block of a section of this archive.

        Raises:
            TypeError: it is no section, but a CID for example; :meth:`get` takes those.
        """
        if not isinstance(section, Section):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"expected a Section, as find() gives, got {type(section).__name__}; get() takes CIDs")
        raw = bytes(section.cid)
        found = Found(raw, section.position, section.data_position, section.size, None)
        return Block(raw, self.finder.data_of(found, verify=verify))

    def get(self, cid: CIDLike, *, verify: bool = True) -> bytes:
        """The data of a block, looked up by its multihash; an identity CID holds its own.

        For many look-ups in an archive without an index, build one first: each of these looks through the file.
        """
        wanted = CID.of(cid)
        if wanted.is_identity:
            return wanted.digest
        index = self.index
        if index is None:
            return self.read(self.find(wanted), verify=verify).data
        offset = index.usual_offset(wanted.raw)
        data = None if offset is None else self.finder.usual_block(offset, wanted.raw, verify=verify)
        return self.finder.data_of(self._find_by_index(index, wanted), verify=verify) if data is None else data

    def __contains__(self, wanted: object) -> bool:
        """Whether :meth:`get` finds the block of a CID; or whether a :class:`Block` is one of the blocks.

        >>> import carv2
        >>> block = Block(CID.of_data(b"fish"), b"fish")
        >>> with CarReader(b"".join(carv2.iter_car([], [block]))) as car:
        ...     block.cid in car, str(block.cid) in car, block in car, CID.of_data(b"bicycle") in car
        (True, True, True, False)
        """
        if isinstance(wanted, Block):
            return any(block == wanted for block in self)
        if not isinstance(wanted, (CID, str, bytes)):
            return False
        cid = CID.of(wanted)
        try:
            if not cid.is_identity:  # which holds its block
                self.find(cid)
        except BlockNotFoundError:
            return False
        return True

    # -- life cycle ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close what was opened here; may be called twice."""
        if self._owns_source:
            self.source.close()

    def __enter__(self) -> CarReader:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_header(source: Source, start: int, end: int, limits: Limits) -> bytes:
    """The bytes of the header at ``start``, with a few more or, where the source ends, a few less."""
    front = source.read_at(start, min(512, max(0, end - start)))
    size = header.header_size(front, position=start, limits=limits)
    if size > len(front):
        front = source.read_at(start, min(size, end - start))
    return front
