"""The catalogue on a SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.dagstore.catalogue._blocks import InvertedIndex
from carv2.dagstore.catalogue._sql import PATIENCE, checked
from carv2.dagstore.catalogue.records import Lease

if TYPE_CHECKING:
    import os

    from carv2.dagstore.catalogue._sql import Transaction

__all__ = ["SqlCatalogue", "open_catalogue"]

_POSTGRES = ("postgresql://", "postgres://")


def open_catalogue(where: str | os.PathLike[str], *, patience: float = PATIENCE) -> SqlCatalogue:
    """The catalogue in a SQLite file, made if need be, or in a PostgreSQL database.

    SQLite serves the processes of one host; several hosts share a PostgreSQL database, or one that speaks its
    protocol. There the tables lie in the first schema of the search path.

    Args:
        where: path of the file, whose folder exists, or a ``postgresql://`` URL (extra ``postgres``); a password
            is better kept in a passfile than in it.
        patience: seconds to wait for a lock that another writer holds, or for a server that is away.

    Raises:
        OSError: it cannot be opened; it is no database; the server does not answer.
        StateError: a newer carv2 made it.
        ImportError: psycopg 3 is not installed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     catalogue = open_catalogue(f"{folder}/catalogue.db")
    ...     row = catalogue.add("baga1", "file:///data/1.car", lazy=True)
    ...     catalogue.add_multihashes("baga1", [bytes.fromhex("1204"), bytes.fromhex("1205")])
    ...     print(row.state.value, catalogue.shards_with(bytes.fromhex("1205")), catalogue.multihash_count())
    ...     catalogue.close()
    new ['baga1'] 2
    """
    if isinstance(where, str) and where.startswith(_POSTGRES):
        from carv2.dagstore.catalogue._postgres_database import PostgresDatabase  # noqa: PLC0415  (optional)

        return SqlCatalogue(PostgresDatabase(where, patience=patience))
    from carv2.dagstore.catalogue._sqlite_database import SqliteDatabase  # noqa: PLC0415  (one of two)

    return SqlCatalogue(SqliteDatabase(where, patience=patience))


class SqlCatalogue(InvertedIndex):
    """A :class:`carv2.dagstore.catalogue.Catalogue` on SQLite or PostgreSQL; see :func:`open_catalogue`."""

    def try_lease(self, key: str, holder: str, seconds: float) -> bool:
        now = self._database.now
        take = (
            f"INSERT INTO leases (key, holder, until) VALUES (?, ?, {now} + ?) ON CONFLICT (key) DO UPDATE"  # noqa: S608
            f" SET holder = excluded.holder, until = {now} + ? WHERE leases.until <= {now}"
            " OR leases.holder = excluded.holder"
        )
        return self._run(take, checked("key", key), checked("holder", holder), seconds, seconds) > 0

    def renew_lease(self, key: str, holder: str, seconds: float) -> bool:
        now = self._database.now
        renew = f"UPDATE leases SET until = {now} + ? WHERE key = ? AND holder = ? AND until > {now}"  # noqa: S608
        return self._run(renew, seconds, key, holder) > 0

    def release_lease(self, key: str, holder: str) -> None:
        self._run("DELETE FROM leases WHERE key = ? AND holder = ?", key, holder)

    def lease_of(self, key: str) -> Lease | None:
        now = self._database.now
        find = f"SELECT holder, until - {now} FROM leases WHERE key = ? AND until > {now}"  # noqa: S608
        for holder, left in self._database.query(find, (key,)):
            return Lease(key, holder, left)
        return None

    def leases(self) -> list[Lease]:
        now = self._database.now
        find = f"SELECT key, holder, until - {now} FROM leases WHERE until > {now}"  # noqa: S608
        return [Lease(key, holder, left) for key, holder, left in self._database.query(find)]

    def get_marker(self, name: str) -> str | None:
        for (text,) in self._database.query("SELECT text FROM markers WHERE name = ?", (name,)):
            return str(text)
        return None

    def set_marker(self, name: str, text: str) -> None:
        insert = (
            "INSERT INTO markers (name, text) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET text = excluded.text"
        )
        self._run(insert, checked("name", name), checked("text", text))

    def add_marker(self, name: str, text: str) -> str:
        given = checked("name", name), checked("text", text)

        def work(transaction: Transaction) -> str:
            transaction.run("INSERT INTO markers (name, text) VALUES (?, ?) ON CONFLICT DO NOTHING", given)
            return str(transaction.query("SELECT text FROM markers WHERE name = ?", given[:1])[0][0])

        return self._database.transact(work)

    def close(self) -> None:
        self._touched.close()
        self._database.close()

    def _run(self, sql: str, *parameters: object) -> int:
        def work(transaction: Transaction) -> int:
            return transaction.run(sql, parameters)

        return self._database.transact(work)
