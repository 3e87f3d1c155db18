"""Keys of one size and an offset for each, packed: some 10 bytes a key more than those two take by themselves.

The records, ``key | big-endian offset``, stand one after the other in the order in which they came. A hash table
with open addressing says which of them has a key: a slot is the record's number, counted from 1, in its low bits,
and in the bits that the number leaves free a part of the key's hash. A slot is never more than a hint, for the key
itself decides; so an exception between any two steps (Ctrl-C) leaves a table that is right. Python's hash of bytes
is keyed: nobody can choose keys that fall on one slot.
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OFFSET_SIZE = 8

_FEWEST = 64  # slots
_PIECE = 1 << 14  # records
_ALL = (1 << 32) - 1
_MOST = 1 << 31  # slots that are numbered in four bytes

Hints: TypeAlias = "tuple[Sequence[int], int]"


class KeyTable:
    """Offsets by keys of ``key_size`` bytes.

    >>> table = KeyTable(4)
    >>> table.add({b"fish": 18, b"crab": 60}), table.add({b"fish": 95})
    ([], [(b'fish', 95)])
    >>> table.find(b"crab"), table.find(b"moss"), len(table)
    (60, None, 2)
    """

    __slots__ = ("_records", "_state", "_width", "key_size")

    def __init__(self, key_size: int) -> None:
        self.key_size, self._width = key_size, key_size + OFFSET_SIZE
        self._records = bytearray()
        self._state = _slots(_FEWEST)  # slots and masks are replaced in one step

    def __len__(self) -> int:
        return len(self._records) // self._width

    def find(self, key: bytes) -> int | None:
        """The offset of ``key``; None if it is not there."""
        slots, mask, tags = self._state
        mixed = hash(key)
        at = mixed & mask
        while slot := slots[at]:
            if not (slot ^ mixed) & tags and self._key(slot & ~tags) == key:
                return self._offset(slot & ~tags)
            at = at + 1 & mask
        return None

    def add(self, offsets: dict[bytes, int]) -> list[tuple[bytes, int]]:
        """Add each key that is not there; return those that are there with another offset."""
        self._make_room(len(offsets))
        slots, mask, tags = self._state
        number, known = len(self) + 1, dict[bytes, int]()
        for key, mixed in zip(offsets, map(hash, offsets), strict=True):
            at = mixed & mask
            while slot := slots[at]:
                if not (slot ^ mixed) & tags and self._key(slot & ~tags) == key:
                    known[key] = self._offset(slot & ~tags)
                    break
                at = at + 1 & mask
            else:
                slots[at] = mixed & tags | number
                number += 1
        pack = struct.Struct(f">{self.key_size}sQ").pack
        pairs = offsets.items() if not known else [pair for pair in offsets.items() if pair[0] not in known]
        self._records += b"".join([pack(key, offset) for key, offset in pairs])  # in one step
        return [(key, offsets[key]) for key, first in known.items() if offsets[key] != first]

    def _key(self, number: int) -> bytes:
        start = (number - 1) * self._width
        return bytes(self._records[start : start + self.key_size])

    def _offset(self, number: int) -> int:
        stop = number * self._width
        return int.from_bytes(self._records[stop - OFFSET_SIZE : stop], "big")

    @property
    def hints(self) -> Hints:
        """Slots, and the mask of a slot's place: an empty one says that the table has no key with such a hash."""
        slots, mask, _ = self._state
        return slots, mask

    def _make_room(self, more: int) -> None:
        """At most half of the slots are in use, so that a search ends soon."""
        wanted = 2 * (len(self) + more)
        many = len(self._state[0])
        if wanted <= many:
            return
        while many < wanted:
            many *= 4
        slots, mask, tags = state = _slots(many)
        number = 1
        for keys in self._keys():
            for (key,) in keys:
                mixed = hash(key)
                at = mixed & mask
                while slots[at]:
                    at = at + 1 & mask
                slots[at] = mixed & tags | number
                number += 1
        self._state = state

    def _keys(self) -> Iterator[Iterator[tuple[bytes]]]:
        split, step = struct.Struct(f"{self.key_size}s{OFFSET_SIZE}x").iter_unpack, _PIECE * self._width
        for start in range(0, len(self._records), step):
            yield split(bytes(self._records[start : start + step]))

    def drained(self) -> Iterator[bytes]:
        """The records in pieces, the last ones first; the table is of no use afterwards, and its memory free."""
        self._state = _slots(_FEWEST)
        records, step = self._records, _PIECE * self._width
        while records:
            piece = bytes(records[-step:])
            del records[-step:]
            yield piece


def _slots(many: int) -> tuple[array[int], int, int]:
    """``many`` slots, a power of two; the mask of a slot's place, and the one of its part of the hash."""
    most = many // 2
    if many > _MOST:  # above 40 GB of records
        return array("Q", bytes(8)) * many, many - 1, (1 << 64) - 2 * most
    return array("I", bytes(4)) * many, many - 1, _ALL + 1 - 2 * most


def heads_are(head: bytes, records: bytes, width: int) -> bool:
    """Whether each of ``records``, of ``width`` bytes, begins with ``head``."""
    many = len(records) // width
    return all(records[at::width] == head[at : at + 1] * many for at in range(len(head)))


def without_heads(head: bytes, records: bytes, width: int) -> Iterable[tuple[bytes]]:
    """``records`` without the ``head`` that each begins with."""
    return struct.iter_unpack(f"{len(head)}x{width - len(head)}s", records)
