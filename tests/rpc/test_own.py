"""The methods beyond Lotus': what they say is what the store says itself."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2.dagstore import (
    DagStore,
    DagStoreConfig,
    Deal,
    FileMount,
    Finding,
    FolderPieces,
    MigrationReport,
    Problem,
    default_registry,
)
from carv2.errors import RpcError, RpcTransportError
from carv2.rpc import DagStoreClient, _forms, _own_calls, make_token
from cli.running import run
from rpc.clients import BOTH, InLoop, InThread
from rpc.inprocess import EVERYTHING, PATIENCE, PIECE, SECRET, Service, eventually
from rpc.peers import websocket_server
from rpc.serving import archive, served, stop
from rpc.serving import make_token as make_token_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.server import ServerConnection

    Client = type[InThread | InLoop]

both = pytest.mark.parametrize("client", BOTH)
TOKEN = make_token(SECRET, EVERYTHING)


def sick(api: Service) -> None:
    """Two shards that something is wrong with, and a sound one."""
    api.register("sound", lazy=False)
    api.register("lost", lazy=False)
    gone = api.register("gone", lazy=False)
    api.mounts[gone].gone = True
    index = next((api.pieces.parent / "store/index").glob("lost*"))
    index.unlink()


# -- counts and options ---------------------------------------------------------------------------------------


@both
def test_counts_are_those_of_the_store(client: Client, api: Service) -> None:
    api.register("a", b"fish", b"newt", lazy=False)
    api.register("b")
    assert client(api.url, token=TOKEN)("stat") == api.store.stat()


@both
def test_options_are_those_of_the_store(client: Client, api: Service) -> None:
    assert client(api.url, token=TOKEN)("config") == api.store.config


def test_a_password_of_the_catalogue_is_not_told() -> None:
    for url in ("postgresql://me:hunter2@db.example.org/x", "postgresql://db.example.org/x?password=hunter2&a=b"):
        told = _forms.config_out(DagStoreConfig(catalogue=url, max_jobs=7))
        assert "hunter2" not in json.dumps(told)
        assert _forms.config_in(told).max_jobs == 7
        assert "db.example.org" in _forms.config_in(told).catalogue


# -- findings -------------------------------------------------------------------------------------------------


@both
def test_findings_are_those_of_the_store_and_are_mended(client: Client, api: Service) -> None:
    sick(api)
    call = client(api.url, token=TOKEN)
    expected = [*api.store.doctor()]
    assert {found.problem for found in expected} == {Problem.INDEX_MISSING, Problem.MOUNT_GONE}
    assert call.stream("doctor") == expected
    assert call.stream("doctor", mounts=False) == [*api.store.doctor(mounts=False)]
    (mended,) = call.stream("doctor", repair=True, mounts=False, thorough=True)
    assert (mended.key, mended.is_mended) == ("lost", True)
    assert call.stream("doctor", mounts=False) == []


@both
def test_a_store_that_cannot_be_looked_over_to_the_end_is_not_sound(
    client: Client, api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor(**_: object) -> Iterator[Finding]:
        yield Finding("a", Problem.ERRORED)
        raise OSError(5, "Input/output error", "/somewhere/secret")

    monkeypatch.setattr(api.store, "doctor", doctor)
    with pytest.raises(RpcError, match=r"^Input/output error$") as caught:
        client(api.url, token=TOKEN).stream("doctor")
    assert caught.value.code == 1


@both
def test_who_leaves_the_doctor_ends_the_looking(
    client: Client, api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[threading.Event] = []

    def doctor(*, stop: threading.Event, **_: object) -> Iterator[Finding]:
        stops.append(stop)
        yield Finding("a", Problem.ERRORED)
        stop.wait(PATIENCE)

    monkeypatch.setattr(api.store, "doctor", doctor)
    (found,) = client(api.url, token=TOKEN).stream("doctor", most=1)
    assert found.key == "a"
    eventually(stops[0].is_set)


def test_once_it_is_stopped_the_doctor_looks_at_no_further_shard(api: Service) -> None:
    sick(api)
    stop = threading.Event()
    findings = api.store.doctor(stop=stop)
    next(findings)
    stop.set()
    assert [*findings] == []


def saying(to: ServerConnection, *found: Finding | _forms.DoctorEnd) -> None:
    number = json.loads(to.recv())["id"]
    to.send(json.dumps({"jsonrpc": "2.0", "id": number, "result": 1}))
    for one in found:
        params = [1, _forms.finding_out(one)]
        to.send(json.dumps({"jsonrpc": "2.0", "method": "xrpc.ch.val", "params": params}))
    to.send(json.dumps({"jsonrpc": "2.0", "method": "xrpc.ch.close", "params": [1]}))
    for _ in to:
        pass


@both
def test_a_stream_of_findings_that_ends_early_is_an_error(client: Client) -> None:
    with (
        websocket_server(lambda to: saying(to, Finding("a", Problem.ERRORED))) as url,
        pytest.raises(RpcTransportError, match="ended early"),
    ):
        client(url).stream("doctor")
    with websocket_server(lambda to: saying(to, Finding("a", Problem.ERRORED), _forms.DoctorEnd())) as url:
        assert client(url).stream("doctor") == [Finding("a", Problem.ERRORED)]


# -- migrations -----------------------------------------------------------------------------------------------


def deals(count: int) -> list[Deal]:
    """Some of them active, some not, some of which are no deals, and a few of the same piece."""
    states = ["StorageDealActive", "StorageDealSealing", "StorageDealError"]
    pieces = [f"{PIECE[:-2]}{number % 7}q" for number in range(count)]
    return [Deal(PIECE if n % 5 else pieces[n], states[n % 3], "", f"line {n}" * (n % 2)) for n in range(count)]


@both
def test_a_migration_reports_what_the_store_itself_would(
    client: Client, api: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_own_calls, "_AT_ONCE", 1500)
    given = deals(100)
    call = client(api.url, token=TOKEN)
    calls: list[Any] = []
    migrate = api.store.migrate

    def watched(*found: Any, **options: Any) -> MigrationReport:
        calls.append(options)
        return migrate(*found, **options)

    monkeypatch.setattr(api.store, "migrate", watched)
    report = call("migrate", given)
    assert len(calls) > 5
    assert [one["more"] for one in calls[-2:]] == [True, False]
    with DagStore(tmp_path / "other", mounts=default_registry(pieces=FolderPieces(str(tmp_path)))) as other:
        assert report == other.migrate(given)
        assert report.registered > 0 < report.invalid_count
        assert [info.key for info in other.list()] == [info.key for info in api.store.list()]
    assert call("migrate", given) == MigrationReport(did_work=False)
    again = call("migrate", given, again=True)
    assert (again.registered, again.known) == (0, report.registered + report.known)


@both
def test_a_migration_that_was_done_takes_no_deals(client: Client, api: Service) -> None:
    call = client(api.url, token=TOKEN)
    assert call("migrate", []).did_work

    def never() -> Iterator[Deal]:
        raise AssertionError
        yield

    assert call("migrate", never()) == MigrationReport(did_work=False)


@both
def test_a_migration_that_breaks_off_is_not_done(
    client: Client, api: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_own_calls, "_AT_ONCE", 300)

    def breaking() -> Iterator[Deal]:
        yield from [Deal(PIECE, "StorageDealActive")] * 10
        raise ZeroDivisionError

    call = client(api.url, token=TOKEN)
    with pytest.raises(ZeroDivisionError):
        call("migrate", breaking())
    assert [info.key for info in call("list")] == [PIECE]
    report = call("migrate", [Deal(PIECE, "StorageDealActive")])
    assert (report.did_work, report.registered, report.known) == (True, 0, 1)


def test_a_report_names_the_first_hundred_deals_only(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_own_calls, "_AT_ONCE", 5000)
    with DagStoreClient(api.url, token=TOKEN) as client:
        report = client.migrate(Deal("none", "StorageDealActive", source=str(number)) for number in range(250))
    assert (report.invalid_count, len(report.invalid)) == (250, 100)
    assert report.invalid[99].startswith("99: ")


@pytest.mark.parametrize(
    "params",
    [7, {"Deals": 7}, {"Deals": [7]}, {"Deals": [{"PieceCID": 7}]}, {"Again": 1}, {"Before": "1"}, {"More": "no"}],
)
def test_no_migrations(params: object, idle: Service) -> None:
    assert idle.call("DagstoreMigrate", params)[0] == -32602


def test_as_in_go_what_is_not_there_is_nothing(api: Service) -> None:
    report = api.call("DagstoreMigrate", {"Deals": [{"State": "StorageDealActive"}, {}], "More": True})
    assert (report["Deals"], report["NotReady"], report["InvalidCount"]) == (2, 1, 1)
    assert "/" not in str(api.call("DagstoreDoctor", {}))  # not for plain HTTP


# -- what comes back ------------------------------------------------------------------------------------------

WORDS = st.sampled_from([*_forms._FINDING, *_forms._COUNTS, *_forms._REPORT, "ByState", "GCInterval"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("errored"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=9),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_what_it_should_be_or_a_value_error(value: object) -> None:
    for read in (_forms.finding_in, _forms.stat_in, _forms.config_in, _forms.report_in):
        with contextlib.suppress(ValueError):
            read(value)


# -- the commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a store that something is wrong with, a token, and deals."""
    archive(tmp_path / "sea.car", b"fish", b"newt")
    (tmp_path / "pieces").mkdir()
    with DagStore(tmp_path / "store") as opened:
        opened.register("lost", FileMount(tmp_path / "sea.car"))
        opened.register("sound", FileMount(tmp_path / "sea.car"))
    (tmp_path / "store/index/lost.full.idx").unlink()
    lines = [
        f'{{"PieceCID": "{PIECE}", "State": "StorageDealActive"}}',
        f'{{"PieceCID": {{"/": "{PIECE}"}}, "State": "StorageDealError"}}',
        '{"PieceCID": "none", "State": "StorageDealActive", "ProposalCID": "bafy"}',
        "no deal",
    ]
    (tmp_path / "deals").write_text("\n".join(lines))
    make_token_file(tmp_path)
    return tmp_path


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_commands_say_the_same_of_a_store_elsewhere(folder: Path, json_flag: list[str]) -> None:
    here = ["--root", "store", "--pieces", "pieces"]
    commands = [
        ["doctor", "--thorough"],
        ["stat"],
        ["doctor", "--repair"],
        ["doctor"],
        ["migrate", "deals"],
        ["migrate", "deals"],
        ["migrate", "--again", "deals"],
        ["config"],
    ]
    with served(folder, "--pieces", "pieces") as (url, server):
        there = ["--api", url, "--token-file", "token"]
        for words in commands:
            unchanging = words[0] in {"stat", "config"} or "--thorough" in words
            found = run(folder, ["dagstore", *words, *there, *json_flag])
            if unchanging:
                own = run(folder, ["dagstore", *words, *here, *json_flag])
                assert (found.code, found.out) == (own.code, own.out), words
            else:
                assert found.code == (1 if words[0] == "migrate" and found.out.count(b"none") else 0), found
        code, log = stop(server)
        assert (code, {*log.splitlines()}) == (0, {"failed to register shard"})  # of a deal that is none
    with DagStore(folder / "store") as opened:
        assert [info.key for info in opened.list()] == [PIECE, "lost", "sound"]


def test_what_mends_it_is_a_command_with_the_api_in_it(folder: Path) -> None:
    with served(folder) as (url, _):
        flags = ["--api", url, "--token-file", "token"]
        found = run(folder, ["dagstore", "doctor", *flags])
        assert (found.code, found.out) == (1, b"lost: index missing: to mend it: index it anew\n1 found\n")
        assert found.err == f"carv2 dagstore {' '.join(flags)} doctor --repair mends what can be mended\n"


def test_who_may_only_read_gets_the_counts_that_lotus_tells(folder: Path) -> None:
    with served(folder) as (url, _):
        told = json.loads(run(folder, ["dagstore", "stat", "--json", "--api", url]).out)
        whole = json.loads(run(folder, ["dagstore", "stat", "--json", "--api", url, "--token-file", "token"]).out)
    assert told["shards"] == whole["shards"] == 2
    assert "blocks" not in told
    assert "index_bytes" not in told
    assert whole["blocks"] == 4
