"""Records and keys against the worked example, and records made to hurt."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.errors import CodecError
from carv2.filestore import keys, record
from carv2.filestore.keys import VARIANTS, key_cid, key_string
from carv2.filestore.record import FileReference
from helpers.shared import shared_fixture

LEAF = CID.of("bafkreiee3cmhp4guaqppw27zdilpajepf7kxhzvpaxaz7fv63opyql3yqi")
BLAKE_LEAF = "bafk2bzaceb5wzogtoree4iqxquuiwa25yu74txpqabqh6rz7ykrsldmju4bzq"
MAX = (1 << 64) - 1


@pytest.fixture
def example() -> dict[str, str]:
    found: dict[str, str] = json.loads(shared_fixture("refcar/one-reference.json").read_text())
    return found


def test_the_keys_are_those_of_the_worked_example(example: dict[str, str]) -> None:
    assert str(LEAF) == example["leaf_cid"]
    assert key_string(LEAF) == example["key"]
    assert str(key_cid(LEAF)) == str(key_cid(LEAF, "C")) == example["key_cid"]
    old = (
        "bafkqaqrpmzuwyzltorxxezjpinevcskkk5cvstzxlfhesqsbgy3u4vrxkndvcvzwifjusnsmgzle6ucujm3eet2ckq3eyt"
        "bvk42dousblbmfeqkr"
    )
    assert str(key_cid(LEAF, "A")) == str(key_cid(LEAF, VARIANTS["B"])) == old
    assert bytes(CID.of(old)) == bytes.fromhex("01550042") + example["key"].encode()


def test_the_importers_hash_has_keys_too() -> None:
    assert key_string(BLAKE_LEAF) == "/filestore/UDSAEID3NS4NG5CIJYRBPBJIRMBV3RJ7ZHO7AADAP5DT7QVDEWGYTJYDTA"
    assert str(key_cid(BLAKE_LEAF)) == "bafkreiap5htfv2j7iswomekj2bgjycz4mac7etvyx7t23qrhyqu2vb5jaq"


def test_a_key_is_of_the_multihash_alone() -> None:
    as_node = CID.of_multihash(LEAF.multihash, codec=0x70)
    as_v0 = CID.of_multihash(LEAF.multihash, codec=0x70, version=0)
    assert key_cid(as_node) == key_cid(as_v0) == key_cid(LEAF)


def test_only_a_key_of_the_old_variants_shows_itself() -> None:
    long_hash = CID.of_data(b"", hash="sha2-512")
    assert keys.is_identity_key(bytes(key_cid(LEAF, "A")))
    assert keys.is_identity_key(bytes(key_cid(long_hash, "B")))
    assert len(key_string(long_hash)) < 128  # one byte of size; and two:
    assert keys.is_identity_key(keys.key_bytes(b"\x12" * 100, "identity"))
    assert not keys.is_identity_key(bytes(key_cid(LEAF)))
    assert not keys.is_identity_key(bytes(CID.of_data(b"filestore", hash="identity")))


def test_an_unknown_variant_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="variant 'E', there are: A, B, C, D"):
        key_cid(LEAF, "E")


def test_the_record_is_that_of_the_worked_example(example: dict[str, str]) -> None:
    reference = FileReference("data/input.bin", 0, 10)
    assert record.encode(reference).hex() == example["record"]
    assert record.decode(bytes.fromhex(example["record"])) == reference
    second = "0a0e646174612f696e7075742e62696e 10808040 18808040"
    assert record.encode(FileReference("data/input.bin", 1 << 20, 1 << 20)) == bytes.fromhex(second)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", FileReference("", 0, 0)),
        ("0a0161", FileReference("a", 0, 0)),
        ("1805 1001 0a0161", FileReference("a", 1, 5)),
        ("0a0161 1001 1805 0a0162 1002", FileReference("b", 2, 5)),  # the last one counts
        ("2001 2a03ffffff 31 0102030405060708 3d 01020304 0a0161", FileReference("a", 0, 0)),  # unknown fields
        ("10 8100", FileReference("", 1, 0)),  # not the shortest form
        ("10 ffffffffffffffffff01", FileReference("", MAX, 0)),
        ("0a02ff61", FileReference("\udcffa", 0, 0)),  # no text: kept as it is
        ("0a00 1000 1800", FileReference("", 0, 0)),
    ],
)
def test_records_are_read_in_any_form(data: str, expected: FileReference) -> None:
    assert record.decode(bytes.fromhex(data)) == expected


@pytest.mark.parametrize(
    ("data", "position", "text"),
    [
        ("08", 0, "field 1 with the wire type 0"),
        ("0a", 1, "varint"),
        ("0a0261", 1, "a field ends 1 bytes behind the record"),
        ("12 00", 0, "field 2 with the wire type 2"),
        ("10", 1, "varint"),
        ("1080", 1, "varint"),
        ("10 ffffffffffffffffff02", 1, "more than 64 bits"),
        ("0a ffffffffffffffffff01", 1, "a field ends"),
        ("0a0161 31 01", 4, "a field ends 7 bytes"),
        ("0a0161 23", 4, "wire type 3"),
        ("0a0161 27", 4, "wire type 7"),
        ("00 00", 0, "field 0"),
        ("8080808010 00", 0, "field 536870912"),
    ],
)
def test_what_is_no_record_is_an_error_at_its_place(data: str, position: int, text: str) -> None:
    with pytest.raises(CodecError, match=text) as caught:
        record.decode(bytes.fromhex(data), position=100)
    assert caught.value.position == 100 + position


def paths() -> st.SearchStrategy[str]:
    return st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary().map(os.fsdecode))


@given(paths(), st.integers(0, MAX), st.integers(0, MAX))
def test_what_is_written_is_read_again(path: str, offset: int, size: int) -> None:
    reference = FileReference(path, offset, size)
    assert record.decode(record.encode(reference)) == reference


@given(st.binary(max_size=64))
def test_any_bytes_are_a_record_or_a_codec_error(data: bytes) -> None:
    try:
        found = record.decode(data)
    except CodecError:
        return
    assert record.decode(record.encode(found)) == found


@pytest.mark.parametrize("reference", [FileReference("a", -1, 0), FileReference("a", 0, 1 << 64)])
def test_numbers_that_do_not_fit_are_not_written(reference: FileReference) -> None:
    with pytest.raises(ValueError, match="protobuf varint"):
        record.encode(reference)


@pytest.mark.parametrize(
    ("path", "is_url"),
    [
        ("http://example.org/x", True),
        ("https://a", True),
        ("http://", False),
        ("https://", False),
        ("ftp://example.org/x", False),
        ("HTTP://example.org/x", False),
        ("data/http://x", False),
    ],
)
def test_urls_are_known_by_their_beginning(path: str, is_url: bool) -> None:
    assert FileReference(path, 0, 1).is_url is is_url


@pytest.mark.parametrize(
    ("path", "root", "full"),
    [
        ("data/input.bin", "/", "/data/input.bin"),
        ("/data/input.bin", "/", "/data/input.bin"),
        ("//data//./input.bin", "/", "/data/input.bin"),
        ("../../etc/passwd", "/srv", "/srv/etc/passwd"),
        ("a/../../b", "/srv", "/srv/b"),
        ("", "/srv", "/srv"),
        ("..", "/", "/"),
        ("http://example.org/../x", "/srv", "http://example.org/../x"),
    ],
)
def test_a_path_never_leads_out_of_its_root(path: str, root: str, full: str) -> None:
    assert FileReference(path, 0, 1).full_path(root) == full


def test_the_path_of_a_reference_is_relative_to_the_root() -> None:
    assert FileReference.of_path("/data/input.bin", 3, 4) == FileReference("data/input.bin", 3, 4)
    assert FileReference.of_path(b"/data/\xff", 3, 4, root=b"/data").path == "\udcff"
    assert FileReference.of_path("here", 0, 1).full_path() == os.path.join(os.getcwd(), "here")
    for outside in ("/data", "/database/x", "/data/../x"):
        with pytest.raises(ValueError, match="is not below /data/"):
            FileReference.of_path(outside, 0, 1, root="/data")
