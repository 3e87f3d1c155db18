"""Whether a DAG is all there: what its roots reach, what is missing on the way, and what nothing leads to.

Source of what links are: the specification of each codec, see :mod:`carv2.codec`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.blockstore import Blockstore, ReadOnlyBlockstore
from carv2.cid import CID
from carv2.dag._gather import MAX_LISTED, GraphScan, Links
from carv2.dag.walking import AT_ONCE, Fetch, as_roots
from carv2.errors import CodecError
from carv2.operations._tally import require_known_hashes, take
from carv2.operations.problems import Problem
from carv2.operations.verify import verify
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carv2._scan import Batch
    from carv2._seen import Seen
    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.dag.walking import Store
    from carv2.errors import CarError
    from carv2.operations.verify import Profile, Verification

__all__ = ["Completeness", "Missing", "check_complete", "verify_deep"]

_V0_HEAD, _V1_HEAD = b"\x12\x20", b"\x01\x70"

MAX_TOLD_APART = 1 << 18
"""Missing blocks of a store that are remembered, so that each counts once: the leaves of a file of 64 GiB."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A block that is not there, and one that links to it."""

    cid: CID
    parent: CID | None
    """The first block that links to it, in the order of a breadth-first walk; None for a root."""


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """What :func:`check_complete` found. Identity CIDs are part of the blocks that hold them: they never count."""

    block_count: int
    """Blocks that the roots reach, the roots among them, each counted once."""
    block_bytes: int
    """Their data, in bytes."""
    depth: int
    """Links between the roots and the block that is farthest from them, on the shortest way."""
    missing: tuple[Missing, ...]
    """The first 1,000, those nearest to the roots first."""
    missing_count: int
    """Multihashes that are linked to and not there: links of several codecs to one of them count once. In a store,
    that is so for the first 262,144; beyond them each link counts."""
    unreachable_count: int
    """Multihashes of blocks that no way from the roots leads to, by whatever codec and however often they stand
    there."""
    unreachable_bytes: int
    unknown_codecs: Mapping[int, int]
    """Reached blocks whose codec is not known here, by multicodec number: where they lead to was not followed."""
    faults: tuple[Problem, ...]
    """The first 1,000 reached blocks whose links cannot be read."""
    fault_count: int

    @property
    def complete(self) -> bool:
        """All that the roots lead to is there, and all links could be followed."""
        return not (self.missing_count or self.fault_count or self.unknown_codecs)


def check_complete(
    source_or_store: SourceLike | Store,
    roots: CIDLike | Iterable[CIDLike] | None = None,
    *,
    check_hashes: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
) -> Completeness:
    """Check that everything that the roots lead to is there.

    An archive is read once, front to back, its hashes checked on the way; that takes some 110 bytes of memory for
    each block and the link to it, wherever in the file they stand. Only an archive that names blocks with other
    codecs than its links do is walked through, block by block, afterwards. A store is walked through; for one
    of an archive that takes some 200 bytes for each of its blocks, and 30 MB at most for what is missing.

    Args:
        source_or_store: an archive (a path, bytes, a file), or a blockstore.
        roots: one CID or several; None for those that the archive, or the store, names.
        check_hashes: check each block of an archive against its hash.
        limits: upper bounds for what an archive may claim.
        null_padding: take a zero-length section for the end of the payload.

    Raises:
        FormatError: the archive is damaged.
        IntegrityError: a block of it is not what its CID says.
        ValueError: ``roots`` are needed, because the store has none.

    >>> import carv2
    >>> from carv2.codec import dag_pb
    >>> fish = CID.of_data(b"fish")
    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(fish.raw)]))
    >>> root = CID.of_data(node, codec="dag-pb")
    >>> found = check_complete(b"".join(carv2.iter_car([root], [(root, node)])))
    >>> found.complete, found.block_count, [missing.cid == fish for missing in found.missing]
    (False, 1, [True])
    """
    if isinstance(source_or_store, (Blockstore, Mapping)):
        store = source_or_store
        named = getattr(store, "roots", None) if roots is None else as_roots(roots)
        if named is None:
            raise ValueError("the store names no roots: give them")
        return _of_store(store, [CID.of(root) for root in named])
    with CarReader(source_or_store, limits=limits, null_padding=null_padding) as car:
        wanted = car.roots if roots is None else tuple(CID.of(root) for root in as_roots(roots))
        scan = GraphScan(car, wanted)
        require_known_hashes(car, take(car, hashes=check_hashes, on_batch=scan.add))
        return _of_scan(scan)


