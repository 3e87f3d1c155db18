"""Walks: the blocks of a DAG one after the other, from its roots along the links, with budgets.

What is kept is the CIDs that were seen and the links that are still to be followed, never the data of a block:
around 200 bytes for each block of the DAG. Nothing here calls itself, so a chain of a million blocks is only long.

Source of the order: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/), Determinism.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, RAW
from carv2.codec import links_of
from carv2.errors import BlockNotFoundError, BudgetError, UnknownCodecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Literal, TypeAlias

    from carv2._seen import Seen
    from carv2.blockstore import Blockstore
    from carv2.cid import CIDLike

    Store: TypeAlias = "Blockstore | Mapping[Any, bytes]"
    """A blockstore, or any mapping from CIDs to data."""

    OnMissing: TypeAlias = "Literal['raise'] | Callable[[CID], object]"
    OnUnknown: TypeAlias = "Literal['raise', 'leaf']"

__all__ = ["Visit", "walk"]

MAX_DEPTH = 1024
"""Levels of links that a walk follows unless told otherwise; boxo's limit for UnixFS."""

MAX_IDENTITY = 2 << 10
"""Bytes of an identity CID that is looked into for links: go-car indexes none that is larger, IPFS has 128.

It could hold others, and those others, which take memory by the square of its size.
"""

AT_ONCE = 64
"""Blocks that a breadth-first walk asks a store for at a time."""


class Visit(NamedTuple):
    """A block that a walk came to."""

    cid_bytes: bytes
    """The CID as the link has it, in binary form."""
    data: bytes
    depth: int
    """Links between the root and the block, on the way that the walk took."""

    @property
    def cid(self) -> CID:
        """The CID; made anew at each call."""
        return CID.trusted(self.cid_bytes)


def walk(
    store: Store,
    roots: CIDLike | Iterable[CIDLike],
    *,
    order: Literal["dfs", "bfs"] = "dfs",
    repeats: bool = False,
    max_depth: int | None = MAX_DEPTH,
    max_blocks: int | None = None,
    max_bytes: int | None = None,
    on_missing: OnMissing = "raise",
    on_unknown: OnUnknown = "raise",
) -> Iterator[Visit]:
    """Yield the blocks of the DAGs of ``roots``, each before the blocks that it links to.

    A block comes once for each whole CID, as in go-car's traversals: blocks of the same hash with different codecs
    are different nodes, since they may link to different blocks. Identity CIDs are blocks like others; their
    data come from themselves. The store is trusted to give the right data, which those of carv2 check.

    Args:
        store: where the blocks come from; one that has ``get_many`` is asked for many at a time in a
            breadth-first walk.
        roots: one CID or several.
        order: ``"dfs"`` is depth-first (pre-order, links in the order they stand), ``"bfs"`` level by level.
        repeats: follow each link, also to a block that was there before. A small DAG can have a great many
            ways through it: set ``max_blocks`` or ``max_bytes`` as well.
        max_depth: levels of links below the roots; None for as many as there are.
        max_blocks: blocks that may come out, missing ones counted with them.
        max_bytes: bytes of data that may come out.
        on_missing: ``"raise"``, or what is called with each CID that the store does not have.
        on_unknown: ``"leaf"`` takes a block whose codec is not known here for one without links.

    Raises:
        BlockNotFoundError: the store does not have a block.
        BudgetError: the DAG is deeper or larger than was granted.
        CodecError: the links of a block cannot be read; the block itself was yielded.
        UnknownCodecError: the same, because its codec is not known.
        ValueError: an order that there is not, or another ``on_unknown``.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> from carv2.codec import dag_pb
    >>> fish = CID.of_data(b"fish")
    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(fish.raw), dag_pb.PBLink(fish.raw)]))
    >>> root = CID.of_data(node, codec="dag-pb")
    >>> store = MemoryBlockstore([(root, node), (fish, b"fish")])
    >>> [visit.depth for visit in walk(store, root)]
    [0, 1]
    >>> [visit.depth for visit in walk(store, root, repeats=True)]
    [0, 1, 1]
    """
    if order not in {"dfs", "bfs"}:
        raise ValueError(f"order {order!r}, known: 'dfs' and 'bfs'")
    if on_unknown not in {"raise", "leaf"}:
        raise ValueError(f"on_unknown {on_unknown!r}, known: 'raise' and 'leaf'")
    if on_missing != "raise" and not callable(on_missing):
        raise TypeError(f"on_missing {on_missing!r}, expected 'raise' or a function")
    first = [bytes(CID.of(root)) for root in as_roots(roots)]
    budget = Budget(max_depth, max_blocks, max_bytes)
    fetch = Fetch(store, on_missing)
    if order == "dfs":
        return depth_first(fetch, first, budget, repeats=repeats, on_unknown=on_unknown)
    return _breadth_first(fetch, first, budget, repeats=repeats, on_unknown=on_unknown)


