"""Mounts that say where they are opened, and end the process that does it: for executors in other processes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from carv2.dagstore import FileMount, Mount, MountRegistry, MountStat, default_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._source import Source


@dataclass(frozen=True)
class WorkerMount(Mount):
    """A file. Whoever opens it leaves his process number beside it, as often as he does."""

    path: str
    kills: int = 0
    """So often, the process that opens it dies."""
    pause: float = 0.0
    """Seconds that opening takes."""

    @classmethod
    def of_url(cls, url: str) -> WorkerMount:
        options = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        return cls(options["path"], int(options["kills"]), float(options["pause"]))

    @property
    def url(self) -> str:
        return f"worker://?path={quote(self.path)}&kills={self.kills}&pause={self.pause}"

    @property
    def random_access(self) -> bool:
        return True

    @property
    def opened_by(self) -> list[int]:
        """The processes that opened it, in order."""
        try:
            return [int(line) for line in Path(f"{self.path}.opened").read_text().split()]
        except FileNotFoundError:
            return []

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return FileMount(self.path).stat(timeout=timeout)

    def open(self) -> Source:
        with open(f"{self.path}.opened", "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.pause)
        if len(self.opened_by) <= self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        return FileMount(self.path).open()

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        return FileMount(self.path).chunks(start)


@dataclass(frozen=True)
class StayingMount(WorkerMount):
    """One that cannot be sent to another process."""

    @property
    def url(self) -> str:
        return super().url.replace("worker", "staying")

    def __getstate__(self) -> object:
        raise TypeError("a mount that stays where it is")


def registry() -> MountRegistry:
    """The usual mounts, and these."""
    mounts = default_registry()
    mounts.register("worker", WorkerMount.of_url)
    mounts.register("staying", StayingMount.of_url)
    return mounts
