"""The part of the catalogue that knows shards and their owners."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carv2.dagstore.catalogue._sql import checked, cleaned, end_of_prefix
from carv2.dagstore.catalogue.records import DurableState, ShardRow
from carv2.errors import CarError, ShardExistsError, ShardNotFoundError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.dagstore.catalogue._sql import Database, Transaction
    from carv2.dagstore.catalogue.records import IndexFacts

_PAGE = 1000
"""Rows that are read at once by who lists them all."""
_AT_ONCE = 5000
"""Shards that are registered in one transaction."""
_TOUCHES, _TOUCH_SECONDS = 1000, 30.0
"""So many last accesses, or last written so long ago, are written; but not more than once a second."""

_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "id": int, "key": str, "url": str, "state": str, "lazy": int, "error_type": str, "error": str, "failures": int,
    "generation": int, "index_size": int, "index_digest": bytes, "index_codec": int, "block_count": int,
    "inverted": int, "source_size": (int, type(None)), "source_tag": str, "local_copy": bytes, "created": float,
    "updated": float, "last_access": float,
}  # fmt: skip
"""What a row has: SQLite gives what is in the file, whatever type the column is of."""
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM shards"  # noqa: S608
_SELECT_ONE = f"{_SELECT} WHERE key = ?"
_STATES = {state.value: state for state in DurableState}


class Shards:
    """The methods of :class:`carv2.dagstore.catalogue.Catalogue` on shards and owners."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._touched = _Touches(database)

    def __len__(self) -> int:
        return int(self._database.query("SELECT COUNT(*) FROM shards")[0][0])

    def add(self, key: str, url: str, *, lazy: bool, local_copy: str = "", owner: str = "") -> ShardRow:
        shard = (checked("key", key), checked("URL", url))
        checked("owner", owner)

        def work(transaction: Transaction) -> ShardRow:
            if not transaction.add_shards([shard], lazy):
                raise ShardExistsError(key)
            if local_copy:
                transaction.run("UPDATE shards SET local_copy = ? WHERE key = ?", (os.fsencode(local_copy), key))
            row = self._row(transaction.query(_SELECT_ONE, (key,))[0])
            if owner:
                transaction.run("INSERT INTO owners (shard, owner) VALUES (?, ?)", (row.id, owner))
            return row

        return self._database.transact(work, once=True)

    def add_many(self, shards: Iterable[tuple[str, str]], *, lazy: bool = True) -> int:
        given, new = iter(shards), 0
        while batch := [
            (checked("key", key), checked("URL", url)) for key, url in itertools.islice(given, _AT_ONCE)
        ]:
            batch.sort()  # of two that add the same, one waits for the other, and not each for each

            def work(transaction: Transaction, batch: list[tuple[str, str]] = batch) -> int:
                return transaction.add_shards(batch, lazy)

            new += self._database.transact(work, once=True)
        return new

    def get(self, key: str) -> ShardRow | None:
        found = self._database.query(_SELECT_ONE, (checked("key", key),))
        return self._touched.seen_in(self._row(found[0])) if found else None

    def find(self, key: str) -> ShardRow:
        row = self.get(key)
        if row is None:
            raise ShardNotFoundError(key)
        return row

    def rows(
        self,
        *,
        state: DurableState | None = None,
        prefix: str = "",
        lazy: bool | None = None,
        inverted: bool | None = None,
    ) -> Iterator[ShardRow]:
        end = end_of_prefix(checked("prefix", prefix))
        wanted, limits = ["key >= ?"], list[Any]()
        if state is not None:
            wanted.append("state = ?")
            limits.append(state.value)
        for column, value in (("lazy", lazy), ("inverted", inverted)):
            if value is not None:
                wanted.append(f"{column} = ?")
                limits.append(int(value))
        if end is not None:
            wanted.append("key < ?")
            limits.append(end)
        where = prefix
        while True:
            sql = f"{_SELECT} WHERE {' AND '.join(wanted)} ORDER BY key LIMIT {_PAGE}"
            page = self._database.query(sql, (where, *limits))
            yield from map(self._touched.seen_in, map(self._row, page))
            if len(page) < _PAGE:
                return
            wanted[0], where = "key > ?", page[-1][1]

    def _row(self, values: tuple[Any, ...]) -> ShardRow:
        for value, (column, kind) in zip(values, _COLUMNS.items(), strict=True):
            if not isinstance(value, kind) or (column == "state" and value not in _STATES):
                why = f"the catalogue is damaged: the {column} of shard {values[0]!r:.40} is {value!r:.40}"
                raise OSError(errno.EIO, why, self._database.name)
        return _row(values)

    def counts(self) -> dict[DurableState, int]:
        found = dict(self._database.query("SELECT state, COUNT(*) FROM shards GROUP BY state"))
        return {state: int(found.get(state.value, 0)) for state in DurableState}

    def set_available(
        self,
        key: str,
        *,
        index: IndexFacts,
        source_size: int | None,
        source_tag: str,
        inverted: bool,
        holder: str = "",
    ) -> int:
        update = (
            "UPDATE shards SET state = 'available', error_type = '', error = '', failures = 0,"  # noqa: S608
            " generation = generation + 1, index_size = ?, index_digest = ?, index_codec = ?, block_count = ?,"
            f" inverted = ?, source_size = ?, source_tag = ?, updated = {self._database.now} WHERE id = ?"
        )
        facts = (index.size, index.digest, index.codec, index.block_count, int(inverted), source_size)

        def work(transaction: Transaction) -> int:
            self._check_lease(transaction, key, holder)
            shard = self._id(transaction, key)
            transaction.run(update, (*facts, cleaned(source_tag), shard))
            return int(transaction.query("SELECT generation FROM shards WHERE id = ?", (shard,))[0][0])

        return self._database.transact(work, once=True)

    def set_error(self, key: str, error_type: str, text: str, *, holder: str = "") -> None:
        def work(transaction: Transaction) -> None:
            self._check_lease(transaction, key, holder)
            values = ("errored", cleaned(error_type), cleaned(text))
            self._set(transaction, key, "state = ?, error_type = ?, error = ?, failures = failures + 1", values)

        self._database.transact(work, once=True)

    def set_new(self, key: str) -> None:
        self._change(key, "state = 'new', error_type = '', error = ''")

    def set_local_copy(self, key: str, path: str) -> None:
        self._change(key, "local_copy = ?", (os.fsencode(path),))

    def touch(self, key: str, when: float) -> None:
        self._touched.add(key, when)

    def add_owner(self, key: str, owner: str) -> None:
        checked("owner", owner)

        def work(transaction: Transaction) -> None:
            insert = "INSERT INTO owners (shard, owner) VALUES (?, ?) ON CONFLICT DO NOTHING"
            transaction.run(insert, (self._id(transaction, key), owner))

        self._database.transact(work)

    def remove_owner(self, key: str, owner: str) -> int:
        def work(transaction: Transaction) -> int:
            shard = self._id(transaction, key)
            transaction.run("DELETE FROM owners WHERE shard = ? AND owner = ?", (shard, owner))
            return int(transaction.query("SELECT COUNT(*) FROM owners WHERE shard = ?", (shard,))[0][0])

        return self._database.transact(work)

    def owners_of(self, key: str) -> list[str]:
        owners = "SELECT o.owner FROM owners o JOIN shards s ON s.id = o.shard WHERE s.key = ? ORDER BY o.owner"
        found = [owner for (owner,) in self._database.query(owners, (checked("key", key),))]
        if not found:
            self.find(key)
        return found

    def _change(self, key: str, changes: str, values: tuple[Any, ...] = ()) -> None:
        self._database.transact(lambda transaction: self._set(transaction, key, changes, values))

    def _set(self, transaction: Transaction, key: str, changes: str, values: tuple[Any, ...]) -> None:
        update = f"UPDATE shards SET {changes}, updated = {self._database.now} WHERE key = ?"  # noqa: S608
        if not transaction.run(update, (*values, checked("key", key))):
            raise ShardNotFoundError(key)

    def _id(self, transaction: Transaction, key: str) -> int:
        """Of a shard that nobody else changes or removes before the transaction ends."""
        find = f"SELECT id FROM shards WHERE key = ?{self._database.row_lock}"  # noqa: S608
        found = transaction.query(find, (checked("key", key),))
        if not found:
            raise ShardNotFoundError(key)
        return int(found[0][0])

    def _check_lease(self, transaction: Transaction, key: str, holder: str) -> None:
        if not holder:
            return
        # The row stays locked, so that the lease cannot go to another before what it allows is done.
        mine = (
            f"SELECT 1 FROM leases WHERE key = ? AND holder = ? AND until > {self._database.now}"  # noqa: S608
            f"{self._database.row_lock}"
        )
        if not transaction.query(mine, (key, holder)):
            raise StateError(f"{key}: the lease of {holder} has ended")


