"""Writers are killed a few times here; ``python tests/faults/kill.py --minutes 20`` does it for longer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from faults import kill, victims

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def test_nothing_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    totals = kill.run(tmp_path, random.Random(), 0.0)
    assert {name: (total["kills"], total["lost"]) for name, total in totals.items()} == dict.fromkeys(
        totals, (1, 0)
    )


@pytest.mark.parametrize("name", ["read-write store", "retrievals", "imports"])
def test_what_is_lost_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def boasting(module: str, arguments: Iterable[object], moment: float) -> list[str]:
        return [*real(module, arguments, moment + 0.2), "1000000000"]

    real = victims.words_of_the_killed
    monkeypatch.setattr(victims, "words_of_the_killed", boasting)
    assert victims.all_victims(tmp_path)[name].kill(random.Random(1)).lost > 0


def test_a_shard_that_is_lost_is_counted(tmp_path: Path) -> None:
    shards = victims.Shards(tmp_path)
    shards.kill(random.Random(1))
    shards._known["shard-of-nobody"] = "register"
    assert shards.kill(random.Random(1)).lost == 1
