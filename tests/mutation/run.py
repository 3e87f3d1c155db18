"""Mutation testing of the parts that everything stands on, and of those that bring a damaged store back.

::

    pip install -e '.[test,mutation]'
    python tests/mutation/run.py                         # all modules of plan.toml that are not open
    python tests/mutation/run.py carv2.cid carv2.header  # some
    python tests/mutation/run.py --quick carv2.cid       # without the sure second look

A mutant is one small wrong change (mutants.py). It is killed when a test of its module's row in plan.toml
fails, hangs or dies. One that no test notices must stand in equivalent.toml with the reason why no test can
tell it from the right code; any other makes this command fail, and so does a line of that list that names no
surviving mutant any more.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCE = ROOT / "src" / "carv2"
DEAD = {"killed", "timeout", "died"}
FRAME = ("-p", "no:randomly", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"))


class Row(NamedTuple):
    """What came of one mutant."""

    module: str
    where: str
    line: int
    change: str
    result: str

    @property
    def name(self) -> str:
        return f"{self.module}:{self.where}: {self.change}"


def options(folder: Path, name: str) -> list[str]:
    return [*FRAME, f"--basetemp={folder / name}"]


def quick(module: str, tests: Sequence[str], folder: Path) -> list[Row]:
    """Every mutant of a module, tried in forks that have imported all but its own function."""
    answers = folder / "answers.jsonl"
    answers.unlink(missing_ok=True)
    job = json.dumps({"module": module, "answers": str(answers), "seconds": str(folder / "seconds.json")})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "mutation.calm", "-p", "mutation.quick"]
    done = subprocess.run(
        [*command, *options(folder, "quick"), *tests],
        cwd=ROOT,
        env={**os.environ, "CARV2_MUTATE": job},
        capture_output=True,
        text=True,
        check=False,
    )
    if not answers.exists():
        raise SystemExit(f"{module}: the tests cannot be run:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    return [Row(module, row["where"], row["line"], row["change"], row["result"]) for row in rows]


def again(module: str, tests: Sequence[str], doubtful: Sequence[Row], folder: Path) -> dict[str, str]:
    """What comes of the mutants that the quick way did not kill, when each is imported afresh."""
    from mutation.fresh import Copy
    from mutation.mutants import mutants_of

    os.environ["CARV2_TEST_SECONDS"] = str(folder / "seconds.json")
    copy = Copy(SOURCE, folder / "copy")
    names = {(row.where, row.line, row.change) for row in doubtful}
    mutants = [
        mutant
        for mutant in mutants_of(module, copy.path(module).read_text(encoding="utf-8"))
        if (mutant.where, mutant.first, mutant.change) in names
    ]
    return {
        f"{mutant.first} {module}:{mutant.where}: {mutant.change}": told
        for mutant, told in copy.attempts(mutants, tests, options(folder, "fresh"))
    }


def tried(module: str, tests: Sequence[str], known: Mapping[str, str], *, only_quick: bool) -> list[Row]:
    """All mutants of a module with what came of them in the end."""
    with tempfile.TemporaryDirectory(prefix="carv2-mutation-") as name:
        folder = Path(name)
        rows = quick(module, tests, folder)
        doubtful = [row for row in rows if row.result not in DEAD and row.name not in known]
        if only_quick or not doubtful:
            return rows
        told = again(module, tests, doubtful, folder)
    return [row._replace(result=told.get(f"{row.line} {row.name}", row.result)) for row in rows]


def report(module: str, rows: Sequence[Row], known: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """One line on a module, and one on each mutant that nobody has explained."""
    counts = collections.Counter("killed" if row.result in DEAD else "alive" for row in rows)
    alive = [row for row in rows if row.result not in DEAD]
    unknown = [row for row in alive if row.name not in known]
    print(
        f"{module:32} {len(rows):5} mutants, {counts['killed']:5} killed,"
        f" {len(alive) - len(unknown):3} explained, {len(unknown):3} not, {seconds:6.0f} s",
        flush=True,
    )
    for row in unknown:
        print(f"    line {row.line}, {row.result}: {row.where}: {row.change}", flush=True)
    return {
        "module": module,
        "mutants": len(rows),
        "killed": counts["killed"],
        "timeouts": sum(row.result == "timeout" for row in rows),
        "explained": len(alive) - len(unknown),
        "unexplained": [row.name for row in unknown],
        "seconds": round(seconds, 1),
    }


def stale(modules: Sequence[str], rows: Sequence[Row], known: Mapping[str, str]) -> list[str]:
    """Explained mutants of these modules that a test kills, or that no longer exist."""
    alive = {row.name for row in rows if row.result not in DEAD}
    return [name for name in known if name.split(":")[0] in modules and name not in alive]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", nargs="*", help="such as carv2.cid; all that are not open where none is named")
    parser.add_argument("--quick", action="store_true", help="leave out the second look at those not killed")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from mutation.lists import explained, plan, settled

    planned, known = plan(), explained()
    modules = given.module or settled()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    os.chdir(ROOT)
    figures, rows = [], []
    for module in modules:
        began = time.monotonic()
        found = tried(module, planned[module], known, only_quick=given.quick)
        rows += found
        figures.append(report(module, found, known, time.monotonic() - began))
        if given.json:
            Path(given.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    out_of_date = stale(modules, rows, known)
    for name in out_of_date:
        print(f"explained, yet not alive: {name}")
    total = {key: sum(row[key] for row in figures) for key in ("mutants", "killed", "explained")}
    left = sum(len(row["unexplained"]) for row in figures)
    print(
        f"in all: {total['mutants']} mutants, {total['killed']} killed, {total['explained']} explained, {left} not"
    )
    return 1 if left or out_of_date else 0


if __name__ == "__main__":
    sys.exit(main())
