"""Local copies: one download for all, whole or nothing, room for some, and strangers' files left alone."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2._downloads import MARKER, DownloadFolder
from carv2.dagstore import _fetching
from carv2.dagstore._quota import Quota
from carv2.dagstore.mounts import BytesMount, FileMount, Mount, MountStat
from carv2.dagstore.transients import Collected, Transients, _Flight
from carv2.errors import (
    ClosedError,
    LockedError,
    MountChangedError,
    MountError,
    QuotaError,
    ShardInUseError,
    StateError,
    WaitTimeoutError,
)
from carv2.testing.faulty_mount import Faults, FaultyMount
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE, TESTS = Path(carv2.__file__).parent.parent, Path(__file__).parent.parent
BLOCKS = [(archives.cid_v1(data), data) for data in (f"block {at} ".encode() * 100 for at in range(300))]
ARCHIVE = archives.v1([BLOCKS[0][0]], BLOCKS)
SIZE = len(ARCHIVE)


def sequential(data: bytes = ARCHIVE, **faults: Any) -> FaultyMount:
    return FaultyMount(BytesMount(data), Faults(**{"random_access": False, "resumable": True, **faults}))


def archive(at: int, size: int) -> bytes:
    """An archive of exactly ``size`` bytes."""
    front = archives.v1([], [(archives.cid_v1(b"%d" % at), b"%d" % at)])
    return front + bytes(size - len(front))


@pytest.fixture
def transients(tmp_path: Path) -> Iterator[Transients]:
    with Transients(tmp_path / "t") as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fetching, "_PAUSE", 0.001)
    monkeypatch.setattr("carv2.dagstore.transients._DROP_SECONDS", 0.05)
    monkeypatch.setattr(_fetching, "_POLL", 0.002)


def files_of(transients: Transients) -> list[str]:
    return sorted(set(os.listdir(transients.folder)) - {MARKER})


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


# -- one copy -----------------------------------------------------------------------------------------------------


def test_a_copy_is_made_once_and_kept(transients: Transients) -> None:
    mount = sequential()
    path = transients.fetch("k", mount)
    assert Path(path).read_bytes() == ARCHIVE
    assert transients.fetch("k", mount) == path == transients.path_of("k")
    assert mount.faults.counts.streams == 1
    assert transients.usage() == (1, SIZE, 1)
    transients.unpin("k")
    transients.unpin("k")
    assert transients.usage() == (1, SIZE, 0)
    assert mount.faults.counts.open_now == 0


def test_a_copy_is_taken_again_by_the_next_process_without_asking_the_mount(tmp_path: Path) -> None:
    with Transients(tmp_path) as first:
        path = first.fetch("k", sequential(), size=SIZE)
    bogus = sequential(gone=True)
    with Transients(tmp_path) as second:
        tag = BytesMount(ARCHIVE).stat().tag
        assert second.fetch("k", bogus, size=SIZE, tag=tag) == path
    assert bogus.faults.counts.stats == bogus.faults.counts.streams == 0


@pytest.mark.parametrize("known", [{"size": SIZE + 1}, {"tag": "another"}])
def test_a_copy_of_other_bytes_is_not_taken(transients: Transients, known: dict[str, Any]) -> None:
    transients.fetch("k", sequential())
    transients.unpin("k")
    with pytest.raises(MountChangedError):
        transients.fetch("k", sequential(), **known)
    assert transients.usage() == (0, 0, 0)
    assert Path(transients.fetch("k", sequential())).read_bytes() == ARCHIVE


def damage_of(name: str) -> Callable[[Path], object]:
    return {
        "cut": lambda path: os.truncate(path, SIZE - 1),
        "empty": lambda path: os.truncate(path, 0),
        "longer": lambda path: path.write_bytes(ARCHIVE + b"x"),
        "gone": lambda path: path.unlink(),
        "changed": lambda path: path.write_bytes(ARCHIVE[:-1] + b"?"),
        "without a note": lambda path: path.with_name("k.copy.note").unlink(),
        "with a torn note": lambda path: path.with_name("k.copy.note").write_bytes(b'{"key": "k", "si'),
        "with a note of nonsense": lambda path: path.with_name("k.copy.note").write_bytes(b'[1, "two"]'),
    }[name]


@pytest.mark.parametrize("is_pinned", [False, True])
@pytest.mark.parametrize(
    "damage",
    ["cut", "empty", "longer", "gone", "changed", "without a note", "with a torn note", "with a note of nonsense"],
)
def test_a_copy_that_is_damaged_is_made_anew(transients: Transients, damage: str, is_pinned: bool) -> None:
    mount = sequential()
    path = Path(transients.fetch("k", mount))
    if not is_pinned:
        transients.unpin("k")
    time.sleep(0.005)  # or else the clock of file systems may not have moved
    damage_of(damage)(path)
    assert transients.path_of("k") is None
    with pytest.raises(FileNotFoundError):
        transients.verify("k")
    assert Path(transients.fetch("k", mount)).read_bytes() == ARCHIVE
    assert mount.faults.counts.streams == 2
    transients.unpin("k")
    if is_pinned:
        assert transients.usage().pinned == 1
        transients.unpin("k")
    assert transients.usage() == (1, SIZE, 0)


def test_a_copy_is_verified_on_demand_down_to_its_hashes(transients: Transients) -> None:
    transients.fetch("k", sequential())
    assert transients.verify("k").ok
    damaged = ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
    transients.fetch("d", sequential(damaged))
    assert not transients.verify("d").ok


def test_unpinning_what_is_not_pinned_is_an_error(transients: Transients) -> None:
    transients.fetch("k", sequential())
    transients.unpin("k")
    for key in ("k", "never"):
        with pytest.raises(StateError):
            transients.unpin(key)


@pytest.mark.parametrize("key", ["../../x", "..", "a/b", "x" * 1000, "Foo", ".carv2-transients", "k.copy.part"])
def test_any_key_stays_in_the_folder(tmp_path: Path, key: str) -> None:
    with Transients(tmp_path / "t") as transients:
        path = transients.fetch(key, sequential())
        assert Path(path).parent == tmp_path / "t"
        transients.unpin(key)
        assert transients.sweep({key}) == []
        assert transients.collect().freed == {key: SIZE}
    assert os.listdir(tmp_path) == ["t"]
    assert os.listdir(tmp_path / "t") == [MARKER]


# -- what is refused ----------------------------------------------------------------------------------------------

ZEROS_BEHIND = ARCHIVE + bytes(3000)
V2 = archives.v2(
    ARCHIVE, archives.index_multihash_sorted(archives.records_of(archives.header([BLOCKS[0][0]]), BLOCKS))
)


@pytest.mark.parametrize("data", [ARCHIVE, ZEROS_BEHIND, V2, archives.header()])
def test_archives_of_each_kind_are_taken(transients: Transients, data: bytes) -> None:
    assert Path(transients.fetch("k", sequential(data))).read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", bytes(1000), b"\x1f\x8b\x08" + bytes(500), archives.header()[:-1], V2[:51], V2[: SIZE // 2]],
)
def test_what_is_no_archive_is_refused_and_not_kept(transients: Transients, data: bytes) -> None:
    with pytest.raises(MountError, match="archive"):
        transients.fetch("k", sequential(data))
    assert files_of(transients) == []
    assert Path(transients.fetch("k", sequential())).read_bytes() == ARCHIVE


@pytest.mark.parametrize(
    "faults",
    [
        {"gone": True},
        {"size": SIZE + 1},
        {"size": SIZE - 1},
        {"truncate_at": 1000},
        {"truncate_at": 0},
        {"fail_at": 0},
        {"fail_at": SIZE - 1},
        {"fail_at": 5000, "resumable": False},
        {"error": lambda: OSError(5, "the network's, not the disk's"), "fail_at": 3},
        {"error": lambda: ZeroDivisionError("a fault of the mount"), "fail_at": 3},
    ],
)
@pytest.mark.parametrize("known", [{}, {"size": SIZE}])
def test_a_failed_download_is_a_mount_error_and_does_not_stick(
    transients: Transients, faults: dict[str, Any], known: dict[str, Any]
) -> None:
    mount = sequential(**faults)
    for _ in range(2):
        with pytest.raises(MountError) as caught:
            transients.fetch("k", mount, **known)
        assert caught.value.url == mount.url
        assert transients.path_of("k") is None
    healed = sequential()
    assert Path(transients.fetch("k", healed, **known)).read_bytes() == ARCHIVE
    assert files_of(transients) == ["k.copy", "k.copy.note"]
    assert mount.faults.counts.open_now == 0


def test_each_waiter_gets_an_error_of_its_own(transients: Transients) -> None:
    mount = sequential(fail_at=100)
    mount.faults.hold(at=50)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            transients.fetch("k", mount)
        except MountError as error:
            caught.append(error)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(flight.waiters for flight in transients._flights.values()) == 5)
    mount.faults.release()
    for thread in threads:
        thread.join()
    assert len({id(error) for error in caught}) == 5
    assert {str(error) for error in caught} == {str(caught[0])}
    assert mount.faults.counts.streams == 2  # it was gone on with once, and no byte came


class Shifting(Mount):
    """Bytes that change each time a stream of them ends, so many times."""

    url, random_access, resumable = "shifting:///", False, True

    def __init__(self, changes: int, *, says: bool = False) -> None:
        self.left, self.version, self.says, self.streams = changes, 0, says, 0

    def data(self) -> bytes:
        return archive(self.version, 40_000)

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return MountStat(exists=True, size=40_000, tag=str(self.version))

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        self.streams += 1
        yield self.data()[start:20_000]
        if self.left:
            self.left -= 1
            self.version += 1
            if self.says:
                raise MountChangedError("it changed on the way", url=self.url)
        yield self.data()[max(start, 20_000) :]


@pytest.mark.parametrize("says", [False, True])
def test_bytes_that_change_on_the_way_are_fetched_again_from_the_start(transients: Transients, says: bool) -> None:
    mount = Shifting(2, says=says)
    path = transients.fetch("k", mount)
    assert Path(path).read_bytes() == archive(2, 40_000)
    assert mount.streams == 3
    with pytest.raises(MountChangedError, match="changed"):
        transients.fetch("other", Shifting(100, says=says))
    assert "other" not in str(files_of(transients))


# -- going on -----------------------------------------------------------------------------------------------------


def test_a_download_that_breaks_off_is_gone_on_with_at_once(transients: Transients) -> None:
    mount = sequential()

    def break_off(at: int) -> None:
        mount.faults.fail_at = at

    breaks = iter([20_000, 150_000, None])
    mount.faults.fail_at = next(breaks)
    exception = mount.faults.exception

    def next_break(message: str, url: str) -> Exception:
        mount.faults.fail_at = next(breaks)
        return exception(message, url)

    mount.faults.exception = next_break  # type: ignore[method-assign]
    assert Path(transients.fetch("k", mount)).read_bytes() == ARCHIVE
    assert mount.faults.counts.streams == 3
    assert mount.faults.counts.bytes == SIZE  # no byte came twice


def test_a_part_is_gone_on_with_by_the_next_process(tmp_path: Path) -> None:
    broken = sequential(fail_at=100_000)
    with Transients(tmp_path) as first, pytest.raises(MountError):
        first.fetch("k", broken)
    with Transients(tmp_path) as second:
        assert second.usage() == (1, 100_000, 0)
        assert second.path_of("k") is None
        assert second.sweep({"k"}) == []
        mount = sequential()
        assert Path(second.fetch("k", mount)).read_bytes() == ARCHIVE
        assert mount.faults.counts.bytes == SIZE - 100_000


def test_a_part_that_lacks_nothing_but_its_name_costs_no_bytes(transients: Transients) -> None:
    mount = sequential()
    stat, calls = BytesMount.stat, 0

    class Once(BytesMount):
        def stat(self, *, timeout: float | None = None) -> MountStat:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise MountError("not now", url=self.url)
            return stat(self)

    with pytest.raises(MountError, match="not now"):
        transients.fetch("k", FaultyMount(Once(ARCHIVE), mount.faults))
    assert Path(transients.fetch("k", mount)).read_bytes() == ARCHIVE
    assert mount.faults.counts.bytes == SIZE


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (ARCHIVE[:-1] + b"?", {}),
        (ARCHIVE + b"\0", {}),
        (ARCHIVE, {"tag": ""}),
        (ARCHIVE, {"resumable": False}),
    ],
)
def test_a_part_of_other_bytes_or_that_nobody_can_tell_is_begun_anew(
    transients: Transients, data: bytes, faults: dict[str, Any]
) -> None:
    with pytest.raises(MountError):
        transients.fetch("k", sequential(fail_at=100_000))
    mount = sequential(data, **faults)
    assert Path(transients.fetch("k", mount)).read_bytes() == data
    assert mount.faults.counts.bytes == len(data)


@pytest.mark.parametrize("faults", [{"tag": ""}, {"resumable": False}])
def test_a_part_that_could_not_be_gone_on_with_is_not_kept(transients: Transients, faults: dict[str, Any]) -> None:
    with pytest.raises(MountError):
        transients.fetch("k", sequential(fail_at=100_000, **faults))
    assert files_of(transients) == []


def test_what_is_behind_the_last_durable_byte_is_not_trusted(tmp_path: Path) -> None:
    """After a power cut a file may be longer than what was written of it, with zeros in it."""
    with Transients(tmp_path) as first, pytest.raises(MountError):
        first.fetch("k", sequential(fail_at=100_000))
    with (tmp_path / "k.copy.part").open("ab") as part:
        part.write(bytes(50_000))
    with Transients(tmp_path) as second:
        assert Path(second.fetch("k", sequential())).read_bytes() == ARCHIVE
        second.unpin("k")
        second.drop("k")
        with pytest.raises(MountError):
            second.fetch("k", sequential(fail_at=100_000))
    os.truncate(tmp_path / "k.copy.part", 30_000)
    with Transients(tmp_path) as third:
        assert Path(third.fetch("k", sequential())).read_bytes() == ARCHIVE


# -- many who wait ------------------------------------------------------------------------------------------------


def test_many_who_wait_share_one_download_and_each_pins_it(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with ThreadPoolExecutor(32) as pool:
        waiting = [pool.submit(transients.fetch, "k", mount) for _ in range(32)]
        eventually(lambda: sum(flight.waiters for flight in transients._flights.values()) == 32)
        mount.faults.release()
        assert len({future.result() for future in waiting}) == 1
    assert mount.faults.counts.streams == 1
    for _ in range(31):
        transients.unpin("k")
    with pytest.raises(ShardInUseError, match="references: 1"):
        transients.drop("k")
    transients.unpin("k")
    assert transients.drop("k") == SIZE


def test_who_gives_up_waiting_leaves_the_others_to_it(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(transients.fetch, "k", mount)
        mount.faults.wait_until_held()
        with pytest.raises(WaitTimeoutError, match=r"k: local copy: not done within 0\.01 s") as caught:
            transients.fetch("k", mount, timeout=0.01)
        assert caught.value.seconds == 0.01
        mount.faults.release()
        patient.result()
    assert transients.usage().pinned == 1
    transients.unpin("k")
    assert transients.usage().pinned == 0
    assert mount.faults.counts.streams == 1


def test_a_download_that_nobody_waits_for_any_more_is_finished(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with pytest.raises(WaitTimeoutError):
        transients.fetch("k", mount, timeout=0.01)
    mount.faults.release()
    eventually(lambda: transients.path_of("k") is not None)
    assert transients.usage() == (1, SIZE, 0)
    assert transients.drop("k") == SIZE


def test_pins_are_right_whenever_somebody_gives_up(transients: Transients) -> None:
    rng, mount = random.Random(0), sequential()

    def wait(seconds: float) -> bool:
        try:
            transients.fetch("k", mount, timeout=seconds)
        except WaitTimeoutError:
            return False
        return True

    outcomes: list[bool] = []
    for _ in range(15):
        mount.faults.delay = rng.choice([0, 0.002])
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(wait, [0, *(rng.uniform(0, 0.02) for _ in range(6)), 30]))
        outcomes += found
        for _ in range(sum(found)):
            transients.unpin("k")
        eventually(lambda: not transients._running)
        assert transients.usage().pinned == 0
        transients.drop("k")
    assert set(outcomes) == {True, False}


def test_waiters_who_know_other_bytes_are_told_so(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(transients.fetch, "k", mount)
        mount.faults.wait_until_held()
        other = pool.submit(transients.fetch, "k", mount, size=SIZE, tag="what it was once")
        eventually(lambda: transients._flights["k"].waiters == 2)
        mount.faults.release()
        one.result()
        with pytest.raises(MountChangedError):
            other.result()
    transients.unpin("k")
    assert transients.usage().pinned == 0


@pytest.mark.parametrize(("most", "ready"), [(2, True), (3, None)])
def test_so_many_downloads_come_in_at_once(tmp_path: Path, most: int, ready: bool | None) -> None:
    mounts = [sequential(archive(at, 5000), ready=ready) for at in range(6)]
    for mount in mounts:
        mount.faults.hold(at=100)
    with Transients(tmp_path, max_downloads=most) as transients, ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(transients.fetch, f"k{at}", mount) for at, mount in enumerate(mounts)]
        eventually(lambda: sum(mount.faults._waiting for mount in mounts) == most)
        time.sleep(0.02)
        assert sum(mount.faults.counts.streams for mount in mounts) == most
        for mount in mounts:
            mount.faults.release()
        for future in waiting:
            future.result()


def test_an_origin_that_works_first_takes_no_slot_meanwhile(tmp_path: Path) -> None:
    unsealing, quick = sequential(archive(0, 5000), ready=False), sequential(archive(1, 5000))
    unsealing.faults.hold(at=0)
    with Transients(tmp_path, max_downloads=1) as transients, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(transients.fetch, "slow", unsealing)
        unsealing.faults.wait_until_held()
        transients.fetch("quick", quick, timeout=20)
        unsealing.faults.release()
        slow.result()


# -- room ---------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    with Transients(tmp_path, quota=30_000) as transients:
        for at in range(3):
            transients.fetch(f"k{at}", sequential(archive(at, 10_000)))
            transients.unpin(f"k{at}")
        transients.fetch("k0", sequential(gone=True))
        transients.unpin("k0")
        transients.fetch("new", sequential(archive(9, 10_000)))
        assert [key for key in ("k0", "k1", "k2", "new") if transients.path_of(key)] == ["k0", "k2", "new"]
        assert transients.usage() == (3, 30_000, 1)


def test_a_use_is_noted_when_it_begins_and_when_it_ends(tmp_path: Path) -> None:
    """What a killed process was reading was used lately."""

    def order() -> list[str]:
        time.sleep(0.002)
        return [download.name for download in DownloadFolder(tmp_path).downloads()]

    with Transients(tmp_path) as transients:
        for key in ("a", "b", "c"):
            transients.fetch(key, sequential())
            transients.unpin(key)
        assert order() == ["a", "b", "c"]
        transients.fetch("a", sequential())
        assert order() == ["b", "c", "a"]
        transients.fetch("b", sequential())
        assert order() == ["c", "a", "b"]
        transients.unpin("a")
        assert order() == ["c", "b", "a"]
    assert order() == ["c", "a", "b"]


def test_what_is_read_stays_and_too_much_is_a_quota_error(tmp_path: Path) -> None:
    with Transients(tmp_path, quota=30_000) as transients:
        transients.fetch("pinned", sequential(archive(0, 20_000)))
        transients.fetch("idle", sequential(archive(1, 10_000)))
        transients.unpin("idle")
        with pytest.raises(QuotaError) as caught:
            transients.fetch("large", sequential(archive(2, 10_001)))
        assert (caught.value.wanted, caught.value.quota) == (10_001, 30_000)
        assert transients.path_of("idle") is not None  # it would not have been enough
        assert transients.usage() == (2, 30_000, 1)
        transients.unpin("pinned")
        transients.fetch("large", sequential(archive(2, 10_001)))
        with pytest.raises(QuotaError):
            transients.fetch("larger than all", sequential(archive(2, 30_001)))


def test_room_is_reserved_before_the_first_byte_comes(tmp_path: Path) -> None:
    mount = sequential(archive(0, 20_000))
    mount.faults.hold(at=0)
    with Transients(tmp_path, quota=30_000) as transients, ThreadPoolExecutor(1) as pool:
        coming = pool.submit(transients.fetch, "k", mount)
        mount.faults.wait_until_held()
        assert transients.usage() == (1, 20_000, 0)
        with Transients(tmp_path, quota=30_000) as other, pytest.raises(QuotaError):  # another process, as it were
            other.fetch("other", sequential(archive(1, 10_001)))
        mount.faults.fail_at = 500
        mount.faults.release()
        with pytest.raises(MountError):
            coming.result()
        assert transients.usage().bytes == 500  # what was reserved for a failed one is free again
        transients.fetch("other", sequential(archive(1, 29_999)))
        assert transients.usage() == (1, 29_999, 1)


class Endless(Mount):
    """Bytes that nobody counted."""

    url, random_access, resumable = "endless:///", False, False

    def __init__(self, chunks: int) -> None:
        self.count = chunks

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return MountStat(exists=True)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        yield archive(0, 1000)
        for _ in range(self.count):
            yield bytes(1000)


def test_bytes_that_nobody_counted_get_room_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fetching, "_STRIDE", 5000)
    with Transients(tmp_path, quota=40_000) as transients:
        transients.fetch("idle", sequential(archive(0, 20_000)))
        transients.unpin("idle")
        assert Path(transients.fetch("k", Endless(30))).stat().st_size == 31_000
        transients.unpin("k")
        assert transients.usage() == (1, 31_000, 0)
        assert transients.fetch("k", Endless(30), size=31_000) == transients.path_of("k")
        transients.unpin("k")
        with pytest.raises(QuotaError):
            transients.fetch("more", Endless(1 << 20))
        assert transients.usage().bytes == 0


@settings(max_examples=15)
@given(data=st.data())
def test_a_quota_is_kept_and_nothing_that_is_read_goes(data: st.DataObject, tmp_path_factory: Any) -> None:
    """Against a model: an ordered list of copies, the least recently used first."""
    quota = 100_000
    order: list[str] = []
    sizes: dict[str, int] = {}
    pins: dict[str, int] = {}
    with Transients(tmp_path_factory.mktemp("t"), quota=quota) as transients:
        for _ in range(data.draw(st.integers(1, 25))):
            key = f"k{data.draw(st.integers(0, 7))}"
            if pins.get(key) and data.draw(st.booleans()):
                transients.unpin(key)
                pins[key] -= 1
            else:
                size = 10_000 + 7_000 * int(key[1:])
                missing = 0 if key in sizes else size + sum(sizes.values()) - quota
                going: list[str] = []
                for other in [each for each in order if not pins.get(each)]:
                    if sum(sizes[each] for each in going) < missing:
                        going.append(other)
                if sum(sizes[each] for each in going) < missing:
                    with pytest.raises(QuotaError):
                        transients.fetch(key, sequential(archive(int(key[1:]), size)))
                    continue
                transients.fetch(key, sequential(archive(int(key[1:]), size)))
                for other in going:
                    order.remove(other)
                    del sizes[other]
                sizes[key] = size
                pins[key] = pins.get(key, 0) + 1
            if key in order:
                order.remove(key)
            order.append(key)
            time.sleep(0.001)
            pinned = sum(bool(count) for count in pins.values())
            assert transients.usage() == (len(sizes), sum(sizes.values()), pinned)
            assert {each for each in pins if transients.path_of(each)} == set(sizes)


# -- full disks ---------------------------------------------------------------------------------------------------


class FullDisk:
    """Room for so many bytes, whoever writes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room, self._pwrite, self._unlink = room, os.pwrite, os.unlink
        monkeypatch.setattr(os, "pwrite", self.pwrite)
        monkeypatch.setattr(os, "unlink", self.unlink)

    def pwrite(self, fd: int, data: Any, position: int) -> int:
        taken = min(len(data), self.room)
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= taken
        return self._pwrite(fd, bytes(data[:taken]), position)

    def unlink(self, path: str) -> None:
        size = os.stat(path).st_size if str(path).endswith(".copy") else 0
        self._unlink(path)
        self.room += size


