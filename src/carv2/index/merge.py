"""Several indexes as one, without holding any of them."""

from __future__ import annotations

import heapq
import struct
from typing import TYPE_CHECKING

from carv2 import _varint
from carv2.index._bucket import BUCKET_HEAD, COUNT, OFFSET_SIZE
from carv2.index._listed import is_listed
from carv2.index.multihash_sorted import CODE
from carv2.index.protocol import CAR_MULTIHASH_INDEX_SORTED
from carv2.multihash import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2.index._bucket import Bucket
    from carv2.index.protocol import Index

_PIECE = 8192  # records that are handed on at a time
_WINDOW = 64 << 10  # bytes that are read of each index at a time


def merged_chunks(indexes: Sequence[Index], codec: int, *, identity: bool = True) -> Iterator[bytes]:
    """The bytes of an index of format ``codec`` with all records of ``indexes``, in pieces.

    The indexes must be sorted, and of format 0x0401. Takes memory for a few thousand records. Without
    ``identity`` the records of identity CIDs are left out, but for those that records of references go by.
    """
    groups: dict[int, dict[int, list[Bucket | _Keys]]] = {}
    for index in indexes:
        for code, bucket in index.buckets():
            kept = _Keys(bucket) if code == IDENTITY and not identity else bucket
            if kept is not bucket and not len(kept):
                continue
            group = groups.setdefault((code or 0) if codec == CAR_MULTIHASH_INDEX_SORTED else 0, {})
            group.setdefault(bucket.digest_size, []).append(kept)
    yield _varint.encode(codec)
    if codec != CAR_MULTIHASH_INDEX_SORTED:
        yield from _body(groups.get(0, {}))
        return
    yield COUNT.pack(len(groups))
    for code in sorted(groups):
        yield CODE.pack(code)
        yield from _body(groups[code])


class _Keys:
    """Of a bucket of identity CIDs, what an index lists anyway."""

    def __init__(self, bucket: Bucket) -> None:
        self.digest_size, self._bucket = bucket.digest_size, bucket
        self._count = sum(sum(1 for _ in self._listed(window)) for window in bucket.windows(_WINDOW))

    def __len__(self) -> int:
        return self._count

    def _listed(self, window: bytes) -> Iterator[bytes]:
        size = self.digest_size
        for at in range(0, len(window), size + OFFSET_SIZE):
            if is_listed(IDENTITY, window[at : at + size], identity=False):
                yield window[at : at + size + OFFSET_SIZE]

    def windows(self, size: int = _WINDOW) -> Iterator[bytes]:
        """The records' bytes, in pieces of at most ``size`` bytes, or one record."""
        for window in self._bucket.windows(size):
            yield b"".join(self._listed(window))


def _body(buckets: dict[int, list[Bucket | _Keys]]) -> Iterator[bytes]:
    yield COUNT.pack(len(buckets))
    for digest_size in sorted(buckets):
        parts = [bucket for bucket in buckets[digest_size] if len(bucket)]
        yield BUCKET_HEAD.pack(digest_size + OFFSET_SIZE, sum(map(len, parts)) * (digest_size + OFFSET_SIZE))
        if len(parts) == 1:
            yield from parts[0].windows()
        else:
            yield from _records(parts)


def _in_small_pieces(bucket: Bucket | _Keys) -> Iterator[tuple[bytes, int]]:
    record = struct.Struct(f"<{bucket.digest_size}sQ")
    for window in bucket.windows(_WINDOW):
        yield from record.iter_unpack(window)


def _records(parts: list[Bucket | _Keys]) -> Iterator[bytes]:
    piece: list[bytes] = []
    for digest, offset in heapq.merge(*map(_in_small_pieces, parts)):
        piece.append(digest + offset.to_bytes(OFFSET_SIZE, "little"))
        if len(piece) == _PIECE:
            yield b"".join(piece)
            piece = []
    yield b"".join(piece)
