"""Which block links to which, packed: what is left of an archive when only the shape of its DAG counts.

Blocks and links come in as they stand in the file, in any order, so a link may come long before the block that
it leads to. Both are put into buckets by the last byte of the multihash; when all are in, a bucket at a time is
joined through a dict. Multihashes are compared whole: nothing here is a matter of probability.

With digests of 32 bytes, a block takes 60 bytes and a link 44.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carv2.cid import CID, DAG_PB
from carv2.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_COUNT = (1 << 31) - 1  # of blocks, and of links: together they fit into 32 bits
_MAX_CODECS = 1 << 16
_V0_HEAD = b"\x12\x20"
ROOTS = 0
"""The node whose links are the roots; it is no block."""


@dataclass
class _Bucket:
    """Blocks and links whose multihashes are of one size and end in one byte."""

    blocks: bytearray = field(default_factory=bytearray)
    nodes: array[int] = field(default_factory=lambda: array("I"))
    links: bytearray = field(default_factory=bytearray)
    edges: array[int] = field(default_factory=lambda: array("I"))


class Graph:
    """A graph of blocks, which are numbered as they come; 0 is what the roots hang from."""

    def __init__(self, roots: Iterable[bytes]) -> None:
        self.sizes = array("Q")
        """Bytes of each block."""
        self.positions = array("Q")
        """Where each block was found."""
        self._stops = array("I")  # number of the edge behind the last one of each node
        self._node_codecs = array("H")
        self._edge_codecs = array("H")
        self._targets = array("I")
        self._buckets: dict[tuple[int, int], _Bucket] = {}
        self._codecs: dict[int, int] = {}
        self._heads: dict[bytes, tuple[int, int]] = {}
        self._copies = bytearray()
        self.missing_count = 0
        """Multihashes that are linked to and are no block; set by :meth:`join`."""
        self.is_ambiguous = False
        """A link has another codec than the block that it leads to, so that the block's own links are not the
        ones to follow; set by :meth:`join`."""
        self.add(b"\x01\x55\x00\x00", 0, 0, roots)

    def __len__(self) -> int:
        return len(self.sizes)

    # -- taking in ----------------------------------------------------------------------------------------

    def add(self, cid: bytes, size: int, position: int, links: Iterable[bytes]) -> None:
        """Take in a block of ``size`` bytes found at ``position``, and what it links to: no identity CIDs."""
        codec, skip = self._heads.get(cid[:4]) or self._head_of(cid)
        node = len(self.sizes)
        if node == _MAX_COUNT:
            raise BudgetError("blocks", allowed=_MAX_COUNT)
        if node:
            bucket = self._bucket_of(cid, skip)
            bucket.blocks += cid[skip:]
            bucket.nodes.append(node)
        self.sizes.append(size)
        self.positions.append(position)
        self._node_codecs.append(codec)
        for link in links:
            self._add_link(link)
        self._stops.append(len(self._edge_codecs))

    def _add_link(self, link: bytes) -> None:
        edge = len(self._edge_codecs)
        if edge == _MAX_COUNT:
            raise BudgetError("links", allowed=_MAX_COUNT)
        codec, skip = self._heads.get(link[:4]) or self._head_of(link)
        bucket = self._bucket_of(link, skip)
        bucket.links += link[skip:]
        bucket.edges.append(edge)
        self._edge_codecs.append(codec)

    def _bucket_of(self, cid: bytes, skip: int) -> _Bucket:
        key = len(cid) - skip, cid[-1]
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket()
        return bucket

    def _head_of(self, cid: bytes) -> tuple[int, int]:
        """Number of the codec, and the bytes before the multihash; remembered for what starts like this."""
        if cid[:2] == _V0_HEAD:  # its first digest bytes are no head
            return self._number_of(DAG_PB), 0
        found = CID.trusted(cid)
        head = self._number_of(found.codec), len(cid) - len(found.multihash)
        if head[1] == 2:
            self._heads[cid[:4]] = head
        return head

    def _number_of(self, codec: int) -> int:
        if codec not in self._codecs and len(self._codecs) == _MAX_CODECS:
            raise BudgetError("codecs", allowed=_MAX_CODECS)
        return self._codecs.setdefault(codec, len(self._codecs))

    # -- joining ------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Find the block that each link leads to. Nothing can be taken in afterwards."""
        self._targets = array("I", bytes(4 * len(self._edge_codecs)))
        self._copies = bytearray(len(self))
        while self._buckets:
            (size, _), bucket = self._buckets.popitem()
            self._join_bucket(bucket, size)

    def _join_bucket(self, bucket: _Bucket, size: int) -> None:
        known: dict[bytes, int] = {}
        others: dict[tuple[bytes, int], int] = {}  # blocks with the hash of one in `known` and another codec
        codecs, copies = self._node_codecs, self._copies
        for multihash, node in _pieces(bucket.blocks, size, bucket.nodes):
            first = known.setdefault(multihash, node)
            if first != node:
                if codecs[first] != codecs[node]:
                    first = others.setdefault((multihash, codecs[node]), node)
                copies[node] = first != node
        missing: dict[bytes, int] = {}
        for multihash, edge in _pieces(bucket.links, size, bucket.edges):
            target = known.get(multihash)
            if target is None:
                target = missing.setdefault(multihash, len(self) + self.missing_count + len(missing))
            elif codecs[target] != self._edge_codecs[edge]:
                target = self._by_codec(target, others.get((multihash, self._edge_codecs[edge])))
            self._targets[edge] = target
        self.missing_count += len(missing)

    def _by_codec(self, first: int, other: int | None) -> int:
        if other is None:
            self.is_ambiguous = True
            return first
        return other

    # -- looking ------------------------------------------------------------------------------------------

    def edges_of(self, node: int) -> range:
        """Numbers of the links of ``node``, in their order."""
        return range(self._stops[node - 1] if node else 0, self._stops[node])

    def targets_of(self, node: int) -> array[int]:
        """Where they lead: numbers from ``len(graph)`` on are what is missing."""
        edges = self.edges_of(node)
        return self._targets[edges.start : edges.stop]

    def is_copy(self, node: int) -> bool:
        """Whether the block was there before, by CID."""
        return bool(self._copies[node])

    def codec_counts(self, nodes: Iterable[int]) -> Counter[int]:
        """How many of ``nodes`` have each codec, by its multicodec number."""
        by_number = list(self._codecs)
        counts = Counter(map(self._node_codecs.__getitem__, nodes))
        return Counter({by_number[number]: many for number, many in counts.items()})


def _pieces(packed: bytearray, size: int, numbers: array[int]) -> Iterator[tuple[bytes, int]]:
    whole = bytes(packed)
    return zip((whole[at : at + size] for at in range(0, len(whole), size)), numbers, strict=True)