@pytest.mark.parametrize("resumable", [True, False])
def test_a_full_disk_is_its_own_error_and_leaves_no_reservation(
    transients: Transients, monkeypatch: pytest.MonkeyPatch, resumable: bool
) -> None:
    disk = FullDisk(monkeypatch, 100_000)
    mount = sequential(resumable=resumable)
    with pytest.raises(OSError, match="No space left on device") as caught:
        transients.fetch("k", mount)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == os.path.join(transients.folder, "k.copy.part")
    assert mount.faults.counts.streams == 1  # a disk is not tried again as a network is
    assert transients.usage() == ((1, 100_000, 0) if resumable else (0, 0, 0))
    disk.room = 1 << 30
    assert Path(transients.fetch("k", mount)).read_bytes() == ARCHIVE
    assert mount.faults.counts.bytes == (2 * SIZE - 100_000 if resumable else 2 * SIZE)


def test_on_a_full_disk_what_nobody_reads_makes_room(
    transients: Transients, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(3):
        transients.fetch(f"idle{at}", sequential(archive(at, SIZE // 2 + 1)))
        transients.unpin(f"idle{at}")
    transients.fetch("pinned", sequential(archive(9, 1000)))
    FullDisk(monkeypatch, 1000)
    assert Path(transients.fetch("k", sequential())).read_bytes() == ARCHIVE
    assert transients.usage().files == 3
    assert transients.path_of("pinned") is not None
    assert transients.path_of("idle2") is not None  # the others were enough


def test_a_disk_that_is_too_full_for_a_note_gets_room_too(
    transients: Transients, monkeypatch: pytest.MonkeyPatch
) -> None:
    transients.fetch("idle", sequential(archive(0, 5000)))
    transients.unpin("idle")
    write_note, idle = DownloadFolder.write_note, Path(transients.folder, "idle.copy")

    def full(folder: DownloadFolder, name: str, note: bytes) -> None:
        if idle.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        write_note(folder, name, note)

    monkeypatch.setattr(DownloadFolder, "write_note", full)
    assert Path(transients.fetch("k", sequential())).read_bytes() == ARCHIVE
    assert files_of(transients) == ["k.copy", "k.copy.note"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_no_copy(
    transients: Transients, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    original: Callable[..., Any] = getattr(os, call)

    def fail(*args: Any) -> Any:
        if call == "fsync" or str(args[1]).endswith(".copy"):
            raise OSError(errno.EIO, "Input/output error")
        return original(*args)

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output"):
        transients.fetch("k", sequential())
    assert transients.path_of("k") is None
    monkeypatch.undo()
    assert Path(transients.fetch("k", sequential())).read_bytes() == ARCHIVE


# -- what is removed, and what is not -----------------------------------------------------------------------------


def test_a_sweep_removes_what_no_shard_needs_and_nothing_of_strangers(tmp_path: Path) -> None:
    with Transients(tmp_path) as transients:
        for key in ("known", "unknown", "x" * 300, "known but cut"):
            transients.fetch(key, sequential())
            transients.unpin(key)
        with pytest.raises(MountError):
            transients.fetch("begun", sequential(fail_at=1000))
        with pytest.raises(MountError):
            transients.fetch("unknown and begun", sequential(fail_at=1000))
    os.truncate(tmp_path / "known%20but%20cut.copy", 10)
    rng = random.Random(0)
    strangers = [f"{rng.randbytes(4).hex()}{end}" for end in (".complete", ".partial", ".car", "", ".note") * 20]
    strangers += ["transient-known.complete", "copy", ".copy.partial", ".carv2-0123456789abcdef.part"]
    for name in strangers:
        (tmp_path / name).write_text("a stranger's")
    (tmp_path / "folder.copy").mkdir()
    (tmp_path / "folder.copy" / "x.copy").write_text("a stranger's")
    (tmp_path / "link.copy").symlink_to(tmp_path / strangers[0])
    with Transients(tmp_path) as transients:
        removed = transients.sweep({"known", "known but cut", "begun"})
        assert sorted(removed) == ["known but cut", "unknown", "unknown and begun", "x" * 300]
        ours = {"known.copy", "known.copy.note", "begun.copy.part", "begun.copy.note"}
        assert set(os.listdir(tmp_path)) == {*strangers, *ours, "folder.copy", "link.copy", MARKER}
        assert transients.path_of("known") is not None
        transients.collect()
    assert set(os.listdir(tmp_path)) == {*strangers, "folder.copy", "link.copy", MARKER}
    assert (tmp_path / "folder.copy" / "x.copy").exists()


def test_a_sweep_clears_parts_that_cannot_be_gone_on_with(tmp_path: Path) -> None:
    Transients(tmp_path).close()
    for name in ("a.copy.part", "b.copy.note", "c.copy.note.part", "d.copy"):
        (tmp_path / name).write_text("left by a crash")
    with Transients(tmp_path) as transients:
        assert sorted(transients.sweep({"a", "b", "c", "d"})) == ["a", "b", "c", "d"]
        assert files_of(transients) == []


def test_a_folder_where_others_use_such_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.copy").write_text("a stranger's")
    with pytest.raises(StateError, match="no marker"):
        Transients(tmp_path)
    assert os.listdir(tmp_path) == ["theirs.copy"]


def test_a_folder_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("2\n")
    with pytest.raises(StateError, match="newer"):
        Transients(tmp_path)


def test_many_that_make_a_folder_at_once_lock_the_same_marker(tmp_path: Path) -> None:
    for number in range(20):
        start_together = threading.Barrier(4)

        def make(folder: Path, barrier: threading.Barrier) -> int:
            barrier.wait()
            made = DownloadFolder(folder)
            with made.locked():
                return os.stat(folder / MARKER).st_ino

        with ThreadPoolExecutor(4) as pool:
            folder = tmp_path / f"t{number}"
            made = [pool.submit(make, folder, start_together) for _ in range(4)]
            assert len({future.result() for future in made}) == 1
        assert os.listdir(folder) == [MARKER]


def test_a_folder_must_be_named() -> None:
    with pytest.raises(ValueError, match="named"):
        Transients("")


def test_a_link_in_place_of_a_part_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("a stranger's")
    with Transients(tmp_path / "t") as transients:
        (tmp_path / "t" / "k.copy.part").symlink_to(tmp_path / "precious")
        with pytest.raises(OSError, match="symbolic links"):
            transients.fetch("k", sequential())
    assert (tmp_path / "precious").read_text() == "a stranger's"


def test_a_collection_says_what_it_freed_and_what_it_left_and_why(transients: Transients) -> None:
    assert transients.collect() == Collected({}, {})
    for key in ("idle", "read", "kept"):
        transients.fetch(key, sequential())
    transients.unpin("idle")
    transients.unpin("kept")
    assert transients.collect(min_idle=1000).freed == {}
    assert transients.collect(keep={"kept"}) == Collected({"idle": SIZE}, {"read": "in use", "kept": "to be kept"})
    assert transients.collect() == Collected({"kept": SIZE}, {"read": "in use"})
    assert transients.usage() == (1, SIZE, 1)


def test_a_dropped_download_ends_and_leaves_nothing(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with pytest.raises(WaitTimeoutError):
        transients.fetch("k", mount, timeout=0.01)
    mount.faults.wait_until_held()
    transients.drop("k")
    with ThreadPoolExecutor(1) as pool:
        fresh = sequential(ARCHIVE + bytes(10))  # the same key, registered anew with other bytes
        again = pool.submit(transients.fetch, "k", fresh)
        mount.faults.release()
        assert Path(again.result()).read_bytes() == ARCHIVE + bytes(10)
    assert files_of(transients) == ["k.copy", "k.copy.note"]


def test_a_dropped_download_leaves_no_part_to_go_on_with(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with pytest.raises(WaitTimeoutError):
        transients.fetch("k", mount, timeout=0.01)
    mount.faults.wait_until_held()
    transients.drop("k")
    mount.faults.release()
    eventually(lambda: not transients._running)
    assert files_of(transients) == []


def test_a_dropped_download_ends_also_where_its_copy_cannot_be_removed(
    transients: Transients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = transients.fetch("k", sequential())
    transients.unpin("k")
    folder = DownloadFolder(transients.folder)
    fetching = _fetching.Fetching(
        folder,
        Quota(folder, None),
        _fetching.Slots(None),
        name="k",
        key="k",
        mount=sequential(),
        size=None,
        tag="",
    )
    fetching.is_doomed = True
    flight = _Flight("k", "k", fetching)
    with monkeypatch.context() as patch:
        patch.setattr(DownloadFolder, "remove", fail)
        transients._land(flight, folder.hold("k"), None)
    assert flight.ended.is_set()
    assert (flight.freed, os.path.exists(path)) == (0, True)
    assert transients.drop("k") == SIZE  # nobody holds it any more


def test_what_somebody_waits_for_is_not_dropped(transients: Transients) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(transients.fetch, "k", mount)
        mount.faults.wait_until_held()
        with pytest.raises(ShardInUseError):
            transients.drop("k")
        assert transients.collect().skipped == {"k": "in use"}
        mount.faults.release()
        waiting.result()


# -- the end ------------------------------------------------------------------------------------------------------


def test_closing_tells_those_who_wait_also_if_the_mount_hangs(tmp_path: Path) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    transients = Transients(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(transients.fetch, "k", mount)
        mount.faults.wait_until_held()
        assert transients.close(timeout=0.01) is False
        with pytest.raises(ClosedError):
            waiting.result()
    mount.faults.release()
    assert transients.close() is True
    assert (tmp_path / "k.copy.part").stat().st_size == 1000  # it ended there, to be gone on with
    for key in ("k", "other"):
        with pytest.raises(ClosedError):
            transients.fetch(key, mount)
    with Transients(tmp_path) as again:
        assert Path(again.fetch("k", sequential())).read_bytes() == ARCHIVE


def test_nothing_stays_open(tmp_path: Path) -> None:
    def use() -> int:
        with Transients(tmp_path, quota=2 * SIZE) as transients:
            transients.fetch("pinned", sequential())
            for at in range(3):
                transients.fetch(f"k{at}", sequential(archive(at, 9000)))
                transients.unpin(f"k{at}")
            for faults in ({"gone": True}, {"fail_at": 100}, {"size": 5}):
                with pytest.raises(MountError):
                    transients.fetch("bad", sequential(**faults))
            transients.collect()
            transients.sweep(())
        return open_descriptors()

    threads, descriptors = threading.active_count(), use()  # the first time opens what is kept for good
    assert [use(), use()] == [descriptors] * 2
    eventually(lambda: threading.active_count() <= threads)


# -- several at one folder ----------------------------------------------------------------------------------------


def test_two_on_one_folder_share_one_download_and_respect_each_others_pins(tmp_path: Path) -> None:
    mount = sequential()
    mount.faults.hold(at=1000)
    with (
        Transients(tmp_path, quota=SIZE) as one,
        Transients(tmp_path, quota=SIZE) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        waiting = [pool.submit(one.fetch, "k", mount)]
        mount.faults.wait_until_held()
        waiting.append(pool.submit(other.fetch, "k", mount))
        time.sleep(0.02)
        mount.faults.release()
        paths = {future.result() for future in waiting}
        assert len(paths) == 1
        assert mount.faults.counts.streams == 1
        one.unpin("k")
        with pytest.raises(ShardInUseError):
            one.drop("k")
        assert one.collect().skipped == {"k": "in use"}
        assert one.sweep(()) == []
        with pytest.raises(QuotaError):
            one.fetch("new", sequential(archive(0, 1000)))
        assert Path(paths.pop()).read_bytes() == ARCHIVE
        other.unpin("k")
        one.fetch("new", sequential(archive(0, 1000)))
        assert other.path_of("k") is None


def test_many_on_one_folder_keep_to_one_quota(tmp_path: Path) -> None:
    """Readers check what they hold all the time; room runs out all the time."""
    quota, faults = 60_000, list[str]()
    stores = [Transients(tmp_path, quota=quota) for _ in range(3)]

    def use(seed: int) -> int:
        rng, store, done = random.Random(seed), stores[seed % 3], 0
        for _ in range(40):
            at = rng.randrange(8)
            data = archive(at, 9_000 + at * 1000)
            try:
                path = store.fetch(f"k{at}", sequential(data))
            except QuotaError:
                continue
            time.sleep(rng.random() * 0.002)
            if Path(path).read_bytes() != data:
                faults.append(f"k{at} is not what it should be")
            store.unpin(f"k{at}")
            done += 1
            used = store.usage()
            if used.bytes > quota:
                faults.append(f"{used.bytes} bytes")
        return done

    with ThreadPoolExecutor(6) as pool:
        done = sum(pool.map(use, range(6)))
    assert faults == []
    assert done > 60
    for store in stores:
        assert store.usage().pinned == 0
        store.close()


def between_open_and_lock(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once, when a file was opened and is about to be locked."""
    flock, left = fcntl.flock, [happens]

    def late(fd: int, how: int) -> None:
        if left and how != fcntl.LOCK_UN:
            left.pop()()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)


def test_a_part_that_goes_before_it_is_locked_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = DownloadFolder(tmp_path), tmp_path / "k.copy.part"
    path.write_bytes(b"another's, who is about to finish")
    between_open_and_lock(monkeypatch, lambda: path.rename(tmp_path / "k.copy"))
    part = folder.begin("k")
    assert part.size == 0
    part.write_at(0, b"new")
    assert path.read_bytes() == b"new"
    part.close()


def test_a_copy_that_goes_before_it_is_locked_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, path = DownloadFolder(tmp_path), tmp_path / "k.copy"
    path.write_bytes(b"old")
    between_open_and_lock(monkeypatch, path.unlink)
    assert folder.hold("k") is None


def test_what_comes_to_a_path_while_the_old_file_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = DownloadFolder(tmp_path), tmp_path / "k.copy.part"
    path.write_bytes(b"old")

    def exchange() -> None:
        path.unlink()
        path.write_bytes(b"another's, who just began")

    with folder.locked():
        between_open_and_lock(monkeypatch, exchange)
        assert folder.remove_locked("k") is None
    assert path.exists()


def test_a_note_goes_before_its_part_so_that_nobody_elses_can_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DownloadFolder(tmp_path)
    part = folder.begin("k")
    folder.write_note("k", b"{}")
    seen: list[bool] = []
    unlink = os.unlink

    def watched(path: str) -> None:
        if path.endswith(".note"):
            seen.append((tmp_path / "k.copy.part").exists())
        unlink(path)

    monkeypatch.setattr(os, "unlink", watched)
    part.discard()
    part.close()
    assert seen == [True]
    assert os.listdir(tmp_path) == [MARKER]


def test_a_folder_that_somebody_does_not_let_go_of_is_an_error_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2._downloads._LOCK_TIMEOUT", 0.02)
    folder = DownloadFolder(tmp_path)
    with folder.locked(), pytest.raises(LockedError), DownloadFolder(tmp_path).locked():
        pass
    with folder.locked():
        pass


# -- killed processes ---------------------------------------------------------------------------------------------


def start(folder: Path, archive_file: Path, key: str, what: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{TESTS}"}
    words = [sys.executable, "-m", "dagstore.downloader_to_kill", str(folder), str(archive_file), key, what]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    return child


def await_size(folder: Path, size: int) -> None:
    def came_to_it() -> bool:
        found = DownloadFolder(folder).downloads()
        return any((download.part_size or download.copy_size or 0) >= size for download in found)

    eventually(came_to_it)


def kill(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    child.send_signal(signal.SIGKILL)
    with child.stdout:
        said = child.stdout.read()
    child.wait()
    return said


def test_a_process_that_is_killed_at_any_moment_leaves_nothing_wrong(tmp_path: Path) -> None:
    big = archives.v1([], [(archives.cid_v1(data), data) for data in (bytes([at]) * 50_000 for at in range(100))])
    (tmp_path / "x.car").write_bytes(big)
    rng, gone_on = random.Random(1), 0
    for number, moment in enumerate([1, rng.randrange(len(big)), len(big)]):
        folder = tmp_path / f"t{number}"
        child = start(folder, tmp_path / "x.car", "k", "500")
        await_size(folder, moment)
        said = kill(child)
        with Transients(folder) as transients:
            assert transients.sweep({"k"}) in ([], ["k"])
            if said:
                assert transients.path_of("k") is not None
            mount = FaultyMount(FileMount(tmp_path / "x.car"), Faults(random_access=False))
            path = transients.fetch("k", mount, size=len(big))
            assert Path(path).read_bytes() == big
            assert files_of(transients) == ["k.copy", "k.copy.note"]
            assert transients.usage() == (1, len(big), 1)
            gone_on += 0 < mount.faults.counts.bytes < len(big)
    assert gone_on


def test_a_process_that_is_killed_before_the_name_is_given_costs_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(ARCHIVE)
    child = start(tmp_path / "t", tmp_path / "x.car", "k", "stuck before the name")
    part = tmp_path / "t" / "k.copy.part"
    eventually(lambda: part.exists() and part.stat().st_size == SIZE)
    note = tmp_path / "t" / "k.copy.note"
    eventually(lambda: b'"durable": %d' % SIZE in note.read_bytes())
    kill(child)
    with Transients(tmp_path / "t") as transients:
        assert transients.path_of("k") is None
        mount = FaultyMount(FileMount(tmp_path / "x.car"), Faults(random_access=False))
        assert Path(transients.fetch("k", mount)).read_bytes() == ARCHIVE
        assert mount.faults.counts.bytes == 0


def test_pins_of_a_killed_process_are_gone_with_it(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(ARCHIVE)
    child = start(tmp_path / "t", tmp_path / "x.car", "k", "hold")
    assert child.stdout is not None
    child.stdout.readline()
    with Transients(tmp_path / "t") as transients:
        assert transients.collect().skipped == {"k": "in use"}
        kill(child)
        assert transients.collect().freed == {"k": SIZE}