def verify_deep(
    source: SourceLike,
    *,
    workers: int = 1,
    allow_unknown_hash: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    profile: Profile | None = None,
) -> tuple[Verification, Completeness | None]:
    """:func:`carv2.verify` and :func:`check_complete` in one pass over the archive.

    The second of the pair is None where the sections could not be read to the end: the first then says why.

    >>> import carv2
    >>> cid = carv2.CID.of_data(b"fish")
    >>> report, complete = verify_deep(b"".join(carv2.iter_car([cid], [(cid, b"fish")])))
    >>> report.ok, complete is not None and complete.missing
    (True, ())
    """
    watch = _Watch()
    report = verify(
        source,
        workers=workers,
        allow_unknown_hash=allow_unknown_hash,
        limits=limits,
        null_padding=null_padding,
        profile=profile,
        watch=watch,
    )
    return report, watch.result


class _Watch:
    """Gathers the graph while :func:`carv2.verify` goes through an archive."""

    def __init__(self) -> None:
        self.result: Completeness | None = None
        self._scan: GraphScan | None = None

    def open(self, car: CarReader) -> None:
        self._scan = GraphScan(car, car.roots)

    def add(self, batch: Batch) -> None:
        if self._scan is not None:
            self._scan.add(batch)

    def finish(self) -> None:
        if self._scan is not None:
            self.result = _of_scan(self._scan)


def _of_scan(scan: GraphScan) -> Completeness:
    """What a scan that has seen the whole archive tells."""
    graph = scan.graph
    graph.join()
    if graph.is_ambiguous:
        with ReadOnlyBlockstore(
            scan.car.source,
            rebuild_index=True,
            verify=False,
            null_padding=scan.car.null_padding,
            limits=scan.car.limits,
        ) as store:
            return _of_store(store, scan.roots)
    found = scan.reach()
    reached, nodes = found.nodes, range(1, len(graph))
    faults, fault_count = scan.faults(found)
    codecs = graph.codec_counts(node for node in nodes if reached[node])
    return Completeness(
        block_count=sum(codecs.values()),
        block_bytes=sum(graph.sizes[node] for node in nodes if reached[node]),
        depth=found.depth,
        missing=tuple(Missing(*each) for each in scan.missing(found)),
        missing_count=found.missing_count,
        unreachable_count=sum(1 for _ in graph.unreached(reached)),
        unreachable_bytes=sum(graph.sizes[node] for node in graph.unreached(reached)),
        unknown_codecs={code: codecs[code] for code in sorted(scan.links.unknown_codecs & codecs.keys())},
        faults=tuple(map(_problem, faults)),
        fault_count=fault_count,
    )


def _problem(error: CarError) -> Problem:
    cid = error.cid if isinstance(error, CodecError) else None
    return Problem(kind=type(error).__name__, message=str(error), cid=cid)


def _of_store(store: Store, roots: Sequence[CID], *, unreachable: bool = True) -> Completeness:
    walk = _StoreWalk(store)
    walk.run([bytes(root) for root in roots])
    lost = _unreached(store, walk) if unreachable else {}
    return Completeness(
        block_count=walk.block_count,
        block_bytes=walk.block_bytes,
        depth=walk.depth,
        missing=tuple(walk.missing),
        missing_count=walk.missing_count,
        unreachable_count=len(lost),
        unreachable_bytes=sum(lost.values()),
        unknown_codecs=dict(sorted(walk.unknown_codecs.items())),
        faults=tuple(map(_problem, walk.links.faults)),
        fault_count=walk.links.fault_count,
    )


