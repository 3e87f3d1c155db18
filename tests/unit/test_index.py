"""The two index formats: their limits, what is taken that is not canonical, and who refuses what."""

from __future__ import annotations

import hashlib
import random
import struct
import tracemalloc
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from carv2._source import BytesSource, SliceView
from carv2.cid import CID
from carv2.errors import FormatError, IndexFormatError, LimitError, TruncatedError
from carv2.index import IndexBuilder, MultihashSortedIndex, SortedIndex, parse, read_codec
from carv2.index._even import Stretches, searcher, searcher_at_hand
from carv2.units import Limits
from fuzz.bounds import cost_of
from helpers.archives import (
    FISH,
    LOBSTER,
    Record,
    bucket,
    cid_v0,
    cid_v1,
    identity,
    index_body,
    index_multihash_sorted,
    index_sorted,
    multihash,
)
from helpers.binary import assert_bytes_equal

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = 1000
FISH_DIGEST, LOBSTER_DIGEST = FISH[0][4:], LOBSTER[0][4:]
RECORDS = [
    Record(0x12, FISH_DIGEST, 18),
    Record(0x12, LOBSTER_DIGEST, 59),
    Record(0x00, b"", 103),
    Record(0x00, b"id", 108),
    Record(0xB220, FISH_DIGEST, 117),
]
FORMATS = {0x0400: index_sorted, 0x0401: index_multihash_sorted}
SAMPLES = {codec: make(RECORDS) for codec, make in FORMATS.items()}


def sorted_index(body: str) -> bytes:
    return bytes.fromhex("8008" + body.replace(" ", ""))


def multihash_index(body: str) -> bytes:
    return bytes.fromhex("8108" + body.replace(" ", ""))


@pytest.mark.parametrize("codec", FORMATS)
def test_an_index_tells_what_is_in_it(codec: int) -> None:
    index = parse(SAMPLES[codec])
    assert index.codec == codec
    assert not index.is_headless
    assert isinstance(index, SortedIndex if codec == 0x0400 else MultihashSortedIndex)
    assert len(index) == len(RECORDS)
    expected = sorted(RECORDS, key=lambda r: (codec == 0x0401 and r.code, len(r.digest), r.digest, r.offset))
    codes = [None if codec == 0x0400 else record.code for record in expected]
    assert [tuple(entry) for entry in index] == [
        (code, record.digest, record.offset) for code, record in zip(codes, expected, strict=True)
    ]
    assert list(index) == list(index)
    assert all(each.is_sorted() for _, each in index.buckets())


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("left_over", [b"", b"\x00", b"trailing garbage", b"\xff" * 100])
def test_bytes_behind_the_index_are_not_its_own(codec: int, left_over: bytes) -> None:
    index = parse(SAMPLES[codec] + left_over)
    assert index.size == len(SAMPLES[codec])
    assert len(index) == len(RECORDS)
    assert_bytes_equal(index.to_bytes(), SAMPLES[codec])


@pytest.mark.parametrize("codec", FORMATS)
def test_an_index_cut_anywhere_is_truncated_at_the_cut(codec: int) -> None:
    whole = SAMPLES[codec]
    for cut in range(len(whole)):
        for buffer in (whole[:cut], SliceView(BytesSource(whole), 0, cut)):
            with pytest.raises(TruncatedError) as caught:
                parse(buffer, position=BASE)
            assert caught.value.position == BASE + cut


EMPTY_OR_NOT = [
    ("no buckets", sorted_index("00000000"), 0),
    ("no hash codes", multihash_index("00000000"), 0),
    ("a hash code without buckets", multihash_index("01000000 1200000000000000 00000000"), 0),
    ("a bucket without records", sorted_index("01000000 28000000 0000000000000000"), 0),
    ("width 8", sorted_index("01000000 08000000 0800000000000000 1200000000000000"), 1),
    ("the largest width", sorted_index("01000000 00000002 0000000000000000"), 0),
]


@pytest.mark.parametrize(("raw", "count"), [r[1:] for r in EMPTY_OR_NOT], ids=[r[0] for r in EMPTY_OR_NOT])
def test_what_is_small_or_odd_but_legal_is_read(raw: bytes, count: int) -> None:
    index = parse(raw)
    assert (len(index), len(list(index)), index.size) == (count, count, len(raw))
    assert FISH[0] not in index


REFUSED = [
    ("negative bucket count", sorted_index("ffffffff"), 2),
    ("negative hash code count", multihash_index("ffffffff"), 2),
    ("negative bucket count of a code", multihash_index("01000000 1200000000000000 00000080"), 14),
    ("width 0", sorted_index("01000000 00000000 0000000000000000"), 6),
    ("width 7", sorted_index("01000000 07000000 0700000000000000 00000000000000"), 6),
    ("width of 32 MiB and 1", sorted_index("01000000 01000002 0000000000000000"), 6),
    ("width 2**32 - 1", sorted_index("01000000 ffffffff 0000000000000000"), 6),
    ("2**63 bytes of records", sorted_index("01000000 28000000 0000000000000080"), 10),
    ("2**64 - 1 bytes of records", sorted_index("01000000 28000000 ffffffffffffffff"), 10),
]


