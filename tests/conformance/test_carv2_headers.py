"""The CARv2 header: its bounds, its bits, and what happens where it lies about the file."""

from __future__ import annotations

import pytest

from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    FormatError,
    IndexFormatError,
    IndexMismatchError,
    TruncatedError,
    UnfinalizedError,
)
from carv2.header import FULLY_INDEXED, PRAGMA, CarV2Header
from carv2.reader import CarReader, read_version
from carv2.units import FilePosition
from helpers import archives
from helpers.archives import FISH, LOBSTER, Record, header, index_multihash_sorted, section, v1, v2, v2_header
from helpers.feeding import by_decoder, by_indexing, by_reader, by_sections, bytewise

PAYLOAD = v1([FISH[0]], [FISH, LOBSTER])
FIRST = len(header([FISH[0]]))
SECOND = FIRST + len(section(*FISH))
INDEX = index_multihash_sorted([Record(0x12, FISH[0][4:], FIRST), Record(0x12, LOBSTER[0][4:], SECOND)])
END = 51 + len(PAYLOAD)


def with_fields(data_offset: int, data_size: int, index_offset: int = 0, tail: bytes = PAYLOAD + INDEX) -> bytes:
    return PRAGMA + v2_header(data_offset, data_size, index_offset) + tail


BOUNDS = [
    ("data offset 0", (0, 100, 0), 27),
    ("data offset 50", (50, 100, 0), 27),
    ("data offset 2**63", (1 << 63, 100, 0), 27),
    ("data offset 2**64 - 1", ((1 << 64) - 1, 100, 0), 27),
    ("data size 0", (51, 0, 0), 35),
    ("data size 2**63", (51, 1 << 63, 0), 35),
    ("data size 2**64 - 1", (51, (1 << 64) - 1, 0), 35),
    ("index offset 2**63", (51, 100, 1 << 63), 43),
    ("index offset 2**64 - 1", (51, 100, (1 << 64) - 1), 43),
    ("the first wrong field counts", (50, 0, 1 << 63), 27),
    ("the second wrong field counts", (51, 0, 1 << 63), 35),
]


@pytest.mark.parametrize(("fields", "position"), [row[1:] for row in BOUNDS], ids=[row[0] for row in BOUNDS])
def test_a_field_out_of_bounds_is_refused_where_it_stands(fields: tuple[int, int, int], position: int) -> None:
    archive = with_fields(*fields)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert (outcome.kind, outcome.position, outcome.items) == (FormatError, position, [])
    assert read_version(archive) == 2


@pytest.mark.parametrize(
    "fields", [(51, 1, 0), (51, (1 << 63) - 1, (1 << 63) - 1), ((1 << 63) - 1, 1, 0), (52, 100, 1)]
)
def test_a_field_within_bounds_is_taken_even_if_the_file_cannot_have_it(fields: tuple[int, int, int]) -> None:
    car = CarReader(with_fields(*fields))
    assert car.header is not None
    assert tuple(car.header) == (*fields, 0)
    assert car.header.data_end == fields[0] + fields[1]
    assert car.header.has_index == (fields[2] != 0)


@pytest.mark.parametrize("cut", range(51))
def test_a_file_that_ends_within_pragma_or_header_is_truncated_there(cut: int) -> None:
    archive = with_fields(51, len(PAYLOAD), END)[:cut]
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert (outcome.kind, outcome.position) == (TruncatedError, cut)


def test_a_header_of_zeros_is_an_unfinished_file_and_one_bit_more_is_a_broken_one() -> None:
    archive = bytearray(PRAGMA + bytes(40) + PAYLOAD)
    assert by_reader(bytes(archive)).kind is by_decoder([bytes(archive)]).kind is UnfinalizedError
    archive[11] = 0x80
    assert by_reader(bytes(archive)).kind is by_decoder([bytes(archive)]).kind is FormatError


@pytest.mark.parametrize("size", range(40))
def test_a_header_of_fewer_than_forty_bytes_is_truncated_at_its_end(size: int) -> None:
    with pytest.raises(TruncatedError) as caught:
        CarV2Header.from_bytes(bytes(size), position=1000)
    assert (caught.value.wanted, caught.value.got, caught.value.position) == (40, size, 1000 + size)


# -- characteristics ------------------------------------------------------------------------------------------


