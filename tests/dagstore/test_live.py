"""Steps that threads take at the same moment, one after the other here: who comes too late has to look again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import Operation
from carv2.dagstore._jobs import Job
from carv2.errors import ShardExistsError, ShardInUseError, ShardNotFoundError
from dagstore.shards import Calls, Place, check_serves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.dagstore import DagStore
    from carv2.dagstore._live import LiveShard
    from carv2.dagstore._opening import OpenShard
    from carv2.dagstore.catalogue import ShardRow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DagStore]:
    place = Place.at(tmp_path)
    with place.store() as store:
        store.register("key", place.mount("key"))
        yield store
        assert store.info("key").references == 0


@pytest.fixture
def shard(store: DagStore) -> Iterator[LiveShard]:
    """Open, and about to be taken."""
    check_serves(store, "key", "key")
    with store._core.live.entered("key") as shard:
        yield shard


def opened_of(shard: LiveShard) -> OpenShard:
    assert shard.opened is not None
    return shard.opened


def a_job(row: ShardRow) -> Job[ShardRow]:
    return Job("index", lambda: row)


def test_a_reader_does_not_take_what_is_being_indexed(store: DagStore, shard: LiveShard) -> None:
    row, version = store._core.seen(shard)
    opened = opened_of(shard)
    assert shard.begin(row, version, Operation.INITIALIZE, a_job(row)) is not None
    assert not shard.take(row, version, opened)
    shard.end(row, Operation.MAKE_AVAILABLE)
    assert not shard.take(row, version, opened)  # it may be another one now
    row, version = store._core.seen(shard)
    assert shard.take(row, version, opened)
    shard.let_go(opened)


def test_work_is_not_begun_on_what_was_seen_before_other_work(store: DagStore, shard: LiveShard) -> None:
    row, version = store._core.seen(shard)
    first, second = a_job(row), a_job(row)
    assert shard.begin(row, version, Operation.INITIALIZE, first) is first
    assert shard.begin(row, version, Operation.INITIALIZE, second) is first
    shard.end(row, Operation.MAKE_AVAILABLE)
    assert shard.begin(row, version, Operation.INITIALIZE, second) is None
    row, version = store._core.seen(shard)
    assert shard.begin(row, version, Operation.INITIALIZE, second) is second
    shard.end(row, Operation.MAKE_AVAILABLE)


def test_nobody_enters_what_is_being_destroyed(store: DagStore, shard: LiveShard) -> None:
    row, version = store._core.seen(shard)
    opened = opened_of(shard)
    shard.doom(force=False)
    with pytest.raises(ShardNotFoundError):
        shard.take(row, version, opened)
    with pytest.raises(ShardNotFoundError):
        shard.begin(row, version, Operation.INITIALIZE, a_job(row))
    with pytest.raises(ShardNotFoundError):
        store.acquire("key")
    with pytest.raises(ShardExistsError):
        store.register("key", "file:///nowhere")
    with pytest.raises(ShardNotFoundError):
        store.destroy("key", force=True)
    with pytest.raises(ShardInUseError):
        shard.doom(force=True)
    shard.pardon()
    check_serves(store, "key", "key")


def test_what_is_read_is_not_doomed(store: DagStore, shard: LiveShard) -> None:
    with store.acquire("key"):
        with pytest.raises(ShardInUseError):
            shard.doom(force=False)
        assert not shard.is_doomed


def test_what_was_opened_too_late_is_closed(store: DagStore, shard: LiveShard) -> None:
    late = store._core.opener.open(store._core.catalogue.find("key"))
    shard.doom(force=False)
    with pytest.raises(ShardNotFoundError):
        store._core.live.put(shard, late)
    assert late._is_closed
    shard.pardon()


def test_a_new_store_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    for number in range(25):
        place, calls, gate = Place.at(tmp_path / str(number)), Calls(), threading.Barrier(6)

        def open_it(place: Place = place, gate: threading.Barrier = gate) -> None:
            gate.wait()
            place.store().close()

        calls(open_it, times=6)
        assert calls.wait() == [None] * 6


def test_only_the_first_end_of_a_job_counts() -> None:
    job = Job("work", lambda: "done")
    ends: list[str] = []
    job.afterwards(lambda: ends.append("before"))
    job.run()
    job.give_up()
    job.afterwards(lambda: ends.append("after"))
    assert job.wait() == "done"
    assert ends == ["before", "after"]