class _StoreWalk:
    """A breadth-first walk that keeps count, and goes on where a block is missing or makes no sense.

    An archive's index says of most missing blocks that they are: what links to them is not kept for later.
    """

    def __init__(self, store: Store) -> None:
        self.links = Links()
        self.seen: Seen = {}
        self.block_count = self.block_bytes = self.depth = 0
        self.missing: list[Missing] = []
        self.missing_count = 0
        self.missed: set[bytes] = set()
        """Multihashes of the first missing blocks."""
        self.unknown_codecs: Counter[int] = Counter()
        self._fetch = Fetch(store, lambda _: None)
        self._index = store.index if isinstance(store, ReadOnlyBlockstore) else None
        self._missing_below: list[Missing] = []

    def run(self, roots: list[bytes]) -> None:
        """Visit all that ``roots`` lead to."""
        level = self._to_visit(self.links.expanded(roots), None)
        depth = 0
        while level:
            self._list_missing_below()
            below: list[tuple[bytes, bytes | None]] = []
            for at in range(0, len(level), AT_ONCE):
                batch = level[at : at + AT_ONCE]
                found = self._fetch.many([cid for cid, _ in batch])
                for (cid, parent), data in zip(batch, found, strict=True):
                    if data is None:
                        self._miss(cid, parent, self.missing)
                    else:
                        self.depth = depth
                        below += self._to_visit(self._count(cid, data), cid)
            depth, level = depth + 1, below
        self._list_missing_below()

    def _count(self, cid: bytes, data: bytes) -> Sequence[bytes]:
        self.block_count += 1
        self.block_bytes += len(data)
        links = self.links.of(cid, data)
        if self.links.unknown_codecs and (codec := CID.trusted(cid).codec) in self.links.unknown_codecs:
            self.unknown_codecs[codec] += 1
        return links

    def _miss(self, cid: bytes, parent: bytes | None, listed: list[Missing]) -> None:
        multihash = _multihash_of(cid)
        if multihash in self.missed:
            return
        self.missing_count += 1
        if len(self.missed) < MAX_TOLD_APART:
            self.missed.add(multihash)
        if len(listed) < MAX_LISTED:
            listed.append(Missing(CID.trusted(cid), None if parent is None else CID.trusted(parent)))

    def _list_missing_below(self) -> None:
        """List what the index said of the links to a level, before what the level itself lacks."""
        if self._missing_below and not self.missing:
            self._fetch.one(bytes(self._missing_below[0].cid))  # the store knows if its archive was changed
        self.missing += self._missing_below[: MAX_LISTED - len(self.missing)]
        self._missing_below.clear()

    def _to_visit(self, links: Sequence[bytes], parent: bytes | None) -> list[tuple[bytes, bytes | None]]:
        """Those of ``links`` that are new, and may be there."""
        new: list[tuple[bytes, bytes | None]] = []
        for link in links:
            key = _V1_HEAD + link if link[:2] == _V0_HEAD else link  # both versions name the same block
            if key in self.seen:
                continue
            if self._index is not None and CID.trusted(link) not in self._index:
                self._miss(link, parent, self._missing_below)
            else:
                self.seen[key] = None
                new.append((link, parent))
        return new


def _multihash_of(cid: bytes) -> bytes:
    if cid[:2] == _V0_HEAD:
        return cid
    return cid[2:] if cid[1] < 128 else CID.trusted(cid).multihash  # most codecs are one byte


def _unreached(store: Store, walk: _StoreWalk) -> dict[bytes, int]:
    """Sizes of the blocks of ``store``, by multihash, that ``walk`` neither came to nor missed."""
    reached = set(map(_multihash_of, walk.seen))
    lost: dict[bytes, int] = {}
    for cid in store:
        if cid.multihash not in reached and cid.multihash not in walk.missed and not cid.is_identity:
            lost[cid.multihash] = store.size_of(cid) if isinstance(store, Blockstore) else len(store[cid])
    return lost
