"""DAGs to walk: made byte by byte, with their links in a plain dict, and walks that are short and slow."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from helpers import archives
from helpers.archives import cbor_head, cid_v0, cid_v1, identity, link, varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Dag(NamedTuple):
    """Blocks that are there; what every block links to, identity CIDs and missing ones too; roots."""

    blocks: dict[bytes, bytes]
    links: dict[bytes, list[bytes]]
    roots: list[bytes]

    @property
    def archive(self) -> bytes:
        return archives.v1(self.roots, self.blocks.items())


def is_identity(cid: bytes) -> bool:
    return cid[0] == 1 and cid[2] == 0


def pb_node(links: Sequence[bytes], data: bytes = b"", names: Sequence[str] | None = None) -> bytes:
    """A dag-pb block, its links in the order given."""
    out = b""
    for at, cid in enumerate(links):
        name = f"{at:04}" if names is None else names[at]
        body = (
            b"\x0a" + varint(len(cid)) + cid + b"\x12" + varint(len(name.encode())) + name.encode() + b"\x18\x07"
        )
        out += b"\x12" + varint(len(body)) + body
    return out + (b"\x0a" + varint(len(data)) + data if data else b"")


def cbor_node(links: Sequence[bytes], salt: int = 0) -> bytes:
    """A DAG-CBOR block: a map with a list of links and a number."""
    items = cbor_head(4, len(links)) + b"".join(map(link, links))
    return b"\xa2\x61l" + items + b"\x61n" + cbor_head(0, salt)


@st.composite
def dags(draw: st.DrawFn, *, missing: bool = True, max_size: int = 12) -> Dag:
    """A DAG of a few blocks: CIDv0 and v1, identity CIDs in between, links repeated, blocks missing."""
    blocks: dict[bytes, bytes] = {}
    links: dict[bytes, list[bytes]] = {}
    made: list[bytes] = []
    for at in range(draw(st.integers(1, max_size))):
        kind = draw(st.sampled_from(["raw", "pb", "pb0", "cbor", "cbor", "identity"]))
        below = draw(st.lists(st.sampled_from(made), max_size=5)) if made else []
        if kind == "raw":
            data, below = b"leaf %d" % at, []
            cid = cid_v1(data)
        elif kind in {"pb", "pb0"}:
            data = pb_node(below, b"%d" % at)
            cid = cid_v0(data) if kind == "pb0" else cid_v1(data, codec=archives.DAG_PB)
        else:
            data = cbor_node(below, at)
            if len(data) > 2000:  # no walk looks into larger identities
                kind = "cbor"
            cid = cid_v1(data, codec=archives.DAG_CBOR)
            if kind == "identity":
                cid = identity(data, codec=archives.DAG_CBOR)
        links[cid] = below
        made.append(cid)
        if kind != "identity" and not (missing and draw(st.integers(0, 4)) == 0):
            blocks[cid] = data
    roots = draw(st.lists(st.sampled_from(made), min_size=1, max_size=2, unique=True))
    shuffled = draw(st.permutations(list(blocks)))
    return Dag({cid: blocks[cid] for cid in shuffled}, links, roots)


def depth_first(dag: Dag, *, repeats: bool = False) -> Iterator[tuple[bytes, int]]:
    """CIDs and depths of a walk, by recursion; missing blocks come too."""
    seen: set[bytes] = set()

    def visit(cid: bytes, depth: int) -> Iterator[tuple[bytes, int]]:
        if cid in seen and not repeats:
            return
        seen.add(cid)
        yield cid, depth
        if is_identity(cid) or cid in dag.blocks:
            for child in dag.links[cid]:
                yield from visit(child, depth + 1)

    for root in dag.roots:
        yield from visit(root, 0)


def breadth_first(dag: Dag, *, repeats: bool = False) -> Iterator[tuple[bytes, int]]:
    """The same, level by level."""
    seen: set[bytes] = set()
    queue = [(root, 0) for root in dag.roots]
    while queue:
        cid, depth = queue.pop(0)
        if cid in seen and not repeats:
            continue
        seen.add(cid)
        yield cid, depth
        if is_identity(cid) or cid in dag.blocks:
            queue += [(child, depth + 1) for child in dag.links[cid]]


@functools.cache
def chain(length: int) -> Dag:
    """Blocks of which each links to the next, the first being the root."""
    blocks: dict[bytes, bytes] = {}
    links: dict[bytes, list[bytes]] = {}
    below: list[bytes] = []
    for at in range(length):
        data = cbor_node(below, at)
        cid = cid_v1(data, codec=archives.DAG_CBOR)
        blocks[cid], links[cid] = data, below
        below = [cid]
    return Dag(blocks, links, below)


def doubling(levels: int) -> Dag:
    """Blocks of which each links to the next one twice: few blocks, and 2**levels ways through them."""
    blocks: dict[bytes, bytes] = {}
    links: dict[bytes, list[bytes]] = {}
    below: list[bytes] = []
    for at in range(levels):
        data = cbor_node(below, at)
        cid = cid_v1(data, codec=archives.DAG_CBOR)
        blocks[cid], links[cid] = data, below
        below = [cid, cid]
    return Dag(blocks, links, below[:1])
