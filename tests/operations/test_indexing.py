"""Indexes made of archives, taken out of them and put into them."""

from __future__ import annotations

import gc
import io
import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import errors
from carv2.operations.indexing import read_index
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = archives.SMALL_V1
RECORDS = archives.SMALL_RECORDS
PLAIN = [record for record in RECORDS if record.code != archives.IDENTITY]
INDEX = archives.index_multihash_sorted(PLAIN)


def test_building_gives_go_cars_own_indexes() -> None:
    sample = shared_fixture("go-car/sample-v1.car")
    expected = shared_fixture("go-car/sample-multihash-index-sorted.carindex").read_bytes()
    assert_bytes_equal(carv2.build_index(sample).to_bytes(), expected)
    older = shared_fixture("go-car/sample-index.carindex").read_bytes()
    assert_bytes_equal(carv2.build_index(sample, codec=0x0400, identity=True).to_bytes(), older)


@pytest.mark.parametrize("name", ["sample-wrapped-v2", "sample-rw-bs-v2", "sample-unixfs-v2"])
def test_building_gives_the_index_that_go_car_stored(name: str) -> None:
    path = shared_fixture(f"go-car/{name}.car")
    sink = io.BytesIO()
    size = carv2.detach_index(path, sink)
    assert_bytes_equal(carv2.build_index(path).to_bytes(), sink.getvalue())
    assert size == len(sink.getvalue())


def test_offsets_count_from_the_payload_wherever_that_lies() -> None:
    for padding in (0, 1, 1413):
        built = carv2.build_index(archives.v2(PAYLOAD, data_padding=padding))
        assert_bytes_equal(built.to_bytes(), INDEX)


def test_the_specifications_archive_has_the_offsets_of_its_description() -> None:
    path = shared_fixture("spec/carv1-basic.car")
    found = sorted(entry.offset for entry in carv2.build_index(path).to_index())
    assert found == [100, 192, 325, 366, 496, 537, 619, 660]
    body = carv2.build_index(path, codec=0x0400).to_bytes()
    assert body[:18] == bytes.fromhex("8008 01000000 28000000 4001000000000000")
    headless = shared_fixture("spec/carv2-basic.car")
    assert_bytes_equal(
        b"\x80\x08" + headless.read_bytes()[499:], carv2.build_index(headless, codec=0x0400).to_bytes()
    )


def test_detaching_copies_what_stands_there_to_the_end_of_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.carindex"
    size = carv2.detach_index(archives.v2(PAYLOAD, INDEX + b"and more", index_padding=3), out)
    assert_bytes_equal(out.read_bytes(), INDEX + b"and more")
    assert size == len(INDEX) + 8


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (PAYLOAD, errors.NoIndexError),
        (archives.v2(PAYLOAD), errors.NoIndexError),
        (archives.v2(PAYLOAD, b"\x55 no index"), errors.IndexFormatError),
        (archives.v2(PAYLOAD, INDEX[:-1]), errors.TruncatedError),
    ],
)
def test_detaching_what_is_not_there_is_refused_and_creates_nothing(
    tmp_path: Path, archive: bytes, kind: type[errors.CarError]
) -> None:
    with pytest.raises(kind) as caught:
        carv2.detach_index(archive, tmp_path / "out")
    assert type(caught.value) is kind
    assert os.listdir(tmp_path) == []


