"""The two headers' own functions: what their errors say, to the byte, and what their defaults are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2 import _cbor
from carv2.cid import CID
from carv2.errors import FormatError, LimitError, TruncatedError, UnfinalizedError, VersionError
from carv2.header import FULLY_INDEXED, PRAGMA, SIZE, CarV1Header, CarV2Header, header_size, version_of
from carv2.units import FilePosition, Limits
from helpers.archives import EMPTY_HEADER, FISH, cbor_head, link, v2_header, varint

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS, VERSION = b"\x65roots", b"\x67version"
ONE = VERSION + b"\x01"
NONE = ROOTS + b"\x80"


def framed(body: bytes) -> bytes:
    return varint(len(body)) + body


LONG_KEY = b"k" * 39 + b"XYZ"

WRONG = [  # the CBOR, what is said of it, the offset of the byte that is wrong
    (b"\x82" + NONE + ONE, "not a map", 0),
    (b"\xd9\xd9\xf7\x82" + NONE + ONE, "not a map", 3),
    (b"\xa2" + NONE + b"\x47version\x01", "a key is not text", 8),
    (b"\xa3" + NONE + b"\x64blip\x01" + ONE, "key 'blip', allowed: 'roots' and 'version'", 8),
    (b"\xa3" + NONE + b"\x62\xff\xfe\x01" + ONE, r"key '\\\\xff\\\\xfe', allowed", 8),
    (b"\xa1\x78\x2a" + LONG_KEY + b"\x01", f"key '{'k' * 39}X', allowed", 1),
    (b"\xa2" + NONE + VERSION + b"\x611", "the version is not an unsigned integer", 16),
    (b"\xa2" + NONE + VERSION + b"\xfa\x3f\x80\x00\x00", "the version is not an unsigned integer", 16),
    (b"\xa2" + ROOTS + b"\xa0" + ONE, "the roots are not a list", 7),
    (b"\xa2" + ROOTS + b"\xf5" + ONE, "the roots are not a list", 7),
    (b"\xa2" + ROOTS + b"\x81\x01" + ONE, "a root is not a CID", 8),
    (b"\xa2" + ROOTS + b"\x81\xd8\x2a\x41\x01" + ONE, "a root's bytes do not start with 00", 10),
    (b"\xa2" + ROOTS + b"\x81" + link(FISH[0] + b"!") + ONE, "a root is no CID: 1 bytes behind the CID", 10),
    (b"\xa2" + ROOTS + b"\x82\xd8\x2a\xc1\x00" + ONE, "two tags on one item", 10),
    (b"\xa2" + NONE + VERSION + b"\x1c", "byte 0x1c is no CBOR item", 16),
    (b"\xa2" + NONE + VERSION + b"\x1f", "byte 0x1f is no CBOR item", 16),
    (b"\xa2" + NONE + VERSION + b"\x3f", "byte 0x3f is no CBOR item", 16),
    (b"\xa2" + NONE + VERSION + b"\xdf", "byte 0xdf is no CBOR item", 16),
    (b"\xa2" + NONE + VERSION + b"\xff", "byte 0xff is no CBOR item", 16),
    (b"\xa2" + NONE + b"\x7f\x62ve\x47rsion??\xff\x01", "a string's chunk is not of its kind", 12),
    (b"\xa2" + NONE + b"\x7f\x7f\x62ve\xff\xff\x01", "a string's chunk is not of its kind", 9),
    (b"\xa2" + NONE + b"\x78\x20version\x01", "an item of 32 bytes does not fit into the header", 18),
    (b"\xa2" + NONE + VERSION + b"\x1b\x01", "an item of 8 bytes does not fit into the header", 18),
    (b"\xa3" + NONE + ONE, "an item of 1 bytes does not fit into the header", 17),
]


@pytest.mark.parametrize(("body", "said", "at"), WRONG, ids=[f"{said[:30]} at {at}" for _, said, at in WRONG])
def test_a_wrong_header_is_told_with_the_byte_that_is_wrong(body: bytes, said: str, at: int) -> None:
    for take in (CarV1Header.parse, version_of):
        with pytest.raises(FormatError, match=said) as caught:
            take(framed(body), position=1000)
        assert caught.type is FormatError
        assert caught.value.position == 1001 + at
    with pytest.raises(FormatError, match=said) as caught:
        CarV1Header.parse(framed(body))
    assert caught.value.position == 1 + at


@pytest.mark.parametrize("take", [CarV1Header.parse, version_of])
@pytest.mark.parametrize("cut", range(1, 18))
def test_a_cut_header_says_how_much_is_there_of_how_much(take: Callable[..., object], cut: int) -> None:
    with pytest.raises(TruncatedError) as caught:
        take(EMPTY_HEADER[:cut], position=1000)
    assert (caught.value.wanted, caught.value.got, caught.value.position) == (17, cut - 1, 1000 + cut)


@pytest.mark.parametrize("take", [CarV1Header.parse, version_of, header_size])
def test_nothing_at_all_wants_a_byte(take: Callable[..., object]) -> None:
    for given, position in (({"position": 70}, 70), ({}, 0)):
        with pytest.raises(TruncatedError) as caught:
            take(b"", **given)
        assert (caught.value.wanted, caught.value.got, caught.value.position) == (1, 0, position)


@pytest.mark.parametrize("take", [CarV1Header.parse, version_of, header_size])
def test_a_length_that_cannot_be_is_told_where_the_header_starts(take: Callable[..., object]) -> None:
    with pytest.raises(FormatError, match="CARv1 header of 0 bytes") as caught:
        take(b"\x00" + EMPTY_HEADER, position=70)
    assert caught.value.position == 70
    with pytest.raises(FormatError, match="not minimally") as caught:
        take(b"\x80\x00" + EMPTY_HEADER, position=70)
    assert caught.value.position == 71
    with pytest.raises(LimitError) as limited:
        take(EMPTY_HEADER, position=70, limits=Limits(header=16))
    assert (limited.value.limit, limited.value.found, limited.value.allowed) == ("header", 17, 16)
    assert limited.value.position == 70
    take(EMPTY_HEADER, limits=Limits(header=17))


def test_a_header_of_a_version_that_is_not_supported_is_told_where_it_starts() -> None:
    with pytest.raises(VersionError) as caught:
        CarV1Header.parse(framed(b"\xa1" + VERSION + b"\x02"), position=70)
    assert (caught.value.found, caught.value.supported, caught.value.position) == (2, (1,), 70)


def test_the_size_of_a_header_counts_its_length_and_not_what_follows() -> None:
    assert header_size(EMPTY_HEADER + b"more") == 18
    assert header_size(EMPTY_HEADER[:1]) == 18
    roots = CarV1Header((CID(FISH[0]),) * 30).to_bytes()
    assert header_size(roots) == len(roots) > 1000


def test_a_header_has_no_roots_unless_some_are_given() -> None:
    assert CarV1Header().roots == ()
    assert CarV1Header().to_bytes() == EMPTY_HEADER


@pytest.mark.parametrize("count", [0, 23, 24, 255, 256, 65535, 65536])
def test_lists_of_any_length_have_the_shortest_head(count: int) -> None:
    body = b"\xa2" + ROOTS + cbor_head(4, count) + link(FISH[0]) * count + ONE
    assert CarV1Header((CID(FISH[0]),) * count).to_bytes() == framed(body)


# -- the forty bytes of a CARv2 -------------------------------------------------------------------------------


def test_the_pragma_is_eleven_bytes_and_the_header_forty() -> None:
    assert PRAGMA == b"\x0a\xa1\x67version\x02"
    assert SIZE == 40
    assert FULLY_INDEXED.to_bytes(16, "big") == b"\x80" + bytes(15)


def test_a_header_says_no_index_and_no_characteristics_unless_told() -> None:
    header = CarV2Header(FilePosition(51), 100)
    assert tuple(header) == (51, 100, 0, 0)
    assert not header.has_index
    assert header.to_bytes() == v2_header(51, 100, 0)


def test_the_fields_are_little_endian_behind_sixteen_bytes_of_characteristics() -> None:
    raw = bytes(range(1, 17)) + bytes.fromhex("3300000000000000 0201000000000000 0000000000000040")
    header = CarV2Header.from_bytes(raw + b"more")
    assert tuple(header) == (51, 258, 1 << 62, int.from_bytes(bytes(range(1, 17)), "big"))
    assert header.to_bytes() == raw
    assert (header.data_end, header.has_index) == (309, True)


@pytest.mark.parametrize(
    ("fields", "said", "at"),
    [
        ((50, 1, 0), "data offset 50, allowed 51", 16),
        ((1 << 63, 1, 0), "data offset 9223372036854775808", 16),
        ((51, 0, 0), "data size 0, allowed 1", 24),
        ((51, 1 << 63, 0), "data size 9223372036854775808", 24),
        ((51, 1, 1 << 63), "index offset 9223372036854775808", 32),
    ],
)
def test_a_field_that_cannot_be_is_told_where_it_stands(fields: tuple[int, int, int], said: str, at: int) -> None:
    for given, start in (({"position": 1000}, 1000), ({}, 11)):
        with pytest.raises(FormatError, match=said) as caught:
            CarV2Header.from_bytes(v2_header(*fields), **given)
        assert caught.value.position == start + at


def test_zeros_are_an_unfinished_header_where_it_starts_whatever_follows() -> None:
    for given, start in (({"position": 1000}, 1000), ({}, 11)):
        with pytest.raises(UnfinalizedError) as caught:
            CarV2Header.from_bytes(bytes(40) + b"payload", **given)
        assert caught.value.position == start


# -- the CBOR of headers --------------------------------------------------------------------------------------


def reader(raw: str) -> _cbor.Reader:
    return _cbor.Reader(bytes.fromhex(raw), position=100)


@pytest.mark.parametrize(
    ("raw", "major", "argument"),
    [
        ("17", 0, 23),
        ("1818", 0, 24),
        ("190100", 0, 256),
        ("1a00010000", 0, 65536),
        ("1b0000000100000000", 0, 1 << 32),
        ("37", 1, 23),
        ("5f", 2, _cbor.INDEFINITE),
        ("7f", 3, _cbor.INDEFINITE),
        ("9f", 4, _cbor.INDEFINITE),
        ("bf", 5, _cbor.INDEFINITE),
        ("f6", 7, 22),
        ("f97e00", 7, 256),
        ("f817", 7, 256),
    ],
)
def test_the_head_of_an_item_is_its_kind_and_its_number(raw: str, major: int, argument: int) -> None:
    items = reader(raw)
    assert items.head() == (major, argument, 0)
    assert items.at == len(raw) // 2


@pytest.mark.parametrize(
    ("raw", "null"), [("f6", True), ("f7", True), ("f5", False), ("16", False), ("f816", False)]
)
def test_null_and_undefined_are_null(raw: str, null: bool) -> None:
    assert reader(raw).head().is_null is null


def test_one_tag_is_stepped_over_and_the_item_is_where_it_begins() -> None:
    items = reader("01 d82a 02 c1 c1 03")
    assert items.head() == (0, 1, 0)
    assert items.head() == (0, 2, 3)
    with pytest.raises(FormatError, match="two tags on one item") as caught:
        items.head()
    assert caught.value.position == 105


def test_a_string_in_chunks_is_joined_and_its_end_stepped_over() -> None:
    items = reader("5f 42aabb 40 41cc ff 01")
    assert items.string(items.head()) == b"\xaa\xbb\xcc"
    assert items.head() == (0, 1, 8)


def test_an_end_is_only_stepped_over_where_it_is() -> None:
    items = reader("ff 01 ff")
    assert items.at_break()
    assert items.at == 1
    assert not items.at_break()
    assert items.at == 1


def test_counted_items_are_as_many_as_counted_and_others_go_on_to_their_end() -> None:
    items = reader("82 01 01 9f ff")
    counted = items.head()
    assert [items.more(counted, done) for done in (0, 1, 2)] == [True, True, False]
    items.take(2)
    endless = items.head()
    assert not items.more(endless, 0)
    assert items.at == 5


def test_a_failure_without_a_place_is_where_the_reader_stands() -> None:
    items = reader("01 02 03")
    items.take(2)
    assert items.fail("something").position == 102
    assert items.fail("something", 0).position == 100
    assert items.fail("something", 1).args[0] == "CARv1 header: something"
