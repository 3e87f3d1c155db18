"""A real Kubo node for the tests: alone on loopback, without a network, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from interop.conftest import Peer

PATIENCE = 60


class KuboNode(NamedTuple):
    """A running node."""

    url: str
    repo: Path
    peer: Peer
    process: subprocess.Popen[bytes]

    def ipfs(self, *arguments: object, stdin: bytes = b"") -> bytes:
        """What Kubo's own command says, asking the node; it must not fail."""
        words = [*self.peer.command, *map(str, arguments)]
        done = subprocess.run(
            words, check=False, input=stdin, capture_output=True, env=_environment(self.repo), timeout=PATIENCE
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode()}"
        return done.stdout


def _environment(repo: Path) -> dict[str, str]:
    return {**os.environ, "IPFS_PATH": str(repo), "IPFS_TELEMETRY": "off"}


@contextlib.contextmanager
def running(peer: Peer, repo: Path, **settings: str) -> Iterator[KuboNode]:
    """A node with an empty repo; its address is a free port on loopback.

    ``settings`` are keys of its configuration, ``_`` for a dot, and their values in JSON.
    """
    environment = _environment(repo)

    def once(*words: str) -> None:
        subprocess.run([*peer.command, *words], env=environment, check=True, capture_output=True, timeout=PATIENCE)

    once("init", "--profile=test", "--empty-repo")
    for key, value in settings.items():
        once("config", "--json", key.replace("_", "."), value)
    with (repo / "daemon.log").open("wb") as log:
        process = subprocess.Popen([*peer.command, "daemon", "--offline"], env=environment, stdout=log, stderr=log)
    try:
        yield KuboNode(_address(process, repo), repo, peer, process)
    finally:
        process.kill()
        process.wait(PATIENCE)


def _address(process: subprocess.Popen[bytes], repo: Path) -> str:
    """What the node writes into its repo once it can be asked."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if "Daemon is ready" in (repo / "daemon.log").read_text():
            return (repo / "api").read_text().strip()
        time.sleep(0.05)
    raise AssertionError((repo / "daemon.log").read_text())
