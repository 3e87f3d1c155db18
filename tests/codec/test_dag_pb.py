"""dag-pb, against vectors written by hand; what is refused is what go-codec-dagpb refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from carv2 import CID
from carv2.codec import _protobuf, dag_pb
from carv2.codec.dag_pb import PBLink, PBNode
from carv2.errors import CarError, CodecError, FormatError
from codec.values import PB_CID, RAW_CID, V0_CID, field
from helpers.archives import varint
from helpers.strategies import cids

HASH = field(0x0A, RAW_CID)
NAME = field(0x12, b"name")
SIZE = b"\x18\x85\x01"
DATA = field(0x0A, b"\x08\x01")


def node(*links: bytes) -> bytes:
    return b"".join(field(0x12, link) for link in links)


SIZES = [126, 127, 128, 16255, 16256, 16383, 16384, (1 << 56) - 1, 1 << 56, (1 << 63) - 1]

KNOWN = [
    (b"", PBNode([])),
    (b"\x0a\x00", PBNode([], b"")),
    (DATA, PBNode([], b"\x08\x01")),
    (node(HASH), PBNode([PBLink(RAW_CID)])),
    (node(HASH + b"\x12\x00"), PBNode([PBLink(RAW_CID, "")])),
    (node(HASH + b"\x18\x00"), PBNode([PBLink(RAW_CID, None, 0)])),
    (node(HASH + NAME + SIZE) + DATA, PBNode([PBLink(RAW_CID, "name", 133)], b"\x08\x01")),
    (node(field(0x0A, V0_CID) + field(0x12, "ß".encode())), PBNode([PBLink(V0_CID, "ß")])),
    (node(HASH + field(0x12, b"a\xff")), PBNode([PBLink(RAW_CID, "a\udcff")])),
    (node(HASH + field(0x12, b"n" * 300) + SIZE), PBNode([PBLink(RAW_CID, "n" * 300, 133)])),
    (node(HASH, field(0x0A, PB_CID)), PBNode([PBLink(RAW_CID), PBLink(PB_CID)])),
    *((node(HASH + b"\x18" + varint(size)), PBNode([PBLink(RAW_CID, None, size)])) for size in SIZES),
    (node(HASH + field(0x12, b"n" * 128)), PBNode([PBLink(RAW_CID, "n" * 128)])),
    (node(HASH + b"\x18" + b"\xff" * 9 + b"\x01"), PBNode([PBLink(RAW_CID, None, (1 << 64) - 1)])),
    (node(field(0x0A, bytes.fromhex("0155000161"))), PBNode([PBLink(bytes.fromhex("0155000161"))])),
]

LOOSE = [
    ("data before links", DATA + node(HASH), PBNode([PBLink(RAW_CID)], b"\x08\x01")),
    ("a long size of a field", b"\x0a\x82\x80\x00\x08\x01", PBNode([], b"\x08\x01")),
    ("a long key", b"\x8a\x00\x01\x08", PBNode([], b"\x08")),
    ("a long key of a link's", node(HASH + b"\x92\x00\x01n"), PBNode([PBLink(RAW_CID, "n")])),
    ("a long Tsize", node(HASH + b"\x18\x85\x80\x00"), PBNode([PBLink(RAW_CID, None, 5)])),
    ("bytes behind a CID", node(field(0x0A, RAW_CID + b"?")), PBNode([PBLink(RAW_CID)])),
    (
        "names that are not in order",
        node(HASH + field(0x12, b"b"), HASH + field(0x12, b"a")),
        PBNode([PBLink(RAW_CID, "b"), PBLink(RAW_CID, "a")]),
    ),
]

REFUSED = {
    "an unknown field of a node": b"\x1a\x00",
    "field 0": b"\x02\x00",
    "a wrong wire type of Data": b"\x08\x01",
    "a group": b"\x0b",
    "a wrong wire type of Links": b"\x10\x01",
    "a second Data": DATA + DATA,
    "links on both sides of Data": node(HASH) + DATA + node(HASH),
    "a second Data behind links": DATA + node(HASH) + DATA,
    "a link without a Hash": node(NAME),
    "an empty link": node(b""),
    "a second Hash": node(HASH + HASH),
    "a second Name": node(HASH + NAME + NAME),
    "a second Tsize": node(HASH + SIZE + SIZE),
    "Name before Hash": node(NAME + HASH),
    "Tsize before Hash": node(SIZE + HASH),
    "Tsize before Name": node(HASH + SIZE + NAME),
    "an unknown field of a link": node(HASH + b"\x22\x00"),
    "a wrong wire type of Hash": node(b"\x08\x01"),
    "a wrong wire type of Name": node(HASH + b"\x10\x01"),
    "a wrong wire type of Tsize": node(HASH + b"\x1a\x01\x01"),
    "no CID": node(field(0x0A, b"\x02\x55\x12\x00")),
    "an empty CID": node(b"\x0a\x00"),
    "a CID that is cut off": node(field(0x0A, RAW_CID[:-1])),
    "a CIDv0 that is cut off": node(field(0x0A, V0_CID[:-1])),
    "a field longer than the node": b"\x0a\x05\x00",
    "a link longer than the node": b"\x12\x7f" + HASH,
    "a Hash longer than the link": b"\x12\x04\x0a\x24\x01\x55" + RAW_CID,
    "a Name longer than the link": node(HASH + b"\x12\x05name"),
    "a Tsize that is cut off": node(HASH + b"\x18"),
    "a Tsize cut off in the middle": node(HASH + b"\x18\x80"),
    "a Tsize of 65 bits": node(HASH + b"\x18" + b"\xff" * 9 + b"\x02"),
    "a size of 2**63": b"\x0a" + varint(1 << 63),
    "an endless varint": b"\x0a" + b"\x80" * 50,
    "a key alone": b"\x0a",
}


@pytest.mark.parametrize(("raw", "expected"), KNOWN)
def test_known_nodes_have_known_bytes(raw: bytes, expected: PBNode) -> None:
    assert dag_pb.decode(raw) == expected
    assert dag_pb.encode(expected) == raw
    assert dag_pb.decode(raw, strict=True) == expected
    assert dag_pb.links(raw) == [link.cid for link in expected.links]


@pytest.mark.parametrize(("raw", "expected"), [row[1:] for row in LOOSE], ids=[row[0] for row in LOOSE])
def test_what_old_programs_wrote_is_read_and_is_not_strict(raw: bytes, expected: PBNode) -> None:
    assert dag_pb.decode(raw) == expected
    assert dag_pb.links(raw) == [link.cid for link in expected.links]
    with pytest.raises(CodecError, match="strict"):
        dag_pb.decode(raw, strict=True)


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_go_codec_dagpb_refuses_is_refused(raw: bytes) -> None:
    for read in (dag_pb.decode, dag_pb.links):
        with pytest.raises(CodecError) as caught:
            read(raw)
        assert 0 <= caught.value.position <= len(raw)


NAMES = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=200).map(lambda name: name.decode("utf-8", "surrogateescape"))
)
LINKS = st.builds(PBLink, cids(), NAMES, st.none() | st.integers(0, (1 << 64) - 1))


@given(st.builds(PBNode, st.lists(LINKS, max_size=6), st.none() | st.binary(max_size=300)))
def test_nodes_come_back_with_their_links_in_the_order_of_the_names(given_node: PBNode) -> None:
    raw = dag_pb.encode(given_node)
    ordered = sorted(given_node.links, key=lambda link: (link.name or "").encode("utf-8", "surrogateescape"))
    assert dag_pb.decode(raw, strict=True) == PBNode(ordered, given_node.data)
    assert dag_pb.links(raw) == [link.cid for link in ordered]
    assert dag_pb.from_map(dag_pb.to_map(given_node)) == given_node


@given(st.binary(max_size=120))
@example(node(HASH + NAME))
def test_any_bytes_are_a_node_or_a_codec_error_for_both_readers(raw: bytes) -> None:
    try:
        expected = [link.cid for link in dag_pb.decode(raw).links]
    except CodecError:
        with pytest.raises(CodecError):
            dag_pb.links(raw)
    else:
        assert dag_pb.links(raw) == expected


@given(st.data())
def test_one_changed_byte_never_sets_the_readers_at_odds(data: st.DataObject) -> None:
    raw = bytearray(node(HASH + NAME + SIZE, field(0x0A, V0_CID) + SIZE, HASH) + DATA)
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_a_node_or_a_codec_error_for_both_readers.hypothesis.inner_test(bytes(raw))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "bad",
    [
        PBNode([PBLink(b"no CID")]),
        PBNode([PBLink(RAW_CID + b"?")]),
        PBNode([PBLink(RAW_CID, None, -1)]),
        PBNode([PBLink(RAW_CID, None, 1 << 64)]),
    ],
)
def test_what_cannot_be_written_is_a_value_error(bad: PBNode) -> None:
    with pytest.raises(ValueError):
        dag_pb.encode(bad)


def test_bytes_that_are_no_cid_are_told_from_their_start() -> None:
    with pytest.raises(FormatError, match="CID version 2") as caught:
        dag_pb.encode(PBNode([PBLink(b"\x02\x55\x00\x00")]))
    assert caught.value.position == 0


def test_bytes_behind_a_cid_are_told_as_such() -> None:
    with pytest.raises(ValueError, match=r"^bytes behind the CID of the link 'n'$"):
        dag_pb.encode(PBNode([PBLink(RAW_CID + b"?", "n")]))


def test_the_form_of_the_data_model_leaves_out_what_is_not_there() -> None:
    assert dag_pb.to_map(PBNode([PBLink(RAW_CID), PBLink(V0_CID, "", 0)])) == {
        "Links": [{"Hash": CID(RAW_CID)}, {"Hash": CID(V0_CID), "Name": "", "Tsize": 0}]
    }
    assert dag_pb.from_map({}) == PBNode([])


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {"Lynx": []},
        {"Links": {}},
        {"Links": [{"Name": "x"}]},
        {"Links": [{"Hash": RAW_CID}]},
        {"Links": [{"Hash": CID(RAW_CID), "Tsize": True}]},
        {"Links": [[]]},
        {"Data": "text", "Links": []},
    ],
)
def test_other_forms_are_refused(bad: object) -> None:
    with pytest.raises(ValueError):
        dag_pb.from_map(bad)


def test_a_node_of_many_links_is_read_whole() -> None:
    many = PBNode([PBLink(RAW_CID, f"{number:05}", number) for number in range(5000)])
    assert dag_pb.decode(dag_pb.encode(many)) == many
    with pytest.raises(CarError):
        dag_pb.decode(dag_pb.encode(many)[:-1])


@pytest.mark.parametrize("form", [CID, str, bytearray, memoryview])
def test_the_cid_of_a_link_may_be_in_any_form(form: Any) -> None:
    cid = form(str(CID(RAW_CID)) if form is str else RAW_CID)
    made, usual = (PBNode([PBLink(given, "n", 5)]) for given in (cid, RAW_CID))
    assert dag_pb.encode(made) == dag_pb.encode(usual)
    assert dag_pb.to_map(made) == dag_pb.to_map(usual)


@pytest.mark.parametrize(("bad", "kind"), [(5, TypeError), (None, TypeError), ("bafy", ValueError)])
def test_a_link_to_what_is_no_cid_is_named(bad: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="'n'"):
        dag_pb.encode(PBNode([PBLink(bad, "n")]))


# -- what is wrong, and where ---------------------------------------------------------------------------------

WRONG = [
    (b"\x1a\x00", "dag-pb node with a field 3 of wire type 2", 0),
    (DATA + b"\x08\x01", "dag-pb node with a field 1 of wire type 0", 4),
    (b"\x8d\x80\x80\x80\xf0\x01", "dag-pb node with a field 1 of wire type 5", 0),
    (DATA + DATA, "dag-pb node with a second Data", 4),
    (node(HASH) + DATA + node(HASH), "dag-pb node with links on both sides of Data", 44),
    (node(HASH + NAME + HASH), "fields of a dag-pb link out of order, or twice", 46),
    (node(HASH + b"\x22\x00"), "dag-pb link with a field 4 of wire type 2", 40),
    (node(NAME), "dag-pb link without a Hash", 8),
    (node(field(0x0A, b"\x02\x55\x12\x00")), "dag-pb link: CID version 2", 4),
    (b"\x0a\x05\x00", "dag-pb field: wanted 5 bytes, got 1", 2),
    (DATA + b"\x0a\x80", "a second Data", 4),
    (b"\x0a\x80", "a protobuf varint that is cut off", 1),
    (node(HASH + b"\x18\x80"), "a protobuf varint that is cut off", 41),
    (DATA + b"\x80", "a protobuf varint that is cut off", 4),
    (node(HASH + b"\x12"), "a protobuf varint that is cut off", 41),
]


@pytest.mark.parametrize(("raw", "said", "at"), WRONG, ids=[said for _, said, _ in WRONG])
def test_what_is_wrong_is_told_with_its_place(raw: bytes, said: str, at: int) -> None:
    for read in (dag_pb.decode, dag_pb.links):
        with pytest.raises(CodecError, match=said) as caught:
            read(raw)
        assert caught.value.position == at


def test_a_node_that_is_not_strict_is_so_from_its_start() -> None:
    with pytest.raises(CodecError, match="strict") as caught:
        dag_pb.decode(DATA + node(HASH), strict=True)
    assert caught.value.position == 0


def test_a_map_is_written_as_the_node_that_it_is() -> None:
    made = PBNode([PBLink(RAW_CID, "n", 5)], b"x")
    assert dag_pb.encode(dag_pb.to_map(made)) == dag_pb.encode(made)


# -- links of the usual shape are read quickly ----------------------------------------------------------------

USUAL = {
    "a CIDv1": HASH,
    "a CIDv0": field(0x0A, V0_CID),
    "a dag-pb CIDv1": field(0x0A, PB_CID),
    "a name": HASH + NAME,
    "no letters": HASH + b"\x12\x00",
    "a name of 127 bytes": HASH + field(0x12, b"n" * 127),
    "a size": HASH + SIZE,
    "a size of one byte": HASH + b"\x18\x7f",
    "name and size": HASH + NAME + SIZE,
    "CIDv0, name and size": field(0x0A, V0_CID) + NAME + SIZE,
    "a size of nine bytes": HASH + NAME + b"\x18" + b"\xff" * 8 + b"\x01",
}
UNUSUAL = {
    "nothing": b"",
    "another hash": field(0x0A, b"\x01\x55\x1b\x20" + bytes(32)),
    "a CIDv0 of another size": field(0x0A, b"\x12\x1f" + bytes(31)),
    "a name of 128 bytes": HASH + field(0x12, b"n" * 128),
    "a size of two bytes in front of 128": HASH + b"\x12\x80" + b"n" * 128,
    "a CID cut off": HASH[:-1],
    "a CIDv0 cut off": field(0x0A, V0_CID)[:-1],
    "a byte more": HASH + b"\x00",
    "a name key alone": HASH + b"\x12",
    "a name that is cut off": HASH + NAME[:-1],
    "something behind the size": HASH + SIZE + NAME,
}


@pytest.mark.parametrize("before", [0, 1, 50])
@pytest.mark.parametrize("link", USUAL.values(), ids=USUAL.keys())
def test_the_usual_link_is_read_at_once_and_as_any_other(link: bytes, before: int) -> None:
    data, end = b"\x80" * before + link + b"\x80\x80\x80", before + len(link)
    expected = dag_pb._read_link(data, before, end)
    assert dag_pb._plain_link(data, before, end) == expected
    assert dag_pb._plain_cid(data, before, end) == expected.cid
    assert dag_pb._plain_stop(data, before) == before + 2 + len(expected.cid)


@pytest.mark.parametrize("before", [0, 1, 50])
@pytest.mark.parametrize("link", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_any_other_link_is_left_to_the_careful_reader(link: bytes, before: int) -> None:
    data = b"\x80" * before + link + b"\x0a" * 200
    assert dag_pb._plain_cid(data, before, before + len(link)) is None
    assert dag_pb._plain_link(data, before, before + len(link)) is None


def test_a_size_of_ten_bytes_is_left_to_the_careful_reader_of_cids() -> None:
    link = HASH + b"\x18" + b"\xff" * 9 + b"\x01"
    assert dag_pb._plain_cid(link, 0, len(link)) is None
    assert dag_pb.links(node(link)) == [RAW_CID]


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, (1 << 64) - 1])
def test_protobuf_numbers_come_back_from_between_other_bytes(value: int) -> None:
    raw = _protobuf.varint(value)
    assert raw == varint(value)
    assert _protobuf.read_varint(b"\xff" + raw + b"\xff", 1, 1 + len(raw), CodecError) == (value, 1 + len(raw))


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_protobuf_numbers_of_other_sizes_are_the_callers_mistake(value: int) -> None:
    with pytest.raises(ValueError, match="allowed 0 to"):
        _protobuf.varint(value)


def test_the_shortest_form_of_nothing_is_a_zero() -> None:
    assert _protobuf.varint(0) == b"\x00"


def test_a_number_of_eleven_bytes_is_refused_even_if_the_last_says_nothing() -> None:
    with pytest.raises(CodecError, match="more than 64 bits") as caught:
        _protobuf.read_varint(b"?" + b"\x80" * 10 + b"\x00", 1, 12, CodecError)
    assert caught.value.position == 1


def test_the_largest_field_is_of_29_bits() -> None:
    assert _protobuf.LARGEST_FIELD == 536870911
