"""UnixFS DAGs built byte by byte, in a few lines of their own: the code under test has no hand in them.

Every number that a node declares can be given, so that it lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import mmh3

from helpers import archives
from helpers.archives import DAG_PB, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT = range(6)
MURMUR3 = 0x22


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def text(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def unixfs(
    kind: int,
    data: bytes | None = None,
    *,
    size: int | None = None,
    sizes: Iterable[int] = (),
    hash_type: int | None = None,
    fanout: int | None = None,
    tail: bytes = b"",
) -> bytes:
    """The message in a node's Data."""
    out = number(1, kind)
    out += b"" if data is None else text(2, data)
    out += b"" if size is None else number(3, size)
    out += b"".join(number(4, each) for each in sizes)
    out += b"" if hash_type is None else number(5, hash_type)
    return out + (b"" if fanout is None else number(6, fanout)) + tail


def pb_link(cid: bytes, name: bytes | None, size: int | None) -> bytes:
    link = text(1, cid) + (b"" if name is None else text(2, name))
    return text(2, link + (b"" if size is None else number(3, size)))


def pb_node(links: Iterable[tuple[bytes, bytes | None, int | None]], data: bytes | None) -> bytes:
    return b"".join(pb_link(*link) for link in links) + (b"" if data is None else text(1, data))


class Made(NamedTuple):
    """A DAG that was built: its root, what it holds, and the bytes of all its blocks."""

    cid: bytes
    size: int
    total: int


class Dag:
    """Collects the blocks of what is built."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, bytes] = {}

    def put(
        self, data: bytes, *, codec: int = archives.RAW, size: int = 0, below: int = 0, v0: bool = False
    ) -> Made:
        cid = archives.cid_v0(data) if v0 else archives.cid_v1(data, codec=codec)
        self.blocks[cid] = data
        return Made(cid, size, len(data) + below)

    def node(
        self, children: Sequence[tuple[bytes | None, Made]], data: bytes | None, *, size: int = 0, v0: bool = False
    ) -> Made:
        block = pb_node([(made.cid, name, made.total) for name, made in children], data)
        below = sum(made.total for _, made in children)
        return self.put(block, codec=DAG_PB, size=size, below=below, v0=v0)

    def raw(self, data: bytes) -> Made:
        return self.put(data, size=len(data))

    def leaf(self, data: bytes, *, kind: int = FILE, v0: bool = False) -> Made:
        """A file of one dag-pb node."""
        return self.node([], unixfs(kind, data, size=len(data)), size=len(data), v0=v0)

    def file(
        self,
        children: Sequence[Made],
        *,
        inline: bytes | None = None,
        sizes: Sequence[int] | None = None,
        size: int | None = None,
        tail: bytes = b"",
    ) -> Made:
        """A file's node above others; ``sizes`` and ``size`` are the truth unless given."""
        true = [made.size for made in children]
        total = sum(true) + len(inline or b"")
        data = unixfs(
            FILE, inline, size=total if size is None else size, sizes=true if sizes is None else sizes, tail=tail
        )
        return self.node([(b"", made) for made in children], data, size=total)

    def directory(self, entries: Mapping[Any, Made] | Sequence[tuple[bytes | None, Made]]) -> Made:
        """A plain directory, in the order given."""
        pairs = entries.items() if hasattr(entries, "items") else entries
        named = [
            (name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name, made)
            for name, made in pairs
        ]
        return self.node(named, unixfs(DIRECTORY))

    def symlink(self, target: bytes) -> Made:
        return self.node([], unixfs(SYMLINK, target))

    def shard(
        self,
        links: Sequence[tuple[bytes, Made]],
        bitfield: bytes,
        *,
        fanout: int | None = 256,
        hash_type: int | None = MURMUR3,
    ) -> Made:
        """A HAMT node as it is told to be."""
        return self.node(list(links), unixfs(HAMT, bitfield, hash_type=hash_type, fanout=fanout))

    def hamt(self, entries: Mapping[str, Made], *, fanout: int = 256, used: int = 0) -> Made:
        """A sharded directory."""
        bits, width = fanout.bit_length() - 1, len(f"{fanout - 1:X}")
        slots: dict[int, dict[str, Made]] = {}
        for name, made in entries.items():
            at = hash_of(name) >> (64 - used - bits) & (fanout - 1)
            slots.setdefault(at, {})[name] = made
        links: list[tuple[bytes, Made]] = []
        for at in sorted(slots):
            prefix, inside = f"{at:0{width}X}".encode(), slots[at]
            if len(inside) > 1:
                links.append((prefix, self.hamt(inside, fanout=fanout, used=used + bits)))
            else:
                links += [(prefix + name.encode(), made) for name, made in inside.items()]
        field = sum(1 << at for at in slots)
        return self.shard(links, field.to_bytes((field.bit_length() + 7) // 8, "big"), fanout=fanout)

    def archive(self, *roots: Made, without: Iterable[bytes] = ()) -> bytes:
        """A CARv1 of all blocks but some."""
        left_out = set(without)
        blocks = [(cid, data) for cid, data in self.blocks.items() if cid not in left_out]
        return archives.v1([root.cid for root in roots], blocks)


def hash_of(name: str) -> int:
    """murmur3-x64-64: the first eight bytes of the 128-bit hash, which comes little-endian."""
    return int.from_bytes(mmh3.mmh3_x64_128_digest(name.encode())[:8], "little")


def identity(data: bytes, *, codec: int = DAG_PB) -> Made:
    """A block inside its own CID."""
    return Made(archives.identity(data, codec=codec), 0, len(data))


def fields(raw: bytes) -> list[tuple[int, int | bytes]]:
    """Number and value of each protobuf field, of trusted bytes."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def read_number() -> int:
        nonlocal at
        value = shift = 0
        while raw[at] & 128:
            value |= (raw[at] & 127) << shift
            at, shift = at + 1, shift + 7
        at += 1
        return value | raw[at - 1] << shift

    while at < len(raw):
        key = read_number()
        value = read_number()
        if key & 7 == 2:
            found.append((key >> 3, raw[at : at + value]))
            at += value
        else:
            found.append((key >> 3, value))
    return found


class Parsed(NamedTuple):
    """A dag-pb node taken apart, by other means than the code under test."""

    links: list[tuple[str, bytes]]
    """Names and binary CIDs."""
    kind: int | None
    data: bytes
    sizes: list[int]
    fanout: int


def parsed(block: bytes) -> Parsed:
    links: list[tuple[str, bytes]] = []
    message = None
    for field, value in fields(block):
        assert isinstance(value, bytes)
        if field == 1:
            message = value
        else:
            inside: dict[int, Any] = dict(fields(value))
            links.append((inside.get(2, b"").decode("utf-8", "surrogateescape"), inside[1]))
    parts = [] if message is None else fields(message)
    single: dict[int, Any] = dict(parts)
    sizes = [value for field, value in parts if field == 4 and isinstance(value, int)]
    return Parsed(links, single.get(1), single.get(2, b""), sizes, single.get(6, 0))
