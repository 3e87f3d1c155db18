"""Where a digest should stand among sorted ones that are spread evenly, as those of a hash function are.

Every so many records one is sampled; between two samples the digests rise in a straight line, but for chance. Of
``g`` evenly spread digests between two samples one stands at most some ``sqrt(g)`` records from its place on the
line (a Brownian bridge, whose deviation is half of that at its middle), so a stretch of a few times as many holds
it: some dozen records, where a bisection takes a step for every doubling.
"""

from __future__ import annotations

import struct
from array import array
from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2._source import AtHand

_FRONT = struct.Struct(">I")  # of a digest, as a number that sorts like it
_FRONT_BITS = 32
_OFFSET = struct.Struct("<Q")
_TRIALS = 256  # samples of which it is looked whether they stand where they should
_LEAD = 3  # this part of a stretch is most often too small, which one look tells
_MAX_SPAN = 16 << 10  # bytes of a stretch from which on a few more reads are better


class Stretches(NamedTuple):
    """Which records to look at for a digest: ``many`` from a place on that its first bytes tell."""

    places: array[int]
    """Where to begin for the first digest of each slot, all slots as wide; and for the end of the last one."""
    shift: int
    """Bits of a front that say where in its slot it is."""
    many: int

    def first(self, front: int) -> int:
        """The first of the records to look at for a digest that begins with ``front``, a number of 32 bits."""
        slot, shift = front >> self.shift, self.shift
        place = self.places[slot]
        return place + ((self.places[slot + 1] - place) * (front & (1 << shift) - 1) >> shift)


def stretches_of(samples: array[int], step: int, count: int, width: int) -> Stretches | None:
    """What tells where to look among ``count`` records of ``width`` bytes; None if they are not spread evenly.

    ``samples`` are the first eight bytes of every digest whose number is a multiple of ``step``.
    """
    margin = isqrt(4 * step) + 2  # 3.6 standard deviations
    many = min(2 * margin + 1, count)
    if many * width > _MAX_SPAN or not samples:
        return None
    bits = max(1, len(samples).bit_length() - 1)
    places = array("q")
    highest = 0
    for place in _places(samples, bits, step, count):
        highest = max(highest, min(place - margin, count - many))
        places.append(highest)
    found = Stretches(places, _FRONT_BITS - bits, many)
    trials = range(0, len(samples), max(1, len(samples) // _TRIALS))
    hits = sum(0 <= number * step - found.first(samples[number] >> _FRONT_BITS) < many for number in trials)
    return found if hits * 16 >= len(trials) * 15 else None


def _places(samples: array[int], bits: int, step: int, count: int) -> Iterator[int]:
    """Which record should be the first whose digest begins with each number of so many bits; the end of all."""
    ends, width = iter([*samples[1:], 1 << 64]), 64 - bits
    below, above = samples[0], next(ends)
    first, last = 0, min(step, count)
    for slot in range((1 << bits) + 1):
        front = slot << width
        while above < front:
            below, above = above, next(ends)
            first, last = last, min(last + step, count)
        yield first + max(0, front - below) * (last - first) // max(1, above - below)


def searcher(
    stretches: Stretches, width: int, origin: int, peek: Callable[[int, int], bytes]
) -> Callable[[bytes], int | None]:
    """What gives the offset of the first record of a digest; None tells nothing.

    A closure, for it is half of a get. Args: as in :class:`carv2.index._bucket.Bucket`.
    """
    places, shift, many = stretches
    mask, span, digest_size = (1 << shift) - 1, many * width, width - _OFFSET.size
    lead = many // _LEAD * width
    front_of, offset_of = _FRONT.unpack_from, _OFFSET.unpack_from

    def search(digest: bytes) -> int | None:
        front: int = front_of(digest)[0]
        slot = front >> shift
        place = places[slot]
        start = (place + ((places[slot + 1] - place) * (front & mask) >> shift)) * width
        window = peek(span, origin + start)
        try:
            at = window.find(digest, lead if front_of(window, lead)[0] < front else 0)
        except struct.error:  # the window ends before
            return None
        if at % width or (not at and start) or at + width > len(window):  # or others of it stand before
            return None
        offset: int = offset_of(window, at + digest_size)[0]
        return offset

    return search


def searcher_at_hand(stretches: Stretches, width: int, origin: int, data: AtHand) -> Callable[[bytes], int | None]:
    """The same where the records, the first at ``data[origin]``, are in memory or mapped."""
    places, shift, many = stretches
    mask, span, digest_size = (1 << shift) - 1, many * width, width - _OFFSET.size
    lead = many // _LEAD * width
    front_of, offset_of, find = _FRONT.unpack_from, _OFFSET.unpack_from, data.find

    def search(digest: bytes) -> int | None:
        front: int = front_of(digest)[0]
        slot = front >> shift
        place = places[slot]
        start = origin + (place + ((places[slot + 1] - place) * (front & mask) >> shift)) * width
        end = start + span
        try:
            if front_of(data, start + lead)[0] < front:
                start += lead
            at = find(digest, start, end)
            if (at <= start and (at < 0 or start > origin)) or (at - start) % width:
                return None
            offset: int = offset_of(data, at + digest_size)[0]
        except ValueError:  # the map was closed, maybe just now and by another thread
            return None
        return offset

    return search
