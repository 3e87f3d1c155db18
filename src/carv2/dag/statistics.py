"""Everything that can be counted of an archive in one pass: its blocks, its DAG, its index, its gaps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2.dag._gather import MAX_LISTED, GraphScan
from carv2.dag.complete import _of_scan
from carv2.dag.order import OrderDetector
from carv2.errors import CarError
from carv2.header import PRAGMA, SIZE
from carv2.operations._index_check import IndexCheck
from carv2.operations.inspect import inspect_opened
from carv2.operations.problems import Problem
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carv2._scan import Batch
    from carv2._source import SourceLike
    from carv2.dag._graph import Graph
    from carv2.dag.complete import Completeness
    from carv2.dag.order import Order
    from carv2.operations.inspect import Inspection

__all__ = ["Gaps", "Statistics", "stat"]

_RAW_HEAD = b"\x01\x55"


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Bytes of the file that belong to no header, section or index."""

    before_payload: int
    """Padding between a CARv2's header and its payload."""
    at_payload_end: int
    """From a zero-length section to the end of the payload."""
    before_index: int
    """Padding between payload and index; negative where the index begins inside the payload."""
    behind: int
    """Behind the index; in a CARv2 without one, behind the payload."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What :func:`stat` counted."""

    inspection: Inspection
    """What :func:`carv2.inspect` says."""
    completeness: Completeness
    """What the roots reach, how deep it goes, and what is missing: :func:`carv2.dag.check_complete`."""
    order: Order
    """In which order the blocks stand: :func:`carv2.dag.detect_order`."""
    duplicate_count: int
    """Sections whose CID was there before, without identity CIDs."""
    duplicate_bytes: int
    """Their data."""
    identity_count: int
    fan_out: Mapping[int, int]
    """Different blocks by their number of links: keys are 0, 1 and powers of two, each up to the next one."""
    link_count: int
    """Links of these blocks."""
    index: Literal["absent", "right", "wrong", "unreadable"]
    """``right``: it lists each block where it is, and nothing more."""
    index_problems: tuple[Problem, ...]
    """The first 1,000."""
    index_problem_count: int
    gaps: Gaps


def stat(
    source: SourceLike,
    *,
    full: bool = False,
    workers: int = 1,
    on_progress: Callable[[int], object] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = True,
) -> Statistics:
    """Count everything that there is to count of an archive, in one pass over it.

    Takes around 100 bytes of memory for each block, 44 for each link, and what
    :class:`carv2.dag.OrderDetector` remembers.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        full: check the hash of each block too.
        workers: processes to share the hashing among, for a file with a path.
        on_progress: called with numbers of bytes that were gone through.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the payload, as :func:`carv2.inspect` does.

    Raises:
        FormatError: the archive is damaged. What is wrong with its index alone is in the report.
        IntegrityError: ``full``, and a block is not what its CID says.

    >>> import carv2
    >>> fish = carv2.CID.of_data(b"fish")
    >>> found = stat(b"".join(carv2.iter_car([fish], [(fish, b"fish"), (fish, b"fish")])))
    >>> found.duplicate_count, found.completeness.block_count, found.order.order, found.index
    (1, 1, 'unknown', 'absent')
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        gather = _Gather(car)
        inspection = inspect_opened(car, full=full, workers=workers, on_batch=gather.add, on_progress=on_progress)
        return gather.report(inspection)


class _Gather:
    """Sees each batch, and hands it on to all that count."""

    def __init__(self, car: CarReader) -> None:
        self._car = car
        self._scan = GraphScan(car, car.roots)
        self._order = OrderDetector(car.roots)
        self._problems: list[Problem] = []
        self._index_check = self._open_index()
        self._end = car.payload_position + car.first_section

    def _open_index(self) -> IndexCheck | None:
        try:
            found = self._car.index
        except CarError as error:
            self._problems.append(Problem.of(error))
            return None
        return None if found is None else IndexCheck(self._car, found)

    def add(self, batch: Batch) -> None:
        self._scan.add(batch)
        if self._index_check is not None:
            self._index_check.add(batch)
        for cid, start, stop in batch.entries:
            data = b"" if cid[:2] == _RAW_HEAD else self._scan.data_of(batch, start, stop)
            self._order.add(cid, data)
        self._end = batch.base + batch.entries[-1][2]

    def report(self, inspection: Inspection) -> Statistics:
        """All of it, once the pass is over."""
        completeness = _of_scan(self._scan)
        graph = self._scan.graph
        copies = [graph.sizes[node] for node in range(1, len(graph)) if graph.is_copy(node)]
        fan_out, link_count = _fan_out(graph)
        status, problem_count = self._check_index()
        return Statistics(
            inspection=inspection,
            completeness=completeness,
            order=self._order.result(),
            duplicate_count=len(copies),
            duplicate_bytes=sum(copies),
            identity_count=inspection.hashes.get(0, 0),
            fan_out=fan_out,
            link_count=link_count,
            index=status,
            index_problems=tuple(self._problems),
            index_problem_count=problem_count,
            gaps=self._gaps(),
        )

    def _check_index(self) -> tuple[Literal["absent", "right", "wrong", "unreadable"], int]:
        if self._index_check is None:
            return ("unreadable" if self._problems else "absent"), len(self._problems)
        count = 0
        for error in self._index_check.problems():
            count += 1
            if len(self._problems) < MAX_LISTED:
                self._problems.append(Problem.of(error))
        return ("wrong" if count else "right"), count

    def _gaps(self) -> Gaps:
        car = self._car
        before_payload = before_index = behind = 0
        if car.header is not None:
            before_payload = car.payload_position - len(PRAGMA) - SIZE
            behind = car.source.size - car.payload_end
            if car.header.has_index:
                before_index = car.header.index_offset - car.payload_end
                index = None if self._index_check is None else car.index
                behind = 0 if index is None else car.source.size - car.header.index_offset - index.size
        return Gaps(
            before_payload=before_payload,
            at_payload_end=car.payload_end - self._end,
            before_index=before_index,
            behind=behind,
        )


def _fan_out(graph: Graph) -> tuple[dict[int, int], int]:
    """Blocks by their number of links, in powers of two, and how many links they have in all."""
    counts = Counter(len(graph.edges_of(node)) for node in range(1, len(graph)) if not graph.is_copy(node))
    fan_out = Counter[int]()
    for links, many in counts.items():
        fan_out[1 << (links.bit_length() - 1) if links else 0] += many
    return dict(sorted(fan_out.items())), sum(links * many for links, many in counts.items())
