"""The catalogue on PostgreSQL: what every catalogue does, restarts under load, and processes that share it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore.catalogue import Catalogue, open_catalogue
from carv2.errors import StateError, WaitTimeoutError
from carv2.testing import CatalogueTests
from carv2.testing.blockstores import in_threads
from dagstore.catalogue_worker import FACTS, multihashes
from helpers.catalogues import index_in_processes, worker
from helpers.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carv2.dagstore.catalogue.sql import SqlCatalogue

PATIENCE = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_schema()


@pytest.fixture
def catalogue(url: str) -> Iterator[SqlCatalogue]:
    with contextlib.closing(open_catalogue(url, patience=PATIENCE)) as catalogue:
        yield catalogue


class TestPostgres(CatalogueTests):
    @pytest.fixture(autouse=True)
    def _on_the_server(self, server: PostgresServer) -> None:
        self.server = server

    def catalogue(self) -> Catalogue:
        self.url = self.server.new_schema()
        return open_catalogue(self.url, patience=PATIENCE)

    def again(self, catalogue: Catalogue) -> Catalogue:
        return open_catalogue(self.url, patience=PATIENCE)


# -- several processes ----------------------------------------------------------------------------------------


def test_processes_never_index_the_same_shard(catalogue: SqlCatalogue, url: str, tmp_path: Path) -> None:
    catalogue.add_many((f"{at}", "file:///x") for at in range(60))
    done = index_in_processes(url, tmp_path, 2)
    assert sorted(map(int, itertools.chain(*done))) == list(range(60))
    assert {row.generation for row in catalogue.rows()} == {1}
    assert catalogue.multihash_count() == 60 * 50


def test_the_lease_of_a_killed_process_ends(catalogue: SqlCatalogue, url: str) -> None:
    holder = worker("hold", url, "a", "0.8")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    holder.kill()
    holder.communicate()
    assert not catalogue.try_lease("a", "me", 60)
    while (lease := catalogue.lease_of("a")) is not None:
        assert lease.holder == "the dead"
        time.sleep(lease.left + 0.01)
    assert catalogue.try_lease("a", "me", 60)


def test_the_tables_are_made_once(server: PostgresServer) -> None:
    for _ in range(4):
        url, catalogues = server.new_schema(), list[Catalogue]()
        in_threads(lambda _, url=url, catalogues=catalogues: catalogues.append(open_catalogue(url)), range(6))  # type: ignore[misc]
        catalogues[0].add("a", "file:///x", lazy=True)
        assert [len(catalogue) for catalogue in catalogues] == [1] * 6
        for catalogue in catalogues:
            catalogue.close()


def test_a_newer_database_is_left_alone(catalogue: SqlCatalogue, url: str) -> None:
    catalogue._run("UPDATE carv2_schema SET version = 99")
    with pytest.raises(StateError, match="newer"):
        open_catalogue(url)


def test_a_child_of_a_fork_has_connections_of_its_own(catalogue: SqlCatalogue) -> None:
    catalogue.add("a", "file:///x", lazy=True)
    pid = os.fork()
    if not pid:
        status = 1
        with contextlib.suppress(BaseException):
            for at in range(50):
                catalogue.add(f"b{at}", "file:///b", lazy=True)
            catalogue.close()
            status = 0
        os._exit(status)
    for at in range(50):
        catalogue.add(f"c{at}", "file:///c", lazy=True)
    assert os.waitpid(pid, 0)[1] == 0
    assert [row.url for row in catalogue.rows()] == ["file:///x", *["file:///b"] * 50, *["file:///c"] * 50]


# -- a server that goes away ----------------------------------------------------------------------------------


class Load:
    """A thread's part: it knows what must be there, however often the server went away meanwhile."""

    def __init__(self, catalogue: Catalogue, at: int) -> None:
        self.catalogue, self.at, self.turns, self.failed = catalogue, at, 0, None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.turn(f"{self.at} {self.turns:05}")
            self.turns += 1

    def turn(self, key: str) -> None:
        catalogue, entries = self.catalogue, multihashes(key, 40)
        assert catalogue.add(key, "file:///x", lazy=True, owner="me").generation == 0
        assert catalogue.add_many([(key, "file:///y"), (f"{key} more", "file:///y")]) == 1
        assert catalogue.try_lease(key, f"holder {self.at}", 60)
        catalogue.set_error(key, "MountError", "gone")
        catalogue.add_multihashes(key, entries)
        generation = catalogue.set_available(
            key, index=FACTS, source_size=1, source_tag="", inverted=True, holder=f"holder {self.at}"
        )
        assert generation == 1
        catalogue.release_lease(key, f"holder {self.at}")
        catalogue.set_error(key, "MountError", "gone")
        assert catalogue.find(key).failures == 1
        assert catalogue.shards_with(entries[3]) == [key]
        assert catalogue.remove(f"{key} more", None)
        if self.turns % 3 == 0:
            assert catalogue.remove(key, entries[:20])

    def check(self) -> None:
        kept = [f"{self.at} {turn:05}" for turn in range(self.turns) if turn % 3]
        rows = list(self.catalogue.rows(prefix=f"{self.at} "))
        assert [row.key for row in rows] == kept
        assert {(row.generation, row.failures, row.state.value) for row in rows} <= {(1, 1, "errored")}


