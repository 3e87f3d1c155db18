"""Archives out of DAGs: one DAG taken out of a store, and an archive brought into another order.

Source of the order: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/), Determinism; go-car's
``TraverseV1``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.blockstore import Blockstore, ReadOnlyBlockstore
from carv2.cid import CID
from carv2.dag._gather import is_identity
from carv2.dag.order import multihash_of
from carv2.dag.selector import EVERYTHING, select
from carv2.dag.walking import walk
from carv2.errors import BlockNotFoundError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import CarWriter

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable
    from typing import BinaryIO, Literal

    from carv2._seen import Seen
    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.dag.selector import Selector
    from carv2.dag.walking import OnMissing, OnUnknown, Store, Visit

__all__ = ["Exported", "Sorted", "export", "sort"]

MAX_LISTED = 1000

MAX_GROWTH = 1000
"""Times its size that an archive may grow by repeating blocks, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What :func:`export` wrote."""

    root: CID
    block_count: int
    block_bytes: int
    """Data of the blocks."""
    missing: tuple[CID, ...]
    """The first 1,000 blocks that were passed over because they are not there, in the order of the walk."""
    missing_count: int


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """What :func:`sort` wrote."""

    roots: tuple[CID, ...]
    block_count: int
    """Sections of the new archive."""
    repeated_count: int
    """Those of them whose block stands there before."""
    missing_count: int
    """Blocks that links lead to and the archive does not have."""
    unreachable_count: int
    """Blocks that no way from the roots leads to: left out, or behind the others."""


class _Missing:
    """Keeps count of what a walk passes over."""

    def __init__(self, needed: CID | None = None) -> None:
        self._needed = needed
        self._seen: Seen = {}
        self.first: list[CID] = []

    def note(self, cid: CID) -> None:
        """Count a block; one that is needed must not be missing."""
        if cid == self._needed:
            raise BlockNotFoundError(cid)
        if bytes(cid) not in self._seen:
            self._seen[bytes(cid)] = None
            self.first += [cid] if len(self.first) < MAX_LISTED else []

    def __len__(self) -> int:
        return len(self._seen)


def export(
    source_or_store: SourceLike | Store,
    out: str | os.PathLike[str] | BinaryIO,
    root: CIDLike | None = None,
    selector: Selector | str = EVERYTHING,
    *,
    strict: bool = True,
    version: int = 2,
    identity: bool = False,
    index_codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
    max_depth: int | None = None,
    max_blocks: int | None = None,
    max_bytes: int | None = None,
    max_steps: int | None = None,
    on_unknown: OnUnknown = "raise",
    limits: Limits = DEFAULT_LIMITS,
) -> Exported:
    """Write an archive of the blocks that a selector takes from a root: depth-first, each CID once.

    Args:
        source_or_store: an archive (a path, bytes, a file), or a blockstore.
        out: a path, which is replaced whole or not at all, or a sink, which must be able to seek for a CARv2.
        root: where the DAG begins; None for the only root that the archive, or the store, names.
        selector: which of its blocks; all, unless given. See :mod:`carv2.dag.selector`.
        strict: a block that is missing is an error; otherwise it is passed over and reported. The root must be
            there either way.
        version: of the new archive, 1 or 2.
        identity: write identity CIDs as blocks; they are no use to a reader, which has their data in the CID.
        index_codec: format of a CARv2's index; None for none.
        max_depth: links between the root and a block; None for as many as there are.
        max_blocks: blocks that may be written.
        max_bytes: bytes of data that may be written.
        max_steps: steps, children of values, that ``selector`` may take; None for 10,000,000 and more for large
            DAGs. See :func:`carv2.dag.select`.
        on_unknown: ``"leaf"`` takes a block whose codec is not known here for one without links.
        limits: upper bounds for what an archive may claim.

    Raises:
        BlockNotFoundError: a block is missing, or the root.
        SelectorError: ``selector`` is no selector.
        ValueError: ``root`` is needed.
        FormatError, IntegrityError: a block, or the archive, is damaged.
        UnknownCodecError: the links of a block cannot be known.
        BudgetError: the DAG is larger than was granted.

    >>> import carv2, io
    >>> fish = CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([fish], [(fish, b"fish"), (CID.of_data(b"lobster"), b"lobster")]))
    >>> export(archive, io.BytesIO()).block_count
    1
    """
    with _opened(source_or_store, limits) as (store, trusted):
        first = _only_root(store) if root is None else CID.of(root)
        missing = _Missing(first)
        on_missing: OnMissing = "raise" if strict else missing.note
        budget = {"max_depth": max_depth, "max_blocks": max_blocks, "max_bytes": max_bytes}
        budget["max_steps"] = max_steps
        visits = select(
            store, first, selector, repeats=False, on_missing=on_missing, on_unknown=on_unknown, **budget
        )
        with (
            writing(out) as sink,
            CarWriter(
                sink, [first], version=version, verify=not trusted, index_codec=index_codec, limits=limits
            ) as writer,
        ):
            count, size = _write(writer, visits, identity=identity)
    return Exported(
        root=first,
        block_count=count,
        block_bytes=size,
        missing=tuple(missing.first),
        missing_count=len(missing),
    )


def _write(writer: CarWriter, visits: Iterable[Visit], *, identity: bool) -> tuple[int, int]:
    """Write blocks; how many they are, and the bytes of their data."""
    count = size = 0
    for cid_bytes, data, _ in visits:
        if identity or not is_identity(cid_bytes):
            writer.write(cid_bytes, data)
            count, size = count + 1, size + len(data)
    return count, size


@contextlib.contextmanager
def _opened(source_or_store: SourceLike | Store, limits: Limits) -> Generator[tuple[Store, bool]]:
    """A store, and whether it checks what it gives."""
    if isinstance(source_or_store, (Blockstore, Mapping)):
        yield source_or_store, False
    else:
        with ReadOnlyBlockstore(source_or_store, limits=limits) as store:
            yield store, True


def _only_root(store: Store) -> CID:
    roots: tuple[CID, ...] = tuple(getattr(store, "roots", ()))
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} roots here: say which one is meant")
    return roots[0]


def sort(
    source: SourceLike,
    out: str | os.PathLike[str] | BinaryIO,
    *,
    order: Literal["dfs", "bfs"] = "dfs",
    dups: bool = False,
    keep_unreachable: bool = False,
    version: int | None = None,
    max_bytes: int | None = None,
    on_unknown: OnUnknown = "leaf",
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> Sorted:
    """Write an archive anew with its blocks in the order of a walk from its roots.

    That is what a trustless gateway sends: identity CIDs are no blocks, and each CID is the one of the link. The
    same archive always gives the same bytes. What is missing is passed over; an index that ``source`` has is not
    believed, as what it does not name would be lost.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        out: a path, which may be that of ``source`` and is replaced whole or not at all, or a sink.
        order: ``"dfs"`` or ``"bfs"``: see :func:`carv2.dag.walk`.
        dups: repeat a block each time that a link leads to it.
        keep_unreachable: write the blocks that no way from the roots leads to as well, behind the others and in
            the order of the file, each once. Otherwise they are left out.
        version: of the new archive; None for that of ``source``. A CARv2 gets an index.
        max_bytes: data that may be written; None for no limit, and with ``dups`` for 1,000 times the size of
            ``source``.
        on_unknown: ``"leaf"`` takes a block whose codec is not known here for one without links.
        limits: upper bounds for what the archive may claim.
        null_padding: take a zero-length section for the end of the payload.

    Raises:
        FormatError, IntegrityError: the archive is damaged.
        BudgetError: more than ``max_bytes``.

    >>> import carv2, io
    >>> from carv2.codec import dag_pb
    >>> fish = CID.of_data(b"fish")
    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(fish.raw)]))
    >>> root = CID.of_data(node, codec="dag-pb")
    >>> sink = io.BytesIO()
    >>> _ = sort(b"".join(carv2.iter_car([root], [(fish, b"fish"), (root, node)])), sink)
    >>> [block.cid == root for block in carv2.open(sink.getvalue())]
    [True, False]
    """
    missing = _Missing()
    with (
        CarReader(source, limits=limits, null_padding=null_padding) as car,
        ReadOnlyBlockstore(car.source, rebuild_index=True, limits=limits, null_padding=null_padding) as store,
    ):
        if max_bytes is None and dups:
            max_bytes = MAX_GROWTH * car.source.size
        budget: dict[str, int | None] = {"max_depth": None, "max_bytes": max_bytes}
        visits = walk(
            store, car.roots, order=order, repeats=dups, on_missing=missing.note, on_unknown=on_unknown, **budget
        )
        with (
            writing(out) as sink,
            CarWriter(sink, car.roots, version=version or car.version, verify=False, limits=limits) as writer,
        ):
            sections = _Sections(writer)
            sections.reachable(visits)
            unreachable = sections.others(car, write=keep_unreachable)
    return Sorted(
        roots=car.roots,
        block_count=sections.count,
        repeated_count=sections.repeated,
        missing_count=len(missing),
        unreachable_count=unreachable,
    )


class _Sections:
    """Writes the sections of a sorted archive."""

    def __init__(self, writer: CarWriter) -> None:
        self._writer = writer
        self._written: Seen = {}  # multihashes
        self.count = self.repeated = 0

    def reachable(self, visits: Iterable[Visit]) -> None:
        """Write what a walk comes to."""
        written = self._written
        for visit in visits:
            if is_identity(visit.cid_bytes):
                continue
            key = multihash_of(visit.cid_bytes)
            self.repeated += key in written
            written[key] = None
            self._writer.write(visit.cid_bytes, visit.data)
            self.count += 1

    def others(self, car: CarReader, *, write: bool) -> int:
        """Write the blocks that are not there yet, if ``write``; how many they are."""
        count = 0
        for cid_bytes, data in car:
            key = multihash_of(cid_bytes)
            if key in self._written or is_identity(cid_bytes):
                continue
            self._written[key] = None
            count += 1
            if write:
                self._writer.write(cid_bytes, data)
                self.count += 1
        return count
