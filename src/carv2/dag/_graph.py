"""Which block links to which, packed: what is left of an archive when only the shape of its DAG counts.

Blocks and links come in as they stand in the file, in any order, so a link may come long before the block that
it leads to. When all are in, they are joined through a dict, a part of them at a time, told by the last byte of
the digest. Multihashes are compared whole: nothing here is a matter of probability.

With digests of 32 bytes, a block takes 50 bytes and a link 38; joining takes some 12 MB more, or 6 bytes a block.
"""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from carv2 import _varint
from carv2.cid import CID
from carv2.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MAX_COUNT = (1 << 31) - 1  # of blocks, and of links: together they fit into 32 bits
_MAX_SIZE = (1 << 32) - 1
_MAX_KINDS = 1 << 16
_MAX_GROUPS = 32
_V0_HEAD = b"\x12\x20"
_PART = 1 << 16  # blocks that are joined at a time, unless that makes more than so many parts
_MAX_PARTS = 32
_STRIDE = 1 << 14  # multihashes that are taken out of the packed ones at a time

ROOTS = 0
"""The node whose links are the roots; it is no block."""


class _Group(NamedTuple):
    """Blocks and links whose multihashes are of one kind; what differs between these is packed here."""

    size: int
    """Bytes of a multihash that are kept: the digest, or all of it."""
    blocks: bytearray
    links: bytearray


class _Kind(NamedTuple):
    """What starts like this: a number for codec and group, and where in a CID the bytes start that are kept."""

    number: int
    start: int
    group: _Group


