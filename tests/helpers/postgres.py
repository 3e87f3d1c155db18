"""A PostgreSQL server of the tests' own: on a socket in a temporary folder, gone when they end."""

from __future__ import annotations

import functools
import glob
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

USER = "carv2"


@functools.cache
def _program(name: str) -> str:
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"PostgreSQL is not installed: no {name}")
    return str(Path(found).resolve())


def _someone_else() -> dict[str, int]:
    """The server refuses to run as root; whom it may run as instead."""
    if os.getuid():
        return {}
    for name in ("postgres", "nobody"):
        try:
            known = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": known.pw_uid, "group": known.pw_gid}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


class PostgresServer:
    """Started when made; :meth:`stop` removes all of it."""

    def __init__(self) -> None:
        self._as = _someone_else()
        self._initdb, self._ctl = _program("initdb"), _program("pg_ctl")
        pytest.importorskip("psycopg", reason="psycopg is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="carv2-pg-"))  # short: a socket's path has 107 bytes
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self._data = self.folder / "data"
        self._run(
            self._initdb, "-D", self._data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write("listen_addresses = ''\nfsync = off\nmax_connections = 60\nshared_buffers = 32MB\n")
            conf.write(f"unix_socket_directories = '{self.folder}'\n")
        self.start()

    def url(self) -> str:
        return f"postgresql://{USER}@/postgres?host={self.folder}"

    def new_schema(self) -> str:
        """URL of an empty room in the database."""
        import psycopg

        name = f"s{secrets.token_hex(8)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        self._run(self._ctl, "-D", self._data, "-w", "-l", self.folder / "log", "start")

    def halt(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is a crash, after which it recovers from its log."""
        self._run(self._ctl, "-D", self._data, "-w", "-m", mode, "stop")

    def kill_backends(self) -> None:
        """End one process of the server hard: it throws out all clients and recovers."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        for (pid,) in found[:1]:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        try:
            if (self._data / "postmaster.pid").exists():
                self.halt()
        finally:
            shutil.rmtree(self.folder)

    def _run(self, *command: str | os.PathLike[str]) -> None:
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL if "start" in command else subprocess.PIPE,
            stderr=subprocess.DEVNULL if "start" in command else subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            timeout=60,
            check=False,
            **self._as,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stdout
