"""Every race for a moment, and some of the faults that have to lose theirs.

``tests/races/run.py`` runs them for hours, and ``tests/races/faults.py`` tries all faults.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from races import faults, racing
from races.table import FAULTS, PROCESSES, THREADS

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("CARV2_RACE_SECONDS", "0.3"))
IN_SOAK = {"dag-store", "dag-store-processes"}
"""Run in ``dagstore.test_soak``, too."""


@pytest.fixture
def seed() -> int:
    """Another one each time; an error says which."""
    return random.SystemRandom().randrange(1 << 30)


@pytest.mark.parametrize("name", sorted(THREADS.keys() - IN_SOAK))
def test_threads(name: str, tmp_path: Path, seed: int) -> None:
    assert racing.run(name, THREADS[name], tmp_path, seed=seed, seconds=SECONDS).total() > 0


@pytest.mark.parametrize("name", sorted(PROCESSES.keys() - IN_SOAK))
def test_processes(name: str, tmp_path: Path, seed: int) -> None:
    assert PROCESSES[name](tmp_path, seed=seed, seconds=SECONDS) > 0


@pytest.mark.parametrize("name", ["reader", "caching", "append"])
def test_a_fault_loses_its_race(name: str) -> None:
    """However long it takes: it is over with the first loss, which says how to run it again."""
    assert f"LOST: {name} --seed " in faults.lost(name)


def test_every_race_has_a_fault() -> None:
    assert FAULTS.keys() == {*THREADS, *PROCESSES} - {"dag-store-processes"}  # the soak has its own
