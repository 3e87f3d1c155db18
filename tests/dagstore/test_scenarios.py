"""What the Go dagstore's own tests show of it (dagstore.md 1.21), and what it gets wrong (1.20: D1 to D20), here.

Where a scenario ends differently here, the test says so.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.dagstore import BytesMount, DagStore, DagStoreConfig, FileMount, Operation, ShardState
from carv2.dagstore.catalogue import DurableState
from carv2.errors import (
    ClosedError,
    MountError,
    ShardErroredError,
    ShardExistsError,
    ShardInUseError,
    ShardNotFoundError,
    StateError,
    WaitTimeoutError,
)
from dagstore.shards import (
    PATIENCE,
    Calls,
    Place,
    archive_of,
    blocks_of,
    check_serves,
    eventually,
    keys,
    memory_mount,
    padded,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[DagStore]:
    with place.store() as store:
        yield store


def states(store: DagStore) -> set[ShardState]:
    return {info.state for info in store.list()}


# -- registering --------------------------------------------------------------------------------------------


def test_register_carv1(place: Place, store: DagStore) -> None:
    assert store.register("v1", place.mount("v1")).state is ShardState.AVAILABLE
    check_serves(store, "v1", "v1")
    assert store.counters()["adopted"] == 0


def test_register_carv2_whose_own_index_is_adopted(place: Place, store: DagStore, tmp_path: Path) -> None:
    (tmp_path / "v1.car").write_bytes(archive_of("v2"))
    carv2.wrap(str(tmp_path / "v1.car"), str(tmp_path / "v2.car"))
    store.register("v2", place.mount("v1"), local_copy=tmp_path / "v2.car")
    check_serves(store, "v2", "v2")
    assert store.counters()["adopted"] == 1
    store.register("strangers", place.mount("v2", (tmp_path / "v2.car").read_bytes()))
    check_serves(store, "strangers", "v2")
    assert store.counters()["adopted"] == 1


def test_register_with_a_local_copy_while_there_is_nothing_behind_the_mount(
    store: DagStore, tmp_path: Path
) -> None:
    copy = tmp_path / "staged.car"
    copy.write_bytes(archive_of("staged"))
    store.register("staged", FileMount("/nowhere/bogus.car"), local_copy=copy)
    check_serves(store, "staged", "staged")
    store.gc()
    store.destroy("staged")
    assert copy.read_bytes() == archive_of("staged")  # D3: what is the caller's is never removed


def test_register_without_waiting(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"), wait=False)
    check_serves(store, "key", "key")


def test_register_a_key_twice(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"), lazy=True)
    for lazy in (True, False):
        with pytest.raises(ShardExistsError, match="key: shard already exists"):
            store.register("key", place.mount("other"), lazy=lazy)
    assert store.register_many([("key", place.mount("other"))]) == 0
    check_serves(store, "key", "key")


def test_register_the_key_of_an_errored_shard(place: Place, store: DagStore) -> None:
    with pytest.raises(ShardErroredError):
        store.register("key", place.mount("key", b"no archive"))
    with pytest.raises(ShardExistsError):
        store.register("key", place.mount("key"))
    store.recover("key")
    check_serves(store, "key", "key")


# -- acquiring ----------------------------------------------------------------------------------------------


def test_acquire_an_unknown_key(store: DagStore) -> None:
    with pytest.raises(ShardNotFoundError, match="unknown: shard not found"):
        store.acquire("unknown")


def test_acquire_while_it_is_being_registered(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    faults.hold()
    calls = Calls()
    calls(lambda: store.register("key", mount))
    faults.wait_until_held()
    calls(lambda: check_serves(store, "key", "key"))
    faults.release()
    assert not [result for result in calls.wait() if isinstance(result, Exception)]


@pytest.mark.parametrize("count", [1, 2, 16, 256])
def test_many_readers_at_once(place: Place, store: DagStore, count: int) -> None:
    store.register("key", place.mount("key"))
    calls = Calls()
    calls(lambda: store.acquire("key", timeout=PATIENCE), times=count)
    shards = calls.wait()
    assert store.info("key").references == count
    assert store.info("key").state is ShardState.SERVING
    for shard in shards:
        assert {cid: shard[cid] for cid in blocks_of("key")} == blocks_of("key")
        shard.close()
    assert store.info("key").references == 0
    assert store.info("key").state is ShardState.AVAILABLE
    assert store.counters()["opened"] == 1


def test_lazy_shards_are_fetched_once_for_all_who_wait(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    assert store.register("key", mount, lazy=True).state is ShardState.NEW
    assert faults.counts.stats == faults.counts.streams == 0
    faults.hold()
    calls = Calls()
    calls(lambda: store.acquire("key", timeout=PATIENCE), times=16)
    faults.wait_until_held()
    faults.release()
    shards = calls.wait()
    assert faults.counts.streams == 1
    assert store.info("key").references == 16
    for shard in shards:
        shard.close()
    assert store.counters()["initialized"] == 1


def test_a_caller_who_gave_up_leaves_nothing_behind(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    store.register("key", mount, lazy=True)
    faults.hold()
    with pytest.raises(WaitTimeoutError, match=r"not done within 0\.05 s"):
        store.acquire("key", timeout=0.05)
    assert store.info("key").references == 0
    assert store.info("key").state is ShardState.INITIALIZING  # D16: it goes on for whoever asks next
    faults.release()
    check_serves(store, "key", "key")
    assert faults.counts.streams == 1
    assert store.info("key").references == 0
    assert store.counters()["timeouts"] == 1


def test_all_who_wait_get_the_error_of_an_initialization(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    store.register("key", mount, lazy=True)
    faults.hold()
    calls = Calls()
    calls(lambda: store.acquire("key", timeout=PATIENCE), times=5)
    faults.wait_until_held()
    eventually(lambda: store._core.live._shards["key"].users == 5)
    faults.gone = True
    faults.release()
    errors = calls.wait()
    assert [type(error) for error in errors] == [ShardErroredError] * 5
    assert all("no longer exists" in str(error) for error in errors)
    assert store.info("key").state is ShardState.ERRORED
    assert store.info("key").error_type == "MountError"


def open_files(folder: Path) -> list[str]:
    """What of the folder this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.islink(link)]
    return [target for target in targets if target.startswith(str(folder))]


