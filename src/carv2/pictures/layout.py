"""One pass over an archive, good or bad, and what it looks like."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from carv2._source import open_source
from carv2.cid import CID
from carv2.dag._gather import GraphScan
from carv2.errors import BudgetError, CarError
from carv2.header import PRAGMA, SIZE
from carv2.multicodec import name_of
from carv2.operations.verify import verify
from carv2.pictures._dag import describe
from carv2.pictures.model import Layout, Region, Share, SizeClass, Slice
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carv2._scan import Batch
    from carv2._source import Source, SourceLike
    from carv2.operations.verify import Verification
    from carv2.pictures.model import Dag, RegionName
    from carv2.reader import CarReader

__all__ = ["layout"]

MAX_BLOCKS = 1_000_000
"""Blocks up to which a DAG is followed: some 100 bytes of memory each, and 44 for each link."""

_SLICES = 240
_ROOTS = 100
_NAMED = 20
_HEAD = 4
"""First bytes of a CID that say its version, codec, hash function and digest length, if these are short."""


def layout(
    source: SourceLike,
    *,
    name: str | None = None,
    max_blocks: int = MAX_BLOCKS,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = True,
) -> Layout:
    """Describe an archive for a picture: what lies where, how large the blocks are, how the DAG lies in the file.

    A damaged archive is described as far as it can be read; what is wrong is in ``problems``, with its place.
    Hashes and index are checked as by :func:`carv2.verify`.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        name: to show; by default the last part of the path, or of the file's ``name``.
        max_blocks: if there are more blocks, the DAG is not followed and duplicates are not counted.
        workers: processes to share the hashing among, for a file with a path.
        on_progress: called with numbers of bytes that were gone through.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload.

    Raises:
        OSError: the file cannot be read.

    >>> layout(b"not an archive").problems[0].kind
    'TruncatedError'
    """
    opened = open_source(source)
    survey = _Survey(max_blocks, on_progress)
    try:
        found = verify(source, workers=workers, limits=limits, null_padding=null_padding, watch=survey)
        return survey.report(name if name is not None else _name_of(source), opened, found)
    finally:
        if opened is not source:
            opened.close()


def _name_of(source: SourceLike) -> str:
    path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
    return os.path.basename(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else "archive"


class _Survey:
    """Sees what :func:`verify` goes through."""

    def __init__(self, max_blocks: int, on_progress: Callable[[int], object] | None) -> None:
        self._max_blocks, self._on_progress = max_blocks, on_progress
        self._scan: GraphScan | None = None
        self._dag: Dag | None = None
        self._duplicates: tuple[int, int] | None = None
        self._roots: tuple[CID, ...] = ()
        self._kinds: dict[bytes, tuple[str, str]] = {}
        self._slices: list[Counter[str]] = []
        self._codecs: dict[str, list[int]] = {}
        self._hashes: dict[str, list[int]] = {}
        self._sizes: dict[int, list[int]] = {}
        self._is_finished = False
        self._identity = self._first = self._end = self._width = 0

    # -- in the pass -------------------------------------------------------------------------------------------

    def open(self, car: CarReader, /) -> None:
        self._car = car
        self._roots = car.roots
        self._header, self._index_end = car.header, _index_end(car)
        self._payload, self._payload_end = car.payload_position, car.payload_end
        self._first = self._end = car.payload_position + car.first_section
        payload_end = min(car.payload_end, car.source.size)
        self._width = max(1, -(-(payload_end - self._first) // _SLICES))
        self._scan = GraphScan(car, car.roots)

    def add(self, batch: Batch, /) -> None:
        position = batch.base + batch.start
        for cid, start, stop in batch.entries:
            end = batch.base + stop
            self._count(cid, stop - start, position, end)
            position = end
        if self._on_progress is not None:
            self._on_progress(position - self._end)
        self._end = position
        self._follow(batch)

    def _follow(self, batch: Batch) -> None:
        if self._scan is None:
            return
        try:
            self._scan.add(batch)
        except BudgetError:
            self._scan = None
        else:
            if len(self._scan.graph) - 1 > self._max_blocks:  # one node is what the roots hang from
                self._scan = None

    def finish(self) -> None:
        self._is_finished = True
        scan = self._scan
        if scan is not None:
            scan.graph.join()
            sizes = [scan.graph.sizes[node] for node in range(1, len(scan.graph)) if scan.graph.is_copy(node)]
            self._duplicates = len(sizes), sum(sizes)
            self._dag = describe(self._car, scan)

    def _count(self, cid: bytes, size: int, start: int, end: int) -> None:
        codec, hash_name = self._kinds.get(cid[:_HEAD]) or self._kind_of(cid)
        for counts, key in ((self._codecs, codec), (self._hashes, hash_name)):
            entry = counts.setdefault(key, [0, 0])
            entry[0] += 1
            entry[1] += size
        entry = self._sizes.setdefault(1 << (size.bit_length() - 1) if size else 0, [0, 0])
        entry[0] += 1
        entry[1] += size
        self._identity += hash_name == "identity"
        self._spread(codec, start, end)

    def _kind_of(self, cid: bytes) -> tuple[str, str]:
        parts = CID.trusted(cid).parts
        kind = name_of(parts.codec), name_of(parts.hash_code)
        if len(self._kinds) < 1 << 10 and (parts.version == 0 or max(cid[1:_HEAD]) < 128):
            self._kinds[cid[:_HEAD]] = kind
        return kind

    def _spread(self, codec: str, start: int, end: int) -> None:
        """Add the bytes of a section to the slices that it lies in."""
        while start < end:
            at = (start - self._first) // self._width
            while len(self._slices) <= at:
                self._slices.append(Counter())
            stop = min(end, self._first + (at + 1) * self._width)
            self._slices[at][codec] += stop - start
            start = stop

    # -- after it ----------------------------------------------------------------------------------------------

    def report(self, name: str, source: Source, found: Verification) -> Layout:
        codecs = _ranked(self._codecs)
        return Layout(
            name=name,
            size=source.size,
            version=found.version,
            roots=tuple(map(str, self._roots[:_ROOTS])),
            root_count=len(self._roots),
            regions=tuple(_without_gaps(self._found_regions(source.size), source.size)),
            slices=tuple(self._cut(codecs)),
            block_count=sum(share.count for share in codecs.values()),
            block_bytes=sum(share.size for share in codecs.values()),
            codecs=codecs,
            hashes=_ranked(self._hashes),
            sizes=tuple(
                SizeClass(least=least, count=count, size=size)
                for least, (count, size) in sorted(self._sizes.items())
            ),
            identity_count=self._identity,
            duplicate_count=None if self._duplicates is None else self._duplicates[0],
            duplicate_bytes=None if self._duplicates is None else self._duplicates[1],
            dag=self._dag,
            verified_count=found.verified_count,
            index_checked=found.index_checked,
            problems=found.problems,
            problem_count=found.problem_count,
        )

    def _cut(self, codecs: Mapping[str, Share]) -> Iterator[Slice]:
        for at, counts in enumerate(self._slices):
            start = self._first + at * self._width
            kept = Counter[str]()
            for codec, size in counts.items():
                kept[codec if codec in codecs else "other"] += size
            yield Slice(start=start, end=min(start + self._width, self._end), codecs=dict(kept))

    def _found_regions(self, size: int) -> Iterator[tuple[RegionName, int, int]]:
        if not self._first:
            return
        header, front = self._header, len(PRAGMA)
        if header is not None:
            yield "pragma", 0, front
            yield "CARv2 header", front, front + SIZE
            yield "padding", front + SIZE, self._payload
        yield "CARv1 header", self._payload, self._first
        yield "sections", self._first, self._end
        yield "null padding" if self._is_finished else "not read", self._end, min(self._payload_end, size)
        if header is not None and header.has_index:
            start = max(self._end, header.index_offset)
            yield "padding", min(self._payload_end, size), start
            yield "index", start, self._index_end


def _index_end(car: CarReader) -> int:
    """Where the index ends, as far as it can be read; else where the file does."""
    try:
        index = car.index
    except CarError:
        index = None
    return car.source.size if index is None or car.header is None else car.header.index_offset + index.size


def _ranked(counts: Mapping[str, list[int]]) -> dict[str, Share]:
    """The largest first; the smallest of very many as one."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
    found = {name: Share(count=count, size=size) for name, (count, size) in ranked[:_NAMED]}
    rest = [counts for _, counts in ranked[_NAMED:]]
    if rest:
        found["other"] = Share(count=sum(count for count, _ in rest), size=sum(size for _, size in rest))
    return found


def _without_gaps(found: Iterator[tuple[RegionName, int, int]], size: int) -> Iterator[Region]:
    """Regions as far as the file goes, one behind the other, up to its end."""
    position = 0
    for name, wanted_start, wanted_end in found:
        start, end = max(wanted_start, position), min(wanted_end, size)
        if end > start:
            if start > position:
                yield Region(name="padding", start=position, end=start)
            yield Region(name=name, start=start, end=end)
            position = end
    if position < size:
        yield Region(name="trailing bytes" if position else "not read", start=position, end=size)
