"""Format 0x0401, car-multihash-index-sorted: a body of format 0x0400 for each hash function.

Source: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); where it is wrong about the bytes,
go-car v2.17.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from carv2 import _varint
from carv2.errors import IndexFormatError
from carv2.index._bucket import (
    COUNT,
    MAX_BUCKETS,
    Bucket,
    IndexBuffer,
    parse_body,
    too_many_buckets,
    unpack,
)
from carv2.index.protocol import CAR_MULTIHASH_INDEX_SORTED, Index
from carv2.index.sorted import body_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CID

__all__ = ["MultihashSortedIndex"]

CODE = struct.Struct("<Q")


class MultihashSortedIndex(Index):
    """The index that go-car writes unless told otherwise."""

    codec = CAR_MULTIHASH_INDEX_SORTED

    def __init__(self, groups: dict[int, dict[int, Bucket]], size: int) -> None:
        super().__init__()
        self._groups, self.size = groups, size

    @classmethod
    def parse(cls, buffer: IndexBuffer, start: int, *, position: int) -> MultihashSortedIndex:
        """Take in the groups at ``buffer[start]``; a hash code that comes twice: the later one counts.

        Raises:
            IndexFormatError: numbers that cannot be, or very many buckets; TruncatedError: the buffer ends within.
        """
        (count,) = unpack(COUNT, buffer, start, position=position, field="index hash code count")
        if count < 0:
            why = f"index hash code count {count}, allowed 0 to 2**31 - 1"
            raise IndexFormatError(why, position=position + start, codec=cls.codec)
        at = start + COUNT.size
        groups: dict[int, dict[int, Bucket]] = {}
        total = 0
        for _ in range(count):
            if total >= MAX_BUCKETS:
                raise too_many_buckets(position + at, cls.codec)
            (code,) = unpack(CODE, buffer, at, position=position, field="index hash code")
            most = MAX_BUCKETS - total - 1  # a hash code counts as one: it takes as much memory
            body = parse_body(buffer, at + CODE.size, position=position, codec=cls.codec, most=most)
            groups[code], at = body
            total += 1 + len(body.buckets)
        return cls(groups, at)

    def buckets(self) -> Iterator[tuple[int | None, Bucket]]:
        for code in sorted(self._groups):
            for digest_size in sorted(self._groups[code]):
                yield code, self._groups[code][digest_size]

    def _bucket_for(self, cid: CID) -> Bucket | None:
        parts = cid.parts
        group = self._groups.get(parts.hash_code)
        return None if group is None else group.get(parts.digest_size)

    def chunks(self) -> Iterator[bytes]:
        yield _varint.encode(self.codec)
        yield COUNT.pack(len(self._groups))
        for code in sorted(self._groups):
            yield CODE.pack(code)
            yield from body_chunks(self._groups[code])
