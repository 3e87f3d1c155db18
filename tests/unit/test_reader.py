"""The file reader: places, look-ups, options; what goes wrong is in tests/conformance."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import carv2
from carv2.cid import CID
from carv2.decoder import CarDecoder, iter_blocks
from carv2.errors import (
    BlockNotFoundError,
    FormatError,
    IntegrityError,
    LimitError,
    TruncatedError,
    UnknownHashError,
)
from carv2.reader import CarReader, read_version
from carv2.section import Block, BlockChecker, Section
from carv2.units import DEFAULT_LIMITS, Limits, PayloadOffset
from helpers.archives import (
    EMPTY_HEADER,
    FISH,
    LOBSTER,
    SMALL_BOUNDS,
    SMALL_V1,
    SMALL_V2,
    SOME_BLOCKS,
    cid_v1,
    header,
    identity,
    section,
    v1,
    v2,
)
from helpers.feeding import by_decoder, by_reader, bytewise

STRANGE = (cid_v1(b"x", code=0x9999, digest=b"\x07" * 32), b"x")


@pytest.mark.parametrize(("archive", "start"), [(SMALL_V1, 0), (SMALL_V2, 58)], ids=["CARv1", "CARv2"])
def test_sections_are_where_they_were_put(archive: bytes, start: int) -> None:
    car = CarReader(archive)
    assert (car.payload_position, car.payload_end) == (start, start + len(SMALL_V1))
    assert car.first_section == SMALL_BOUNDS[0][0]
    expected = [
        (CID(cid), first, start + first, start + last - len(data), len(data))
        for (cid, data), (first, last) in zip(SOME_BLOCKS, SMALL_BOUNDS, strict=True)
    ]
    assert [tuple(found) for found in car.sections()] == expected
    for found in car.sections():
        assert car.section_at(found.offset) == found
        assert car.read(found) == Block(found.cid, archive[found.data_position :][: found.size])


@pytest.mark.parametrize(
    "size", [0, 90, 91, 92, 126, 127, 128, 16346, 16347, 16348, 16349, 32_700, 65_500, 140_000]
)
def test_positions_are_right_across_every_change_of_size(size: int) -> None:
    data = b"z" * size
    block = (cid_v1(data), data)
    blocks = [FISH, block, block, LOBSTER, block, (identity(b""), b""), FISH]
    archive = v2(v1([], blocks), data_padding=100)
    car = CarReader(archive)
    offset = len(EMPTY_HEADER)
    for found, (cid, held) in zip(car.sections(), blocks, strict=True):
        assert found.offset == offset
        assert found.position == 151 + offset
        assert (bytes(found.cid), archive[found.data_position :][: found.size]) == (cid, held)
        assert car.section_at(offset) == found
        offset += len(section(cid, held))
    assert by_reader(archive) == (blocks, None)
    assert by_decoder([archive]) == (blocks, None)


def test_an_iterator_that_has_ended_stays_ended() -> None:
    blocks = iter(CarReader(SMALL_V1))
    assert len(list(blocks)) == len(SOME_BLOCKS)
    assert list(blocks) == []


def test_one_reader_serves_several_iterators_at_once() -> None:
    car = CarReader(SMALL_V2)
    pairs = [(tuple(a), bytes(b.cid)) for a, b in zip(car, car.sections(), strict=True)]
    assert [a for a, _ in pairs] == list(SOME_BLOCKS)
    assert [b for _, b in pairs] == [cid for cid, _ in SOME_BLOCKS]


def test_threads_may_share_a_reader(tmp_path: Any) -> None:
    path = tmp_path / "shared.car"
    path.write_bytes(SMALL_V2)
    wrong: list[object] = []
    with CarReader(path) as car:

        def work() -> None:
            for _ in range(20):
                found = [tuple(block) for block in car]
                data = car.get(LOBSTER[0])
                if found != list(SOME_BLOCKS) or data != b"lobster":
                    wrong.append(found)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("offset", [-1, 0, 1, SMALL_BOUNDS[0][0] - 1, len(SMALL_V1), len(SMALL_V1) + 1, 1 << 64])
@pytest.mark.parametrize("archive", [SMALL_V1, SMALL_V2])
def test_an_offset_outside_of_the_sections_is_refused(archive: bytes, offset: int) -> None:
    with pytest.raises(FormatError, match="not among the sections"):
        CarReader(archive).section_at(offset)


def test_a_section_that_reaches_over_the_end_is_truncated() -> None:
    with pytest.raises(TruncatedError) as caught:
        CarReader(v1([], [FISH])[:-1]).section_at(18)
    assert caught.value.position == 58


def test_a_section_with_a_huge_cid_is_located() -> None:
    block = (identity(b"q" * 100_000), b"q" * 100_000)
    car = CarReader(v1([], [FISH, block]))
    assert car.section_at(59).size == 100_000
    assert by_reader(v1([], [block, FISH])) == ([block, FISH], None)


@pytest.mark.parametrize("archive", [SMALL_V1, SMALL_V2, v2(SMALL_V1)], ids=["CARv1", "indexed", "without index"])
def test_blocks_are_found_with_and_without_an_index(archive: bytes) -> None:
    car = CarReader(archive)
    for cid, data in SOME_BLOCKS:
        assert car.get(cid) == car.get(CID(cid)) == car.get(str(CID(cid))) == data
        assert car.find(cid).cid.multihash == CID(cid).multihash
    assert car.find(FISH[0]).offset == SMALL_BOUNDS[0][0]
    for absent in (cid_v1(b"no such block"), cid_v1(b"fish", code=0x1B, digest=FISH[0][4:])):
        with pytest.raises(BlockNotFoundError) as caught:
            car.find(absent)
        assert caught.value.cid == CID(absent)


def test_an_identity_cid_holds_its_own_data_also_where_it_is_not_stored() -> None:
    for archive in (SMALL_V1, SMALL_V2):
        assert CarReader(archive).get(identity(b"never stored")) == b"never stored"


@pytest.mark.parametrize("archive", [SMALL_V1, SMALL_V2, v2(SMALL_V1)], ids=["CARv1", "indexed", "without index"])
def test_a_cid_is_in_a_reader_if_its_block_can_be_had(archive: bytes) -> None:
    car = CarReader(archive)
    for cid, data in SOME_BLOCKS:
        assert cid in car
        assert CID(cid) in car
        assert str(CID(cid)) in car
        assert Block(cid, data) in car
        assert Block(cid, data + b"x") not in car
    assert identity(b"never stored") in car
    assert cid_v1(b"no such block") not in car
    assert 7 not in car


def test_what_is_no_section_is_not_read() -> None:
    with pytest.raises(TypeError, match=r"expected a Section, as find\(\) gives, got CID; get\(\) takes CIDs"):
        CarReader(SMALL_V1).read(CID(FISH[0]))  # type: ignore[arg-type]


def test_a_v1_has_no_index() -> None:
    car = CarReader(SMALL_V1)
    assert (car.version, car.header, car.index) == (1, None, None)


def test_a_block_that_is_read_is_checked_unless_told_otherwise() -> None:
    archive = header() + section(FISH[0], b"fisH")
    car = CarReader(archive)
    found = next(car.sections())
    with pytest.raises(IntegrityError) as caught:
        car.read(found)
    assert caught.value.position == found.data_position
    assert car.read(found, verify=False).data == b"fisH"
    with pytest.raises(IntegrityError):
        car.get(FISH[0])


def test_a_place_outside_of_the_file_is_truncated() -> None:
    elsewhere = next(CarReader(SMALL_V2).sections())._replace(data_position=10_000)  # type: ignore[arg-type]
    with pytest.raises(TruncatedError):
        CarReader(SMALL_V1).read(elsewhere)


# -- hashes that are not here ----------------------------------------------------------------------------------


def test_a_hash_that_nobody_knows_is_an_error_after_the_blocks_before() -> None:
    archive = v1([], [FISH, STRANGE, LOBSTER])
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.items == [FISH]
        assert isinstance(outcome.error, UnknownHashError)
        assert (outcome.error.hash_code, outcome.error.cid) == (0x9999, CID(STRANGE[0]))
        assert outcome.position == 18 + 41 + 1 + len(STRANGE[0])
    assert by_reader(archive, verify=False) == ([FISH, STRANGE, LOBSTER], None)
    assert [bytes(each.cid) for each in CarReader(archive).sections()] == [FISH[0], STRANGE[0], LOBSTER[0]]


def test_whoever_listens_hears_of_unverified_blocks_and_gets_them() -> None:
    archive = v1([], [FISH, STRANGE, LOBSTER, STRANGE])
    heard: list[CID] = []
    assert [tuple(b) for b in CarReader(archive).blocks(on_unverified=heard.append)] == [
        FISH,
        STRANGE,
        LOBSTER,
        STRANGE,
    ]
    assert [tuple(b) for b in iter_blocks([archive], on_unverified=heard.append)] == [
        FISH,
        STRANGE,
        LOBSTER,
        STRANGE,
    ]
    assert heard == [CID(STRANGE[0])] * 4


def test_a_known_hash_with_an_impossible_digest_size_is_a_mismatch() -> None:
    archive = v1([], [(cid_v1(b"x", digest=bytes(33)), b"x")])
    assert by_reader(archive).kind is IntegrityError


# -- blocks and sections as values -----------------------------------------------------------------------------


def test_a_block_is_a_pair_that_knows_its_cid() -> None:
    block = Block(CID(FISH[0]), b"fish")
    cid, data = block
    assert (cid, data, block.cid_bytes, block.data, block.cid) == (*FISH, *FISH, CID(FISH[0]))
    assert block == Block(FISH[0], b"fish") == FISH
    assert len({block, Block(FISH[0], b"fish")}) == 1
    assert repr(block) == f"Block({CID(FISH[0])}, 4 bytes)"


def test_a_checker_tells_the_position_that_it_was_told() -> None:
    checker = BlockChecker()
    checker.check(*FISH, position=1)
    with pytest.raises(IntegrityError) as caught:
        checker.check(FISH[0], b"", position=4711)
    assert caught.value.position == 4711


def test_a_section_is_a_plain_value() -> None:
    found = next(CarReader(SMALL_V1).sections())
    assert found == Section(*found)
    assert found.offset == PayloadOffset(SMALL_BOUNDS[0][0])


# -- doors -----------------------------------------------------------------------------------------------------


def test_open_is_a_context_manager_and_passes_its_options_on() -> None:
    with carv2.open(SMALL_V1 + bytes(9), null_padding=True) as car:
        assert [tuple(block) for block in car] == list(SOME_BLOCKS)
    with carv2.open(SMALL_V1, limits=Limits(section=10)) as car, pytest.raises(LimitError):
        list(car)


@pytest.mark.parametrize(("archive", "version"), [(SMALL_V1, 1), (SMALL_V2, 2), (SMALL_V2[:11], 2)])
def test_the_version_can_be_asked_for_alone(archive: bytes, version: int) -> None:
    assert read_version(archive) == version


def test_the_default_limits_are_those_of_go_car() -> None:
    assert tuple(DEFAULT_LIMITS) == (33554432, 8388608, 2048)
    assert DEFAULT_LIMITS._fields == ("header", "section", "cid")


# -- the push parser's own manners -------------------------------------------------------------------------------


def test_the_push_parser_tells_what_it_knows_as_soon_as_it_knows() -> None:
    decoder = CarDecoder()
    assert (decoder.version, decoder.header, decoder.roots) == (None, None, None)
    decoder.feed(SMALL_V2[:11])
    assert (decoder.version, decoder.header) == (2, None)
    decoder.feed(SMALL_V2[11:51])
    assert decoder.header == CarReader(SMALL_V2).header
    assert decoder.roots is None
    decoder.feed(SMALL_V2[51 : 58 + SMALL_BOUNDS[0][0]])
    assert decoder.roots == CarReader(SMALL_V2).roots


def test_the_push_parser_gives_a_block_with_its_last_byte_and_not_before() -> None:
    decoder = CarDecoder()
    ends = [58 + last for _, last in SMALL_BOUNDS]
    for at in range(len(SMALL_V2)):
        blocks = decoder.feed(SMALL_V2[at : at + 1])
        assert len(blocks) == ends.count(at + 1)
    decoder.finish()
    assert decoder.feed(b"what comes behind is not its own") == []
    decoder.finish()


def test_the_push_parser_takes_any_buffer_and_keeps_none() -> None:
    decoder = CarDecoder()
    chunk = bytearray(SMALL_V1)
    half = len(chunk) // 2
    blocks = decoder.feed(memoryview(chunk)[:half])  # type: ignore[arg-type]
    rest = bytes(chunk[half:])
    chunk[:] = bytes(len(chunk))
    blocks += decoder.feed(b"") + decoder.feed(bytearray(rest))  # type: ignore[arg-type]
    assert [tuple(block) for block in blocks] == list(SOME_BLOCKS)


def test_the_push_parser_hands_out_good_blocks_first_and_then_keeps_raising() -> None:
    decoder = CarDecoder()
    assert [tuple(block) for block in decoder.feed(v1([], [FISH]) + b"\x00" + section(*LOBSTER))] == [FISH]
    for call in (lambda: decoder.feed(b""), lambda: decoder.feed(section(*LOBSTER)), decoder.finish):
        with pytest.raises(FormatError, match="zero-length"):
            call()


def test_the_push_parser_holds_no_more_than_the_section_under_way() -> None:
    block = (cid_v1(bytes(50_000)), bytes(50_000))
    decoder = CarDecoder()
    decoder.feed(header())
    whole = section(*block)
    most = 0
    for _ in range(20):
        for at in range(0, len(whole), 1000):
            decoder.feed(whole[at : at + 1000])
            most = max(most, decoder._held)
    assert most <= len(whole)


@pytest.mark.parametrize("claimed", [(8 << 20) + 1, 1 << 40])
def test_the_push_parser_does_not_wait_for_a_section_that_it_will_not_take(claimed: int) -> None:
    decoder = CarDecoder()
    head = section(FISH[0], bytes(200))[:1]
    assert head
    with pytest.raises(LimitError):
        decoder.feed(header() + _varint(claimed))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])
