"""The lists of mutation testing speak of code and tests that are there, and its verdict can be a bad one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mutation.lists import explained, plan, settled
from mutation.run import Row, report, stale

ROOT = Path(__file__).parent.parent.parent
EXPLAINED = explained()


def source_of(module: str) -> str:
    whole = ROOT.joinpath("src", *module.split("."))
    path = whole / "__init__.py" if whole.is_dir() else whole.with_suffix(".py")
    return path.read_text(encoding="utf-8")


def names_in(source: str) -> set[str]:
    """Functions and classes, by their dotted names; the module itself is ''."""
    found = {""}
    waiting: list[tuple[ast.AST, str]] = [(ast.parse(source), "")]
    while waiting:
        node, prefix = waiting.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{prefix}.{child.name}".lstrip(".")
                found.add(name)
            waiting.append((child, name))
    return found


@pytest.mark.parametrize("module", sorted({name.split(":")[0] for name in EXPLAINED}))
def test_explained_mutants_are_changes_of_lines_that_are_there(module: str) -> None:
    source = source_of(module)
    names, joined = names_in(source), " ".join(line.strip() for line in source.splitlines())
    for mutant, why in EXPLAINED.items():
        of_module, where, change = mutant.split(":", 2)
        if of_module != module:
            continue
        before, arrow, after = change.strip().partition(" => ")
        assert where in names
        assert before in joined, f"{module}:{where} has no more {before!r}"
        assert arrow
        assert before != after
        assert why


def test_every_module_and_every_test_of_the_plan_is_there() -> None:
    for module, tests in plan().items():
        assert source_of(module)
        for test in tests:
            assert (ROOT / test).is_file(), test
    assert {name.split(":")[0] for name in EXPLAINED} <= set(plan())
    assert settled()
    assert set(settled()) <= set(plan())


ROWS = [
    Row("m", "f", 1, "a => b", "killed"),
    Row("m", "f", 2, "c => d", "survived"),
    Row("m", "f", 3, "e => g", "unreached"),
    Row("m", "f", 4, "h => i", "timeout"),
]


def test_a_mutant_that_lives_is_explained_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures = report("m", ROWS, {"m:f: c => d": "because"}, 1.0)
    assert (figures["mutants"], figures["killed"], figures["timeouts"], figures["explained"]) == (4, 2, 1, 1)
    assert figures["unexplained"] == ["m:f: e => g"]
    assert "line 3, unreached: f: e => g" in capsys.readouterr().out


def test_an_explanation_of_a_dead_mutant_is_out_of_date() -> None:
    known = {
        "m:f: a => b": "killed by now",
        "m:f: c => d": "alive",
        "m:f: gone => x": "gone",
        "n:f: a => b": "other",
    }
    assert stale(["m"], ROWS, known) == ["m:f: a => b", "m:f: gone => x"]


SOURCE = '''
LIMIT = 9


class Box:
    """A docstring."""

    @property
    def size(self) -> int:
        if self.n > LIMIT:
            raise LimitError(f"{self.n} is above", position=self.n)
        return self.n + 1
'''


def test_mutants_are_made_everywhere_but_in_words() -> None:
    pytest.importorskip("mutmut", reason="mutation testing needs carv2[mutation]")
    from mutation.mutants import mutants_of

    changes = {(mutant.where, mutant.change) for mutant in mutants_of("box", SOURCE)}
    assert ("", "LIMIT = 9 => LIMIT = 10") in changes
    assert ("Box.size", "if self.n > LIMIT: => if self.n >= LIMIT:") in changes
    assert ("Box.size", "return self.n + 1 => return self.n - 1") in changes
    assert not [change for _, change in changes if "docstring" in change or "XX" in change]
    lost = [change for _, change in changes if change.endswith("raise LimitError(None, position=self.n)")]
    assert lost == []
