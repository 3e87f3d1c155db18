"""Where a digest should stand among sorted ones that are spread evenly, number by number."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest

from carv2.index._even import Stretches, _places, searcher, searcher_at_hand, stretches_of

if TYPE_CHECKING:
    from collections.abc import Callable

SLOPE = Stretches(array("q", [0, 8]), 2, 3)
"""Two records further for every front."""


def lined_up(count: int, *, off: int = 0) -> array[int]:
    """Samples on a line; after so many of each second one the next follows at once, and not where it should."""
    samples = array("Q", [(n << 64) // count for n in range(count)])
    for pair in range(off):
        samples[2 * pair + 1] = samples[2 * pair] + 1
    return samples


def test_a_front_leads_to_its_place_on_the_line() -> None:
    assert [SLOPE.first(front) for front in range(4)] == [0, 2, 4, 6]


@pytest.mark.parametrize("front", range(4))
@pytest.mark.parametrize("at_hand", [False, True])
def test_a_look_up_begins_there(front: int, at_hand: bool) -> None:
    digests = [bytes([0, 0, 0, n]) * 2 for n in range(4)]
    records = b"".join(b"before it, 16 b." + each + n.to_bytes(8, "little") for n, each in enumerate(digests))

    def search() -> Callable[[bytes], int | None]:
        if at_hand:
            return searcher_at_hand(SLOPE, 16, 0, records)
        return searcher(SLOPE, 16, 0, lambda size, at: records[at : at + size])

    assert search()(digests[front]) == front
    assert search()(b"\0\0\0\3other") is None


@pytest.mark.parametrize("at_hand", [False, True])
def test_the_first_record_of_all_may_be_told(at_hand: bool) -> None:
    records = b"\0\0\0\0fish" + (7).to_bytes(8, "little") + bytes(80)
    if at_hand:
        assert searcher_at_hand(SLOPE, 16, 0, records)(records[:8]) == 7
        assert searcher_at_hand(SLOPE, 16, 1, b"." + records)(records[:8]) == 7
    else:
        assert searcher(SLOPE, 16, 0, lambda size, at: records[at : at + size])(records[:8]) == 7


def ladder(fronts: list[int], first: int, *, at_hand: bool) -> Callable[[bytes], int | None]:
    """What looks among nine of these records, from one on, and most often from the fourth of the nine."""
    records = b"".join(front.to_bytes(4, "big") * 2 + n.to_bytes(8, "little") for n, front in enumerate(fronts))
    stretches = Stretches(array("q", [first, first]), 32, 9)
    if at_hand:
        return searcher_at_hand(stretches, 16, 5, b"begin" + records + b"end")
    return searcher(stretches, 16, 5, lambda size, at: records[at - 5 : at - 5 + size])


@pytest.mark.parametrize("at_hand", [False, True])
@pytest.mark.parametrize("first", [0, 4])
def test_each_record_of_a_stretch_is_found_but_one_that_others_may_stand_before(first: int, at_hand: bool) -> None:
    search = ladder([10 * n for n in range(20)], first, at_hand=at_hand)
    found = [search((10 * n).to_bytes(4, "big") * 2) for n in range(20)]
    here = range(first + (first > 0), first + 9)
    assert found == [n if n in here else None for n in range(20)]
    assert [search((10 * n + 5).to_bytes(4, "big") * 2) for n in range(20)] == [None] * 20


@pytest.mark.parametrize("at_hand", [False, True])
@pytest.mark.parametrize("begin", range(1, 7))
def test_of_several_records_the_first_is_told(begin: int, at_hand: bool) -> None:
    fronts = [n if n < begin else max(begin, n - 2) for n in range(9)]
    search = ladder(fronts, 0, at_hand=at_hand)
    assert search(begin.to_bytes(4, "big") * 2) == begin


def test_an_index_that_ends_early_tells_nothing() -> None:
    search = searcher(Stretches(array("q", [0, 0]), 32, 9), 16, 0, lambda size, _: bytes(min(size, 51)))
    assert search(bytes(8)) is None


@pytest.mark.parametrize(
    ("samples", "bits", "step", "count", "places"),
    [
        ([0, 1 << 62, 2 << 62, 3 << 62], 2, 10, 40, [0, 10, 20, 30, 40]),
        ([0, 1 << 62, 2 << 62, 3 << 62], 2, 10, 35, [0, 10, 20, 30, 35]),
        ([0, 1 << 62, 2 << 62, 3 << 62], 1, 10, 35, [0, 20, 35]),
        ([0, 1 << 63], 2, 10, 16, [0, 5, 10, 13, 16]),
        ([1 << 62], 2, 10, 8, [0, 0, 2, 5, 8]),
        ([5, 6], 1, 16, 32, [0, 23, 32]),
        ([0, (1 << 63) - 1, 1 << 63], 1, 16, 40, [0, 32, 40]),
        ([7, 7, 7], 1, 16, 48, [0, 39, 48]),
        ([0, 1 << 63, 1 << 63], 1, 16, 48, [0, 16, 48]),
    ],
)
def test_each_number_has_its_place_between_two_samples(
    samples: list[int], bits: int, step: int, count: int, places: list[int]
) -> None:
    assert list(_places(array("Q", samples), bits, step, count)) == places


@pytest.mark.parametrize(
    ("samples", "step", "count", "many", "shift"),
    [(1, 16, 5, 5, 31), (3, 16, 48, 21, 31), (4, 16, 64, 21, 30), (7, 16, 112, 21, 30), (256, 64, 16384, 37, 24)],
)
def test_a_stretch_is_as_long_as_chance_has_it(samples: int, step: int, count: int, many: int, shift: int) -> None:
    found = stretches_of(lined_up(samples), step, count, 40)
    assert found is not None
    assert (found.many, found.shift, len(found.places)) == (many, shift, (1 << 32 - shift) + 1)


@pytest.mark.parametrize(
    ("count", "width", "is_even"), [(112, 780, True), (112, 781, False), (16, 1024, True), (16, 1025, False)]
)
def test_a_stretch_of_more_than_16_kib_is_none(count: int, width: int, is_even: bool) -> None:
    assert (stretches_of(lined_up(-(-count // 16)), 16, count, width) is not None) == is_even


def test_of_nothing_there_is_no_stretch() -> None:
    assert stretches_of(array("Q"), 16, 0, 40) is None


@pytest.mark.parametrize(("off", "is_even"), [(0, True), (17, True), (18, False), (128, False)])
def test_one_sample_in_sixteen_may_stand_elsewhere(off: int, is_even: bool) -> None:
    """The first that is put off its place still stands in its stretch, which begins with the first record."""
    assert (stretches_of(lined_up(256, off=off), 16, 4096, 40) is not None) == is_even


def test_what_stands_right_behind_its_stretch_stands_elsewhere() -> None:
    assert stretches_of(lined_up(256, off=128), 9, 256 * 9, 40) is None  # 17 records, and it is the eighteenth


def test_some_256_samples_are_tried() -> None:
    assert stretches_of(lined_up(512, off=256), 16, 8192, 40) is not None  # each second one
    assert stretches_of(lined_up(511, off=255), 16, 8176, 40) is None  # all of them
