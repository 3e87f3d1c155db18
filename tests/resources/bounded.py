"""Work in a process of its own that may take only so much memory and time.

What is bounded is what the work takes, not what Python and carv2 take to be there: both limits count from when all
modules are loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 280
"""Seconds by the clock, for a machine that is busy; the limit of the processor's seconds comes first."""


class Outcome(NamedTuple):
    """What came of one piece of work."""

    name: str
    file: str
    kind: str
    """Class of the error that ended it, empty if there was none."""
    text: str
    """Of the error."""
    seconds: float
    """Of the processor."""
    peak: int
    """Bytes that the process has had in memory up to then."""


class Ran(NamedTuple):
    """What came of a process."""

    code: int
    outcomes: list[Outcome]
    err: str


def run_bounded(
    names: Iterable[str], files: Sequence[object], *, memory: int, seconds: int, into: object = ""
) -> Ran:
    """Do each piece of work of ``resources/work.py`` that is named with each file.

    Args:
        names: which pieces of work.
        files: their inputs.
        memory: bytes of address space for all of it.
        seconds: of the processor, for all of it.
        into: a folder for what is written.
    """
    limits = {"memory": memory, "seconds": seconds, "into": str(into)}
    done = _run("resources.work", limits, list(names), [str(file) for file in files])
    return Ran(done.returncode, [Outcome(*json.loads(line)) for line in done.stdout.splitlines()], done.stderr)


def _run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(json.dumps, arguments)],
        cwd=TESTS,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},  # each thread's reserves 64 MiB of addresses, whatever it uses
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Command(NamedTuple):
    """What came of a command line."""

    line: str
    file: str
    code: int
    err: str
    """The beginning of what it wrote there."""


def run_commands(
    names: Iterable[str], files: Sequence[object], *, memory: int, seconds: int, into: object
) -> tuple[int, list[Command], str]:
    """The same for command lines, those of ``resources/commands.py`` for the commands that are named."""
    limits = {"memory": memory, "seconds": seconds, "into": str(into)}
    done = _run("resources.commands", limits, [str(file) for file in files], list(names))
    return done.returncode, [Command(*json.loads(line)) for line in done.stdout.splitlines()], done.stderr
