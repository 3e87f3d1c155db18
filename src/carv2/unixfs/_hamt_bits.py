"""Where a name stands in a HAMT directory: what reading and building shards share.

A shard of fan-out ``2**bits`` has that many slots. A name's slot, in the shard at each level, is the next
``bits`` bits of its hash, from the most significant end (murmur3-x64-64: the first half of the 128-bit hash, as a
big-endian number).
Source: the UnixFS specification, and its vectors ``470.txt`` in slots 00, 6E and ``742.txt`` in 00, FF.

>>> [f"{slot(name_hash(b'470.txt'), used, 8):02X}" for used in (0, 8)]
['00', '6E']
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from carv2 import multihash

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HASH_BITS", "MAX_FANOUT", "bits_of", "name_hash", "prefix", "prefix_size", "slot"]

HASH_BITS = 64
MAX_FANOUT = 1024
"""Source: the UnixFS specification, after CVE-2023-23625 (boxo)."""


def bits_of(fanout: int | None) -> int | None:
    """Bits of a hash that one level of that fan-out takes; None if there can be no such fan-out.

    >>> bits_of(256), bits_of(255), bits_of(1 << 40)
    (8, None, None)
    """
    if fanout is None or not 8 <= fanout <= MAX_FANOUT or fanout & (fanout - 1):
        return None
    return fanout.bit_length() - 1


def name_hash(name: bytes) -> int:
    """The hash of an entry's name, as a number of 64 bits."""
    return int.from_bytes(_hasher()(name), "big")


def slot(hashed: int, used: int, bits: int) -> int:
    """The slot for a hash in a shard below levels that took its first ``used`` bits; 0 <= slot < 2**bits."""
    return hashed >> (HASH_BITS - used - bits) & ((1 << bits) - 1)


def prefix_size(bits: int) -> int:
    """Hexadecimal digits that a link's name begins with."""
    return (bits + 3) // 4


@functools.cache
def prefix(at: int, bits: int) -> str:
    """What the name of the link in slot ``at`` begins with: upper-case hexadecimal digits.

    >>> prefix(110, 8), prefix(5, 10)
    ('6E', '005')
    """
    return f"{at:0{prefix_size(bits)}X}"


@functools.cache
def _hasher() -> Callable[[bytes], bytes]:
    found = multihash.hasher(multihash.MURMUR3_X64_64, 8)
    if found is None:
        raise ImportError("HAMT directories need the package mmh3")
    return found
