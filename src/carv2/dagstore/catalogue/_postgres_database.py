"""The catalogue's database on a PostgreSQL server, which may be restarted while it is used."""

from __future__ import annotations

import errno
import functools
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from carv2.dagstore.catalogue._postgres_pool import Pool
from carv2.dagstore.catalogue._sql import KEY_OF, PATIENCE, VERSIONS, schema
from carv2.errors import StateError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from carv2.dagstore.catalogue._sql import Transaction

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two attempts."""
_TOKEN_SECONDS = 86400.0
"""So long it is known that a transaction was done: far longer than anybody asks."""
_PASSING = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "25P03", "53300"})
"""Serialization failure, deadlock; shut down, crashed, starting; idle for too long; too many connections."""
_LOCKED, _FULL = "55P03", "53100"
_WORDS = {
    "id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "blob": "BYTEA",
    "empty": "''",
    "collate": 'COLLATE "C"',
    "packed": "",
}


class PostgresDatabase:
    """See :class:`carv2.dagstore.catalogue._sql.Database`.

    What fails because the server went away is tried again for ``patience`` seconds. Without an answer to a COMMIT
    nobody knows whether it was done; a transaction that must not be done twice notes a token, so that the next
    attempt finds out: its note waits for that of a transaction which still runs, and fails if that one was kept.
    """

    now = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"
    row_lock = " FOR UPDATE"
    chunk = 1 << 13

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._pool = Pool(url, patience)
        try:
            self._retried(self._make_tables, min(patience, 5.0))
        except BaseException:
            self._pool.close()
            raise

    @property
    def name(self) -> str:
        return self._pool.name

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        def ask() -> list[tuple[Any, ...]]:
            with self._pool.connection() as connection:
                return _rows(connection, sql, parameters)

        return self._retried(ask)

    def transact(self, work: Callable[[Transaction], T], *, once: bool = False, durable: bool = True) -> T:  # noqa: ARG002
        return cast("T", self._retried(_Attempt(self._pool, work, once)))

    def shards_of(self, multihashes: Sequence[bytes]) -> list[tuple[bytes, str]]:
        find = f"SELECT b.mh, {KEY_OF} FROM blocks b WHERE b.mh = ANY(%b::bytea[])"  # noqa: S608
        return [(multihash, key) for multihash, key in self.query(find, (list(multihashes),)) if key is not None]

    def close(self) -> None:
        self._pool.close()

    def _retried(self, call: Callable[[], T], patience: float | None = None) -> T:
        import psycopg  # noqa: PLC0415  (optional)

        patience = self._patience if patience is None else patience
        until = time.monotonic() + patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return call()
            except psycopg.Error as error:
                if not _may_pass(error) or time.monotonic() + pause > until:
                    self._fail(error, patience)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _make_tables(self) -> None:
        import psycopg  # noqa: PLC0415

        with self._pool.connection() as connection:
            known = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject)
            with suppress(*known):  # another does the same in this very moment
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS carv2_schema"
                    " (part TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)"
                )
            connection.execute("INSERT INTO carv2_schema VALUES ('catalogue', 0) ON CONFLICT DO NOTHING")
            with connection.transaction():
                self._bring_up(connection)
            connection.execute(_in_psycopg(f"DELETE FROM done WHERE at < {self.now} - {_TOKEN_SECONDS}"))  # noqa: S608

    def _bring_up(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        mine = "SELECT version FROM carv2_schema WHERE part = 'catalogue' FOR UPDATE"  # one after the other
        ((found,),) = _rows(connection, mine)
        if found > len(VERSIONS):
            raise StateError(f"a newer carv2 made this database: version {found}, known up to {len(VERSIONS)}")
        for version in VERSIONS[found:]:
            for statement in schema(version, **_WORDS):
                connection.execute(_in_psycopg(statement))
        if found < len(VERSIONS):
            connection.execute("UPDATE carv2_schema SET version = %s WHERE part = 'catalogue'", (len(VERSIONS),))

    def _fail(self, error: psycopg.Error, patience: float) -> NoReturn:
        text = str(error).strip() or type(error).__name__
        if error.sqlstate == _LOCKED:
            raise WaitTimeoutError(f"{self._pool.name}: another process writes", seconds=patience) from error
        if error.sqlstate == _FULL:
            raise OSError(errno.ENOSPC, text, self._pool.name) from error
        if _may_pass(error):
            raise ConnectionError(
                errno.ECONNRESET, f"no answer within {patience:g} s: {text}", self._pool.name
            ) from error
        raise OSError(errno.EIO, text, self._pool.name) from error


class _Attempt:
    """A transaction that is tried until it is known to be done."""

    def __init__(self, pool: Pool, work: Callable[[Transaction], Any], once: bool) -> None:
        self._pool, self._work = pool, work
        self._token = secrets.token_hex(16) if once else ""
        self._result: Any = None

    def __call__(self) -> Any:
        with self._pool.connection() as connection, connection.transaction():
            transaction = _PostgresTransaction(connection)
            if not self._was_done(transaction):
                self._result = self._work(transaction)
        return self._result

    def _was_done(self, transaction: _PostgresTransaction) -> bool:
        """Whether an attempt before this one was kept after all."""
        if not self._token:
            return False
        note = f"INSERT INTO done (token, at) VALUES (?, {PostgresDatabase.now}) ON CONFLICT DO NOTHING"  # noqa: S608
        return not transaction.run(note, (self._token,))


class _PostgresTransaction:
    """See :class:`carv2.dagstore.catalogue._sql.Transaction`."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return _rows(self._connection, sql, parameters)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return self._connection.execute(_in_psycopg(sql), parameters).rowcount

    def add_shards(self, shards: Sequence[tuple[str, str]], lazy: bool) -> int:
        now = PostgresDatabase.now
        return self.run(
            "INSERT INTO shards (key, url, lazy, created, updated) SELECT key, url, ?, now, now"  # noqa: S608
            " FROM unnest(?::text[], ?::text[]) AS given (key, url)"
            f" CROSS JOIN (SELECT {now} AS now) AS clock ON CONFLICT DO NOTHING",
            (int(lazy), [key for key, _ in shards], [url for _, url in shards]),
        )

    def add_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        insert = (
            "INSERT INTO blocks (mh, shard) SELECT mh, ? FROM unnest(%b::bytea[]) AS given (mh)"
            " ON CONFLICT DO NOTHING"
        )
        return self.run(insert, (shard, list(multihashes)))

    def drop_blocks(self, shard: int, multihashes: Sequence[bytes]) -> int:
        return self.run("DELETE FROM blocks WHERE shard = ? AND mh = ANY(%b::bytea[])", (shard, list(multihashes)))


def _rows(
    connection: psycopg.Connection[tuple[Any, ...]], sql: str, parameters: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    return connection.execute(_in_psycopg(sql), parameters, binary=True).fetchall()


@functools.lru_cache(maxsize=256)
def _in_psycopg(sql: str) -> Any:
    return sql.replace("?", "%s")


def _may_pass(error: psycopg.Error) -> bool:
    """Whether the same call may succeed a little later."""
    import psycopg  # noqa: PLC0415

    state = error.sqlstate
    if state is None:  # the connection was lost, or not made
        return isinstance(error, psycopg.OperationalError)
    return state[:2] == "08" or state in _PASSING
