"""Several indexes as one, without holding any of them."""

from __future__ import annotations

import heapq
import struct
from typing import TYPE_CHECKING

from carv2 import _varint
from carv2.index._bucket import BUCKET_HEAD, COUNT, OFFSET_SIZE
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
    ``identity`` the records of identity CIDs are left out.
    """
    groups: dict[int, dict[int, list[Bucket]]] = {}
    for index in indexes:
        for code, bucket in index.buckets():
            if code == IDENTITY and not identity:
                continue
            group = groups.setdefault((code or 0) if codec == CAR_MULTIHASH_INDEX_SORTED else 0, {})
            group.setdefault(bucket.digest_size, []).append(bucket)
    yield _varint.encode(codec)
    if codec != CAR_MULTIHASH_INDEX_SORTED:
        yield from _body(groups.get(0, {}))
        return
    yield COUNT.pack(len(groups))
    for code in sorted(groups):
        yield CODE.pack(code)
        yield from _body(groups[code])


def _body(buckets: dict[int, list[Bucket]]) -> Iterator[bytes]:
    yield COUNT.pack(len(buckets))
    for digest_size in sorted(buckets):
        parts = [bucket for bucket in buckets[digest_size] if len(bucket)]
        yield BUCKET_HEAD.pack(digest_size + OFFSET_SIZE, sum(map(len, parts)) * (digest_size + OFFSET_SIZE))
        if len(parts) == 1:
            yield from parts[0].windows()
        else:
            yield from _records(parts)


def _in_small_pieces(bucket: Bucket) -> Iterator[tuple[bytes, int]]:
    record = struct.Struct(f"<{bucket.digest_size}sQ")
    for window in bucket.windows(_WINDOW):
        yield from record.iter_unpack(window)


def _records(parts: list[Bucket]) -> Iterator[bytes]:
    piece: list[bytes] = []
    for digest, offset in heapq.merge(*map(_in_small_pieces, parts)):
        piece.append(digest + offset.to_bytes(OFFSET_SIZE, "little"))
        if len(piece) == _PIECE:
            yield b"".join(piece)
            piece = []
    yield b"".join(piece)
