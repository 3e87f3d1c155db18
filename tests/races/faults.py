"""Put each fault in until its race is lost, and say how long that took: ``python tests/races/faults.py``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from races.table import FAULTS

MINUTES = 4.0


def lost(name: str) -> str:
    """What is said when the race is lost, in a process of its own: what is broken leaves things behind.

    Raises:
        AssertionError: it was not lost in four minutes.
    """
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--race", name, "--broken"]
    options = ["--minutes", str(MINUTES), "--seconds-each", "2"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    return done.stderr


def main() -> int:
    """Exit code 1 if a race has not noticed its fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("race", nargs="*", help=f"all where none is named, of {', '.join(FAULTS)}")
    named = parser.parse_args().race or list(FAULTS)
    if unknown := sorted({*named} - {*FAULTS}):
        parser.error(f"no such race: {', '.join(unknown)}")
    missed = 0
    print("| race | fault | lost after |\n| --- | --- | --- |")
    for name in named:
        fault, begun = FAULTS[name], time.monotonic()
        try:
            lost(name)
            took = f"{time.monotonic() - begun:.1f} s"
        except AssertionError:
            missed, took = missed + 1, "**never**"
        print(f"| {name} | {fault.what} | {took} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