class _Touches:
    """Last accesses that are not written yet; a thread writes them, as who reads a shard waits for no writer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._when: dict[str, float] = {}
        self._written = time.monotonic()
        self._writing: threading.Thread | None = None

    def add(self, key: str, when: float) -> None:
        self._when[key] = max(when, self._when.get(key, 0.0))
        waited = time.monotonic() - self._written
        if waited > _TOUCH_SECONDS or (waited > 1.0 and len(self._when) >= _TOUCHES):
            self._written = time.monotonic()  # at once, so that no other thread does the same
            self._writing = threading.Thread(target=self.write, name="carv2-last-accesses", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is about to end
                self._writing.start()

    def seen_in(self, row: ShardRow) -> ShardRow:
        when = self._when.get(row.key, 0.0) if self._when else 0.0
        if when <= row.last_access:
            return row
        return replace(row, last_access=when)

    def close(self) -> None:
        """Write them for the last time."""
        if self._writing is not None and self._writing.is_alive():
            self._writing.join()
        if self._when:
            self.write()
        self._when.clear()

    def write(self) -> None:
        """Write them; what fails is tried again with the next ones."""
        taken = sorted(self._when.copy().items())
        update = "UPDATE shards SET last_access = ? WHERE key = ? AND last_access < ?"

        def work(transaction: Transaction) -> None:
            for key, when in taken:
                transaction.run(update, (when, key, when))

        try:
            self._database.transact(work, durable=False)
        except (CarError, OSError):  # to have used a shard is no reason to fail
            return
        for key, when in taken:
            if self._when.get(key) == when:
                self._when.pop(key, None)


def _row(values: tuple[Any, ...]) -> ShardRow:
    (
        number, key, url, state, lazy, error_type, error, failures, generation, size, digest, codec, blocks,
        inverted, source_size, source_tag, local_copy, created, updated, last_access,
    ) = values  # fmt: skip
    return ShardRow(
        number, key, url, _STATES[state], lazy != 0, error_type, error, failures, generation, size, digest, codec,
        blocks, inverted != 0, source_size, source_tag, os.fsdecode(local_copy) if local_copy else "",
        created, updated, last_access,
    )  # fmt: skip
