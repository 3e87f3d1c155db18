"""HAMT directories: folders that are too large for one block, spread over shards by the hashes of their names.

In the order of the hashes the entries of each shard stand together, and how many levels two neighbours share says
in which shards they are. So one pass over the sorted entries makes all shards, each after those below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.errors import UnixFSError
from carv2.multihash import MURMUR3_X64_64
from carv2.unixfs import data as unixfs
from carv2.unixfs._blocks import encode_link
from carv2.unixfs._hamt_bits import HASH_BITS, name_hash, prefix, slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.unixfs._blocks import BlockMaker, Link


def put_hamt(maker: BlockMaker, entries: Sequence[tuple[bytes, Link]]) -> Link:
    """Hand out the shards of a directory of ``entries``, (name, link) pairs; return the link of the root.

    Raises:
        UnixFSError: two names have the same hash, so that no number of levels tells them apart.
    """
    hashed = sorted((name_hash(name), name, link) for name, link in entries)
    builder = _Builder(maker)
    shared = 0  # levels that an entry shares with the one before it
    for at, (value, name, link) in enumerate(hashed):
        following = builder.shared_levels(value, hashed[at + 1][0], name) if at + 1 < len(hashed) else 0
        builder.add(value, name, link, depth=max(shared, following))
        builder.close(following, value)
        shared = following
    return builder.put_root()


class _Builder:
    """Shards that are open, from the root down to the one of the last entry."""

    def __init__(self, maker: BlockMaker) -> None:
        self._maker = maker
        self._fanout = maker.profile.hamt_fanout
        self._bits = self._fanout.bit_length() - 1
        self._levels = HASH_BITS // self._bits
        self._prefixes = [prefix(at, self._bits).encode() for at in range(self._fanout)]
        self._open: list[list[tuple[int, bytes, Link]]] = [[]]  # by depth; slot, name and link of each entry

    def add(self, value: int, name: bytes, link: Link, *, depth: int) -> None:
        """Put an entry into the shard at ``depth``."""
        while len(self._open) <= depth:
            self._open.append([])
        self._open[depth].append((slot(value, depth * self._bits, self._bits), name, link))

    def close(self, depth: int, value: int) -> None:
        """Put the shards deeper than ``depth``, in which the last entry, of hash ``value``, is."""
        while len(self._open) > depth + 1:
            link = self._put(self._open.pop())
            self.add(value, b"", link, depth=len(self._open) - 1)

    def put_root(self) -> Link:
        """Put the root, the only shard that is still open."""
        return self._put(self._open[0])

    def shared_levels(self, one: int, other: int, name: bytes) -> int:
        """How many levels two hashes have in common."""
        levels = (HASH_BITS - (one ^ other).bit_length()) // self._bits
        if levels >= self._levels:
            why = f"two names have the same hash, one of them {name.decode('utf-8', 'backslashreplace')}"
            raise UnixFSError(why, position=0)
        return levels

    def _put(self, shard: list[tuple[int, bytes, Link]]) -> Link:
        taken = 0
        links: list[bytes] = []
        for at, name, link in shard:
            taken |= 1 << at
            links.append(encode_link(self._prefixes[at] + name, link))
        bit_field = taken.to_bytes((taken.bit_length() + 7) // 8, "big")  # without leading zeros
        fields = unixfs.UnixFSData(unixfs.HAMT, bit_field, hash_type=MURMUR3_X64_64, fanout=self._fanout)
        return self._maker.put_directory_node(links, unixfs.encode(fields), [link for _, _, link in shard])
