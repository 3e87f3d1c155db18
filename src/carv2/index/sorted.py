"""Format 0x0400, car-index-sorted: buckets by digest size.

Source: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); where it is wrong about the bytes,
go-car v2.17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import _varint
from carv2.index._bucket import BUCKET_HEAD, COUNT, OFFSET_SIZE, Body, Bucket, IndexBuffer, parse_body
from carv2.index.protocol import CAR_INDEX_SORTED, Index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CID

__all__ = ["SortedIndex"]


class SortedIndex(Index):
    """An index that knows digests but not hash functions.

    >>> from carv2.index import parse
    >>> record = bytes(32) + (59).to_bytes(8, "little")
    >>> parse(bytes.fromhex("8008 01000000 28000000 2800000000000000") + record).to_bytes()[-8:].hex()
    '3b00000000000000'
    """

    codec = CAR_INDEX_SORTED

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._buckets, self.size = body.buckets, body.end

    @classmethod
    def parse(cls, buffer: IndexBuffer, start: int, *, position: int) -> SortedIndex:
        """Take in the body at ``buffer[start]``; ``position`` is the file position of ``buffer[0]``."""
        return cls(parse_body(buffer, start, position=position, codec=cls.codec))

    def buckets(self) -> Iterator[tuple[int | None, Bucket]]:
        for digest_size in sorted(self._buckets):
            yield None, self._buckets[digest_size]

    def _bucket_for(self, cid: CID) -> Bucket | None:
        return self._buckets.get(cid.parts.digest_size)

    def chunks(self) -> Iterator[bytes]:
        yield _varint.encode(self.codec)
        yield from body_chunks(self._buckets)


def body_chunks(buckets: dict[int, Bucket]) -> Iterator[bytes]:
    """The bytes of a body, in pieces: its count, then the buckets by ascending digest size."""
    yield COUNT.pack(len(buckets))
    for digest_size, bucket in sorted(buckets.items()):
        width = digest_size + OFFSET_SIZE
        yield BUCKET_HEAD.pack(width, len(bucket) * width)
        yield from bucket.windows()
