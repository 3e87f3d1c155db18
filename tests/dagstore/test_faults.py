"""What goes wrong with one shard is an error to whoever wants it, and nothing to anybody else."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carv2 import _downloads
from carv2.dagstore import MountRegistry, MountStat, Problem, ShardState
from carv2.dagstore.mounts import Mount
from carv2.errors import (
    IntegrityError,
    MountError,
    QuotaError,
    ShardErroredError,
    WaitTimeoutError,
)
from carv2.testing import FaultyMounts
from dagstore.shards import PATIENCE, Calls, Place, archive_of, blocks_of, check_serves, eventually, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2.dagstore import DagStore
    from carv2.testing import Faults

both = pytest.mark.parametrize("sequential", [False, True], ids=["in place", "copied"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[DagStore]:
    """A store with a good shard, which is served before, meanwhile and afterwards."""
    with place.store(max_open_shards=0) as store:
        store.register("good", place.mount("good"))
        yield store
        check_serves(store, "good", "good")
        assert store.info("good").generation == 1


@pytest.fixture
def new(place: Place, store: DagStore) -> Callable[[bool], Faults]:
    """Registers the shard ``key``, lazily; its faults."""

    def register(sequential: bool) -> Faults:
        mount = place.mount("key", sequential=sequential)
        store.register("key", mount, lazy=True)
        return place.faults[mount.url]

    return register


@both
@pytest.mark.parametrize(
    "fault",
    [
        {"gone": True},
        {"size": 5000},
        {"size": 10},
        {"truncate_at": 200},
        {"truncate_at": 0},
        {"fail_at": 100},
        {"error": lambda: RuntimeError("a stranger's error"), "fail_at": 100},
        {"error": lambda: OSError(errno.EIO, "a disk's error"), "gone": True},
    ],
    ids=[
        "gone",
        "larger",
        "smaller",
        "cut at 200",
        "empty",
        "fails at 100",
        "a strange error",
        "an error of the disk",
    ],
)
def test_a_fault_at_indexing_is_told_and_gone_once_it_is_mended(
    store: DagStore, new: Callable[[bool], Faults], sequential: bool, fault: dict[str, Any]
) -> None:
    faults = new(sequential)
    for name, value in fault.items():
        setattr(faults, name, value)
    with pytest.raises(ShardErroredError) as caught:
        store.acquire("key", timeout=PATIENCE)
    info = store.info("key")
    assert (info.state, info.error) == (ShardState.ERRORED, caught.value.cause)
    assert info.error_type == caught.value.error_type
    check_serves(store, "good", "good")
    for name in fault:
        setattr(faults, name, False if name == "gone" else None)
    store.recover("key", timeout=PATIENCE)
    check_serves(store, "key", "key")
    assert store.info("key").error == ""
    assert faults.counts.open_now == 0


@both
def test_a_mount_that_is_away_for_a_while_does_no_lasting_harm(
    store: DagStore, new: Callable[[bool], Faults], sequential: bool
) -> None:
    faults = new(sequential)
    check_serves(store, "key", "key")
    store.gc()
    faults.gone = True
    for _ in range(3):
        with pytest.raises(MountError, match="no longer exists"):
            store.acquire("key")
    assert [(one.key, one.problem) for one in store.doctor()] == [("key", Problem.MOUNT_GONE)]
    assert store.info("key").state is ShardState.AVAILABLE
    check_serves(store, "good", "good")
    faults.gone = False
    check_serves(store, "key", "key")
    assert not list(store.doctor())


@both
def test_bytes_that_changed_since_they_were_indexed(
    place: Place, store: DagStore, new: Callable[[bool], Faults], sequential: bool
) -> None:
    new(sequential)
    check_serves(store, "key", "key")
    place.mount("key", archive_of("another"))
    with store.subscribe() as events:
        calls = Calls()
        calls(lambda: store.acquire("key", timeout=PATIENCE), times=5)
        assert {type(result) for result in calls.wait()} == {ShardErroredError}
        events.close()
        assert [event.operation.value for event in events] == ["fail"]  # once, for all who wanted it
    assert store.counters()["stale"] == 1
    store.recover("key")
    check_serves(store, "key", "another")
    assert not any(store.shards_with(cid) for cid in blocks_of("key"))


@both
@pytest.mark.parametrize("at", ["the header", "a block"])
def test_bytes_that_are_damaged_are_never_given(
    store: DagStore, new: Callable[[bool], Faults], sequential: bool, at: str
) -> None:
    faults = new(sequential)
    check_serves(store, "key", "key")
    store.gc()
    faults.flip = (3,) if at == "the header" else (len(archive_of("key")) - 1,)
    try:
        with store.acquire("key") as shard:
            for cid, data in blocks_of("key").items():
                try:
                    assert shard[cid] == data
                except IntegrityError:
                    assert at == "a block"
    except (ShardErroredError, MountError):
        assert at == "the header"
    faults.flip = ()
    store.gc()
    if store.info("key").state is ShardState.ERRORED:
        store.recover("key")
    check_serves(store, "key", "key")


def test_a_reader_that_fails_is_not_handed_to_the_next(
    store: DagStore, new: Callable[[bool], Faults], place: Place
) -> None:
    faults = new(False)
    faults.by_chance(0, chance=1.0, kinds=["truncate"])
    with pytest.raises(ShardErroredError):
        store.acquire("key")
    faults.by_chance(0, chance=0.0, kinds=[])
    store.recover("key")
    with store.acquire("key") as first:
        first._store._car.source._once.fail_at = 0  # type: ignore[attr-defined]
        for read in (lambda: first[next(iter(blocks_of("key")))], lambda: list(first), lambda: len(first)):
            with pytest.raises(MountError):
                read()
        check_serves(store, "key", "key")
    check_serves(store, "key", "key")
    assert store.info("key").references == faults.counts.open_now == 0


@both
def test_a_slow_mount_is_waited_for_or_not(
    store: DagStore, new: Callable[[bool], Faults], sequential: bool
) -> None:
    faults = new(sequential)
    faults.delay = 0.05
    with pytest.raises(WaitTimeoutError):
        store.acquire("key", timeout=0.001)
    check_serves(store, "good", "good")
    check_serves(store, "key", "key")
    assert store.counters()["initialized"] == 2


@both
def test_clients_that_give_up_and_others_that_do_not(
    store: DagStore, new: Callable[[bool], Faults], sequential: bool
) -> None:
    faults = new(sequential)
    faults.hold()
    hasty, patient = Calls(), Calls()
    patient(lambda: check_serves(store, "key", "key"), times=3)
    faults.wait_until_held()
    hasty(lambda: store.acquire("key", timeout=0.01), times=10)
    assert {type(result) for result in hasty.wait()} == {WaitTimeoutError}
    check_serves(store, "good", "good")
    faults.release()
    assert patient.wait() == [None] * 3
    assert store.info("key").references == 0


def test_mounts_that_hang_hold_up_nobody_else(place: Place, store: DagStore) -> None:
    for key in keys(12):
        mount = place.mount(key)
        store.register(key, mount)
        place.faults[mount.url].hold()
    calls = Calls()
    for key in keys(12):
        calls(lambda key=key: store.acquire(key, timeout=PATIENCE).close())  # type: ignore[misc]
    for url in place.faults:
        if "shard" in url:
            place.faults[url].wait_until_held()
    check_serves(store, "good", "good")
    store.register("new", place.mount("new"))
    check_serves(store, "new", "new")
    for url in place.faults:
        place.faults[url].release()
    assert calls.wait() == [None] * 12


@pytest.mark.parametrize("step", ["write_at", "sync"])
def test_a_full_disk_for_local_copies(
    store: DagStore, new: Callable[[bool], Faults], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    new(True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_downloads.Part, step, full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left") as caught:
                store.acquire("key")
            assert caught.value.errno == errno.ENOSPC
        assert store.info("key").state is ShardState.NEW
        check_serves(store, "good", "good")
    check_serves(store, "key", "key")
    assert store.stat().transient_count == 1


def test_a_full_disk_for_indexes(
    place: Place, store: DagStore, new: Callable[[bool], Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    new(False)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("carv2._atomic.os.fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            store.acquire("key")
        assert caught.value.errno == errno.ENOSPC
        assert str(caught.value.filename).startswith(str(place.root / "index"))
    assert sorted(os.listdir(place.root / "index")) == [".carv2-indexes", ".version", "good.full.idx"]
    check_serves(store, "key", "key")


def test_local_copies_that_do_not_fit(place: Place) -> None:
    size = 4096
    with place.store(transient_quota=2 * size, max_open_shards=0) as store:
        for key in keys(4):
            store.register(key, place.mount(key, sequential=True))
            assert store.stat().transient_bytes <= 2 * size
        readers = [store.acquire(key) for key in keys(2)]
        with pytest.raises(QuotaError):
            store.acquire("shard-003")
        assert store.info("shard-003").state is ShardState.AVAILABLE
        for reader in readers:
            reader.close()
        for key in keys(4):
            check_serves(store, key, key)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "another's"])
def test_an_index_file_that_is_not_what_it_was(place: Place, store: DagStore, damage: str) -> None:
    store.register("key", place.mount("key"))
    path = Path(store._core.indices.path_of("key"))
    data = path.read_bytes()
    path.unlink()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "flipped":
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    elif damage == "another's":
        path.write_bytes(Path(store._core.indices.path_of("good")).read_bytes())
    found = [one.problem for one in store.doctor()]
    assert found == [Problem.INDEX_MISSING if damage == "gone" else Problem.INDEX_DAMAGED]
    check_serves(store, "key", "key")
    assert path.read_bytes() == data
    assert not list(store.doctor(thorough=True))


def test_the_doctor_mends_what_can_be_mended(place: Place) -> None:
    with place.store() as store:
        for key in keys(4):
            store.register(key, place.mount(key, sequential=key == "shard-003"))
        os.unlink(store._core.indices.path_of("shard-000"))
        Path(store._core.indices.path_of("shard-001")).write_bytes(b"junk")
        Path(store._core.indices.path_of("nobody")).write_bytes(b"junk")
        store._core.catalogue.remove_multihashes("shard-002", None)
        copy = store._core.transients.path_of("shard-003")
        assert copy is not None
        with pytest.raises(ShardErroredError):
            store.register("shard-004", place.mount("shard-004", b"junk"))
        place.mount("shard-004")
        expected = {
            ("shard-000", Problem.INDEX_MISSING),
            ("shard-001", Problem.INDEX_DAMAGED),
            ("shard-002", Problem.NOT_SEARCHABLE),
            ("shard-004", Problem.ERRORED),
            ("nobody", Problem.INDEX_OF_NOBODY),
        }
        found = list(store.doctor(repair=True, thorough=True))
        assert {(one.key, one.problem) for one in found if one.is_mended} == expected
        assert {one for one in found if not one.is_mended} == set()
        assert not list(store.doctor(thorough=True))
        for key in keys(5):
            check_serves(store, key, key)


class Wild(Mount):
    """Raises what it likes."""

    url = "wild:///"
    random_access = True

    def stat(self, *, timeout: float | None = None) -> MountStat:
        raise KeyError("wild")

    def open(self) -> Any:
        raise ZeroDivisionError


def test_mounts_may_raise_anything(place: Place, tmp_path: Path) -> None:
    registry = MountRegistry()
    registry.register("wild", lambda _: Wild())
    place.faults = FaultyMounts(registry)
    with place.store() as store:
        store.register("key", "wild:///", lazy=True)
        with pytest.raises(ShardErroredError, match="KeyError"):
            store.acquire("key")
        assert {one.problem for one in store.doctor()} == {Problem.ERRORED}
        assert [event.event for event in store.initialize_all()] == []


def test_a_catalogue_that_fails_meanwhile(
    place: Place, store: DagStore, new: Callable[[bool], Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can write down what came of it: whoever waits is told, and the next one tries again."""
    new(False)

    def broken(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, store.subscribe() as events:
        patch.setattr(store._core.catalogue, "set_available", broken)
        patch.setattr(store._core.catalogue, "set_error", broken)
        with pytest.raises(OSError, match="Input/output"):
            store.acquire("key")
        events.close()
        assert [event.operation.value for event in events] == ["initialize", "break off"]
    assert store.info("key").state is ShardState.NEW
    check_serves(store, "key", "key")


def test_an_attempt_that_ended_half_way_leaves_no_entries(place: Place, store: DagStore) -> None:
    """The bytes were others then."""
    store.register("key", place.mount("key"), lazy=True)
    store._core.catalogue.add_multihashes("key", [cid.multihash for cid in blocks_of("before")])
    check_serves(store, "key", "key")
    assert not any(store.shards_with(cid) for cid in blocks_of("before"))
    assert store._core.catalogue.entry_count("key") == len(blocks_of("key"))


def test_a_lease_that_ran_out_on_the_way_lets_the_work_begin_anew(
    place: Place, store: DagStore, new: Callable[[bool], Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process that was stopped for longer than its lease, and went on afterwards."""
    new(False)
    catalogue, real = store._core.catalogue, store._core.catalogue.add_multihashes
    stolen: list[str] = []

    def steal(key: str, multihashes: Any, *, holder: str) -> None:
        real(key, multihashes, holder=holder)
        if not stolen:
            lease = catalogue.lease_of(key)
            assert lease is not None
            catalogue.release_lease(key, lease.holder)
            assert catalogue.try_lease(key, "another", 0.3)
            stolen.append(lease.holder)

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "add_multihashes", steal)
        check_serves(store, "key", "key")
    assert stolen
    assert store.info("key").generation == 1
    eventually(lambda: catalogue.lease_of("key") is None)


def test_a_dead_mount_is_named_once(place: Place) -> None:
    with place.store() as store:
        mount = place.mount("key")
        place.faults[mount.url].gone = True
        with pytest.raises(ShardErroredError):
            store.register("key", mount)
        assert [found.problem for found in store.doctor()] == [Problem.ERRORED]
