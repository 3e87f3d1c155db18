"""The catalogue's database as a SQLite file: one writer, and a reader for each thread that never waits for it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

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
        self._processes: dict[int, _Process] = {}
        """A child of a fork makes its own, and never touches nor closes what it inherited."""
        self._process().writer()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        import sqlite3  # noqa: PLC0415  (loaded long since, when it is called)

        try:
            reader = self._process().reader()
            with reader.lock:
                return reader.connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            self._fail(error)

    def transact(self, work: Callable[[Transaction], T], *, once: bool = False, durable: bool = True) -> T:  # noqa: ARG002
        import sqlite3  # noqa: PLC0415

        process = self._process()
        if not process.writing.acquire(timeout=self._patience):
            raise WaitTimeoutError(f"{self._path}: another thread writes", seconds=self._patience)
        try:
            writer = process.writer()
            writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(_SqliteTransaction(writer))
                writer.execute("COMMIT")
            except BaseException:
                process.undo()
                raise
            return result
        except sqlite3.Error as error:
            self._fail(error)
        finally:
            process.writing.release()

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
        process = self._processes.get(os.getpid())
        if process is not None:
            process.close()

    def _process(self) -> _Process:
        if self._closed:
            raise ClosedError("the catalogue was closed")
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process(self._path, self._patience))

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        import sqlite3  # noqa: PLC0415

        if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
            if self._closed:
                raise ClosedError("the catalogue was closed") from error
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


class _Reader:
    """One thread's connection; closed when the thread ends, by whoever notices it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.lock = connection, threading.Lock()
        self.close = weakref.finalize(self, _close_here, connection, os.getpid())


class _Process:
    """The connections of one process."""

    def __init__(self, path: str, patience: float) -> None:
        self._path, self._patience = path, patience
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._reader_of = threading.local()
        self._changing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._closed = False
        self.writing = threading.Lock()

    def reader(self) -> _Reader:
        try:
            reader: _Reader = self._reader_of.reader
        except AttributeError:
            reader = self._reader_of.reader = _Reader(self._connection(READER_CACHE))
            with self._changing:
                self._readers.add(reader)
                if self._closed:
                    reader.close()
        return reader

    def writer(self) -> sqlite3.Connection:
        """For who holds :attr:`writing`."""
        if self._closed:
            raise ClosedError("the catalogue was closed")
        if self._writer is None:
            self._writer = self._connection(WRITER_CACHE)
            weakref.finalize(self, _close_here, self._writer, os.getpid())
        return self._writer

    def undo(self) -> None:
        """Roll back; a connection that cannot is replaced."""
        import sqlite3  # noqa: PLC0415

        writer = self.writer()
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._writer = None
            writer.close()

    def close(self) -> None:
        """Wait for the statements that run, and let go."""
        with self.writing:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
        with self._changing:
            readers = list(self._readers)
        for reader in readers:
            with reader.lock:
                reader.close()

    def _connection(self, cache: int) -> sqlite3.Connection:
        versions = [version.format(**_WORDS) for version in VERSIONS]
        connection = open_database(self._path, versions, timeout=self._patience, page_size=PAGE_SIZE)
        connection.execute(f"PRAGMA cache_size=-{cache >> 10}")
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_SIZE // PAGE_SIZE}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_SIZE}")
        return connection


def _close_here(connection: sqlite3.Connection, pid: int) -> None:
    if os.getpid() == pid:  # a child of a fork must not: the parent's locks would go
        with contextlib.suppress(Exception):
            connection.close()
