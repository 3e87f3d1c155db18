"""Whole programs, from their start to their end: ``python benchmarks/outside.py PROGRAM NAME:WHAT FILE [OUT]``.

Prints one JSON object, as the others do. Peak memory is the kernel's figure of the process that ended, which on
Linux starts at that of the process that started it: this one, about 10 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import carv2

CARV2 = [sys.executable, "-m", "carv2"]
FILE, OUT, ROOT, PROGRAM = "{file}", "{out}", "{root}", "{program}"

COMMANDS = {
    "carv2-command:pack": [*CARV2, "create", "--profile", "go-car", "-o", OUT, FILE],
    "carv2-command:extract": [*CARV2, "extract", "-f", FILE, "-o", OUT],
    "carv2-command:version": [*CARV2, "--version"],
    "carv2-command:inspect": [*CARV2, "inspect", "--full", FILE],
    "carv2-command:get": [*CARV2, "get-block", FILE, ROOT],
    "go-unixfsnode:pack": [PROGRAM, "unixfs-import", "--profile", "go-car", "--wrap", "--car", OUT, FILE],
    "car:pack": [PROGRAM, "create", "-f", OUT, FILE],
    "car:extract": [PROGRAM, "extract", "-f", FILE, OUT],
    "car:version": [PROGRAM, "--version"],
    "car:inspect": [PROGRAM, "inspect", "--full", FILE],
    "car:get": [PROGRAM, "get-block", FILE, ROOT],
    "ipfs-car:pack": ["node", PROGRAM, "3", OUT, FILE],
    "ipfs-car:extract": ["node", PROGRAM, "unpack", OUT, FILE],
}
"""How each is called; what stands in braces is put in."""


def command_for(name: str, program: str, file: Path, out: str) -> list[str]:
    words = {FILE: str(file), OUT: out, PROGRAM: program}
    if ROOT in COMMANDS[name]:
        with carv2.open(file) as car:
            words[ROOT] = str(car.roots[0])
    return [words.get(word, word) for word in COMMANDS[name]]


def run(command: list[str], synced: str | None = None) -> tuple[float, int]:
    """Seconds, and peak memory in KiB; ``synced`` is what is made durable before the clock stops."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as told, subprocess.Popen(command, stdout=told, stderr=told) as process:
        _, status, usage = os.wait4(process.pid, 0)
        if synced is not None and os.waitstatus_to_exitcode(status) == 0:
            with Path(synced).open("r+b") as file:
                os.fsync(file.fileno())
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            told.seek(0)
            raise SystemExit(told.read().decode(errors="replace") or f"exit status {process.returncode}")
    return seconds, usage.ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("op", choices=COMMANDS)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", nargs="?", default=os.devnull)
    parser.add_argument("--count", type=int, help="nothing is counted")
    parser.add_argument("--sync", action="store_true", help="make OUT durable, on the clock")
    given = parser.parse_args()
    command = command_for(given.op, given.program, given.file, given.out)
    seconds, peak = run(command, given.out if given.sync else None)
    if Path(given.out).is_dir():
        shutil.rmtree(given.out)
    size = 0 if given.file.is_dir() else given.file.stat().st_size
    found = {"op": given.op, "seconds": seconds, "blocks": 0, "bytes": size, "peak_rss_kib": peak}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
