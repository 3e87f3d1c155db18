"""The table of codecs: what is in it, what users put in, and what is not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from carv2 import CID, Block, codec
from carv2.codec import dag_pb
from carv2.errors import CodecError, UnknownCodecError
from codec.values import RAW_CID
from helpers.archives import cid_v0, cid_v1, identity, link

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = bytes.fromhex("12260a24") + RAW_CID

CASES = {
    "raw": (0x55, b"\x81" + link(RAW_CID), []),
    "dag-pb": (0x70, NODE, [RAW_CID]),
    "dag-cbor": (0x71, b"\x81" + link(RAW_CID), [RAW_CID]),
    "dag-json": (0x0129, b'{"/":"%s"}' % str(CID(RAW_CID)).encode(), [RAW_CID]),
    "cbor": (0x51, b"\x81\x01", []),
    "json": (0x0200, b'{"/":"%s"}' % str(CID(RAW_CID)).encode(), []),
}


@pytest.mark.parametrize(("name", "code", "data", "found"), [(name, *row) for name, row in CASES.items()])
def test_links_go_by_the_codec_of_the_cid(name: str, code: int, data: bytes, found: list[bytes]) -> None:
    for raw in (cid_v1(data, codec=code), identity(data, codec=code)):
        assert codec.links_of(raw, data) == found
        assert codec.links(raw, data) == codec.links(str(CID(raw)), data) == [CID(cid) for cid in found]
        assert Block(raw, data).links() == [CID(cid) for cid in found]
        assert Block(raw, data).decode() == codec.decode(raw, data)
    value = codec.decode(CID(cid_v1(data, codec=code)), data)
    assert codec.decode(CID.of_data(data, codec=code), codec.encode(name, value)) == value
    assert codec.encode(code, value) == codec.encode(name, value)


def test_a_cid_of_version_0_is_dag_pb() -> None:
    assert codec.links_of(cid_v0(NODE), NODE) == [RAW_CID]
    assert codec.decode(cid_v0(NODE), NODE).links[0].cid == RAW_CID


def test_links_to_identity_cids_and_repeats_are_kept() -> None:
    inside = identity(b"inside")
    data = b"\x83" + link(inside) + link(RAW_CID) + link(inside)
    assert codec.links_of(cid_v1(data, codec=0x71), data) == [inside, RAW_CID, inside]


@pytest.mark.parametrize("code", [0x72, 0x0202, 0x78, 0x55 << 7, 127, 128, (1 << 63) - 1])
def test_an_unknown_codec_is_named_with_a_way_out(code: int) -> None:
    raw = cid_v1(b"data", codec=code)
    for ask in (codec.links_of, codec.links, codec.decode):
        with pytest.raises(UnknownCodecError, match="register") as caught:
            ask(raw, b"data")
        assert (caught.value.code, caught.value.cid) == (code, CID(raw))
    with pytest.raises(UnknownCodecError):
        codec.encode(code, b"data")
    with pytest.raises(UnknownCodecError, match="libp2p-key"):
        Block(cid_v1(b"data", codec=0x72), b"data").links()


def test_a_name_that_is_none_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no-such-codec"):
        codec.encode("no-such-codec", b"")


@pytest.mark.parametrize("code", [0x51, 0x70, 0x71, 0x0129, 0x0200])
def test_errors_know_the_block(code: int) -> None:
    raw = cid_v1(b"\xff", codec=code)
    asks = [codec.decode] if code in {0x51, 0x0200} else [codec.decode, codec.links_of, codec.links]
    for ask in asks:
        with pytest.raises(CodecError, match=str(CID(raw))) as caught:
            ask(raw, b"\xff")
        assert caught.value.cid == CID(raw)


@pytest.mark.parametrize("bad", [b"", b"\x01", b"\x12\x20", b"\x02\x55\x00\x00"])
def test_what_is_no_cid_is_a_value_error(bad: bytes) -> None:
    for ask in (codec.links, codec.decode):
        with pytest.raises(ValueError):
            ask(bad, b"")


@pytest.mark.parametrize("bad", [5, "text", None, bytearray(b"x")])
def test_a_raw_block_is_bytes(bad: object) -> None:
    with pytest.raises(TypeError):
        codec.encode("raw", bad)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table comes back as it was."""
    monkeypatch.setattr(codec.registry, "_codecs", codec.registry._codecs)
    monkeypatch.setattr(codec.registry, "_links_by_head", codec.registry._links_by_head)


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + 4] for at in range(0, len(data), 4)]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("code", [0x7F, 0x300002])
def test_users_add_codecs(code: int) -> None:
    mine = codec.Codec(code, "fours", _split, len)
    codec.register(mine)
    raw = cid_v1(b"abcdefgh", codec=code)
    assert codec.links_of(raw, b"abcdefgh") == [b"abcd", b"efgh"]
    assert codec.decode(raw, b"abcdefgh") == 8
    with pytest.raises(UnknownCodecError, match="only reads"):
        codec.encode("fours", 8)
    with pytest.raises(ValueError, match="fours"):
        codec.register(mine)
    codec.register(mine._replace(decode=lambda data: data.hex(), encode=bytes.fromhex), replace=True)
    assert codec.decode(raw, b"a") == "61"
    assert codec.encode("fours", "61") == b"a"


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("code", [0x7F, 0x300002])
@pytest.mark.parametrize("form", [CID, str, bytes, bytearray])
def test_the_links_of_a_users_codec_may_be_any_form_of_a_cid(code: int, form: Any) -> None:
    def found(_data: bytes) -> Iterator[Any]:
        yield form(str(CID(RAW_CID)) if form is str else RAW_CID)

    codec.register(codec.Codec(code, "one-link", found, len))
    raw = cid_v1(b"data", codec=code)
    assert codec.links_of(raw, b"data") == [RAW_CID]
    assert codec.links(raw, b"data") == Block(raw, b"data").links() == [CID(RAW_CID)]


