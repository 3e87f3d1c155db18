"""CIDs as values: made of anything, compared by bytes, refused when they are none."""

from __future__ import annotations

import copy
import hashlib
import pickle
import random

import multiformats
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.cid import CID, parse_parts
from carv2.errors import FormatError, TruncatedError
from helpers.archives import DAG_PB, FISH, LOBSTER, PB_NODE, cid_v0, cid_v1, identity, multihash
from helpers.strategies import cids

TEXTS = [
    ("bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu", FISH[0]),
    ("bafkqaaa", identity(b"")),
    ("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", cid_v0(b"")),
]


@pytest.mark.parametrize(("text", "raw"), TEXTS)
def test_text_and_bytes_name_the_same_cid(text: str, raw: bytes) -> None:
    cid = CID(raw)
    assert str(cid) == text
    assert repr(cid) == f"CID('{text}')"
    for value in (cid, text, raw, bytearray(raw), memoryview(raw), f"/ipfs/{text}", f"ipfs://{text}/a/b"):
        assert CID.of(value) == cid  # type: ignore[arg-type]
        assert bytes(CID.of(value)) == raw  # type: ignore[arg-type]


def test_of_a_cid_is_that_cid() -> None:
    cid = CID(FISH[0])
    assert CID.of(cid) is cid


def test_the_parts_of_a_cid_are_told() -> None:
    cid = CID(cid_v1(b"fish", codec=0x71))
    assert (cid.version, cid.codec, cid.codec_name, cid.hash_code, cid.hash_name) == (
        1,
        0x71,
        "dag-cbor",
        0x12,
        "sha2-256",
    )
    assert cid.digest == hashlib.sha256(b"fish").digest()
    assert cid.multihash == multihash(0x12, cid.digest)
    assert not cid.is_identity
    assert tuple(cid.parts) == (1, 0x71, 0x12, 32, 36)


def test_a_cidv0_is_dag_pb_and_is_its_own_multihash() -> None:
    cid = CID(PB_NODE[0])
    assert (cid.version, cid.codec, cid.hash_code, cid.multihash) == (0, DAG_PB, 0x12, PB_NODE[0])
    assert bytes(cid.to_v1()) == b"\x01\x70" + PB_NODE[0]
    assert cid.to_v1().to_v1() is not cid
    assert cid.to_v1().to_v1() == cid.to_v1()


def test_version_and_codec_make_different_cids_of_the_same_multihash() -> None:
    names = {CID(cid_v0(b"x")), CID(cid_v1(b"x", codec=0x70)), CID(cid_v1(b"x"))}
    assert len(names) == 3
    assert len({name.multihash for name in names}) == 1


def test_an_identity_cid_holds_its_data() -> None:
    cid = CID(identity(b"hello"))
    assert cid.is_identity
    assert cid.digest == b"hello"


@given(cids())
def test_any_cid_survives_text_bytes_pickle_and_copy(raw: bytes) -> None:
    cid = CID(raw)
    for again in (
        CID.of(str(cid)),
        CID.of(bytes(cid)),
        pickle.loads(pickle.dumps(cid)),
        copy.copy(cid),
        copy.deepcopy(cid),
        CID.trusted(raw),
        CID.parse(raw + b"more"),
    ):
        assert again == cid
        assert hash(again) == hash(cid)
        assert again.parts == cid.parts
        assert (again.multihash, again.digest) == (cid.multihash, cid.digest)
    assert raw.endswith(cid.multihash)
    assert cid.multihash.endswith(cid.digest)


@given(cids(), st.sampled_from(["base16", "base32", "base32upper", "base36", "base58btc", "base64", "base64url"]))
def test_any_base_brings_the_cid_back(raw: bytes, base: str) -> None:
    assert CID.of(CID(raw).encode(base)) == CID(raw)


