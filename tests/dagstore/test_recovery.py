"""What a store goes on with by itself, when, how often and how many at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore import DagStoreConfig
from carv2.dagstore import recovery as module
from carv2.dagstore.catalogue import DurableState, ShardRow
from carv2.dagstore.recovery import RecoveryPolicy, take_up
from carv2.dagstore.states import Operation, ShardState
from carv2.errors import StateError
from dagstore.shards import Calls, Place, check_serves, eventually, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from carv2.dagstore import DagStore

NOW = 1_000_000.0
ROW = ShardRow(
    id=1, key="key", url="bytes:", state=DurableState.ERRORED, lazy=False, error_type="FormatError", error="junk",
    failures=1, generation=0, index_size=0, index_digest=b"", index_codec=0, block_count=0, inverted=False,
    source_size=None, source_tag="", local_copy="", created=0.0, updated=NOW, last_access=0.0,
)  # fmt: skip
OTHER = replace(ROW, key="other")


class Clock:
    """The time, as the test says."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(NOW)
    monkeypatch.setattr(module, "time", clock)
    return clock


def policy(recover_on_start: str = "on-acquire", **options: Any) -> RecoveryPolicy:
    return RecoveryPolicy(DagStoreConfig(**{"recover_on_start": recover_on_start, **options}))


# -- when and how often -------------------------------------------------------------------------------------


def test_the_breaks_double_from_attempt_to_attempt(clock: Clock) -> None:
    rule = policy(max_recover_attempts=4, recover_backoff=3.0)
    due = []
    for _ in range(40):
        if rule.take(ROW):
            due.append(clock.now - NOW)
        clock.now += 1
    assert due == [3, 6, 12, 24]


def test_a_break_is_over_at_its_last_moment_and_none_is_needed_without_backoff(clock: Clock) -> None:
    rule = policy(recover_backoff=2.5)
    clock.now = NOW + 2.49
    assert not rule.take(ROW)
    clock.now = NOW + 2.5
    assert rule.take(ROW)
    rule = policy(recover_backoff=0.0, max_recover_attempts=3)
    clock.now = NOW
    assert [rule.take(ROW) for _ in range(5)] == [True] * 3 + [False] * 2


@pytest.mark.parametrize(("recover_on_start", "taken"), [("no", False), ("on-acquire", True), ("now", True)])
def test_nothing_is_tried_where_that_is_not_wanted(recover_on_start: str, taken: bool) -> None:
    rule = policy(recover_on_start, recover_backoff=0.0)
    assert rule.take(ROW) is taken
    assert rule.take(OTHER, at_start=True) is taken


def test_a_start_waits_for_no_break_but_counts(clock: Clock) -> None:
    rule = policy(recover_backoff=10.0, max_recover_attempts=2)
    assert rule.take(ROW, at_start=True)
    clock.now = NOW + 19.0
    assert not rule.take(ROW)  # the second attempt: twice the break
    clock.now = NOW + 20.0
    assert rule.take(ROW)
    assert not rule.take(ROW, at_start=True)  # as often as is allowed


def test_shards_are_counted_each_by_itself_until_one_works_again() -> None:
    rule = policy(recover_backoff=0.0, max_recover_attempts=1)
    assert [rule.take(row) for row in (ROW, OTHER, ROW, OTHER)] == [True, True, False, False]
    rule.forget(ROW.key)
    rule.forget("never heard of")
    assert [rule.take(row) for row in (OTHER, ROW)] == [False, True]


# -- what an earlier process left ----------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@contextlib.contextmanager
def opened(place: Place, **options: Any) -> Generator[DagStore]:
    """A store that has looked for what was left, before there was anything."""
    with place.store(**options) as store:
        eventually(lambda: not any(thread.is_alive() for thread in store._core._background))
        yield store


@pytest.fixture
def store(place: Place) -> Generator[DagStore]:
    with opened(place, recover_on_start="now", recover_backoff=1000.0, max_recover_attempts=1) as store:
        yield store


def leave(place: Place, store: DagStore, key: str, *, lazy: bool = False) -> None:
    """A shard that is in the catalogue, and no more than that."""
    store._core.catalogue.add(key, place.mount(key).url, lazy=lazy)


def states(store: DagStore) -> dict[str, ShardState]:
    return {info.key: info.state for info in store.list()}


def test_eager_shards_without_an_index_get_one_and_lazy_ones_wait(place: Place, store: DagStore) -> None:
    for key in keys(3):
        leave(place, store, key)
    leave(place, store, "lazy", lazy=True)
    take_up(store._core)
    eventually(lambda: [*states(store).values()].count(ShardState.AVAILABLE) == 3)
    assert states(store)["lazy"] is ShardState.NEW
    for key in keys(3):
        check_serves(store, key, key)


def test_a_shard_whose_blocks_cannot_be_found_is_indexed_anew(place: Place, store: DagStore) -> None:
    for key in ("half", "whole"):
        store.register(key, place.mount(key))
    store._core.catalogue.remove_multihashes("half", None)
    with store.subscribe() as events:
        take_up(store._core)
        eventually(lambda: store._core.catalogue.find("half").inverted)
        events.close()
        assert {event.key for event in events} == {"half"}
    check_serves(store, "half", "half")
    assert store.info("whole").generation == 1


def errored(place: Place, store: DagStore, key: str) -> None:
    leave(place, store, key)
    store._core.catalogue.set_error(key, "FormatError", "junk")


