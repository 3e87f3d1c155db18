"""Run carv2 and its peers in turn on the same files and print how they compare.

    python benchmarks/run.py [--quick] [--rounds N] [--only OP,...] [--files small,medium,large]
                             [--go PATH] [--js PATH] [--data DIR] [--json OUT] [--markdown OUT]

carv2 must be importable (``pip install -e .[bench]``, or ``PYTHONPATH=src``). libipld and ipld-car take part if
they are installed. The others need to be built first:

    go build -C tests/interop/go -o PEER .             then --go PEER
    npm ci --prefix tests/interop/js                   then --js tests/interop/js

The archives (archives.py; 3.7 GB, a tenth with --quick) are made in --data when they are first wanted. Every
measurement is a process of its own, and each round runs all of them once, so that whatever else the machine does
falls on all alike. Nothing is warmed up but the page cache.

How to read it: the figures are medians over the rounds. "Time / carv2's" says how many times as long as carv2
(the first row) a program takes: above 1, carv2 is faster. Peak memory is that of the whole process, interpreter
and all; the pages of a mapped file count. go-car has several rows where it matters how it is called: given an
``os.File``, as its users do, it reads without a buffer, a system call for each byte of a varint; behind a
``bufio.Reader`` or on a memory map it is several times faster. With --quick, what a program does once at its start
weighs ten times as much: on the large blocks that is most of it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import archives
import plan
import report

import carv2
from carv2.header import PRAGMA, SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from archives import Archive
    from plan import Program

_PATIENCE = 3_600  # seconds for one process


class Job(NamedTuple):
    """One process to be run once a round, and where its figures go."""

    command: list[str]
    out: Path | None
    wanted: int
    """How many blocks it should report; a program that does not count reports 0."""
    result: report.Result
    before: Callable[[Path], object] = lambda _: None
    """Puts at ``out`` what the process should find there."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    programs, missing = plan.find_programs(given.go, given.js)
    operations = [one for one in plan.OPERATIONS if given.only is None or one.name in given.only]
    stored = {
        name: archives.prepare(archives.RECIPES[name].scaled(given.scale), given.data)
        for name in _archives_wanted(operations, given.files, programs)
    }
    machine = report.describe_machine(programs, missing)
    with tempfile.TemporaryDirectory(prefix="out-", dir=given.data) as folder:
        jobs = list(_jobs(operations, given.files, programs, stored, Path(folder)))
        _warm_up(stored.values())
        for number in range(given.rounds):
            _run_round(jobs, f"round {number + 1} of {given.rounds}")
    results = [job.result for job in jobs]
    memory = None if given.no_memory else _index_memory(10_000_000 // given.scale)
    text = report.to_markdown(operations, results, machine, memory, rounds=given.rounds)
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text, encoding="utf-8")
    if given.json is not None:
        given.json.write_text(report.to_json(results, machine, memory), encoding="utf-8")
    if any(result.error for result in results):
        raise SystemExit("some of the programs failed")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("--quick", dest="scale", action="store_const", const=10, default=1, help="a tenth of the blocks")
    add("--scale", type=int, help="or another part of them: 1 in SCALE")
    add("--rounds", type=int, default=5)
    add("--only", type=_names_of(one.name for one in plan.OPERATIONS), help="operations, separated by commas")
    add("--files", type=_names_of(("small", "medium", "large")), default=["small", "medium", "large"])
    add("--go", type=Path, help="the program of tests/interop/go")
    add("--js", type=Path, help="the folder of tests/interop/js, installed")
    add("--data", type=Path, default=Path(tempfile.gettempdir(), "carv2-bench"), help="where the archives are")
    add("--json", type=Path, help="all figures go there too")
    add("--markdown", type=Path, help="so does what is printed")
    add("--no-memory", action="store_true", help="leave out the index of 10,000,000 entries")
    return parser.parse_args(arguments)


class _names_of:  # noqa: N801  (used as a function)
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
        for file in files:
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
        blocks = archive.recipe.blocks
        command = [*programs[contender.program].command, contender.op, *contender.flags]
        command.append(str(archive.v1 if operation.version == 1 else archive.v2))
        if out is not None:
            command.append(str(out))
        count = operation.counts.get(file)
        if count is not None:
            blocks = min(count, blocks) if operation.writes else count
            command += ["--count", str(blocks)]
        size = blocks * archive.recipe.block_size
        result = report.Result(operation.name, file, contender.label, blocks, size)
        before = functools.partial(_lay_out, archive, operation)
        yield Job(command, out, blocks, result, before)


def _lay_out(archive: Archive, operation: plan.Operation, out: Path) -> None:
    if operation.goes_on_with is None:
        return
    shutil.copyfile(archive.v2, out)
    with carv2.open(archive.v2) as car, out.open("r+b") as file:
        if operation.goes_on_with == "unfinished":
            file.truncate(car.header.index_offset)
            file.seek(len(PRAGMA))
            file.write(bytes(SIZE))
        os.fsync(file.fileno())  # else the first who syncs, carv2, waits for the copy to reach the disk


def _warm_up(stored: Iterable[Archive]) -> None:
    for archive in stored:
        for path in (archive.v1, archive.v2):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def _run_round(jobs: Iterable[Job], title: str) -> None:
    for job in jobs:
        if not job.result.error:
            print(f"{title}: {job.result.operation}, {job.result.file}, {job.result.label}", file=sys.stderr)
            _run_once(job)


def _run_once(job: Job) -> None:
    if job.out is not None:
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
            job.out.unlink(missing_ok=True)


def _index_memory(entries: int) -> dict[str, float]:
    command = [sys.executable, str(plan.HERE / "memory.py"), "--entries", str(entries)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
