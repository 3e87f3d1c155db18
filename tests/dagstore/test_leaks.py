"""What is opened is closed: file descriptors, threads, leases, pins, and the memory of what is over."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import _jobs
from carv2.errors import CarError, ClosedError
from dagstore.shards import Calls, Place, check_serves, eventually, keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.dagstore import DagStore

COUNT = 8


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch, place: Place) -> Iterator[None]:
    """No descriptor and no thread more than before."""
    monkeypatch.setattr(_jobs, "_IDLE_SECONDS", 0.05)
    with place.store() as store:  # what is opened once and for all
        store.register("first", place.mount("first", sequential=True))
        check_serves(store, "first", "first")
        store.destroy("first")
    before = descriptors()
    yield
    eventually(lambda: not our_threads(), "threads are left")
    gc.collect()
    eventually(lambda: descriptors() <= before, "descriptors are left")
    for faults in map(place.faults.__getitem__, place.faults):
        assert faults.counts.open_now == 0


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("carv2")]


def check_nothing_held(store: DagStore) -> None:
    """No lease, no pin, no reader, nobody in a call."""
    core = store._core
    for info in store.list():
        assert core.catalogue.lease_of(info.key) is None
        assert info.references == 0
    assert core.leases._held == {}
    core.live.close_unused()
    assert core.transients.usage().pinned == 0
    assert core.live._shards == {}


def fill(place: Place, store: DagStore) -> None:
    for number, key in enumerate(keys(COUNT)):
        store.register(key, place.mount(key, sequential=number % 2 == 0))


def test_a_life_without_faults(place: Place) -> None:
    with place.store(gc_interval=0.01, max_open_shards=2) as store:
        fill(place, store)
        calls = Calls()
        for key in keys(COUNT):
            calls(lambda key=key: check_serves(store, key, key), times=4)  # type: ignore[misc]
        assert calls.wait() == [None] * 4 * COUNT
        list(store.doctor(repair=True, thorough=True))
        store.gc()
        for key in [*keys(COUNT)][::3]:
            store.destroy(key)
        check_nothing_held(store)


@pytest.mark.parametrize("fault", ["gone", "truncate_at", "fail_at", "size"])
def test_a_life_with_faults(place: Place, fault: str) -> None:
    with place.store(max_open_shards=2, recover_backoff=0.0, max_recover_attempts=9) as store:
        fill(place, store)
        store.gc()
        for url in place.faults:
            setattr(place.faults[url], fault, True if fault == "gone" else 100)
        for key in keys(COUNT):
            for call in (store.acquire, store.recover, store.initialize):
                try:
                    result = call(key, timeout=30)
                except CarError:
                    continue
                getattr(result, "close", lambda: None)()
        list(store.doctor(repair=True))
        check_nothing_held(store)


def forget(store: DagStore) -> None:
    for key in keys(COUNT):
        store.acquire(key)
    gc.collect()


def test_readers_who_forget(place: Place) -> None:
    with place.store() as store:
        fill(place, store)
        with pytest.warns(ResourceWarning, match="a shard was never released"):
            forget(store)
        store.gc()
        check_nothing_held(store)


def test_readers_who_close_after_the_store(place: Place) -> None:
    store = place.store()
    fill(place, store)
    readers = [store.acquire(key) for key in keys(COUNT)]
    store.destroy("shard-003", force=True)
    store.close()
    for reader in readers:
        with pytest.raises(ClosedError):
            len(reader)
        reader.close()


def test_what_is_opened_after_the_store_was_closed_is_closed(place: Place) -> None:
    with place.store() as store:
        fill(place, store)
        store.gc()
        calls = Calls()
        for url in place.faults:
            place.faults[url].hold()
        for key in keys(COUNT):
            calls(lambda key=key: store.acquire(key))  # type: ignore[misc]
        for url in place.faults:
            if "shard" in url:
                place.faults[url].wait_until_held()
        store.close(timeout=0.05)
        assert {type(result) for result in calls.wait()} == {ClosedError}
    for url in place.faults:
        place.faults[url].release()


def test_clients_who_give_up(place: Place) -> None:
    with place.store(max_open_shards=0) as store:
        fill(place, store)
        store.gc()
        for url in place.faults:
            place.faults[url].delay = 0.02
        for key in keys(COUNT):
            with pytest.raises(TimeoutError):
                store.acquire(key, timeout=0.0)
        eventually(lambda: not store._core.live._shards)
        check_nothing_held(store)


def test_threads_that_end_take_their_connections_along(place: Place) -> None:
    with place.store(max_open_shards=0) as store:
        fill(place, store)
        before = descriptors()
        for _ in range(10):
            calls = Calls()
            for key in keys(COUNT):
                calls(lambda key=key: check_serves(store, key, key))  # type: ignore[misc]
            calls.wait()
        eventually(lambda: our_threads() == ["carv2-leases"])
        gc.collect()
        assert len(store._core.catalogue._database._readers) == 1  # type: ignore[attr-defined]
        # SQLite keeps the descriptors of closed connections for the next ones, as long as there is one at all.
        assert descriptors() <= before + 2 * COUNT


def test_a_store_that_cannot_be_opened(place: Place) -> None:
    (place.root / "index" / ".version").write_text("2")
    for _ in range(3):
        with pytest.raises(CarError):
            place.store()
    (place.root / "index" / ".version").write_text("1")
    os.rename(place.root / "catalogue.sqlite", place.root / "kept")
    (place.root / "catalogue.sqlite").write_bytes(b"no database" * 1000)
    for _ in range(3):
        with pytest.raises(OSError, match="database"):
            place.store()
