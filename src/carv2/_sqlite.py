"""Opening a SQLite database that belongs to a folder: write-ahead log, and a schema that knows its version."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from carv2.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Generator, Sequence

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that is writing."""

_POLL = 0.005  # seconds


@contextlib.contextmanager
def told_as_oserror(path: str | os.PathLike[str]) -> Generator[None]:
    """Turn what ``sqlite3`` raises over the file at ``path`` into an OSError that names it.

    Of a damaged file that is more than sqlite3.Error: its messages quote the file, and need not be UTF-8.
    """
    import sqlite3  # noqa: PLC0415  (10 ms, for those who have a database)

    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from error
    except (UnicodeDecodeError, SystemError, OverflowError) as error:
        raise OSError(f"{path}: database disk image is malformed") from error


def open_database(
    path: str | os.PathLike[str],
    versions: Sequence[str],
    *,
    timeout: float = LOCK_TIMEOUT,
    page_size: int | None = None,
) -> sqlite3.Connection:
    """The database at ``path``, made or brought up to the last of ``versions`` if need be; in autocommit mode.

    The connection may be used from any thread, by one at a time. What is committed survives a crash of the
    process; with ``synchronous=FULL``, which is set, that of the machine too.

    Args:
        path: of the file; its folder exists.
        versions: SQL scripts, each of which makes the schema's next version of the one before it.
        timeout: seconds to wait for a lock.
        page_size: bytes, for a database that is made; None: as SQLite likes.

    Raises:
        StateError: a newer program has been there.
        OSError: it cannot be opened (as sqlite3.Error says it).

    >>> with contextlib.closing(open_database(":memory:", ["CREATE TABLE fish (name TEXT)"])) as database:
    ...     database.execute("PRAGMA user_version").fetchone()
    (1,)
    """
    import sqlite3  # noqa: PLC0415  (10 ms, for those who have a database)

    with told_as_oserror(path):
        database = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        with told_as_oserror(path):
            if page_size is not None:
                database.execute(f"PRAGMA page_size={page_size}")
            _write_ahead(database, timeout)
            database.execute("PRAGMA synchronous=FULL")
            database.execute("PRAGMA foreign_keys=ON")
            _bring_up(database, versions)
    except BaseException:
        database.close()
        raise
    return database


def open_read_only(
    path: str | os.PathLike[str], versions: Sequence[str], *, timeout: float = LOCK_TIMEOUT
) -> sqlite3.Connection:
    """The same for reading alone; an empty one where there is no file. Where that can be, nothing is written.

    A database with a write-ahead log needs a file for those who share it. In a folder that cannot be written to,
    where there is none, it is read as one that nobody changes.

    Raises:
        StateError: a newer program has been there.
        OSError: it cannot be opened.
    """
    try:
        os.stat(path)
    except FileNotFoundError:
        path = ":memory:"
    may_write = _may_write(path)
    with told_as_oserror(path):
        database = open_database(path, versions, timeout=timeout) if may_write else _open_as_is(path, timeout)
    try:
        with told_as_oserror(path):
            found = _version_of(database)
            database.execute("PRAGMA query_only=ON")
        if found != len(versions):
            raise StateError(
                f"{path}: another carv2 made this database: version {found}, known is {len(versions)}"
            )
    except BaseException:
        database.close()
        raise
    return database


def _may_write(path: str | os.PathLike[str]) -> bool:
    if str(path) == ":memory:":
        return True
    return os.access(os.path.dirname(os.path.abspath(path)), os.W_OK | os.X_OK) and os.access(path, os.W_OK)


def _open_as_is(path: str | os.PathLike[str], timeout: float) -> sqlite3.Connection:
    import sqlite3  # noqa: PLC0415  (10 ms, for those who have a database)

    uri, trouble = Path(os.path.abspath(path)).as_uri(), ""
    for how in ("mode=ro", "mode=ro&immutable=1"):
        try:
            return _looked_at(
                sqlite3.connect(
                    f"{uri}?{how}", uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
                )
            )
        except sqlite3.Error as error:
            trouble = trouble or str(error)
    raise OSError(f"{path}: {trouble}")


def _looked_at(database: sqlite3.Connection) -> sqlite3.Connection:
    """The same, if it can be read."""
    try:
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:  # of a damaged file it need not be an error of sqlite3
        database.close()
        raise
    return database


def _write_ahead(database: sqlite3.Connection, timeout: float) -> None:
    """Have a log written ahead. While others do the same for the first time, SQLite itself does not wait."""
    import sqlite3  # noqa: PLC0415  (10 ms, for those who have a database)

    deadline = time.monotonic() + timeout
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return


def _bring_up(database: sqlite3.Connection, versions: Sequence[str]) -> None:
    if _version_of(database) == len(versions):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        found = _version_of(database)  # again, now that nobody else can change it
        if found > len(versions):
            raise StateError(f"a newer carv2 made this database: version {found}, known up to {len(versions)}")
        for script in versions[found:]:
            for statement in filter(str.strip, script.split(";")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version={len(versions)}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _version_of(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)
