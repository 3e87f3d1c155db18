"""Building an index: every way of adding comes to the same, in order, with few steps and little memory."""

from __future__ import annotations

import itertools
import random
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from carv2._scan import Entries
from carv2.cid import CID
from carv2.errors import FormatError, IndexFormatError, LimitError, TruncatedError
from carv2.index import IndexBuilder, MultihashSortedIndex, SortedIndex, parse
from carv2.units import Limits
from fuzz.bounds import cost_of
from helpers.archives import (
    Record,
    cid_v0,
    cid_v1,
    identity,
    index_multihash_sorted,
    index_sorted,
    multihash,
)
from helpers.binary import assert_bytes_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORMATS = {0x0400: index_sorted, 0x0401: index_multihash_sorted}
SHIFT = -41


def cid_of(record: Record) -> bytes:
    return cid_v1(b"", code=record.code, digest=record.digest)


def packed(records: Sequence[Record]) -> list[tuple[bytes]]:
    return [(record.digest + struct.pack(">Q", record.offset),) for record in records]


def columns(records: Sequence[Record]) -> Entries:
    """Sections of which each ends where the next begins, in numbers that are so much larger."""
    stops = [record.offset - SHIFT for record in records[1:]]
    return Entries([cid_of(record) for record in records], [0] * len(records), [*stops, 1 << 40])


def by_add(builder: IndexBuilder, records: Sequence[Record]) -> None:
    for at, record in enumerate(records):
        raw = cid_of(record)
        builder.add(raw if at % 2 else CID(raw), record.offset)


def by_record(builder: IndexBuilder, records: Sequence[Record]) -> None:
    for record in records:
        builder.add_record(record.code, record.digest, record.offset)


def by_sections(builder: IndexBuilder, records: Sequence[Record]) -> None:
    builder.add_sections(columns(records), records[0].offset, SHIFT)


def by_columns(builder: IndexBuilder, records: Sequence[Record]) -> None:
    for some in (records[:300], records[300:]):
        if some:
            builder.add_columns(columns(some), some[0].offset, SHIFT)


def by_multihashes(builder: IndexBuilder, records: Sequence[Record]) -> None:
    builder.add_multihashes((multihash(record.code, record.digest), record.offset) for record in records)


def by_packed(builder: IndexBuilder, records: Sequence[Record]) -> None:
    for (code, size), group in itertools.groupby(records, key=lambda record: (record.code, len(record.digest))):
        found = packed(list(group))
        builder.add_packed(code, size, found[:100])
        builder.add_packed(code, size, iter(found[100:]))


def by_packed_at_once(builder: IndexBuilder, records: Sequence[Record]) -> None:
    for (code, size), group in itertools.groupby(records, key=lambda record: (record.code, len(record.digest))):
        builder.add_packed(code, size, packed(list(group)))


WAYS = [by_add, by_record, by_sections, by_columns, by_multihashes, by_packed, by_packed_at_once]
EACH_WAY = pytest.mark.parametrize("add", WAYS, ids=lambda way: way.__name__)