def test_files_are_open_as_long_as_somebody_reads(place: Place) -> None:
    with place.store(max_open_shards=0) as store:
        mount = place.mount("key")
        store.register("key", mount)
        used = [mount.path, store._core.indices.path_of("key")]
        assert not set(used) & set(open_files(place.folder))
        with store.acquire("key"), store.acquire("key"):
            assert sorted(set(open_files(place.folder)) & set(used)) == sorted(used)
        assert not set(used) & set(open_files(place.folder))


def test_an_index_that_is_gone_is_made_again(place: Place, store: DagStore) -> None:
    """In the Go dagstore that is an error."""
    store.register("key", place.mount("key"))
    os.unlink(store._core.indices.path_of("key"))
    check_serves(store, "key", "key")
    assert store.counters()["rebuilt"] == 1
    assert store.info("key").generation == 2


# -- many shards, and starting again ------------------------------------------------------------------------


def test_a_hundred_shards_and_a_new_start(place: Place) -> None:
    with place.store() as store:
        for key in keys(100):
            store.register(key, memory_mount(key))
        readers = [store.acquire(key) for key in [*keys(20)] * 4]
        assert [info.references for info in store.list()] == [4] * 20 + [0] * 80
        with pytest.warns(ResourceWarning, match="never released"):
            del readers[::2]  # D20: neither who reads on nor who forgot to close keeps it from closing
        store.close()
        with pytest.raises(ClosedError):
            readers[0][next(iter(blocks_of("shard-001")))]
        for reader in readers:
            reader.close()
    with place.store() as store:
        assert [(info.key, info.state, info.references) for info in store.list()] == [
            (key, ShardState.AVAILABLE, 0) for key in keys(100)
        ]
        for key in keys(100):
            with pytest.raises(ShardExistsError):
                store.register(key, memory_mount(key))
        for key in keys(20):
            check_serves(store, key, key)


