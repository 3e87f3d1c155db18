"""The catalogue's database as a SQLite file: one writer, and a reader for each thread that never waits for it."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from carv2._sqlite import open_database
from carv2.dagstore.catalogue._sql import PATIENCE, VERSIONS
from carv2.errors import ClosedError, WaitTimeoutError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from carv2.dagstore.catalogue._sql import Transaction

T = TypeVar("T")

PAGE_SIZE = 8192
"""Bytes. A quarter faster to fill than 4096, and no larger (benchmarks/dagstore_catalogue.py)."""
WRITER_CACHE, READER_CACHE = 256 << 20, 8 << 20
"""Bytes of pages that a connection may keep. A reader finds the others in the system's cache."""
LOG_SIZE = 64 << 20
"""Bytes of write-ahead log that are gathered before they go to the file."""
_ASKED_AT_ONCE = (8, 64, 512)
_WORDS = {
    "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "blob": "BLOB",
    "empty": "x''",
    "collate": "COLLATE BINARY",
    "packed": "WITHOUT ROWID",
}
_VERSIONS = [version.format(**_WORDS) for version in VERSIONS]


class SqliteDatabase:
    """See :class:`carv2.dagstore.catalogue._sql.Database`.

    Readers see what was committed before they ask (write-ahead log). Writers of other processes are waited for.
    """

    now = "((julianday('now') - 2440587.5) * 86400.0)"
    row_lock = ""  # nobody else writes during a transaction
    chunk = 1 << 15

    def __init__(self, path: str | os.PathLike[str], *, patience: float = PATIENCE) -> None:
        self._path, self._patience = os.fspath(path), patience
        self._closed = False
        self._writer = _Connection(self._path, patience, WRITER_CACHE)
        self._reader_of = threading.local()
        self._readers: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._changing = threading.Lock()
        with self._writer.lock:
            self._writer.opened()
        _OPEN.add(self)

    @property
    def name(self) -> str:
        return self._path

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import sqlite3  # noqa: PLC0415  (loaded long since, when it is called)

        reader = self._reader()
        try:
            with reader.lock:
                return self._opened(reader).execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._fail(error)

    def transact(self, work: Callable[[Transaction], T], *, once: bool = False, durable: bool = True) -> T:  # noqa: ARG002
        import sqlite3  # noqa: PLC0415

        if not self._writer.lock.acquire(timeout=self._patience):
            raise WaitTimeoutError(f"{self._path}: another thread writes", seconds=self._patience)
        try:
            writer = self._opened(self._writer)
            writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(_SqliteTransaction(writer))
                writer.execute("COMMIT")
            except BaseException:
                self._writer.undo()
                raise
            return result
        except sqlite3.Error as error:
            self._fail(error)
        finally:
            self._writer.lock.release()

    def shards_of(self, multihashes: Sequence[bytes]) -> list[tuple[bytes, str]]:
        found: list[tuple[bytes, str]] = []
        for start in range(0, len(multihashes), _ASKED_AT_ONCE[-1]):
            asked = multihashes[start : start + _ASKED_AT_ONCE[-1]]
            size = next(size for size in _ASKED_AT_ONCE if size >= len(asked))
            filled = [*asked, *itertools.repeat(asked[0], size - len(asked))]  # few statements, so all are cached
            found += self.query(_SHARDS_OF[size], filled)
        return found

    def close(self) -> None:
        self._closed = True
        for connection in self._connections():
            with connection.lock:
                connection.close()

    def pause(self) -> Callable[[], None]:
        """Close all connections for the time of a fork, and keep others from making any; call what is returned."""
        self._changing.acquire()
        held = [self._writer, *self._readers]
        for connection in held:
            connection.lock.acquire()
            connection.close()

        def go_on() -> None:
            for connection in held:
                connection.lock.release()
            self._changing.release()

        return go_on

    def _connections(self) -> list[_Connection]:
        with self._changing:
            return [self._writer, *self._readers]

    def _reader(self) -> _Connection:
        try:
            return cast("_Connection", self._reader_of.connection)
        except AttributeError:
            pass
        reader = _Connection(self._path, self._patience, READER_CACHE)
        with self._changing:
            self._readers.add(reader)
        self._reader_of.connection = reader
        return reader

    def _opened(self, connection: _Connection) -> sqlite3.Connection:
        if self._closed:
            raise ClosedError("the catalogue was closed")
        return connection.opened()

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        import sqlite3  # noqa: PLC0415

        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
            raise error
        text = str(error)
        if "locked" in text:
            raise WaitTimeoutError(f"{self._path}: another process writes", seconds=self._patience) from error
        number = errno.ENOSPC if "full" in text else errno.EIO
        if "malformed" in text or "not a database" in text:
            text = f"the catalogue is damaged: {text}"
        raise OSError(number, text, self._path) from error


