"""Processes beside the tests' own that work on the same catalogue."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).parent.parent / "dagstore" / "catalogue_worker.py"


def worker(*arguments: object) -> subprocess.Popen[str]:
    """See ``dagstore/catalogue_worker.py``."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def index_in_processes(where: object, folder: Path, count: int) -> list[list[str]]:
    """The shards that each of ``count`` processes indexed, which all wanted to index all."""
    (folder / "alone").mkdir()
    workers = [worker("index", where, folder / "alone", folder / "go") for _ in range(count)]
    (folder / "go").touch()
    done = [process.communicate(timeout=60) for process in workers]
    assert [process.returncode for process in workers] == [0] * count, [errors for _, errors in done]
    return [out.splitlines() for out, _ in done]
