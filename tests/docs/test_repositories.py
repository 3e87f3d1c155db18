"""The repositories that the page on Bluesky reads are those that their program makes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.mark.parametrize("name", ["first", "second", "slice"])
def test_the_repositories_are_fresh(name: str) -> None:
    made = runpy.run_path(str(FIXTURES / "make_repositories.py"))["archives"]()
    assert (FIXTURES / "repository" / f"{name}.car").read_bytes() == made[name]
