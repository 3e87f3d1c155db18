"""Try mutants one by one in a copy of the package, from the import on: slower than ``quick.py``, and sure.

Commands and workers that the tests start see the mutant as well. One process imports pytest and what the
tests lean on; each mutant is a fork of it that imports carv2 from the copy.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutation.forks import in_fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mutation.mutants import Mutant

LEANED_ON = (
    *("pytest", "hypothesis", "hypothesis.strategies", "multiformats", "dag_cbor", "mmh3", "varint"),
    *("asyncio", "sqlite3", "fsspec"),
)
OPTIONS = ("-x", "-q", "-p", "mutation.calm", "-W", "ignore::pytest.PytestAssertRewriteWarning")
PATIENCE = 15.0
"""Seconds that a mutant may take beyond five times what its tests take without it."""


class Copy:
    """A copy of the package in a folder of its own, in which one module at a time is changed."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(source, folder / source.name, copy_function=shutil.copy2, dirs_exist_ok=True)
        for name in LEANED_ON:
            importlib.import_module(name)

    def path(self, module: str) -> Path:
        whole = self.folder.joinpath(*module.split("."))
        return whole / "__init__.py" if whole.is_dir() else whole.with_suffix(".py")

    def run(self, tests: Sequence[str], options: Sequence[str], seconds: float) -> Any:
        """The exit code of pytest, or how else it ended."""

        def work() -> int:
            import pytest

            sys.dont_write_bytecode = True
            sys.path.insert(0, str(self.folder))
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
            return int(pytest.main([*OPTIONS, *options, *tests]))

        return in_fork(work, seconds)

    def usual_seconds(self, tests: Sequence[str], options: Sequence[str]) -> float:
        """What the tests take without a mutant."""
        began = time.monotonic()
        code = self.run(tests, options, 1200)
        if code != 0:
            raise RuntimeError(f"without a mutant, pytest ends with {code}")
        return time.monotonic() - began

    def attempts(
        self, mutants: Sequence[Mutant], tests: Sequence[str], options: Sequence[str]
    ) -> Iterator[tuple[Mutant, str]]:
        """Each mutant with what came of it."""
        if not mutants:
            return
        usual = self.usual_seconds(tests, options)
        for mutant in mutants:
            path = self.path(mutant.module)
            before = path.read_bytes()
            path.write_text(mutant.source, encoding="utf-8")
            Path(cache_from_source(str(path))).unlink(missing_ok=True)
            try:
                code = self.run(tests, options, PATIENCE + 5 * usual)
            finally:
                path.write_bytes(before)
            yield mutant, _told(code)


def _told(code: Any) -> str:
    if isinstance(code, str):  # a timeout, or a process that died
        return code
    return "survived" if code == 0 else "killed"
