"""Records of one digest size, sorted by digest: the part that both index formats are made of.

A bucket is ``uint32 width | uint64 byte length | records``, a record ``digest | uint64 offset``; a body is
``int32 count`` and that many buckets.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from carv2.errors import IndexFormatError, TruncatedError
from carv2.index._even import searcher, searcher_at_hand, stretches_of
from carv2.units import PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2._source import AtHand
    from carv2.index._even import Stretches

OFFSET_SIZE = 8
COUNT = struct.Struct("<i")
BUCKET_HEAD = struct.Struct("<IQ")
MAX_WIDTH = 32 << 20  # go-car's
MAX_BUCKETS = 1 << 16  # of all hash functions; there is one for each size of digest
_STEP = 16  # records that one read brings in
_FRONT = struct.Struct(">I")
_KEY = struct.Struct(">Q")  # the front of a digest, as a number that sorts like it
_OFFSET = struct.Struct("<Q")
_MAX_SAMPLES = 1 << 19  # each 8 bytes: up to 8,000,000 records one in 16, beyond that fewer
_EVEN_SAMPLES = 1 << 14  # the same where digests are spread evenly, which makes up for the rest
_PATIENCE = 16  # look-ups before samples are worth their while
_READ = 1 << 20
_WINDOW = 64 << 10  # bytes that are read at a time where many records are wanted
_FAR = 8 << 10  # bytes from one of them to the next from which on each is read by itself
_SPARSE = 2 << 10  # bytes between two samples, from which on each is read by itself


class IndexBuffer(Protocol):
    """What slices to bytes: ``bytes``, a memory map, a stretch of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...


def _peek_of(buffer: IndexBuffer, start: int) -> tuple[int, Callable[[int, int], bytes]]:
    """What reads so many bytes from a position on, fewer if need be, and the position of ``buffer[start]``."""
    peeking = getattr(buffer, "peeking", None)  # of a stretch of a file: quicker than slices
    if peeking is not None:
        return cast("tuple[int, Callable[[int, int], bytes]]", peeking(start))
    return start, lambda size, position: bytes(buffer[position : position + size])


def _at_hand(buffer: IndexBuffer, start: int) -> tuple[int, AtHand | None]:
    """All bytes behind ``buffer`` if they are in memory or mapped, and where ``buffer[start]`` is among them."""
    if type(buffer) is bytes:
        return start, buffer
    found = getattr(buffer, "at_hand", None)
    return (start, None) if found is None else cast("tuple[int, AtHand | None]", found(start))


def _nothing(_: bytes) -> None:
    """What a bucket tells at once before samples were taken."""


def unpack(layout: struct.Struct, buffer: IndexBuffer, at: int, *, position: int, field: str) -> tuple[int, ...]:
    """The numbers at ``buffer[at]``; ``position`` is the file position of ``buffer[0]``."""
    raw = buffer[at : at + layout.size]
    if len(raw) < layout.size:
        end = position + at + len(raw)
        raise TruncatedError(field, wanted=layout.size, got=len(raw), position=end)
    return layout.unpack(raw)


