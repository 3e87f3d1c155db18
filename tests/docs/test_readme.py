"""The README's tables are those of the pages that they are taken from; the programs that write them run."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
COMPARISON = (TOP / "docs/comparison.md").read_text(encoding="utf-8")
FIGURES = json.loads((TOP / "docs/performance/figures.json").read_text(encoding="utf-8"))


def between_marks(page: str, program: str) -> str:
    first, last = (f"<!-- {which} here: benchmarks/{program} -->" for which in ("from", "to"))
    assert page.count(first) == page.count(last) == 1
    return page.partition(first)[2].partition(last)[0].strip()


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOP / "benchmarks")
    return lambda name: runpy.run_path(str(TOP / "benchmarks" / name))


def test_the_speeds_are_those_of_the_last_run(benchmark: Any) -> None:
    expected = benchmark("readme.py")["table"](FIGURES)
    assert between_marks(README, "readme.py") == expected, "python benchmarks/readme.py writes it anew"


def test_a_speed_that_nobody_measured_is_left_empty(benchmark: Any) -> None:
    ours = [row for row in FIGURES["results"] if row["label"].startswith("carv2")]
    lines = benchmark("readme.py")["table"]({**FIGURES, "results": ours}).splitlines()
    assert all(line.count("|") == lines[0].count("|") for line in lines if line.startswith("|"))
    assert lines[2].endswith(" |  |  |  |  |  |")
    assert re.search(r" \d", lines[2])


def test_the_comparison_is_part_of_that_of_its_page(benchmark: Any) -> None:
    expected = benchmark("comparison.py")["short"](between_marks(COMPARISON, "comparison.py"))
    assert between_marks(README, "comparison.py") == expected


def test_what_the_page_says_of_carv2_is_so(benchmark: Any, tmp_path: Path) -> None:
    """The first column, read again: the others may not be here."""
    made = benchmark("comparison.py")
    ours = made["Library"]("carv2", "", [sys.executable, str(TOP / "benchmarks/comparison.py"), "--read", "carv2"])
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|", between_marks(COMPARISON, "comparison.py"), re.MULTILINE))
    assert "carv2" in rows["is read"]
    for case in made["cases"]():
        (tmp_path / "case.car").write_bytes(case.data)
        assert made["ask"](ours, case, tmp_path / "case.car") == rows[case.name], case.name


def test_a_library_that_is_wrong_is_found_out(benchmark: Any, tmp_path: Path) -> None:
    made = benchmark("comparison.py")
    sound, broken = made["Case"]("", b"", ["b1", "b2", "b2"]), made["Case"]("", b"", None)

    def told(code: str, case: Any) -> str:
        library = made["Library"]("", "", [sys.executable, "-c", code])
        found: str = made["ask"](library, case, tmp_path / "none")
        return found

    assert told("print('b1 b2 b2')", sound) == "yes"
    assert told("print('b1 b2')", sound) == "once"
    assert told("print('b1')", sound) == "**wrong**"
    assert told("raise ValueError", sound) == "refused"
    assert told("raise ValueError", broken) == "error"
    assert told("print('b1')", broken) == "**no word**"
    assert told("import os; os.abort()", broken) == "**crashes**"


def test_the_command_prints_both_tables() -> None:
    command = [sys.executable, str(TOP / "benchmarks/comparison.py"), "--python", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TOP)
    assert done.stdout.count("\n| is ") == 2
    assert "Left out: " in done.stdout


def test_the_tour_is_short_and_the_long_one_is_elsewhere() -> None:
    tour = README.partition("## A tour in twenty lines")[2].partition("```python")[2].partition("```")[0]
    assert len([line for line in tour.splitlines() if line.startswith((">>>", "..."))]) <= 20
    assert "(docs/tour.md)" in README
