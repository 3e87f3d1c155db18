"""Damage of every kind: every cut, every flipped byte, random junk. Only CarErrors, and nothing good is lost."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carv2.cid import CID
from carv2.decoder import CarDecoder
from carv2.errors import CarError, FormatError, IntegrityError, TruncatedError
from carv2.header import CarV1Header
from carv2.index import parse
from carv2.reader import CarReader, read_version
from carv2.units import Limits
from helpers.archives import (
    EMPTY_HEADER,
    PRAGMA,
    SMALL_BOUNDS,
    SMALL_RECORDS,
    SMALL_V1,
    SMALL_V2,
    SOME_BLOCKS,
    index_multihash_sorted,
    index_sorted,
    v2_header,
    varint,
)
from helpers.feeding import by_decoder, by_indexing, by_reader, by_sections, bytewise, split_at

pytestmark = pytest.mark.usefixtures("scanner_warmth")

ARCHIVES = {"CARv1": (SMALL_V1, 0), "CARv2": (SMALL_V2, 58)}
PAYLOAD_END = 58 + len(SMALL_V1)
ENDS = [last for _, last in SMALL_BOUNDS]
FIRST = SMALL_BOUNDS[0][0]
TIGHT = Limits(header=1 << 16, section=1 << 16)  # so that a flipped length does not ask for megabytes


def every_way(data: bytes) -> list[tuple[list[bytes], type[CarError] | None, int | None]]:
    """CIDs that came out, class and position of the error, by each way of reading."""
    outcomes = [by_reader(data), by_decoder([data]), by_decoder(bytewise(data)), by_decoder(split_at(data, [97]))]
    ways = [([cid for cid, _ in outcome.items], outcome.kind, outcome.position) for outcome in outcomes]
    located = by_sections(data)
    return [*ways, ([bytes(item.cid) for item in located.items], located.kind, located.position)]


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_cut_keeps_what_is_whole_and_says_where_the_bytes_ran_out(name: str) -> None:
    archive, start = ARCHIVES[name]
    for cut in range(len(archive)):
        whole = [cid for (cid, _), end in zip(SOME_BLOCKS, ENDS, strict=True) if start + end <= cut]
        at_boundary = name == "CARv1" and cut in {FIRST, *ENDS}
        behind_payload = name == "CARv2" and cut >= PAYLOAD_END
        good = at_boundary or behind_payload
        expected = (whole, None, None) if good else (whole, TruncatedError, cut)
        assert every_way(archive[:cut]) == [expected] * 5, cut


def test_a_cut_behind_the_payload_hurts_only_who_wants_the_index() -> None:
    for cut in range(PAYLOAD_END, len(SMALL_V2)):
        car = CarReader(SMALL_V2[:cut])
        with pytest.raises(TruncatedError) as caught:
            _ = car.index
        assert caught.value.position == cut


def test_finish_says_at_every_cut_whether_the_archive_is_whole() -> None:
    for cut in range(len(SMALL_V2)):
        decoder = CarDecoder()
        decoder.feed(SMALL_V2[:cut])
        if cut >= PAYLOAD_END:
            decoder.finish()
            continue
        for _ in range(2):
            with pytest.raises(TruncatedError) as caught:
                decoder.finish()
            assert caught.value.position == cut
            assert caught.value.wanted > caught.value.got


def is_named_by(cid: bytes, data: bytes) -> bool:
    """A flipped byte may cut the digest short, so that it still agrees, or turn it into data of an identity."""
    code, digest = CID(cid).hash_code, CID(cid).digest
    full = data if code == 0 else hashlib.sha256(data).digest() if code == 0x12 else b""
    return full == digest if code == 0 else full[: len(digest)] == digest


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_flipped_byte_loses_no_block_before_it_and_yields_no_wrong_one(name: str, mask: int) -> None:
    archive, start = ARCHIVES[name]
    for at in range(len(archive)):
        damaged = bytearray(archive)
        damaged[at] ^= mask
        data = bytes(damaged)
        offset = at - start
        untouched = [block for block, end in zip(SOME_BLOCKS, ENDS, strict=True) if end <= offset]
        outcome = by_reader(data, limits=TIGHT)
        streamed = by_decoder([data], limits=TIGHT)
        assert outcome.items[: len(untouched)] == untouched, at
        assert streamed.items[: len(untouched)] == untouched, at
        for cid, held in outcome.items + streamed.items:
            assert (cid, held) in SOME_BLOCKS or is_named_by(cid, held), at
        if FIRST <= offset < len(SMALL_V1):
            changed = next(n for n, (_, end) in enumerate(SMALL_BOUNDS) if offset < end)
            if outcome.error is None:  # nobody checks a CID's codec
                assert outcome.items[changed][0] != SOME_BLOCKS[changed][0]
            else:
                assert isinstance(outcome.error, (FormatError, IntegrityError))
                assert outcome.position is not None
                bound = start + SMALL_BOUNDS[changed][0]
                assert bound <= outcome.position <= len(data)


@pytest.mark.parametrize("mask", [0x01, 0x40, 0x80, 0xFF])
@pytest.mark.parametrize("name", ARCHIVES)
def test_the_stream_meets_the_same_fate_as_the_file_wherever_a_byte_is_flipped(name: str, mask: int) -> None:
    archive, _ = ARCHIVES[name]
    for at in range(len(archive)):
        damaged = bytearray(archive)
        damaged[at] ^= mask
        data = bytes(damaged)
        expected = by_reader(data).summary
        assert by_decoder([data]).summary == expected, at
        slowly = by_decoder(bytewise(data))
        assert slowly.summary[:2] == expected[:2], at
        # A section can be wrong twice, in its CID and by running over the payload: the first seen counts.
        assert abs((slowly.position or 0) - (expected[2] or 0)) <= 2, at


@pytest.mark.parametrize("mask", [0x01, 0x08, 0x80, 0xFF])
def test_a_flipped_byte_in_header_or_index_never_leads_to_wrong_data(mask: int) -> None:
    for at in [*range(11, 51), *range(PAYLOAD_END, len(SMALL_V2))]:
        damaged = bytearray(SMALL_V2)
        damaged[at] ^= mask
        for cid, data in SOME_BLOCKS:
            try:
                car = CarReader(bytes(damaged), limits=TIGHT)
                if not CID(cid).is_identity:
                    assert car.get(cid) == data
            except CarError:
                continue


# -- junk ------------------------------------------------------------------------------------------------------

INDEXES = [index_sorted(SMALL_RECORDS), index_multihash_sorted(SMALL_RECORDS)]


def read_all(data: bytes) -> None:
    """Everything that there is to do with an archive; only a CarError may come out, and it may not."""
    outcomes = [by_reader(data, limits=TIGHT), by_sections(data, limits=TIGHT), by_indexing(data, limits=TIGHT)]
    outcomes += [by_decoder([data], limits=TIGHT), by_decoder(split_at(data, [13, 60, 100]), limits=TIGHT)]
    for outcome in outcomes:
        if isinstance(outcome.error, FormatError):
            assert outcome.error.position >= 0
        assert str(outcome.error)
    for attempt in (
        lambda: read_version(data),
        lambda: CarReader(data, limits=TIGHT).get(SOME_BLOCKS[0][0]),
        lambda: [list(CarReader(data).index or ())],
        lambda: CarReader(data).section_at(len(EMPTY_HEADER)),
    ):
        try:
            attempt()
        except CarError:
            continue


@settings(max_examples=300)
@given(st.sampled_from([SMALL_V1, SMALL_V2]), st.integers(0, 700), st.binary(max_size=12), st.integers(0, 20))
def test_junk_in_the_middle_raises_nothing_but_our_errors(archive: bytes, at: int, junk: bytes, over: int) -> None:
    read_all(archive[:at] + junk + archive[at + over :])


@settings(max_examples=300)
@given(st.sampled_from([b"", PRAGMA, EMPTY_HEADER, PRAGMA + v2_header(51, 100, 60)]), st.binary(max_size=150))
@example(PRAGMA, v2_header(51, 5, 0) + EMPTY_HEADER)
@example(EMPTY_HEADER, b"\x05\x01\x55\x00\x01!")
def test_junk_behind_a_beginning_raises_nothing_but_our_errors(front: bytes, junk: bytes) -> None:
    read_all(front + junk)


NUMBERS = st.sampled_from([0, 1, 50, 51, 58, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])


@settings(max_examples=200)
@given(
    NUMBERS | st.integers(0, 700),
    NUMBERS | st.integers(0, 700),
    NUMBERS | st.integers(0, 700),
    st.binary(max_size=16),
)
def test_any_numbers_in_a_header_raise_nothing_but_our_errors(
    data_offset: int, data_size: int, index_offset: int, bits: bytes
) -> None:
    fields = v2_header(data_offset, data_size, index_offset, bits.ljust(16, b"\0"))
    read_all(PRAGMA + fields + SMALL_V2[51:])


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_as_a_header_are_a_header_or_one_of_our_errors(body: bytes) -> None:
    raw = varint(len(body)) + body
    try:
        parsed, size = CarV1Header.parse(raw)
    except FormatError as error:
        assert 0 <= error.position <= len(raw)  # noqa: PT017
    else:
        assert size == len(raw)
        assert CarV1Header.parse(parsed.to_bytes())[0] == parsed


CBOR = st.recursive(
    st.sampled_from(
        [b"\x00", b"\x01", b"\x02", b"\xf6", b"\xf7", b"\x65roots", b"\x67version", b"\x40", b"\x18\x01"]
    )
    | st.just(b"\xd8\x2a\x45\x00\x01\x55\x00\x00"),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: bytes([0x80 + len(items)]) + b"".join(items))
        | st.lists(st.tuples(inner, inner), max_size=3).map(
            lambda pairs: bytes([0xA0 + len(pairs)]) + b"".join(key + value for key, value in pairs)
        )
        | inner.map(lambda item: b"\xc1" + item)
        | inner.map(lambda item: b"\x9f" + item + b"\xff")
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(CBOR)
def test_any_cbor_as_a_header_is_a_header_or_one_of_our_errors(body: bytes) -> None:
    read_all(varint(len(body)) + body)


@settings(max_examples=300)
@given(st.sampled_from(INDEXES), st.integers(0, 250), st.binary(max_size=9), st.integers(0, 9))
def test_junk_in_an_index_raises_nothing_but_our_errors(raw: bytes, at: int, junk: bytes, over: int) -> None:
    damaged = raw[:at] + junk + raw[at + over :]
    try:
        index = parse(damaged, position=5)
    except FormatError as error:
        assert 5 <= error.position <= 5 + len(damaged) + 9  # noqa: PT017
        return
    assert len(list(index)) == len(index)
    for cid, _ in SOME_BLOCKS:
        list(index.offsets_of(cid))
    assert parse(index.to_bytes()).to_bytes() == index.to_bytes()


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), max_size=12), st.sampled_from([b"\x80\x08", b"\x81\x08"]))
def test_any_counts_in_an_index_raise_nothing_but_our_errors(numbers: list[int], codec: bytes) -> None:
    raw = codec + b"".join(struct.pack("<i", number) for number in numbers)
    try:
        parse(raw)
    except FormatError as error:
        assert error.position <= len(raw)  # noqa: PT017
