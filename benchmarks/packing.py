"""Pack the same folders with carv2 and its peers in turn, and print how they compare.

    python benchmarks/packing.py [--quick] [--rounds N] [--go PATH] [--js FOLDER] [--data DIR]

carv2 must be importable. The peers need to be built first:

    go build -C tests/interop/go -o PEER .             then --go PEER
    npm ci --prefix tests/interop/js                   then --js tests/interop/js

The Go program is what ``car create`` does: go-unixfsnode's importer into go-car's store. The other one is the pack
command of ipfs-car.

Two folders are made in --data when they are first wanted (1.5 GB, a hundredth with --quick): *large*, eight files,
1 GiB in all, and *small*, 100,000 files of about 1.5 KB in a hundred folders. Every measurement is a process of
its own, start-up included, and each round runs all of them once. carv2 makes its file durable, the peers do not.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

OURS = "import sys; from carv2.unixfs import pack; print(pack(sys.argv[1], sys.argv[2], profile=sys.argv[3]).root)"


class Program(NamedTuple):
    """A packer: its command takes a folder and an archive in the places of ``{in}`` and ``{out}``."""

    name: str
    command: tuple[str, ...]

    def run(self, folder: Path, out: Path) -> tuple[float, int, str]:
        """Seconds, peak memory in KiB, and the root."""
        command = [word.replace("{in}", str(folder)).replace("{out}", str(out)) for word in self.command]
        out.unlink(missing_ok=True)
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        printed = process.stdout.read().decode().split()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode != 0:
            raise SystemExit(f"{self.name} failed")
        return time.perf_counter() - start, usage.ru_maxrss, printed[-1]


def make_folders(data: Path, scale: int) -> list[Path]:
    """The two folders, ``scale`` times smaller than they should be."""
    large, small = data / f"large-{scale}", data / f"small-{scale}"
    if not large.exists():
        large.mkdir(parents=True)
        for number in range(8):
            block = hashlib.shake_128(b"%d" % number).digest((128 << 20) // scale)
            (large / f"file-{number}").write_bytes(block)
    if not small.exists():
        for number in range(100_000 // scale):
            path = small / f"{number // 1000:03}" / f"file-{number:06}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%06d\n" % number * (50 + number % 300))
    return [large, small]


def programs(go: str | None, js: str | None) -> list[Program]:
    found = [
        Program(f"carv2, {name}", (sys.executable, "-c", OURS, "{in}", "{out}", name))
        for name in ("go-car", "unixfs-v1-2025")
    ]
    if go:
        flags = ["--profile", "go-car", "--wrap", "--car", "{out}", "{in}"]
        found.append(Program("go-unixfsnode, go-car", (go, "unixfs-import", *flags)))
    if js:
        found.append(Program("ipfs-car 3", ("node", f"{js}/ipfs-car.mjs", "3", "{out}", "{in}")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--go")
    parser.add_argument("--js")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "carv2-packing")
    args = parser.parse_args()
    for folder in make_folders(args.data, 100 if args.quick else 1):
        taken = {program: [] for program in programs(args.go, args.js)}
        for _ in range(args.rounds):
            for program, runs in taken.items():
                runs.append(program.run(folder, args.data / "out.car"))
        first = statistics.median(seconds for seconds, _, _ in next(iter(taken.values())))
        print(f"\n| {folder.name} | seconds | time / carv2's | peak MiB | root |\n| --- | --- | --- | --- | --- |")
        for program, runs in taken.items():
            seconds = statistics.median(seconds for seconds, _, _ in runs)
            peak = max(peak for _, peak, _ in runs) >> 10
            print(f"| {program.name} | {seconds:.2f} | {seconds / first:.1f} | {peak} | {runs[0][2]} |")
    (args.data / "out.car").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