def test_nothing_is_lost_doubled_or_stuck_when_the_server_is_restarted(
    catalogue: SqlCatalogue, server: PostgresServer
) -> None:
    stop, loads = threading.Event(), [Load(catalogue, at) for at in range(4)]

    def disturb() -> None:
        try:
            for mode in ("immediate", "fast", "backend", "immediate"):
                time.sleep(0.25)
                if mode == "backend":
                    server.kill_backends()
                else:
                    server.halt(mode)
                    server.start()
            time.sleep(0.25)
        finally:
            stop.set()

    def run(load: Load | None) -> None:
        try:
            disturb() if load is None else load.run(stop)
        except BaseException:
            stop.set()
            raise

    in_threads(run, [*loads, None])
    assert min(load.turns for load in loads) > 3
    for load in loads:
        load.check()
    assert catalogue.multihash_count() == sum(len(catalogue.shards_with_many(multihashes(row.key, 40))) for row in
        catalogue.rows())  # fmt: skip


def test_without_a_server_a_call_ends_with_an_error_and_later_ones_go_on(server: PostgresServer, url: str) -> None:
    with contextlib.closing(open_catalogue(url, patience=0.3)) as catalogue:
        row = catalogue.add("a", "file:///x", lazy=True)
        server.halt()
        try:
            for use in (
                lambda: catalogue.find("a"),
                lambda: catalogue.set_new("a"),
                lambda: open_catalogue(url, patience=0.3),
            ):
                with pytest.raises(ConnectionError, match="no answer within"):
                    use()
            catalogue.touch("a", 5.0)
        finally:
            server.start()
        assert catalogue.find("a").updated == row.updated


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "lost"])
def test_a_commit_without_an_answer_is_found_out(
    catalogue: SqlCatalogue, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    import psycopg

    lost = 0

    class Losing(psycopg.Transaction):
        def _commit_gen(self) -> Any:
            nonlocal lost
            if lost < 2:
                lost += 1
                if kept:
                    yield from super()._commit_gen()
                self.connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return (yield from super()._commit_gen())

    catalogue.add_many([("old", "file:///x")])
    monkeypatch.setattr("psycopg.connection.Transaction", Losing)
    calls: list[Callable[[], object]] = [
        lambda: catalogue.add("a", "file:///x", lazy=True, owner="me").key,
        lambda: catalogue.add_many([("b", "file:///x"), ("old", "file:///x")]),
        lambda: catalogue.set_error("a", "OSError", "gone"),
        lambda: catalogue.set_available("b", index=FACTS, source_size=1, source_tag="", inverted=True),
        lambda: catalogue.add_multihashes("b", multihashes("b", 10)),
        lambda: catalogue.try_lease("a", "me", 60),
        lambda: catalogue.remove_owner("a", "me"),
        lambda: catalogue.remove("old", None),
    ]
    answers = []
    for call in calls:
        lost = 0
        answers.append(call())
        assert lost == 2
    assert answers == ["a", 1, None, 1, None, True, 0, True]
    assert catalogue.find("a").failures == 1
    assert catalogue.find("b").generation == 1
    assert catalogue.multihash_count() == 10


def test_all_connections_in_use_are_waited_for_and_no_longer(url: str) -> None:
    with contextlib.closing(open_catalogue(url, patience=0.2)) as catalogue, contextlib.ExitStack() as stack:
        pool = catalogue._database._pool  # type: ignore[attr-defined]
        for _ in range(8):
            stack.enter_context(pool.connection())
        with pytest.raises(WaitTimeoutError):
            len(catalogue)
        stack.close()
        assert len(catalogue) == 0


def test_a_row_that_another_process_holds_is_waited_for_and_no_longer(url: str) -> None:
    import psycopg

    with contextlib.closing(open_catalogue(url, patience=0.3)) as catalogue:
        catalogue.add("a", "file:///x", lazy=True)
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM shards FOR UPDATE")
            with pytest.raises(WaitTimeoutError):
                catalogue.set_new("a")
            assert catalogue.find("a").key == "a"
        catalogue.set_new("a")


def test_no_password_is_in_a_message(server: PostgresServer) -> None:
    url = server.url().replace("carv2@", "carv2:hunter2@").replace("/postgres?", "/missing?")
    with pytest.raises(OSError, match="missing") as caught:
        open_catalogue(url, patience=0.1)
    assert "hunter2" not in str(caught.value)


def test_looking_up_reads_no_table_whole_before_the_database_has_counted(catalogue: SqlCatalogue) -> None:
    """Without statistics it takes a multihash for one that many shards have, and a join would read all shards."""
    catalogue.add_many((f"{at}", "file:///x") for at in range(20_000))
    mine = multihashes("7", 20_000)
    catalogue.add_multihashes("7", mine)
    asked: list[tuple[str, Any]] = []
    query = catalogue._database.query

    def noted(sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        asked.append((sql, parameters))
        return query(sql, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue._database, "query", noted)
        assert catalogue.shards_with(mine[0]) == ["7"]
        assert catalogue.shards_with_many(mine[:3]) == {one: ["7"] for one in mine[:3]}
    assert len(asked) == 2
    for sql, parameters in asked:
        plan = "\n".join(line for (line,) in query(f"EXPLAIN {sql}", parameters))
        assert "Seq Scan on shards" not in plan, plan
        assert "Seq Scan on blocks" not in plan, plan
