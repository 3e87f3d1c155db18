"""The group ``dagstore``: what transcripts cannot show, such as terminals, interrupts and other processes."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

import pytest

from carv2.cli import dagstore as shared
from carv2.cli.commands import dagstore_lookup_pieces
from carv2.dagstore import BytesMount, DagStore, FileMount, MountRegistry, ShardState
from carv2.dagstore.catalogue import open_catalogue
from carv2.errors import ShardErroredError, WaitTimeoutError
from cli.files import TWO, lay_out
from cli.running import run, run_line, told
from cli.test_commands import SequentialMount, _take_interrupts, at_terminal, start
from cli.test_startup import OPTIONAL, imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carv2.dagstore import ShardInfo

FISH_CID = "bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a shard in each state that lasts."""
    lay_out(tmp_path)
    with DagStore(tmp_path / "store") as opened:
        opened.register("available", FileMount(str(tmp_path / "two.car")))
        opened.register("new", FileMount(str(tmp_path / "fish.car")), lazy=True)
        with pytest.raises(ShardErroredError):
            opened.register("errored", BytesMount(b"text"))
    return tmp_path / "store"


def lines_of(folder: Path, *argv: str) -> list[str]:
    ran = run(folder, ["dagstore", *argv])
    return ran.out.decode().splitlines()


# -- colour -----------------------------------------------------------------------------------------------------


def test_at_a_terminal_each_state_has_its_colour(store: Path) -> None:
    argv = ["dagstore", "--root", "store", "list-shards"]
    found = at_terminal(store.parent, argv).decode().split("\r\n")
    assert found[0].startswith("Key        State      Error")
    assert [line.split()[1] for line in found[1:4]] == [
        "\x1b[32mAvailable\x1b[0m",
        "\x1b[31mErrored\x1b[0m",
        "\x1b[33mNew\x1b[0m",
    ]
    plain = at_terminal(store.parent, argv, NO_COLOR="1").decode().split("\r\n")
    assert [re.sub("\x1b\\[[0-9]*m", "", line) for line in found] == plain
    assert {len(line) for line in plain[:4]} == {len(plain[0])}


@pytest.mark.parametrize("first", [None, True, False])
@pytest.mark.parametrize("second", [None, True, False])
@pytest.mark.parametrize("third", [None, True, False])
def test_at_three_levels_the_last_colour_given_wins(
    first: bool | None, second: bool | None, third: bool | None, store: Path
) -> None:
    def words(value: bool | None) -> list[str]:
        return [] if value is None else ["--color"] if value else ["--color=false"]

    argv = [*words(first), "dagstore", "--root", "store", *words(second), "list-shards", *words(third)]
    given = [value for value in (first, second, third) if value is not None]
    assert (b"\x1b[" in run(store.parent, argv).out) is (bool(given) and given[-1])


class _Info:
    """As much of a shard as a table shows."""

    def __init__(self, state: ShardState, error: str = "") -> None:
        self.key, self.state, self.error = state.name.lower(), state, error


def test_shards_that_are_served_are_blue_and_those_that_are_worked_on_are_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2.cli.color._Switch.on", True)
    states = [ShardState.SERVING, ShardState.INITIALIZING, ShardState.RECOVERING]
    shared.print_shards(map(_Info, states), as_json=False)  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "Key           State         ",
        "serving       \x1b[34mServing\x1b[0m       ",
        "initializing  Initializing  ",
        "recovering    Recovering    ",
    ]


def test_what_is_in_an_error_cannot_break_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carv2.cli.color._Switch.on", False)
    shared.print_shards([_Info(ShardState.ERRORED, "a\tb\nc\x1b[31m\u2028d")], as_json=False)  # type: ignore[list-item]
    assert capsys.readouterr().out.splitlines() == [
        "Key      State    Error                   ",
        "errored  Errored  a\\tb\\nc\\x1b[31m\\u2028d  ",
    ]


