"""Which keys are surely not among many, by two bits of a table for each (a Bloom filter): new ones cost little."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class KeyFilter:
    """A table of ``size`` bytes, rounded down to a power of two.

    With b bits for each key, it takes some (2 / b)**2 of the absent keys for present: a hundredth with 20.
    Python's hash is keyed, so nobody can choose keys that fill it.

    >>> seen = KeyFilter(1024)
    >>> seen.add([b"fish"])
    >>> seen.may_have(b"fish"), seen.may_have(b"lobster")
    (True, False)
    """

    TAIL = 32
    """Bytes at the end of a key that count: all of a usual digest, whatever stands before it."""

    def __init__(self, size: int) -> None:
        self._table = bytearray(1 << max(0, size.bit_length() - 1))
        self._mask = len(self._table) * 8 - 1

    def add(self, keys: Iterable[bytes]) -> None:
        """Note that ``keys`` are there."""
        table, mask = self._table, self._mask
        for key in keys:
            mixed = hash(key[-32:])
            at, other = mixed & mask, mixed >> 32 & mask
            table[at >> 3] |= 1 << (at & 7)
            table[other >> 3] |= 1 << (other & 7)

    def may_have(self, key: bytes) -> bool:
        """False if ``key`` was never added."""
        mixed = hash(key[-32:])
        at, other = mixed & self._mask, mixed >> 32 & self._mask
        return bool(self._table[at >> 3] >> (at & 7) & self._table[other >> 3] >> (other & 7) & 1)
