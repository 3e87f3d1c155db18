"""A DAG as text for Graphviz."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from carv2.cid import CID, DAG_PB
from carv2.codec import dag_pb
from carv2.dag.walking import Fetch, as_roots, followed
from carv2.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.cid import CIDLike
    from carv2.dag.walking import Store

__all__ = ["dot"]

MAX_NODES = 1000

_SHOWN = 8  # last characters of a CID
_MAX_NAME = 40


def dot(store: Store, roots: CIDLike | Iterable[CIDLike], *, max_nodes: int = MAX_NODES) -> Iterator[str]:
    r"""Yield the lines of a graph in Graphviz' language, without their ends: a node for each block, breadth-first.

    A node shows the end of its CID, its codec and its size in bytes; roots have a double border; a block that is
    missing, or whose links cannot be read, is dashed. An edge stands for all links from one block to another; it
    has the name of the first, and their number if there are several. What is left out after ``max_nodes`` blocks
    is one node.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> fish = CID.of_data(b"fish")
    >>> print(*dot(MemoryBlockstore([(fish, b"fish")]), fish), sep="\n")
    digraph dag {
      node [shape=box, fontname=monospace];
      n0 [label="...bwhnihfu\nraw, 4 bytes", peripheries=2];
    }
    """
    first = list(dict.fromkeys(bytes(CID.of(root)) for root in as_roots(roots)))
    drawing = _Drawing(store, first, max_nodes)
    yield "digraph dag {"
    yield "  node [shape=box, fontname=monospace];"
    while drawing.queue:
        yield from drawing.next_lines()
    if drawing.left_out:
        many = len(drawing.left_out)
        yield f'  more [label="{many} more {"block" if many == 1 else "blocks"}", style=dashed];'
    yield "}"


class _Drawing:
    """The blocks that have a number, in that order, and those of them that are still to be drawn."""

    def __init__(self, store: Store, roots: list[bytes], max_nodes: int) -> None:
        self._fetch = Fetch(store, lambda _: None)
        self._roots, self._max_nodes = set(roots), max_nodes
        self._numbers: dict[bytes, int] = {}
        self.queue: deque[bytes] = deque()
        self.left_out: set[bytes] = set()
        for root in roots:
            self._name_of(root)

    def _name_of(self, cid: bytes) -> str:
        if cid not in self._numbers:
            if len(self._numbers) >= self._max_nodes:
                self.left_out.add(cid)
                return "more"
            self._numbers[cid] = len(self._numbers)
            self.queue.append(cid)
        return f"n{self._numbers[cid]}"

    def next_lines(self) -> Iterator[str]:
        """The next block, and its edges."""
        cid_bytes = self.queue.popleft()
        cid, data = CID.trusted(cid_bytes), self._fetch.one(cid_bytes)
        links: list[tuple[str, bytes]] = []
        style = ", peripheries=2" if cid_bytes in self._roots else ""
        what = "missing" if data is None else f"{len(data)} bytes"
        if data is not None:
            try:
                links = _named_links(cid, data)
            except CodecError:
                what += ", damaged"
        if data is None or what.endswith("damaged"):
            style += ", style=dashed"
        text = f"...{_end_of(cid)}\\n{_escaped(cid.codec_name)}, {what}"
        me = self._name_of(cid_bytes)
        yield f'  {me} [label="{text}"{style}];'
        edges: dict[str, list[str]] = {}
        for name, link in links:
            edges.setdefault(self._name_of(link), []).append(name)
        for target, names in edges.items():
            yield f"  {me} -> {target}{_label(names)};"


def _end_of(cid: CID) -> str:
    """The last characters of its text, of which only as much is made: identity CIDs may be long, and many."""
    raw = bytes(cid)
    start = max(0, len(raw) // 5 - _SHOWN) * 5  # of bytes that stand for characters of their own in base32
    return (CID.trusted(raw[start:]).encode("base32") if start else str(cid))[-_SHOWN:]


def _named_links(cid: CID, data: bytes) -> list[tuple[str, bytes]]:
    if cid.codec == DAG_PB:
        return [(link.name or "", link.cid) for link in dag_pb.decode(data).links]
    return [("", link) for link in followed(bytes(cid), data, on_unknown="leaf")]


def _label(names: list[str]) -> str:
    name = names[0] if len(names[0]) <= _MAX_NAME else names[0][: _MAX_NAME - 3] + "..."
    words = _escaped(name) + (f" ({len(names)} links)" if len(names) > 1 else "")
    return f' [label="{words.strip()}"]' if words else ""


def _escaped(text: str) -> str:
    r"""``text`` within double quotes: nothing in it ends them, or means anything to Graphviz or a terminal."""
    plain = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')