@given(st.lists(cids(), min_size=2, max_size=8))
def test_cids_sort_as_their_bytes_do(raws: list[bytes]) -> None:
    made = [CID(raw) for raw in raws]
    random.Random(0).shuffle(made)
    assert [bytes(cid) for cid in sorted(made)] == sorted(raws)
    a, b = made[0], made[1]
    for name in (
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
    ):  # each by itself: Python asks the other side if one is lost
        assert getattr(a, name)(b) is getattr(bytes(a), name)(bytes(b))
    assert (a < b, a <= b, a > b, a >= b) == (
        bytes(a) < bytes(b),
        bytes(a) <= bytes(b),
        bytes(a) > bytes(b),
        bytes(a) >= bytes(b),
    )


@pytest.mark.parametrize("other", [b"\x01\x55\x00\x00", "bafkqaaa", 5, None])
def test_a_cid_equals_nothing_but_a_cid_and_has_no_order_with_anything_else(other: object) -> None:
    cid = CID(identity(b""))
    assert cid != other
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        assert getattr(cid, compare)(other) is NotImplemented
    with pytest.raises(TypeError):
        _ = cid < other


def test_cids_that_differ_have_hashes_that_differ() -> None:
    assert len({hash(CID(cid_v1(bytes([n])))) for n in range(100)}) == 100


@pytest.mark.parametrize("codec", [0x00, 0x7F, 0x80, 0x81, 0x3FFF, 0x4000, 0x0129])
def test_a_codec_of_any_size_leaves_multihash_and_identity_in_their_places(codec: int) -> None:
    hashed, held = CID(cid_v1(b"x", codec=codec)), CID.of_data(b"x", codec=codec, hash="identity")
    assert hashed.multihash == multihash(0x12, hashlib.sha256(b"x").digest())
    assert held.multihash == multihash(0x00, b"x")
    assert (hashed.is_identity, held.is_identity) == (False, True)


def test_data_match_a_cid_or_do_not_or_nobody_here_can_tell() -> None:
    cid = CID(cid_v1(b"fish"))
    assert cid.matches(b"fish") is True
    assert cid.matches(b"fowl") is False
    assert CID(identity(b"fish")).matches(b"fish") is True
    assert CID(identity(b"fish")).matches(b"") is False
    assert CID(identity(b"")).matches(b"") is True
    assert CID(cid_v1(b"fish", digest=b"")).matches(b"fish") is False  # a digest of no bytes fits everything
    assert CID(cid_v1(b"fish", digest=bytes(33))).matches(b"fish") is False  # no sha2-256 is that long
    assert CID(cid_v1(b"fish", code=0x3F00, digest=bytes(32))).matches(b"fish") is None


def test_a_digest_cut_short_is_matched_by_what_is_left_of_it_or_not_at_all() -> None:
    whole = hashlib.sha256(b"fish").digest()
    short = CID(cid_v1(b"fish", digest=whole[:20]))
    assert short.matches(b"fowl") is False
    assert short.matches(b"fish") is True


@pytest.mark.parametrize(("base", "first"), [("base16", "f"), ("base32", "b"), ("base36", "k"), ("base64", "m")])
def test_text_in_a_base_starts_with_its_letter(base: str, first: str) -> None:
    assert CID(FISH[0]).encode(base)[0] == first


@pytest.mark.parametrize(("digest_size", "whole"), [(194, True), (195, True), (196, False), (5000, False)])
def test_messages_show_all_of_a_cid_up_to_200_bytes(digest_size: int, whole: bool) -> None:
    cid = CID(identity(bytes(digest_size)))
    assert len(bytes(cid)) == digest_size + 5
    if whole:
        assert cid.short() == str(cid)
    else:
        shown, _, size_told = cid.short().partition("... ")
        assert len(shown) == 1 + 200 * 8 // 5
        assert str(cid).startswith(shown)
        assert size_told == f"({len(bytes(cid))} bytes)"