def attached(archive: Any, index: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    carv2.attach_index(archive, index, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("archive", [PAYLOAD, archives.v2(PAYLOAD), archives.v2(PAYLOAD, b"old", data_padding=9)])
def test_attaching_the_right_index_makes_the_archive_that_wrapping_would(archive: bytes) -> None:
    assert_bytes_equal(attached(archive, INDEX), archives.v2(PAYLOAD, INDEX))


def test_attaching_an_index_with_identity_cids_says_so_in_the_header() -> None:
    full = archives.index_multihash_sorted(RECORDS)
    expected = archives.v2(PAYLOAD, full, characteristics=archives.FULLY_INDEXED)
    assert_bytes_equal(attached(PAYLOAD, full), expected)


def test_an_index_may_come_out_of_another_archive() -> None:
    assert_bytes_equal(
        attached(PAYLOAD, archives.v2(PAYLOAD, INDEX, data_padding=77)), archives.v2(PAYLOAD, INDEX)
    )


def test_an_index_without_its_codec_gets_it() -> None:
    headless = archives.v2(PAYLOAD, archives.index_body(PLAIN))
    assert_bytes_equal(attached(PAYLOAD, headless), archives.v2(PAYLOAD, archives.index_sorted(PLAIN)))


def test_what_was_detached_can_be_attached_again(tmp_path: Path) -> None:
    sample = shared_fixture("go-car/sample-wrapped-v2.car")
    carv2.detach_index(sample, tmp_path / "index")
    carv2.unwrap(sample, tmp_path / "car")
    carv2.attach_index(tmp_path / "car", tmp_path / "index", tmp_path / "car")
    assert_bytes_equal((tmp_path / "car").read_bytes(), sample.read_bytes())
    assert sorted(os.listdir(tmp_path)) == ["car", "index"]


def changed(records: list[archives.Record], at: int, **values: Any) -> list[archives.Record]:
    return [record._replace(**values) if number == at else record for number, record in enumerate(records)]


FISH_AT, LOBSTER_AT = RECORDS[0].offset, RECORDS[3].offset
WRONG = {
    "of another archive": archives.index_multihash_sorted(
        archives.records_of(archives.header(), [(archives.cid_v1(b"x"), b"x")])
    ),
    "lacking a record": archives.index_multihash_sorted(PLAIN[:-1]),
    "with a record too many": archives.index_multihash_sorted([*PLAIN, archives.Record(0x12, bytes(32), FISH_AT)]),
    "with a wrong offset": archives.index_multihash_sorted(changed(PLAIN, 0, offset=LOBSTER_AT)),
    "with an offset in a block": archives.index_multihash_sorted(changed(PLAIN, 0, offset=FISH_AT + 37)),
    "with an offset behind the end": archives.index_multihash_sorted(changed(PLAIN, 0, offset=len(PAYLOAD))),
    "with another hash code": archives.index_multihash_sorted(changed(PLAIN, 0, code=0x13)),
}


@pytest.mark.parametrize("index", WRONG.values(), ids=WRONG)
def test_an_index_that_is_not_of_the_archive_is_refused_and_changes_nothing(tmp_path: Path, index: bytes) -> None:
    path = tmp_path / "in.car"
    path.write_bytes(PAYLOAD)
    with pytest.raises(errors.IndexMismatchError):
        carv2.attach_index(path, index, path)
    assert path.read_bytes() == PAYLOAD
    assert os.listdir(tmp_path) == ["in.car"]
    assert attached(PAYLOAD, index, verify=False).endswith(index)


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        (b"\x55 no index at all", errors.FormatError),
        (b"", errors.TruncatedError),
        (INDEX[:-1], errors.TruncatedError),
        (PAYLOAD, errors.NoIndexError),
        (archives.v2(PAYLOAD), errors.NoIndexError),
    ],
)
def test_what_is_no_index_is_refused(tmp_path: Path, index: bytes, kind: type[errors.CarError]) -> None:
    with pytest.raises(kind):
        carv2.attach_index(PAYLOAD, index, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_attaching_to_a_truncated_archive_is_refused_also_without_a_check(tmp_path: Path) -> None:
    for verify in (True, False):
        with pytest.raises(errors.TruncatedError):
            carv2.attach_index(archives.v2(PAYLOAD)[:-1], INDEX, tmp_path / "out", verify=verify)
        assert os.listdir(tmp_path) == []


def test_the_index_of_a_null_padded_archive_is_attached_when_padding_is_allowed() -> None:
    padded = PAYLOAD + bytes(64)
    with pytest.raises(errors.FormatError, match="zero-length"):
        attached(padded, INDEX)
    assert_bytes_equal(attached(padded, INDEX, null_padding=True), archives.v2(padded, INDEX))


def open_descriptors() -> int:
    gc.collect()  # what other tests left behind
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to count open files")
@pytest.mark.parametrize(
    "index", [INDEX, archives.v2(PAYLOAD, INDEX), archives.v2(PAYLOAD), b"\x55nonsense", INDEX[:-1]]
)
def test_no_file_stays_open_behind_an_operation(tmp_path: Path, index: bytes) -> None:
    path, index_path = tmp_path / "in.car", tmp_path / "in.carindex"
    path.write_bytes(PAYLOAD)
    index_path.write_bytes(index)
    before = open_descriptors()
    try:
        carv2.attach_index(path, index_path, tmp_path / "out.car")
    except errors.CarError as error:
        error.__traceback__ = None
    assert open_descriptors() == before


def test_records_that_name_equal_digests_of_different_functions_are_both_right_in_the_older_format() -> None:
    digest = archives.FISH[0][4:]
    blocks = [archives.FISH, (archives.cid_v1(b"", code=0x9999, digest=digest), b"other")]
    payload = archives.v1([], blocks)
    first, second = archives.section_bounds(archives.header(), blocks)
    records = [archives.Record(0x12, digest, first[0]), archives.Record(0x12, digest, second[0])]
    index = archives.index_sorted(records)
    assert_bytes_equal(attached(payload, index), archives.v2(payload, index))
    with pytest.raises(errors.IndexMismatchError):
        attached(payload, archives.index_multihash_sorted(records))


def test_holding_a_wrong_index_against_very_many_duplicates_takes_no_square_of_time() -> None:
    """Twenty thousand sections with one CID, and an index that differs in one offset."""
    blocks = [archives.FISH] * 20_000
    payload = archives.v1([], blocks)
    records = archives.records_of(archives.header(), blocks)
    with pytest.raises(errors.IndexMismatchError):
        attached(payload, archives.index_multihash_sorted(changed(records, 19_999, offset=1)))


def test_reading_an_index_takes_either_a_file_of_its_own_or_an_archive() -> None:
    alone = list(read_index(INDEX))
    assert alone == list(read_index(archives.v2(PAYLOAD, INDEX)))
    assert [(code, digest, offset) for code, digest, offset in alone] == [
        tuple(record) for record in sorted(PLAIN, key=lambda record: (record.digest, record.offset))
    ]


def test_counts_that_claim_more_than_there_is_are_refused_at_once() -> None:
    for count in (0x7FFFFFFF, -1):
        index = b"\x81\x08" + struct.pack("<i", count) + INDEX[6:]
        with pytest.raises(errors.FormatError):
            attached(PAYLOAD, index)
