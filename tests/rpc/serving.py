"""``carv2 dagstore serve`` as a process, and what it needs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import carv2
from carv2 import CID
from cli.running import SOURCE, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60
EVERYTHING = "read,write,sign,admin"


class Served(NamedTuple):
    """A store that a process serves."""

    url: str
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def served(folder: Path, *flags: str, files: int | None = None) -> Iterator[Served]:
    """Serve the store ``store`` of ``folder``; the process has ended well, or was killed, at the end.

    It may have ``files`` open, if that is given.
    """
    few = [] if files is None else ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]
    words = [
        *few,
        sys.executable,
        "-W",
        "error",
        "-m",
        "carv2",
        "dagstore",
        "serve",
        "--json",
        "--listen",
        "127.0.0.1:0",
    ]
    process = subprocess.Popen(
        [*words, "--root", "store", *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1].decode()
        yield Served(json.loads(line)["url"], process)
        if process.poll() is None:
            code, err = stop(process)
            assert (code, err) == (0, ""), err
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Its exit code and what it complained of."""
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    return process.returncode, err.decode()


def make_token(folder: Path, allow: str = EVERYTHING, *flags: str) -> str:
    """A token, which is in the file ``token`` too."""
    ran = run(folder, ["dagstore", "token", "--root", "store", "--allow", allow, *flags])
    assert (ran.code, ran.err) == (0, "")
    (folder / "token").write_bytes(ran.out)
    return ran.out.decode().strip()


def archive(path: Path, *texts: bytes) -> CID:
    """A CARv1 of raw blocks; the CID of the first."""
    blocks = [(CID.of_data(text), text) for text in texts]
    path.write_bytes(b"".join(carv2.iter_car([blocks[0][0]], blocks)))
    return blocks[0][0]


class StallingServer(ThreadingHTTPServer):
    """A web server with one archive under every name, which it gives after ``go_on`` is set."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Stalling)
        self.data, self.go_on, self.asked = data, threading.Event(), threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Stalling(BaseHTTPRequestHandler):
    server: StallingServer

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.go_on.wait(PATIENCE)
        with contextlib.suppress(OSError):
            self.do_HEAD()
            self.wfile.write(self.server.data)

    def log_message(self, format: str, *_: object) -> None:
        pass


@contextlib.contextmanager
def stalling(data: bytes) -> Iterator[StallingServer]:
    """Such a server."""
    with StallingServer(data) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join(PATIENCE)