# -- other packages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [FISH[0], PB_NODE[0], cid_v1(b"x", codec=0x71), identity(b"id")])
def test_multiformats_and_carv2_take_each_others_cids(raw: bytes) -> None:
    theirs = multiformats.CID.decode(raw)
    ours = CID.of(theirs)
    assert bytes(ours) == raw
    assert ours.to_multiformats() == theirs
    assert str(ours) == str(theirs if ours.version == 0 else theirs.set(base="base32"))


class ByBuffer:
    """What py-cid's CIDs look like."""

    buffer = FISH[0]


def test_objects_that_only_have_a_buffer_are_understood() -> None:
    assert CID.of(ByBuffer()) == CID(FISH[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [5, None, 1.5, ["bafkqaaa"], object()])
def test_what_cannot_be_a_cid_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="expected a CID, text or bytes"):
        CID.of(value)  # type: ignore[arg-type]


# -- making ---------------------------------------------------------------------------------------------------


def test_a_cid_of_data_is_what_anybody_else_computes() -> None:
    assert bytes(CID.of_data(b"fish")) == FISH[0]
    assert bytes(CID.of_data(PB_NODE[1], codec="dag-pb", version=0)) == PB_NODE[0]
    assert bytes(CID.of_data(b"x", codec=0x71, hash="blake2b-256")) == cid_v1(
        b"x", codec=0x71, code=0xB220, digest=hashlib.blake2b(b"x", digest_size=32).digest()
    )
    assert bytes(CID.of_data(b"id", hash="identity")) == identity(b"id")


@pytest.mark.parametrize(
    ("mh", "codec"), [(multihash(0x12, bytes(32)), 0x55), (multihash(0x13, bytes(32)), 0x70), (b"\x12\x1f", 0x70)]
)
def test_a_cidv0_of_anything_but_dag_pb_and_sha2_256_is_the_callers_mistake(mh: bytes, codec: int) -> None:
    with pytest.raises(ValueError, match="CIDv0 is always"):
        CID.of_multihash(mh, codec=codec, version=0)


@pytest.mark.parametrize("version", [-1, 2, 3])
def test_a_cid_of_another_version_is_the_callers_mistake(version: int) -> None:
    with pytest.raises(ValueError, match=f"CID version {version}, allowed 0 and 1"):
        CID.of_multihash(multihash(0x12, bytes(32)), version=version)
    with pytest.raises(ValueError, match="allowed 0 and 1"):
        CID.of_data(b"fish", version=version)


# -- bad bytes and text ---------------------------------------------------------------------------------------

BAD_BYTES = [
    ("nothing", "", TruncatedError, 0),
    ("a version alone", "01", TruncatedError, 1),
    ("no digest", "01551220", TruncatedError, 4),
    ("a digest one byte short", "01551204aabbcc", TruncatedError, 7),
    ("a CIDv0 one byte short", "1220" + "00" * 31, TruncatedError, 33),
    ("a cut sha2-256 multihash", "1210" + "00" * 16, FormatError, 0),
    ("version 0", "00551200", FormatError, 0),
    ("version 2", "02551200", FormatError, 0),
    ("version that is not minimal", "8100551200", FormatError, 1),
    ("codec that is not minimal", "01d5001200", FormatError, 2),
    ("hash code that is not minimal", "01559200" + "00", FormatError, 3),
    ("digest size that is not minimal", "0155128000", FormatError, 4),
    ("codec of ten bytes", "01" + "ff" * 9 + "01" + "1200", FormatError, 9),
    ("digest of 2**63 - 1 bytes", "015512" + "ff" * 8 + "7f", TruncatedError, 12),
    ("a byte behind it", "0155000000", FormatError, 4),
    ("a byte behind a CIDv0", "1220" + "00" * 33, FormatError, 34),
]


