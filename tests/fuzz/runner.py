"""The command ``tests/fuzz/run``: fuzzes all targets in turn, keeps what it finds, and sums up.

What is kept lies in ``--work``: for each target the corpus, which the next run goes on with, and ``crash-*`` with
``crash-*.small``, the smallest input that fails in the same way. One of those goes to ``fixtures/fuzz/TARGET``,
once what it shows is mended: what lies there is tried in every test run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuzz.target import Target

TESTS = Path(__file__).resolve().parent.parent
SLICE = 60.0
"""Seconds for a target at most, before it is the next one's turn."""

MOST_MEMORY = 2048
"""Megabytes that a fuzzing process may have."""

_EXAMINED = 100
_STATUS = re.compile(rb"cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass
class Tally:
    """What came of one target."""

    executions: int = 0
    seconds: float = 0.0
    coverage: int = 0
    """Places in carv2's code that were reached: edges between lines, as libFuzzer counts them."""
    features: int = 0
    """The same with how often."""
    inputs: int = 0
    """In the corpus: those that reached something that no other had."""
    go_answers: int = 0
    crashes: list[dict[str, str]] = field(default_factory=list)


class Worker:
    """The process that has carv2 instrumented."""

    def __init__(self, fault: str) -> None:
        command = [sys.executable, "-m", "fuzz.worker", *([fault] if fault else [])]
        self._process = subprocess.Popen(
            command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the fuzzing process ended with {self._process.wait()}: is atheris installed?")
        found: dict[str, Any] = json.loads(line)
        return found

    def run(self, target: Target, folder: Path, seconds: float) -> int:
        """Fuzz one target; the status is that of libFuzzer, 0 where nothing was found."""
        arguments = [
            f"-max_total_time={max(1, round(seconds))}",
            f"-max_len={target.max_size}",
            f"-rss_limit_mb={MOST_MEMORY}",
            "-timeout=20",
            "-use_value_profile=1",
            f"-artifact_prefix={folder}/",
            *_dictionary(target, folder),
            str(folder / "corpus"),
            str(target.folder),
        ]
        assert self._process.stdin is not None
        job = {"target": target.name, "folder": str(folder), "arguments": arguments}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer()["status"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _dictionary(target: Target, folder: Path) -> list[str]:
    if not target.words:
        return []
    path = folder / "words"
    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    path.write_text("".join(f'"{word}"\n' for word in words))
    return [f"-dict={path}"]


class Run:
    """All targets in turn, as often as there is time."""

    def __init__(self, targets: Sequence[Target], work: Path, fault: str = "") -> None:
        self._targets, self._work, self._fault = targets, work, fault
        self.tallies = {target.name: Tally() for target in targets}

    def fuzz(self, seconds: float) -> None:
        """Fuzz for so long altogether; a target with a crash is left alone from then on."""
        worker, end = Worker(self._fault), time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0 and (sound := self._sound()):
                each = min(SLICE, max(1.0, left / len(sound)))
                for target in sound:
                    if time.monotonic() < end:
                        self._turn(worker, target, each)
        finally:
            worker.close()

    def _sound(self) -> list[Target]:
        return [target for target in self._targets if not self.tallies[target.name].crashes]

    def _turn(self, worker: Worker, target: Target, seconds: float) -> None:
        folder, tally, start = self._work / target.name, self.tallies[target.name], time.monotonic()
        (folder / "corpus").mkdir(parents=True, exist_ok=True)
        known = set(folder.glob("crash-*")) | set(folder.glob("timeout-*")) | set(folder.glob("oom-*"))
        status = worker.run(target, folder, seconds)
        tally.seconds += time.monotonic() - start
        counts = (folder / "counts").read_bytes()
        tally.executions += int.from_bytes(counts[:8], "little")
        tally.go_answers += int.from_bytes(counts[8:], "little")
        seen = _STATUS.findall((folder / "log").read_bytes())
        if seen:
            tally.coverage, tally.features = (
                max(map(int, column)) for column in list(zip(*seen, strict=True))[:2]
            )
        tally.inputs = len(list((folder / "corpus").iterdir()))
        found = {path for kind in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(kind)} - known
        for path in sorted(found):
            self._note(target, path)
        if status and not found:
            why = (folder / "log").read_text(errors="replace")[-500:]
            tally.crashes.append({"file": "", "failure": f"the process ended with {status}: {why}"})

    def _note(self, target: Target, path: Path) -> None:
        (told,) = self._replay(target, [path], "--shrink")
        failure = told["failure"] or "does not fail again"
        self.tallies[target.name].crashes.append({"file": str(path), "failure": failure})

    def examine(self) -> None:
        """Count the work of some inputs of each corpus, which no clock has a part in."""
        for target in self._sound():
            inputs = sorted((self._work / target.name / "corpus").glob("*"))
            chosen = inputs[:: max(1, len(inputs) // _EXAMINED)]
            if chosen:
                told = self._replay(target, chosen, "--cost")
                self.tallies[target.name].crashes += [one for one in told if one["failure"] is not None]

    def _replay(self, target: Target, paths: list[Path], *options: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "fuzz.replay", target.name, *map(str, paths), *options]
        if self._fault:
            command += ["--with-fault", self._fault]
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        if len(told) < len(paths):
            why = f"ended with {done.returncode}: {done.stderr[-500:]}"
            told.append({"file": str(paths[len(told)]), "failure": why})
        return told

    def summary(self, seconds: float) -> dict[str, Any]:
        """What was done and found."""
        tallies = self.tallies.values()
        return {
            "seconds": round(seconds, 1),
            "executions": sum(tally.executions for tally in tallies),
            "go_answers": sum(tally.go_answers for tally in tallies),
            "crashes": sum(len(tally.crashes) for tally in tallies),
            "targets": {name: asdict(tally) for name, tally in self.tallies.items()},
        }


def main() -> int:
    """Run; the exit status is 1 if something was found."""
    from fuzz.targets import TARGETS

    asked = _parser(list(TARGETS)).parse_args()
    seconds = 3600 * asked.hours + 60 * asked.minutes + asked.seconds
    work, start = asked.work.resolve(), time.monotonic()
    if asked.go:
        os.environ["CARV2_GO_PEER"] = str(asked.go.resolve())
    run = Run([TARGETS[name] for name in asked.target or TARGETS], work, asked.with_fault)
    run.fuzz(seconds or 60)
    run.examine()
    summary = run.summary(time.monotonic() - start)
    text = json.dumps(summary, indent=2)
    (work / "summary.json").write_text(text + "\n")
    print(text)
    return 1 if summary["crashes"] else 0


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tests/fuzz/run", description=__doc__)
    parser.add_argument("--hours", type=float, default=0, help="how long, altogether")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--seconds", type=float, default=0, help="60 unless told otherwise")
    parser.add_argument(
        "--target", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}; all of them"
    )
    parser.add_argument("--work", type=Path, default=TESTS.parent / ".fuzz", help="folder for corpus and crashes")
    parser.add_argument("--go", type=Path, help="the peer of tests/interop/go; or $CARV2_GO_PEER")
    parser.add_argument(
        "--with-fault", default="", metavar="TARGET: NAME", help="a fault of a target's own, to be found"
    )
    return parser