class Graph:
    """A graph of blocks, which are numbered as they come; 0 is what the roots hang from."""

    def __init__(self, roots: Iterable[bytes]) -> None:
        self.sizes = array("I")
        """Bytes of each block."""
        self.positions = array("Q")
        """Where each block was found."""
        self._stops = array("I")  # number of the edge behind the last one of each node
        self._node_kinds = array("H")
        self._edge_kinds = array("H")
        self._targets = array("I")
        self._copies = bytearray()
        self._twins: dict[int, int] = {}  # first block of the multihash, for those with another codec than it
        self._groups: dict[tuple[bytes, int], _Group] = {}
        self._numbers: dict[tuple[int, int], int] = {}  # of codecs and groups, these by their address
        self._kinds: dict[bytes, _Kind] = {}
        self._codecs = [-1]  # of each kind; the first is that of the roots' node
        self._group_of: list[_Group | None] = [None]
        self.missing_count = 0
        """Multihashes that are linked to and are no block; set by :meth:`join`."""
        self.is_ambiguous = False
        """A link has another codec than the block that it leads to, so that the block's own links are not the
        ones to follow; set by :meth:`join`."""
        self._add_node(0, 0, 0, roots)

    def __len__(self) -> int:
        return len(self.sizes)

    # -- taking in ----------------------------------------------------------------------------------------

    def add(self, cid: bytes, size: int, position: int, links: Iterable[bytes]) -> None:
        """Take in a block of ``size`` bytes found at ``position``, and what it links to: no identity CIDs."""
        number, start, (_, blocks, _) = self._kinds.get(cid[:4]) or self._kind_of(cid)
        blocks += cid[start:]
        self._add_node(number, size, position, links)

    def _add_node(self, kind: int, size: int, position: int, links: Iterable[bytes]) -> None:
        if len(self.sizes) == _MAX_COUNT:
            raise BudgetError("blocks", allowed=_MAX_COUNT)
        self.sizes.append(min(size, _MAX_SIZE))
        self.positions.append(position)
        self._node_kinds.append(kind)
        if links:
            self._add_links(links)
        self._stops.append(len(self._edge_kinds))

    def _add_links(self, cids: Iterable[bytes]) -> None:
        find, edge_kinds = self._kinds.get, self._edge_kinds
        for cid in cids:
            number, start, (_, _, links) = find(cid[:4]) or self._kind_of(cid)
            links += cid[start:]
            edge_kinds.append(number)
        if len(edge_kinds) > _MAX_COUNT:
            raise BudgetError("links", allowed=_MAX_COUNT)

    def _kind_of(self, cid: bytes) -> _Kind:
        """Remembered for what starts with the same four bytes, if these say all; a CIDv0's do not."""
        if cid[:2] == _V0_HEAD and _V0_HEAD in self._kinds:
            return self._kinds[_V0_HEAD]
        parts = CID.trusted(cid).parts
        start = len(cid) - parts.digest_size
        head = cid[:start] if parts.version == 0 else cid[1 + len(_varint.encode(parts.codec)) : start]
        key = head, parts.digest_size
        if parts.digest_size == 0 or (key not in self._groups and len(self._groups) >= _MAX_GROUPS):
            start -= len(head)  # those of rare heads are kept together, by their size
            key = b"", len(cid) - start
        group = self._groups.setdefault(key, _Group(key[1], bytearray(), bytearray()))
        kind = _Kind(self._number_of(parts.codec, group), start, group)
        if parts.version == 0:
            self._kinds[_V0_HEAD] = kind
        elif parts.size - parts.digest_size == 4:
            self._kinds[cid[:4]] = kind
        return kind

    def _number_of(self, codec: int, group: _Group) -> int:
        number = self._numbers.setdefault((codec, id(group)), len(self._codecs))
        if number == len(self._codecs):
            if number == _MAX_KINDS:
                raise BudgetError("kinds of CIDs", allowed=_MAX_KINDS)
            self._codecs.append(codec)
            self._group_of.append(group)
        return number

    # -- joining ------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Find the block that each link leads to. Nothing can be taken in afterwards."""
        self._targets = array("I", bytes(4)) * len(self._edge_kinds)
        self._copies = bytearray(len(self))
        for group in self._groups.values():
            nodes = self._numbers_in(group, self._node_kinds)
            edges = self._numbers_in(group, self._edge_kinds)
            parts = min(_MAX_PARTS, 1 + len(nodes) // _PART)
            for part in range(parts):
                is_in = bytes(byte % parts == part for byte in range(256))
                known, others = self._known(_pick(group.blocks, group.size, nodes, is_in))
                self._join_part(known, others, _pick(group.links, group.size, edges, is_in))
            group.blocks.clear()
            group.links.clear()

    def _numbers_in(self, group: _Group, kinds: array[int]) -> Sequence[int]:
        """Numbers of the nodes or edges of a group."""
        if len(self._groups) == 1:
            return range(1 if kinds is self._node_kinds else 0, len(kinds))
        is_in = [each is group for each in self._group_of]
        return array("I", compress(range(len(kinds)), map(is_in.__getitem__, kinds)))

    def _known(self, found: Iterable[tuple[bytes, int]]) -> tuple[dict[bytes, int], dict[tuple[bytes, int], int]]:
        """The first block of each multihash, and the first of each further codec that it comes with."""
        known: dict[bytes, int] = {}
        others: dict[tuple[bytes, int], int] = {}
        kinds, copies = self._node_kinds, self._copies
        for multihash, node in found:
            first = known.setdefault(multihash, node)
            if first != node:
                if kinds[first] != kinds[node]:
                    self._twins[node] = first
                    first = others.setdefault((multihash, kinds[node]), node)
                copies[node] = first != node
        return known, others

    def _join_part(
        self, known: dict[bytes, int], others: dict[tuple[bytes, int], int], found: Iterable[tuple[bytes, int]]
    ) -> None:
        node_kinds, edge_kinds, targets = self._node_kinds, self._edge_kinds, self._targets
        first_missing = len(self) + self.missing_count
        missing: dict[bytes, int] = {}
        for multihash, edge in found:
            target = known.get(multihash)
            if target is None:
                target = missing.setdefault(multihash, first_missing + len(missing))
            elif node_kinds[target] != edge_kinds[edge]:
                other = others.get((multihash, edge_kinds[edge]))
                self.is_ambiguous = self.is_ambiguous or other is None
                target = target if other is None else other
            targets[edge] = target
        self.missing_count += len(missing)

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

    def unreached(self, reached: bytearray) -> Iterator[int]:
        """The first block of each multihash of which no block is ``reached``."""
        with_twin = {first for node, first in self._twins.items() if reached[node]}
        for node in range(1, len(self)):
            if not (reached[node] or self._copies[node] or node in self._twins or node in with_twin):
                yield node

    def codec_counts(self, nodes: Iterable[int]) -> Counter[int]:
        """How many of ``nodes`` have each codec, by its multicodec number."""
        counts: Counter[int] = Counter()
        for kind, many in Counter(map(self._node_kinds.__getitem__, nodes)).items():
            counts[self._codecs[kind]] += many
        return counts


def _pick(packed: bytearray, size: int, numbers: Sequence[int], is_in: bytes) -> Iterator[tuple[bytes, int]]:
    """The packed multihashes whose last byte ``is_in`` says 1 of, each with its number."""
    view = memoryview(packed)
    for at in range(0, len(numbers), _STRIDE):
        some = bytes(view[at * size : (at + _STRIDE) * size])
        chosen = some[size - 1 :: size].translate(is_in)
        starts = range(0, len(some), size)
        for start, number in compress(zip(starts, numbers[at : at + _STRIDE], strict=True), chosen):
            yield some[start : start + size], number
    view.release()
