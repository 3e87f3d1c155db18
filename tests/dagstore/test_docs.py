"""Pages about the DAG store say what the program says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from carv2 import dagstore, testing
from carv2.dagstore.config import OPTIONS, DagStoreConfig, to_toml
from carv2.dagstore.states import diagram

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXPLANATION = (DOCS / "explanation" / "dag-store.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "run-a-dag-store.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")


def test_the_diagram_is_the_table_of_transitions() -> None:
    assert re.findall(r"```text\n(stateDiagram.*?)```", EXPLANATION, re.DOTALL) == [diagram()]


def test_the_options_are_there_with_their_defaults_and_what_they_are_for() -> None:
    written = re.findall(r"# (.*)\n(\w+) = (.*)\n", to_toml(DagStoreConfig()))
    assert [purpose for purpose, _, _ in written] == list(OPTIONS.values())
    table = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*) \|$", HOW_TO, re.MULTILINE)
    assert table == [(name, default, purpose) for purpose, name, default in written]


def test_each_defect_of_the_go_dagstore_has_an_answer() -> None:
    rows = re.findall(r"^\| D(\d+) \| .+ \| (.+) \|$", EXPLANATION, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))


@pytest.mark.parametrize("name", sorted({*dagstore.__all__, *testing.__all__}))
def test_each_name_is_on_the_reference_page(name: str) -> None:
    assert re.search(rf"`(\w+\.)*{name}\b", REFERENCE)


def test_the_figures_of_scale_were_measured() -> None:
    scale = (DOCS / "explanation" / "dag-store-scale.md").read_text(encoding="utf-8")
    figures = scale.partition("## Figures")[2].partition("\n## ")[0]
    assert re.findall(r"`python ([\w/.]+)", figures) == [
        "benchmarks/dagstore_catalogue.py",
        "benchmarks/dagstore.py",
    ]
    rows = [row for row in re.findall(r"^\| (.+) \|$", figures, re.MULTILINE) if not row.startswith(("|", "---"))]
    assert rows
    assert not [row for row in rows if not re.search(r"\d", row.partition(" | ")[2])]
    assert "TODO" not in scale
