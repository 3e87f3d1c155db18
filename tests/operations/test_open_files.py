"""Operations let go of their files when they return, not when Python next looks for cycles."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import dag
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPERATIONS: dict[str, Callable[[Path], Any]] = {
    "inspect": lambda path: carv2.inspect(path, full=True),
    "verify": carv2.verify,
    "verify_deep": dag.verify_deep,
    "check_complete": dag.check_complete,
    "stat": lambda path: dag.stat(path, full=True),
    "wrap": lambda path: carv2.reindex(path, path.parent / "out"),
    "filter": lambda path: carv2.filter_blocks(path, path.parent / "out", []),
    "append": lambda path: carv2.filter_blocks(path, path, [], inverse=True, append=True),
    "concat": lambda path: carv2.concat([path, path], path.parent / "out", deduplicate=True),
    "split": lambda path: carv2.split(path, path.parent / f"part{len(os.listdir(path.parent))}", size=10_000),
    "diff": lambda path: carv2.diff(path, path),
    "explain": lambda path: list(carv2.explain(path)),
    "salvage": lambda path: carv2.salvage(path, path.parent / f"saved{len(os.listdir(path.parent))}"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_file_stays_open(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(archives.SMALL_V2)
    operation = OPERATIONS[name]
    operation(path)
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            operation(path)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
