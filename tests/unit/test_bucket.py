"""One bucket of an index by itself: what it reads for a look-up, and what it makes of what it reads.

How much is read is a promise: an index may be in a file, or far away.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from carv2.errors import FormatError, TruncatedError
from carv2.index._bucket import Bucket, parse_body
from carv2.index._even import Stretches

if TYPE_CHECKING:
    from collections.abc import Sequence

START = 24
"""Of the bucket, in the buffer."""
FILE = 1000
"""Of the buffer, in its file."""


class Watched:
    """What is sliced and peeked into like an index in a file, and notes what is read: in records of the bucket."""

    def __init__(self, digests: Sequence[bytes], offsets: Sequence[int] = (), *, missing: int = 0) -> None:
        self.width = len(digests[0]) + 8
        numbers = offsets or range(len(digests))
        records = b"".join(digest + at.to_bytes(8, "little") for digest, at in zip(digests, numbers, strict=True))
        self.size = len(records)
        whole = b"\xee" * START + records + b"\xdd" * 200
        self.data = whole[: START + self.size - missing] if missing else whole
        self._said: list[str] = []

    def bucket(self, *, lookups: int = 0) -> Bucket:
        bucket = Bucket(self, START, self.width, self.size)
        if lookups:
            for _ in range(lookups):
                list(bucket.offsets_of(self.data[START:][: self.width - 8]))
            self.reads()
        return bucket

    def reads(self) -> str:
        """Since this was asked for the last time: ``3-7`` are records, ``d3`` is a digest, ``3+8`` a part of one.

        What was peeked at is in parentheses.
        """
        said, self._said = self._said, []
        return " ".join(said)

    def _say(self, start: int, size: int, *, peeked: bool = False) -> None:
        first, rest = divmod(start - START, self.width)
        assert not rest
        if size == self.width - 8:
            said = f"d{first}"
        elif size % self.width:
            said = f"{first}+{size}"
        else:
            said = f"{first}-{first + size // self.width}"
        self._said.append(f"({said})" if peeked else said)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: slice) -> bytes:
        self._say(key.start, key.stop - key.start)
        return self.data[key]

    def peeking(self, start: int) -> Any:
        def peek(size: int, position: int) -> bytes:
            self._say(position - FILE, size, peeked=True)
            return self.data[position - FILE :][:size]

        return FILE + start, peek


class AtHand(Watched):
    """The same, of an index in memory."""

    def at_hand(self, start: int) -> Any:
        return 7 + start, b"before." + self.data


def hashed(count: int, size: int = 32) -> list[bytes]:
    """Digests as a hash function makes them, in order."""
    return sorted(hashlib.sha512(n.to_bytes(4, "big")).digest()[:size] for n in range(count))


def crooked(count: int, size: int = 32) -> list[bytes]:
    """Digests nearly all of which begin with little: far from even."""
    return [(n**8 * 256**size // (count + 1) ** 8).to_bytes(size, "big") for n in range(1, count + 1)]


def alike(count: int, size: int = 32) -> list[bytes]:
    """Digests that all begin with the same eight bytes."""
    return [n.to_bytes(size, "big") for n in range(1, count + 1)]


def after(bucket: Bucket, watched: Watched, digest: bytes) -> tuple[list[int], str]:
    """What a look-up finds, and what it reads for it."""
    return list(bucket.offsets_of(digest)), watched.reads()


OVER, UNDER = b"\xff" * 64, bytes(64)

BISECTED = [  # of 96 records: what is asked for, what is found, and what is read
    (UNDER[:32], [], "d48 d16 d0 0-16"),
    (0, [0], "d48 d16 d0 0-16"),
    (16, [16], "d48 d16 d0 0-16 16-32"),
    (17, [17], "d48 d16 d32 16-32"),
    (50, [50], "d48 d80 d64 48-64"),
    (95, [95], "d48 d80 80-96"),
    (OVER[:32], [], "d48 d80 80-96"),
]


@pytest.mark.parametrize(("asked", "found", "reads"), BISECTED)
def test_before_there_are_samples_a_look_up_halves_what_is_left(asked: Any, found: list[int], reads: str) -> None:
    digests = hashed(96)
    watched = Watched(digests)
    bucket = watched.bucket()
    assert after(bucket, watched, digests[asked] if isinstance(asked, int) else asked) == (found, reads)
    assert not bucket.is_ready


def test_the_sixteenth_look_up_takes_samples() -> None:
    digests = hashed(100)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=15)
    assert not bucket.is_ready
    assert bucket.search(digests[5]) is None
    assert after(bucket, watched, digests[5]) == ([5], "0-100 2-23 0-16")
    assert bucket.is_ready
    assert bucket.search(digests[5]) == 5


EVEN = [
    (UNDER, [], "0-21 0-16", None, "(0-21)"),
    (0, [0], "0-21 0-16", 0, "(0-21)"),
    (5, [5], "2-23 0-16", 5, "(2-23)"),
    (16, [16], "7-28 0-16 16-32", 16, "(7-28)"),
    (17, [17], "8-29 16-32", 17, "(8-29)"),
    (50, [50], "41-62 48-64", 50, "(41-62)"),
    (99, [99], "78-99 96-100", None, "(78-99)"),  # chance left it out of its stretch
    (OVER, [], "78-99 96-100", None, "(78-99)"),
]


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("row", EVEN, ids=range(len(EVEN)))
def test_what_stands_where_it_should_is_read_with_its_neighbours(size: int, row: tuple[Any, ...]) -> None:
    asked, found, reads, first, peek = row
    digests = hashed(100, size)
    digest = digests[asked] if isinstance(asked, int) else asked[:size]
    for kind in (Watched, AtHand):
        watched = kind(digests)
        bucket = watched.bucket(lookups=16)
        assert after(bucket, watched, digest) == (found, reads)
        assert bucket.search(digest) == first
        assert watched.reads() == (peek if kind is Watched else "")
        assert bucket.usual_offset(digest) == first


def test_bytes_that_do_not_peek_are_sliced() -> None:
    class Sliced(Watched):
        peeking = None  # type: ignore[assignment]

    digests = hashed(100)
    watched = Sliced(digests)
    bucket = watched.bucket(lookups=16)
    assert bucket.search(digests[50]) == 50
    assert watched.reads() == "41-62"


UNEVEN = [  # digests, most samples; what is asked for; what is found and read; the first stretch that may have it
    (crooked, 32, 100, UNDER, [], "0-16", "(0-17)"),
    (crooked, 32, 100, 5, [5], "0-16", "(0-17)"),
    (crooked, 32, 100, 15, [15], "0-16 16-32", "(0-17)"),
    (crooked, 32, 100, 16, [16], "d16 d0 0-16 16-32", "d16 d0 (0-17)"),
    (crooked, 32, 100, 17, [17], "16-32", "(16-33)"),
    (crooked, 32, 100, 50, [50], "48-64", "(48-65)"),
    (crooked, 32, 100, 99, [99], "96-100", "(96-100)"),
    (crooked, 32, 100, OVER, [], "96-100", "(96-100)"),
    (crooked, 32, 4, UNDER, [], "d16 d0 0-16", "d16 d0 (0-17)"),
    (crooked, 32, 4, 17, [17], "d16 16-32", "d16 (16-33)"),
    (crooked, 32, 4, 50, [50], "d48 48-64", "d48 (48-65)"),
    (crooked, 32, 4, OVER, [], "d96 96-100", "d96 (96-100)"),
    (crooked, 32, 3, 17, [17], "d16 d32 16-32", "d16 d32 (16-33)"),
    (crooked, 32, 3, 50, [50], "d64 d48 48-64", "d64 d48 (48-65)"),
    (alike, 32, 100, 17, [17], "d48 d16 d32 16-32", "d48 d16 d32 (16-33)"),
    (alike, 32, 100, 50, [50], "d48 d80 d64 48-64", "d48 d80 d64 (48-65)"),
    (alike, 32, 100, OVER, [], "96-100", "(96-100)"),
    (alike, 32, 3, OVER, [], "d96 96-100", "d96 (96-100)"),
    (crooked, 7, 100, 17, [17], "16-32", ""),
    (crooked, 7, 100, 16, [16], "d16 d0 0-16 16-32", ""),
    (crooked, 7, 100, 99, [99], "96-100", ""),
    (crooked, 7, 3, 50, [50], "d64 d48 48-64", ""),
]


@pytest.mark.parametrize("row", UNEVEN, ids=range(len(UNEVEN)))
def test_what_is_spread_unevenly_is_found_between_two_samples(row: tuple[Any, ...]) -> None:
    shape, size, most, asked, found, reads, search = row
    digests = shape(100, size)
    watched = Watched(digests)
    bucket = watched.bucket()
    bucket.keep_samples(most)
    for _ in range(16):
        list(bucket.offsets_of(digests[0]))
    watched.reads()
    digest = digests[asked] if isinstance(asked, int) else asked[:size]
    assert after(bucket, watched, digest) == (found, reads)
    if size >= 8:
        assert bucket.search(digest) == (found[0] if found else None)
        assert watched.reads() == search


@pytest.mark.parametrize("size", [1, 7, 8, 9, 32, 120, 121, 4000])
@pytest.mark.parametrize(("most", "apart"), [(100, 1), (7, 1), (6, 2), (3, 3), (2, 4), (1, 7)])
def test_samples_are_the_fronts_of_every_so_many_digests(size: int, most: int, apart: int) -> None:
    digests = crooked(100, size)
    watched = Watched(digests)
    bucket = watched.bucket()
    bucket._origin, bucket._peek = watched.peeking(START)
    found, samples = bucket._take_samples(most)
    assert found == apart
    assert list(samples) == [int.from_bytes(each[:8].ljust(8, b"\0"), "big") for each in digests[:: 16 * apart]]


@pytest.mark.parametrize(
    ("size", "most", "reads"),
    [
        (7, 7, "d0 d16 d32 d48 d64 d80 d96"),
        (8, 7, "0-100"),
        (120, 7, "0-100"),  # two samples are 2 KiB apart
        (121, 7, "(0+8) (16+8) (32+8) (48+8) (64+8) (80+8) (96+8)"),
        (56, 4, "0-100"),
        (57, 4, "(0+8) (32+8) (64+8) (96+8)"),
    ],
)
def test_samples_that_are_near_are_read_in_one_go(size: int, most: int, reads: str) -> None:
    watched = Watched(crooked(100, size))
    bucket = watched.bucket()
    bucket._origin, bucket._peek = watched.peeking(START)
    bucket._take_samples(most)
    assert watched.reads() == reads


def test_many_samples_are_read_a_mebibyte_at_a_time() -> None:
    watched = Watched(alike(30_000))
    watched.bucket(lookups=15)._near_fronts(16 * 40)
    assert watched.reads() == "0-26208 26208-30000"


@pytest.mark.parametrize(("left", "got"), [(96 * 129 + 7, 55), (96 * 129, 48), (3, 3), (0, 0)])
def test_an_index_that_became_shorter_is_truncated(left: int, got: int) -> None:
    watched = Watched(crooked(100, 121), missing=100 * 129 - left)
    bucket = watched.bucket()
    bucket._origin, bucket._peek = watched.peeking(START)
    with pytest.raises(TruncatedError) as caught:
        bucket._take_samples(7)
    assert str(caught.value) == f"index: wanted 56 bytes, got {got} (at byte {FILE + START})"


@pytest.mark.parametrize(
    ("few", "most", "reads"),
    [
        (2, 100, "(0+8) (64+8) 0-100"),
        (4, 100, "(0+8) (32+8) (64+8) (96+8) 0-100"),
        (100, 100, "0-100"),
    ],
)
def test_uneven_digests_are_sampled_again_where_few_samples_left_some_out(
    monkeypatch: pytest.MonkeyPatch, few: int, most: int, reads: str
) -> None:
    monkeypatch.setattr("carv2.index._bucket._EVEN_SAMPLES", few)
    watched = Watched(alike(100, 57))
    bucket = watched.bucket()
    bucket.keep_samples(most)
    bucket._get_ready()
    assert watched.reads() == reads


def test_all_that_stand_in_an_unsorted_stretch_are_found() -> None:
    digests = [b"\x09", b"\x02", b"\x05", b"\x02"]
    bucket = Watched(digests).bucket()
    assert list(bucket.offsets_of(b"\x02")) == [1, 3]
    assert list(bucket.offsets_of(b"\x09")) == [0]


def test_a_record_right_behind_a_look_alike_is_found() -> None:
    """The last byte of the first offset is the digest, and the next record begins with it."""
    bucket = Watched([b"\x07", b"\x07"], [7 << 56, 1]).bucket()
    assert list(bucket.offsets_of(b"\x07")) == [7 << 56, 1]


def looks_alike(at: int, other: int, *, shape: Any, count: int = 100) -> tuple[Watched, list[bytes]]:
    """Record ``at`` has the digest of record ``other`` for its offset: it stands across records, too."""
    digests = shape(count, 8)
    offsets = list(range(count))
    offsets[at] = int.from_bytes(digests[other], "little")
    return Watched(digests, offsets), digests


@pytest.mark.parametrize("shape", [crooked, hashed])
@pytest.mark.parametrize(("at", "other"), [(50, 51), (49, 55), (55, 50)])
def test_a_digest_that_is_an_offset_before_is_left_to_the_thorough_look(shape: Any, at: int, other: int) -> None:
    watched, digests = looks_alike(at, other, shape=shape)
    bucket = watched.bucket(lookups=16)
    passed_over = (shape, at) == (hashed, 49)  # by the look at whether the digest stands further on
    assert bucket.search(digests[other]) == (None if at < other and not passed_over else other)
    assert bucket.usual_offsets([digests[other]] * 20) == [None if at < other else other] * 20
    assert list(bucket.offsets_of(digests[other])) == [other]


def test_of_many_each_is_looked_for_in_its_own_stretch() -> None:
    watched, digests = looks_alike(12, 60, shape=hashed)
    bucket = watched.bucket(lookups=16)
    assert bucket.usual_offsets([digests[10], digests[60]]) == [10, 60]


@pytest.mark.parametrize("shape", [crooked, hashed])
@pytest.mark.parametrize("missing", [0, 1, 7, 8, 9, 40])
def test_a_record_that_is_cut_off_is_left_to_the_thorough_look(shape: Any, missing: int) -> None:
    """The file became shorter after the samples were taken."""
    digests = shape(100, 32)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=16)
    watched.data = watched.data[: START + 98 * 40 - missing]
    wanted = None if missing else 97
    assert bucket.search(digests[97]) == wanted
    assert bucket.usual_offsets([digests[97]] * 20) == [wanted] * 20


def test_nothing_is_told_of_many_before_there_are_samples() -> None:
    digests = hashed(100)
    watched = Watched(digests)
    assert watched.bucket().usual_offsets(digests) == [None] * 100
    assert watched.reads() == ""


@pytest.mark.parametrize(
    ("asked", "reads"),
    [
        ([500, 501, 502, 503, 700], "(491-1024)"),
        ([500, 501, 502, 700], "(491-512) (491-512) (492-513) (685-706)"),
    ],
)
def test_many_that_are_near_each_other_come_out_of_one_read(asked: list[int], reads: str) -> None:
    digests = hashed(1024)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=16)
    bucket.usual_offsets([digests[n] for n in asked])
    assert watched.reads() == reads


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 30, 1024, 6000])
def test_many_at_once_are_told_what_each_is_told_alone(count: int, seed: int) -> None:
    chance = random.Random(seed)
    digests = hashed(count)
    for _ in range(count // 300):  # copies, and places where they are heaped up
        at = chance.randrange(count)
        digests[at : at + 30] = [digests[at] if seed % 2 else digests[at][:31] + bytes([n]) for n in range(30)]
    digests = sorted(digests)
    bucket = Watched(digests).bucket(lookups=16)
    asked = chance.sample(digests, min(count, 800)) + hashed(50, 32)
    told = [bucket.search(each) for each in asked]
    assert bucket.usual_offsets(asked) == told
    assert sum(one is not None for one in told) > len(asked) * 2 // 3 or count == 1
    assert all(one is None or digests[one] == digest for one, digest in zip(told, asked, strict=True))


def test_a_stretch_that_ends_with_what_was_read_is_not_read_again() -> None:
    digests = hashed(24)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=16)
    bucket._even = Stretches(array("q", [3, 3]), 32, 21)
    assert bucket.usual_offsets(digests[2:6]) == [None, None, 4, 5]
    assert watched.reads() == "(3-24)"


HANDMADE = Stretches(array("q", [10, 10]), 32, 21)
"""Records 10 to 30, whatever is asked for."""


@pytest.mark.parametrize("record", range(40))
def test_a_digest_stands_where_it_should_if_others_stand_around_it(record: int) -> None:
    digests = [bytes([n + 1]) * 32 for n in range(40)]
    bucket = Watched(digests).bucket()
    step = (record - 1) // 16 if 10 < record <= 30 else None
    assert bucket._even_step(digests[record], HANDMADE) == step
    between = digests[record][:31] + b"\xff"
    assert bucket._even_step(between, HANDMADE) == (record // 16 if 10 <= record < 30 else None)


def test_windows_have_one_record_at_least() -> None:
    bucket = Watched(alike(5)).bucket()
    assert [len(each) for each in bucket.windows(1)] == [40] * 5
    assert [len(each) for each in bucket.windows(119)] == [80, 80, 40]
    assert [len(each) for each in bucket.windows()] == [200]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ((7, 7), "index record of 7 bytes, allowed 8 to 33554432 (at byte 504)"),
        ((33554433, 0), "index record of 33554433 bytes, allowed 8 to 33554432 (at byte 504)"),
        ((40, 1 << 63), "index bucket of 9223372036854775808 bytes, allowed up to 2**63 - 1 (at byte 508)"),
        ((40, 101), "index bucket: wanted 101 bytes, got 100 (at byte 616)"),
    ],
)
def test_what_is_said_of_a_bucket_that_cannot_be(head: tuple[int, int], words: str) -> None:
    body = (1).to_bytes(4, "little") + head[0].to_bytes(4, "little") + head[1].to_bytes(8, "little") + bytes(100)
    with pytest.raises(FormatError) as caught:
        parse_body(body, 0, position=500, codec=0x0400)
    assert str(caught.value) == words
    with pytest.raises(FormatError) as caught:
        parse_body(b"12345" + body, 5, position=495, codec=0x0400)
    assert str(caught.value) == words


def test_samples_take_four_mebibytes_at_most() -> None:
    assert Watched(alike(1)).bucket()._most * 8 == 4 << 20


@pytest.mark.parametrize(("count", "apart"), [(1 << 18, 1), ((1 << 18) + 1, 2)])
def test_of_evenly_spread_digests_a_few_samples_are_kept(count: int, apart: int) -> None:
    """They take 128 KiB at most."""
    records = b"".join([((n << 64) // count).to_bytes(8, "big") + n.to_bytes(8, "little") for n in range(count)])
    bucket = Bucket(records, 0, 16, len(records))
    found, samples = bucket._get_ready()
    assert (found, len(samples)) == (apart, -(-count // (16 * apart)))
    assert bucket.search(records[16 * 999 :][:8]) == 999


def test_what_is_far_apart_is_read_by_itself() -> None:
    """More than 8 KiB from one to the next, on the average."""
    digests = hashed(1025)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=16)
    bucket.usual_offsets(digests[500:505])
    assert len(watched.reads().split()) == 5


def test_many_are_read_64_kib_at_a_time() -> None:
    digests = hashed(6000, 8)
    watched = Watched(digests)
    bucket = watched.bucket(lookups=16)
    assert bucket.usual_offsets(digests[100:6000:200]) == [*range(100, 6000, 200)]
    first, second = watched.reads().split()
    assert [first, second] == ["(89-4185)", "(4283-6000)"]
