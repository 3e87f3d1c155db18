"""Mounts that never answer hold up nobody but those who want their bytes."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import BytesMount, DagStore, DagStoreConfig, FsspecMount, Mount, MountStat, default_registry
from carv2.dagstore.mounts._patient import PatientMount, origin_of, patient
from carv2.dagstore.throttles import Throttles
from carv2.errors import MountError, ShardErroredError, WaitTimeoutError
from dagstore.shards import PATIENCE, Place, archive_of, check_serves, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2._source import Source

answers = threading.Event()
asked = threading.Semaphore(0)


@dataclass(frozen=True)
class Hanging(Mount):
    """Hangs where its URL says, until it may answer."""

    where: str

    @property
    def url(self) -> str:
        return self.where

    def _hang(self, where: str) -> None:
        if where in self.url:
            asked.release()
            assert answers.wait(PATIENCE)

    def stat(self, *, timeout: float | None = None) -> MountStat:
        self._hang("stat")
        return MountStat(exists=True, ready="sealed" not in self.url)

    def open(self) -> Source:
        self._hang("open")
        return BytesMount(archive_of("key")).open()


@pytest.fixture(autouse=True)
def _answers() -> Iterator[None]:
    answers.clear()
    yield
    answers.set()


def store_at(folder: Path, **options: float) -> DagStore:
    mounts = default_registry()
    mounts.register("hanging", Hanging)
    config = DagStoreConfig(gc_interval=0.0, **options)  # type: ignore[arg-type]
    return DagStore(folder / "store", mounts=mounts, config=config)


@pytest.mark.parametrize(("where", "count"), [("stat", 4), ("open", 4)])
def test_they_take_no_slots_of_local_files(tmp_path: Path, where: str, count: int) -> None:
    place = Place.at(tmp_path)
    with store_at(tmp_path, max_concurrency_storage_calls=2, max_concurrent_index=2) as store:
        store.register("read", place.mount("read"))
        store.register_many((f"hanging-{number}", f"hanging://{where}/{number}") for number in range(count))
        for number in range(count):
            with pytest.raises(WaitTimeoutError):
                store.acquire(f"hanging-{number}", timeout=0)
        for _ in range(2):
            assert asked.acquire(timeout=PATIENCE)
        store.register("new", place.mount("new"), timeout=PATIENCE)
        check_serves(store, "new", "new")
        store._core.live.close_unused()
        check_serves(store, "read", "read")
        answers.set()


@pytest.mark.parametrize("where", ["stat", "open"])
def test_they_fail_after_a_while_and_give_their_slot_back(tmp_path: Path, where: str) -> None:
    with store_at(tmp_path, mount_timeout=0.05, max_concurrency_storage_calls=1, max_concurrent_index=1) as store:
        store.register_many((f"{number}", f"hanging://{where}/{number}") for number in range(2))
        for key in ("0", "1"):
            with pytest.raises(ShardErroredError, match="no answer within") as caught:
                store.initialize(key, timeout=PATIENCE)
            assert caught.value.error_type == "MountError"
        store.register("good", "hanging://nowhere", timeout=PATIENCE)
        check_serves(store, "good", "key")


def test_what_has_to_be_unsealed_may_take_as_long_as_it_does(tmp_path: Path) -> None:
    with store_at(tmp_path, mount_timeout=0.01) as store:
        store.register("key", "hanging://open/sealed", lazy=True)
        with pytest.raises(WaitTimeoutError):
            store.acquire("key", timeout=0.2)
        answers.set()
        check_serves(store, "key", "key")


def test_what_is_opened_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BytesMount(b"fish").open()
    closed = threading.Event()
    monkeypatch.setattr(type(source), "close", lambda _: closed.set())
    mount = PatientMount(Hanging("hanging://open"), 0.01)
    with pytest.raises(MountError):
        mount.open()
    answers.set()
    eventually(closed.is_set)


def test_each_origin_has_slots_of_its_own() -> None:
    throttles = Throttles(DagStoreConfig())
    urls = ["https://a.example/x", "https://a.example/y", "https://b.example/x", "hanging://a", "hanging://b"]
    mounts = [FsspecMount(url) if url.startswith("https") else patient(Hanging(url), 60) for url in urls]
    slots = [throttles.of(mount) for mount in (*mounts, BytesMount(b""), None)]
    assert [slots.index(each) for each in slots] == [0, 0, 2, 3, 3, 5, 5]
    assert [origin_of(mount) for mount in mounts[2:]] == ["https://b.example", "hanging", "hanging"]


def test_they_go_to_workers_with_their_patience() -> None:
    mount = patient(Hanging("hanging://x"), 60)
    assert pickle.loads(pickle.dumps(mount)) == mount != Hanging("hanging://x")
    assert patient(BytesMount(b""), 60) == BytesMount(b"")
    assert patient(Hanging("hanging://x"), 0) == Hanging("hanging://x")
