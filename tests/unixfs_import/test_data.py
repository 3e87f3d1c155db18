"""The UnixFS message: what is written, what is read, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.errors import CarError, UnixFSError
from carv2.unixfs.data import DIRECTORY, FILE, HAMT, SYMLINK, UnixFSData, decode, encode

UINT64 = st.integers(0, (1 << 64) - 1)
MESSAGES = st.builds(
    UnixFSData,
    type=st.integers(0, 5),
    data=st.none() | st.binary(max_size=300),
    filesize=st.none() | UINT64,
    blocksizes=st.lists(UINT64, max_size=5).map(tuple),
    hash_type=st.none() | UINT64,
    fanout=st.none() | UINT64,
    mode=st.none() | st.integers(0, (1 << 32) - 1),
    mtime=st.none() | st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999)),
)

WRITTEN = [
    ("0801", UnixFSData(DIRECTORY)),
    ("08021800", UnixFSData(FILE, filesize=0)),
    ("0802120466697368 1804", UnixFSData(FILE, b"fish", 4)),
    ("080218ac02 208002 202c", UnixFSData(FILE, None, 300, (256, 44))),
    ("0804120161", UnixFSData(SYMLINK, b"a")),
    ("08051202c000 2822 308002", UnixFSData(HAMT, b"\xc0\x00", hash_type=0x22, fanout=256)),
    ("0802120038a403", UnixFSData(FILE, b"", mode=0o644)),
    ("0801 42070801 15ffc99a3b", UnixFSData(DIRECTORY, mtime=(1, 999_999_999))),
    ("0801 420b08ffffffffffffffffff01", UnixFSData(DIRECTORY, mtime=(-1, 0))),
]


@pytest.mark.parametrize(("text", "message"), WRITTEN)
def test_messages_as_kubo_writes_them(text: str, message: UnixFSData) -> None:
    assert encode(message) == bytes.fromhex(text)
    assert decode(bytes.fromhex(text)) == message


@given(MESSAGES)
def test_what_is_written_is_read(message: UnixFSData) -> None:
    assert decode(encode(message)) == message


READ = [
    ("18040802", UnixFSData(FILE, filesize=4), "fields in another order"),
    ("08011801 0802 1805", UnixFSData(FILE, filesize=5), "of two the last counts"),
    ("08022203010203", UnixFSData(FILE, blocksizes=(1, 2, 3)), "packed block sizes"),
    ("0802 2001 22020203 2004", UnixFSData(FILE, blocksizes=(1, 2, 3, 4)), "both ways"),
    ("0801 4801 5203616263 5d01020304 610102030405060708", UnixFSData(DIRECTORY), "unknown fields"),
    ("088200", UnixFSData(FILE), "a varint that is not the shortest"),
    ("0802 3880808080808004", UnixFSData(FILE, mode=0), "a mode of more than 32 bits"),
]


@pytest.mark.parametrize(("text", "message", "_why"), READ)
def test_what_protobuf_allows_is_read(text: str, message: UnixFSData, _why: str) -> None:
    assert decode(bytes.fromhex(text)) == message


REFUSED = [
    ("", 0, "no UnixFS type"),
    ("1801", 0, "no UnixFS type"),
    ("0806", 0, "UnixFS type 6"),
    ("08", 1, "varint that is cut off"),
    ("0802 12", 3, "varint that is cut off"),
    ("0802 120261", 4, "wanted 2 bytes, got 1"),
    ("0802 12ffffffffffffffffff01", 13, "wanted 18446744073709551615 bytes"),
    ("0802 18ffffffffffffffffff02", 3, "more than 64 bits"),
    ("0802 18ffffffffffffffffffff01", 3, "more than 64 bits"),
    ("0a0102", 2, "UnixFS field 1 has wire type 2"),
    ("0802 1001", 3, "UnixFS field 2 has wire type 0"),
    ("0802 1d01020304", 3, "UnixFS field 3 has wire type 5"),
    ("0802 13", 2, "UnixFS field 2 has wire type 3"),
    ("0802 0001", 3, "protobuf field 0"),
    ("0802 8080808010 01", 7, "protobuf field 536870912"),
    ("0802 2201ff", 4, "cut off"),
    ("0801 4200", 4, "an mtime without seconds"),
    ("0801 4207080115 00ca9a3b", 4, "1000000000 nanoseconds"),
    ("0801 4204 08011001", 7, "field 2 of an mtime has wire type 0"),
]


@pytest.mark.parametrize(("text", "position", "why"), REFUSED)
def test_what_cannot_be_is_refused(text: str, position: int, why: str) -> None:
    with pytest.raises(UnixFSError, match=why) as error:
        decode(bytes.fromhex(text))
    assert error.value.position == position


@given(
    st.binary(max_size=60)
    | st.builds(lambda head, tail: bytes.fromhex("0802") + head + tail, st.binary(), st.binary())
)
def test_any_bytes_are_a_message_or_an_error(raw: bytes) -> None:
    try:
        message = decode(raw)
    except CarError:
        return
    assert decode(encode(message)) == message


@given(MESSAGES, st.data())
def test_a_cut_is_an_error_or_a_smaller_message(message: UnixFSData, data: st.DataObject) -> None:
    raw = encode(message)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        found = decode(cut)
    except UnixFSError:
        return
    assert encode(found) == cut


@pytest.mark.parametrize(
    "message",
    [
        UnixFSData(6),
        UnixFSData(FILE, filesize=-1),
        UnixFSData(FILE, filesize=1 << 64),
        UnixFSData(FILE, mtime=(1 << 63, 0)),
        UnixFSData(FILE, mtime=(0, 1_000_000_000)),
    ],
)
def test_what_does_not_fit_is_not_written(message: UnixFSData) -> None:
    with pytest.raises(ValueError):
        encode(message)
