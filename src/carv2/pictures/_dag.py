"""How the DAG of an archive lies in its file, of the graph that a pass has gathered."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.codec import dag_pb
from carv2.dag._gather import Links
from carv2.dag._graph import ROOTS
from carv2.errors import CarError
from carv2.multicodec import name_of
from carv2.pictures.model import Dag, TreeNode, WalkPoint
from carv2.units import PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2.dag._gather import GraphScan
    from carv2.reader import CarReader

_POINTS = 2_000
_CHILDREN = 12
_NODES = 300
_LEVELS = 6
_DAG_PB = 0x70


def describe(car: CarReader, scan: GraphScan) -> Dag:
    """What the roots reach, and in which order; to be called when the graph is joined."""
    graph, reached = scan.graph, scan.reach()
    count = len(graph)
    nodes = [node for node in range(1, count) if reached.nodes[node]]
    lost = list(graph.unreached(reached.nodes))
    order, seeks_back = _depth_first(scan)
    step = max(1, -(-len(order) // _POINTS))
    return Dag(
        block_count=len(nodes),
        block_bytes=sum(map(graph.sizes.__getitem__, nodes)),
        link_count=sum(len(graph.edges_of(node)) for node in nodes),
        depth=reached.depth,
        missing_count=reached.missing_count,
        unreachable_count=len(lost),
        unreachable_bytes=sum(map(graph.sizes.__getitem__, lost)),
        seeks_back=seeks_back,
        walk=tuple(_points(car, scan, order, step)),
        tree=tuple(_Tree(car, scan).roots()),
    )


def _depth_first(scan: GraphScan) -> tuple[array[int], int]:
    """The blocks in the order of a depth-first walk, and how often that goes back in the file."""
    graph = scan.graph
    seen, order, seeks_back, last = bytearray(len(graph)), array("I"), 0, -1
    pending = graph.targets_of(ROOTS)[::-1]
    while pending:
        node = pending.pop()
        if node >= len(graph) or seen[node]:
            continue
        seen[node] = 1
        order.append(node)
        seeks_back += graph.positions[node] < last
        last = graph.positions[node]
        pending.extend(graph.targets_of(node)[::-1])
    return order, seeks_back


def _points(car: CarReader, scan: GraphScan, order: array[int], step: int) -> Iterator[WalkPoint]:
    graph = scan.graph
    for number in range(0, len(order), step):
        node = order[number]
        (codec,) = graph.codec_counts([node])
        yield WalkPoint(number=number, position=car.payload_position + graph.positions[node], codec=name_of(codec))


class _Tree:
    """The top of the DAG, as much as can be looked at."""

    def __init__(self, car: CarReader, scan: GraphScan) -> None:
        self._car, self._graph, self._roots = car, scan.graph, scan.roots
        self._shown: set[int] = set()
        self._left = _NODES

    def roots(self) -> Iterator[TreeNode]:
        targets = self._graph.targets_of(ROOTS)
        if len(targets) != len(self._roots):  # roots that hold their data: those have no place in the file
            return
        for root, node in list(zip(self._roots, targets, strict=True))[:_CHILDREN]:
            yield self._node(None, bytes(root), node, _LEVELS)

    def _node(self, name: str | None, cid: bytes, node: int, levels: int) -> TreeNode:
        """A node with what is below it; goes down ``_LEVELS`` at most."""
        self._left -= 1
        known = CID.trusted(cid)
        text, codec = str(known), name_of(known.codec)
        if node >= len(self._graph):
            return TreeNode(name=name, cid=text, codec=codec, state="missing")
        size, link_count = self._graph.sizes[node], len(self._graph.edges_of(node))
        if node in self._shown:
            return TreeNode(
                name=name, cid=text, codec=codec, size=size, link_count=link_count, state="shown above"
            )
        self._shown.add(node)
        children = tuple(self._children(node, levels)) if levels else ()
        return TreeNode(name=name, cid=text, codec=codec, size=size, link_count=link_count, children=children)

    def _children(self, node: int, levels: int) -> Iterator[TreeNode]:
        names, links = self._links_of(node)
        targets = self._graph.targets_of(node)
        if len(links) != len(targets):  # a link that holds its data, and links of its own
            return
        for at in range(min(len(links), _CHILDREN)):
            if self._left <= 0:
                return
            yield self._node(names[at], links[at], targets[at], levels - 1)

    def _links_of(self, node: int) -> tuple[Sequence[str | None], Sequence[bytes]]:
        """Names and CIDs of the links of a block that is read again; nothing if that does not work out."""
        try:
            section = self._car.section_at(PayloadOffset(self._graph.positions[node]))
            data = self._car.read(section, verify=False).data
            if section.cid.codec == _DAG_PB:
                found = dag_pb.decode(data).links
                return [link.name for link in found], [link.cid for link in found]
            links = Links().of(bytes(section.cid), data)
        except CarError:
            return (), ()
        return [None] * len(links), links
