"""Index files of processes that come late, of others, damaged; and archives that are replaced under a shard."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.dagstore import Problem, ShardState, indices
from carv2.dagstore._opening import facts_of
from carv2.errors import IndexFormatError, MountChangedError, ShardErroredError, ShardNotFoundError
from dagstore.publisher_to_stop import REFUSED
from dagstore.shards import PATIENCE, Place, archive_of, blocks_of, check_serves, eventually, with_tests
from helpers.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2.dagstore import DagStore

FOLDER = "carv2.dagstore.indices:IndexFolder:"
CATALOGUE = "carv2.dagstore.catalogue.sql:SqlCatalogue:"
LEASES = "carv2.dagstore._leases:LeaseKeeper:"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every index file is too large to be hashed whenever it is opened."""
    monkeypatch.setattr(indices, "_CHECKED_WHOLE", 0)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def catalogue() -> str:
    """Where the store keeps its catalogue: in its folder."""
    return ""


@pytest.fixture
def store(place: Place, catalogue: str) -> Iterator[DagStore]:
    with place.store(lease_seconds=PATIENCE, recover_on_start="no", catalogue=catalogue) as store:
        yield store


def stopped(place: Place, store: DagStore, *arguments: str) -> subprocess.Popen[bytes]:
    """A process that has begun to work on the shard, and stands still since."""
    catalogue = store._core.config.catalogue
    command = [sys.executable, "-m", "dagstore.publisher_to_stop", str(place.folder), catalogue, *arguments]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": with_tests()})
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    return process


def overtaken(place: Place, store: DagStore, *arguments: str) -> int:
    """A process is stopped while it indexes what is old; what is new is indexed; it goes on. How it ended."""
    store.register("key", place.mount("first"))
    place.mount("first", archive_of("old").ljust(1 << 12, b"\0"))
    with pytest.raises(ShardErroredError):
        store.acquire("key")
    process = stopped(place, store, *arguments)
    try:
        place.mount("first", archive_of("new").ljust(1 << 12, b"\0"))
        store.recover("key", timeout=PATIENCE)
    finally:
        process.send_signal(signal.SIGCONT)
    return process.wait(PATIENCE)


def check_new(store: DagStore) -> None:
    check_serves(store, "key", "new")
    assert [store.shards_with(cid) for seed in ("first", "old") for cid in blocks_of(seed)] == [[]] * 10
    assert store._core.catalogue.entry_count("key") == 5
    assert not list(store.doctor(thorough=True))
    assert not [name for name in os.listdir(store._core.indices.folder) if name.endswith(".part")]


class LateProcesses:
    """What processes leave that go on after their leases."""

    @pytest.mark.parametrize(
        "where",
        [FOLDER + "draft", FOLDER + "open_draft", FOLDER + "publish", CATALOGUE + "add_multihashes",
         CATALOGUE + "remove_multihashes", CATALOGUE + "set_available", LEASES + "confirm"],
    )  # fmt: skip
    def test_nothing_of_an_old_index(self, place: Place, store: DagStore, where: str) -> None:
        assert overtaken(place, store, where) == 0
        store._core.indices.verify("key", facts_of(store._core.catalogue.find("key")))
        check_new(store)

    @pytest.mark.parametrize("where", [FOLDER + "open", CATALOGUE + "remove", CATALOGUE + "remove_multihashes"])
    def test_a_shard_of_the_same_key_whole(self, place: Place, store: DagStore, where: str) -> None:
        assert destroyed_late(place, store, where) == REFUSED
        assert store.shards_with(next(iter(blocks_of("new")))) == ["key"]
        check_new(store)

    def test_no_less_than_an_index_that_is_made_anew(self, place: Place, store: DagStore) -> None:
        assert destroyed_late(place, store, FOLDER + "drop") == 0
        check_new(store)


def destroyed_late(place: Place, store: DagStore, where: str) -> int:
    """A process is stopped while it destroys a shard; another of its key comes; it goes on. How it ended."""
    store.register("key", place.mount("old"))
    process = stopped(place, store, where, "destroy")
    try:
        eventually(lambda: not store._core.leases.is_held("key"))
        with contextlib.suppress(ShardNotFoundError):
            store.destroy("key")
        store.register("key", place.mount("new"), timeout=PATIENCE)
    finally:
        process.send_signal(signal.SIGCONT)
    return process.wait(PATIENCE)


class TestOnSQLite(LateProcesses):
    """In the store's folder."""


class TestOnPostgreSQL(LateProcesses):
    """On a server that does not stand still."""

    @pytest.fixture
    def catalogue(self, server: PostgresServer) -> str:
        return server.new_schema()


@pytest.mark.usefixtures("large")
def test_an_old_index_that_was_put_over_a_new_one_by_a_process_that_is_dead_is_found_out(
    place: Place, store: DagStore
) -> None:
    assert overtaken(place, store, FOLDER + "publish", "die") == -signal.SIGKILL
    wanted = next(iter(blocks_of("new")))
    with store.acquire("key") as shard, pytest.raises(IndexFormatError, match="made anew"):
        shard[wanted]
    check_new(store)


def swap(store: DagStore, one: str, other: str) -> None:
    paths = [Path(store._core.indices.path_of(key)) for key in (one, other)]
    data = [path.read_bytes() for path in paths]
    assert len(data[0]) == len(data[1])
    for path, each in zip(paths, reversed(data), strict=True):
        path.unlink()
        path.write_bytes(each)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("read", ["block", "size", "contains", "many"])
