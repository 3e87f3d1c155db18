"""Processes that use a store until they are killed: ``python -m dagstore.store_worker WHAT ...``.

``serve``: for each line, ``FOLDER ACTION WHEN PLACE COUNT`` with tabs, a process that does something, and dies
before or after a function is called for the so-manieth time; says how it ended.
``compete FOLDER SECONDS``: index the same shards as others do; say when that was.
``live FOLDER SEED PREFIX``: do this and that, for ever, and say what was begun and what was done.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from carv2.dagstore.catalogue._sqlite_database import SqliteDatabase
from carv2.errors import CarError, ShardNotFoundError
from dagstore.shards import PATIENCE, Calls, Place, archive_of, blocks_of, check_serves, keys, padded

if TYPE_CHECKING:
    from carv2.dagstore import DagStore

SHARDS = 6
BLOCKS = 40
LEASE = PATIENCE  # whoever is killed holds nobody up, and nobody is so late as to lose one


def mount(place: Place, key: str, *, is_junk: bool = False) -> Any:
    """Every second one is copied before it is read."""
    data = b"junk" * 100 if is_junk else padded(archive_of(key, BLOCKS), 1 << 16)
    return place.mount(key, data, sequential=key[-1] in "02468")


def die_at(target: str, when: str, count: int) -> None:
    """Have this process killed when the function is called, or about to return."""
    module, owner, name = target.split(":")
    holder = getattr(importlib.import_module(module), owner)
    real, calls = getattr(holder, name), [0]

    def deadly(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **options)
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, deadly)


def act(folder: str, action: str, when: str, target: str, count: str) -> None:
    """Two shards that are there; and then what is to be interrupted."""
    SqliteDatabase.chunk = 7
    place = Place.at(Path(folder))
    store = place.store(lease_seconds=LEASE)
    for key in keys(2):
        store.register(key, mount(place, key))
    victim = "shard-002"
    if action == "recover":
        with contextlib.suppress(CarError):
            store.register(victim, mount(place, victim, is_junk=True))
    elif action in {"destroy", "rebuild"}:
        store.register(victim, mount(place, victim))
    elif action == "acquire":
        store.register(victim, mount(place, victim), lazy=True)
    die_at(target, when, int(count))
    if action == "recover":
        mount(place, victim)
        store.recover(victim)
    elif action == "destroy":
        store.destroy(victim)
    elif action == "rebuild":
        os.unlink(store._core.indices.path_of(victim))
        store.gc()
        store.acquire(victim)
    elif action == "acquire":
        store.acquire(victim)
    else:
        store.register(victim, mount(place, victim))


def live(folder: str, seed: str, prefix: str) -> None:
    """Random operations on shards of its own, each said before and after."""
    SqliteDatabase.chunk = 16
    numbers, place = random.Random(int(seed)), Place.at(Path(folder))
    store = place.store(lease_seconds=LEASE, recover_backoff=0.0, max_recover_attempts=100)
    mounts = {key: mount(place, key) for key in keys(SHARDS, prefix)}
    print("ready", flush=True)
    while True:
        key, operation = (
            numbers.choice([*mounts]),
            numbers.choice(["register", "lazy", "acquire", "acquire", "destroy", "gc"]),
        )
        print("begin", operation, key, flush=True)
        with contextlib.suppress(CarError):
            step(store, operation, key, mounts[key])
            print("done", operation, key, flush=True)


def step(store: DagStore, operation: str, key: str, of: Any) -> None:
    if operation in {"register", "lazy"}:
        store.register(key, of, lazy=operation == "lazy", timeout=PATIENCE)
    elif operation == "acquire":
        check_serves(store, key, key, BLOCKS)
    elif operation == "destroy":
        store.destroy(key)
    else:
        store.gc()


def check_gives(store: DagStore, key: str) -> None:
    with store.acquire(key, timeout=PATIENCE) as shard:
        for cid, data in blocks_of(key, BLOCKS).items():
            assert shard[cid] == data


def compete(folder: str, seconds: str) -> None:
    """Have the same shards indexed as others do, again and again; say when that was."""
    from carv2.dagstore import _initializing

    place, said, jobs = Place.at(Path(folder)), list[str](), cast("Any", _initializing)
    real = jobs.run_index_task

    def timed(task: Any, **options: Any) -> Any:
        begun = time.monotonic()
        result = real(task, **options)
        time.sleep(0.01)
        said.append(f"{task.key} {begun} {time.monotonic()}")
        return result

    jobs.run_index_task = timed
    mounts = {key: mount(place, key) for key in keys(SHARDS)}
    end = time.monotonic() + float(seconds)
    with place.store(lease_seconds=LEASE) as store:
        while time.monotonic() < end or len(said) <= SHARDS:
            calls = Calls()
            for key, of in mounts.items():
                with contextlib.suppress(CarError):
                    store.register(key, of, lazy=True)
                calls(lambda key=key: check_gives(store, key), times=2)  # type: ignore[misc]
            for result in calls.wait():
                assert result is None or isinstance(result, ShardNotFoundError), result
            with contextlib.suppress(CarError):
                store.destroy(random.choice([*mounts]))
    print(*said, sep="\n")


def serve() -> None:
    """One process for each line, which finds everything imported."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                act(*line.rstrip("\n").split("\t"))
            finally:
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "compete":
        compete(*sys.argv[2:])
    else:
        live(*sys.argv[2:])