def test_the_bit_for_fully_indexed_is_the_highest_of_the_first_byte() -> None:
    full = CarV2Header(FilePosition(51), 1, characteristics=FULLY_INDEXED)
    assert full.to_bytes()[:16].hex() == "80" + "00" * 15
    assert full.is_fully_indexed
    assert CarV2Header(FilePosition(51), 1).to_bytes()[:16] == bytes(16)
    assert not CarV2Header(FilePosition(51), 1).is_fully_indexed
    every_other_bit = b"\x7f" + b"\xff" * 15
    assert not CarV2Header.from_bytes(v2_header(51, 1, 0, every_other_bit)).is_fully_indexed


@pytest.mark.parametrize(
    "bits", ["e903000000000000ea03000000000000", "ff" * 16, "00" * 15 + "01", "80" + "00" * 15]
)
def test_characteristics_that_mean_nothing_survive_being_read_and_written(bits: str) -> None:
    raw = v2_header(51, 100, 151, bytes.fromhex(bits))
    found = CarV2Header.from_bytes(raw)
    assert found.to_bytes() == raw
    assert by_reader(PRAGMA + v2_header(51, len(PAYLOAD), 0, bytes.fromhex(bits)) + PAYLOAD).error is None


# -- a header that lies ---------------------------------------------------------------------------------------


def test_a_data_size_that_reaches_into_the_index_gives_the_good_blocks_first() -> None:
    """The index is no section: it begins with 81 08, a section of 1025 bytes."""
    archive = with_fields(51, len(PAYLOAD) + 20, END)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.items == [FISH, LOBSTER]
        assert (outcome.kind, outcome.position) == (FormatError, END)


def test_a_data_size_behind_the_end_of_the_file_gives_the_good_blocks_first() -> None:
    archive = with_fields(51, 1 << 40, tail=PAYLOAD)
    for outcome in (
        by_reader(archive),
        by_decoder([archive]),
        by_decoder(bytewise(archive)),
        by_sections(archive),
    ):
        assert len(outcome.items) == 2
        assert (outcome.kind, outcome.position) == (TruncatedError, END)


@pytest.mark.parametrize("data_offset", [END + len(INDEX), END + len(INDEX) + 1, 1 << 40, (1 << 63) - 1])
def test_a_data_offset_behind_the_end_of_the_file_is_a_truncated_file(data_offset: int) -> None:
    archive = with_fields(data_offset, 100)
    size = len(archive)
    for outcome in (
        by_reader(archive),
        by_decoder([archive]),
        by_decoder(bytewise(archive)),
        by_sections(archive),
    ):
        assert (outcome.items, outcome.kind, outcome.position) == ([], TruncatedError, size)
    assert by_indexing(archive).kind is TruncatedError


@pytest.mark.parametrize("index_offset", [END + len(INDEX), 1 << 40, (1 << 63) - 1])
def test_an_index_offset_behind_the_end_of_the_file_hurts_only_who_wants_the_index(index_offset: int) -> None:
    archive = with_fields(51, len(PAYLOAD), index_offset)
    assert by_reader(archive) == ([FISH, LOBSTER], None)
    with pytest.raises(TruncatedError) as caught:
        _ = CarReader(archive).index
    assert caught.value.position == len(archive)
    with pytest.raises(TruncatedError):
        CarReader(archive).find(FISH[0])


@pytest.mark.parametrize("index_offset", [1, 11, 27, 51, 52, 51 + FIRST, 51 + SECOND, END + 1, END + 2, END + 10])
def test_an_index_offset_that_points_elsewhere_hurts_only_who_wants_the_index(index_offset: int) -> None:
    archive = with_fields(51, len(PAYLOAD), index_offset)
    assert by_reader(archive) == ([FISH, LOBSTER], None)
    with pytest.raises(FormatError) as caught:
        _ = CarReader(archive).index
    assert caught.value.position >= index_offset


def test_an_unknown_index_codec_is_named() -> None:
    archive = v2(PAYLOAD, bytes.fromhex("8308") + INDEX[2:])
    with pytest.raises(IndexFormatError) as caught:
        _ = CarReader(archive).index
    assert (caught.value.codec, caught.value.position) == (0x0403, END)


@pytest.mark.parametrize("cut", range(1, len(INDEX)))
def test_an_index_cut_short_is_truncated_where_the_file_ends_and_blocks_are_still_read(cut: int) -> None:
    archive = v2(PAYLOAD, INDEX)[: END + cut]
    assert by_reader(archive) == ([FISH, LOBSTER], None)
    with pytest.raises(TruncatedError) as caught:
        _ = CarReader(archive).index
    assert caught.value.position == len(archive)


