"""Several indexes as one: all records in order, whatever each has, in both formats, and little read at a time."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from carv2._source import BytesSource, SliceView
from carv2.errors import TruncatedError
from carv2.index import parse
from carv2.index.merge import merged_chunks
from helpers.archives import Record, index_multihash_sorted, index_sorted
from helpers.binary import assert_bytes_equal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FORMATS = {0x0400: index_sorted, 0x0401: index_multihash_sorted}
RECORDS = [
    Record(0x12, b"\x07" * 32, 300),
    Record(0x12, b"\x07" * 32, 18),
    Record(0x12, b"\x07" * 20, 5),
    Record(0x00, b"", 1 << 63),
    Record(0x00, b"fish", (1 << 64) - 1),
    Record(0xB220, b"\x07" * 32, 100),
    Record(0x12, b"\x07" * 31 + b"\x08", 2),
    Record(0x12, b"\x06" + b"\xff" * 31, 1 << 40),
    Record(0x00, b"fish", 257),
    Record(0x1B, b"\x01", 0),
    Record(0x7FFFFFFFFFFFFFFF, b"\x02" * 64, 9),
]


class Counting(bytes):
    """Bytes that know how much was taken from them at a time."""

    def __init__(self, _: bytes) -> None:
        self.reads: list[int] = []

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, bytes):
            self.reads.append(len(found))
        return found


def merged(raws: Iterable[bytes], codec: int = 0x0401, **how: bool) -> bytes:
    return b"".join(merged_chunks([parse(raw) for raw in raws], codec, **how))


def shared_out(records: Sequence[Record], parts: int) -> list[bytes]:
    """Indexes of which each has every so-manieth record."""
    return [index_multihash_sorted(records[at::parts]) for at in range(parts)]


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("parts", range(1, len(RECORDS) + 2))
def test_the_records_of_all_are_in_one_as_if_it_had_been_built_of_them(codec: int, parts: int) -> None:
    raws = shared_out(RECORDS, parts)
    assert_bytes_equal(merged(raws, codec), FORMATS[codec](RECORDS))
    assert_bytes_equal(merged(raws[::-1], codec), FORMATS[codec](RECORDS))


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("seed", range(6))
def test_records_of_many_kinds_that_are_dealt_out_by_chance_come_together(codec: int, seed: int) -> None:
    chosen = random.Random(seed)
    records = [
        Record(
            chosen.choice([0x00, 0x11, 0x12, 0x1B, 0x1E, 0xB220, 1 << 62]),
            bytes(chosen.choices(range(3), k=chosen.choice([0, 1, 2, 20, 32, 33, 64, 300]))),
            chosen.choice([chosen.randrange(300), chosen.randrange(1 << 64)]),
        )
        for _ in range(600)
    ]
    hands: list[list[Record]] = [[] for _ in range(5)]
    for record in records:
        chosen.choice(hands).append(record)
    raws = [index_multihash_sorted(hand) for hand in hands]
    assert_bytes_equal(merged(raws, codec), FORMATS[codec](records))


@pytest.mark.parametrize("codec", FORMATS)
def test_copies_are_kept_also_those_of_the_same_record(codec: int) -> None:
    raws = [index_multihash_sorted(RECORDS)] * 3
    assert_bytes_equal(merged(raws, codec), FORMATS[codec](RECORDS * 3))
    assert_bytes_equal(merged([merged(raws[:2]), raws[2]], codec), FORMATS[codec](RECORDS * 3))


def test_equal_digests_stand_by_their_offsets_as_numbers() -> None:
    """Little-endian bytes would put 256 before 2."""
    offsets = [1 << 63, 256, 2, 0, 65536, 255, (1 << 64) - 1]
    raws = [index_multihash_sorted([Record(0x12, bytes(32), offset)]) for offset in offsets]
    assert [entry.offset for entry in parse(merged(raws))] == sorted(offsets)


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("raws", [[], [bytes.fromhex("810800000000")], [bytes.fromhex("810800000000")] * 2])
@pytest.mark.parametrize("identity", [False, True])
def test_of_nothing_an_index_of_six_bytes_is_made(codec: int, raws: list[bytes], identity: bool) -> None:
    empty = bytes([codec & 0xFF | 0x80, codec >> 7, 0, 0, 0, 0])
    assert merged(raws, codec, identity=identity) == empty


WITHOUT_RECORDS = bytes.fromhex("8108 01000000 1200000000000000 01000000 28000000 0000000000000000")
WITHOUT_BUCKETS = bytes.fromhex("8108 01000000 1200000000000000 00000000")


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("empty", [WITHOUT_RECORDS, WITHOUT_BUCKETS])
@pytest.mark.parametrize("identity", [False, True])
def test_what_has_no_records_does_not_disturb_the_others(codec: int, empty: bytes, identity: bool) -> None:
    records = [record for record in RECORDS if len(record.digest) == 32 and record.code == 0x12]
    for raws in ([empty, *shared_out(records, 1)], [empty, *shared_out(records, 2), empty]):
        assert_bytes_equal(merged(raws, codec, identity=identity), FORMATS[codec](records))


@pytest.mark.parametrize("many", [1, 2])
def test_a_bucket_without_records_stays_one(many: int) -> None:
    assert merged([WITHOUT_RECORDS] * many) == WITHOUT_RECORDS
    assert merged([WITHOUT_RECORDS] * many, 0x0400) == bytes.fromhex("8008 01000000 28000000 0000000000000000")


@pytest.mark.parametrize("raws", [1, 2])
def test_bytes_that_make_no_whole_record_are_not_taken_along(raws: int) -> None:
    record = bytes(32) + struct.pack("<Q", 18)
    head = bytes.fromhex("8108 01000000 1200000000000000 01000000 28000000")
    raw = head + struct.pack("<Q", 53) + record + b"thirteen more"
    assert_bytes_equal(merged([raw] * raws), head + struct.pack("<Q", 40 * raws) + record * raws)


def test_an_index_of_the_other_format_counts_as_of_a_hash_that_is_not_known() -> None:
    records = RECORDS[:2]
    assert_bytes_equal(merged([index_sorted(records)], 0x0400), index_sorted(records))
    unknown = [Record(0, record.digest, record.offset) for record in records]
    for identity in (False, True):  # which takes none of them for identity CIDs
        assert_bytes_equal(merged([index_sorted(records)], identity=identity), index_multihash_sorted(unknown))


# -- identity CIDs ------------------------------------------------------------------------------------------

INLINE = [
    Record(0x00, b"/filestore/CIQ", 18),
    Record(0x00, b"fourteen bytes", 40),
    Record(0x00, b"/filestor/CIQQ", 59),
    Record(0x00, b"my/filestore/A", 60),
    Record(0x00, b"/filestore/CIR", 70),
    Record(0x00, b"/filestore/CIR", 69),
    Record(0x00, b"/filestore/", 80),
    Record(0x00, b"/filestore/" + b"A" * 21, 90),
    Record(0x00, b"B" * 32, 100),
    Record(0x00, b"", 110),
    Record(0x00, b"fish", 120),
]
HASHED = [Record(0x12, bytes([at]) * 32, at) for at in range(5)] + [Record(0x12, b"fish", 7)]


@pytest.mark.parametrize("codec", FORMATS)
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_identity_cids_are_left_out_if_asked_but_for_the_keys_of_references(codec: int, parts: int) -> None:
    everything = [*INLINE, *HASHED]
    raws = shared_out(everything, parts)
    keys = [record for record in INLINE if record.digest.startswith(b"/filestore/")]
    assert_bytes_equal(merged(raws, codec, identity=False), FORMATS[codec]([*keys, *HASHED]))
    for whole in (merged(raws, codec), merged(raws, codec, identity=True)):
        assert_bytes_equal(whole, FORMATS[codec](everything))


@pytest.mark.parametrize("parts", [1, 2])
def test_a_hash_of_which_nothing_is_left_is_not_named(parts: int) -> None:
    plain = [record for record in INLINE if not record.digest.startswith(b"/filestore/")]
    assert merged(shared_out(plain, parts), identity=False) == bytes.fromhex("810800000000")
    assert merged(shared_out([*plain, *HASHED], parts), identity=False) == index_multihash_sorted(HASHED)


@pytest.mark.parametrize("parts", [1, 2])
def test_keys_are_found_among_many_others_and_more_than_one_read_brings_in(parts: int) -> None:
    inline = [Record(0x00, b"%032d" % at, at) for at in range(8000)]
    keys = [Record(0x00, b"/filestore/%021d" % at, at) for at in range(4000)]
    raws = shared_out([*inline, *keys], parts)
    assert_bytes_equal(merged(raws, identity=False), index_multihash_sorted(keys))


# -- what is read and held at a time ------------------------------------------------------------------------


def many_records(count: int) -> list[Record]:
    chosen = random.Random(7)
    return [Record(0x12, chosen.randbytes(32), at) for at in range(count)]


@pytest.mark.parametrize("count", [0, 1, 8191, 8192, 8193, 16_383, 16_384, 16_385])
def test_what_is_merged_is_handed_on_in_pieces_of_8192_records(count: int) -> None:
    records = many_records(count + 2)
    pieces = list(merged_chunks([parse(raw) for raw in shared_out(records, 2)], 0x0401))
    assert_bytes_equal(b"".join(pieces), index_multihash_sorted(records))
    of_records = [len(piece) // 40 for piece in pieces[-((count + 2) // 8192 + 1) :]]
    assert of_records == [8192] * ((count + 2) // 8192) + [(count + 2) % 8192]


def test_of_each_index_64_kib_are_read_at_a_time_and_all_of_it_once() -> None:
    records = many_records(30_000)
    buffers = [Counting(raw) for raw in shared_out(records, 3)]
    chunks = merged_chunks([parse(buffer) for buffer in buffers], 0x0401)
    for buffer in buffers:
        buffer.reads.clear()
    assert_bytes_equal(b"".join(chunks), index_multihash_sorted(records))
    for buffer in buffers:
        many = -(-10_000 // 1638)  # as many records of 40 bytes as 64 KiB hold
        assert buffer.reads == [1638 * 40] * (many - 1) + [(10_000 - 1638 * (many - 1)) * 40]


@pytest.mark.parametrize("parts", [1, 2])
def test_keys_are_counted_and_taken_by_reads_of_64_kib(parts: int) -> None:
    keys = [Record(0x00, b"/filestore/%021d" % at, at) for at in range(4000 * parts)]
    buffers = [Counting(raw) for raw in shared_out(keys, parts)]
    chunks = merged_chunks([parse(buffer) for buffer in buffers], 0x0401, identity=False)
    for buffer in buffers:
        buffer.reads.clear()
    assert_bytes_equal(b"".join(chunks), index_multihash_sorted(keys))
    for buffer in buffers:
        assert buffer.reads == [1638 * 40, 1638 * 40, 724 * 40] * 2


def test_records_longer_than_a_read_come_one_by_one() -> None:
    records = [Record(0x12, bytes([at]) * 100_000, at) for at in range(4)]
    buffers = [Counting(raw) for raw in shared_out(records, 2)]
    indexes = [parse(buffer) for buffer in buffers]
    for buffer in buffers:
        buffer.reads.clear()
    assert b"".join(merged_chunks(indexes, 0x0401)) == index_multihash_sorted(records)
    assert [buffer.reads for buffer in buffers] == [[100_008] * 2] * 2


def test_nothing_is_read_before_it_is_asked_for() -> None:
    buffers = [Counting(raw) for raw in shared_out(many_records(20_000), 2)]
    indexes = [parse(buffer) for buffer in buffers]
    for buffer in buffers:
        buffer.reads.clear()
    chunks = merged_chunks(indexes, 0x0401)
    for _ in range(5):  # codec, count of hash codes, hash code, count of buckets, head of the bucket
        next(chunks)
    assert [len(buffer.reads) for buffer in buffers] == [0, 0]
    assert len(next(chunks)) == 8192 * 40
    assert all(len(buffer.reads) <= 4 for buffer in buffers)


@pytest.mark.parametrize("parts", [1, 4])
def test_memory_is_taken_for_a_few_thousand_records(parts: int) -> None:
    records = many_records(100_000)
    indexes = [parse(raw) for raw in shared_out(records, parts)]
    sizes = []
    tracemalloc.start()
    try:
        sizes = [len(chunk) for chunk in merged_chunks(indexes, 0x0401)]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == 100_000 * 40 + 30
    assert most < 9 << 18  # of 4 MB


class Shrinking(BytesSource):
    """Bytes of which some are lost while they are read."""

    def cut(self, size: int) -> None:
        self.data = self.data[:size]


@pytest.mark.parametrize("parts", [1, 2])
def test_an_index_that_is_cut_meanwhile_is_told_where_it_ends(parts: int) -> None:
    sources = [Shrinking(b"front" + raw) for raw in shared_out(many_records(5000 * parts), parts)]
    indexes = [parse(SliceView(source, 5, source.size), position=5) for source in sources]
    sources[-1].cut(100_000)
    with pytest.raises(TruncatedError) as caught:
        list(merged_chunks(indexes, 0x0401))
    assert (caught.value.field, caught.value.position) == ("index", 100_000)
