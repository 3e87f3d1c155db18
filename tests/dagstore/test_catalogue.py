"""The catalogue on SQLite: what every catalogue does, damage, full disks, processes that die."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import resource
import signal
import sqlite3
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, cast

import pytest

from carv2.dagstore.catalogue import Catalogue, DurableState, open_catalogue
from carv2.errors import ClosedError, StateError, WaitTimeoutError
from carv2.testing import CatalogueTests
from carv2.testing.blockstores import in_threads
from dagstore.catalogue_worker import multihashes
from dagstore.shards import eventually
from helpers.catalogues import index_in_processes, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carv2.dagstore.catalogue.sql import SqlCatalogue


class TestSqlite(CatalogueTests):
    def catalogue(self) -> Catalogue:
        self.made_so_far = getattr(self, "made_so_far", 0) + 1
        self.path: Path = self.folder / f"{self.made_so_far}.db"
        return open_catalogue(self.path)

    def again(self, catalogue: Catalogue) -> Catalogue:
        return open_catalogue(self.path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.db"


@pytest.fixture
def catalogue(path: Path) -> Iterator[SqlCatalogue]:
    with contextlib.closing(open_catalogue(path)) as catalogue:
        yield catalogue


def some(count: int, seed: int = 1) -> list[bytes]:
    chosen = random.Random(seed)
    return [b"\x12\x20" + chosen.randbytes(32) for _ in range(count)]


def pausing(inside: threading.Event, go_on: threading.Event) -> Callable[[Any], None]:
    """A transaction that says when it has begun, and ends when it is told to."""

    def work(transaction: object) -> None:
        inside.set()
        assert go_on.wait(30)

    return work


def check(path: Path) -> None:
    """Every page is sound, every count is right, and no entry points at a shard that could come again."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = database.execute("SELECT shard, COUNT(*) FROM blocks GROUP BY shard ORDER BY shard").fetchall()
        assert counted == database.execute("SELECT id, entries FROM shards WHERE entries ORDER BY id").fetchall()


def test_an_entry_takes_less_than_seventy_bytes(catalogue: SqlCatalogue, path: Path) -> None:
    for at in range(5):
        catalogue.add(f"{at}", "file:///x", lazy=True)
        catalogue.add_multihashes(f"{at}", some(30_000, seed=at))
    assert catalogue.multihash_count() == 150_000
    catalogue.close()
    assert path.stat().st_size < 150_000 * 60


def test_a_listing_that_rests_keeps_nothing_locked(catalogue: SqlCatalogue, path: Path) -> None:
    catalogue.add_many((f"{at:05}", "file:///x") for at in range(3000))
    rows = catalogue.rows()
    next(rows)
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as database:
        (busy, *_) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
    assert len(list(rows)) == 2999


@pytest.mark.parametrize("known", [[], some(500), None], ids=["none", "some", "unknown"])
def test_no_entry_outlives_its_shard(catalogue: SqlCatalogue, path: Path, known: list[bytes] | None) -> None:
    for key in ("a", "b"):
        catalogue.add(key, "file:///x", lazy=True)
        catalogue.add_multihashes(key, some(2000))
    assert catalogue.remove("a", known)
    check(path)
    assert catalogue.multihash_count() == 2000


# -- writers and readers --------------------------------------------------------------------------------------


def test_readers_do_not_wait_for_a_writer(catalogue: SqlCatalogue) -> None:
    catalogue.add("a", "file:///x", lazy=True)
    inside, go_on = threading.Event(), threading.Event()

    writer = threading.Thread(target=catalogue._database.transact, args=(pausing(inside, go_on),))
    writer.start()
    assert inside.wait(30)
    try:
        assert catalogue.shards_with(some(1)[0]) == []
        assert [row.key for row in catalogue.rows()] == ["a"]
        assert catalogue.counts()[DurableState.NEW] == 1
        assert writer.is_alive()
    finally:
        go_on.set()
        writer.join()


