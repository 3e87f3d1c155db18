#!/usr/bin/env python3
"""Which branches of carv2 its tests reach, in all processes that they start; ends with 1 if too few.

``python tests/branches/run.py`` takes about as long as the tests themselves. Left out are the tests beside other
programs, which are not everywhere, and those that go where others have been: races, fuzzing, benchmarks, processes
with little memory. A process that is killed in the middle of its notes leaves a torn file; that is put aside.

Whether tests pass is for a run of the tests to say: they are slower here, and one that fails is told and no more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent.parent
LEAST = 98.0
"""Per cent of statements and branches, counted together."""
LEFT_OUT = (
    "tests/interop", "tests/fuzz", "tests/mutation", "tests/races", "tests/resources",
    "tests/test_benchmarks.py", "tests/test_speed_guard.py", "tests/test_leaks.py",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="some of them, to see what they reach")
    parser.add_argument("--least", type=float, default=LEAST, metavar="PERCENT")
    parser.add_argument("--processes", default="auto", help="that run tests (default: one for each processor)")
    parser.add_argument("--folder", type=Path, help="keep the notes there, for `coverage html`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carv2-branches-") as own:
        folder = given.folder or Path(own)
        folder.mkdir(parents=True, exist_ok=True)
        run(given.tests, folder / "notes", given.processes)
        torn = put_aside(folder.glob("notes.*"))
        print(f"{torn} files of processes that were killed while they wrote are left out", flush=True)
        few = report(folder / "notes", given.least)
    return int(few)


def run(tests: list[str], notes: Path, processes: str) -> None:
    """Run the tests, each process with notes of its own."""
    chosen = tests or [f"--ignore={path}" for path in LEFT_OUT]
    frame = ["pytest", "-q", "-n", processes, "--dist", "loadfile", "-p", "no:cacheprovider"]
    _coverage(notes, "run", "-m", *frame, *chosen)


def put_aside(paths: Iterable[Path]) -> int:
    """Remove what is no sound database; how many were not."""
    torn = [path for path in paths if not is_sound(path)]
    for path in torn:
        path.unlink()
    return len(torn)


def is_sound(path: Path) -> bool:
    """Whether coverage can read it to its end."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as notes:
            return notes.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and _has_tables(notes)
    except sqlite3.DatabaseError:
        return False


def _has_tables(notes: sqlite3.Connection) -> bool:
    names = {name for (name,) in notes.execute("SELECT name FROM sqlite_master")}
    return {"file", "context", "arc"} <= names


def report(notes: Path, least: float) -> bool:
    """Join the notes and print what is not reached; whether that is too much."""
    return _coverage(notes, "combine", "-q") != 0 or _coverage(notes, "report", f"--fail-under={least}") != 0


def _coverage(notes: Path, *words: str) -> int:
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "COVERAGE_FILE": str(notes)}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
