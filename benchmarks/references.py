"""Import a large file by reference, read it back through its references, and print how that compares.

    python benchmarks/references.py [--quick] [--rounds N] [--data DIR]

carv2 must be importable. An import is compared with what it cannot do without: one core that reads the file and
hashes it with SHA-256. The default import uses the processors that there are; with one worker it uses one. The
profile lotus hashes with BLAKE2b, which takes about twice as long where the processor knows SHA-256.

Reading through references is compared with reading an archive that holds everything, by the same call: all of the
payload, every block checked.

A file of 1 GiB, of which no two chunks are equal, is made in --data when it is first wanted (16 MiB with --quick).
Every measurement is a process of its own; it takes its own time, without the start of Python. Each round runs all
of them once. The file is in the page cache, as it is right after it was written.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TIMED = """
import sys, time
import hashlib, carv2.filestore, carv2.blockstore
from carv2.filestore import FileStore, import_by_reference
from carv2.unixfs import read
source, out, original = sys.argv[1:]
def hash_all(digest):
    buffer = bytearray(1 << 20)
    with open(original, "rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(memoryview(buffer)[:size])
def read_all(store):
    assert sum(map(len, read(store, store.roots[0]))) > 0
start = time.perf_counter()
{action}
seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, peak)
"""

IMPORT = "import_by_reference(original, out, profile={profile!r}, workers={workers})"


class Task(NamedTuple):
    """Something to measure: Python that may use ``source``, an archive, ``out`` and ``original``."""

    name: str
    action: str
    source: str = ""


class Outcome(NamedTuple):
    seconds: float
    peak_mib: int


def measure(task: Task, data: Path, original: Path) -> Outcome:
    arguments = [str(data / task.source), str(data / "out.car"), str(original)]
    code = TIMED.replace("{action}", task.action)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{task.name} failed:\n{done.stderr}")
    seconds, peak = done.stdout.split()
    return Outcome(float(seconds), int(peak) >> 10)


def make_file(data: Path, mebibytes: int) -> Path:
    path = data / f"original-{mebibytes}"
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for number in range(mebibytes):
                file.write(hashlib.shake_128(b"%d" % number).digest(1 << 20))
    return path


def make_archives(data: Path, original: Path) -> None:
    from carv2.filestore import import_by_reference
    from carv2.unixfs import pack

    for profile in ("unixfs-v1-2025", "lotus"):
        pack(original, data / f"dense-{profile}.car", profile=profile, wrap=False)
        import_by_reference(original, data / f"references-{profile}.car", profile=profile)


def run_all(tasks: list[Task], rounds: int, data: Path, original: Path) -> dict[Task, Outcome]:
    """The median of each task."""
    runs: dict[Task, list[Outcome]] = {task: [] for task in tasks}
    for _ in range(rounds):
        for task, found in runs.items():
            found.append(measure(task, data, original))
    return {
        task: Outcome(statistics.median(run.seconds for run in found), max(run.peak_mib for run in found))
        for task, found in runs.items()
    }


def print_imports(rounds: int, data: Path, original: Path) -> None:
    tasks = [
        Task("sha256, one core", "hash_all(hashlib.sha256())"),
        Task("blake2b-256, one core", "hash_all(hashlib.blake2b(digest_size=32))"),
    ]
    for profile in ("unixfs-v1-2025", "lotus"):
        for name, workers in (("", None), (", one worker", 1)):
            tasks.append(Task(profile + name, IMPORT.format(profile=profile, workers=workers)))
    size = original.stat().st_size
    print(f"\n| import of {size >> 20} MiB | seconds | time / sha256's | peak MiB | archive / file |")
    print("| --- | --- | --- | --- | --- |")
    found = run_all(tasks, rounds, data, original)
    for task, (seconds, peak) in found.items():
        archive = data / f"references-{task.name.split(',')[0]}.car"
        share = f"{archive.stat().st_size / size:.4%}" if archive.exists() else ""
        print(f"| {task.name} | {seconds:.3f} | {seconds / found[tasks[0]].seconds:.2f} | {peak} | {share} |")


def print_reading(rounds: int, data: Path, original: Path) -> None:
    size = original.stat().st_size
    print(f"\n| reading of {size >> 20} MiB | seconds | MB/s | speed / dense | peak MiB |")
    print("| --- | --- | --- | --- | --- |")
    for profile in ("unixfs-v1-2025", "lotus"):
        dense = Task(
            f"{profile}, dense",
            "read_all(carv2.blockstore.ReadOnlyBlockstore(source))",
            f"dense-{profile}.car",
        )
        references = Task(
            f"{profile}, references",
            "read_all(FileStore(source, allow=[original]))",
            f"references-{profile}.car",
        )
        found = run_all([dense, references], rounds, data, original)
        for task, (seconds, peak) in found.items():
            speed = found[dense].seconds / seconds
            print(f"| {task.name} | {seconds:.3f} | {size / seconds / 1e6:.0f} | {speed:.2f} | {peak} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "carv2-references")
    args = parser.parse_args()
    original = make_file(args.data, 16 if args.quick else 1024)
    make_archives(args.data, original)
    print_imports(args.rounds, args.data, original)
    print_reading(args.rounds, args.data, original)
    (args.data / "out.car").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
