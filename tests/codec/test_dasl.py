"""DASL CIDs and DRISL: what is allowed, what is not and why; held against the dag_cbor package."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID, FormatError
from carv2.codec import dag_cbor, dasl
from carv2.errors import CodecError

LINK = CID.of_data(b"fish", codec="dag-cbor")
HEAD = "d82a582500"

GOOD = {
    "a map": {"a": 1, "bb": [None, True, False], "cc": {}},
    "numbers": [0, 23, 24, 255, 256, 65535, 65536, 2**32, 2**64 - 1, -1, -24, -25, -(2**64)],
    "a float": 1.5,
    "minus zero": -0.0,
    "texts": ["", "fish", "ä" * 300],
    "bytes": [b"", bytes(70_000)],
    "links": [LINK, CID.of_data(b"fish")],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_dag_cbor_writes_is_drisl(name: str) -> None:
    dasl.check(dag_cbor.encode(GOOD[name]))


BAD = {
    "nothing": ("", "cut off", 0),
    "a number in a longer form": ("1817", "the number 23 in 2 bytes", 0),
    "in a still longer form": ("1900ff", "the number 255 in 3 bytes", 0),
    "in the longest": ("1b00000000ffffffff", "the number 4294967295 in 9 bytes", 0),
    "a length in a longer form": ("580161", "the number 1 in 2 bytes", 0),
    "a list without a length": ("9fff", "an indefinite length", 0),
    "a map without a length": ("bfff", "an indefinite length", 0),
    "bytes in chunks": ("5f4161ff", "an indefinite length", 0),
    "a number without a length": ("1f", "byte 0x1f begins no item", 0),
    "a tag without a number": ("df00", "byte 0xdf begins no item", 0),
    "a text in chunks": ("817f6161ff", "an indefinite length", 1),
    "keys out of order": ("a2616201616102", "the key 'a' behind 'b'", 4),
    "a longer key first": ("a262616101616202", "the key 'b' behind 'aa'", 5),
    "a key twice": ("a2616101616102", "the key 'a' behind 'a'", 4),
    "a key that is a number": ("a10101", "a key that is no text", 1),
    "a key that is no UTF-8": ("a161ff01", "text that is not UTF-8", 2),
    "text that is no UTF-8": ("6261ff", "text that is not UTF-8", 2),
    "a half float": ("f93c00", "a float of 16 bits", 0),
    "a single float": ("fa3f800000", "a float of 32 bits", 0),
    "not a number": ("fb7ff8000000000000", "the float nan", 0),
    "infinity": ("81fbfff0000000000000", "the float -inf", 1),
    "undefined": ("f7", "DRISL: undefined, allowed", 0),
    "a simple value": ("f0", "byte 0xf0", 0),
    "a simple value of two bytes": ("f8ff", "byte 0xf8", 0),
    "a reserved length": ("1c", "byte 0x1c begins no item", 0),
    "a date": ("c100", "tag 1, allowed: 42", 0),
    "a tag in a longer form": ("d9002a4100", "the number 42 in 3 bytes", 0),
    "a link that is text": ("d82a6100", "a link that is no byte string", 0),
    "a link without its zero": ("d82a5824" + bytes(LINK).hex(), "a link that is no byte string of 00", 0),
    "a link to half a CID": ("d82a44000171", "cut off", 6),
    "a link to no CID": ("d82a45000171ff20", "a link that is no CID", 0),
    "a link to CIDv0": ("d82a582300" + bytes(CID.of_data(b"", codec="dag-pb", version=0)).hex(), "CIDv0", 0),
    "something behind it": ("0000", "1 bytes behind the item", 1),
    "cut off in a text": ("6261", "cut off", 2),
    "cut off in a float": ("fb00", "cut off", 2),
    "cut off in a number": ("19ff", "cut off", 2),
    "more items than bytes": ("9b0fffffffffffffff", "items announced, 0 bytes are left", 0),
    "more entries than bytes": ("a26101", "2 items announced, 2 bytes are left", 0),
    "nested too deep": ("81" * 129 + "00", "nested deeper than 128", 128),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_drisl_is_told_with_its_place(name: str) -> None:
    raw, why, position = BAD[name]
    with pytest.raises(CodecError) as caught:
        dasl.check(bytes.fromhex(raw))
    assert why in caught.value.args[0]
    assert caught.value.position == position


def test_the_deepest_that_is_allowed() -> None:
    dasl.check(b"\x81" * 128 + b"\x00")


def test_a_million_lists_in_each_other_are_refused_and_do_not_recurse() -> None:
    with pytest.raises(CodecError, match="nested deeper"):
        dasl.check(b"\x81" * 1_000_000 + b"\x00")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.just(LINK),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_is_drisl_as_dag_cbor_writes_it(value: object) -> None:
    dasl.check(dag_cbor.encode(value))


def accepts(data: bytes, decode: object) -> bool:
    try:
        decode(data)  # type: ignore[operator]
    except CodecError:
        return False
    return True


@given(VALUES, st.integers(0), st.integers(0, 255))
def test_one_changed_byte_is_drisl_only_if_it_is_strict_dag_cbor(value: object, where: int, byte: int) -> None:
    data = bytearray(dag_cbor.encode(value))
    data[where % len(data)] = byte
    changed = bytes(data)
    if accepts(changed, dasl.check):
        decoded = dag_cbor.decode(changed)
        if not has_minus_zero(changed):  # which the package writes as zero
            assert dag_cbor.encode(decoded) == changed
    elif accepts(changed, dag_cbor.decode):  # only links are narrower here
        with pytest.raises(CodecError, match="a link"):
            dasl.check(changed)


def has_minus_zero(data: bytes) -> bool:
    return struct.pack(">d", math.copysign(0, -1)) in data


CIDS = {
    "raw": (CID.of_data(b"fish"), None),
    "dag-cbor": (LINK, None),
    "version 0": (CID.of_data(b"fish", codec="dag-pb", version=0), "CIDv0, allowed: CIDv1"),
    "dag-pb": (CID.of_data(b"fish", codec="dag-pb"), "the codec dag-pb (0x70), allowed: raw and dag-cbor"),
    "another hash": (CID.of_data(b"fish", hash="sha2-512"), "the hash sha2-512 (0x13), allowed: sha2-256"),
    "another hash of dag-cbor": (
        CID.of_data(b"fish", codec="dag-cbor", hash="sha2-512"),
        "the hash sha2-512 (0x13), allowed: sha2-256",
    ),
    "identity": (CID.of_data(b"fish", hash="identity"), "the hash identity (0x0), allowed: sha2-256"),
    "half a digest": (CID(bytes.fromhex("01551210") + bytes(16)), "a digest of 16 bytes, allowed: 32"),
}


@pytest.mark.parametrize("name", CIDS)
def test_which_cids_are_dasl(name: str) -> None:
    cid, why = CIDS[name]
    assert dasl.fault_of_cid(cid) == dasl.fault_of_cid(bytes(cid)) == why


def test_what_is_no_cid_has_no_answer() -> None:
    with pytest.raises(FormatError):
        dasl.fault_of_cid(b"\x01\x55\x12\x20")


def test_a_long_key_is_not_told_whole() -> None:
    key = b"\x7a" + struct.pack(">I", 1 << 20) + b"k" * (1 << 20) + b"\x00"
    with pytest.raises(CodecError, match="in order, each once") as caught:
        dasl.check(b"\xa2" + key + key)
    shown = "k" * 80
    assert f"the key '{shown}' behind '{shown}', allowed" in str(caught.value)
