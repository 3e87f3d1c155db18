"""A full disk is an OSError to whoever wants room, nothing to the others, and over when there is room again."""

from __future__ import annotations

import contextlib
import errno
import resource
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.dagstore import FileMount, ShardState
from carv2.errors import ShardErroredError
from dagstore.shards import PATIENCE, Place, check_serves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.dagstore import DagStore

COUNT = 30_000
LIMIT = 700_000  # bytes that a file may have: an index of so many blocks has more, the catalogue has not yet


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond some size: the kernel refuses, as it does on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def large(place: Place, name: str) -> FileMount:
    """A mount of many small blocks: its index is too large, and so is a copy of it."""
    blocks = {carv2.CID.of_data(data): data for data in (f"{name} {at}".encode() for at in range(COUNT))}
    archive = b"".join(carv2.iter_car([], blocks.items()))
    assert len(archive) > LIMIT
    return place.mount(name, archive)


@pytest.mark.parametrize("where", ["index", "transients"])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["threads", "executor"])
def test_what_the_kernel_refuses(place: Place, where: str, *, elsewhere: bool) -> None:
    mount = large(place, "large")
    place.faults[mount.url].random_access = where == "index"
    with ThreadPoolExecutor(1) as pool, place.store(max_open_shards=0) as store:
        if elsewhere:
            store._core._initializer._executor = pool
        store.register("good", place.mount("good"))
        store._core.catalogue.add("large", mount.url, lazy=True)
        with small_files():
            for _ in range(2):
                with pytest.raises(OSError) as caught:
                    store.acquire("large", timeout=PATIENCE)
                assert caught.value.errno == errno.EFBIG
                assert str(caught.value.filename).startswith(str(place.root / where))
                assert store.info("large").state is ShardState.NEW
                check_serves(store, "good", "good")
        check_serves_large(store)
        assert not list(store.doctor(thorough=True))
        assert not list((place.root / "index").glob("*.part"))


def check_serves_large(store: DagStore) -> None:
    data = b"large 7"
    with store.acquire("large", timeout=PATIENCE) as shard:
        assert shard[carv2.CID.of_data(data)] == data
        assert len(shard) == COUNT
    assert store.shards_with(carv2.CID.of_data(data)) == ["large"]


def test_a_full_disk_for_the_catalogue(place: Place) -> None:
    mount = large(place, "large")
    with place.store(max_open_shards=0, lease_seconds=1000.0) as store:
        store.register("good", place.mount("good"))
        store.register("large", mount, lazy=True)
        writer = store._core.catalogue._database._writer.opened()  # type: ignore[attr-defined]
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count={pages + 2}")
        for _ in range(2):
            with pytest.raises(OSError, match="full") as caught:
                store.acquire("large", timeout=PATIENCE)
            assert caught.value.errno == errno.ENOSPC
            assert caught.value.filename == str(place.root / "catalogue.sqlite")
            assert store.info("large").state is ShardState.NEW
            check_serves(store, "good", "good")
        writer.execute("PRAGMA max_page_count=1000000")
        check_serves_large(store)


def test_a_lease_that_could_not_be_given_back_holds_nobody_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with place.store(lease_seconds=1000.0) as store:
        store.register("key", place.mount("key"), lazy=True)
        with monkeypatch.context() as patch:
            patch.setattr(store._core.catalogue, "add_multihashes", full)
            patch.setattr(store._core.catalogue, "release_lease", full)
            with pytest.raises(OSError, match="No space left"):
                store.acquire("key", timeout=PATIENCE)
        check_serves(store, "key", "key")
        assert store._core.leases._unreleased == set()


def test_a_shard_that_is_recovered_on_a_full_disk_stays_errored_with_its_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    mount = place.mount("key")
    place.faults[mount.url].gone = True
    with place.store(recover_on_start="no") as store:
        with pytest.raises(ShardErroredError, match="no longer exists"):
            store.register("key", mount)
        place.faults[mount.url].gone = False
        with monkeypatch.context() as patch:
            patch.setattr("carv2._atomic.os.fsync", full)
            with pytest.raises(OSError, match="No space left"):
                store.recover("key")
        info = store.info("key")
        assert info.state is ShardState.ERRORED
        assert "no longer exists" in info.error
        store.recover("key")
        check_serves(store, "key", "key")
