"""Ref-CARs, byte by byte; their original is the file ``text``, which lies beside them."""

from __future__ import annotations

import base64

from helpers import archives

ORIGINAL = b"not an archive\n"
LEAVES = [ORIGINAL[:6], ORIGINAL[6:]]
TOP = archives.node(*map(archives.cid_v1, LEAVES))


def record(path: bytes, offset: int, size: int) -> bytes:
    return b"\x0a" + archives.varint(len(path)) + path + bytes([0x10, offset, 0x18, size])


def key(leaf: bytes) -> bytes:
    """What the record of a leaf goes by."""
    multihash = archives.cid_v1(leaf)[2:]
    return b"/filestore/" + base64.b32encode(multihash).rstrip(b"=")


def ref_car(records: list[bytes], *, inline: bool = False) -> bytes:
    """A ref-CAR of variant D, or with ``inline`` A, that has ``records`` for the leaves."""
    named = archives.identity if inline else archives.cid_v1
    blocks = [(named(key(leaf)), each) for leaf, each in zip(LEAVES, records, strict=True)]
    blocks.append(TOP)
    payload = archives.v1([TOP[0]], blocks)
    found = archives.records_of(archives.header([TOP[0]]), blocks)
    if inline:
        return archives.v2(payload, archives.index_sorted(found))
    index = archives.index_multihash_sorted(found)
    return archives.v2(payload, index, characteristics=archives.FULLY_INDEXED)


GOOD = [record(b"text", 0, 6), record(b"text", 6, 9)]
FILES = {
    "ref.car": ref_car(GOOD),
    "ref-a.car": ref_car(GOOD, inline=True),
    "ref-stale.car": ref_car([record(b"text", 1, 6), record(b"gone", 0, 9)]),
    "ref-url.car": ref_car([record(b"http://127.0.0.1/text", 0, 6), GOOD[1]]),
    "ref-far.car": ref_car([record(b"text", 6, 66), record(b"../../etc/passwd", 0, 9)]),
}
