"""Several threads and processes on one store: for seconds, or for as many as ``CARV2_SOAK_SECONDS`` says."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from dagstore import soak
from dagstore.shards import PATIENCE, Place, keys, with_tests
from dagstore.store_worker import SHARDS, mount

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("CARV2_SOAK_SECONDS", "4"))


@pytest.fixture(autouse=True)
def workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", with_tests())


@pytest.mark.timeout(3 * SECONDS + 300)
def test_random_operations_and_faults(tmp_path: Path) -> None:
    soak.main(SECONDS, processes=2, folder=str(tmp_path), seed=int(os.environ.get("CARV2_SOAK_SEED", "0")))


def test_no_shard_is_indexed_twice_at_the_same_time(tmp_path: Path) -> None:
    place = Place.at(tmp_path)
    for key in keys(SHARDS):
        mount(place, key)
    command = [sys.executable, "-m", "dagstore.store_worker", "compete", str(tmp_path), "2"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    spans: dict[str, list[tuple[float, float]]] = {}
    for worker in workers:
        said, _ = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0
        for line in said.splitlines():
            key, begun, ended = line.split()
            spans.setdefault(key, []).append((float(begun), float(ended)))
    assert set(spans) == set(keys(SHARDS))
    assert sum(map(len, spans.values())) > SHARDS
    for each in spans.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(each)))
    with place.store() as store:
        assert not list(store.doctor(thorough=True))