class Bucket:
    """The records of one digest size; they stay in the buffer.

    The order of the records is a claim of the file: where it does not hold, a look-up may miss.
    """

    def __init__(self, buffer: IndexBuffer, start: int, width: int, size: int) -> None:
        self.digest_size = width - OFFSET_SIZE
        self._buffer, self._start, self._width = buffer, start, width
        self._count, self.stray = divmod(size, width)
        self._size = self._count * width
        self._lookups = 0
        self.keep_samples(_MAX_SAMPLES)

    def __len__(self) -> int:
        return self._count

    @property
    def is_ready(self) -> bool:
        """Whether samples were taken, so that ``search`` is what it will be."""
        return self._samples is not None

    def keep_samples(self, most: int) -> None:
        """Keep the fronts of at most that many digests in memory: with fewer, a look-up reads more often."""
        self._most = most
        self.search: Callable[[bytes], int | None] = _nothing
        """What gives the first of :meth:`offsets_of`, if one stretch of records tells; None if not."""
        self._samples: tuple[int, array[int]] | None = None
        """How many stretches of 16 records apart they stand, and they."""
        self._even: Stretches | None = None

    def offsets_of(self, digest: bytes) -> Iterator[PayloadOffset]:
        """Where blocks with ``digest`` are, in the order stored; nothing if there are none."""
        step = first = self._first_step(digest)
        width, size = self._width, self.digest_size
        while step * _STEP < self._count:
            window = self._records(step * _STEP, (step + 1) * _STEP)
            if step > first and window[: self.digest_size] > digest:
                return
            at = window.find(digest)
            while 0 <= at < len(window):  # an empty digest is also found at the very end
                if at % width == 0:
                    yield PayloadOffset(int.from_bytes(window[at + size : at + width], "little"))
                at = window.find(digest, at + 1)
            if window[len(window) - width : len(window) - OFFSET_SIZE] > digest:
                return
            step += 1

    def usual_offset(self, digest: bytes) -> int | None:
        """What :meth:`offsets_of` gives first, if samples and one stretch of records tell; None if not.

        Of digests with at least eight bytes.
        """
        return self.search(digest)

    def _get_ready(self) -> tuple[int, array[int]]:
        """Take samples: few, as are enough where digests are spread evenly, and more where they are not."""
        self._origin, self._peek = _peek_of(self._buffer, self._start)
        search: Callable[[bytes], int | None] = self._search_by_samples
        found = self._take_samples(min(self._most, _EVEN_SAMPLES))
        even = None
        if self.digest_size >= _KEY.size:
            even = stretches_of(found[1], found[0] * _STEP, self._count, self._width)
        if even is None:
            found = found if found[0] == 1 else self._take_samples(self._most)
        else:
            origin, data = _at_hand(self._buffer, self._start)
            if data is None:
                search = searcher(even, self._width, self._origin, self._peek)
            else:
                search = searcher_at_hand(even, self._width, origin, data)
        self._even, self.search, self._samples = even, search, found
        return found

    def _search_by_samples(self, digest: bytes) -> int | None:
        """The same where digests are not spread evenly.

        The first record of the next stretch is looked at as well: a digest that is a sample itself may begin
        there, or before.
        """
        width = self._width
        at = self._first_step(digest) * _STEP * width
        window = self._peek(min((_STEP + 1) * width, self._size - at), self._origin + at)
        at = window.find(digest)
        if at < 0 or at % width or at + width > len(window):
            return None
        offset: int = _OFFSET.unpack_from(window, at + self.digest_size)[0]
        return offset

    def usual_offsets(self, digests: list[bytes]) -> list[int | None]:
        """What :meth:`usual_offset` gives for each; those that stand near each other come out of one read."""
        stretches, width = self._even, self._width
        if stretches is None or self._size > _FAR * len(digests):
            return list(map(self.search, digests))
        found: list[int | None] = [None] * len(digests)
        front_of, offset_of, size = _FRONT.unpack_from, _OFFSET.unpack_from, self.digest_size
        first_of, span = stretches.first, stretches.many * width
        start = end = 0  # of the window
        window = b""
        for number in sorted(range(len(digests)), key=digests.__getitem__):
            digest = digests[number]
            place = first_of(front_of(digest)[0]) * width
            if place + span > end:
                start, end = place, min(place + _WINDOW, self._size)
                window = self._peek(end - start, self._origin + start)
            at = window.find(digest, place - start, place - start + span)
            if at >= 0 and at + width <= len(window) and not at % width and (at > place - start or not place):
                (found[number],) = offset_of(window, at + size)
        return found

    def _first_step(self, digest: bytes) -> int:
        """The first stretch of 16 records that can hold ``digest``."""
        found = self._samples
        if found is None:
            self._lookups += 1
            if self._lookups < _PATIENCE:
                return self._last_below(range(0, self._count, _STEP), digest)
            found = self._get_ready()
        step = None if self._even is None else self._even_step(digest, self._even)
        return self._sampled_step(digest, *found) if step is None else step

    def _even_step(self, digest: bytes, even: Stretches) -> int | None:
        """The same where it stands among the records that it should stand among; else None."""
        first = even.first(_FRONT.unpack_from(digest)[0])
        size, width = self.digest_size, self._width
        window = self._records(first, first + even.many)
        if not window[:size] < digest <= window[len(window) - width : len(window) - OFFSET_SIZE]:
            return None
        below = bisect_left(range(0, len(window), width), digest, key=lambda at: window[at : at + size]) - 1
        return (first + below) // _STEP

    def _sampled_step(self, digest: bytes, apart: int, samples: array[int]) -> int:
        (key,) = _KEY.unpack(digest[: _KEY.size].ljust(_KEY.size, b"\0"))
        first = max(0, bisect_left(samples, key) - 1)
        last = bisect_right(samples, key, first)  # many of them may share their fronts
        if last - first <= 1 and apart == 1:
            return first
        first, last = first * apart, max(last, first + 1) * apart
        return first + self._last_below(range(first * _STEP, min(self._count, last * _STEP), _STEP), digest)

    def _last_below(self, records: range, digest: bytes) -> int:
        """Which of ``records``, a few of which are read, is the last with a smaller digest; else the first."""
        return max(0, bisect_left(records, digest, key=self._digest_at) - 1)

    def _digest_at(self, record: int) -> bytes:
        at = self._start + record * self._width
        return self._buffer[at : at + self.digest_size]

    def _take_samples(self, most: int) -> tuple[int, array[int]]:
        """The front of the first digest of each stretch, or of each few, so that there are at most so many."""
        apart = max(1, -(-self._count // (most * _STEP)))
        stride = apart * _STEP * self._width
        if self.digest_size < _KEY.size:
            samples = self._short_fronts(apart * _STEP)
        elif stride > _SPARSE:
            samples = self._lone_fronts(stride)
        else:
            samples = self._near_fronts(stride)
        return apart, samples

    def _short_fronts(self, step: int) -> array[int]:
        """Those of digests of less than eight bytes, as if these ended in zeros."""
        fronts = (self._digest_at(record).ljust(_KEY.size, b"\0") for record in range(0, self._count, step))
        return array("Q", (_KEY.unpack(front)[0] for front in fronts))

    def _lone_fronts(self, stride: int) -> array[int]:
        """Those that stand so many bytes apart, each read by itself."""
        peek, start = self._peek, self._origin
        places = range(start, start + self._size, stride)
        fronts = b"".join([peek(_KEY.size, at) for at in places])
        if len(fronts) < len(places) * _KEY.size:
            raise TruncatedError("index", wanted=len(places) * _KEY.size, got=len(fronts), position=start)
        samples = array("Q", fronts)
        if sys.byteorder == "little":
            samples.byteswap()
        return samples

    def _near_fronts(self, stride: int) -> array[int]:
        """The same out of one pass over the records, whose pages are not kept."""
        many = _READ // stride * (stride // self._width)
        samples = array("Q")
        layout = struct.Struct(f">Q{stride - _KEY.size}x")
        for first in range(0, self._count, many):
            window = self._records(first, first + many)
            window += bytes(-len(window) % stride)
            samples.extend(chain.from_iterable(layout.iter_unpack(window)))
        return samples

    def _records(self, first: int, last: int) -> bytes:
        last = min(last, self._count)
        return self._buffer[self._start + first * self._width : self._start + last * self._width]

    def windows(self, size: int = _READ) -> Iterator[bytes]:
        """The records' bytes, in pieces of some ``size`` bytes."""
        many = max(1, size // self._width)
        for first in range(0, self._count, many):
            yield self._records(first, first + many)

    def __iter__(self) -> Iterator[tuple[bytes, PayloadOffset]]:
        """Digest and offset of each record, in the order stored."""
        record = struct.Struct(f"<{self.digest_size}sQ")
        for window in self.windows():
            for digest, offset in record.iter_unpack(window):
                yield digest, PayloadOffset(offset)

    def is_sorted(self) -> bool:
        """Whether digests never go down: what a binary search relies on."""
        last = b""
        for digest, _ in self:
            if digest < last:
                return False
            last = digest
        return True


class Body(NamedTuple):
    """The buckets of a body by digest size, and where it ends in the buffer."""

    buckets: dict[int, Bucket]
    end: int


def too_many_buckets(position: int, codec: int) -> IndexFormatError:
    """The error for an index of next to nothing but buckets, each of which takes memory."""
    return IndexFormatError(f"index of more than {MAX_BUCKETS} buckets", position=position, codec=codec)


def parse_body(buffer: IndexBuffer, start: int, *, position: int, codec: int, most: int = MAX_BUCKETS) -> Body:
    """Take in the buckets at ``buffer[start]``, ``most`` at most. Of one digest size twice, the later counts.

    Nothing is allocated by what the numbers claim: each bucket must lie within the buffer.
    """
    (count,) = unpack(COUNT, buffer, start, position=position, field="index bucket count")
    if count < 0:
        why = f"index bucket count {count}, allowed 0 to 2**31 - 1"
        raise IndexFormatError(why, position=position + start, codec=codec)
    at = start + COUNT.size
    buckets: dict[int, Bucket] = {}
    for number in range(count):
        if number == most:
            raise too_many_buckets(position + at, codec)
        width, size = unpack(BUCKET_HEAD, buffer, at, position=position, field="index bucket")
        if not OFFSET_SIZE <= width <= MAX_WIDTH:
            why = f"index record of {width} bytes, allowed {OFFSET_SIZE} to {MAX_WIDTH}"
            raise IndexFormatError(why, position=position + at, codec=codec)
        if size >= 1 << 63:
            why = f"index bucket of {size} bytes, allowed up to 2**63 - 1"
            raise IndexFormatError(why, position=position + at + 4, codec=codec)
        at += BUCKET_HEAD.size
        if size > len(buffer) - at:
            end = position + len(buffer)
            raise TruncatedError("index bucket", wanted=size, got=len(buffer) - at, position=end)
        buckets[width - OFFSET_SIZE] = Bucket(buffer, at, width, size)
        at += size
    return Body(buckets, at)