def _shards_of(count: int) -> str:
    marks = ",".join("?" * count)
    return f"SELECT b.mh, s.key FROM blocks b JOIN shards s ON s.id = b.shard WHERE b.mh IN ({marks})"  # noqa: S608


_SHARDS_OF = {size: _shards_of(size) for size in _ASKED_AT_ONCE}


class _SqliteTransaction:
    """See :class:`carv2.dagstore.catalogue._sql.Transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def add_shards(self, shards: Sequence[tuple[str, str]], lazy: bool) -> int:
        now = SqliteDatabase.now
        return self._many(
            f"INSERT INTO shards (key, url, lazy, created, updated) VALUES (?, ?, {int(lazy)}, {now}, {now})"  # noqa: S608
            " ON CONFLICT DO NOTHING",
            shards,
        )

    def add_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        insert = "INSERT INTO blocks (mh, shard) VALUES (?, ?) ON CONFLICT DO NOTHING"
        return self._many(insert, zip(multihashes, itertools.repeat(shard)))

    def drop_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        delete = "DELETE FROM blocks WHERE mh = ? AND shard = ?"
        return self._many(delete, zip(multihashes, itertools.repeat(shard)))

    def _many(self, sql: str, rows: Any) -> int:
        before = self._connection.total_changes
        self._connection.executemany(sql, rows)
        return self._connection.total_changes - before


class _Connection:
    """A connection that is opened when it is used, by one at a time, and closed when its thread ends."""

    def __init__(self, path: str, patience: float, cache: int) -> None:
        self._path, self._patience, self._cache = path, patience, cache
        self._connection: sqlite3.Connection | None = None
        self.lock = threading.Lock()
        """Held for all that follows."""

    def opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = open_database(self._path, _VERSIONS, timeout=self._patience, page_size=PAGE_SIZE)
            try:
                connection.execute(f"PRAGMA cache_size=-{self._cache >> 10}")
                connection.execute(f"PRAGMA wal_autocheckpoint={LOG_SIZE // PAGE_SIZE}")
                connection.execute(f"PRAGMA journal_size_limit={LOG_SIZE}")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def undo(self) -> None:
        """Roll back; a connection that cannot is replaced."""
        import sqlite3  # noqa: PLC0415

        if self._connection is None or not self._connection.in_transaction:
            return
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def __del__(self) -> None:
        with self.lock:  # whoever closes the database meanwhile finds this still, and waits
            self.close()


# SQLite notes in the memory of a process which locks it has on a file, and a child of a fork would believe it. So
# there are no connections while a process forks: they are closed before, and opened again as they are needed.
_OPEN: weakref.WeakSet[SqliteDatabase] = weakref.WeakSet()
_FORKING = threading.Lock()
_PAUSED: list[Callable[[], None]] = []


def _before_fork() -> None:
    _FORKING.acquire()
    _PAUSED.extend(database.pause() for database in list(_OPEN))


def _after_fork() -> None:
    while _PAUSED:
        _PAUSED.pop()()
    _FORKING.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
