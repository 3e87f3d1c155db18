"""A few connections to a PostgreSQL server, shared by the threads of a process."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from carv2.errors import ClosedError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Generator

    import psycopg

CONNECTIONS = 8
"""At most, for each process."""
_CONNECT_TIMEOUT = 10
"""Seconds for one attempt."""
_IDLE_LIMIT = 60.0
"""Seconds after which the server ends a transaction whose process has stopped, so that nobody waits for it."""


class Pool:
    """Connections in autocommit mode; a child of a fork makes its own."""

    def __init__(self, url: str, patience: float) -> None:
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415  (optional)

        self._url, self._patience = url, patience
        known = conninfo_to_dict(url)
        self.name = f"postgresql://{known.get('host', '')}/{known.get('dbname', '')}"
        """For messages: no password."""
        self._processes: dict[int, _Process] = {}
        self._closed = False

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[tuple[Any, ...]], None, None]:
        """One that nobody else uses meanwhile.

        Raises:
            WaitTimeoutError: all stayed in use.
        """
        process = self._process()
        if not process.free.acquire(timeout=self._patience):
            raise WaitTimeoutError(f"{self.name}: all connections are in use", seconds=self._patience)
        try:
            connection = process.take() or self._connected()
            try:
                yield connection
            finally:
                self._put_back(process, connection)
        finally:
            process.free.release()

    def close(self) -> None:
        """Close those that are idle now, and the others as they come back."""
        self._closed = True
        process = self._processes.get(os.getpid())
        if process is not None:
            process.empty()

    def _process(self) -> _Process:
        if self._closed:
            raise ClosedError("the catalogue was closed")
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process())

    def _put_back(self, process: _Process, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        if connection.closed:
            process.empty()  # the server was away, so the others are gone as well
        elif self._closed:
            connection.close()
        else:
            process.idle.append(connection)
            if self._closed:  # in this very moment
                process.empty()

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        import psycopg  # noqa: PLC0415  (optional)

        connection = psycopg.connect(
            self._url,
            autocommit=True,
            client_encoding="utf8",
            connect_timeout=_CONNECT_TIMEOUT,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=int(self._patience * 1000),
        )
        limits = {"lock_timeout": self._patience, "idle_in_transaction_session_timeout": _IDLE_LIMIT}
        try:
            for name, seconds in limits.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, f"{int(seconds * 1000)}ms"))
        except BaseException:
            connection.close()
            raise
        return connection


class _Process:
    """What one process has."""

    def __init__(self) -> None:
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        self.idle: list[psycopg.Connection[tuple[Any, ...]]] = []

    def take(self) -> psycopg.Connection[tuple[Any, ...]] | None:
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def empty(self) -> None:
        while connection := self.take():
            connection.close()
