"""An archive put together of sections of others: first they are chosen, then it is written front to back.

The pass that chooses meets everything that can be wrong with the sources, so a sink gets its first byte when
all is known to be whole, and a CARv2 may go into a pipe. Sections are copied as they stand, never made anew.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from typing import TYPE_CHECKING, NamedTuple

from carv2._atomic import writing
from carv2._scan import Entries, SectionScanner, batches
from carv2._source import open_source
from carv2.errors import CarError
from carv2.header import FULLY_INDEXED, PRAGMA, SIZE, CarV1Header, CarV2Header, header_size
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, IndexBuilder
from carv2.operations._tally import require_known_hashes, take
from carv2.operations.wrap import copy, require_whole
from carv2.units import DEFAULT_LIMITS, FilePosition, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import BinaryIO

    from carv2._scan import Batch
    from carv2._source import Source, SourceLike
    from carv2.cid import CID
    from carv2.reader import CarReader
    from carv2.writer import Sink

    Keep = Callable[[bytes, int], bool]
    """Says of a binary CID and the size of its block whether the section is wanted; asked in file order."""

_WINDOW = 256 << 10
"""Bytes that are read in one go where wanted and unwanted sections alternate."""


class Layout(NamedTuple):
    """What the new archive is to be like around its sections."""

    version: int = 2
    index_codec: int = CAR_MULTIHASH_INDEX_SORTED
    identity: bool = False
    """List identity CIDs in the index."""
    data_padding: int = 0


class Assembly:
    """The sections of a new archive, in order: 16 bytes of memory a stretch, 40 a block in a CARv2's index.

    >>> import carv2, io
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")]))
    >>> assembly, sink = Assembly([], Layout(version=1)), io.BytesIO()
    >>> with carv2.open(archive) as car:
    ...     assembly.add(car, archive)
    >>> assembly.write(sink)
    >>> sink.getvalue() == archive
    True
    """

    def __init__(self, roots: Iterable[CID], layout: Layout, *, limits: Limits = DEFAULT_LIMITS) -> None:
        if layout.version not in {1, 2}:
            raise ValueError(f"CAR version {layout.version}, supported: 1 and 2")
        self._layout = layout
        self._header = CarV1Header(tuple(roots)).to_bytes()
        header_size(self._header, limits=limits)  # raises where nobody could read it back
        self._size = len(self._header)
        self.block_count = self.block_bytes = 0
        self._parts: list[tuple[SourceLike, array[int]]] = []
        self._index: IndexBuilder | None = None
        if layout.version == 2:
            self._index = IndexBuilder(layout.index_codec, identity=layout.identity, limits=limits)

    def add(
        self,
        car: CarReader,
        source: SourceLike,
        keep: Keep | None = None,
        *,
        verify: bool = True,
        workers: int = 1,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        """Choose sections of ``car``, all of them if ``keep`` is None.

        ``source`` is what ``car`` was opened from: it is opened again to copy from. ``on_progress`` is called with
        numbers of bytes that were gone through.

        Raises:
            FormatError: the archive is damaged.
            IntegrityError: ``verify``, and a block, wanted or not, is not what its CID says.
        """
        require_whole(car)
        bounds = array("Q")
        self._parts.append((source, bounds))

        def choose(batch: Batch) -> None:
            for start, run in _runs(batch, keep):
                self._add_run(bounds, batch.base, start, run)

        tally = take(car, hashes=verify, workers=workers, on_batch=choose, on_progress=on_progress)
        require_known_hashes(car, tally)

    def add_range(self, car: CarReader, source: SourceLike, start: int, stop: int) -> None:
        """Take all sections between two file positions where a pass found whole sections."""
        bounds = array("Q")
        self._parts.append((source, bounds))
        for batch in batches(car.source, start, stop, SectionScanner(car.limits), bodies=False):
            self._add_run(bounds, batch.base, batch.start, batch.entries)

    def _add_run(self, bounds: array[int], base: int, start: int, run: Entries) -> None:
        """Take neighbouring sections, the first of which starts at ``base + start`` of the file."""
        stop = run.stops[-1]
        if bounds and bounds[-1] == base + start:
            bounds[-1] = base + stop
        else:
            bounds.extend((base + start, base + stop))
        self.block_count += len(run)
        self.block_bytes += sum(run.stops) - sum(run.starts)
        if self._index is not None:
            where = base + start - self._size  # so that errors tell positions in the file that is read
            self._index.add_columns(run, self._size, self._size - start, payload=where)
        self._size += stop - start

    def write(self, destination: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the archive to a path, which is replaced whole or not at all, or to any sink; only once."""
        with writing(destination) as file:
            self.write_to(file)

    def write_to(self, sink: Sink) -> None:
        """Write the archive to an open sink; only once."""
        if self._layout.version == 2:
            sink.write(self._front())
        sink.write(self._header)
        for source, bounds in self._parts:
            copy_ranges(source, bounds, sink.write)
        if self._index is not None:
            for chunk in self._index.chunks():
                sink.write(chunk)

    def _front(self) -> bytes:
        """Pragma, CARv2 header and padding."""
        start = len(PRAGMA) + SIZE + self._layout.data_padding
        bits = FULLY_INDEXED if self._layout.identity else 0
        header = CarV2Header(FilePosition(start), self._size, FilePosition(start + self._size), bits)
        return PRAGMA + header.to_bytes() + bytes(self._layout.data_padding)


def _runs(batch: Batch, keep: Keep | None) -> Iterator[tuple[int, Entries]]:
    """Neighbouring sections that are wanted, with where in the buffer the first starts."""
    if keep is None:
        yield batch.start, batch.entries
        return
    start = batch.start
    run = Entries()
    for cid, data, stop in batch.entries:
        if keep(cid, stop - data):
            run.append(cid, data, stop)
        else:
            if run:
                yield start, run
            run, start = Entries(), stop
    if run:
        yield start, run


def copy_ranges(source: SourceLike, bounds: array[int], write: Callable[[bytes], object]) -> None:
    """Copy the stretches of a file whose first and last positions alternate in ``bounds``, ascending."""
    opened = open_source(source)
    try:
        at = 0
        while at < len(bounds):
            at = _copy_some(opened, bounds, at, write)
    finally:
        if opened is not source:
            opened.close()


def _copy_some(source: Source, bounds: array[int], at: int, write: Callable[[bytes], object]) -> int:
    """Copy the stretch at ``bounds[at]``, and those after it that one read gets too; where the next one is."""
    start, stop = bounds[at], bounds[at + 1]
    end = at + 2
    while end < len(bounds) and bounds[end + 1] - start <= _WINDOW:
        end += 2
    if end == at + 2:
        copy(source, start, stop, write)
        return end
    buffer = source.read_exactly(start, bounds[end - 1] - start, "section")
    write(b"".join([buffer[bounds[i] - start : bounds[i + 1] - start] for i in range(at, end, 2)]))
    return end


@contextlib.contextmanager
def naming(source: SourceLike) -> Generator[None]:
    """Name ``source``, if it is a path, in errors that come out of here: for what takes several archives."""
    try:
        yield
    except CarError as error:
        if error.archive is None and isinstance(source, (str, os.PathLike)):
            error.archive = os.fspath(source)
        raise
