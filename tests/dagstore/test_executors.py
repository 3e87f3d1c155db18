"""Indexing on executors: threads, processes, a Dask cluster; that break, are shut down, or never answer."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore import BytesMount, DagStore, DagStoreConfig, InitializeEvent, ShardState, bulk
from carv2.errors import ClosedError, ShardErroredError, StateError, WaitTimeoutError
from dagstore.shards import PATIENCE, Calls, Place, archive_of, check_serves, eventually, keys, padded
from dagstore.worker_mounts import StayingMount, WorkerMount, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archives").mkdir()
    return tmp_path


def open_store(folder: Path, executor: Executor | None, **options: Any) -> DagStore:
    config = DagStoreConfig(**{"gc_interval": 0.0, "recover_on_start": "no", **options})
    return DagStore(folder / "store", mounts=registry(), config=config, executor=executor)


def worker_mount(folder: Path, seed: str, **options: Any) -> WorkerMount:
    path = folder / "archives" / f"{seed}.car"
    path.write_bytes(padded(archive_of(seed)))
    return WorkerMount(str(path), **options)


def lazy_shards(store: DagStore, folder: Path, count: int) -> list[WorkerMount]:
    mounts = [worker_mount(folder, key) for key in keys(count)]
    store.register_many(zip(keys(count), mounts, strict=True))
    return mounts


def spawned(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


# -- executors that work --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two processes on this machine, and its client."""
    distributed = pytest.importorskip("distributed")
    config = pytest.importorskip("dask.config")
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.admin.tick.limit": "60 s",
        "temporary-directory": str(tmp_path_factory.mktemp("dask")),
    }
    with (
        config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["threads", "processes", "dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "threads":
        with ThreadPoolExecutor(3) as pool:
            yield pool
    elif request.param == "processes":
        with spawned(2) as processes:
            yield processes
    else:
        yield request.getfixturevalue("dask").get_executor()


def test_shards_are_indexed_on_the_executor(folder: Path, executor: Executor) -> None:
    with open_store(folder, executor) as store:
        mounts = lazy_shards(store, folder, 8)
        events = list(store.initialize_all(concurrency=4))
        assert [event.error for event in events if event.event == "end"] == [""] * 8
        elsewhere = not isinstance(executor, ThreadPoolExecutor)
        for mount in mounts:
            assert len(mount.opened_by) == 1
            assert (os.getpid() not in mount.opened_by) == elsewhere
        assert {info.state for info in store.list()} == {ShardState.AVAILABLE}

        store.register("eager", worker_mount(folder, "eager"))
        store.register("bytes", BytesMount(archive_of("bytes")))
        store.register("lazy", worker_mount(folder, "lazy"), lazy=True)
        for key in (*keys(8), "eager", "bytes", "lazy"):
            check_serves(store, key, key)
        assert store.counters()["initialized"] == 11


def test_what_cannot_be_indexed_is_an_errored_shard_everywhere(folder: Path, executor: Executor) -> None:
    path = folder / "archives" / "junk.car"
    path.write_bytes(b"junk" * 100)
    with open_store(folder, executor) as store:
        with pytest.raises(ShardErroredError) as caught:
            store.register("junk", WorkerMount(str(path)))
        with open_store(folder / "here", None) as here, pytest.raises(ShardErroredError) as expected:
            here.register("junk", WorkerMount(str(path)))
        assert str(caught.value) == str(expected.value)
        assert store.info("junk").error_type == caught.value.error_type
        path.write_bytes(archive_of("junk"))
        store.recover("junk", timeout=PATIENCE)
        check_serves(store, "junk", "junk")


def test_pieces_that_must_be_fetched_first_are_fetched_here_and_indexed_there(tmp_path: Path) -> None:
    place = Place.at(tmp_path)
    with spawned(1) as executor:
        config = DagStoreConfig(gc_interval=0)
        with DagStore(place.root, mounts=place.faults.registry, config=config, executor=executor) as store:
            mount = place.mount("a", sequential=True)
            store.register("a", mount)
            check_serves(store, "a", "a")
            assert place.faults[mount.url].counts.streams == 1


def test_a_store_that_is_opened_again_goes_on_on_its_executor(folder: Path) -> None:
    with open_store(folder, Never()) as store:
        store.register("eager", worker_mount(folder, "eager"), wait=False)
    with spawned(1) as executor, open_store(folder, executor) as store:
        eventually(lambda: store.info("eager").state is ShardState.AVAILABLE)
        assert worker_mount(folder, "eager").opened_by[-1] != os.getpid()


# -- executors that do not ------------------------------------------------------------------------------------


class Never(Executor):
    """Takes work, and does none of it."""

    def __init__(self) -> None:
        self.taken: list[Future[Any]] = []

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        self.taken.append(Future())
        return self.taken[-1]


class Refusing(Executor):
    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        raise RuntimeError("cannot schedule new futures after shutdown")


class Failing(Executor):
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(self._error)
        return future


def test_a_worker_that_is_killed_makes_an_errored_shard_and_the_others_wait_for_another_executor(
    folder: Path,
) -> None:
    deadly = worker_mount(folder, "deadly", kills=1)
    with spawned(1) as executor, open_store(folder, executor) as store:
        lazy_shards(store, folder, 3)
        with pytest.raises(ShardErroredError, match="terminated"):
            store.register("deadly", deadly)
        assert store.info("deadly").error_type == "BrokenProcessPool"
        events = list(store.initialize_all())
        assert all("the executor takes no work" in event.error for event in events if event.event == "end")
        with pytest.raises(StateError, match="the executor takes no work"):
            store.acquire("shard-000", timeout=PATIENCE)
        assert {info.state for info in store.list(prefix="shard")} == {ShardState.NEW}
        assert store._core.catalogue.leases() == []
    with spawned(1) as executor, open_store(folder, executor) as store:
        assert all(event.success for event in store.initialize_all() if event.event == "end")
        store.recover("deadly", timeout=PATIENCE)
        for key in (*keys(3), "deadly"):
            check_serves(store, key, key)


def test_of_a_dask_cluster_another_worker_takes_over(folder: Path, dask: Any) -> None:
    once = worker_mount(folder, "once", kills=1)
    with open_store(folder, dask.get_executor()) as store:
        store.register("once", once, timeout=PATIENCE)
        assert len(set(once.opened_by)) == 2
        check_serves(store, "once", "once")


def test_what_kills_each_worker_of_a_dask_cluster_is_given_up(folder: Path, dask: Any) -> None:
    always = worker_mount(folder, "always", kills=1000)
    with open_store(folder, dask.get_executor()) as store:
        with pytest.raises(ShardErroredError):
            store.register("always", always, timeout=PATIENCE)
        assert store.info("always").error_type == "KilledWorker"
        assert 1 < len(always.opened_by) < 10
        store.register("fine", worker_mount(folder, "fine"), timeout=PATIENCE)  # there are new workers
        check_serves(store, "fine", "fine")


def test_a_dask_client_that_is_closed_takes_no_work(folder: Path, dask: Any) -> None:
    distributed = pytest.importorskip("distributed")
    client = distributed.Client(dask.cluster)
    with open_store(folder, client.get_executor()) as store:
        lazy_shards(store, folder, 1)
        client.close()
        with pytest.raises(StateError):
            store.acquire("shard-000", timeout=PATIENCE)
        assert store.info("shard-000").state is ShardState.NEW


def test_a_dask_client_that_is_closed_in_the_middle_ends_the_wait(folder: Path, dask: Any) -> None:
    distributed = pytest.importorskip("distributed")
    client = distributed.Client(dask.cluster)
    slow = worker_mount(folder, "slow", pause=2.0)
    with open_store(folder, client.get_executor()) as store:
        store.register("slow", slow, lazy=True)
        calls = Calls()
        calls(lambda: store.initialize("slow"))
        eventually(lambda: slow.opened_by)
        client.close()
        assert isinstance(calls.wait()[0], StateError)
        assert store.info("slow").state is ShardState.NEW


def test_an_executor_that_was_shut_down_changes_nothing(folder: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    for broken in (executor, Refusing()):
        with open_store(folder, broken) as store:
            lazy_shards(store, folder, 1)
            for use in (store.initialize, store.acquire):
                with pytest.raises(StateError, match="cannot schedule new futures"):
                    use("shard-000")
            assert store.info("shard-000").state is ShardState.NEW
            assert store.counters()["failed"] == 0
    with open_store(folder, None) as store:
        check_serves(store, "shard-000", "shard-000")


def test_work_that_is_thrown_away_changes_nothing(folder: Path) -> None:
    busy = threading.Event()
    executor = ThreadPoolExecutor(1)
    executor.submit(busy.wait, PATIENCE)
    with open_store(folder, executor) as store:
        lazy_shards(store, folder, 3)
        calls = Calls()
        for key in keys(3):
            calls(lambda key=key: store.initialize(key))  # type: ignore[misc]
        eventually(lambda: executor._work_queue.qsize() == 3)
        executor.shutdown(wait=False, cancel_futures=True)
        assert {type(error).__mro__[1] for error in calls.wait()} == {StateError}
        busy.set()
        assert {info.state for info in store.list()} == {ShardState.NEW}
        assert store._core.catalogue.leases() == []


@pytest.mark.parametrize(
    "error", [RuntimeError("lost"), TimeoutError("too long"), OSError(5, "no answer"), ValueError()]
)
def test_what_an_executor_says_of_a_shard_is_its_error(folder: Path, error: Exception) -> None:
    with open_store(folder, Failing(error)) as store:
        with pytest.raises(ShardErroredError) as caught:
            store.register("a", worker_mount(folder, "a"))
        assert caught.value.error_type == type(error).__name__
        assert store.info("a").state is ShardState.ERRORED


def test_a_mount_that_cannot_be_sent_away_is_the_shards_error(folder: Path) -> None:
    mount = worker_mount(folder, "a")
    with spawned(1) as executor, open_store(folder, executor) as store:
        with pytest.raises(ShardErroredError, match="stays where it is"):
            store.register("a", StayingMount(mount.path))
        store.register("b", worker_mount(folder, "b"))  # it is not broken by that
        check_serves(store, "b", "b")


def test_closing_does_not_wait_for_an_executor_that_never_answers(folder: Path) -> None:
    never = Never()
    store = open_store(folder, never)
    lazy_shards(store, folder, 8)
    with pytest.raises(WaitTimeoutError):
        store.acquire("shard-000", timeout=0.01)
    calls = Calls()
    for key in keys(8):
        calls(lambda key=key: store.acquire(key))  # type: ignore[misc]
    eventually(lambda: len(never.taken) == 5)  # the limit of the configuration
    store.close(timeout=PATIENCE)
    assert {type(error) for error in calls.wait()} == {ClosedError}
    assert all(future.cancelled() for future in never.taken)
    assert len(never.taken) == 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("carv2-job")]
    with open_store(folder, None) as store:
        assert {info.state for info in store.list()} == {ShardState.NEW}
        check_serves(store, "shard-000", "shard-000")


# -- many at once ---------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def sealed_and_ready(place: Place, store: DagStore) -> None:
    for key in keys(6):
        mount = place.mount(key)
        place.faults[mount.url].ready = int(key[-1]) % 2 == 0
        store.register(key, mount, lazy=True)


def test_each_shard_has_a_start_and_an_end_with_the_same_number(place: Place) -> None:
    with place.store() as store:
        for key in keys(7):
            store.register(key, place.mount(key), lazy=True)
        store.register("there", place.mount("there"))
        events = list(store.initialize_all(concurrency=3))
    assert len(events) == 14
    for number, key in enumerate(keys(7), 1):
        start, end = (event for event in events if event.key == key)
        assert start == InitializeEvent(key, "start", success=False, error="", total=7, current=number)
        assert end == InitializeEvent(key, "end", success=True, error="", total=7, current=number)


def test_nothing_to_do_is_no_events(place: Place) -> None:
    with place.store() as store:
        assert list(store.initialize_all()) == []
        store.register("there", place.mount("there"))
        assert list(store.initialize_all(concurrency=3)) == []


@pytest.mark.parametrize(("concurrency", "at_once"), [(1, 1), (3, 3), (0, 8)])
def test_so_many_at_once_and_no_more(place: Place, concurrency: int, at_once: int) -> None:
    with place.store(max_concurrent_index=0) as store:
        faults = []
        for key in keys(8):
            mount = place.mount(key)
            store.register(key, mount, lazy=True)
            faults.append(place.faults[mount.url])
        for fault in faults:
            fault.hold(at=0)
        calls = Calls()
        calls(lambda: list(store.initialize_all(concurrency=concurrency)))
        try:
            eventually(lambda: sum(fault._waiting for fault in faults) == at_once)
            assert not store._core.closing.wait(0.05)
            assert sum(fault._waiting for fault in faults) == at_once
        finally:
            for fault in faults:
                fault.release()
        assert len(calls.wait()[0]) == 16


def test_what_is_sealed_is_left_out_unless_it_is_wanted(place: Place) -> None:
    with place.store() as store:
        sealed_and_ready(place, store)
        assert {event.key[-1] for event in store.initialize_all(concurrency=2)} == {"0", "2", "4"}
        assert {info.key[-1] for info in store.list(state=ShardState.NEW)} == {"1", "3", "5"}
        events = list(store.initialize_all(include_sealed=True))
        assert {event.key[-1] for event in events} == {"1", "3", "5"}
        assert {event.total for event in events} == {3}


@pytest.mark.parametrize("error", [None, RuntimeError, ZeroDivisionError])
def test_what_cannot_be_asked_is_left_out_and_hinders_nobody(
    place: Place, error: Callable[[], Exception] | None
) -> None:
    with place.store() as store:
        sealed_and_ready(place, store)
        for key in ("shard-000", "shard-004"):
            fault = place.faults[place.mount(key).url]
            fault.error = error
            fault.refuse(1000)
        assert {event.key[-1] for event in store.initialize_all(concurrency=1)} == {"2"}
        ends = [
            event for event in store.initialize_all(concurrency=1, include_sealed=True) if event.event == "end"
        ]
        assert {event.key[-1]: event.success for event in ends} == {
            "0": False, "1": True, "3": True, "4": False, "5": True,
        }  # fmt: skip
        assert all(event.error for event in ends if not event.success)


def test_closing_the_generator_begins_no_more(place: Place) -> None:
    with place.store() as store:
        for key in keys(20):
            store.register(key, place.mount(key), lazy=True)
        place.faults[place.mount("shard-001").url].hold(at=0)
        events = store.initialize_all(concurrency=2)
        seen = [next(events) for _ in range(3)]
        events.close()
        assert {event.current for event in seen} <= {1, 2, 3}
        place.faults[place.mount("shard-001").url].release()
        eventually(lambda: not any(info.state is ShardState.INITIALIZING for info in store.list()))
        begun = sum(info.state is ShardState.AVAILABLE for info in store.list())
        assert 2 <= begun < 20
        assert sum(event.event == "end" for event in store.initialize_all()) == 20 - begun


def test_another_thread_has_no_more_begun_and_the_events_end_while_that_goes_on(place: Place) -> None:
    with place.store() as store:
        mounts = {key: place.mount(key) for key in keys(20)}
        store.register_many(mounts.items())
        first, stop, calls = place.faults[mounts["shard-000"].url], threading.Event(), Calls()
        first.hold()
        calls(lambda: [*store.initialize_all(concurrency=1, include_sealed=True, stop=stop)])
        first.wait_until_held()
        stop.set()
        ((start,),) = calls.wait()
        assert (start.key, start.event) == ("shard-000", "start")
        first.release()
        eventually(lambda: store.info("shard-000").state is ShardState.AVAILABLE)
        assert store.stat().by_state["new"] == 19
        assert [*store.initialize_all(stop=stop)] == []  # it was set before


def test_a_generator_that_is_never_begun_does_nothing(place: Place) -> None:
    with place.store() as store:
        store.register("a", place.mount("a"), lazy=True)
        store.initialize_all().close()
        assert store.info("a").state is ShardState.NEW


def test_two_at_a_time_share_the_work(place: Place) -> None:
    with place.store() as store:
        mounts = [place.mount(key) for key in keys(10)]
        store.register_many(zip(keys(10), mounts, strict=True))
        calls = Calls()
        calls(lambda: list(store.initialize_all(concurrency=3)), times=3)
        for events in calls.wait():
            assert [event.error for event in events if event.event == "end"] == [""] * (len(events) // 2)
        assert store.counters()["initialized"] == 10


def test_what_others_did_meanwhile_is_as_good(place: Place) -> None:
    with place.store(recover_on_start="no") as store:
        gone = place.mount("gone")
        place.faults[gone.url].gone = True
        store.register("there", place.mount("there"))
        with pytest.raises(ShardErroredError):
            store.register("gone", gone)
        bulk._initialize(store._core, "there")
        assert store.counters()["initialized"] == 1
        with pytest.raises(ShardErroredError):
            bulk._initialize(store._core, "gone")
        assert store.counters()["failed"] == 1
        keys = ["destroyed", "there", "gone"]
        assert bulk._ready_ones(store._core, keys, 2, threading.Event()) == ["there"]


def test_closing_the_store_ends_the_events(place: Place) -> None:
    store = place.store()
    for key in keys(6):
        mount = place.mount(key)
        store.register(key, mount, lazy=True)
    last = place.faults[place.mount("shard-005").url]
    last.hold(at=0)
    calls = Calls()
    calls(lambda: list(store.initialize_all()))
    last.wait_until_held()
    closing = Calls()
    closing(lambda: store.close(timeout=0.1))
    (events,) = calls.wait()
    last.release()
    closing.wait()
    assert len(events) == 12
    assert "closed" in next(event for event in events if event.key == "shard-005" and event.event == "end").error
