"""Paths: from a root along names and places to a value, through as many blocks as there are on the way.

Source: IPLD's paths (https://ipld.io/docs/data-model/pathing/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carv2.cid import CID
from carv2.codec.dag_pb import PBNode
from carv2.dag._values import children, data_model, decoded
from carv2.dag.walking import Fetch
from carv2.errors import BudgetError, PathNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.cid import CIDLike
    from carv2.dag.walking import Store

__all__ = ["Resolved", "resolve"]

MAX_BLOCKS = 1024
"""Blocks on the way that are enough for any honest path."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a path leads."""

    cid: CID
    """The block that the path ends in."""
    remaining: tuple[str, ...]
    """The segments of the path within that block; empty where the path leads to the whole of it."""
    value: Any
    """What is there: a value of the data model, a dag-pb node being a dict of ``Links`` and ``Data``. A CID, if
    the path ends with a link that was not to be followed."""
    blocks: tuple[CID, ...]
    """The blocks on the way, the root first, ``cid`` last."""


def resolve(
    store: Store,
    root: CIDLike,
    path: str | Sequence[str] = "",
    *,
    follow_last: bool = True,
    max_blocks: int = MAX_BLOCKS,
) -> Resolved:
    """Follow ``path`` from ``root``.

    A segment is a key of a map, a place in a list, or the name of a dag-pb link (the first of that name, as in
    Kubo's ``/ipfs`` paths; where there is none, ``Links`` and ``Data`` are names too). Links are followed as they
    come. Names in sharded directories are :mod:`carv2.unixfs`'s.

    Args:
        store: where the blocks come from.
        root: the block to begin with.
        path: segments with slashes between them, empty ones passed over; or a sequence, taken as it is.
        follow_last: load the block that the path ends with, if it ends with a link; otherwise ``value`` is a CID.
        max_blocks: blocks that may be on the way.

    Raises:
        PathNotFoundError: there is nothing by the name of a segment; the error has the segment and the block.
        BlockNotFoundError: a block on the way is missing.
        BudgetError: more than ``max_blocks`` are on the way.
        CodecError, UnknownCodecError: a block cannot be decoded.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> from carv2.codec import dag_pb
    >>> fish = CID.of_data(b"fish")
    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(fish.raw, "fish.txt", 4)]))
    >>> root = CID.of_data(node, codec="dag-pb")
    >>> store = MemoryBlockstore([(root, node), (fish, b"fish")])
    >>> resolve(store, root, "fish.txt").value
    b'fish'
    """
    segments = [part for part in path.split("/") if part] if isinstance(path, str) else list(path)
    way = _Way(store, CID.of(root), "/".join(segments), max_blocks)
    for segment in segments:
        way.follow()
        way.step(segment)
    if follow_last or not segments:
        way.follow()
    value = data_model(way.value) if isinstance(way.value, PBNode) else way.value
    return Resolved(way.blocks[-1], tuple(way.within), value, tuple(way.blocks))


class _Way:
    """How far a path was followed."""

    def __init__(self, store: Store, root: CID, path: str, max_blocks: int) -> None:
        self._fetch = Fetch(store, "raise")
        self._path, self._max_blocks = path, max_blocks
        self.value: Any = root
        self.blocks: list[CID] = []
        self.within: list[str] = []

    def follow(self) -> None:
        """While the value is a link, put what it leads to in its place."""
        while isinstance(self.value, CID):
            if len(self.blocks) == self._max_blocks:
                raise BudgetError("blocks on the way", allowed=self._max_blocks)
            cid = self.value
            data = self._fetch.one(bytes(cid))
            self.blocks.append(cid)
            self.within = []
            self.value = decoded(cid, data or b"")

    def step(self, segment: str) -> None:
        """Go to what ``segment`` names in the value."""
        if isinstance(self.value, PBNode):
            link = next((link for link in self.value.links if link.name == segment), None)
            if link is not None:
                self.value = CID.trusted(link.cid)
                self.within.append(segment)
                return
            self.value = data_model(self.value)
        found = children(self.value, segment)
        if not found:
            raise PathNotFoundError(self._path, segment=segment, cid=self.blocks[-1])
        self.value = found[0]
        self.within.append(segment)
