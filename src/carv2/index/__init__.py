"""CARv2 indexes: where a block with a given hash is, read in place, built, and written as go-car writes them.

Layout: ``varint(codec) | body``. All offsets count from the first byte of the CARv1 payload and point at a
section's length varint; all fixed-width integers are little-endian. The published specification leaves out
two counts and calls a byte length a count; what is read and written here is what every file holds.
"""

from __future__ import annotations

from carv2 import _varint
from carv2.errors import IndexFormatError, TruncatedError
from carv2.index._bucket import IndexBuffer
from carv2.index.builder import IndexBuilder
from carv2.index.multihash_sorted import MultihashSortedIndex
from carv2.index.protocol import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, Index, IndexEntry
from carv2.index.sorted import SortedIndex
from carv2.multicodec import name_of

__all__ = [
    "CAR_INDEX_SORTED",
    "CAR_MULTIHASH_INDEX_SORTED",
    "Index",
    "IndexBuffer",
    "IndexBuilder",
    "IndexEntry",
    "MultihashSortedIndex",
    "SortedIndex",
    "parse",
    "read_codec",
]

_BY_CODEC: dict[int, type[SortedIndex | MultihashSortedIndex]] = {
    CAR_INDEX_SORTED: SortedIndex,
    CAR_MULTIHASH_INDEX_SORTED: MultihashSortedIndex,
}


def read_codec(buffer: IndexBuffer, *, position: int = 0) -> tuple[int, int]:
    """The multicodec that an index starts with, known or not, and the size of its varint.

    >>> read_codec(bytes.fromhex("8108"))
    (1025, 2)
    """
    front = buffer[0 : _varint.MAX_SIZE]
    return _varint.decode(front, 0, len(front), position=position)


def parse(buffer: IndexBuffer, *, position: int = 0) -> Index:
    """Take in the layout of an index; its records stay where they are.

    Args:
        buffer: what holds the index, from its first byte on; whatever slices to bytes. What lies behind the
            index is not looked at: go-car's files have no length for it.
        position: file position of ``buffer[0]``, for error reports.

    An index without its codec, as in the CARv2 specification's own example, is read as the 0x0400 body that it
    is; ``index.is_headless`` tells.

    Raises:
        TruncatedError: the buffer ends within the index.
        IndexFormatError: another codec, or sizes that cannot be.

    >>> parse(bytes.fromhex("810800000000")).codec == CAR_MULTIHASH_INDEX_SORTED
    True
    """
    codec, start = read_codec(buffer, position=position)
    kind = _BY_CODEC.get(codec)
    if kind is not None:
        return kind.parse(buffer, start, position=position)
    try:
        headless = SortedIndex.parse(buffer, 0, position=position)
    except (IndexFormatError, TruncatedError):
        headless = None
    if headless is not None and len(headless):
        headless.is_headless = True
        return headless
    why = f"index codec {name_of(codec)}, supported: {name_of(0x0400)} and {name_of(0x0401)}"
    raise IndexFormatError(why, position=position, codec=codec)