@pytest.mark.parametrize(("raw", "at"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_sizes_that_cannot_be_are_refused_where_they_stand(raw: bytes, at: int) -> None:
    with pytest.raises(IndexFormatError) as caught:
        parse(raw + bytes(100), position=BASE)
    assert caught.value.position == BASE + at
    assert caught.value.codec == (0x0400 if raw[0] == 0x80 else 0x0401)


HUGE = [
    ("2**31 - 1 buckets", sorted_index("ffffff7f")),
    ("2**31 - 1 hash codes", multihash_index("ffffff7f")),
    ("2**31 - 1 buckets of a code", multihash_index("01000000 1200000000000000 ffffff7f")),
    ("2**63 - 1 bytes of records", sorted_index("01000000 28000000 ffffffffffffff7f")),
    ("one byte more than there is", sorted_index("01000000 28000000 6500000000000000")),
]


@pytest.mark.parametrize("raw", [row[1] for row in HUGE], ids=[row[0] for row in HUGE])
def test_a_count_that_the_file_cannot_hold_allocates_nothing(raw: bytes) -> None:
    whole = raw + bytes.fromhex("2800000000000000 0000000000000000") + bytes(84)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            parse(whole, position=BASE)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert caught.value.position <= BASE + len(whole)


@pytest.mark.parametrize("raw", ["", "80", "81", "ffff"])
def test_half_a_codec_is_truncated(raw: str) -> None:
    for read in (parse, read_codec):
        with pytest.raises(TruncatedError) as caught:
            read(bytes.fromhex(raw), position=BASE)
        assert caught.value.position == BASE + len(raw) // 2


@pytest.mark.parametrize("codec", [0x00, 0x01, 0x55, 0x0402, 0x300000, 0x300003])
def test_another_codec_is_named(codec: int) -> None:
    raw = bytes([codec]) if codec < 128 else bytes([codec & 127 | 128, codec >> 7 & 127])
    if codec > 0x3FFF:
        raw = bytes([codec & 127 | 128, codec >> 7 & 127 | 128, codec >> 14 & 127 | 128, codec >> 21])
    assert read_codec(raw) == (codec, len(raw))
    with pytest.raises(IndexFormatError) as caught:
        parse(raw + b"\xff" * 40, position=BASE)
    assert (caught.value.codec, caught.value.position) == (codec, BASE)


@pytest.mark.parametrize(("read", "raw", "at"), [(parse, "55", 0), (read_codec, "80", 1), (parse, "8108 01", 3)])
def test_positions_count_from_the_first_byte_unless_told_otherwise(read: Any, raw: str, at: int) -> None:
    with pytest.raises(FormatError) as caught:
        read(bytes.fromhex(raw))
    assert caught.value.position == at


def test_a_codec_that_is_not_in_its_shortest_form_is_refused() -> None:
    with pytest.raises(FormatError, match="minimally"):
        parse(bytes.fromhex("808800") + SAMPLES[0x0400][2:])


# -- dialects ----------------------------------------------------------------------------------------------


def test_an_index_without_its_codec_is_read_as_the_example_of_the_specification_has_it() -> None:
    records = [record for record in RECORDS if len(record.digest) == 32]
    index = parse(index_body(records) + b"left over")
    assert (index.codec, index.is_headless, len(index)) == (0x0400, True, 3)
    assert parse(index_sorted(records)).is_headless is False
    assert index.size == len(index_body(records))
    assert list(index.offsets_of(LOBSTER[0])) == [59]
    assert_bytes_equal(index.to_bytes(), index_sorted(records))


@pytest.mark.parametrize("body", [b"", b"\x01\x00\x00\x00", index_body(RECORDS[:2])[:-1], bytes(40)])
def test_what_only_begins_like_one_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse(body)


def test_a_digest_size_that_comes_twice_counts_as_it_stands_last() -> None:
    first, last = bucket(RECORDS[:1]), bucket(RECORDS[1:2])
    index = parse(b"\x80\x08" + struct.pack("<i", 2) + first + last)
    assert list(index.offsets_of(FISH[0])) == []
    assert list(index.offsets_of(LOBSTER[0])) == [59]
    assert len(index) == 1


def test_a_hash_code_that_comes_twice_counts_as_it_stands_last() -> None:
    code = struct.pack("<Q", 0x12)
    groups = code + index_body(RECORDS[:1]) + code + index_body(RECORDS[1:2])
    index = parse(b"\x81\x08" + struct.pack("<i", 2) + groups)
    assert list(index.offsets_of(FISH[0])) == []
    assert list(index.offsets_of(LOBSTER[0])) == [59]
    assert len(index) == 1


def test_bytes_that_make_no_whole_record_are_passed_over() -> None:
    records = bucket(RECORDS[:1])[12:]
    raw = b"\x80\x08" + struct.pack("<iIQ", 1, 40, 53) + records + b"thirteen more"
    index = parse(raw)
    assert (len(index), index.size) == (1, len(raw))
    assert list(index.offsets_of(FISH[0])) == [18]
    assert [each.stray for _, each in index.buckets()] == [13]


def test_an_unsorted_bucket_is_known_as_one_and_harms_nobody() -> None:
    down = bucket(RECORDS[:1])[12:] + bucket(RECORDS[1:2])[12:]
    index = parse(b"\x80\x08" + struct.pack("<iIQ", 1, 40, 80) + down)
    assert [each.is_sorted() for _, each in index.buckets()] == [False]
    assert set(index.offsets_of(FISH[0])) <= {18}


# -- building ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", FORMATS)
def test_what_is_built_is_what_the_format_says(codec: int) -> None:
    builder = IndexBuilder(codec, identity=True)
    for record in RECORDS:
        builder.add_record(*record)
    assert len(builder) == len(RECORDS)
    assert_bytes_equal(builder.to_bytes(), SAMPLES[codec])
    assert len(builder) == 0


@pytest.mark.parametrize("codec", FORMATS)
def test_nothing_makes_an_index_of_six_bytes(codec: int) -> None:
    assert IndexBuilder(codec).to_bytes() == bytes([codec & 0xFF | 0x80, codec >> 7, 0, 0, 0, 0])


@pytest.mark.parametrize("codec", FORMATS)
def test_a_cid_is_listed_by_its_multihash_alone(codec: int) -> None:
    builder = IndexBuilder(codec)
    for offset, cid in enumerate([cid_v0(b"fish"), cid_v1(b"fish", codec=0x71), FISH[0]]):
        builder.add(cid, offset)
    index = builder.to_index()
    for cid in (cid_v0(b"fish"), cid_v1(b"fish", codec=0x99), FISH[0]):
        assert list(index.offsets_of(cid)) == [0, 1, 2]


def test_identity_cids_are_listed_only_if_asked_for() -> None:
    for wanted in (False, True):
        builder = IndexBuilder(identity=wanted)
        builder.add(identity(b"id"), 18)
        builder.add_sections([(identity(b"more"), 0, 40)], 25, 0)
        assert [entry.digest for entry in builder.to_index()] == ([b"id", b"more"] if wanted else [])


def test_identity_cids_that_records_of_a_ref_car_go_by_are_always_listed() -> None:
    builder = IndexBuilder()
    builder.add(identity(b"/filestore/CIQ"), 18)
    builder.add(identity(b"/filestor/CIQ"), 59)
    index = builder.to_index()
    assert [entry.offset for entry in index] == [18]
    assert builder.left_out_count == 1


def test_neighbouring_sections_are_listed_where_each_begins() -> None:
    builder = IndexBuilder(identity=True)
    entries = [(FISH[0], 0, 141), (cid_v0(b"x"), 0, 180), (FISH[0], 0, 221), (identity(b"id"), 0, 230)]
    builder.add_sections(entries, 59, -41)
    index = builder.to_index()
    assert list(index.offsets_of(FISH[0])) == [59, 139]
    assert list(index.offsets_of(cid_v0(b"x"))) == [100]
    assert list(index.offsets_of(identity(b"id"))) == [180]


def test_a_cid_that_would_be_listed_meets_the_limit_and_a_skipped_one_does_not() -> None:
    long = cid_v1(b"", code=0x99, digest=bytes(2043))
    assert len(long) == 2049
    builder = IndexBuilder()
    builder.add(long[:1] + b"\x55" + identity(bytes(3000))[2:], 0)
    with pytest.raises(LimitError) as caught:
        builder.add(long, 18, position=BASE)
    error = caught.value
    assert (error.limit, error.found, error.allowed, error.position) == ("cid", 2049, 2048, BASE)
    with pytest.raises(LimitError) as caught:
        builder.add_sections([(FISH[0], 0, 141), (long, 0, 0)], 100, -1, payload=BASE)
    assert caught.value.position == BASE + 140
    assert [entry.offset for entry in builder.to_index()] == [100]
    IndexBuilder(limits=Limits(cid=2049)).add(long, 18)


def test_an_identity_cid_that_is_listed_meets_the_limit_too() -> None:
    cid = identity(bytes(3000))
    with pytest.raises(LimitError, match="cid of 3005 bytes, limit 2048"):
        IndexBuilder(identity=True).add(cid, 0)


@pytest.mark.parametrize("codec", [0, 0x0402, 0x300000])
def test_a_codec_that_cannot_be_built_is_the_callers_mistake_at_once(codec: int) -> None:
    with pytest.raises(ValueError, match="index codec"):
        IndexBuilder(codec)


# -- looking up ----------------------------------------------------------------------------------------------


def looked_up(raw: bytes, cid: bytes, times: int = 40) -> list[list[int]]:
    """The offsets of ``cid``, asked for again and again: after some times an index keeps samples."""
    index = parse(raw)
    over_file = parse(SliceView(BytesSource(b"front" + raw + b"behind"), 5, 5 + len(raw) + 6))
    return [list(each.offsets_of(CID(cid))) for _ in range(times) for each in (index, over_file)]


def same(found: list[list[int]], expected: list[int]) -> bool:
    return all(each == expected for each in found)


def test_an_equal_digest_of_another_hash_is_told_apart_only_by_format_0401() -> None:
    twin = cid_v1(b"", code=0xB220, digest=FISH_DIGEST)
    stranger = cid_v1(b"", code=0x1B, digest=FISH_DIGEST)
    assert same(looked_up(SAMPLES[0x0401], FISH[0]), [18])
    assert same(looked_up(SAMPLES[0x0401], twin), [117])
    assert same(looked_up(SAMPLES[0x0401], stranger), [])
    for cid in (FISH[0], twin, stranger):
        assert same(looked_up(SAMPLES[0x0400], cid), [18, 117])


@pytest.mark.parametrize("codec", FORMATS)
def test_an_empty_digest_is_found_once(codec: int) -> None:
    assert same(looked_up(SAMPLES[codec], identity(b"")), [103])


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 128, 129, 1000])
def test_every_duplicate_is_found_in_the_order_of_offsets(codec: int, count: int) -> None:
    """Also where they fill more than one stretch between samples, with others on both sides."""
    before = [Record(0x12, bytes([n]) * 32, n) for n in range(100)]
    behind = [Record(0x12, bytes([n]) * 32, n) for n in range(201, 256)]
    offsets = [7919 * n % 100_003 for n in range(1, count + 1)]
    records = [*behind, *(Record(0x12, b"\xc8" * 32, offset) for offset in offsets), *before]
    raw = FORMATS[codec](records)
    assert same(looked_up(raw, cid_v1(b"", digest=b"\xc8" * 32)), sorted(offsets))
    assert same(looked_up(raw, cid_v1(b"", digest=b"\x63" * 32)), [99])
    assert same(looked_up(raw, cid_v1(b"", digest=b"\xc9" * 32)), [201])
    assert same(looked_up(raw, cid_v1(b"", digest=b"\x64" * 32)), [])
    builder = IndexBuilder(codec)
    for record in records:
        builder.add_record(*record)
    assert_bytes_equal(builder.to_bytes(), raw)