def as_roots(roots: CIDLike | Iterable[CIDLike]) -> Iterable[CIDLike]:
    """``roots``, where one CID may stand for a sequence of one."""
    one = isinstance(roots, (CID, str, bytes, bytearray, memoryview)) or not hasattr(roots, "__iter__")
    return [roots] if one else roots  # type: ignore[list-item, return-value]  # pyright: ignore[reportReturnType]


class Budget:
    """What is left of what a walk was granted."""

    def __init__(self, max_depth: int | None, max_blocks: int | None, max_bytes: int | None) -> None:
        self._max_depth, self._max_blocks, self._max_bytes = max_depth, max_blocks, max_bytes
        self._blocks = self._bytes = 0

    def enter(self, depth: int) -> None:
        """Count a block at ``depth`` before it is fetched."""
        self._blocks += 1
        if self._max_depth is not None and depth > self._max_depth:
            raise BudgetError("levels of links", allowed=self._max_depth)
        if self._max_blocks is not None and self._blocks > self._max_blocks:
            raise BudgetError("blocks", allowed=self._max_blocks)

    def take(self, size: int) -> None:
        """Count the bytes of a block."""
        self._bytes += size
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise BudgetError("bytes of blocks", allowed=self._max_bytes)


class Fetch:
    """Blocks by binary CID: out of a store, or out of the CID."""

    def __init__(self, store: Store, on_missing: OnMissing) -> None:
        self._store, self._on_missing = store, on_missing
        self._get_many: Callable[[list[CID]], Iterator[tuple[bytes, bytes]]] | None
        self._get_many = getattr(store, "get_many", None)

    def one(self, cid_bytes: bytes) -> bytes | None:
        """The data of the block; None if it is missing, and that was reported."""
        cid = CID.trusted(cid_bytes)
        if cid.is_identity:
            return cid.digest
        try:
            return self._store[cid]
        except KeyError as error:
            self._missing(cid, error)
            return None

    def many(self, wanted: list[bytes]) -> Iterator[bytes | None]:
        """The same for several, in that order."""
        if self._get_many is None or len(wanted) < 2:
            yield from map(self.one, wanted)
            return
        at = 0
        try:
            for _, data in self._get_many([CID.trusted(cid) for cid in wanted]):
                at += 1
                yield data
        except BlockNotFoundError:
            pass  # from that one on, one by one
        yield from map(self.one, wanted[at:])

    def _missing(self, cid: CID, error: KeyError) -> None:
        if callable(self._on_missing):
            self._on_missing(cid)
        elif isinstance(error, BlockNotFoundError):
            raise error
        else:  # a plain dict's
            raise BlockNotFoundError(cid) from None


def followed(cid_bytes: bytes, data: bytes, *, on_unknown: OnUnknown) -> list[bytes]:
    """The links of a block, as a walk follows them."""
    if len(cid_bytes) > MAX_IDENTITY and CID.trusted(cid_bytes).codec != RAW:
        raise BudgetError("bytes in an identity CID that may have links", allowed=MAX_IDENTITY)
    try:
        return links_of(cid_bytes, data)
    except UnknownCodecError:
        if on_unknown == "raise":
            raise
        return []


def depth_first(
    fetch: Fetch,
    roots: list[bytes],
    budget: Budget,
    *,
    repeats: bool,
    on_unknown: OnUnknown,
    follow: Callable[..., list[bytes]] = followed,
) -> Iterator[Visit]:
    """The visits of a depth-first walk; ``follow`` gives the links of a block, as :func:`followed` does."""
    seen: Seen = {}
    levels = [roots[::-1]]  # of links yet to be followed, the next one last: what is done is let go of
    while levels:
        links = levels[-1]
        if not links:
            levels.pop()
            continue
        cid = links.pop()
        if not repeats:
            if cid in seen:
                continue
            seen[cid] = None
        depth = len(levels) - 1
        budget.enter(depth)
        data = fetch.one(cid)
        if data is None:
            continue
        budget.take(len(data))
        yield Visit(cid, data, depth)
        links = follow(cid, data, on_unknown=on_unknown)
        if links:
            links.reverse()
            levels.append(links)


def _breadth_first(
    fetch: Fetch, roots: list[bytes], budget: Budget, *, repeats: bool, on_unknown: OnUnknown
) -> Iterator[Visit]:
    seen: Seen = {}
    depth, level = 0, list(roots) if repeats else _unseen(roots, seen)
    while level:
        below: list[bytes] = []
        for at in range(0, len(level), AT_ONCE):
            wanted = level[at : at + AT_ONCE]
            for cid, data in zip(wanted, fetch.many(wanted), strict=True):
                budget.enter(depth)
                if data is None:
                    continue
                budget.take(len(data))
                yield Visit(cid, data, depth)
                links = followed(cid, data, on_unknown=on_unknown)
                below += links if repeats else _unseen(links, seen)
        depth, level = depth + 1, below


def _unseen(links: list[bytes], seen: Seen) -> list[bytes]:
    """Those of ``links`` that are not in ``seen`` yet; from now on they are."""
    new = [link for link in dict.fromkeys(links) if link not in seen]
    seen.update(dict.fromkeys(new))
    return new
