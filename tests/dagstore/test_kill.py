"""Processes killed while they use a store: nothing that was acknowledged is lost, and nothing stays stuck."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import ShardState
from dagstore.shards import PATIENCE, Place, blocks_of, check_serves, eventually, keys, with_tests
from dagstore.store_worker import BLOCKS, LEASE, SHARDS, mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from carv2.dagstore import DagStore

CATALOGUE = "carv2.dagstore.catalogue.sql:SqlCatalogue:"
INDICES = "carv2.dagstore.indices:IndexFolder:"
TRANSACT = "carv2.dagstore.catalogue._sqlite_database:SqliteDatabase:transact"


def begun(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dagstore.store_worker", *arguments]
    environment = {**os.environ, "PYTHONPATH": with_tests()}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture(scope="module")
def victims() -> Iterator[subprocess.Popen[str]]:
    """Makes processes that are to die."""
    with begun("serve") as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def check_sound(place: Place, store: DagStore, there: Iterable[str]) -> None:
    """All of them are served, what is not known leaves no trace, and the doctor finds nothing more to do."""
    there = sorted(there)
    opened = time.monotonic()
    for key in there:
        check_serves(store, key, key, BLOCKS)
    leases = store._core.leases
    eventually(lambda: not any(leases.is_held(info.key) for info in store.list()), "a lease is held for ever")
    assert time.monotonic() - opened < PATIENCE
    assert all(info.state is ShardState.AVAILABLE for info in store.list() if info.key in there)
    list(store.doctor(repair=True, thorough=True))
    assert list(store.doctor(thorough=True)) == []
    known = {info.key for info in store.list()}
    assert {name.split(".")[0] for name in os.listdir(place.root / "transients")} - {""} <= known
    for key in set(keys(10)) - known:
        assert not any(store.shards_with(cid) for cid in blocks_of(key, BLOCKS))


@pytest.mark.parametrize(
    "moment",
    [
        ("register", "before", CATALOGUE + "add", 1),
        ("register", "after", CATALOGUE + "add", 1),
        ("register", "before", "carv2.dagstore._fetching:Fetching:_write", 1),
        ("register", "before", "carv2._downloads:Part:finish", 1),
        ("register", "after", "carv2._downloads:Part:finish", 1),
        ("register", "after", INDICES + "draft", 1),
        ("register", "after", INDICES + "publish", 1),
        ("register", "after", TRANSACT, 4),
        ("register", "before", CATALOGUE + "set_available", 1),
        ("register", "after", CATALOGUE + "set_available", 1),
        ("acquire", "after", CATALOGUE + "try_lease", 1),
        ("acquire", "after", CATALOGUE + "add_multihashes", 1),
        ("acquire", "before", CATALOGUE + "release_lease", 1),
        ("recover", "after", "carv2.dagstore.transients:Transients:drop", 1),
        ("recover", "before", CATALOGUE + "add_multihashes", 1),
        ("rebuild", "after", INDICES + "publish", 1),
        ("rebuild", "before", CATALOGUE + "set_available", 1),
        ("destroy", "before", CATALOGUE + "remove", 1),
        ("destroy", "after", TRANSACT, 3),
        ("destroy", "after", TRANSACT, 5),
        ("destroy", "after", CATALOGUE + "remove", 1),
        ("destroy", "after", INDICES + "drop", 1),
    ],
    ids=lambda moment: "-".join([*moment[:2], moment[2].split(":")[-1], str(moment[3])]),
)
def test_killed_at_a_chosen_moment(
    victims: subprocess.Popen[str], tmp_path: Path, moment: tuple[str, str, str, int]
) -> None:
    action, when, target, _ = moment
    assert victims.stdin is not None
    assert victims.stdout is not None
    victims.stdin.write("\t".join(map(str, [tmp_path, *moment])) + "\n")
    victims.stdin.flush()
    assert int(victims.stdout.readline()) == -signal.SIGKILL
    place = Place.at(tmp_path)
    for key in keys(3):
        mount(place, key)
    with place.store(lease_seconds=LEASE, recover_on_start="now") as store:
        there = set(keys(2)) | ({"shard-002"} if "shard-002" in store else set())
        if action != "destroy":
            assert "shard-002" in there or (action, when, target) == ("register", "before", CATALOGUE + "add")
        if action == "recover":
            eventually(lambda: store.info("shard-002").state is ShardState.AVAILABLE)
        check_sound(place, store, there)
        for key in there:
            assert store.destroy(key)
        assert store.stat().multihash_count == store.stat().transient_bytes == 0


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    numbers = random.Random(seed)
    place, known = Place.at(tmp_path), dict[str, str]()
    for life in range(2):
        with begun("live", str(tmp_path), str(1000 * seed + life), "shard") as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            time.sleep(numbers.uniform(0.0, 0.7))
            worker.kill()
            known[follow_words(worker.stdout, known)] = "doubtful"  # until a later life says of it what it did
    for key in keys(SHARDS):
        mount(place, key)
    with place.store(lease_seconds=LEASE, recover_on_start="now") as store:
        for key in keys(SHARDS):
            if known.get(key) != "doubtful":
                assert (key in store) == (known.get(key, "destroy") != "destroy"), key
            if known.get(key) == "acquire":
                assert store._core.catalogue.find(key).state.value == "available"
        check_sound(place, store, [info.key for info in store.list()])


def follow_words(words: Iterator[str], known: dict[str, str]) -> str:
    """Take in what a worker said; the key of the operation that it was killed in."""
    doubtful = ""
    for line in words:
        if not line.endswith("\n"):
            break
        word, operation, key = line.split()
        doubtful = key if word == "begin" else ""
        if word == "done" and operation != "gc":
            known[key] = operation
    return doubtful