def test_last_accesses_are_written_by_and_by_and_nobody_waits(
    catalogue: SqlCatalogue, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2.dagstore.catalogue._shards._TOUCH_SECONDS", 0.0)
    catalogue.add("a", "file:///x", lazy=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # whoever waited for it would wait for ever
    for when in range(1, 6):
        catalogue.touch("a", when)
        assert catalogue.find("a").last_access == when
    other.execute("COMMIT")
    until = time.monotonic() + 30
    while other.execute("SELECT last_access FROM shards").fetchall() != [(5.0,)]:
        assert time.monotonic() < until
        time.sleep(0.01)
    other.close()


def test_a_writer_waits_for_another_processes(catalogue: SqlCatalogue, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.execute, ("COMMIT",))
    done.start()
    catalogue.add("a", "file:///x", lazy=True)
    assert not other.in_transaction
    done.join()
    other.close()


def test_waiting_for_a_writer_ends(path: Path) -> None:
    with contextlib.closing(open_catalogue(path, patience=0.1)) as catalogue:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WaitTimeoutError, match="another process writes"):
            catalogue.add("a", "file:///x", lazy=True)
        assert catalogue.get("a") is None
        other.execute("COMMIT")
        other.close()
        catalogue.add("a", "file:///x", lazy=True)
        inside, go_on = threading.Event(), threading.Event()
        writer = threading.Thread(target=catalogue._database.transact, args=(pausing(inside, go_on),))
        writer.start()
        assert inside.wait(30)
        with pytest.raises(WaitTimeoutError, match="another thread writes"):
            catalogue.set_new("a")
        go_on.set()
        writer.join()
        catalogue.set_new("a")


def test_what_fails_on_the_way_leaves_nothing(catalogue: SqlCatalogue, path: Path) -> None:
    def work(transaction: object) -> None:
        transaction.run("DELETE FROM shards")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    row = catalogue.add("a", "file:///x", lazy=True)
    with pytest.raises(KeyboardInterrupt):
        catalogue._database.transact(work)
    assert catalogue.find("a") == row
    catalogue.set_new("a")


def test_threads_that_end_leave_no_connections(catalogue: SqlCatalogue) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files cannot be counted here")
    catalogue.add("a", "file:///x", lazy=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        in_threads(lambda _: catalogue.find("a"), range(10))
    assert len(os.listdir("/proc/self/fd")) <= before + 30  # 200 connections; SQLite closes some a little later


def test_closing_waits_for_nobody_for_long_and_nobody_crashes(path: Path) -> None:
    for _ in range(5):
        catalogue = open_catalogue(path)
        catalogue.add_many((f"{at}", "file:///x") for at in range(200))
        started = threading.Barrier(5)

        def use(at: int, catalogue: Catalogue = catalogue, started: threading.Barrier = started) -> None:
            started.wait(30)
            with contextlib.suppress(ClosedError):
                while True:
                    catalogue.find("7")
                    len(list(catalogue.rows()))
                    if not at:
                        catalogue.add_multihashes("7", some(500))

        threads = [threading.Thread(target=use, args=(at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        started.wait(30)
        time.sleep(0.02)
        catalogue.close()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    check(path)


class ClosesSlowly:
    """A connection that says when it is being closed, and waits then."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.closing, self.go_on = connection, threading.Event(), threading.Event()

    def close(self) -> None:
        self.closing.set()
        assert self.go_on.wait(60)
        self.connection.close()


def test_closing_waits_for_the_connection_of_a_thread_that_ends(path: Path) -> None:
    catalogue = open_catalogue(path)
    held: list[ClosesSlowly] = []

    def use() -> None:
        catalogue.rows()
        reader = cast("Any", catalogue)._database._reader()
        reader.opened()
        held.append(ClosesSlowly(reader._connection))
        reader._connection = held[0]

    ending = threading.Thread(target=use)
    ending.start()
    eventually(lambda: held and held[0].closing.is_set())
    closing = threading.Thread(target=catalogue.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    held[0].go_on.set()
    closing.join(60)
    ending.join(60)
    assert sorted(os.listdir(path.parent)) == [path.name]  # nothing comes and goes in the folder any more


# -- forks ----------------------------------------------------------------------------------------------------


def test_a_child_of_a_fork_has_connections_of_its_own(catalogue: SqlCatalogue, path: Path) -> None:
    catalogue.add("a", "file:///x", lazy=True)
    assert catalogue.find("a")
    inside, go_on = threading.Event(), threading.Event()
    writer = threading.Thread(  # without which the child would inherit its lock
        target=catalogue._database.transact, args=(pausing(inside, go_on),)
    )
    writer.start()
    assert inside.wait(30)
    threading.Timer(0.1, go_on.set).start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, since 3.12
        pid = os.fork()
    if not pid:
        status = 1
        with contextlib.suppress(BaseException):
            assert catalogue.find("a").key == "a"
            catalogue.add_many([("b", "file:///b")])
            catalogue.add_multihashes("b", some(1000))
            catalogue.close()
            status = 0
        os._exit(status)
    writer.join()
    assert os.waitpid(pid, 0)[1] == 0
    assert catalogue.find("b").url == "file:///b"
    catalogue.add_multihashes("a", some(1000))
    assert catalogue.shards_with(some(1)[0]) == ["a", "b"]
    catalogue.close()
    check(path)


# -- damage and full disks ------------------------------------------------------------------------------------


def test_what_is_no_database_is_an_error(path: Path) -> None:
    path.write_bytes(b"this is a fish, and no database" * 1000)
    with pytest.raises(OSError, match="not a database"):
        open_catalogue(path)
    with pytest.raises(OSError, match="unable to open"):
        open_catalogue(path / "nothing")
    assert path.read_bytes().startswith(b"this is a fish")


def test_a_newer_database_is_left_alone(path: Path) -> None:
    open_catalogue(path).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(StateError, match="newer"):
        open_catalogue(path)


def test_damage_is_named(path: Path) -> None:
    with contextlib.closing(open_catalogue(path)) as catalogue:
        catalogue.add("a", "file:///x", lazy=True)
        catalogue.add_multihashes("a", some(20_000))
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with contextlib.closing(open_catalogue(path)) as catalogue:
        uses: list[Callable[[], object]] = [
            lambda: catalogue.shards_with(some(1)[0]),
            lambda: list(catalogue.rows()),
            lambda: catalogue.add("b", "file:///x", lazy=True),
        ]
        for use in uses:
            with pytest.raises(OSError, match="the catalogue is damaged") as caught:
                use()
            assert caught.value.errno == errno.EIO
            assert caught.value.filename == str(path)


def test_a_full_disk_leaves_what_was_there(catalogue: SqlCatalogue, path: Path) -> None:
    catalogue.add("a", "file:///x", lazy=True)
    catalogue.add_multihashes("a", some(2000))
    pages = path.stat().st_size // 8192 + 40
    writer = catalogue._database._writer.opened()  # type: ignore[attr-defined]
    writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(OSError, match="full") as caught:
        catalogue.add_multihashes("a", some(100_000, seed=2))
    assert caught.value.errno == errno.ENOSPC
    assert catalogue.multihash_count() == 2000
    writer.execute("PRAGMA max_page_count=1000000")
    catalogue.add_multihashes("a", some(100_000, seed=2))
    assert catalogue.multihash_count() == 102_000
    check(path)


def test_a_write_that_fails_leaves_what_was_there(catalogue: SqlCatalogue, path: Path) -> None:
    catalogue.add("a", "file:///x", lazy=True)
    catalogue.add_multihashes("a", some(2000))
    before, limits = catalogue.find("a"), resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match=r"I/O error|full"):
            catalogue.add_multihashes("a", some(100_000, seed=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert catalogue.find("a") == before
    assert catalogue.multihash_count() == 2000
    catalogue.add_multihashes("a", some(100_000, seed=2))
    assert catalogue.multihash_count() == 102_000
    check(path)


# -- other processes ------------------------------------------------------------------------------------------


def test_processes_never_index_the_same_shard(catalogue: SqlCatalogue, path: Path, tmp_path: Path) -> None:
    catalogue.add_many((f"{at}", "file:///x") for at in range(30))
    done = index_in_processes(path, tmp_path, 2)
    assert sorted(map(int, itertools.chain(*done))) == list(range(30))
    assert {row.generation for row in catalogue.rows()} == {1}
    assert catalogue.multihash_count() == 30 * 50


def test_the_lease_of_a_killed_process_ends(catalogue: SqlCatalogue, path: Path) -> None:
    holder = worker("hold", path, "a", "0.8")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    holder.kill()
    holder.communicate()
    assert not catalogue.try_lease("a", "me", 60)
    while (lease := catalogue.lease_of("a")) is not None:
        assert lease.holder == "the dead"
        time.sleep(lease.left + 0.01)
    assert catalogue.try_lease("a", "me", 60)


def test_a_process_may_be_killed_at_any_moment(path: Path) -> None:
    chosen = random.Random(7)
    for turn in range(6):
        process = worker("change", path, 1500)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(chosen.uniform(0, 0.25))
        process.kill()
        said = (first + process.communicate()[0]).splitlines()
        check(path)
        with contextlib.closing(open_catalogue(path)) as catalogue:
            rows = {row.key: row for row in catalogue.rows()}
            for line in said:
                what, _, key = line.partition(" ")
                if what == "removed":
                    assert key not in rows, f"{turn}: {key} came back"
                elif key.endswith("shard 0"):
                    assert rows[key].inverted
                    assert len(catalogue.shards_with_many(multihashes(key, 1500))) == 1500
            for key, row in rows.items():
                if row.inverted:
                    assert len(catalogue.shards_with_many(multihashes(key, 1500))) == 1500
                else:  # on its way in or out: either goes on
                    catalogue.add_multihashes(key, multihashes(key, 1500))
                assert catalogue.remove(key, multihashes(key, 1500) if turn % 2 else None)
            assert (len(catalogue), catalogue.multihash_count()) == (0, 0)
        check(path)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("key", b"\xff", r"the key of shard 1 is b'\xff'"),
        ("url", b"x", "the url of shard 1 is b'x'"),
        ("state", "asleep", "the state of shard 1 is 'asleep'"),
        ("state", 7.5, "the state of shard 1 is '7.5'"),
        ("failures", "many", "the failures of shard 1 is 'many'"),
        ("index_size", b"", "the index_size of shard 1 is b''"),
        ("index_digest", "x" * 90, "the index_digest of shard 1 is '" + "x" * 39),
        ("source_size", "z", "the source_size of shard 1 is 'z'"),
        ("local_copy", "a", "the local_copy of shard 1 is 'a'"),
        ("updated", "now", "the updated of shard 1 is 'now'"),
    ],
)
def test_a_row_that_holds_something_else_is_damage(
    path: Path, catalogue: SqlCatalogue, column: str, value: object, shown: str
) -> None:
    """SQLite keeps in a column whatever it is given."""
    catalogue.add("a", "file:///a", lazy=True)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE shards SET {column} = ?", (value,))
        database.commit()
    calls: list[Callable[[], object]] = [lambda: list(catalogue.rows())]
    if column != "key":
        calls.append(lambda: catalogue.get("a"))
    for call in calls:
        with pytest.raises(OSError, match="the catalogue is damaged") as caught:
            call()
        assert caught.value.errno == errno.EIO
        assert caught.value.filename == str(path)
        assert caught.value.strerror == f"the catalogue is damaged: {shown}"
