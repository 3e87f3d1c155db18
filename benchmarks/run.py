"""Run carv2 and its peers in turn on the same files, and write down how they compare.

    python benchmarks/run.py --docs [--quick] [--rounds N]                  the figures of docs/performance.md
    python benchmarks/run.py [--only OP,...] [--files small,...] [--json OUT] [--markdown OUT] [--chart OUT]

carv2 must be importable (``pip install -e .[bench]``). A peer takes part if it is there, and the tables name those
that are not: libipld and ipld-car if they are installed, ``car`` if it is on the path, and two that this program
brings along:

* go-car's library, through the Go program in tests/interop/go. It is built if there is a Go (``--go PATH`` names
  one that was built, ``--go none`` leaves it out).
* @ipld/car and ipfs-car, if ``npm ci --prefix tests/interop/js`` was run (``--js FOLDER``, ``--js none``).

The archives (archives.py; 5 GB, a tenth with --quick) are made in --data when they are first wanted, with a fixed
seed. Every measurement is a process of its own, and each round runs all of them once, so that whatever else the
machine does falls on all alike. Nothing is warmed up but the page cache, with the whole file before each process
starts, and once more right before random gets: while keys are chosen, a machine may let go of an index.

How to read it: the figures are medians over the rounds. "Time / carv2's" says how many times as long as carv2
(the first row) a program takes: above 1, carv2 is faster. Rows of one table do the same work: where go-car checks
no hash or syncs nothing, carv2 does not either, and where carv2 does, the Go program does it on top of go-car.
go-car is called as its users and its own command call it: given an ``os.File``, it reads without a buffer, a
system call for each byte of a varint; behind a ``bufio.Reader`` or on a memory map it is several times faster, and
has tables of its own. Peak memory is that of the whole process, interpreter and all, and the pages of a mapped
file count; "over its start" is what it grew by from right before the operation. With --quick, what a program does
once at its start weighs ten times as much: on the large blocks that is most of it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import archives
import measure
import plan
import readme
import report

import carv2
from carv2.header import PRAGMA, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from archives import Archive
    from plan import Program

ROOT = Path(__file__).absolute().parent.parent
_MEBIBYTE = bytes(1 << 20)
_PATIENCE = 3_600  # seconds for one process


class Job(NamedTuple):
    """One process to be run once a round, and where its figures go."""

    command: list[str]
    source: Path
    out: Path | None
    wanted: int
    """How many blocks it should report; a program that does not count reports 0."""
    result: report.Result
    before: Callable[[Path], object] = lambda _: None
    """Puts at ``out`` what the process should find there."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    given.data.mkdir(parents=True, exist_ok=True)
    programs, missing = plan.find_programs(_go_program(given.go, given.data), _folder(given.js))
    operations = [one for one in plan.OPERATIONS if given.only is None or one.name in given.only]
    stored = {
        name: archives.prepare(name, given.scale, given.data)
        for name in sorted(_archives_wanted(operations, given.files, programs))
    }
    machine = report.describe_machine(programs, missing)
    with tempfile.TemporaryDirectory(prefix="out-", dir=given.data) as folder:
        jobs = list(_jobs(operations, given.files, programs, stored, Path(folder)))
        for number in range(given.rounds):
            _run_round(_taking_turns(jobs, number), f"round {number + 1} of {given.rounds}")
    results = [job.result for job in jobs]
    memory = None if given.no_memory else _index_memory(10_000_000 // given.scale)
    text = report.to_markdown(operations, results, machine, memory, rounds=given.rounds)
    print(text)
    _write_down(given, text, report.to_json(results, machine, memory), report.to_chart(results, machine))
    if any(result.error for result in results):
        raise SystemExit("some of the programs failed")


def _write_down(given: argparse.Namespace, text: str, data: str, drawn: str | None) -> None:
    for path, content in ((given.markdown, text), (given.json, data), (given.chart, drawn)):
        if path is not None and content is not None:
            path.write_text(content, encoding="utf-8")
    if given.docs is not None:
        folder = given.docs / "performance"
        folder.mkdir(exist_ok=True)
        (folder / "figures.json").write_text(data, encoding="utf-8")
        if drawn is not None:
            (folder / "ratios.svg").write_text(drawn, encoding="utf-8")
        insert(given.docs / "performance.md", "run.py", re.sub("^#", "##", text, flags=re.MULTILINE))
        if given.docs == ROOT / "docs":
            readme.write()


def insert(page: Path, program: str, text: str) -> None:
    """Put what a program printed into the page, between the marks that name it; the prose around them stays."""
    first, last = f"<!-- from here: benchmarks/{program} -->", f"<!-- to here: benchmarks/{program} -->"
    whole = page.read_text(encoding="utf-8")
    if whole.count(first) != 1 or whole.count(last) != 1:
        raise SystemExit(f"{page} has no place for the figures: {first} and {last}")
    before, after = whole.partition(first)[0], whole.partition(last)[2]
    page.write_text(f"{before}{first}\n\n{text.strip()}\n\n{last}{after}", encoding="utf-8")


def _go_program(given: str, data: Path) -> Path | None:
    if given not in {"auto", "none"}:
        return Path(given)
    if given == "none" or shutil.which("go") is None:
        return None
    built = data.absolute() / "go-peer"
    done = subprocess.run(["go", "build", "-o", str(built), "."], cwd=ROOT / "tests/interop/go", check=False)
    return None if done.returncode else built


def _folder(given: str) -> Path | None:
    return None if given == "none" else Path(given).absolute()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("--quick", dest="scale", action="store_const", const=10, default=1, help="a tenth of the blocks")
    add("--scale", type=int, help="or another part of them: 1 in SCALE")
    add("--rounds", type=int, default=5)
    add("--only", type=names_of(one.name for one in plan.OPERATIONS), help="operations, separated by commas")
    add("--files", type=names_of(plan.FILES), default=list(plan.FILES))
    add("--go", default="auto", help="the program of tests/interop/go; auto to build it, none to leave it out")
    add("--js", default=str(ROOT / "tests/interop/js"), help="a folder like tests/interop/js, installed; or none")
    add("--data", type=Path, default=Path(tempfile.gettempdir(), "carv2-bench"), help="where the archives are")
    add("--json", type=Path, help="all figures go there too")
    add("--markdown", type=Path, help="so does what is printed")
    add("--chart", type=Path, help="an SVG of carv2 beside go-car")
    add("--docs", type=Path, nargs="?", const=ROOT / "docs", help="all of it goes into this folder (docs)")
    add("--no-memory", action="store_true", help="leave out the index of 10,000,000 entries")
    return parser.parse_args(arguments)


class names_of:  # noqa: N801  (used as a function)
    """Reads a list of names, each of which must be one of these."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - self._known)
        if unknown:
            raise argparse.ArgumentTypeError(
                f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(self._known))}"
            )
        return names


def _rows(
    operations: Iterable[plan.Operation], files: Iterable[str], programs: dict[str, Program]
) -> Iterator[tuple[plan.Operation, str, plan.Contender]]:
    for operation in operations:
        for file in (file for file in files if file in operation.files):
            for contender in operation.contenders:
                if contender.program in programs and contender.only_file in {None, file}:
                    yield operation, file, contender


def _archives_wanted(
    operations: Iterable[plan.Operation], files: Iterable[str], programs: dict[str, Program]
) -> set[str]:
    return {contender.stand_in or file for _, file, contender in _rows(operations, files, programs)}


def _jobs(
    operations: Iterable[plan.Operation],
    files: Iterable[str],
    programs: dict[str, Program],
    stored: dict[str, Archive],
    folder: Path,
) -> Iterator[Job]:
    for operation, file, contender in _rows(operations, files, programs):
        archive = stored[contender.stand_in or file]
        out = folder / "out" if operation.writes else None
        sources = {1: archive.v1, 2: archive.v2, "folder": archive.folder}
        source = sources[operation.version]
        command = [*programs[contender.program].command, contender.op, *contender.flags, str(source)]
        if out is not None:
            command.append(str(out))
        blocks = archive.blocks
        if file in operation.counts:
            blocks = operation.counts[file]
        if file in operation.counts or operation.writes:
            command += ["--count", str(blocks)]
        size = archive.block_bytes * blocks // archive.blocks
        result = report.Result(operation.name, file, contender.label, blocks, size, contender.role)
        before = functools.partial(lay_out, archive, operation)
        yield Job(command, source, out, blocks, result, before)


def lay_out(archive: Archive, operation: plan.Operation, out: Path) -> None:
    if operation.goes_on_with is None:
        return
    shutil.copyfile(archive.v2, out)
    with carv2.open(archive.v2) as car, out.open("r+b") as file:
        if operation.goes_on_with == "unfinished" and car.header is not None:
            file.truncate(car.header.index_offset)
            file.seek(len(PRAGMA))
            file.write(bytes(SIZE))
        os.fsync(file.fileno())  # else the first who syncs, carv2, waits for the copy to reach the disk


def _taking_turns(jobs: Iterable[Job], number: int) -> Iterator[Job]:
    """The jobs of a round: who goes first in a row is another one each time."""
    for _, row in itertools.groupby(jobs, key=lambda job: (job.result.operation, job.result.file)):
        contenders = list(row)
        first = number % len(contenders)
        yield from contenders[first:] + contenders[:first]


def use_memory(out: Path, size: int) -> None:
    """Have as much memory for files in hand as the output takes.

    What lay idle, a virtual machine may have given back to its host, and the first to write would wait for it.
    Which memory a file gets is the system's choice: so files are written and removed until that is no faster.
    """
    before, took = math.inf, _write_and_remove(out, size)
    while took < 0.8 * before:
        before, took = took, _write_and_remove(out, size)


def _write_and_remove(out: Path, size: int) -> float:
    start = time.perf_counter()
    with out.open("wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(_MEBIBYTE)
    took = time.perf_counter() - start
    out.unlink()
    return took


def _run_round(jobs: Iterable[Job], title: str) -> None:
    for job in jobs:
        if not job.result.error:
            print(f"{title}: {job.result.operation}, {job.result.file}, {job.result.label}", file=sys.stderr)
            _run_once(job)


def _run_once(job: Job) -> None:
    measure.warm(job.source)
    if job.out is not None:
        use_memory(job.out, job.result.size)
        job.before(job.out)
    try:
        done = subprocess.run(job.command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        measured = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        job.result.error = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        job.result.error = f"not done after {_PATIENCE} seconds"
    else:
        job.result.measurements.append(measured)
        if measured["blocks"] not in {0, job.wanted}:
            job.result.error = f"handled {measured['blocks']} blocks, not {job.wanted}"
    finally:
        if job.out is not None:
            remove(job.out)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _index_memory(entries: int) -> dict[str, float]:
    command = [sys.executable, str(plan.HERE / "memory.py"), "--entries", str(entries)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