def test_errored_shards_are_recovered_once_without_a_break(place: Place, store: DagStore) -> None:
    for key in keys(2):
        errored(place, store, key)
    place.mount("shard-001", b"junk")
    with store.subscribe() as events:
        take_up(store._core)
        eventually(lambda: states(store)["shard-000"] is ShardState.AVAILABLE)
        eventually(lambda: store._core.catalogue.find("shard-001").error != "junk")
        take_up(store._core)  # for this one there is no second attempt
        events.close()
        begun = [event.key for event in events if event.operation is Operation.RECOVER]
    assert sorted(begun) == [*keys(2)]
    assert states(store)["shard-001"] is ShardState.ERRORED


def test_errored_shards_are_left_for_whoever_asks_unless_it_is_to_be_now(place: Place) -> None:
    with opened(place, recover_on_start="on-acquire", recover_backoff=0.0) as store:
        errored(place, store, "key")
        with store.subscribe() as events:
            take_up(store._core)
            events.close()
            assert [*events] == []
        check_serves(store, "key", "key")


def held(place: Place, store: DagStore, count: int) -> Callable[[], int]:
    """So many shards to go on with, whose mounts hang; how many have been asked for their bytes."""
    faults = []
    for key in keys(count):
        leave(place, store, key)
        faults.append(place.faults[place.mount(key).url])
        faults[-1].hold()
    return lambda: sum(each.counts.stats + each.counts.opens + each.counts.streams > 0 for each in faults)


@pytest.mark.parametrize(("limit", "at_once"), [(2, 2), (0, 16)])
def test_no_more_are_begun_at_a_time_than_there_is_room_for(place: Place, limit: int, at_once: int) -> None:
    with opened(place, max_concurrent_index=limit, max_jobs=64) as store:
        begun = held(place, store, 20)
        calls = Calls()
        calls(lambda: take_up(store._core))
        eventually(lambda: sum(state is ShardState.INITIALIZING for state in states(store).values()) == at_once)
        time.sleep(3 * module._POLL)
        assert sum(state is ShardState.INITIALIZING for state in states(store).values()) == at_once
        assert begun() <= at_once
        for key in keys(20):
            place.faults[place.mount(key).url].release()
        calls.wait()
        eventually(lambda: set(states(store).values()) == {ShardState.AVAILABLE})


def test_a_store_that_closes_meanwhile_does_not_wait_for_room(place: Place) -> None:
    with opened(place, max_concurrent_index=1) as store:
        held(place, store, 3)
        calls = Calls()
        calls(lambda: take_up(store._core))
        eventually(lambda: ShardState.INITIALIZING in states(store).values())
        store._core.closing.set()
        calls.wait()
        assert [*states(store).values()].count(ShardState.NEW) == 2
        store._core.closing.clear()  # so that the rest is closed as it always is
        for key in keys(3):
            place.faults[place.mount(key).url].release()


def test_nothing_is_begun_in_a_store_that_is_closing(place: Place) -> None:
    with opened(place) as store:
        for key in keys(3):
            leave(place, store, key)
        store._core.closing.set()
        take_up(store._core)
        assert set(states(store).values()) == {ShardState.NEW}
        store._core.closing.clear()


def test_what_changed_since_it_was_listed_is_somebody_elses(place: Place, store: DagStore) -> None:
    """Each of the three by itself: another shard of that name, another state, another index."""
    core, catalogue = store._core, store._core.catalogue
    leave(place, store, "key")
    now = catalogue.find("key")
    for old in (replace(now, id=now.id + 1), replace(now, state=DurableState.ERRORED), replace(now, generation=7)):
        assert not module._begin(core, old, Operation.INITIALIZE, threading.Semaphore())
        assert states(store) == {"key": ShardState.NEW}
    room = threading.Semaphore(0)
    assert module._begin(core, now, Operation.INITIALIZE, room)
    assert room.acquire(timeout=60)  # when it is done
    eventually(lambda: states(store) == {"key": ShardState.AVAILABLE})


def test_what_is_somebody_elses_takes_up_no_room(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(place, max_concurrent_index=1) as store:
        left = list[tuple[ShardRow, Operation]]()
        for key in keys(3):
            leave(place, store, key)
            row = store._core.catalogue.find(key)
            left.append((row if key == "shard-002" else replace(row, generation=7), Operation.INITIALIZE))
        store._core.catalogue.remove("shard-000", None)  # gone altogether, which is an error
        monkeypatch.setattr(module, "_left_behind", lambda _: iter(left))
        take_up(store._core)
        eventually(lambda: states(store)["shard-002"] is ShardState.AVAILABLE)
        assert states(store)["shard-001"] is ShardState.NEW


def test_a_shard_that_no_thread_can_be_had_for_is_left_to_the_next_start(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    leave(place, store, "key")
    monkeypatch.setattr(store._core, "begin", fail)
    take_up(store._core)
    assert states(store) == {"key": ShardState.NEW}


@pytest.mark.parametrize("error", [StateError("not a catalogue"), OSError(5, "Input/output error")])
def test_a_catalogue_that_fails_is_left_to_the_next_start(
    store: DagStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(store._core.catalogue, "rows", fail)
    take_up(store._core)


def test_a_slot_that_a_job_does_not_take_is_given_back(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``begin`` has no job where the row that it was given is out of date."""

    def no_job(*_: object) -> None:
        pass

    leave(place, store, "key")
    row = store._core.catalogue.find("key")
    monkeypatch.setattr(store._core, "begin", no_job)
    room = threading.Semaphore(0)
    assert module._begin(store._core, row, Operation.INITIALIZE, room) is False
    assert not room.acquire(blocking=False)  # by the caller, not here