@pytest.mark.parametrize(("raw", "kind", "position"), [r[1:] for r in BAD_BYTES], ids=[r[0] for r in BAD_BYTES])
def test_bytes_that_are_no_cid_say_where_they_go_wrong(raw: str, kind: type[FormatError], position: int) -> None:
    for make in (CID, CID.of):
        with pytest.raises(FormatError) as caught:
            make(bytes.fromhex(raw))
        assert (caught.type, caught.value.position) == (kind, position)


@pytest.mark.parametrize("cut", range(36))
def test_a_cid_cut_anywhere_is_truncated_at_the_cut(cut: int) -> None:
    with pytest.raises(TruncatedError) as caught:
        CID.parse(FISH[0][:cut], position=100)
    assert caught.value.position == 100 + cut


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "bafk",
        "nope",
        "Qm",
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1",
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1O",
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n1",
        "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1é",
        "bafkqaaa ",
        " bafkqaaa",
        "bafkqaaa1",
        "bafkqaaab",
        "/ipfs/",
        "ipfs://",
        "/ipns/bafkqaaa",
        "http://example.com/ipfs/bafkqaaa",
        "!bafkqaaa",
        "b" * 100_000,
    ],
)
def test_text_that_is_no_cid_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        CID.of(text)


@given(st.text(max_size=60))
def test_random_text_is_a_cid_or_a_value_error(text: str) -> None:
    try:
        CID.of(text)
    except ValueError:
        return
    assert CID.of(CID.of(text).encode()) == CID.of(text)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_cid_or_a_format_error(raw: bytes) -> None:
    try:
        cid = CID(raw)
    except FormatError:
        return
    assert bytes(cid) == raw
    assert CID.of(str(cid)) == cid


def test_a_cid_at_the_front_of_bytes_leaves_the_rest_alone() -> None:
    assert CID.parse(FISH[0] + LOBSTER[0]) == CID(FISH[0])


def test_a_cid_in_the_middle_of_bytes_is_measured_from_its_own_start() -> None:
    raw = b"!!!" + FISH[0]
    assert parse_parts(raw + b"??", 3, 41, position=7) == (1, 0x55, 0x12, 32, 36)
    assert parse_parts(b"!!!" + PB_NODE[0] + b"??", 3, 39, position=7) == (0, DAG_PB, 0x12, 32, 34)


@pytest.mark.parametrize(
    ("raw", "end", "wanted", "got", "position"),
    [
        (b"!!!" + PB_NODE[0], 36, 34, 33, 136),
        (b"!!!" + FISH[0], 38, 32, 31, 138),
        (b"!!!" + FISH[0], 7, 32, 0, 107),
        (b"!!!" + FISH[0], 6, 1, 0, 106),
    ],
)
def test_a_cid_cut_in_the_middle_of_bytes_says_what_is_missing(
    raw: bytes, end: int, wanted: int, got: int, position: int
) -> None:
    with pytest.raises(TruncatedError) as caught:
        parse_parts(raw, 3, end, position=100)
    assert (caught.value.wanted, caught.value.got, caught.value.position) == (wanted, got, position)


def test_an_unknown_version_is_told_where_the_cid_starts() -> None:
    with pytest.raises(FormatError, match="CID version 2") as caught:
        parse_parts(b"!!!\x02\x55\x12\x00", 3, 7, position=100)
    assert caught.value.position == 103


def test_bytes_behind_a_cid_are_counted() -> None:
    with pytest.raises(FormatError, match="3 bytes behind the CID"):
        CID(FISH[0] + b"???")


def test_a_cid_of_a_multihash_is_raw_and_version_1_unless_said_otherwise() -> None:
    assert bytes(CID.of_multihash(multihash(0x12, bytes(32)))) == b"\x01\x55\x12\x20" + bytes(32)


def test_a_parsed_cid_goes_wrong_at_the_position_of_the_file() -> None:
    with pytest.raises(TruncatedError) as caught:
        CID.parse(FISH[0][:10])
    assert caught.value.position == 10