@pytest.mark.parametrize("offset", [0, 255, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("codec", FORMATS)
def test_offsets_of_64_bits_survive(codec: int, offset: int) -> None:
    builder = IndexBuilder(codec)
    builder.add(FISH[0], offset)
    raw = builder.to_bytes()
    assert_bytes_equal(raw, FORMATS[codec]([Record(0x12, FISH_DIGEST, offset)]))
    assert same(looked_up(raw, FISH[0]), [offset])


def test_a_digest_that_lies_across_two_records_is_not_found() -> None:
    """Its bytes are there, but no record begins where they do."""
    records = [Record(0x12, b"\x01\x02\x03\x04", 0x0807060504030201), Record(0x12, b"\x05\x06\x07\x08", 9)]
    raw = index_sorted(records)
    assert b"\x04\x01\x02\x03" in raw
    for inside in (b"\x04\x01\x02\x03", b"\x02\x03\x04\x01", b"\x01\x02\x03\x05"):
        assert same(looked_up(raw, cid_v1(b"", digest=inside)), [])
    assert same(looked_up(raw, cid_v1(b"", digest=b"\x05\x06\x07\x08")), [9])


@pytest.mark.parametrize("codec", FORMATS)
def test_membership_takes_what_names_a_cid_and_nothing_else(codec: int) -> None:
    index = parse(SAMPLES[codec])
    for value in (FISH[0], CID(FISH[0]), str(CID(FISH[0]))):
        assert value in index
    for absent in (cid_v1(b"other"), str(CID(cid_v1(b"other"))), 5, None):
        assert absent not in index


@pytest.mark.parametrize("count", [1, 64, 65, 4096, 5000])
def test_every_record_of_a_large_index_is_found_before_and_after_samples_are_taken(count: int) -> None:
    digests = [CID.of_data(n.to_bytes(4, "big")).digest for n in range(count)]
    raw = index_multihash_sorted([Record(0x12, digest, n) for n, digest in enumerate(digests)])
    index = parse(raw)
    for n in [*range(0, count, max(1, count // 200)), count - 1]:
        assert list(index.offsets_of(cid_v1(b"", digest=digests[n]))) == [n]
        assert list(index.offsets_of(cid_v1(b"", digest=digests[n][::-1]))) in ([], [n])


def test_the_quick_look_gives_what_the_thorough_one_gives_first_or_nothing() -> None:
    """Copies stand across the stretches that are read at a time, and before, at and behind their ends."""
    digests = [bytes([number >> 8, number & 255]) * 16 for number in range(300)]
    copies = {7: 130, 71: 3, 200: 64, 299: 2}
    builder = IndexBuilder()
    pairs = [(n, digest) for n, digest in enumerate(digests) for _ in range(copies.get(n, 1))]
    builder.add_multihashes((b"\x12\x20" + digest, 59 + at) for at, (_, digest) in enumerate(pairs))
    index = builder.to_index()
    cids = [CID.of_multihash(b"\x12\x20" + digest) for digest in digests]
    assert index.usual_offset(cids[0].raw) is None  # not before it is worth its while
    expected = [next(index.offsets_of(cid)) for cid in cids]
    quick = [index.usual_offset(cid.raw) for cid in cids]
    assert quick == expected  # that of a digest which begins a stretch, too
    assert index.usual_offsets([cid.raw for cid in cids[::-1]]) == expected[::-1]
    absent = CID.of_multihash(b"\x12\x20" + digests[5][:-1] + b"\x01").raw
    assert index.usual_offsets([cids[9].raw, absent, cids[9].raw, cids[0].raw]) == [
        expected[9], None, expected[9], expected[0]
    ]  # fmt: skip
    for absent in (bytes(31) + b"\x01", b"\xff" * 32, digests[5][:-1] + b"\x01"):
        assert index.usual_offset(CID.of_multihash(b"\x12\x20" + absent).raw) is None


def same_or_none(found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Whether each is what is wanted or None, which tells nothing."""
    return len(found) == len(wanted) and all(
        one in {None, other} for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize(("count", "step"), [(9000, 1), (9000, 7), (9000, 900), (40, 1), (1, 1)])
def test_many_look_ups_at_once_find_what_single_ones_find(count: int, step: int) -> None:
    """Whether they are so many that several come out of one read, or few and far between."""
    cids = [CID.of_data(n.to_bytes(4, "big")) for n in range(count)]
    index = parse(index_multihash_sorted([Record(0x12, cid.digest, n) for n, cid in enumerate(cids)]))
    for cid in [cids[0]] * 16:
        assert list(index.offsets_of(cid)) == [0]
    absent = [CID.of_data(n.to_bytes(5, "big")) for n in range(20)]
    identity, other = CID.of_data(b"fish", hash="identity"), CID.of_data(b"0", hash="sha2-512")
    asked = [cid.raw for cid in [*cids[::step], *absent, cids[0]]]
    wanted = [*range(0, count, step), *([None] * 20), 0]
    found = index.usual_offsets(asked)
    assert same_or_none(found, wanted)
    assert sum(one is None for one in found) <= 20 + len(asked) // 200  # nearly all are where they should be
    assert same_or_none(index.usual_offsets([*asked, identity.raw, other.raw]), [*wanted, None, None])
    assert index.usual_offsets([]) == []


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 20, 32, 64])
@pytest.mark.parametrize("most", [1, 3, 1000])
def test_digests_that_share_what_is_kept_of_them_are_found_all_the_same(size: int, most: int) -> None:
    """Of a digest its first eight bytes are kept; these differ in the last two at most."""
    digests = sorted({(bytes(size) + struct.pack(">H", number))[-size:] if size else b"" for number in range(700)})
    copies = [digest for n, digest in enumerate(digests) for _ in range(40 if n % 97 == 3 else 1)]
    index = parse(index_multihash_sorted([Record(0x1E, digest, n) for n, digest in enumerate(copies)]))
    index.keep_samples(most)
    for digest in [*digests[:40], *digests]:
        cid = CID.of_multihash(bytes([0x1E, size]) + digest)
        expected = [n for n, other in enumerate(copies) if other == digest]
        assert list(index.offsets_of(cid)) == expected
        assert index.usual_offset(cid.raw) in {None, expected[0]}
    for absent in (b"\xff" * size, bytes(size - 1) + b"\xff" if size > 2 else b"\xff" * size):
        assert (CID.of_multihash(bytes([0x1E, size]) + absent) in index) == (absent in digests)


def test_a_look_up_reads_little_where_all_digests_share_what_is_kept_of_them() -> None:
    class Counted(bytes):
        taken = 0

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            if isinstance(found, bytes):
                self.taken += len(found)
            return found

    digests = [bytes(28) + struct.pack(">I", number) for number in range(20_000)]
    buffer = Counted(index_multihash_sorted([Record(0x12, digest, n) for n, digest in enumerate(digests)]))
    index = parse(buffer)
    for number in range(32):
        assert list(index.offsets_of(CID.of_multihash(b"\x12\x20" + digests[number]))) == [number]
    buffer.taken = 0
    for number in range(0, 20_000, 999):
        assert list(index.offsets_of(CID.of_multihash(b"\x12\x20" + digests[number]))) == [number]
    assert buffer.taken < 21 * 3000


@pytest.mark.parametrize("most", [1, 2, 3, 7, 1000])
def test_look_ups_find_the_same_with_any_number_of_samples(most: int) -> None:
    digests = [bytes([number >> 8, number & 255]) * 16 for number in range(1200)]
    copies = {5: 200, 640: 65, 1199: 130}
    records = [digest for n, digest in enumerate(digests) for _ in range(copies.get(n, 1))]
    builder = IndexBuilder()
    builder.add_multihashes((b"\x12\x20" + digest, 59 + at) for at, digest in enumerate(records))
    index = builder.to_index()
    index.keep_samples(most)
    for digest in [*digests[:40], *digests]:  # the first few go without samples
        cid = CID.of_multihash(b"\x12\x20" + digest)
        expected = [59 + at for at, other in enumerate(records) if other == digest]
        assert list(index.offsets_of(cid)) == expected
        assert index.usual_offset(cid.raw) in {None, expected[0]}
        absent = CID.of_multihash(b"\x12\x20" + digest[:-1] + bytes([digest[-1] ^ 1]))
        assert (absent in index, index.usual_offset(absent.raw)) == (False, None)
    (bucket,) = (bucket for _, bucket in index.buckets())
    assert bucket._samples is not None
    assert len(bucket._samples[1]) <= most


@pytest.mark.parametrize("codes", [True, False])
def test_an_index_of_next_to_nothing_but_buckets_is_refused(codes: bool) -> None:
    """Each would take memory many times its twelve bytes."""
    many = 70_000
    if codes:
        groups = (struct.pack("<Qi", code, 0) for code in range(many))
        raw = bytes.fromhex("8108") + struct.pack("<i", many) + b"".join(groups)
    else:
        raw = (
            bytes.fromhex("8008")
            + struct.pack("<i", many)
            + b"".join(struct.pack("<IQ", 8 + n, 0) for n in range(many))
        )
    with pytest.raises(IndexFormatError, match="more than 65536 buckets"):
        parse(raw)


def empty_buckets(many: int) -> bytes:
    return b"".join(struct.pack("<IQ", 40 + at, 0) for at in range(many))


@pytest.mark.parametrize(
    ("buckets", "at"),
    [
        ([1, 2], None),  # two hash codes and three buckets are five
        ([1, 3], 4 + (8 + 4 + 12) + (8 + 4 + 2 * 12)),
        ([2, 2], 4 + (8 + 4 + 2 * 12) + (8 + 4 + 12)),
        ([1, 1, 0], None),
        ([0, 0, 0, 0, 0], None),
        ([0, 0, 0, 0, 0, 0], 4 + 5 * 12),
        ([1, 1, 0, 0], 4 + 2 * (8 + 4 + 12) + 12),
        ([1, 1, 1], 4 + 2 * (8 + 4 + 12) + 12),
        ([4], None),
        ([5], 4 + 8 + 4 + 4 * 12),
    ],
)
def test_hash_codes_and_buckets_count_together(
    buckets: list[int], at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2.index.multihash_sorted.MAX_BUCKETS", 5)
    groups = (struct.pack("<Qi", code, many) + empty_buckets(many) for code, many in enumerate(buckets))
    raw = bytes.fromhex("8108") + struct.pack("<i", len(buckets)) + b"".join(groups)
    if at is None:
        assert parse(raw).size == len(raw)
        return
    with pytest.raises(IndexFormatError) as caught:
        parse(raw, position=BASE)
    assert (caught.value.position, caught.value.codec) == (BASE + 2 + at, 0x0401)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("8108 0100", "index hash code count: wanted 4 bytes, got 2 (at byte 1004)"),
        ("8108 01000000 1200", "index hash code: wanted 8 bytes, got 2 (at byte 1008)"),
        ("8108 01000000 1200000000000000 01", "index bucket count: wanted 4 bytes, got 1 (at byte 1015)"),
        ("8008 01000000 28", "index bucket: wanted 12 bytes, got 1 (at byte 1007)"),
        ("8108 ffffffff", "index hash code count -1, allowed 0 to 2**31 - 1 (at byte 1002)"),
        ("8008 ffffffff", "index bucket count -1, allowed 0 to 2**31 - 1 (at byte 1002)"),
        (
            "5501",
            "index codec raw, supported: car-index-sorted and car-multihash-index-sorted (at byte 1000)",
        ),
    ],
)
def test_what_is_said_of_numbers_that_cannot_be(raw: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(bytes.fromhex(raw), position=BASE)
    assert str(caught.value) == words


def test_no_more_than_256_kinds_of_cids_are_remembered() -> None:
    digests = [hashlib.sha256(bytes([at])).digest() for at in range(3)]
    kinds = [0x1000 + at for at in range(300)]
    builder = IndexBuilder()
    for kind in kinds:
        builder.add_record(kind, digests[kind % 3], kind)
    index = builder.to_index()
    for kind in kinds:
        cid = CID.of_multihash(multihash(kind, digests[kind % 3]))
        assert [list(index.offsets_of(cid)) for _ in range(2)] == [[kind]] * 2
    assert len(index.usual) == 256


def test_many_look_ups_at_once_keep_kinds_apart() -> None:
    """Two hash functions with the same digests, each of which was asked for before."""
    digests = [hashlib.sha256(at.to_bytes(2, "big")).digest() for at in range(2000)]
    builder = IndexBuilder()
    for at, digest in enumerate(digests):
        builder.add_record(0x12, digest, at)
        builder.add_record(0xB220, digest, 10_000 + at)
    index = builder.to_index()
    kinds = {
        code: [CID.of_multihash(multihash(code, digest)).raw for digest in digests] for code in (0x12, 0xB220)
    }
    for raw in kinds[0x12][:40] + kinds[0xB220][:40]:  # the first few go without samples
        list(index.offsets_of(raw))
    mixed = [kinds[0x12][7], kinds[0xB220][8], kinds[0x12][9]]
    assert index.usual_offsets(mixed) == [7, 10_008, 9]
    assert index.usual_offsets(mixed[1:2]) == [10_008]


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("many", [3000, 3276, 3277, 4000])
def test_few_records_and_many_are_sorted_alike(codec: int, many: int) -> None:
    records = [Record(0x12, bytes([at * 37 % 256]) + at.to_bytes(4, "big") * 7 + b"end", at) for at in range(many)]
    builder = IndexBuilder(codec)
    for record in records:
        builder.add_record(record.code, record.digest, record.offset)
    assert_bytes_equal(builder.to_bytes(), FORMATS[codec](records))


def many_even(count: int) -> tuple[list[bytes], bytes]:
    """The digests of an index in the order of their numbers, and the index."""
    digests = [CID.of_data(n.to_bytes(4, "big")).digest for n in range(count)]
    return digests, index_multihash_sorted([Record(0x12, digest, n) for n, digest in enumerate(digests)])


class Counting(bytes):
    """Bytes that count how many were taken from them, and how often."""

    taken = often = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes):
            self.taken += len(found)
            self.often += 1
        return found


def ready(index: Any, digest: bytes) -> Any:
    """The index after so many look-ups that it has samples."""
    for _ in range(16):
        assert list(index.offsets_of(CID.of_multihash(b"\x12\x20" + digest)))
    return index


@pytest.mark.parametrize("most", [1, 60, 300, 1 << 19])
def test_digests_spread_evenly_are_found_by_one_read_with_few_samples(most: int) -> None:
    digests, raw = many_even(20_000)
    index = parse(raw)
    index.keep_samples(most)
    ready(index, digests[0])
    asked = range(0, 20_000, 37)
    found = [index.usual_offset(b"\x01\x55\x12\x20" + digests[n]) for n in asked]
    assert same_or_none(found, list(asked))
    if most > 1:  # with one sample of 20,000 records the stretch would be too long
        assert sum(one is None for one in found) < len(asked) // 25  # most of them in the first and last slots
    for n in asked:
        cid = CID.of_multihash(b"\x12\x20" + digests[n])
        assert list(index.offsets_of(cid)) == [n]
        assert CID.of_multihash(b"\x12\x20" + digests[n][:-1] + bytes([digests[n][-1] ^ 1])) not in index


def test_what_is_read_and_kept_for_a_look_up_grows_by_next_to_nothing() -> None:
    """Ten times as many records: the same samples at most, and a stretch that grows by the root of that."""
    reads = []
    for count in (5_000, 50_000):
        digests, raw = many_even(count)
        buffer = Counting(raw)
        index = parse(buffer)
        index.keep_samples(300)
        ready(index, digests[0])
        buffer.taken = buffer.often = 0
        for n in range(0, count, count // 500):
            index.usual_offset(b"\x01\x55\x12\x20" + digests[n])
        reads.append((buffer.often, buffer.taken / 500))
        ((_, bucket),) = index.buckets()
        assert bucket._samples is not None
        assert len(bucket._samples[1]) <= 300
    assert reads[0][0] == reads[1][0] == 500
    assert reads[1][1] < 4 * reads[0][1]


def lopsided(count: int) -> list[bytes]:
    """What passes for even where it is tried, and is not in between: samples on a line, the rest heaped up."""
    digests = []
    for at in range(0, count, 16):
        front = (at << 64) // count
        digests.append(front.to_bytes(8, "big") + bytes(24))
        digests += [front.to_bytes(8, "big") + n.to_bytes(24, "big") for n in range(1, 16)]
    return digests


def misleading(shape: str, count: int) -> list[bytes]:
    hashed = [CID.of_data(n.to_bytes(4, "big")).digest for n in range(count)]
    if shape == "lopsided":
        return lopsided(count)
    if shape == "heaped":
        return sorted((hashed[n][:4] if n % 100 == 0 else bytes(4)) + n.to_bytes(28, "big") for n in range(count))
    if shape == "alike":
        return [b"\x80" * 32] * count
    return sorted(hashed, reverse=True)


@pytest.mark.parametrize("shape", ["lopsided", "heaped", "alike", "upside down"])
def test_an_index_made_to_mislead_costs_a_few_reads_more(shape: str) -> None:
    count = 32_000
    digests = misleading(shape, count)
    bucket = b"".join(digest + n.to_bytes(8, "little") for n, digest in enumerate(digests))
    head = bytes.fromhex("8108 01000000 1200000000000000 01000000 28000000") + len(bucket).to_bytes(8, "little")
    buffer = Counting(head + bucket)
    index = parse(buffer)
    for _ in range(16):
        next(index.offsets_of(CID.of_multihash(b"\x12\x20" + digests[0])), None)
    buffer.taken = buffer.often = 0
    for n in range(0, count, 1600):
        cid = CID.of_multihash(b"\x12\x20" + digests[n])
        assert index.usual_offset(cid.raw) in {None, n, 0 if shape == "alike" else n}
        first = next(index.offsets_of(cid), None)
        if shape != "upside down":  # the order is a claim: where it does not hold, a look-up may miss
            assert first == (0 if shape == "alike" else n)
    assert buffer.often <= 20 * 40
    assert buffer.taken < 20 * 12_000


def test_of_copies_among_evenly_spread_digests_the_first_is_told_or_none() -> None:
    digests = sorted(CID.of_data(n.to_bytes(4, "big")).digest for n in range(4000))
    records = [digest for n, digest in enumerate(digests) for _ in range(60 if n % 400 == 7 else 1)]
    index = ready(
        parse(index_multihash_sorted([Record(0x12, each, n) for n, each in enumerate(records)])), digests[0]
    )
    raws = [b"\x01\x55\x12\x20" + digest for digest in digests]
    first = {digest: n for n, digest in reversed(list(enumerate(records)))}
    wanted = [first[digest] for digest in digests]
    for found in (index.usual_offsets(raws), [index.usual_offset(raw) for raw in raws]):
        assert same_or_none(found, wanted)
        assert sum(one is None for one in found) < len(raws) // 20
    for digest in digests[::7]:
        offsets = list(index.offsets_of(CID.of_multihash(b"\x12\x20" + digest)))
        assert offsets == list(range(first[digest], first[digest] + records.count(digest)))


@pytest.mark.parametrize("at_hand", [False, True])
def test_a_copy_with_which_the_stretch_begins_tells_nothing_for_others_may_stand_before_it(at_hand: bool) -> None:
    digests = [bytes([n]) * 32 for n in (1, 2, 3, 3, 3, 4, 5)]
    records = b"".join(digest + n.to_bytes(8, "little") for n, digest in enumerate(digests))

    def search(first: int, digest: bytes) -> int | None:
        stretches = Stretches(array("q", [first] * 3), 31, 3)
        if at_hand:
            return searcher_at_hand(stretches, 40, 7, b"before " + records + digests[0])(digest)
        return searcher(stretches, 40, 0, lambda size, at: records[at : at + size])(digest)

    assert [search(2, each) for each in digests[1:6]] == [None, None, None, None, None]
    assert [search(1, each) for each in digests[1:4]] == [None, 2, 2]
    assert search(0, digests[0]) == 0  # nothing stands before the first one
    assert search(5, digests[6]) == 6
    assert search(6, digests[6]) is None
    assert search(0, records[8:40]) is None  # across two records


@pytest.mark.parametrize("second_bytes", [256, 1])
@pytest.mark.parametrize("digest_size", [1, 2, 32])
@pytest.mark.parametrize("many", [25_000, 65_536])
def test_very_many_records_that_begin_alike_are_in_order_too(
    second_bytes: int, digest_size: int, many: int
) -> None:
    chosen = random.Random(1)
    builder, expected = IndexBuilder(), list[tuple[bytes, int]]()
    for at in range(many):
        digest = bytes([at % 2, chosen.randrange(second_bytes), *chosen.randbytes(30)])[:digest_size]
        offset = chosen.randrange(1 << 40)
        builder.add_record(0x12, digest, offset)
        expected.append((digest, offset))
    assert [(entry.digest, entry.offset) for entry in builder.to_index()] == sorted(expected)


# -- many kinds of hashes: a few bytes in an archive for each ---------------------------------------------------


def test_an_index_of_many_kinds_costs_no_more_than_its_records() -> None:
    """Each kind had 256 bins, 14 KiB, and writing the index took time in the square of their number."""

    def build(data: bytes) -> bytes:
        builder = IndexBuilder()
        for code in range(len(data) // 7):  # as many bytes as the shortest section has
            builder.add_record(0x4000 + code, b"", 18)
        return builder.to_bytes()

    data = bytes(7 * 1000)
    cost = cost_of(build, data)
    assert cost.lines < 100 * 1000
    assert cost.memory < 1000 * 1000
    assert len(parse(build(data))) == 1000


def test_no_index_is_built_of_more_kinds_than_are_read() -> None:
    builder = IndexBuilder()
    for code in range(1 << 15):  # each a hash code and a bucket
        builder.add_record(code, b"", 18)
    with pytest.raises(IndexFormatError, match=r"index of more than 65536 buckets \(at byte 99\)"):
        builder.add(cid_v1(b"", code=1 << 15, digest=b""), 18, position=99)
    assert len(parse(builder.to_bytes())) == 1 << 15


@pytest.mark.parametrize("many", [255, 256, 257, 300])
@pytest.mark.parametrize("code", [0x12, 0xB220])
def test_records_keep_their_order_where_they_become_too_many_for_one_bin(many: int, code: int) -> None:
    digests = [hashlib.sha256(bytes([number & 255, number >> 8])).digest() for number in range(many)]
    records = [Record(code, digest, 7 * at) for at, digest in enumerate(digests)]
    one_by_one, by_hash = IndexBuilder(), IndexBuilder()
    for record in records:
        one_by_one.add(cid_v1(b"", code=code, digest=record.digest), record.offset)
    by_hash.add_multihashes((multihash(code, record.digest), record.offset) for record in records)
    packed = IndexBuilder()
    pieces = [(record.digest + struct.pack(">Q", record.offset),) for record in records]
    packed.add_packed(code, 32, pieces[: many // 2])
    packed.add_packed(code, 32, pieces[many // 2 :])
    expected = index_multihash_sorted(records)
    assert one_by_one.to_bytes() == by_hash.to_bytes() == packed.to_bytes() == expected
