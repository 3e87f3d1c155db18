"""Lotus' own client library (go-jsonrpc) calls every method of a store that ``carv2 dagstore serve`` serves."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from carv2.dagstore import DagStore, FileMount, ShardState
from carv2.dagstore.golayout import go_url
from carv2.errors import ShardErroredError
from carv2.rpc._forms import config_out
from interop.conftest import HERE, Peer, go_program
from rpc.serving import archive, make_token, served, stalling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2 import CID

VERSIONS = {"v0.3.1": "go.mod", "v0.8.0": "newer.mod"}
"""The one of the last Lotus with a DAG store, and a later one."""


@pytest.fixture(scope="session", params=VERSIONS)
def go_jsonrpc(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """go-jsonrpc. ``CARV2_JSONRPC_PEER`` names a folder with the programs, if they are built already."""
    version = str(request.param)
    given = os.environ.get("CARV2_JSONRPC_PEER")
    if given:
        return Peer((os.path.join(given, f"peer-{version}"),))
    return go_program(tmp_path_factory, f"go-jsonrpc {version}", HERE / "jsonrpc", f"-modfile={VERSIONS[version]}")


class Store(NamedTuple):
    """A store that is served, and the peer that calls it."""

    peer: Peer
    folder: Path
    url: str
    pieces: list[CID]

    def call(self, *lines: str, transport: str = "ws", token: str = "token") -> list[Any]:
        """What the peer says of these calls, made one after the other; ``["error", "…"]`` and so on."""
        url = self.url.replace("http", transport, 1) + "/rpc/v0"
        out = self.peer(url, self.folder / token, stdin="".join(f"{line}\n" for line in lines).encode())
        return [next(iter(json.loads(line).items())) for line in out.splitlines()]


@pytest.fixture
def store(go_jsonrpc: Peer, tmp_path: Path) -> Iterator[Store]:
    """With shards that are available, new and errored, and a piece that is none yet."""
    (tmp_path / "pieces").mkdir()
    pieces = []
    for number in range(3):
        archive(tmp_path / "piece.car", b"piece %d" % number)
        pieces.append(piece := _piece(number))
        (tmp_path / "piece.car").rename(tmp_path / "pieces" / str(piece))
    archive(tmp_path / "sea.car", b"fish", b"newt")
    (tmp_path / "junk.car").write_bytes(b"junk")
    with DagStore(tmp_path / "store") as opened:
        opened.register("available", FileMount(tmp_path / "sea.car"))
        for number in range(3):
            opened.register(f"new-{number}", FileMount(tmp_path / "sea.car"), lazy=True)
        with pytest.raises(ShardErroredError):
            opened.register("errored", FileMount(tmp_path / "junk.car"))
    make_token(tmp_path)
    (tmp_path / "no-token").touch()
    with served(tmp_path, "--pieces", "pieces") as (url, _):
        yield Store(go_jsonrpc, tmp_path, url, pieces)


def _piece(number: int) -> CID:
    from carv2 import CID

    return CID.of_data(b"a piece's bytes %d" % number)


BOTH = pytest.mark.parametrize("transport", ["http", "ws"])


def states(answer: tuple[str, Any]) -> dict[str, str]:
    assert answer[0] == "result", answer
    return {shard["Key"]: shard["State"].removeprefix("ShardState") for shard in answer[1]}


@BOTH
def test_every_method_that_answers_once(store: Store, transport: str) -> None:
    fish = archive(store.folder / "x.car", b"fish")
    nobody = archive(store.folder / "x.car", b"nobody has it")
    piece = store.pieces[0]
    archive(store.folder / "junk.car", b"mended")
    first, *done, last = store.call(
        "list",
        "initialize new-0",
        "recover errored",
        f"lookup {fish}",
        f"register {piece}",
        f"register {piece}",
        "index-size",
        "gc",
        "destroy new-1",
        "list",
        transport=transport,
    )
    before = {"available": "Available", "errored": "Errored"} | {f"new-{number}": "New" for number in range(3)}
    assert states(first) == before
    assert list(states(first)) == sorted(before)
    initialized, recovered, found, registered, again, size, collected, destroyed = done
    assert {initialized, recovered, registered, again, destroyed} == {("result", None)}
    assert states(found) == {"available": "Available", "new-0": "Available"}
    with DagStore(store.folder / "store", go_on=False) as opened:
        assert size[1] == opened.stat().index_bytes > 0
    assert collected == ("result", [])
    del before["new-1"]
    assert states(last) == before | {"new-0": "Available", "errored": "Available", str(piece): "Available"}
    assert store.call(f"lookup {nobody}", transport=transport)[0][0] == "error"


@BOTH
def test_errors_have_lotus_texts(store: Store, transport: str) -> None:
    answers = store.call(
        "initialize available",
        "initialize nobody",
        "recover new-0",
        "recover errored",
        "nothing",
        transport=transport,
    )
    assert {kind for kind, _ in answers} == {"error"}
    texts = [text for _, text in answers]
    assert texts[:3] == [
        "cannot initialize shard; expected state ShardStateNew, was: ShardStateAvailable",
        "failed to get shard info: shard not found",
        "cannot recover shard; expected state ShardStateErrored, was: ShardStateNew",
    ]
    assert texts[3].startswith("failed to recover shard: ")
    assert "-32601" in texts[4]
    assert "'Filecoin.DagstoreNoSuchMethod' not found" in texts[4]


@BOTH
def test_without_a_token_there_is_only_reading(store: Store, transport: str) -> None:
    own = ["stat", "config", "import {}", "migrate {}"]
    listed, *refused = store.call("list", "gc", "initialize new-0", *own, transport=transport, token="no-token")
    assert len(states(listed)) == 5
    assert [text for _, text in refused] == [
        "missing permission to invoke 'DagstoreGC' (need 'admin')",
        "missing permission to invoke 'DagstoreInitializeShard' (need 'write')",
        "missing permission to invoke 'DagstoreStat' (need 'admin')",
        "missing permission to invoke 'DagstoreConfig' (need 'admin')",
        "missing permission to invoke 'DagstoreImportGo' (need 'admin')",
        "missing permission to invoke 'DagstoreMigrate' (need 'admin')",
    ]


def test_a_stream_to_its_end(store: Store) -> None:
    first, *events, last, listed = store.call("initialize-all 2 all", "list")
    assert (first, last) == (("result", "a stream"), ("closed", 6))
    found = [event for kind, event in events if kind == "event"]
    assert len(found) == 6
    assert all(event["Total"] == 3 for event in found)
    by_key = {
        f"new-{number}": [event for event in found if event["Key"] == f"new-{number}"] for number in range(3)
    }
    for start, end in by_key.values():
        assert (start["Event"], start["Success"], start["Error"]) == ("start", False, "")
        assert (end["Event"], end["Success"], end["Error"]) == ("end", True, "")
        assert start["Current"] == end["Current"]
    assert {start["Current"] for start, _ in by_key.values()} == {1, 2, 3}
    assert {states(listed)[key] for key in by_key} == {"Available"}
    assert store.call("initialize-all 2 all") == [("result", "a stream"), ("closed", 0)]


@pytest.mark.parametrize("call", ["initialize-all 2 all", "doctor {}", "export {}"])
def test_a_stream_is_refused_over_http(store: Store, call: str) -> None:
    ((kind, text),) = store.call(call, transport="http")
    assert kind == "error"
    assert "not supported in this mode (no out channel support)" in text


def test_a_stream_that_is_cancelled_ends_and_begins_no_more(store: Store) -> None:
    data = (store.folder / "sea.car").read_bytes()
    with stalling(data) as web:
        with DagStore(store.folder / "store", mounts=_with_http(), go_on=False) as opened:
            opened.register_many((f"slow-{number}", web.url(f"{number}.car")) for number in range(3))
            for number in range(3):
                opened.destroy(f"new-{number}")
        answers = store.call("initialize-all 1 sealed 1", "list")
        assert [kind for kind, _ in answers] == ["result", "event", "closed", "result"]
        web.go_on.set()
        with DagStore(store.folder / "store", mounts=_with_http(), go_on=False) as opened:
            opened.acquire(answers[1][1]["Key"], timeout=60).close()  # what was begun went on
            assert opened.stat().by_state["new"] == 2


def _with_http() -> Any:
    from carv2.dagstore import default_registry

    return default_registry(fsspec=["http"])


# -- methods of our own ---------------------------------------------------------------------------------------


def compact(**params: object) -> str:
    return json.dumps(params, separators=(",", ":"))


@BOTH
def test_counts_and_options(store: Store, transport: str) -> None:
    with DagStore(store.folder / "store", go_on=False) as opened:
        opened.register("copied", FileMount(store.folder / "sea.car"), local_copy=store.folder / "sea.car")
    (_, stat), (_, options), size = store.call("stat", "config", "index-size", transport=transport)
    by_state = {state.go_name: 0 for state in ShardState}
    by_state |= {"ShardStateAvailable": 2, "ShardStateNew": 3, "ShardStateErrored": 1}
    with DagStore(store.folder / "store", go_on=False) as opened:
        here, expected = opened.stat(), opened.config
    assert stat == {
        "Shards": 6,
        "ByState": by_state,
        "Blocks": 4,
        "Multihashes": 4,
        "IndexBytes": size[1],
        "LocalCopies": here.transient_count,
        "LocalCopyBytes": here.transient_bytes,
    }
    assert size[1] > 0
    assert options == config_out(expected)
    assert options["MaxConcurrencyStorageCalls"] == expected.max_concurrency_storage_calls > 0


def test_a_doctor_finds_and_mends(store: Store) -> None:
    end = {"Key": "", "Problem": "", "Detail": "", "Remedy": "", "Mended": False, "Error": "", "Done": True}
    (store.folder / "sea.car").rename(store.folder / "lake.car")
    answers = store.call("doctor {}", f"doctor {compact(SkipMounts=True)}")
    at = next(number for number, (kind, _) in enumerate(answers) if kind == "closed") + 1
    for looked, keys in (
        (answers[:at], {"available", "errored", "new-0", "new-1", "new-2"}),
        (answers[at:], {"errored"}),
    ):
        first, *found, (_, last), closed = looked
        assert (first, last, closed) == (("result", "a stream"), end, ("closed", len(found) + 1))
        assert {value["Key"] for _, value in found} == keys
        assert not any(value["Done"] or value["Mended"] for _, value in found)
    problems = {(value["Key"], value["Problem"]) for kind, value in answers if kind == "event"}
    assert {("available", "mount gone"), ("errored", "errored")} <= problems
    assert all(value["Detail"] for kind, value in answers if kind == "event" and value["Problem"] == "mount gone")
    (store.folder / "lake.car").rename(store.folder / "sea.car")
    archive(store.folder / "junk.car", b"mended")
    _, *found, _, _, listed = store.call(f"doctor {compact(Repair=True, Thorough=True)}", "list")
    assert [(value["Key"], value["Mended"], value["Error"]) for _, value in found] == [("errored", True, "")]
    assert states(listed)["errored"] == "Available"


def test_an_export(store: Store) -> None:
    sea = store.folder / "sea.car"
    with DagStore(store.folder / "store", go_on=False) as opened:
        opened.register("copied", FileMount(sea), local_copy=sea)
        urls = {key: go_url(opened.info(key).url) for key in ("available", "copied", "errored", "new-0")}
        error = opened.info("errored").error
    for is_wanted in (False, True):
        first, *values, (_, last), closed = store.call(f"export {compact(LocalCopies=is_wanted)}")
        assert (first, closed) == (("result", "a stream"), ("closed", len(values) + 1))
        assert (last["Records"], last["Done"], last["Error"]) == ([], True, "")
        assert not any(value["Done"] or value["Error"] for _, value in values)
        found = {record["k"]: record for _, value in values for record in value["Records"]}
        assert set(found) == {"available", "copied", "errored", "new-0", "new-1", "new-2"}
        assert {key: found[key]["u"] for key in urls} == urls
        assert found["copied"]["t"] == (str(sea) if is_wanted else "")
        assert (found["errored"]["s"], found["errored"]["e"]) == (ShardState.ERRORED.value, error)
        assert error
        assert {key for key, record in found.items() if record["HasIndex"]} == {"available", "copied"}
        assert {key for key, record in found.items() if record["l"]} == {"new-0", "new-1", "new-2"}


@BOTH
def test_an_import(store: Store, transport: str) -> None:
    sea = f"fs://sea.car?path={str(store.folder)[1:]}/sea.car"
    shards = [
        ("taken", sea, ShardState.AVAILABLE, ""),
        ("broken", sea, ShardState.ERRORED, "why"),
        ("available", sea, ShardState.NEW, ""),
        ("odd", "gopher://x", ShardState.NEW, ""),
        (str(store.pieces[0]), f"lotus://{store.pieces[0]}", ShardState.NEW, ""),
    ]
    records = [
        {"Line": line, "Key": key, "URL": url, "State": state.value, "Error": error}
        for line, (key, url, state, error) in enumerate(shards, 7)
    ]
    fish = archive(store.folder / "x.car", b"fish")
    (_, report), *done, (_, listed), found = store.call(
        f"import {compact(Records=records)}",
        "initialize taken",
        f"initialize {store.pieces[0]}",
        "list",
        f"lookup {fish}",
        transport=transport,
    )
    (refused,) = report.pop("Refused")
    assert report == {"Shards": 3, "Indexes": 0, "Known": 1, "RefusedCount": 1}
    assert refused.startswith("line 10: ")
    assert done == [("result", None)] * 2
    assert {shard["Key"]: shard["Error"] for shard in listed}["broken"] == "why"
    found_states = states(("result", listed))
    assert (found_states["broken"], found_states[str(store.pieces[0])]) == ("Errored", "Available")
    assert "odd" not in found_states
    assert states(found) == {"available": "Available", "taken": "Available"}


@BOTH
def test_a_migration_in_two_requests(store: Store, transport: str) -> None:
    known, new, pending = map(str, store.pieces)
    active = "StorageDealActive"
    first = [
        {"PieceCID": known, "State": active, "ProposalCID": "p", "Source": "line-1"},
        {"PieceCID": known, "State": active, "ProposalCID": "q", "Source": "line-2"},
    ]
    last = [{"PieceCID": new, "State": active}, {"PieceCID": pending, "State": "StorageDealTransferring"}]
    *reports, listed = store.call(
        f"register {known}",
        f"migrate {compact(Deals=first, More=True)}",
        f"migrate {compact(Deals=last, Before=2)}",
        f"migrate {compact(Deals=last)}",
        f"migrate {compact(Deals=last, Again=True)}",
        "list",
        transport=transport,
    )
    assert reports[0] == ("result", None)
    names = ("DidWork", "Deals", "Registered", "Known", "NotReady", "InvalidCount")
    assert [tuple(report[name] for name in names) for _, report in reports[1:]] == [
        (True, 2, 0, 2, 0, 0),
        (True, 2, 1, 0, 1, 0),
        (False, 0, 0, 0, 0, 0),
        (True, 2, 0, 1, 1, 0),
    ]
    assert states(listed)[new] == "New"
    assert pending not in states(listed)
