"""dag-cbor: links against two other decoders, what is accepted against go-ipld-prime, hostile blocks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carv2 import CID
from carv2.codec import _cbor_links, _cbor_values, cbor, dag_cbor
from carv2.codec._values import MAX_DEPTH, unused_mark
from carv2.errors import CodecError
from codec.values import CIDS, RAW_CID, VALUES, canonical, links_in, loose_head
from helpers.archives import cbor_head, identity, link

LINK = link(RAW_CID)

ACCEPTED = {  # block, its links, its value; go-ipld-prime reads them all, none is canonical
    "an integer that is not the shortest": (loose_head(0, 1, 3), [], 1),
    "a string's size that is not": (loose_head(3, 1, 0) + b"a", [], "a"),
    "a list's size that is not": (loose_head(4, 1, 2) + LINK, [RAW_CID], [CID(RAW_CID)]),
    "a map's size that is not": (loose_head(5, 1, 1) + b"\x61a" + LINK, [RAW_CID], {"a": CID(RAW_CID)}),
    "a tag that is not": (loose_head(6, 42, 1) + LINK[2:], [RAW_CID], CID(RAW_CID)),
    "a link's size that is not": (b"\xd8\x2a" + loose_head(2, 37, 1) + LINK[4:], [RAW_CID], CID(RAW_CID)),
    "an endless list": (b"\x9f" + LINK + b"\x01\xff", [RAW_CID], [CID(RAW_CID), 1]),
    "an endless map": (b"\xbf\x61a" + LINK + b"\x61b\x01\xff", [RAW_CID], {"a": CID(RAW_CID), "b": 1}),
    "an empty endless map": (b"\x82\xbf\xff\x9f\xff", [], [{}, []]),
    "a text in chunks": (b"\x7f\x61a\x60\x61b\xff", [], "ab"),
    "bytes in chunks": (b"\x82\x5f\x41a\x42bc\xff\x01", [], [b"abc", 1]),
    "a key in chunks": (b"\xa1\x7f\x61a\x61b\xff\x01", [], {"ab": 1}),
    "a link in chunks": (b"\xd8\x2a\x5f\x41\x00\x58\x24" + RAW_CID + b"\xff", [RAW_CID], CID(RAW_CID)),
    "keys that are not in order": (b"\xa2\x61b\x01\x61a" + LINK, [RAW_CID], {"b": 1, "a": CID(RAW_CID)}),
    "a long key": (b"\xa1" + cbor_head(3, 30) + b"k" * 30 + LINK, [RAW_CID], {"k" * 30: CID(RAW_CID)}),
    "undefined": (b"\xf7", [], None),
    "a float of 16 bits": (b"\xf9\x3c\x00", [], 1.0),
    "a float of 32 bits": (b"\xfa\x3f\x80\x00\x00", [], 1.0),
    "infinity": (b"\xfb\x7f\xf0" + bytes(6), [], float("inf")),
    "text that is not UTF-8": (b"\x82\x62a\xff" + LINK, [RAW_CID], ["a\udcff", CID(RAW_CID)]),
}

REFUSED = {
    "nothing": b"",
    "something behind": b"\x01\x01",
    "a break alone": b"\xff",
    "a break in a list": b"\x82\x01\xff",
    "a break in a map": b"\xa1\x61a\xff",
    "a break in place of a value": b"\xbf\x61a\xff",
    "an endless list without its end": b"\x9f\x01",
    "an endless map without its end": b"\xbf\x61a\x01",
    "a reserved head": b"\x1c",
    "an endless integer": b"\x1f",
    "a simple value": b"\xf8\x20",
    "a small simple value": b"\xe0",
    "a key that is a number": b"\xa1\x01\x02",
    "a key that is bytes": b"\xa1\x41a\x02",
    "a key that is a link": b"\xa1" + LINK + b"\x01",
    "another tag": b"\xd8\x2b" + LINK[2:],
    "a date": b"\xc1\x01",
    "two tags": b"\xd8\x2a" + LINK,
    "a link that is text": b"\xd8\x2a\x61a",
    "a link that is a list": b"\xd8\x2a\x81\x01",
    "an empty link": b"\xd8\x2a\x40",
    "a link without its zero": b"\xd8\x2a\x58\x24" + RAW_CID,
    "a link that is only a zero": b"\xd8\x2a\x41\x00",
    "a link with something behind": b"\xd8\x2a\x58\x26\x00" + RAW_CID + b"?",
    "a link that is cut off": LINK[:-1],
    "a CID that is cut off": b"\xd8\x2a\x58\x24\x00" + RAW_CID[:-1],
    "a CID of version 2": b"\xd8\x2a\x45\x00\x02\x55\x00\x00",
    "a tag alone": b"\xd8\x2a",
    "half a head": b"\x19\x01",
    "text that is cut off": b"\x62a",
    "long text that is cut off": b"\x78\x20a",
    "text of 2**64 - 1 bytes": b"\x7b" + b"\xff" * 8,
    "a list of 2**64 - 1 items": b"\x9b" + b"\xff" * 8,
    "a map of 2**63 entries": b"\xbb\x80" + bytes(7),
    "a list longer than the block": b"\x98\xff" + bytes(100),
    "a chunk of another kind": b"\x7f\x41a\xff",
    "a chunk in chunks": b"\x5f\x5f\x41a\xff\xff",
    "chunks without an end": b"\x5f\x41a",
    "100,000 lists in each other": b"\x81" * 100_000,
    "100,000 endless lists in each other": b"\x9f" * 100_000,
    "100,000 maps in each other": b"\xa1\x61a" * 100_000,
    "129 lists in each other": b"\x81" * 129 + b"\x01",
    "129 endless lists in each other": b"\x9f" * 129 + b"\xff" * 129,
}

NOT_CANONICAL = {
    **{name: row[0] for name, row in ACCEPTED.items() if name != "a long key"},
    "a key that comes twice": b"\xa2\x61a\x01\x61a\x01",
    "no number": b"\xfb\x7f\xf8" + bytes(6),
}


@pytest.mark.parametrize(("raw", "found", "value"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_go_ipld_prime_reads_is_read(raw: bytes, found: list[bytes], value: object) -> None:
    assert dag_cbor.links(raw) == found
    assert dag_cbor.decode(raw, strict=False) == value


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_dag_cbor_is_refused(raw: bytes) -> None:
    for read in (dag_cbor.links, dag_cbor.decode, lambda data: dag_cbor.decode(data, strict=False)):
        with pytest.raises(CodecError) as caught:
            read(raw)
        assert 0 <= caught.value.position <= len(raw)


@pytest.mark.parametrize("raw", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_values_are_read_from_the_one_strict_form_only(raw: bytes) -> None:
    with pytest.raises(CodecError) as caught:
        dag_cbor.decode(raw)
    assert 0 <= caught.value.position <= len(raw)


def test_128_levels_are_read() -> None:
    raw = b"\x81" * 128 + LINK
    assert dag_cbor.links(raw) == [RAW_CID]
    for strict in (True, False):
        value = dag_cbor.decode(raw, strict=strict)
        assert dag_cbor.encode(value) == raw


@given(VALUES)
@example([CID(identity(b"x")), {"a": CID(identity(b"y" * 300))}])
def test_values_links_and_bytes_agree_with_encoders_of_their_own(value: Any) -> None:
    raw = canonical(value)
    assert dag_cbor.encode(value) == raw
    assert dag_cbor.links(raw) == links_in(value)
    assert dag_cbor.decode(raw) == value
    assert dag_cbor.decode(raw, strict=False) == value


USUAL = st.sampled_from(
    [CID(RAW_CID), CID.of_data(b"pb", codec="dag-pb", version=0), CID.of_data(b"", codec=0x71)]
)


@given(st.lists(USUAL | st.binary(max_size=60) | st.integers(0, 1 << 40), max_size=20))
def test_libipld_finds_the_same_links(items: list[Any]) -> None:
    libipld = pytest.importorskip("libipld")
    held = {"items": items, "first": items[:1], "more": [[], {}, [items]]}
    raw = dag_cbor.encode(held)
    taken = libipld.decode_dag_cbor(raw)  # which has links as bytes
    plain = {"items": [_plain(item) for item in items]}
    assert taken["items"] == plain["items"]
    assert [found for found in dag_cbor.links(raw) if found not in taken["first"]] == [
        item.raw for item in items[:1] + items + items if isinstance(item, CID) and item.raw not in taken["first"]
    ]


def _plain(item: Any) -> Any:
    return item.raw if isinstance(item, CID) else item


@given(VALUES, st.data())
def test_a_cut_or_changed_block_raises_codec_errors_only(value: Any, data: st.DataObject) -> None:
    raw = bytearray(canonical(value))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
        with pytest.raises(CodecError):
            dag_cbor.links(bytes(raw))
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    _check_any(bytes(raw))


@given(st.binary(max_size=80))
def test_any_bytes_raise_codec_errors_only(raw: bytes) -> None:
    _check_any(raw)


def _check_any(raw: bytes) -> None:
    """What the strict reader takes, the others take, and they agree."""
    try:
        value = dag_cbor.decode(raw)
    except CodecError:
        for read in (dag_cbor.links, cbor.decode, lambda data: dag_cbor.decode(data, strict=False)):
            try:
                read(raw)
            except CodecError:
                continue
    else:
        assert dag_cbor.encode(value) == raw
        assert dag_cbor.links(raw) == links_in(value)
        assert repr(dag_cbor.decode(raw, strict=False)) == repr(value)


@given(st.lists(CIDS, min_size=1, max_size=4), st.sampled_from(["cut", "tag", "late"]))
def test_errors_name_the_byte_of_the_block_as_it_is(cids: list[CID], kind: str) -> None:
    wrong = {"cut": b"\x18", "tag": b"\xc1\x01", "late": b"\x18\x01"}[kind]
    raw = cbor_head(4, len(cids) + 1) + b"".join(link(cid.raw) for cid in cids) + wrong
    with pytest.raises(CodecError) as caught:
        dag_cbor.decode(raw)
    assert len(raw) - len(wrong) <= caught.value.position <= len(raw)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: 2},
        {b"a": 1},
        [set()],
        bytearray(b"x"),
        1 << 64,
        -(1 << 64) - 1,
        float("nan"),
        "\udc00",
        {"\udc00": 1},
    ],
)
def test_what_cannot_be_written_is_a_type_or_value_error(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dag_cbor.encode(value)


def test_a_value_in_itself_is_refused_at_once() -> None:
    knot: list[object] = []
    knot += [knot, knot]
    with pytest.raises(ValueError, match="128"):
        dag_cbor.encode(knot)


def test_writing_does_not_touch_the_value() -> None:
    value = {"a": [CID(RAW_CID), {"b": CID(RAW_CID)}]}
    dag_cbor.encode(value)
    assert value == {"a": [CID(RAW_CID), {"b": CID(RAW_CID)}]}


def test_bytes_that_look_like_the_stand_ins_of_links_stay_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    mark, other = b"\xc2" + bytes(7), b"\xc3" + bytes(7)
    for bait in (mark + bytes(4), mark, b"\x4c" + mark + bytes(4), b"\x4c" + mark + mark):
        value = [CID(RAW_CID), bait, bait.hex(), CID(RAW_CID)]
        raw = canonical(value)
        draw_next(monkeypatch, mark, other)
        assert dag_cbor.encode(value) == raw
        draw_next(monkeypatch, mark, other)
        assert dag_cbor.decode(raw) == value


def draw_next(monkeypatch: pytest.MonkeyPatch, *draws: bytes) -> None:
    """What chance is to give next."""
    left = iter(draws)

    def draw(size: int) -> bytes:
        drawn = next(left)
        assert len(drawn) == size
        return drawn

    monkeypatch.setattr("carv2.codec._values.urandom", draw)


def test_no_data_can_be_full_of_the_stand_ins_that_are_tried() -> None:
    class Watched(bytes):
        looks = 0

        def __contains__(self, item: object) -> bool:
            type(self).looks += 1
            return isinstance(item, bytes) and super().__contains__(item)

    for first in (0x00, 0xC2):
        unused_mark(Watched(b"".join(bytes((first,)) + number.to_bytes(7, "big") for number in range(64))))
    assert Watched.looks == 2
    assert unused_mark(b"") != unused_mark(b"")


def test_plain_cbor_has_no_links() -> None:
    assert cbor.decode(b"\xbf\x61a\x19\x00\x01\xff") == {"a": 1}
    assert cbor.encode({"b": 1, "a": [b"x"]}) == canonical({"a": [b"x"], "b": 1})
    with pytest.raises(CodecError):
        cbor.decode(LINK)
    with pytest.raises(ValueError):
        cbor.encode(CID(RAW_CID))
    with pytest.raises(CodecError, match="twice"):
        cbor.decode(b"\xa2\x61a\x01\x61a\x01")


# -- what is wrong, and where ---------------------------------------------------------------------------------

WRONG = [
    (b"\x01\x02", "something behind the item", 1),
    (b"\x81", "cut off", 1),
    (b"\x61", "cut off", 1),
    (b"\x19\x01", "cut off", 2),
    (b"\x1c" + bytes(16), "byte 0x1c begins no item", 0),
    (b"\x5c" + bytes(16), "byte 0x5c begins no item", 0),
    (b"\x81\x7d" + bytes(16), "byte 0x7d begins no item", 1),
    (b"\x82\x01\x9c" + bytes(16), "byte 0x9c begins no item", 2),
    (b"\xff", "byte 0xff begins no item", 0),
    (b"\x81\xff", "byte 0xff begins no item", 1),
    (b"\x82\x01\xff", "byte 0xff begins no item", 2),
    (b"\x82\xff\x01", "byte 0xff begins no item", 1),
    (b"\x9f\x82\x01\xff", "byte 0xff begins no item", 3),
    (b"\xa1\xff", "a key that is no text", 1),
    (b"\xa1\x61a\xff", "byte 0xff begins no item", 3),
    (b"\xbf\x61a\xff", "byte 0xff begins no item", 3),
    (b"\x9f\xa1\xff\xff", "a key that is no text", 2),
    (b"\xa1\x41a\x01", "a key that is no text", 1),
    (b"\xf8\x20", "byte 0xf8 begins no item", 0),
    (b"\xe0", "byte 0xe0 begins no item", 0),
    (b"\xc0", "tag 0, allowed: 42", 0),
    (b"\x81\xc0\x01", "tag 0, allowed: 42", 1),
    (b"\x81\xc1\x01", "tag 1, allowed: 42", 1),
    (b"\x82\x01\xd8\x2b" + LINK[2:], "tag 43, allowed: 42", 2),
    (b"\x81\xd8\x2a\x01", "a link that is no byte string", 3),
    (b"\x81\xd8\x2a\x61a", "a link that is no byte string", 3),
    (b"\x81\xd8\x2a\x41\x01", "a link that does not begin with a zero byte", 3),
    (b"\x81\xd8\x2a\x40", "a link that does not begin with a zero byte", 3),
    (b"\x81" + link(RAW_CID + b"!"), "CBOR link: bytes behind the CID", 3),
    (b"\x81" + link(b"\x02\x55\x00\x00"), "CBOR link: CID version 2", 3),
    (b"\x5f\x61a\xff", "a chunk that is not of its string's kind", 1),
    (b"\x7f\x61a\x7f\x61a\xff\xff", "a chunk that is not of its string's kind", 3),
    (b"\x82\x01\x98\x19" + bytes(24), "25 items announced, 24 bytes are left", 2),
    (b"\x82\x01\xb8\x19" + b"\x60\x01" * 24 + b"\x01", "25 items announced, 49 bytes are left", 2),
    (b"\x9b" + b"\xff" * 8, "18446744073709551615 items announced, 0 bytes are left", 0),
]


@pytest.mark.parametrize(("raw", "said", "at"), WRONG, ids=[f"{raw[:6].hex()}: {said}" for raw, said, _ in WRONG])
def test_what_is_wrong_is_told_with_its_byte(raw: bytes, said: str, at: int) -> None:
    for read in (dag_cbor.links, cbor.decode):
        with pytest.raises(CodecError, match=said) as caught:
            read(raw)
        assert caught.value.position == at


def test_a_key_that_comes_twice_is_told_where_it_comes_again() -> None:
    with pytest.raises(CodecError, match="the key 'a' comes twice") as caught:
        cbor.decode(b"\xa2\x61a\x01\x61a\x02")
    assert caught.value.position == 4


@pytest.mark.parametrize("count", [0, 1, 22, 23, 24, 25, 255, 256])
def test_lists_and_maps_of_any_length_are_read_whole(count: int) -> None:
    for items in (b"\x18\x18" * count, b"\x00" * count, LINK * count):
        raw = b"\x82" + cbor_head(4, count) + items + LINK
        assert len(dag_cbor.links(raw)) == 1 + items.count(LINK)
        assert len(_cbor_values.decode(raw)[0]) == count
    keys = [f"{number:03}" for number in range(count)]
    raw = b"\x82" + cbor_head(5, count) + b"".join(b"\x63" + key.encode() + LINK for key in keys) + LINK
    assert len(dag_cbor.links(raw)) == 1 + count
    assert list(_cbor_values.decode(raw)[0]) == keys


@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65535, 65536])
@pytest.mark.parametrize("major", [2, 3])
def test_strings_of_any_length_are_stepped_over(major: int, size: int) -> None:
    raw = b"\x82" + cbor_head(major, size) + b"k" * size + LINK
    assert dag_cbor.links(raw) == [RAW_CID]
    if major == 3:
        assert dag_cbor.links(b"\xa1" + cbor_head(3, size) + b"k" * size + LINK) == [RAW_CID]
        assert dag_cbor.links(b"\xbf" + cbor_head(3, size) + b"k" * size + LINK + b"\xff") == [RAW_CID]


@pytest.mark.parametrize("first", range(256))
def test_the_size_of_a_plain_item_is_in_its_first_byte(first: int) -> None:
    major, info = first >> 5, first & 31
    sizes = {24: 2, 25: 3, 26: 5, 27: 9}
    if major in {0, 1}:
        expected = 1 if info < 24 else sizes.get(info, 0)
    elif major in {2, 3}:
        expected = 1 + info if info < 24 else 0
    else:
        expected = {0xF4: 1, 0xF5: 1, 0xF6: 1, 0xF7: 1, 0xF9: 3, 0xFA: 5, 0xFB: 9}.get(first, 0)
    assert _cbor_links._STEPS[first] == expected


@pytest.mark.parametrize("head", [b"\x81", b"\x98\x01", b"\x9f", b"\xa1\x61a", b"\xb8\x01\x61a", b"\xbf\x61a"])
def test_containers_may_be_nested_as_deep_as_allowed_and_not_deeper(head: bytes) -> None:
    tail = b"\xff" if head[0] & 31 == 31 else b""
    for depth, fits in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        raw = head * depth + LINK + tail * depth
        if fits:
            assert dag_cbor.links(raw) == [RAW_CID]
        else:
            with pytest.raises(CodecError, match=f"nested deeper than {MAX_DEPTH}") as caught:
                dag_cbor.links(raw)
            assert caught.value.position == len(head) * MAX_DEPTH


def test_the_end_of_every_link_is_told_to_who_asks() -> None:
    long = b"\xd8\x2a\x58\x25\x00" + RAW_CID
    ends: list[int] = []
    assert _cbor_links.scan(b"\x83" + long + b"\x01" + long, ends) == [RAW_CID, RAW_CID]
    assert ends == [1 + len(long), 2 + 2 * len(long)]


@pytest.mark.parametrize("size", [5, 22, 23, 24, 254, 255, 256, 65534, 65535, 65536, 131071])
def test_links_of_any_length_have_the_shortest_head(size: int) -> None:
    """``size`` is that of the CID, which has a zero byte in front."""
    head = len(identity(bytes(size))) - size
    while len(identity(bytes(size - head))) != size:
        head += 1 if len(identity(bytes(size - head))) > size else -1
    raw = identity(bytes(size - head))
    block = b"\x82" + link(raw) + b"\x01"
    assert dag_cbor.encode([CID(raw), 1]) == block
    assert dag_cbor.decode(block) == [CID(raw), 1]
    assert dag_cbor.links(block) == [raw]


def test_a_link_that_is_not_in_its_shortest_form_is_told_where_it_ends() -> None:
    raw = b"\x81\xd8\x2a" + loose_head(2, 37, 2) + LINK[4:]
    with pytest.raises(CodecError, match="a link that is not in its shortest form") as caught:
        dag_cbor.decode(raw)
    assert caught.value.position == len(raw)


def test_what_the_library_refuses_is_told_in_one_line() -> None:
    with pytest.raises(CodecError) as caught:
        dag_cbor.decode(b"\x82" + LINK + b"\x81\x19\x00\x01")
    said = "Integer 1 was encoded using 2 bytes, while 1 byte would have been enough"
    assert (caught.value.args[0], caught.value.position) == (f"dag-cbor: {said}", 43)
    with pytest.raises(ValueError, match="Unsigned integer out of range"):
        dag_cbor.encode({"a": [1 << 65]})


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        ("Wrong.", "Wrong", 0),
        ("Wrong in X.\nAt byte #0: 82.\nWhatever", "Wrong in X", 0),
        ("Wrong\nAt byte #1: 4c", "Wrong", 1),
        ("Wrong\nAt byte #14: 4c", "Wrong", 42),
        ("Wrong\nAt byte #27: 01", "Wrong", 83),
        (
            "In a list\nAt byte #0: 83\n\\ In another\nAt byte #1: 81\n\\ Wrong\nAt byte #28\nbefore it",
            "Wrong",
            84,
        ),
    ],
)
def test_a_place_that_the_library_tells_is_that_of_the_block_as_it_was(
    text: str, said: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each link is 41 bytes; the library sees 13 in its place."""
    library = pytest.importorskip("dag_cbor")

    def refuse(_: bytes) -> None:
        raise library.decoding.err.CBORDecodingError(text)

    monkeypatch.setattr(library, "decode", refuse)
    with pytest.raises(CodecError) as caught:
        dag_cbor.decode(b"\x84" + LINK + LINK + b"\x01\x02")
    assert (caught.value.args[0], caught.value.position) == (f"dag-cbor: {said}", at)


def test_a_block_may_be_a_link_and_nothing_else() -> None:
    assert dag_cbor.decode(LINK) == CID(RAW_CID)
    assert dag_cbor.encode(CID(RAW_CID)) == LINK


@pytest.mark.parametrize("raw", [b"\xb8\x18" + b"\x60\x01" * 24, b"\x98\x18" + b"\x01" * 24])
def test_as_many_items_may_be_announced_as_the_bytes_can_hold(raw: bytes) -> None:
    assert dag_cbor.links(raw) == []
    with pytest.raises(CodecError, match="24 items announced"):
        dag_cbor.links(raw[:-1])