@pytest.mark.usefixtures("table")
def test_what_is_no_link_is_said_with_the_codecs_name() -> None:
    bad: Any = [5]
    codec.register(codec.Codec(0x300002, "one-link", lambda _data: bad, len))
    with pytest.raises(TypeError, match=r"one-link \(0x300002\).*int"):
        Block(cid_v1(b"data", codec=0x300002), b"data").links()


def test_a_dag_pb_node_is_encoded_from_its_map_too() -> None:
    value = dag_pb.to_map(codec.decode(cid_v0(NODE), NODE))
    assert codec.encode("dag-pb", value) == dag_pb.encode(value) == NODE
    with pytest.raises(ValueError, match="Linx"):
        codec.encode("dag-pb", {"Linx": []})
    others: list[Any] = [5, b"data", None, []]
    for bad in others:
        with pytest.raises(TypeError, match="PBNode"):
            codec.encode("dag-pb", bad)


@pytest.mark.usefixtures("table")
def test_a_codec_of_ours_can_be_replaced_for_both_versions_of_cids() -> None:
    with pytest.raises(ValueError, match="dag-pb"):
        codec.register(codec.Codec(0x70, "mine", _split, len))
    codec.register(codec.Codec(0x70, "mine", _split, len), replace=True)
    assert (
        codec.links_of(cid_v0(b"abcd"), b"abcd")
        == codec.links_of(cid_v1(b"abcd", codec=0x70), b"abcd")
        == [b"abcd"]
    )


