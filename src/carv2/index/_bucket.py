"""Records of one digest size, sorted by digest: the part that both index formats are made of.

A bucket is ``uint32 width | uint64 byte length | records``, a record ``digest | uint64 offset``; a body is
``int32 count`` and that many buckets.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from carv2.errors import IndexFormatError, TruncatedError
from carv2.units import PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OFFSET_SIZE = 8
COUNT = struct.Struct("<i")
BUCKET_HEAD = struct.Struct("<IQ")
MAX_WIDTH = 32 << 20  # go-car's
MAX_BUCKETS = 1 << 16  # of all hash functions; there is one for each size of digest
_STEP = 16  # records that one read brings in
_KEY = struct.Struct(">Q")  # the front of a digest, as a number that sorts like it
_OFFSET = struct.Struct("<Q")
_MAX_SAMPLES = 1 << 19  # each 8 bytes: up to 8,000,000 records one in 16, beyond that fewer
_PATIENCE = 16  # look-ups before samples are worth their while
_READ = 1 << 20
_WINDOW = 64 << 10  # bytes that are read at a time where many records are wanted
_FAR = 8 << 10  # bytes from one of them to the next from which on each is read by itself
_SPARSE = 16 << 10  # bytes between two samples, from which on each is read by itself


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
        self._samples: array[int] | None = None
        self._search: Callable[[bytes, int | None], int | None] | None = None
        self._lookups = 0
        self.keep_samples(_MAX_SAMPLES)

    def __len__(self) -> int:
        return self._count

    def keep_samples(self, most: int) -> None:
        """Keep the fronts of at most that many digests in memory: with fewer, a look-up reads more often."""
        self._stretches, self._samples, self._search = 1, None, None  # of 16 records, to a sample
        while self._count > most * self._stretches * _STEP:
            self._stretches *= 2

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
        search = self._search
        if search is None:
            return None
        return search(digest, None if self._stretches == 1 else self._first_step(digest))

    def _searcher(self, samples: array[int]) -> Callable[[bytes, int | None], int | None]:
        """What looks a digest up in one stretch of records; a closure, for it is half of a get.

        The first record of the next stretch is looked at as well: a digest that is a sample itself may begin
        there, or before.
        """
        width, size, origin, peek = self._width, self._size, self._origin, self._peek
        key_of, offset_of, digest_size = _KEY.unpack_from, _OFFSET.unpack_from, self.digest_size
        stretch, length = _STEP * width, (_STEP + 1) * width

        def search(digest: bytes, first: int | None) -> int | None:
            if first is None:
                first = bisect_left(samples, key_of(digest)[0]) - 1
            at = first * stretch if first > 0 else 0
            window = peek(length if at + length <= size else size - at, origin + at)
            at = window.find(digest)
            if at < 0 or at % width or at + width > len(window):
                return None
            offset: int = offset_of(window, at + digest_size)[0]
            return offset

        return search

    def usual_offsets(self, digests: list[bytes]) -> list[int | None]:
        """What :meth:`usual_offset` gives for each; those that stand near each other come out of one read."""
        samples, width = self._samples, self._width
        if samples is None or self._stretches > 1 or self._size > _FAR * len(digests):
            return [self.usual_offset(each) for each in digests]
        found: list[int | None] = [None] * len(digests)
        key_of, offset_of, size = _KEY.unpack_from, _OFFSET.unpack_from, self.digest_size
        stride, span = _STEP * width, (_STEP + 1) * width
        near, top = 8 + 4 * len(samples) // len(digests), len(samples)
        above = start = end = 0  # of the window
        window = b""
        for number in sorted(range(len(digests)), key=digests.__getitem__):
            digest = digests[number]
            (key,) = key_of(digest)
            below = above
            above = bisect_left(samples, key, below, min(below + near, top))
            if above == below + near:
                above = bisect_left(samples, key, above)
            at = (above - 1) * stride if above else 0
            if at + span > end < self._size:
                start, end = at, min(at + _WINDOW, self._size)
                window = self._peek(end - start, self._origin + start)
            at = window.find(digest, at - start, at - start + span)
            if at >= 0 and (start + at) % width == 0 and at + width <= len(window):
                (found[number],) = offset_of(window, at + size)
        return found

    def _first_step(self, digest: bytes) -> int:
        """The first stretch of 16 records that can hold ``digest``."""
        if self._samples is None:
            self._lookups += 1
            if self._lookups < _PATIENCE:
                return self._last_below(range(0, self._count, _STEP), digest)
            self._origin, self._peek = _peek_of(self._buffer, self._start)
            self._samples = self._take_samples()
            self._search = self._searcher(self._samples)
        (key,) = _KEY.unpack(digest[: _KEY.size].ljust(_KEY.size, b"\0"))
        first = max(0, bisect_left(self._samples, key) - 1)
        last = bisect_right(self._samples, key, first)  # many of them may share their fronts
        if last - first <= 1 and self._stretches == 1:
            return first
        first, last = first * self._stretches, max(last, first + 1) * self._stretches
        return first + self._last_below(range(first * _STEP, min(self._count, last * _STEP), _STEP), digest)

    def _last_below(self, records: range, digest: bytes) -> int:
        """Which of ``records``, a few of which are read, is the last with a smaller digest; else the first."""
        return max(0, bisect_left(records, digest, key=self._digest_at) - 1)

    def _digest_at(self, record: int) -> bytes:
        at = self._start + record * self._width
        return self._buffer[at : at + self.digest_size]

    def _take_samples(self) -> array[int]:
        """The front of the first digest of each stretch, or of each few."""
        step = self._stretches * _STEP
        stride = step * self._width
        if stride > _SPARSE or self.digest_size < _KEY.size:
            fronts = (self._digest_at(record)[: _KEY.size] for record in range(0, self._count, step))
            return array("Q", (_KEY.unpack(front.ljust(_KEY.size, b"\0"))[0] for front in fronts))
        many = max(1, _READ // stride) * step
        samples = array("Q")
        layout = struct.Struct(f">Q{stride - _KEY.size}x")
        for first in range(0, self._count, many):  # one pass over the records, whose pages are not kept
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
