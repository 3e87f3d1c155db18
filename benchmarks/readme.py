"""The README's table of speeds, out of the last figures: ``python benchmarks/readme.py`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import report

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).absolute().parent.parent
FIGURES = ROOT / "docs/performance/figures.json"

ROWS = (
    ("read blocks of 120 bytes", "iterate", "small"),
    ("read them and check their hashes", "iterate-verified", "small"),
    ("the same, blocks of 1 MiB", "iterate-verified", "large"),
    ("make an index, blocks of 120 bytes", "index", "small"),
    ("get one block of 120 bytes, its hash checked", "get-verified", "small"),
    ("get one block of 4 KiB, its hash checked", "get-verified", "medium"),
    ("walk a DAG of small nodes, hashes checked", "walk-verified", "graph"),
    ("write a CARv1, blocks of 120 bytes", "write-v1", "small"),
)
"""What a row is called, and the operation and the file that it is of."""

COLUMNS: tuple[tuple[str, Callable[[report.Result], bool]], ...] = (
    ("carv2", lambda row: row.label == "carv2"),
    ("go-car", lambda row: row.role == "reference"),
    ("go-car, tuned", lambda row: row.role == "tuned" and row.label.startswith("go-car")),
    ("@ipld/car", lambda row: row.label.startswith("@ipld/car")),
    ("libipld", lambda row: row.label.startswith("libipld")),
    ("ipld-car", lambda row: row.label.startswith("ipld-car")),
)


def table(figures: dict[str, Any]) -> str:
    """Time for a block, in each column the first program that the column is for."""
    results = [report.Result(**row) for row in figures["results"]]
    lines = [f"| | {' | '.join(name for name, _ in COLUMNS)} |", "|---|" + "--:|" * len(COLUMNS)]
    for title, operation, file in ROWS:
        rows = [row for row in results if (row.operation, row.file) == (operation, file) and not row.error]
        cells = [next((report._each(row) for row in rows if fits(row)), "") for _, fits in COLUMNS]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    machine = figures["machine"]
    lines += ["", f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['python']}."]
    return "\n".join(lines)


def write(page: Path = ROOT / "README.md") -> None:
    """Put the table where it stands in the README."""
    import run

    run.insert(page, "readme.py", table(json.loads(FIGURES.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    write()