def test_destroyed_shards_stay_destroyed(place: Place) -> None:
    with place.store() as store:
        for key in keys(100):
            store.register(key, memory_mount(key), lazy=True)
        for key in keys(20):
            assert store.destroy(key)
        assert len(store) == 80
    with place.store() as store:
        assert [info.key for info in store.list()] == [*keys(100)][20:]


def test_a_store_that_was_closed_while_it_fetched_goes_on(place: Place) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    faults.hold()
    with place.store() as store:
        store.register("key", mount, wait=False)
        faults.wait_until_held()
        store.close(timeout=0.2)  # D20: the mount hangs, and closing does not
    faults.release()
    with place.store() as store:
        assert store.info("key").error == ""  # to be closed is no failure
        eventually(lambda: store.info("key").state is ShardState.AVAILABLE)
        check_serves(store, "key", "key")


def test_closing_while_it_fetches_marks_nothing_as_failed(place: Place) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    faults.hold(0)
    with place.store() as store, store.subscribe() as events:
        store.register("key", mount, wait=False)
        faults.wait_until_held()
        store.close(timeout=0.3)
        assert [event.operation.value for event in events] == ["register", "initialize", "break off"]
    faults.release()
    with place.store() as store:
        assert store._core.catalogue.find("key").failures == 0
        check_serves(store, "key", "key")


def test_a_local_copy_is_used_again_after_a_new_start(place: Place) -> None:
    mount = place.mount("key", sequential=True)
    with place.store() as store:
        store.register("key", mount)
    with place.store() as store:
        check_serves(store, "key", "key")
    assert place.faults[mount.url].counts.streams == 1


@pytest.mark.parametrize(
    ("policy", "becomes"),
    [("no", ShardState.ERRORED), ("on-acquire", ShardState.ERRORED), ("now", ShardState.AVAILABLE)],
)
def test_policies_for_errored_shards_at_the_start(place: Place, policy: str, becomes: ShardState) -> None:
    with place.store() as store:
        for key in keys(16):
            with pytest.raises(ShardErroredError):
                store.register(key, place.mount(key, b"junk"))
    for key in keys(16):
        place.mount(key)
    with place.store(recover_on_start=policy, recover_backoff=0.0) as store:
        if policy == "now":
            eventually(lambda: states(store) == {ShardState.AVAILABLE})
        assert states(store) == {becomes}
        for key in keys(16):
            if policy == "no":
                with pytest.raises(ShardErroredError):
                    store.acquire(key)
            else:
                check_serves(store, key, key)


def test_a_recovery_on_acquire_is_tried_as_often_as_is_allowed(place: Place) -> None:
    with place.store(max_recover_attempts=2, recover_backoff=0.0) as store:
        with pytest.raises(ShardErroredError):
            store.register("key", place.mount("key", b"junk"))
        with store.subscribe() as events:
            for _ in range(5):
                with pytest.raises(ShardErroredError):
                    store.acquire("key")
            events.close()
            heard = [event.operation for event in events]
        assert heard == [Operation.RECOVER, Operation.FAIL] * 2


# -- collecting ---------------------------------------------------------------------------------------------


def test_collecting_while_a_quarter_is_read(place: Place, store: DagStore) -> None:
    for key in keys(100):
        mount = place.mount(key, sequential=True)
        store.register(key, mount)
    readers = [store.acquire(key) for key in keys(25)]
    collected = store.gc()
    assert [one.key for one in collected if one.freed] == [*keys(100)][25:]
    assert [(one.key, one.skipped) for one in collected if not one.freed] == [(key, "in use") for key in keys(25)]
    for reader in readers:
        reader.close()
    assert sum(one.freed > 0 for one in store.gc()) == 25
    assert store.stat().transient_bytes == 0
    check_serves(store, "shard-099", "shard-099")