# -- an index that lies ---------------------------------------------------------------------------------------


def lying(offset: int) -> bytes:
    """The index has the fish at ``offset``."""
    return v2(PAYLOAD, index_multihash_sorted([Record(0x12, FISH[0][4:], offset)]), data_padding=3)


@pytest.mark.parametrize(
    "offset",
    [
        0,
        1,
        FIRST - 1,
        FIRST + 1,
        SECOND - 1,
        SECOND,
        SECOND + 1,
        len(PAYLOAD) - 1,
        len(PAYLOAD),
        1 << 40,
        (1 << 64) - 1,
    ],
)
def test_an_index_that_lies_gives_a_clear_error_and_never_other_data(offset: int) -> None:
    car = CarReader(lying(offset))
    for look_up in (car.find, car.get):
        with pytest.raises(IndexMismatchError) as caught:
            look_up(FISH[0])
        assert caught.value.cid == CID(FISH[0])
        assert caught.value.position == 54 + offset


def test_an_index_that_tells_the_truth_gives_the_block() -> None:
    """A guard on the test before: nothing but the offset makes the difference."""
    assert CarReader(lying(FIRST)).get(FISH[0]) == b"fish"


def test_what_the_index_does_not_have_is_not_found_though_the_payload_has_it() -> None:
    car = CarReader(lying(FIRST))
    with pytest.raises(BlockNotFoundError) as caught:
        car.get(LOBSTER[0])
    assert caught.value.cid == CID(LOBSTER[0])
    assert isinstance(caught.value, KeyError)
    assert str(caught.value) == f"could not find {CID(LOBSTER[0]).short()}"


def test_an_index_whose_block_was_damaged_gives_an_error_and_not_the_data() -> None:
    archive = bytearray(v2(PAYLOAD, INDEX))
    at = 51 + FIRST + 37
    assert archive[at : at + 4] == b"fish"
    archive[at] ^= 1
    car = CarReader(bytes(archive))
    with pytest.raises(CarError, match="not those of") as caught:
        car.get(FISH[0])
    assert caught.value.position == at  # type: ignore[attr-defined]
    assert car.get(FISH[0], verify=False) == b"gish"


def test_a_block_is_found_by_its_multihash_whatever_the_cid_says_of_version_and_codec() -> None:
    car = CarReader(v2(PAYLOAD, INDEX))
    as_dag_pb = CID(archives.cid_v0(b"fish"))
    found = car.find(as_dag_pb)
    assert (found.cid, found.offset) == (CID(FISH[0]), FIRST)
    assert car.get(as_dag_pb) == car.get(as_dag_pb.to_v1()) == b"fish"


def test_an_index_of_format_0400_may_name_blocks_of_another_hash_which_are_passed_over() -> None:
    twin = b"\x01\x55\x1b\x20" + FISH[0][4:]  # the same digest, said to be keccak-256
    blocks = [(twin, b"other"), FISH]
    payload = v1([], blocks)
    records = [Record(cid[2], cid[4:], at) for (cid, _), at in zip(blocks, (18, 18 + 42), strict=True)]
    for index in (archives.index_sorted(records), archives.index_multihash_sorted(records)):
        car = CarReader(v2(payload, index))
        assert car.find(FISH[0]).offset == 60
        assert car.find(twin).offset == 18
    only_twin = CarReader(v2(payload, archives.index_sorted(records[:1])))
    with pytest.raises(BlockNotFoundError):
        only_twin.find(FISH[0])


def test_an_empty_finished_carv2_can_be_read_indexed_and_asked() -> None:
    archive = v2(header(), bytes.fromhex("810800000000"))
    assert len(archive) == 75
    assert by_reader(archive) == by_decoder(bytewise(archive)) == by_indexing(archive) == ([], None)
    car = CarReader(archive)
    assert car.index is not None
    assert (len(car.index), list(car.index), list(car.sections())) == (0, [], [])
    with pytest.raises(BlockNotFoundError):
        car.get(FISH[0])


def test_a_reader_is_lazy_so_a_broken_payload_does_not_keep_a_carv2_from_opening() -> None:
    car = CarReader(v2(b"\xff" * 40))
    assert car.version == 2
    with pytest.raises(FormatError):
        _ = car.roots
