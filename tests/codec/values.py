"""Values of the IPLD data model for hypothesis, and encoders that share nothing with carv2's."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from carv2 import CID
from helpers.archives import cbor_head, cid_v0, cid_v1, link, varint
from helpers.strategies import cids

CIDS = cids().map(CID)
INTEGERS = st.integers(-(1 << 64), (1 << 64) - 1) | st.integers(-300, 300)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
LEAVES = st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS | st.binary(max_size=50) | CIDS


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=5) | st.dictionaries(TEXTS.filter(lambda key: key != "/"), inner, max_size=5)


VALUES = st.recursive(LEAVES, _containers, max_leaves=30)


def links_in(value: Any) -> list[bytes]:
    """CIDs of a value in the order of canonical CBOR, by recursion."""
    if isinstance(value, CID):
        return [value.raw]
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return [found for key in keys for found in links_in(value[key])]
    return [found for item in value for found in links_in(item)] if isinstance(value, list) else []


def canonical(value: Any) -> bytes:
    """dag-cbor of a value, by recursion."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, CID):
        return link(value.raw)
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(canonical, value))
    pairs = sorted(((key.encode(), item) for key, item in value.items()), key=lambda pair: (len(pair[0]), pair[0]))
    return cbor_head(5, len(pairs)) + b"".join(
        cbor_head(3, len(key)) + key + canonical(item) for key, item in pairs
    )


def loose_head(major: int, argument: int, width: int) -> bytes:
    """A head that is not the shortest: the argument in ``2 ** width`` bytes."""
    return bytes([major << 5 | 24 + width]) + argument.to_bytes(1 << width, "big")


RAW_CID, PB_CID, V0_CID = cid_v1(b"raw"), cid_v1(b"pb", codec=0x70), cid_v0(b"old")


def field(key: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return bytes([key]) + varint(len(content)) + content