@pytest.mark.usefixtures("table")
def test_threads_that_register_lose_nothing() -> None:
    codes = range(0x400000, 0x400000 + 64)
    gate = threading.Barrier(8)

    def add(part: range) -> None:
        gate.wait()
        for code in part:
            codec.register(codec.Codec(code, f"codec-{code}", _split, len))
            assert codec.links_of(cid_v1(NODE, codec=0x70), NODE) == [RAW_CID]

    threads = [threading.Thread(target=add, args=(codes[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(codec.decode(cid_v1(b"abc", codec=code), b"abc") == 3 for code in codes)


def test_the_table_has_these_codecs() -> None:
    table = codec.registry._codecs
    assert {code: known.name for code, known in table.items()} == {
        code: name for name, (code, _, _) in CASES.items()
    }
    assert all(known.code == code and known.encode is not None for code, known in table.items())


@pytest.mark.usefixtures("table")
def test_what_finds_links_is_known_by_two_bytes_where_these_say_the_codec() -> None:
    heads = codec.registry._links_by_head
    assert set(heads) == {b"\x01\x55", b"\x01\x70", b"\x01\x71", b"\x01\x51", b"\x12\x20"}
    assert heads[b"\x12\x20"] is heads[b"\x01\x70"]
    codec.register(codec.Codec(0x7F, "last of one byte", _split, len))
    codec.register(codec.Codec(0x80, "first of two", _split, len))
    assert set(codec.registry._links_by_head) == {*heads, b"\x01\x7f"}
    assert codec.registry._heads({}) == {}


def test_what_no_codec_knows_is_said_in_one_sentence() -> None:
    cid = CID(cid_v1(b"data", codec=0x78))
    expected = "no codec here for git-raw (0x78){}; carv2.codec.register() takes one"
    for ask, block in (
        (lambda: codec.decode(cid, b"data"), f" of {cid.short()}"),
        (lambda: codec.encode(0x78, b"data"), ""),
    ):
        with pytest.raises(UnknownCodecError) as caught:
            ask()
        assert str(caught.value) == expected.format(block)
        assert (caught.value.code, caught.value.cid) == (0x78, cid if block else None)


@pytest.mark.usefixtures("table")
def test_a_codec_that_only_reads_says_so() -> None:
    codec.register(codec.Codec(0x300002, "fours", _split, len))
    with pytest.raises(UnknownCodecError) as caught:
        codec.encode("fours", 8)
    assert (caught.value.code, caught.value.cid) == (0x300002, None)


@pytest.mark.usefixtures("table")
def test_an_error_that_knows_its_block_keeps_it() -> None:
    inner = CID(cid_v1(b"inner"))

    def fail(_data: bytes) -> list[bytes]:
        raise CodecError("bad", position=1, cid=inner)

    codec.register(codec.Codec(0x300002, "bad", fail, fail))
    raw = cid_v1(b"data", codec=0x300002)
    for ask in (codec.links_of, codec.decode):
        with pytest.raises(CodecError) as caught:
            ask(raw, b"data")
        assert caught.value.cid == inner


def test_a_link_in_plain_cbor_is_refused_both_ways() -> None:
    with pytest.raises(CodecError, match="a link") as caught:
        codec.decode(cid_v1(b"", codec=0x51), b"\x81" + link(RAW_CID))
    assert caught.value.position == 0
    with pytest.raises(ValueError, match="no links"):
        codec.encode("cbor", [CID(RAW_CID)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, {}], "a": []}, '{\n\t"b": [\n\t\t1,\n\t\t{}\n\t],\n\t"a": []\n}\n'),
        ([], "[]\n"),
        ((1,), "[\n\t1\n]\n"),
        ({}, "{}\n"),
        (5, "5"),
        ("é", '"é"'),
        (None, "null"),
    ],
    ids=str,
)
def test_plain_json_is_written_with_a_line_for_each_entry(value: object, text: str) -> None:
    assert codec.encode("json", value).decode() == text


@pytest.mark.parametrize(("bad", "said"), [(b"x", "bytes"), (CID(RAW_CID), "links")])
def test_plain_json_has_neither_bytes_nor_links(bad: object, said: str) -> None:
    with pytest.raises(TypeError, match=f"plain JSON has no {said}"):
        codec.encode("json", {"a": [bad]})


def test_plain_json_has_maps_that_are_no_links() -> None:
    data = b'{"a": {"/": "b"}, "c": [{"/": {"bytes": "AA"}}]}'
    assert codec.decode(CID.of_data(data, codec="json"), data) == {"a": {"/": "b"}, "c": [{"/": {"bytes": "AA"}}]}
