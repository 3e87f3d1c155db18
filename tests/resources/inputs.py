"""Archives that are made to take time and memory: each is written to a file when it is asked for."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from helpers import archives
from helpers.archives import DAG_CBOR, DAG_PB, cbor_head, cid_v1, link, varint
from helpers.unixfs import Dag, identity, pb_link, unixfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAG_JSON = 0x0129
LARGEST = (8 << 20) - 64
"""Bytes of a block that just fits into a section."""


def one(data: bytes, codec: int) -> bytes:
    """An archive of a block, which is its root."""
    cid = cid_v1(data, codec=codec)
    return archives.v1([cid], [(cid, data)])


def chain(length: int) -> bytes:
    """Blocks that each link to the next."""
    blocks = [archives.node()]
    for _ in range(length):
        blocks.append(archives.node(blocks[-1][0]))
    return archives.v1([blocks[-1][0]], blocks)


def repeats(levels: int, width: int, *, folder: bool) -> bytes:
    """A few blocks that stand for ``width ** levels``: each links ``width`` times to the one below."""
    made = Dag()
    inner = made.raw(b"x" * 100)
    for _ in range(levels):
        if folder:
            inner = made.directory({f"{at:02}": inner for at in range(width)})
        else:
            inner = made.file([inner] * width)
    return made.archive(inner)


def values_that_repeat(levels: int, width: int) -> bytes:
    """The same of dag-cbor."""
    blocks = [archives.node()]
    for _ in range(levels):
        blocks.append(archives.node(*[blocks[-1][0]] * width))
    return archives.v1([blocks[-1][0]], blocks)


def folders(depth: int) -> bytes:
    made = Dag()
    inner = made.raw(b"x")
    for _ in range(depth):
        inner = made.directory({"d": inner})
    return made.archive(inner)


def identities(count: int, size: int) -> bytes:
    """A block of so many CIDs of that size, each of which holds a block that links to the next, and so on."""
    cids: list[bytes] = []
    for at in range(count):
        wider = cid = archives.identity(b"%d" % at)
        while len(wider) <= size:
            cid = wider
            wider = archives.identity(cbor_head(4, 1) + link(cid), codec=DAG_CBOR)
        cids.append(cid)
    root = archives.node(*cids)
    return archives.v1([root[0]], [root])


def shards(levels: int) -> bytes:
    """Below each other, as deep as a hash goes, with the last of them missing."""
    made = Dag()
    inner = made.raw(b"x")
    for _ in range(levels):
        inner = made.shard([(b"0", inner)], b"\x01", fanout=8)
    return made.archive(inner)


def wide_folder(entries: int) -> bytes:
    """Of the smallest links that there can be."""
    x = b"\x01\x55\x00\x01x"
    links = b"".join(pb_link(x, b"%x" % at, None) for at in range(entries))
    data = links + b"\x0a\x02" + unixfs(1)
    assert len(data) < LARGEST
    return one(data, DAG_PB)


def wide_file(children: int) -> bytes:
    x = identity(b"x", codec=archives.RAW)._replace(size=1)
    made = Dag()
    return made.archive(made.file([x] * children))


def wide_value(links: int) -> bytes:
    return one(cbor_head(4, links) + link(b"\x01\x55\x00\x00") * links, DAG_CBOR)


def many_roots(count: int) -> bytes:
    return archives.v1([b"\x01\x55\x00\x00"] * count, [archives.FISH])


def roots_in_pieces(size: int) -> bytes:
    """One root, out of next to nothing but empty pieces of a byte string."""
    body = b"\xa2\x65roots\x81\xd8\x2a\x5f" + b"\x40" * size + b"\x45\x00\x01\x55\x00\x00\xff\x67version\x01"
    return varint(len(body)) + body + archives.section(*archives.FISH)


def many_empty_blocks(count: int) -> bytes:
    """The shortest sections that there can be."""
    return archives.EMPTY_HEADER + archives.section(b"\x01\x55\x00\x00", b"") * count


def with_index(index: bytes) -> bytes:
    return archives.v2(archives.SMALL_V1, index)


def lying_file(declared: int) -> bytes:
    """A file that says that it is so large, with a block that says the same."""
    made = Dag()
    leaf = made.leaf(b"x")
    return made.archive(made.file([leaf], sizes=[declared], size=declared))


INPUTS: dict[str, Callable[[], bytes]] = {
    # nested
    "cbor lists": lambda: one(b"\x81" * LARGEST, DAG_CBOR),
    "cbor lists without their sizes": lambda: one(b"\x9f" * LARGEST, DAG_CBOR),
    "cbor maps": lambda: one(b"\xa1\x60" * (LARGEST // 2), DAG_CBOR),
    "cbor tags": lambda: one(b"\xd8\x2a" * (LARGEST // 2), DAG_CBOR),
    "json lists": lambda: one(b"[" * LARGEST, DAG_JSON),
    "json maps": lambda: one(b'{"":' * (LARGEST // 4), DAG_JSON),
    "a chain of blocks": lambda: chain(10_000),
    "folders in folders": lambda: folders(3000),
    "identities in identities, too large": lambda: identities(8, 60_000),
    "identities in identities": lambda: identities(250, 2 << 10),
    "shards below each other": lambda: shards(21),
    # wide
    "a value of 1,000,000 links": lambda: wide_value(1_000_000),
    "a folder of 100,000 entries": lambda: wide_folder(100_000),
    "a file of 100,000 children": lambda: wide_file(100_000),
    "100,000 empty blocks": lambda: many_empty_blocks(100_000),
    "a list of 1,000,000 lists": lambda: one(cbor_head(4, 1_000_000) + b"\x80" * 1_000_000, DAG_CBOR),
    "100,000 roots": lambda: many_roots(100_000),
    "a root in 1,000,000 pieces": lambda: roots_in_pieces(1_000_000),
    # expanding
    "64^9 files": lambda: repeats(9, 64, folder=True),
    "a file of 64^9 pieces": lambda: repeats(9, 64, folder=False),
    "64^9 values": lambda: values_that_repeat(9, 64),
    "a file of 2^63 bytes": lambda: lying_file((1 << 63) - 1),
    # indexes that lie
    "an index of 2^31 hash functions": lambda: with_index(b"\x81\x08" + struct.pack("<i", 0x7FFFFFFF)),
    "an index of 2^31 buckets": lambda: with_index(b"\x80\x08" + struct.pack("<i", 0x7FFFFFFF)),
    "an index of 2^63 bytes": lambda: with_index(b"\x80\x08" + struct.pack("<iIQ", 1, 40, (1 << 63) - 8)),
    "an index of 60,000 buckets": lambda: with_index(
        b"\x80\x08" + struct.pack("<i", 60_000) + b"".join(struct.pack("<IQ", 8 + n, 0) for n in range(60_000))
    ),
    "an index of 200,000 equal digests": lambda: with_index(
        b"\x81\x08"
        + struct.pack("<iQiIQ", 1, 0x12, 1, 40, 40 * 200_000)
        + (archives.FISH[0][4:] + struct.pack("<Q", 1 << 40)) * 500_000
    ),
    "an index whose digests go down": lambda: with_index(
        b"\x81\x08"
        + struct.pack("<iQiIQ", 1, 0x12, 1, 40, 40 * 200_000)
        + b"".join((1 << 256 >> at % 250).to_bytes(33, "big")[1:] + bytes(8) for at in range(200_000))
    ),
}


def write(folder: Path, names: list[str]) -> list[Path]:
    """Files with these inputs, in order; one that is there is not made again."""
    paths = [folder / f"{name.replace('/', '_')}.car" for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.exists():
            path.write_bytes(INPUTS[name]())
    return paths