def test_what_is_idle_for_long_is_collected_though_it_is_kept_open(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key", sequential=True))
    check_serves(store, "key", "key")
    assert [one.skipped for one in store.gc(max_idle=1000)] == ["used lately"]
    store._core.live._unused["key"].idle_since -= 2000  # its local copy counts from when it was closed
    store.gc(max_idle=1000)
    assert not store._core.live._unused


def test_files_in_the_folder_of_local_copies(place: Place) -> None:
    """Ours that belong to no shard go; those of others stay, which the Go dagstore deletes."""
    with place.store() as store:
        store.register("key", place.mount("key", sequential=True))
        store.register("gone", place.mount("gone", sequential=True))
        store._core.catalogue.remove("gone", None)
    folder = place.root / "transients"
    numbers = random.Random(0)
    theirs = {folder / f"file-{number}": numbers.randbytes(10) for number in range(100)}
    for path, data in theirs.items():
        path.write_bytes(data)
    with place.store() as store:
        assert store.stat().transient_count == 1
        check_serves(store, "key", "key")
    assert {path: path.read_bytes() for path in theirs} == theirs
    assert not list(folder.glob("gone*"))


# -- limits and failures ------------------------------------------------------------------------------------


def test_fetching_is_throttled(place: Place) -> None:
    mounts = {key: place.mount(key, sequential=True) for key in keys(16)}
    faults = [place.faults[mount.url] for mount in mounts.values()]
    with place.store(max_concurrent_ready_fetches=5, max_concurrent_index=0) as store:
        for each in faults:
            each.hold(0)
        for key, mount in mounts.items():
            store.register(key, mount, wait=False)

        def begun() -> int:
            return sum(each.counts.streams for each in faults)

        eventually(lambda: begun() == 5)
        eventually(lambda: sum(each.counts.stats >= 1 for each in faults) == 16)
        assert begun() == 5
        for each in [each for each in faults if each.counts.streams]:
            each.release()
        eventually(lambda: begun() == 10)
        for each in faults:
            each.release()
        eventually(lambda: states(store) == {ShardState.AVAILABLE})


def test_junk_fails_and_is_recovered_once_it_is_repaired(place: Place, store: DagStore) -> None:
    with store.subscribe() as events:
        for key in keys(16):
            with pytest.raises(ShardErroredError):
                store.register(key, place.mount(key, b"\x63fish" * 10))
        for key in keys(16):
            assert store.info(key).state is ShardState.ERRORED
            with pytest.raises(ShardErroredError):
                store.recover(key)
        for key in keys(16):
            place.mount(key)
            assert store.recover(key).state is ShardState.AVAILABLE
            check_serves(store, key, key)
            with pytest.raises(StateError, match="expected state ShardStateErrored, was: ShardStateAvailable"):
                store.recover(key)
        events.close()
        heard = [event.operation for event in events if event.key == "shard-007"]
    op = Operation
    failing = [op.REGISTER, op.INITIALIZE, op.FAIL, op.RECOVER, op.FAIL]
    assert heard == [*failing, op.RECOVER, op.MAKE_AVAILABLE, op.ACQUIRE, op.RELEASE]


# -- defects of the reference that are not there ------------------------------------------------------------


def test_d1_a_failed_download_does_not_stick(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    store.register("key", mount)
    store.gc()
    place.faults[mount.url].refuse(1, "chunks")
    with pytest.raises(MountError, match="refused"):
        store.acquire("key")
    assert store.info("key").state is ShardState.AVAILABLE
    check_serves(store, "key", "key")


def test_d3_a_local_copy_of_the_callers_stays(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "staged.car"
    copy.write_bytes(padded(archive_of("key")))
    with place.store() as store:
        store.register("key", place.mount("key"), local_copy=copy)
        store.gc()
        store._core.catalogue.set_error("key", "Error", "an error")
        store.recover("key")
        check_serves(store, "key", "key")
        store.destroy("key")
    place.store().close()
    assert copy.exists()


def test_a_local_copy_that_is_gone_is_not_missed(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "staged.car"
    copy.write_bytes(archive_of("key"))
    with place.store() as store:
        store.register("key", place.mount("key"), local_copy=copy)
        copy.unlink()
        store.gc()
        check_serves(store, "key", "key")
        os.unlink(store._core.indices.path_of("key"))
        store.gc()
        check_serves(store, "key", "key")


@pytest.mark.parametrize("path", ["/", "a b/c%2Fd/é.car"])
def test_d6_what_is_registered_is_there_after_a_new_start(place: Place, path: str) -> None:
    where = place.folder / path.strip("/") if path != "/" else place.folder / "x.car"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(archive_of("file"))
    with place.store() as store:
        store.register("file", FileMount(str(where)))
        store.register("bytes", BytesMount(archive_of("bytes")))
    with place.store() as store:
        check_serves(store, "file", "file")
        check_serves(store, "bytes", "bytes")


def test_d7_the_last_reader_of_an_errored_shard_leaves_it_errored(place: Place, store: DagStore) -> None:
    mount = place.mount("key")
    store.register("key", mount)
    with store.acquire("key") as shard:
        break_under_readers(store, place, mount)
        assert store.info("key").state is ShardState.ERRORED
        assert shard[next(iter(blocks_of("key")))]
    assert store.info("key").state is ShardState.ERRORED
    assert store.info("key").references == 0


def break_under_readers(store: DagStore, place: Place, mount: FileMount) -> None:
    """Let the store find out that the bytes changed, while the old ones are read."""
    os.unlink(mount.path)
    place.mount(os.path.basename(mount.path)[:-4], b"junk" * 1000)
    store._core.live.forget(store._core.live._shards["key"])  # as if it had not been open
    with pytest.raises(ShardErroredError):
        store.acquire("key")


@pytest.mark.parametrize("sequential", [False, True])
def test_d8_a_recovery_under_readers(place: Place, store: DagStore, sequential: bool) -> None:
    mount = place.mount("key", sequential=sequential)
    store.register("key", mount)
    first = store.acquire("key")
    store._core.catalogue.set_error("key", "Error", "an error")
    assert store.recover("key").state is ShardState.SERVING
    check_serves(store, "key", "key")
    assert first[next(iter(blocks_of("key")))]
    with pytest.raises(ShardInUseError):
        store.destroy("key")
    first.close()
    assert store.info("key").state is ShardState.AVAILABLE
    assert store.destroy("key")


def test_d9_a_process_that_ended_while_it_recovered(place: Place) -> None:
    with place.store() as store:
        with pytest.raises(ShardErroredError):
            store.register("key", place.mount("key", b"junk"))
        mount = place.mount("key", sequential=True)
        place.faults[mount.url].hold()
        calls = Calls()
        calls(lambda: store.recover("key"))
        place.faults[mount.url].wait_until_held()
        assert store.info("key").state is ShardState.RECOVERING
        store.close(timeout=0.1)
        assert [type(result) for result in calls.wait()] == [ClosedError]
    place.faults[mount.url].release()
    with place.store() as store:
        eventually(lambda: store.info("key").state is ShardState.ERRORED)  # once the lease ran out
        assert store.recover("key").state is ShardState.AVAILABLE
        check_serves(store, "key", "key")


def test_d10_a_refused_destroy_changes_nothing(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key", sequential=True), owner="deal")
        shard = store.acquire("key")
        before = store._core.catalogue.find("key")
        for owner in ("", "deal"):
            with pytest.raises(ShardInUseError, match="key: shard in use, active references: 1"):
                store.destroy("key", owner=owner)
        assert store._core.catalogue.find("key") == before
        assert store._core.catalogue.owners_of("key") == ["deal"]
        store.close()
        shard.close()
    with place.store() as store:
        check_serves(store, "key", "key")


def test_d11_destroying_what_is_being_indexed_is_refused(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    faults.hold()
    store.register("key", mount, wait=False)
    faults.wait_until_held()
    for force in (False, True):
        with pytest.raises(ShardInUseError):
            store.destroy("key", force=force)
    faults.release()
    check_serves(store, "key", "key")
    assert store.destroy("key")
    assert "key" not in store


def test_d11_a_key_that_is_registered_again_gets_an_index_of_its_own(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("first"))
    index = store._core.indices.path_of("key")
    shutil.copy(index, place.folder / "kept")
    store.destroy("key")
    assert not os.path.exists(index)
    shutil.copy(place.folder / "kept", index)  # as a crash may leave it
    store.register("key", place.mount("second"))
    check_serves(store, "key", "second")
    assert not any(store.shards_with(cid) for cid in blocks_of("first"))


def test_d13_nobody_who_does_not_listen_holds_up_others(place: Place, store: DagStore) -> None:
    deaf = store.subscribe(1)
    for key in keys(16):
        store.register(key, memory_mount(key))
        check_serves(store, key, key)
    assert deaf.dropped == 16 * 5 - 1
    deaf.close()


def test_d13_jobs_that_hang_do_not_keep_others_from_opening(place: Place) -> None:
    with place.store(max_jobs=1) as store:
        store.register("good", place.mount("good"))
        mount = place.mount("hangs", sequential=True)
        place.faults[mount.url].hold()
        store.register("hangs", mount, wait=False)
        store.register("waits", place.mount("waits"), wait=False)
        place.faults[mount.url].wait_until_held()
        check_serves(store, "good", "good")
        assert store.info("waits").state is ShardState.INITIALIZING
        place.faults[mount.url].release()
        check_serves(store, "waits", "waits")


def test_d14_an_interrupted_inversion_is_made_up_for_at_the_start(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key"))
        store._core.catalogue.remove_multihashes("key", [cid.multihash for cid in blocks_of("key")][:2])
        assert not store._core.catalogue.find("key").inverted
    with place.store() as store:
        eventually(lambda: store._core.catalogue.find("key").inverted)
        check_serves(store, "key", "key")
        assert store.info("key").generation == 2


def test_d15_closing_twice_is_closing_once(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"))
    shard = store.acquire("key")
    other = store.acquire("key")
    calls = Calls()
    calls(shard.close, times=16)
    calls.wait()
    shard.close()
    assert store.info("key").references == 1
    with pytest.raises(ClosedError):
        shard[next(iter(blocks_of("key")))]
    other.close()
    assert store.info("key").references == 0


def test_d17_readers_write_nothing(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"))
    check_serves(store, "key", "key")
    before = store._core.catalogue.find("key")
    for _ in range(100):
        store.acquire("key").close()
    after = store._core.catalogue.find("key")
    assert (after.updated, after.generation) == (before.updated, before.generation)


def test_d18_an_index_that_is_cut_off_is_made_again(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"))
    index = store._core.indices.path_of("key")
    os.truncate(index, os.path.getsize(index) - 1)
    check_serves(store, "key", "key")


def test_d19_a_shard_is_gone_when_destroy_returns(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key", sequential=True))
        check_serves(store, "key", "key")
        assert store.destroy("key")
        assert not [store.shards_with(cid) for cid in blocks_of("key") if store.shards_with(cid)]
        assert store.stat().transient_bytes == store.stat().multihash_count == 0
        assert not list((place.root / "index").glob("key*"))
    with place.store() as store:
        assert len(store) == 0


# -- destroying, while others are at it ---------------------------------------------------------------------


@pytest.mark.parametrize("sequential", [False, True])
def test_destroyed_by_force_readers_read_on(place: Place, store: DagStore, sequential: bool) -> None:
    store.register("key", place.mount("key", sequential=sequential))
    with store.subscribe() as events:
        old = store.acquire("key")
        assert store.destroy("key", force=True)
        assert "key" not in store
        with pytest.raises(ShardNotFoundError):
            store.acquire("key")
        store.register("key", place.mount("other"))
        assert store.info("key").references == 0
        assert {cid: old[cid] for cid in blocks_of("key")} == blocks_of("key")
        check_serves(store, "key", "other")
        old.close()
        check_serves(store, "key", "other")
        assert store.info("key").references == 0
        events.close()
        heard = [event.operation for event in events]
    op = Operation
    again = [op.REGISTER, op.INITIALIZE, op.MAKE_AVAILABLE, *[op.ACQUIRE, op.RELEASE] * 2]
    assert heard == [op.ACQUIRE, op.DESTROY, *again]
    assert store.stat().transient_count == 0


def test_what_is_being_opened_is_in_use(place: Place, store: DagStore) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    store.register("key", mount)
    store.gc()
    faults.hold()
    calls = Calls()
    calls(lambda: store.acquire("key", timeout=PATIENCE))
    faults.wait_until_held()
    with pytest.raises(ShardInUseError):
        store.destroy("key")
    assert store.info("key").state is ShardState.AVAILABLE
    assert store.destroy("key", force=True)
    faults.release()
    assert [type(result) for result in calls.wait()] == [ShardNotFoundError]
    store.register("key", place.mount("other"))
    check_serves(store, "key", "other")


def test_owners(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key"), owner="one")
    store._core.catalogue.add_owner("key", "two")
    with store.acquire("key"):
        assert store.destroy("key", owner="one") is False  # others need it, so that it is read is no matter
    check_serves(store, "key", "key")
    assert store.destroy("key", owner="two") is True
    assert "key" not in store


def test_a_destroy_that_fails_leaves_the_shard(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register("key", place.mount("key"))

    def fail(key: str, multihashes: object, *, holder: str) -> bool:
        raise OSError(28, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store._core.catalogue, "remove", fail)
        with pytest.raises(OSError, match="disk full"):
            store.destroy("key")
    check_serves(store, "key", "key")
    assert store.destroy("key")


def test_a_shard_that_another_process_replaced_is_opened_anew(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("first"))
    check_serves(store, "key", "first")
    with place.store() as other:
        other.destroy("key")
        with pytest.raises(ShardNotFoundError):
            store.acquire("key")
        other.register("key", place.mount("second"))
        check_serves(store, "key", "second")


# -- one process or several ---------------------------------------------------------------------------------


def test_two_stores_index_a_shard_once(place: Place) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    with place.store() as one, place.store() as two:
        one.register("key", mount, lazy=True)
        faults.hold()
        calls = Calls()
        for store in (one, two):
            calls(lambda store=store: check_serves(store, "key", "key"), times=4)  # type: ignore[misc]
        faults.wait_until_held()
        assert {store.info("key").state for store in (one, two)} == {ShardState.INITIALIZING}
        faults.release()
        assert calls.wait() == [None] * 8
        assert one.info("key").generation == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_fork_is_told_to_open_the_store_itself(place: Place, store: DagStore) -> None:
    store.register("key", place.mount("key", sequential=True))
    shard = store.acquire("key")
    child = os.fork()
    if not child:
        try:
            for call in (lambda: store.acquire("key"), lambda: len(store), store.stat, lambda: store.info("key")):
                with pytest.raises(StateError, match="open it again"):
                    call()
            shard.close()
            store.close()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.gc()[0].skipped == "in use"  # the child's close let go of nothing
    assert store.info("key").references == 1
    shard.close()
    check_serves(store, "key", "key")


def test_opening_a_store_does_not_read_all_of_it(place: Place) -> None:
    with place.store() as store:
        store.register_many((key, memory_mount("same")) for key in keys(3000))
        seen: list[object] = []
        rows = store._core.catalogue._database.query

        def counting(sql: str, parameters: object = ()) -> list[tuple[object, ...]]:
            found = rows(sql, parameters)  # type: ignore[arg-type]
            seen.extend(found)
            return found

        store._core.catalogue._database.query = counting  # type: ignore[method-assign]
        from carv2.dagstore.recovery import take_up

        take_up(store._core)
        assert not seen


def test_closing_twice_and_from_many_threads(place: Place) -> None:
    store = place.store()
    store.register("key", place.mount("key"))
    calls = Calls()
    calls(store.close, times=8)
    assert calls.wait() == [None] * 8
    store.close()
    with pytest.raises(ClosedError):
        store.acquire("key")
    with pytest.raises(ClosedError):
        store.register("other", place.mount("other"))


def test_waiting_calls_end_when_the_store_is_closed_though_the_mount_hangs(place: Place) -> None:
    mount = place.mount("key")
    faults = place.faults[mount.url]
    with place.store() as store:
        store.register("key", mount, lazy=True)
        faults.hold()
        calls = Calls()
        calls(lambda: store.acquire("key"), times=3)
        faults.wait_until_held()
        store.close(timeout=0.1)
        assert [type(result) for result in calls.wait()] == [ClosedError] * 3
    faults.release()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "carv2-dagstore"])
    with place.store() as store:
        assert store._core.catalogue.find("key").state is DurableState.NEW


def test_a_config_without_a_folder_of_its_own(tmp_path: Path) -> None:
    """D4: files land where they were told to."""
    os.makedirs(tmp_path / "here")
    before = set(os.listdir("."))
    with DagStore(tmp_path / "here" / "store", config=DagStoreConfig()) as store:
        store.register("key", memory_mount("key"))
    assert set(os.listdir(".")) == before
