"""The graph of an archive, gathered in a pass over its sections in file order."""

from __future__ import annotations

from array import array
from itertools import groupby
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.codec import links_of
from carv2.dag._graph import ROOTS, Graph
from carv2.dag.walking import followed
from carv2.errors import BudgetError, CodecError, UnknownCodecError
from carv2.units import PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2._scan import Batch
    from carv2.reader import CarReader

MAX_LISTED = 1000

_RAW_HEAD = b"\x01\x55"


class Links:
    """Reads the links of blocks one after the other; remembers what could not be read."""

    def __init__(self) -> None:
        self.faults: list[CodecError | BudgetError] = []
        """The first of the blocks whose links cannot be read."""
        self.fault_count = 0
        self.unknown_codecs: set[int] = set()
        """Codecs that were met and are not known."""

    def of(self, cid: bytes, data: bytes) -> Sequence[bytes]:
        """The links of a block; for an identity CID among them, those of the data that it holds."""
        try:
            links = links_of(cid, data)
        except UnknownCodecError as error:
            self.unknown_codecs.add(error.code)
            return ()
        except CodecError as error:
            self._note(error)
            return ()
        return self.expanded(links) if any(map(is_identity, links)) else links

    def expanded(self, links: list[bytes]) -> list[bytes]:
        """``links``, with those of an identity CID in its place."""
        found: list[bytes] = []
        pending = links[::-1]
        while pending:
            cid = pending.pop()
            if not is_identity(cid):
                found.append(cid)
                continue
            try:
                pending += followed(cid, CID.trusted(cid).digest, on_unknown="leaf")[::-1]
            except (CodecError, BudgetError) as error:
                self._note(error)
        return found

    def forget_faults(self) -> None:
        """Begin anew with what could not be read."""
        self.faults, self.fault_count = [], 0

    def _note(self, error: CodecError | BudgetError) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_LISTED:
            self.faults.append(error)


def is_identity(cid: bytes) -> bool:
    """Whether a binary CID holds its data; most are told by two bytes."""
    return (cid[2] == 0 or cid[1] > 127) and CID.trusted(cid).is_identity


class GraphScan:
    """Takes the batches of an archive, then tells what its roots reach."""

    def __init__(self, car: CarReader, roots: Sequence[CID]) -> None:
        self.car, self.roots = car, roots
        self.links = Links()
        self._faulty = array("I")  # nodes whose links cannot be read, once for each reason
        self.graph = Graph(self._first_links(self.links))
        self._note_faults(ROOTS)

    def _first_links(self, links: Links) -> Sequence[bytes]:
        return links.expanded([bytes(root) for root in self.roots])

    def _note_faults(self, node: int) -> None:
        """Keep what went wrong with the links of ``node``: whether that counts is known when all is in."""
        if self.links.fault_count:
            self._faulty.extend([node] * self.links.fault_count)
            self.links.forget_faults()

    def add(self, batch: Batch) -> None:
        """Take in the sections of ``batch``, whose bodies need not be there."""
        add, shift = self.graph.add, batch.base - self.car.payload_position
        position = shift + batch.start
        for cid, start, stop in batch.entries:
            if cid[:2] == _RAW_HEAD:
                if not is_identity(cid):
                    add(cid, stop - start, position, ())
            elif not is_identity(cid):
                add(cid, stop - start, position, self.links.of(cid, self.data_of(batch, start, stop)))
                if self.links.fault_count:
                    self._note_faults(len(self.graph) - 1)
            position = shift + stop

    def data_of(self, batch: Batch, start: int, stop: int) -> bytes:
        """The data of a section of ``batch``, read now if they are not in it."""
        if stop <= len(batch.buffer):
            return batch.buffer[start:stop]
        return self.car.source.read_exactly(batch.base + start, stop - start, "block")

    def reach(self) -> Reached:
        """Follow the links from the roots, level by level; to be called when the graph is joined."""
        graph, count = self.graph, len(self.graph)
        seen = bytearray(count + graph.missing_count)
        found = Reached(seen)
        level, depth = array("I", [ROOTS]), -1  # the roots are at depth 0
        while level:
            below = array("I")
            for node in level:
                for at, target in enumerate(graph.targets_of(node)):
                    if seen[target]:
                        continue
                    seen[target] = 1
                    if target < count:
                        below.append(target)
                    else:
                        found.miss(node, at)
            level, depth = below, depth + 1
        found.depth = max(0, depth - 1)
        return found

    def missing(self, found: Reached) -> Iterator[tuple[CID, CID | None]]:
        """The first links that lead to nothing, and whose they are."""
        for node, places in groupby(found.missing, key=lambda where: where[0]):
            links, parent = self._read_again(node, Links())
            for _, at in places:
                yield CID.trusted(links[at]), parent

    def faults(self, found: Reached) -> tuple[list[CodecError | BudgetError], int]:
        """The first blocks that are reached and whose links cannot be read, and how many there are."""
        faulty = [node for node in self._faulty if node == ROOTS or found.nodes[node]]
        links = Links()
        for node in dict.fromkeys(faulty):
            if len(links.faults) == MAX_LISTED:
                break
            self._read_again(node, links)
        return links.faults, len(faulty)

    def _read_again(self, node: int, links: Links) -> tuple[Sequence[bytes], CID | None]:
        """The links of a block, and its CID: the graph has no CIDs."""
        if node == ROOTS:
            return self._first_links(links), None
        section = self.car.section_at(PayloadOffset(self.graph.positions[node]))
        data = self.car.read(section, verify=False).data
        return links.of(bytes(section.cid), data), section.cid


class Reached:
    """What can be reached from the roots."""

    def __init__(self, nodes: bytearray) -> None:
        self.nodes = nodes
        """1 for each node that is, by number."""
        self.depth = 0
        self.missing: list[tuple[int, int]] = []
        """The first links that lead to nothing: a node, and which of its links."""
        self.missing_count = 0
        """Blocks that such links name."""

    def miss(self, node: int, at: int) -> None:
        """Note a missing block."""
        self.missing_count += 1
        if len(self.missing) < MAX_LISTED:
            self.missing.append((node, at))
