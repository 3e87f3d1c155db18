"""The records of all imports, in a SQLite database: several processes and threads may share it."""

from __future__ import annotations

import contextlib
import re
import threading
from time import time_ns
from typing import TYPE_CHECKING

from carv2._sqlite import open_database, open_read_only, told_as_oserror
from carv2.errors import ClosedError, ImportNotFoundError
from carv2.imports.record import read_json, read_labels, root_of, write_labels

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Generator, Mapping, Sequence

    from carv2.cid import CID

VERSIONS = [
    """
    CREATE TABLE imports (id INTEGER PRIMARY KEY AUTOINCREMENT, labels TEXT NOT NULL, root BLOB);
    CREATE INDEX imports_by_root ON imports (root, id) WHERE root IS NOT NULL
    """
]
"""AUTOINCREMENT remembers the largest number that was ever given, also of an import that was removed.
``root`` is the label's CID in binary: the same one may be written in several ways."""

_ADD = """
INSERT INTO imports (id, labels, root)
VALUES (max(?, (SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'imports')), ?, ?)
"""

_JUNK = (
    "move it away, and a new one is made; `carv2 imports load` takes in the records that `imports dump` wrote, "
    "and `imports check` names the archives that have none"
)

LAST_ID = 1 << 62
"""Largest number that is taken from elsewhere (nanoseconds of the year 2116): later ones must have room."""


class Catalogue:
    """Numbers and labels of imports; what is written is durable.

    Args:
        path: of the database, made where there is none.
        read_only: for reading alone: no file is made, and one that may not be written to will do.

    Raises:
        OSError: the database cannot be used, here and from every method.
        ClosedError: from every method of one that was closed.

    >>> catalogue = Catalogue(":memory:")
    >>> one, two = catalogue.add({"source": "unknown"}), catalogue.add({})
    >>> one < two, catalogue.labels_of(one)
    (True, {'source': 'unknown'})
    >>> catalogue.close()
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None
        try:
            self._database = (open_read_only if read_only else open_database)(path, VERSIONS)
        except OSError as error:
            if not re.search("not a database|malformed", str(error)):
                raise
            raise OSError(f"{error}: {_JUNK}") from error

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All that is done inside, by this thread, is done or not; no other process writes meanwhile.

        One inside of another is a part of that.
        """
        with self._lock:
            if self._database is not None and self._database.in_transaction:
                yield
                return
            self._ask("BEGIN IMMEDIATE")
            try:
                yield
                self._ask("COMMIT")
            except BaseException:
                if self._database is not None and self._database.in_transaction:
                    self._ask("ROLLBACK")
                raise

    def _ask(self, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        return self._execute(statement, values)[0]

    def _execute(
        self, statement: str, values: Sequence[object]
    ) -> tuple[list[tuple[object, ...]], sqlite3.Cursor]:
        with self._lock:
            if self._database is None:
                raise ClosedError("the catalogue of imports was closed")
            with told_as_oserror(self._path):
                cursor = self._database.execute(statement, values)
                return cursor.fetchall(), cursor

    def _change(self, id_: int, statement: str, values: Sequence[object]) -> None:
        if not self._execute(statement, values)[1].rowcount:
            raise ImportNotFoundError(id_)

    def add(self, labels: Mapping[str, str]) -> int:
        """A new record; its number is the time in nanoseconds, or one more than the largest before it."""
        cursor = self._execute(_ADD, [time_ns(), *_columns(labels)])[1]
        return cursor.lastrowid or 0

    def insert(self, id_: int, labels: Mapping[str, str]) -> None:
        """A record with a number from elsewhere, which is not taken here.

        Raises:
            ValueError: the number is below 0 or above :data:`LAST_ID`.
        """
        if not 0 <= id_ <= LAST_ID:
            raise ValueError(f"import {id_}: numbers go from 0 to {LAST_ID}")
        self._ask("INSERT INTO imports (id, labels, root) VALUES (?, ?, ?)", [id_, *_columns(labels)])

    def ids(self) -> list[int]:
        """All numbers, in order."""
        return [int(str(id_)) for (id_,) in self._ask("SELECT id FROM imports ORDER BY id")]

    def labels_of(self, id_: int) -> dict[str, str]:
        """The labels of an import.

        Raises:
            ImportNotFoundError: there is none of that number.
            FormatError: the record is damaged.
        """
        found = self._ask("SELECT labels FROM imports WHERE id = ?", [_sane(id_)])
        if not found:
            raise ImportNotFoundError(id_)
        what = f"the record of import {id_}"
        return read_labels(read_json(str(found[0][0]), what), what)

    def set_labels(self, id_: int, labels: Mapping[str, str]) -> None:
        """Give an import other labels; ImportNotFoundError if there is none of that number."""
        statement = "UPDATE imports SET labels = ?, root = ? WHERE id = ?"
        self._change(id_, statement, [*_columns(labels), _sane(id_)])

    def remove(self, id_: int) -> None:
        """Forget an import; ImportNotFoundError if there is none of that number."""
        self._change(id_, "DELETE FROM imports WHERE id = ?", [_sane(id_)])

    def first_with_root(self, root: CID) -> int | None:
        """The smallest number of an import with that root."""
        found = self._ask("SELECT min(id) FROM imports WHERE root = ?", [bytes(root)])[0][0]
        return None if found is None else int(str(found))

    def close(self) -> None:
        """Close the database; may be called twice."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def _columns(labels: Mapping[str, str]) -> tuple[str, bytes | None]:
    root = root_of(labels)
    return write_labels(labels), None if root is None else bytes(root)


def _sane(id_: int) -> int:
    """A number that SQLite takes, and that none has if it is too large to be one."""
    return id_ if 0 <= id_ < 1 << 63 else -1
