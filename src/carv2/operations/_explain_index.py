"""The fields of an index. They describe; what is wrong is for :mod:`carv2.index` to say."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from carv2.errors import FormatError
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, read_codec
from carv2.index._bucket import BUCKET_HEAD, COUNT, MAX_WIDTH, OFFSET_SIZE, Bucket, unpack
from carv2.index.multihash_sorted import CODE
from carv2.operations._explain_parts import KEPT, Field, code_text, count_of, digest_text, heading

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from carv2.index import IndexBuffer

_MAX_RECORDS = 16
_DIGEST_SEEN = 65  # one more than is shown


class Targets(Protocol):
    """What knows which section starts where."""

    def is_start(self, offset: int) -> bool:
        """Whether a section starts at ``offset`` of the payload, as far as that is known."""
        ...

    def describe(self, offset: int, digest: bytes) -> str:
        """Which section that is, and whether its digest starts with ``digest``."""
        ...


def index_fields(
    view: IndexBuffer, targets: Targets, depth: int, *, position: int, is_headless: bool
) -> Iterator[Field]:
    """The index at the front of ``view``, or as much of it as makes sense."""
    walk = _IndexWalk(view, targets, depth, position)
    with contextlib.suppress(FormatError):
        yield from walk.fields(is_headless=is_headless)


class _Shape(NamedTuple):
    """Where the records of a bucket lie in the index."""

    start: int
    width: int
    size: int


class _IndexWalk:
    def __init__(self, view: IndexBuffer, targets: Targets, depth: int, position: int) -> None:
        self._view, self._targets, self._depth, self._position = view, targets, depth, position
        self._at = 0

    def fields(self, *, is_headless: bool) -> Iterator[Field]:
        codec, size = (CAR_INDEX_SORTED, 0) if is_headless else read_codec(self._view, position=self._position)
        absent = "absent, as in the specification's example; read as "
        yield self._next(size, "index codec", (absent if is_headless else "") + code_text(codec))
        if codec == CAR_INDEX_SORTED:
            yield from self._body()
        elif codec == CAR_MULTIHASH_INDEX_SORTED:
            (count,) = unpack(COUNT, self._view, self._at, position=0, field="")
            yield self._next(COUNT.size, "hash function count", f"{count:,}")
            for _ in range(count):
                (code,) = unpack(CODE, self._view, self._at, position=0, field="")
                yield self._next(CODE.size, "hash function", code_text(code))
                whole = yield from self._body()
                if not whole:
                    return

    def _body(self) -> Generator[Field, None, bool]:
        """The buckets of one hash function; whether they went to their end."""
        (count,) = unpack(COUNT, self._view, self._at, position=0, field="")
        yield self._next(COUNT.size, "bucket count", f"{count:,}")
        for _ in range(count):
            width, size = unpack(BUCKET_HEAD, self._view, self._at, position=0, field="")
            yield self._next(4, "bucket record width", count_of(width, "byte"))
            yield self._next(8, "bucket size", count_of(size, "byte"))
            if not OFFSET_SIZE <= width <= MAX_WIDTH or size > len(self._view) - self._at:
                return False
            yield from self._records(_Shape(self._at, width, size))
            self._at += size
        return count >= 0

    def _records(self, shape: _Shape) -> Iterator[Field]:
        start, width, size = shape
        bucket = Bucket(self._view, start, width, size)
        text = f"{count_of(len(bucket), 'record')} of a digest and an offset"
        if not bucket.is_sorted():
            text += "; not in ascending order: a look-up may miss"
        yield heading(self._position + start, size, self._depth, "records", text)
        shown = min(len(bucket), _MAX_RECORDS)
        for at in range(start, start + shown * width, width):
            yield from self._record(at, width)
        more = len(bucket) - shown
        if more:
            astray = sum(not self._targets.is_start(offset) for _, offset in islice(bucket, shown, None))
            text = f"at {astray:,} of their offsets no section starts" if astray else ""
            at = start + shown * width
            yield self._field(at, more * width, 1, f"... {count_of(more, 'more record')}", text)
        if bucket.stray:
            text = f"{count_of(bucket.stray, 'byte')}, ignored: not a whole record"
            yield self._field(start + size - bucket.stray, bucket.stray, 1, "rest of the bucket", text)

    def _record(self, at: int, width: int) -> Iterator[Field]:
        size = width - OFFSET_SIZE
        digest = self._view[at : at + min(size, _DIGEST_SEEN)]
        offset = int.from_bytes(self._view[at + size : at + width], "little")
        yield self._field(at, size, 1, "digest", digest_text(digest, size))
        yield self._field(at + size, OFFSET_SIZE, 1, "offset", self._targets.describe(offset, digest))

    def _next(self, size: int, meaning: str, value: str) -> Field:
        """The field of the next ``size`` bytes, which are then behind us."""
        field = self._field(self._at, size, 0, meaning, value)
        self._at += size
        return field

    def _field(self, at: int, size: int, deeper: int, meaning: str, value: str) -> Field:
        raw = self._view[at : at + min(size, KEPT)]
        return Field(self._position + at, raw, size, self._depth + deeper, meaning, value)