def test_a_large_index_of_another_shard_is_found_out_at_the_first_miss(
    place: Place, store: DagStore, read: str
) -> None:
    for key in ("one", "two"):
        store.register(key, place.mount(key))
    swap(store, "one", "two")
    wanted = list(blocks_of("one"))
    with store.acquire("one") as shard:
        reads: dict[str, Callable[[], object]] = {
            "block": lambda: shard[wanted[0]],
            "size": lambda: shard.size_of(wanted[0]),
            "contains": lambda: wanted[0] in shard,
            "many": lambda: list(shard.get_many(wanted)),
        }
        with pytest.raises(IndexFormatError):
            reads[read]()
    assert store.counters()["rebuilt"] == 1
    check_serves(store, "one", "one")
    with store.blockstore() as blocks:
        assert {cid: blocks[cid] for cid in blocks_of("two")} == blocks_of("two")
    assert not list(store.doctor(thorough=True))


@pytest.mark.parametrize("is_large", [False, True])
def test_an_index_that_is_damaged_while_it_is_open_is_made_anew(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(indices, "_CHECKED_WHOLE", 0)
    store.register("key", place.mount("key"))
    path = Path(store._core.indices.path_of("key"))
    good = path.read_bytes()
    with store.acquire("key") as shard:
        with path.open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(bytes(100))
        with pytest.raises(IndexFormatError, match="made anew"):
            list(shard.get_many(blocks_of("key")))
    check_serves(store, "key", "key")
    assert path.read_bytes() == good


def test_a_block_that_is_not_there_costs_one_look_at_the_whole_index(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register("key", place.mount("key"))
    absent, looks, real = carv2.CID.of_data(b"absent"), list[int](), indices.OpenIndex.is_of

    def counted(opened: indices.OpenIndex, facts: indices.IndexFacts) -> bool:
        looks.append(1)
        return real(opened, facts)

    with store.acquire("key") as shard:
        monkeypatch.setattr(indices.OpenIndex, "is_of", counted)
        for _ in range(3):
            assert absent not in shard
            with pytest.raises(carv2.BlockNotFoundError):
                shard[absent]
    assert looks == [1]
    assert store.info("key").state is ShardState.AVAILABLE


@pytest.mark.parametrize("size", [0, 100, 300, 1 << 12, 1 << 13])
def test_a_shard_whose_archive_is_written_over_or_cut_while_it_is_read_gives_right_blocks_or_none(
    place: Place, store: DagStore, size: int
) -> None:
    for key in ("old", "rest"):
        store.register(key, place.mount(key))
    right, errors = blocks_of("old"), list[Exception]()
    with store.acquire("old") as shard, store.acquire("rest") as rest, store.blockstore() as blocks:
        assert blocks[next(iter(right))] == shard[next(iter(right))]
        place.mount("old", archive_of("old" if size < 1 << 12 else "new").ljust(size, b"\0")[:size])
        for read in (shard.__getitem__, blocks.__getitem__, lambda cid: next(shard.get_many([cid])).data):
            for cid, data in right.items():
                try:
                    assert read(cid) == data
                except ShardErroredError as error:
                    errors.append(error)
        assert {cid: rest[cid] for cid in blocks_of("rest")} == blocks_of("rest")
        assert {cid: blocks[cid] for cid in blocks_of("rest")} == blocks_of("rest")
    assert errors
    assert store.info("old").state is ShardState.ERRORED
    assert store.info("rest").state is ShardState.AVAILABLE


def test_an_archive_that_is_written_over_under_an_open_shard_makes_it_errored(
    place: Place, store: DagStore
) -> None:
    store.register("key", place.mount("old"))
    cid = next(iter(blocks_of("old")))
    with store.acquire("key") as shard:
        place.mount("old", archive_of("new").ljust(1 << 12, b"\0"))
        for _ in range(2):
            with pytest.raises(ShardErroredError, match="written to since it was indexed"):
                shard[cid]
    assert store.info("key").state is ShardState.ERRORED
    store.recover("key")
    check_serves(store, "key", "new")


def with_copy(place: Place, store: DagStore) -> Path:
    copy = place.folder / "copy.car"
    copy.write_bytes(archive_of("one"))
    store.register("key", place.mount("one"), local_copy=copy)
    return copy


def test_a_local_copy_that_is_another_archive_by_now_is_not_read(place: Place, store: DagStore) -> None:
    copy = with_copy(place, store)
    check_serves(store, "key", "one")
    (place.folder / "other").write_bytes(archive_of("two"))
    os.replace(place.folder / "other", copy)
    store._core.live.close_unused()
    check_serves(store, "key", "one")
    assert [found.problem for found in store.doctor()] == [Problem.LOCAL_COPY_CHANGED]
    assert [found.is_mended for found in store.doctor(repair=True)] == [True]
    assert not list(store.doctor())
    assert copy.read_bytes() == archive_of("two")


def test_a_local_copy_that_is_written_over_while_it_is_read_gives_way_to_the_mount(
    place: Place, store: DagStore
) -> None:
    copy = with_copy(place, store)
    wanted = next(iter(blocks_of("one")))
    with store.acquire("key") as shard, store.blockstore() as blocks:
        assert blocks[wanted] == shard[wanted]
        copy.write_bytes(archive_of("two"))
        with pytest.raises(MountChangedError, match="changed since it was indexed"):
            shard[wanted]
        assert blocks[wanted] == blocks_of("one")[wanted]
    check_serves(store, "key", "one")
    assert store.info("key").state is ShardState.AVAILABLE


def test_a_local_copy_is_read_as_long_as_it_is_what_was_indexed(place: Place, store: DagStore) -> None:
    with_copy(place, store)
    (place.folder / "archives" / "one.car").unlink()
    check_serves(store, "key", "one")
    store._core.live.close_unused()
    eventually(lambda: store._core.live.activity() == {})
    check_serves(store, "key", "one")
