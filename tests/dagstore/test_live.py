"""Steps that threads take at the same moment, one after the other here: who comes too late has to look again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from carv2._source import BytesSource
from carv2._sqlite import open_database
from carv2.dagstore import Operation, ShardState
from carv2.dagstore._jobs import Job
from carv2.dagstore.indices import OpenIndex
from carv2.errors import ShardExistsError, ShardInUseError, ShardNotFoundError
from dagstore.shards import PATIENCE, Calls, Place, check_serves

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


def test_what_ends_while_one_asks_is_not_told_as_if_it_had_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.at(tmp_path)
    with place.store() as store:
        mount = place.mount("key")
        store.register("key", mount, lazy=True)
        faults = place.faults[mount.url]
        faults.hold()
        store.initialize("key", wait=False)
        with store._core.live.entered("key") as shard:
            job = shard.job
        assert job is not None
        find = store._core.catalogue.find

        def as_it_was_before_the_end(key: str) -> ShardRow:
            row = find(key)
            if threading.current_thread() is asks:
                faults.release()
                job.wait(PATIENCE)
            return row

        monkeypatch.setattr(store._core.catalogue, "find", as_it_was_before_the_end)
        told: list[ShardState] = []
        asks = threading.Thread(target=lambda: told.append(store.info("key").state))
        asks.start()
        asks.join(PATIENCE)
        assert told == [ShardState.INITIALIZING]
        assert store.info("key").state is ShardState.AVAILABLE


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


def test_a_database_that_others_are_just_opening_is_waited_for(tmp_path: Path) -> None:
    """SQLite waits for locks, but not to turn on the log of a database that somebody writes to."""
    other = sqlite3.connect(tmp_path / "new.sqlite", isolation_level=None)
    other.execute("CREATE TABLE fish (name)")
    other.execute("BEGIN IMMEDIATE")
    calls = Calls()
    calls(lambda: open_database(tmp_path / "new.sqlite", []).close())
    time.sleep(0.1)
    assert not calls.results
    other.execute("COMMIT")
    other.close()
    assert calls.wait() == [None]
    with pytest.raises(OSError, match="locked"):
        refused(tmp_path)


def refused(folder: Path) -> None:
    """Nobody lets go of it."""
    with contextlib.closing(sqlite3.connect(folder / "used.sqlite", isolation_level=None)) as other:
        other.execute("CREATE TABLE fish (name)")
        other.execute("BEGIN IMMEDIATE")
        open_database(folder / "used.sqlite", [], timeout=0.05)


def test_only_the_first_end_of_a_job_counts() -> None:
    job = Job("work", lambda: "done")
    ends: list[str] = []
    job.afterwards(lambda: ends.append("before"))
    job.run()
    job.give_up()
    job.afterwards(lambda: ends.append("after"))
    assert job.wait() == "done"
    assert ends == ["before", "after"]


def test_what_was_opened_of_a_shard_is_let_go_of_also_where_its_source_cannot_be_closed(
    store: DagStore, shard: LiveShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Source(BytesSource):
        def close(self) -> None:
            raise OSError(5, "Input/output error")

    opener, done = store._core.opener, list[str]()
    close = OpenIndex.close

    def closing(index: OpenIndex) -> None:
        done.append("index")
        close(index)

    monkeypatch.setattr(OpenIndex, "close", closing)
    monkeypatch.setattr(opener, "source_of", lambda _: (Source(b"no archive"), lambda: done.append("copy")))
    with pytest.raises(OSError, match="Input/output"):
        opener.open(store._core.seen(shard)[0])
    assert done == ["copy", "index"]
