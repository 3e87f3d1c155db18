"""What is counted: whatever can be read to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from branches import run

if TYPE_CHECKING:
    from pathlib import Path

coverage = pytest.importorskip("coverage")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Of one process."""
    path = tmp_path / "notes.1"
    data = coverage.CoverageData(str(path))
    data.add_arcs({f"/a/{n}.py": {(-1, line) for line in range(1, 500)} for n in range(200)})
    data.close()
    return path


def test_sound_notes_stay(notes: Path) -> None:
    assert run.put_aside([notes]) == 0
    assert notes.exists()


@pytest.mark.parametrize("how", ["cut", "damaged", "empty", "something else"])
def test_torn_notes_are_put_aside(notes: Path, how: str) -> None:
    whole = notes.read_bytes()
    torn = {
        "cut": whole[: len(whole) // 2],
        "damaged": whole[:4096] + bytes(4096) + whole[8192:],
        "empty": b"",
        "something else": b"no database",
    }[how]
    notes.write_bytes(torn)
    assert run.put_aside([notes]) == 1
    assert not notes.exists()


@pytest.mark.parametrize(("least", "is_too_few"), [(60, False), (70, True)])
def test_too_few_branches_fail(tmp_path: Path, least: float, *, is_too_few: bool) -> None:
    """Of three statements and two branches one of each is missing: 60 per cent."""
    module = tmp_path / "module.py"
    module.write_text("import this\nif this:\n    this.s\n")
    data = coverage.CoverageData(str(tmp_path / "notes.1"))
    data.add_arcs({str(module): {(-1, 1), (1, 2), (2, -1)}})
    data.close()
    assert run.report(tmp_path / "notes", least) == is_too_few
