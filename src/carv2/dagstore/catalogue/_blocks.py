"""The part of the catalogue that knows which shards hold a multihash, and so also how a shard is removed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from carv2.dagstore.catalogue._shards import Shards
from carv2.dagstore.catalogue._sql import KEY_OF, checked, chunks, stored
from carv2.errors import ShardNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore.catalogue._sql import Transaction


class InvertedIndex(Shards):
    """The methods of :class:`carv2.dagstore.catalogue.IndexStore`, and ``remove``."""

    def add_multihashes(self, key: str, multihashes: Iterable[bytes], *, holder: str = "") -> None:
        self._id_now(key)
        for chunk in chunks(map(stored, multihashes), self._database.chunk):

            def work(transaction: Transaction, chunk: list[bytes] = chunk) -> None:
                self._check_lease(transaction, key, holder)
                shard = self._id(transaction, key)
                _count(transaction, shard, transaction.add_blocks(shard, chunk))

            self._database.transact(work, durable=False)  # nobody counts on it before set_available

    def remove_multihashes(self, key: str, multihashes: Iterable[bytes] | None, *, holder: str = "") -> None:
        def mark(transaction: Transaction) -> int:
            self._check_lease(transaction, key, holder)
            self._set(transaction, key, "inverted = 0", ())
            return self._id(transaction, key)

        shard = self._database.transact(mark)
        size = self._database.chunk
        for chunk in self._entries(shard) if multihashes is None else chunks(map(stored, multihashes), size):

            def work(transaction: Transaction, chunk: list[bytes] = chunk) -> None:
                self._check_lease(transaction, key, holder)
                same = self._id(transaction, key)
                if same == shard:  # and not one that was registered under the same key meanwhile
                    _count(transaction, shard, -transaction.drop_blocks(shard, chunk))

            self._database.transact(work, durable=False)

    def remove(self, key: str, multihashes: Iterable[bytes] | None, *, holder: str = "") -> bool:
        try:
            shard = self._id_now(key)
            if multihashes is not None and self._entry_count(shard):
                self.remove_multihashes(key, multihashes, holder=holder)
            if not self._removed_empty(shard, key, holder):
                self.remove_multihashes(key, None, holder=holder)
                self._removed_empty(shard, key, holder, or_not=True)
        except ShardNotFoundError:
            return False
        return True

    def shards_with(self, multihash: bytes) -> list[str]:
        found = self._database.query(f"SELECT {KEY_OF} FROM blocks b WHERE b.mh = ?", (stored(multihash),))  # noqa: S608
        return sorted(key for (key,) in found if key is not None)

    def shards_with_many(self, multihashes: Iterable[bytes]) -> dict[bytes, list[str]]:
        found: dict[bytes, list[str]] = {}
        for chunk in chunks(multihashes, self._database.chunk):
            names = {stored(multihash): multihash for multihash in chunk}
            for name, key in self._database.shards_of(list(names)):
                keys = found.setdefault(names[name], [])
                if key not in keys:  # a multihash may be asked for twice
                    keys.append(key)
        for keys in found.values():
            keys.sort()
        return found

    def multihash_count(self) -> int:
        return int(self._database.query("SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM shards")[0][0])

    def entry_count(self, key: str) -> int:
        return self._entry_count(self._id_now(key))

    def _id_now(self, key: str) -> int:
        found = self._database.query("SELECT id FROM shards WHERE key = ?", (checked("key", key),))
        if not found:
            raise ShardNotFoundError(key)
        return int(found[0][0])

    def _entry_count(self, shard: int) -> int:
        found = self._database.query("SELECT entries FROM shards WHERE id = ?", (shard,))
        return int(found[0][0]) if found else 0

    def _entries(self, shard: int) -> Iterator[list[bytes]]:
        """What the shard has in the index, in chunks, found by reading all of it; nobody has to wait meanwhile."""
        find = "SELECT mh FROM blocks WHERE shard = ? AND mh > ? ORDER BY mh LIMIT ?"
        last, size = b"", self._database.chunk
        for _ in itertools.takewhile(self._entry_count, itertools.repeat(shard)):
            chunk = [bytes(multihash) for (multihash,) in self._database.query(find, (shard, last, size))]
            if chunk:
                yield chunk
            if len(chunk) < size:
                return
            last = chunk[-1]

    def _removed_empty(self, shard: int, key: str, holder: str, *, or_not: bool = False) -> bool:
        """Whether the shard could go, because it has no entries any more ``or_not``."""

        def work(transaction: Transaction) -> bool:
            self._check_lease(transaction, key, holder)
            if self._id(transaction, key) != shard:
                raise ShardNotFoundError(key)
            if not or_not and transaction.query("SELECT entries FROM shards WHERE id = ?", (shard,))[0][0]:
                return False
            transaction.run("DELETE FROM owners WHERE shard = ?", (shard,))
            transaction.run(f"DELETE FROM leases WHERE key = ? AND until <= {self._database.now}", (key,))  # noqa: S608
            transaction.run("DELETE FROM shards WHERE id = ?", (shard,))
            return True

        return self._database.transact(work, once=True)


def _count(transaction: Transaction, shard: int, new: int) -> None:
    if new:
        transaction.run("UPDATE shards SET entries = entries + ? WHERE id = ?", (new, shard))
