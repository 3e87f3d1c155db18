"""A pytest plugin that tries the mutants of one module in forks of a process that has collected its tests.

A mutant inside a function costs a fork and the tests that reach its lines, the shortest first: the function's
code is swapped, nothing is imported again. Mutants that this cannot try (constants, class bodies, what runs
while modules are imported) and those that it does not kill are left to ``fresh.py``.

``run.py`` starts it: ``python -m pytest -p mutation.calm -p mutation.quick TESTS``, with the job in
``CARV2_MUTATE``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import coverage

from mutation.forks import in_fork
from mutation.mutants import Mutant, mutants_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

PATIENCE = 5.0
"""Seconds that a mutant may take beyond ten times what its tests take without it."""


MOST_SECONDS = 6.0
"""What the tests tried here on one mutant may take in all without it; longer ones are left out."""


class Outcome:
    """Whether a test has failed."""

    def __init__(self) -> None:
        self.failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed


def codes_of(code: CodeType, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[Any, ...], CodeType]]:
    """Every code object below ``code`` with its place: names and how many of that name came before."""
    counts: dict[str, int] = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            number = counts[constant.co_name] = counts.get(constant.co_name, -1) + 1
            here = (*path, f"{constant.co_name}#{number}")
            yield here, constant
            yield from codes_of(constant, here)


class Job:
    """The mutants of one module, the tests that reach each of its lines, and what came of them."""

    def __init__(self, session: pytest.Session, job: dict[str, Any]) -> None:
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        self.module = sys.modules.get(job["module"]) or __import__(job["module"], fromlist=["x"])
        self.path = self.module.__file__ or ""
        self.source = Path(self.path).read_text(encoding="utf-8")
        self.seconds: dict[str, float] = {}
        self.reached: dict[int, set[str]] = {}
        self.functions: dict[tuple[Any, ...], list[FunctionType]] = {}
        self._find_functions()

    def _find_functions(self) -> None:
        by_place = {
            (code.co_name, code.co_firstlineno): place
            for place, code in codes_of(compile(self.source, self.path, "exec"))
        }
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__code__.co_filename == self.path:
                place = by_place.get((thing.__code__.co_name, thing.__code__.co_firstlineno))
                if place is not None:
                    self.functions.setdefault(place, []).append(thing)

    def run_items(self, names: list[str], outcome: Outcome) -> None:
        """Run tests until one fails."""
        items = [self.items[name] for name in names]
        for item, following in zip(items, [*items[1:], None], strict=True):
            began = time.monotonic()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            self.seconds[item.nodeid] = time.monotonic() - began
            if outcome.failed:
                break

    def baseline(self) -> dict[str, Any]:
        """Run every test once, unchanged: how long each takes, and which lines it reaches. In a fork."""
        outcome = Outcome()
        self.session.config.pluginmanager.register(outcome)
        cover = coverage.Coverage(data_file=None, include=[self.path], branch=False, config_file=False)
        cover.set_option("run:disable_warnings", ["no-data-collected"])  # of a module of nothing but constants
        cover.start()
        items = list(self.items.values())
        for item, following in zip(items, [*items[1:], None], strict=True):
            cover.switch_context(item.nodeid)
            self.forget()
            began = time.monotonic()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            self.seconds[item.nodeid] = time.monotonic() - began
            if outcome.failed:
                return {"failed": item.nodeid}
        cover.stop()
        lines = cover.get_data().contexts_by_lineno(self.path)
        return {"seconds": self.seconds, "lines": {line: sorted(set(names)) for line, names in lines.items()}}

    def forget(self) -> None:
        """What the module's functions remember would hide from later tests which lines made it."""
        for thing in vars(self.module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()

    def tests_for(self, mutant: Mutant) -> list[str]:
        names: set[str] = set()
        for line in range(mutant.first, mutant.last + 1):
            names |= self.reached.get(line, set())
        shortest_first = sorted(names & set(self.items), key=lambda name: self.seconds.get(name, 0.0))
        total, chosen = 0.0, list[str]()
        for name in shortest_first:
            total += self.seconds.get(name, 0.0)
            if chosen and total > MOST_SECONDS:
                break  # fresh.py runs them all
            chosen.append(name)
        return chosen

    def swap(self, mutant: Mutant) -> bool:
        """Put the mutant's code in the place of the function's; False where that does not do."""
        old = dict(codes_of(compile(self.source, self.path, "exec")))
        new = dict(codes_of(compile(mutant.source, self.path, "exec")))
        swapped = False
        for place, functions in self.functions.items():
            if place not in new or _alike(old[place], new[place]):
                continue
            for function in functions:
                function.__code__ = new[place]
                swapped = True
        return swapped

    def attempt(self, mutant: Mutant, tests: list[str]) -> str:
        """In a fork: try a mutant."""
        try:
            if not self.swap(mutant):
                return "unsettled"
        except ValueError:  # other free variables: only an import makes that function
            return "unsettled"
        except SyntaxError:
            return "impossible"
        outcome = Outcome()
        self.session.config.pluginmanager.register(outcome)
        self.run_items(tests, outcome)
        return "killed" if outcome.failed else "survived"


def _alike(old: CodeType, new: CodeType) -> bool:
    if old.co_code != new.co_code or old.co_names != new.co_names or old.co_varnames != new.co_varnames:
        return False
    if len(old.co_consts) != len(new.co_consts):
        return False
    return all(
        _alike(one, other)
        if isinstance(one, CodeType) and isinstance(other, CodeType)
        else type(one) is type(other) and repr(one) == repr(other)
        for one, other in zip(old.co_consts, new.co_consts, strict=True)
    )


def pytest_runtestloop(session: pytest.Session) -> bool:
    """In the place of running the tests: run them once to see what they reach, then once for each mutant."""
    job = json.loads(os.environ["CARV2_MUTATE"])
    if session.testsfailed:
        raise session.Interrupted("the tests cannot be collected")
    work = Job(session, job)
    known = in_fork(work.baseline, 900)
    if not isinstance(known, dict) or "lines" not in known:
        raise session.Interrupted(f"without a mutant, a test fails: {known}")
    work.seconds = known["seconds"]
    Path(job["seconds"]).write_text(json.dumps(work.seconds), encoding="utf-8")
    work.reached = {int(line): set(names) for line, names in known["lines"].items()}
    with open(job["answers"], "a", encoding="utf-8") as answers:
        for mutant in mutants_of(job["module"], work.source):
            began = time.monotonic()
            told = _try(work, mutant)
            row = {"where": mutant.where, "line": mutant.first, "change": mutant.change, "result": told}
            answers.write(json.dumps({**row, "seconds": round(time.monotonic() - began, 3)}) + "\n")
            answers.flush()
    return True


def _try(work: Job, mutant: Mutant) -> str:
    if not mutant.in_function:
        return "unsettled"
    tests = work.tests_for(mutant)
    if not tests:
        return "unreached"
    usual = sum(work.seconds.get(name, 0.0) for name in tests)
    told = in_fork(lambda: work.attempt(mutant, tests), PATIENCE + 10 * usual)
    return told if isinstance(told, str) else "killed"  # an error of pytest's own: the mutant broke even that