# -- stores that are there, and others --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["list-shards"],
        ["lookup-pieces", FISH_CID],
        ["stat"],
        ["doctor"],
        ["doctor", "--repair"],
        ["gc"],
        ["export-go", "go"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_what_only_looks_makes_no_store(words: list[str], there: str, tmp_path: Path) -> None:
    if there == "a folder":
        (tmp_path / "store").mkdir()
    before = sorted(tmp_path.rglob("*"))
    ran = run(tmp_path, ["dagstore", "--root", "store", *words])
    assert (ran.out, ran.err, ran.code) == (b"", "carv2: store: there is no DAG store\n", 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_shards_are_counted_by_state_as_another_process_has_them(store: Path) -> None:
    def counted() -> dict[str, int]:
        counts = json.loads("".join(lines_of(store.parent, "stat", "--root", "store", "--json")))
        return {name: count for name, count in counts.items() if name.startswith("shards_") and count}

    assert counted() == {"shards_available": 1, "shards_errored": 1, "shards_new": 1}
    with contextlib.closing(open_catalogue(store / "catalogue.sqlite")) as catalogue:
        for key in ("new", "errored"):
            assert catalogue.try_lease(key, "another", 60)
        assert counted() == {"shards_available": 1, "shards_recovering": 1, "shards_initializing": 1}
        table = dict(line.split("  ", 1) for line in lines_of(store.parent, "stat", "--root", "store"))
        assert table["shards recovering"].strip() == "1"


# -- many shards ------------------------------------------------------------------------------------------------


def test_a_long_table_is_right_and_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_MEMORY", 1000)
    keys = [f"shard-{'x' * (number % 7)}{number:05}" for number in range(3000)]
    with DagStore(tmp_path / "store") as opened:
        opened.register_many((key, "file:///gone.car") for key in keys)
    table = lines_of(tmp_path, "list-shards", "--root", "store")
    assert [line.split() for line in table[1:]] == [[key, "New"] for key in sorted(keys)]
    assert {len(line) for line in table} == {len("shard-xxxxxx00000  New    ")}
    found = [json.loads(line) for line in lines_of(tmp_path, "list-shards", "--root", "store", "--json")]
    assert [shard["Key"] for shard in found] == sorted(keys)


def test_json_comes_while_the_shards_are_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with DagStore(tmp_path / "store") as opened:
        opened.register_many((str(number), "file:///gone.car") for number in range(3))
        shards = opened.list()
        first = [next(shards)]

        def watched() -> Iterator[ShardInfo]:
            yield first[0]
            assert capsys.readouterr().out.count("\n") == 1
            yield from shards

        shared.print_shards(watched(), as_json=True)
    assert capsys.readouterr().out.count("\n") == 2


# -- beside other processes -------------------------------------------------------------------------------------


def test_a_visit_begins_nothing_that_was_not_asked_for(tmp_path: Path) -> None:
    """An eager shard that nobody came to index waits for a process that serves, not for who looks."""
    catalogue = open_catalogue(_made(tmp_path / "store") / "catalogue.sqlite")
    catalogue.add("eager", BytesMount(TWO).url, lazy=False)
    catalogue.close()
    options = tmp_path / "options.toml"
    options.write_text('[DAGStore]\nRecoverOnStart = "now"\n')
    for _ in range(2):
        assert lines_of(tmp_path, "list-shards", "--root", "store", "--config", "options.toml")[1].split() == [
            "eager",
            "New",
        ]
    with DagStore(tmp_path / "store") as opened:  # which serves
        _until(lambda: opened.info("eager").state is ShardState.AVAILABLE)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_work_of_other_processes_is_seen(store: Path) -> None:
    catalogue = open_catalogue(store / "catalogue.sqlite")
    for key in ("new", "errored"):
        assert catalogue.try_lease(key, "another", 60)
    table = lines_of(store.parent, "list-shards", "--root", "store")
    assert [line.split()[:2] for line in table[1:]] == [
        ["available", "Available"],
        ["errored", "Recovering"],
        ["new", "Initializing"],
    ]
    catalogue.close()


def test_a_shard_destroyed_while_it_is_looked_up_is_not_there(store: Path) -> None:
    with DagStore(store) as opened:
        found = list(dagstore_lookup_pieces._those_there(opened, ["available", "gone", "new"]))
    assert [info.key for info in found] == ["available", "new"]


def test_a_collection_leaves_what_another_process_reads(tmp_path: Path) -> None:
    registry = MountRegistry()
    registry.register("bytes", SequentialMount.of_url)
    gc = ["gc", "--root", "store"]
    with DagStore(tmp_path / "store", mounts=registry) as other:
        other.register("one", SequentialMount(TWO))
        with other.acquire("one"):
            assert lines_of(tmp_path, *gc) == ["one SKIPPED in use"]
            skipped = {"Key": "one", "Success": False, "Error": "in use", "freed": 0}
            assert [json.loads(line) for line in lines_of(tmp_path, *gc, "--json")] == [skipped]
    assert lines_of(tmp_path, *gc, "--color") == [f"one \x1b[32mSUCCESS\x1b[0m {len(TWO)} bytes"]
    assert lines_of(tmp_path, *gc) == ["no shards collected"]


# -- interrupts -------------------------------------------------------------------------------------------------


def test_ctrl_c_says_aborted_begins_no_more_and_breaks_nothing(tmp_path: Path) -> None:
    """While another process works on the first of two shards, so that the command waits."""
    with DagStore(tmp_path / "store") as opened:
        opened.register_many([("first", BytesMount(TWO)), ("second", BytesMount(TWO))])
    catalogue = open_catalogue(tmp_path / "store" / "catalogue.sqlite")
    assert catalogue.try_lease("first", "another", 600)
    argv = ["dagstore", "--root", "store", "initialize-all", "--concurrency", "1"]
    process = start(tmp_path, *argv, preexec_fn=_take_interrupts)
    assert process.stdout is not None
    assert process.stdout.readline() == b"(1/2) first STARTING\n"
    out, err = told(process, signal.SIGINT)
    assert (process.returncode, out, err) == (130, b"", b"aborted\n")
    catalogue.release_lease("first", "another")
    catalogue.close()
    assert [line.split()[1] for line in lines_of(tmp_path, "list-shards", "--root", "store")[1:]] == ["New"] * 2
    assert lines_of(tmp_path, *argv[1:]) == [
        f"({number}/2) {key} {what}"
        for number, key in enumerate(("first", "second"), 1)
        for what in ("STARTING", "SUCCESS")
    ]


def test_ctrl_c_while_a_server_hangs_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.car"
        lines_of(tmp_path, "register-shard", "--lazy", "x", url, "--root", "store")
        argv = ["dagstore", "--root", "store", "initialize-all", "--concurrency", "0", "--include-sealed"]
        process = start(tmp_path, *argv, preexec_fn=_take_interrupts)
        assert process.stdout is not None
        assert process.stdout.readline() == b"(1/1) x STARTING\n"
        connection, _ = server.accept()
        assert (told(process, signal.SIGINT), process.returncode) == ((b"", b"aborted\n"), 130)
        connection.close()
    assert lines_of(tmp_path, "list-shards", "--root", "store")[1].split() == ["x", "New"]


# -- start-up ---------------------------------------------------------------------------------------------------


def test_a_listing_imports_no_optional_library_and_no_other_command(store: Path) -> None:
    found = imported("dagstore", "--root", "store", "list-shards", folder=store.parent)
    commands = {name for name in found if name.startswith("carv2.cli.commands.")}
    assert commands == {"carv2.cli.commands.dagstore_list_shards"}
    assert not found & {*OPTIONAL, "psycopg", "asyncio", "multiprocessing", "dask", "distributed"}


@pytest.mark.parametrize("command", ["list-shards", "gc", "migrate", "initialize-all", "doctor"])
def test_help_imports_no_store(command: str) -> None:
    found = imported("dagstore", command, "--help")
    assert not {name for name in found if name.startswith("carv2.dagstore")}
    assert not found & {"sqlite3", "dataclasses", "inspect", "asyncio", "concurrent.futures"}


def test_several_commands_at_once_do_not_disturb_each_other(store: Path) -> None:
    processes = [
        start(store.parent, "dagstore", "--root", "store", *words)
        for words in (["initialize-shard", "new"], ["lookup-pieces", FISH_CID], ["list-shards"], ["doctor"])
    ]
    outs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 1], outs
    assert b"Errored" in outs[2][0]


def test_a_wait_that_ends_is_an_error_like_others(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    def too_long(*_: object, **__: object) -> None:
        raise WaitTimeoutError("recover errored", seconds=1)

    monkeypatch.setattr(DagStore, "recover", too_long)
    ran = run(store.parent, ["dagstore", "--root", "store", "recover-shard", "errored"])
    assert (ran.out, ran.err, ran.code) == (b"", "carv2: recover errored: not done within 1 s\n", 1)


def test_a_shard_whose_file_is_gone_may_be_tried_again_or_forgotten(tmp_path: Path) -> None:
    lay_out(tmp_path)
    recover = "carv2 dagstore --root store recover-shard lost"
    forget = "carv2 dagstore --root store destroy-shard lost"
    both = f"{recover}; to forget it: {forget}"
    for line in ("register-shard lost lost.car", "recover-shard lost"):
        ran = run_line(tmp_path, f"carv2 dagstore --root store {line}")
        assert (ran.code, ran.err.splitlines()[-1]) == (1, f"To try it again: {both}"), line
    assert lines_of(tmp_path, "--root", "store", "doctor")[0].endswith(f": to mend it: {both}")
    (tmp_path / "lost.car").write_bytes(b"text")
    assert run_line(tmp_path, recover).err.splitlines()[-1] == f"To try it again: {recover}"
    assert run_line(tmp_path, forget).code == 0
    assert lines_of(tmp_path, "--root", "store", "list-shards") == []


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "options.toml").write_text('[DAGStore]\nCatalogue = "postgresql://nowhere/x"\n')
    for name in [
        name for name in sys.modules if name.startswith(("psycopg", "carv2.dagstore.catalogue._postgres"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    ran = run(tmp_path, ["dagstore", "--root", "store", "--config", "options.toml", "list-shards"])
    assert ran.err.startswith("carv2: a catalogue in PostgreSQL needs psycopg")
    assert ran.err.endswith(": pip install 'carv2[postgres]'\n")
    assert ran.code == 1


def test_options_of_a_file_count(store: Path) -> None:
    (store.parent / "options.toml").write_text(f'[DAGStore]\nRootDir = "{store}"\nCatalogue = "{store}/other"\n')
    assert lines_of(store.parent, "--config", "options.toml", "list-shards") == []
    assert (store / "other").exists()


LOOKING = ["list-shards", "report -o -", "stat", "doctor", "gc", "lookup-pieces " + FISH_CID, "export-go out"]


@pytest.mark.parametrize("line", LOOKING)
def test_an_empty_file_is_not_taken_for_a_store_without_shards(store: Path, line: str) -> None:
    (store / "catalogue.sqlite").write_bytes(b"")
    ran = run(store.parent, ["dagstore", "--root", "store", *line.split()])
    assert (ran.code, ran.out) == (1, b"")
    assert "catalogue.sqlite: there is nothing in this file" in ran.err
    assert (store / "catalogue.sqlite").read_bytes() == b""


@pytest.mark.parametrize(
    "line", ["list-shards", "list-shards --json", "report -o -", "stat", "doctor", "initialize-shard new"]
)
def test_a_catalogue_of_other_things_is_damaged(store: Path, line: str) -> None:
    with contextlib.closing(sqlite3.connect(store / "catalogue.sqlite")) as database:
        database.execute("UPDATE shards SET created = 'long ago'")
        database.commit()
    ran = run(store.parent, ["dagstore", "--root", "store", *line.split()])
    if line != "stat":
        assert ran.code == 1
        assert "the catalogue is damaged: the created of shard" in ran.err
    assert "Traceback" not in ran.err


def test_a_key_that_looks_like_a_flag_is_refused(tmp_path: Path) -> None:
    ran = run(tmp_path, ["dagstore", "register-shard", "--", "--api=http://x", "a.car"])
    assert ran.code == 2
    assert "what begins with - is no key here" in ran.err
    assert not list(tmp_path.iterdir())