def some_records(size: int, count: int, code: int = 0x12, *, seed: int = 1) -> list[Record]:
    """Records of one kind, many of them with a digest that another has too, in no order."""
    chosen = random.Random(seed)
    digests = [chosen.randbytes(size) for _ in range(-(-count * 2 // 3))]
    return [
        Record(code, chosen.choice(digests), chosen.choice([chosen.randrange(1 << 64), chosen.randrange(600)]))
        for _ in range(count)
    ]


# -- what is listed -----------------------------------------------------------------------------------------


@EACH_WAY
@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("size", [0, 1, 2, 20, 31, 32, 33, 64, 300])
def test_digests_of_any_size_are_listed_in_order_by_each_way(
    add: Callable[[IndexBuilder, Sequence[Record]], None], codec: int, size: int
) -> None:
    for count in (1, 2, 255, 256, 257, 258, 600):
        records = some_records(size, count)
        builder = IndexBuilder(codec)
        add(builder, records)
        assert len(builder) == count
        assert_bytes_equal(builder.to_bytes(), FORMATS[codec](records))
        assert len(builder) == 0


@EACH_WAY
@pytest.mark.parametrize("size", [0, 2, 8, 24, 32, 33])
def test_many_records_are_listed_in_order_by_each_way(
    add: Callable[[IndexBuilder, Sequence[Record]], None], size: int
) -> None:
    records = some_records(size, 5000)
    builder = IndexBuilder()
    add(builder, records)
    assert_bytes_equal(builder.to_bytes(), index_multihash_sorted(records))


@EACH_WAY
@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("code", [0x00, 0x1B, 0xB220, 1 << 62])
def test_each_hash_is_known_again_and_none_is_mistaken_for_another(
    add: Callable[[IndexBuilder, Sequence[Record]], None], codec: int, code: int
) -> None:
    records = some_records(32, 400, code) + some_records(32, 400, 0x12) + some_records(32, 300, code, seed=2)
    records += [Record(code, record.digest, record.offset) for record in some_records(32, 10, 0x12)]
    records += some_records(31, 300, code) + some_records(33, 300, code)
    builder = IndexBuilder(codec, identity=True)
    add(builder, records)
    assert len(builder) == len(records)
    assert_bytes_equal(builder.to_bytes(), FORMATS[codec](records))


@pytest.mark.parametrize("codec", FORMATS)
def test_kinds_come_by_their_numbers_and_not_as_they_were_added(codec: int) -> None:
    kinds = [(1 << 62, 3), (0x12, 300), (0x00, 32), (0x12, 32), (0x00, 0), (0xB220, 32), (0x12, 2)]
    records = [record for code, size in kinds for record in some_records(size, 5, code)]
    builder = IndexBuilder(codec, identity=True)
    by_record(builder, records)
    assert_bytes_equal(builder.to_bytes(), FORMATS[codec](records))


@pytest.mark.parametrize("many", [1, 300])
@pytest.mark.parametrize("add", [by_add, by_sections, by_columns])
def test_versions_and_codecs_of_cids_are_one_kind(
    add: Callable[[IndexBuilder, Sequence[Record]], None], many: int
) -> None:
    records = some_records(32, many)
    builder = IndexBuilder()
    for turn in range(2):
        add(builder, records)
        for codec in (0x70, 0x71, 0x0129):
            raws = [cid_v1(b"", codec=codec, digest=record.digest) for record in records]
            found = Entries(raws, [0] * many, [record.offset for record in records[1:]] + [0])
            builder.add_columns(found, records[0].offset, 0)
            builder.add_sections(found, records[0].offset, 0)
        v0 = Entries([multihash(0x12, record.digest) for record in records], [0] * many, [7] * many)
        builder.add_columns(v0, 7, 0)
        builder.add_sections(v0, 7, 0)
        assert len(builder) == (turn + 1) * 9 * many
    sevens = [Record(0x12, record.digest, 7) for record in records]
    assert_bytes_equal(builder.to_bytes(), index_multihash_sorted(records * 14 + sevens * 4))


OFFSETS = [1 << 63, 256, 2, 0, 65536, 255, (1 << 64) - 1, (1 << 63) - 1, 1 << 32]


@EACH_WAY
@pytest.mark.parametrize("size", [0, 1, 32])
@pytest.mark.parametrize("others", [0, 500, 4000])
def test_equal_digests_stand_by_their_offsets_up_to_64_bits(
    add: Callable[[IndexBuilder, Sequence[Record]], None], size: int, others: int
) -> None:
    alike = [Record(0x12, b"\x07" * size, offset) for offset in OFFSETS]
    builder = IndexBuilder()
    add(builder, [*some_records(size, others), *alike] if others else alike)
    found = [entry.offset for entry in builder.to_index() if entry.digest == b"\x07" * size]
    if size == 32:
        assert found == sorted(OFFSETS)
    assert found == sorted(found)
    assert set(found) >= set(OFFSETS)


@pytest.mark.parametrize(("codec", "kind"), [(0x0400, SortedIndex), (0x0401, MultihashSortedIndex)])
def test_the_index_in_memory_is_of_its_format_and_of_the_same_bytes(codec: int, kind: type[Any]) -> None:
    builder = IndexBuilder(codec)
    records = some_records(32, 10)
    by_add(builder, records)
    index = builder.to_index()
    assert isinstance(index, kind)
    assert not index.is_headless
    assert_bytes_equal(index.to_bytes(), FORMATS[codec](records))
    assert index.size == len(FORMATS[codec](records))
    assert list(builder.to_index()) == []


@EACH_WAY
@pytest.mark.parametrize("codec", FORMATS)
def test_a_builder_begins_anew_once_it_has_been_written(
    add: Callable[[IndexBuilder, Sequence[Record]], None], codec: int
) -> None:
    builder = IndexBuilder(codec)
    assert builder.codec == codec
    assert builder.to_bytes() == bytes([codec & 0xFF | 0x80, codec >> 7, 0, 0, 0, 0])
    for seed in range(3):
        records = some_records(32, 400, seed=seed)
        add(builder, records)
        assert_bytes_equal(builder.to_bytes(), FORMATS[codec](records))


# -- what is left out ----------------------------------------------------------------------------------------

KEYS = [Record(0x00, b"/filestore/%021d" % at, 5 * at) for at in range(300)]
PLAIN = [Record(0x00, b"/filestor/%022d" % at, 5 * at) for at in range(300)]
BY_CID = pytest.mark.parametrize("add", [by_add, by_sections, by_columns, by_multihashes])


@BY_CID
@pytest.mark.parametrize("size", [0, 4, 32, 40])
def test_identity_cids_are_counted_and_left_out_unless_asked_for(
    add: Callable[[IndexBuilder, Sequence[Record]], None], size: int
) -> None:
    records = [Record(0x00, bytes(size), at) for at in range(7)]
    usual, every = IndexBuilder(), IndexBuilder(identity=True)
    assert usual.left_out_count == 0
    for builder in (usual, every):
        add(builder, records)
        add(builder, some_records(32, 3))
    assert (len(usual), usual.left_out_count) == (3, 7)
    assert (len(every), every.left_out_count) == (10, 0)
    assert usual.to_bytes() == index_multihash_sorted(some_records(32, 3))


@BY_CID
@pytest.mark.parametrize("codec", FORMATS)
def test_that_many_keys_of_references_were_listed_makes_no_others_listed(
    add: Callable[[IndexBuilder, Sequence[Record]], None], codec: int
) -> None:
    builder = IndexBuilder(codec)
    add(builder, KEYS)
    add(builder, PLAIN)
    add(builder, KEYS)
    assert builder.left_out_count == 300
    assert_bytes_equal(builder.to_bytes(), FORMATS[codec](KEYS * 2))


@pytest.mark.parametrize("wanted", [False, True])
def test_records_are_listed_as_they_are(wanted: bool) -> None:
    for add in (by_record, by_packed, by_packed_at_once):
        builder = IndexBuilder(identity=wanted)
        add(builder, PLAIN)
        assert builder.left_out_count == 0
        assert_bytes_equal(builder.to_bytes(), index_multihash_sorted(PLAIN))


# -- what is refused -----------------------------------------------------------------------------------------

NO_CIDS = [
    (bytes.fromhex("0355122000"), 0, "CID version 3, supported: 0 and 1"),
    (bytes.fromhex("015512200000"), 6, "CID digest"),
    (bytes.fromhex("0155128000"), 4, "minimally"),
]


@pytest.mark.parametrize(("raw", "at", "words"), NO_CIDS)
def test_what_is_no_cid_is_told_where_the_file_has_it(raw: bytes, at: int, words: str) -> None:
    builder = IndexBuilder()
    found = Entries([cid_v0(b"x"), raw], [0, 0], [120, 0])
    tries: list[tuple[Callable[[], object], int]] = [
        (lambda: builder.add(raw, 18), 0),
        (lambda: builder.add(raw, 18, position=99), 99),
        (lambda: builder.add_sections(found, 18, -1), 119),
        (lambda: builder.add_sections(found, 18, -1, payload=1000), 1119),
        (lambda: builder.add_columns(found, 18, -1), 119),
        (lambda: builder.add_columns(found, 18, -1, payload=1000), 1119),
    ]
    for attempt, base in tries:
        with pytest.raises(FormatError, match=words) as caught:
            attempt()
        assert caught.value.position == base + at
    assert [entry.offset for entry in builder.to_index()] == [18] * 4


def test_what_is_no_multihash_is_refused() -> None:
    builder = IndexBuilder()
    with pytest.raises(TruncatedError, match="multihash digest"):
        builder.add_multihashes([(multihash(0x12, bytes(32)), 18), (b"\x12\x20short", 59)])
    assert [entry.offset for entry in builder.to_index()] == [18]


@pytest.mark.parametrize("most", [40, 2048])
def test_a_cid_above_the_limit_is_told_where_the_file_has_it(most: int) -> None:
    head = 5 if most > 130 else 4
    fits = cid_v1(b"", digest=bytes(most - head))
    long = cid_v1(b"", digest=bytes(most - head + 1))
    assert (len(fits), len(long)) == (most, most + 1)
    builder = IndexBuilder(limits=Limits(cid=most)) if most != 2048 else IndexBuilder()
    builder.add(fits, 18)
    found = Entries([fits, long], [0, 0], [120, 0])
    tries: list[tuple[Callable[[], object], int]] = [
        (lambda: builder.add(long, 18), 0),
        (lambda: builder.add(long, 18, position=99), 99),
        (lambda: builder.add_sections(found, 18, -1), 119),
        (lambda: builder.add_columns(found, 18, -1, payload=1000), 1119),
    ]
    for attempt, at in tries:
        with pytest.raises(LimitError) as caught:
            attempt()
        error = caught.value
        assert (error.limit, error.found, error.allowed, error.position) == ("cid", most + 1, most, at)
    assert len(builder) == 3


def test_limits_do_not_matter_for_what_is_left_out_or_comes_as_a_multihash() -> None:
    builder = IndexBuilder(limits=Limits(cid=40))
    builder.add(identity(bytes(100)), 18)
    builder.add_multihashes([(multihash(0x12, bytes(100)), 59)])
    builder.add_record(0x12, bytes(101), 60)
    assert (len(builder), builder.left_out_count) == (2, 1)


def test_an_index_has_as_many_kinds_as_are_read_and_not_one_more() -> None:
    """Each hash code and each size of digests of it count: 16,384 codes of three sizes are just enough."""
    builder = IndexBuilder()
    for code, size in itertools.product(range(1, (1 << 14) + 1), range(3)):
        builder.add_record(code, bytes(size), 18)
    tries: list[tuple[Callable[[], object], int]] = [
        (lambda: builder.add(cid_v1(b"", digest=bytes(3)), 18), 0),
        (lambda: builder.add(cid_v1(b"", digest=bytes(3)), 18, position=99), 99),
        (lambda: builder.add_sections([(cid_v0(b""), 0, 59)], 18, 0, payload=1000), 1018),
        (lambda: builder.add_columns(Entries([cid_v0(b"")], [0], [59]), 18, 0, payload=1000), 1018),
        (lambda: builder.add_record(0x12, bytes(3), 18), 0),
        (lambda: builder.add_multihashes([(multihash(0x12, bytes(3)), 18)]), 0),
        (lambda: builder.add_packed(0x12, 3, [(bytes(11),)]), 0),
        (lambda: builder.add_record(1 << 20, b"", 18), 0),
    ]
    for attempt, at in tries:
        with pytest.raises(IndexFormatError, match="index of more than 65536 buckets") as caught:
            attempt()
        assert (caught.value.position, caught.value.codec) == (at, 0x0401)
    builder.add_record(0x12, b"\x00", 59)  # of a kind that there is
    assert len(parse(builder.to_bytes())) == 3 * (1 << 14) + 1


def test_hashes_are_no_kinds_of_their_own_where_the_format_does_not_keep_them() -> None:
    builder = IndexBuilder(0x0400)
    for code in range(70_000):
        builder.add_record(code, b"four", code)
    assert [entry.offset for entry in builder.to_index()] == list(range(70_000))


def test_a_digest_larger_than_any_that_is_read_is_told_where_it_stands() -> None:
    builder = IndexBuilder()
    builder.add_record(0x12, bytes((32 << 20) - 7), 18)
    with pytest.raises(IndexFormatError, match="index record of 33554433 bytes") as caught:
        builder.to_index()
    assert caught.value.position == 18  # behind codec, count, hash code and count


@pytest.mark.parametrize("codec", [0, 0x0402])
def test_the_formats_that_can_be_built_are_named(codec: int) -> None:
    with pytest.raises(ValueError, match="supported: car-index-sorted, car-multihash-index-sorted"):
        IndexBuilder(codec)


@pytest.mark.parametrize("cut", ["cids", "stops"])
def test_columns_of_different_lengths_are_the_callers_mistake(cut: str) -> None:
    builder = IndexBuilder()
    records = some_records(32, 300)
    by_add(builder, records)
    for several in (records[:5], records[:5] + some_records(20, 5)):  # of one kind, and of two
        found = columns(several)
        getattr(found, cut).pop()
        with pytest.raises(ValueError, match="zip"):
            builder.add_columns(found, 18, 0)


# -- moved offsets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("distance", [-600, -1, 0, 1, 1 << 40])
@pytest.mark.parametrize("count", [1, 300])
def test_all_offsets_can_be_moved_and_more_be_added_behind_them(codec: int, distance: int, count: int) -> None:
    chosen = random.Random(count)
    records = [
        Record(code, chosen.randbytes(size), chosen.randrange(600, 1 << 62))
        for code, size in ((0x12, 32), (0x12, 0), (0xB220, 2), (0x1B, 64))
        for _ in range(count)
    ]
    builder = IndexBuilder(codec)
    by_columns(builder, records)
    builder.shift(distance)
    assert len(builder) == len(records)
    moved = [record._replace(offset=record.offset + distance) for record in records]
    by_sections(builder, records)
    by_columns(builder, records[:count])
    assert_bytes_equal(builder.to_bytes(), FORMATS[codec]([*moved, *records, *records[:count]]))


# -- in which pieces ----------------------------------------------------------------------------------------


def pieces(builder: IndexBuilder, width: int) -> list[int]:
    """How many records each piece has, behind codec, count, hash code, count and the bucket's head."""
    sizes = [len(chunk) for chunk in builder.chunks()]
    assert sizes[:5] == [2, 4, 8, 4, 12]
    assert all(size % width == 0 for size in sizes[5:])
    return [size // width for size in sizes[5:]]


@EACH_WAY
def test_128_kib_are_handed_on_in_one_piece_and_more_by_the_first_byte(
    add: Callable[[IndexBuilder, Sequence[Record]], None],
) -> None:
    records = [Record(0x12, bytes([at * 7 & 255]) + at.to_bytes(23, "big"), at) for at in range(4097)]
    builder = IndexBuilder()
    add(builder, records[:-1])
    assert pieces(builder, 32) == [4096]
    add(builder, records)
    assert pieces(builder, 32) == [17, *[16] * 255]


@EACH_WAY
def test_up_to_256_records_are_kept_together_and_more_by_the_first_byte(
    add: Callable[[IndexBuilder, Sequence[Record]], None],
) -> None:
    records = [Record(0x12, bytes([at & 255]) * 1000, at) for at in range(300)]
    for count in (2, 130, 200, 254, 255, 256):
        builder = IndexBuilder()
        by_record(builder, records[:count])
        assert pieces(builder, 1008) == [count]
    for count in (257, 258, 300):
        builder = IndexBuilder()
        add(builder, records[:count])
        assert pieces(builder, 1008) == [2] * (count - 256) + [1] * (512 - count)


@pytest.mark.parametrize("size", [1, 2, 32])
@pytest.mark.parametrize("count", [20_000, 32_767, 32_768])
def test_very_many_that_begin_alike_are_handed_on_in_sixteen_pieces_by_the_second_byte(
    size: int, count: int
) -> None:
    chosen = random.Random(size)
    records = [Record(0x12, b"\x07" + chosen.randbytes(size - 1), chosen.randrange(1 << 64)) for _ in range(count)]
    expected = [count]
    if count >= 32_768 and size > 1:
        expected = [sum(record.digest[1] // 16 == part for record in records) for part in range(16)]
    builder = IndexBuilder()
    builder.add_packed(0x12, size, packed(records))
    assert pieces(builder, size + 8) == [0] * 7 + expected + [0] * 248
    builder.add_packed(0x12, size, packed(records))
    assert_bytes_equal(builder.to_bytes(), index_multihash_sorted(records))


# -- with few steps and little memory -----------------------------------------------------------------------


@pytest.mark.parametrize(("code", "wanted"), [(0x12, False), (0x12, True), (0xB220, False), (0x00, True)])
def test_what_is_of_a_kind_that_was_met_often_is_added_in_a_few_steps(code: int, wanted: bool) -> None:
    """Not taken apart again: it is the digest of the usual size, and all before it was seen before."""
    records = some_records(32, 1000, code)
    found = columns(records)
    rows, pairs = list(found), [(multihash(code, record.digest), record.offset) for record in records]
    builder = IndexBuilder(identity=wanted)
    by_add(builder, records)
    by_multihashes(builder, records)

    def lines_of(add: Callable[[], None]) -> int:
        return cost_of(lambda _: add(), bytes(1000)).lines

    assert lines_of(lambda: builder.add_columns(found, 18, 0)) < 5 * 1000
    assert lines_of(lambda: builder.add_sections(rows, 18, 0)) < 7 * 1000
    assert lines_of(lambda: builder.add_multihashes(pairs)) < 6 * 1000


def test_few_records_for_each_first_byte_are_not_shared_out_once_more() -> None:
    records = some_records(32, 8000)
    found = packed(records)

    def build(_: bytes) -> None:
        builder = IndexBuilder()
        builder.add_packed(0x12, 32, found)
        builder.to_bytes()

    assert cost_of(build, bytes(1000)).lines < 8 * 8000


def test_a_block_takes_its_40_bytes_and_little_more_while_they_are_written() -> None:
    found, size = packed(some_records(32, 60_000)), 60_000 * 40
    builder = IndexBuilder()
    tracemalloc.start()
    try:
        builder.add_packed(0x12, 32, found)
        held, most = tracemalloc.get_traced_memory()
        assert size < held < most < size * 5 // 4
        tracemalloc.reset_peak()
        assert sum(len(chunk) for chunk in builder.chunks()) == size + 30
        assert tracemalloc.get_traced_memory()[1] < held + (1 << 17)
    finally:
        tracemalloc.stop()
