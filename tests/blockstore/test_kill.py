"""A writing process is killed at random moments, and goes on with the same file: no acknowledged block is lost.

``CARV2_KILLS`` says how often (200 for a night, 25 otherwise).
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

import carv2
from blockstore.writer_to_kill import ROOTS, block
from carv2.blockstore import ReadWriteBlockstore
from carv2.errors import CarError
from faults.disk import assert_valid
from faults.victims import words_of_the_killed

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("CARV2_KILLS", "25"))


def killed_writer(path: Path, first: int, seed: int, version: int, moment: float) -> int:
    """Let a process write for ``moment`` seconds after it opened the file; how many blocks it said to be safe."""
    said = words_of_the_killed("blockstore.writer_to_kill", [path, first, seed, version], moment)
    return max([first, *map(int, said)])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", [2, 1])
def test_a_killed_writer_has_lost_nothing_that_it_acknowledged(tmp_path: Path, version: int) -> None:
    rng = random.Random(version)
    path, safe = tmp_path / "x.car", 0
    states: dict[str, int] = {}
    for seed in range(KILLS if version == 2 else max(1, KILLS // 5)):
        moment = rng.choice([0, 0.001, 0.01, 0.05, 0.15]) * rng.random()
        safe = killed_writer(path, safe, seed, version, moment)
        if seed % 2:  # half of the time the next writer finds the file as this one left it
            looked_at = path
        else:
            looked_at = tmp_path / "copy.car"
            shutil.copyfile(path, looked_at)
        try:
            store = ReadWriteBlockstore.resume(looked_at, ROOTS, version=version)
        except CarError:
            assert safe == 0
            path.unlink()
            continue
        assert store.recovery is not None
        states[store.recovery.state] = states.get(store.recovery.state, 0) + 1
        found = list(store)
        assert len(found) >= safe, f"{safe - len(found)} acknowledged blocks are lost"
        for number, cid in enumerate(found):
            expected = block(number)
            assert cid == expected[0]
            if seed % 5 == 0 or number >= safe - 50:
                assert store[cid] == expected[1]
        if looked_at == path:
            store.close()
            assert_valid(path)
            safe = len(found)
        else:
            store.discard()
    with ReadWriteBlockstore.resume(path, ROOTS) as store:
        count = len(store)
    assert count >= safe > 0
    assert_valid(path)
    with carv2.open(path) as car:
        assert [(b.cid, b.data) for b in car] == [block(number) for number in range(count)]
    print(f"CARv{version}: {KILLS} kills, {count} blocks, none lost; found {states}")
