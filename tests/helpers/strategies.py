"""What hypothesis makes archives of; hashes are computed here, not by the code under test."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from helpers.archives import Record, cid_v0, cid_v1, identity

if TYPE_CHECKING:
    from collections.abc import Callable

CODECS = st.sampled_from([0x55, 0x70, 0x71, 0x12, 0x0129, 0x300001]) | st.integers(0, (1 << 63) - 1)

HASHES: dict[int, Callable[[bytes], bytes]] = {
    0x11: lambda data: hashlib.sha1(data).digest(),
    0x12: lambda data: hashlib.sha256(data).digest(),
    0x13: lambda data: hashlib.sha512(data).digest(),
    0x16: lambda data: hashlib.sha3_256(data).digest(),
    0xD5: lambda data: hashlib.md5(data).digest(),
    0xB220: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
    0xB240: lambda data: hashlib.blake2b(data, digest_size=64).digest(),
}

CROSSINGS = (0, 1, 127, 128, 16383, 16384, 32 << 10, 64 << 10)
"""Sizes around which something changes: varint lengths, the scanner's chunk, its idea of large."""


@st.composite
def data_of_any_size(draw: st.DrawFn) -> bytes:
    """Mostly small data, now and then a size at a threshold, CID and varint counted or not."""
    small = draw(st.booleans()) or draw(st.booleans())
    if small:
        return draw(st.binary(max_size=200))
    size = draw(st.sampled_from(CROSSINGS)) - draw(st.sampled_from([0, 34, 36, 38, 39])) + draw(st.integers(-2, 2))
    return (draw(st.binary(min_size=1, max_size=4)) * max(0, size))[: max(0, size)]


@st.composite
def blocks(draw: st.DrawFn, data: st.SearchStrategy[bytes] | None = None) -> tuple[bytes, bytes]:
    """A CID and the data that it names: version 0 or 1, any codec, several hashes, cut digests, identity."""
    held = draw(data_of_any_size() if data is None else data)
    kind = draw(st.sampled_from(["usual", "usual", "v0", "identity", "any", "cut"]))
    if kind == "usual":
        return cid_v1(held, codec=draw(st.sampled_from([0x55, 0x71]))), held
    if kind == "v0":
        return cid_v0(held), held
    if kind == "identity":
        held = held[:100]
        return identity(held, codec=draw(CODECS)), held
    code = draw(st.sampled_from(sorted(HASHES)))
    digest = HASHES[code](held)
    if kind == "cut" and code not in {0xB220, 0xB240}:
        digest = digest[: draw(st.integers(1, len(digest)))]
    return cid_v1(held, codec=draw(CODECS), code=code, digest=digest), held


@st.composite
def cids(draw: st.DrawFn) -> bytes:
    """Any binary CID, of known codecs and hashes or not."""
    if draw(st.booleans()):
        return draw(blocks(st.binary(max_size=20)))[0]
    return cid_v1(b"", codec=draw(CODECS), code=draw(CODECS), digest=draw(st.binary(max_size=70)))


def records() -> st.SearchStrategy[list[Record]]:
    """Index records with many equal digests, of equal and different hash functions."""
    digests = st.binary(min_size=1, max_size=2).map(lambda part: part * 16) | st.binary(max_size=3)
    offsets = st.integers(0, (1 << 64) - 1) | st.integers(0, 50)
    return st.lists(st.builds(Record, st.sampled_from([0x00, 0x12, 0x1B, 0xB220]), digests, offsets), max_size=60)
