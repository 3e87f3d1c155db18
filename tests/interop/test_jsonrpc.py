"""Lotus' own client library (go-jsonrpc) calls every method of a store that ``carv2 dagstore serve`` serves."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from carv2.dagstore import DagStore, FileMount
from carv2.errors import ShardErroredError
from interop.conftest import HERE, Peer, make
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
    program = tmp_path_factory.mktemp("jsonrpc") / "peer"
    command = ["go", "build", f"-modfile={VERSIONS[version]}", "-o", str(program), "."]
    make(f"go-jsonrpc {version}", command, HERE / "jsonrpc")
    return Peer((str(program),))


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
    listed, *refused = store.call("list", "gc", "initialize new-0", transport=transport, token="no-token")
    assert len(states(listed)) == 5
    assert [text for _, text in refused] == [
        "missing permission to invoke 'DagstoreGC' (need 'admin')",
        "missing permission to invoke 'DagstoreInitializeShard' (need 'write')",
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


def test_a_stream_is_refused_over_http(store: Store) -> None:
    ((kind, text),) = store.call("initialize-all 2 all", transport="http")
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
