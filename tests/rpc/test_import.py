"""An import into a store that is served elsewhere: what the same on its own host does, and no half of it."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from carv2.dagstore import DagStore, FileMount, GoImport, ShardState
from carv2.errors import RpcError, RpcTransportError
from carv2.rpc import ServerLimits, _importing, make_token
from cli.running import run
from rpc.clients import BOTH, InLoop, InThread
from rpc.inprocess import EVERYTHING, FISH, SECRET, Service, eventually, service
from rpc.serving import archive, served
from rpc.serving import make_token as make_token_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Client = type[InThread | InLoop]

both = pytest.mark.parametrize("client", BOTH)
TOKEN = make_token(SECRET, EVERYTHING)


@pytest.fixture(autouse=True)
def no_copies_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What comes is kept in a folder of its own until it is taken over."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    eventually(lambda: not os.listdir(folder))


def go_folder(folder: Path) -> Path:
    """An export of shards of all sorts, with lines that make no shard."""
    archive(folder / "sea.car", b"fish", b"newt")
    with DagStore(folder / "first") as store:
        for key in ("sea", "Ünïcode &?#%2F", "..", "a/b"):
            store.register(key, FileMount(folder / "sea.car"), local_copy=folder / "sea.car")
        for key in ("new", "newer"):
            store.register(key, FileMount(folder / "sea.car"), lazy=True)
        store.register("gone", FileMount(folder / "gone.car"), lazy=True)
        with pytest.raises(Exception, match="gone"):
            store.initialize("gone", wait=True)
        store.export_go(folder / "go", local_copies=True)
    records = folder / "go/shards.jsonl"
    text = records.read_bytes()
    records.write_bytes(b'{"k": "x"}\n\n' + text + b'{"k":"odd","u":"gopher://x","s":2}\n' + text + b"[")
    return folder / "go"


def look(store: DagStore) -> dict[str, tuple[ShardState, str]]:
    return {info.key: (info.state, info.error) for info in store.list()}


@both
def test_an_import_does_what_the_store_itself_does(client: Client, api: Service, tmp_path: Path) -> None:
    go = go_folder(tmp_path)
    with DagStore(tmp_path / "own") as own:
        expected, there = own.import_go(go), look(own)
        again = own.import_go(go)
    assert (expected.shard_count, expected.index_count, expected.known) == (7, 3, 7)
    assert expected.refused_count == 3
    call = client(api.url, token=TOKEN)
    assert call("import_go", go) == expected
    assert look(api.store) == there
    assert call("import_go", go) == again
    with api.store.acquire("sea") as shard:
        assert shard[FISH] == b"fish"
    assert api.store.info("sea").local_copy == ""  # the file of another host
    assert "sea" in api.store.shards_with(FISH)


@both
def test_records_go_some_at_a_time(
    client: Client, api: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_importing, "_AT_ONCE", 500)
    with DagStore(tmp_path / "first") as store:
        for number in range(100):
            store.register(f"{number:03}", FileMount("/nowhere"), lazy=True)
        store.export_go(tmp_path / "go")
    assert client(api.url, token=TOKEN)("import_go", tmp_path / "go").shard_count == 100
    assert len(api.store) == 100


def test_a_folder_without_shards(api: Service, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        InThread(api.url, token=TOKEN)("import_go", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@both
def test_who_is_no_admin_imports_nothing(client: Client, api: Service, tmp_path: Path) -> None:
    go = go_folder(tmp_path)
    for token in (None, make_token(SECRET, ["read", "write", "sign"])):
        with pytest.raises(RpcError, match="missing permission to invoke 'DagstoreImportGo'"):
            client(api.url, token=token)("import_go", go)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = httpx.put(f"{api.url}/rpc/v0/index", headers=headers, content=b"{}\n")
        assert (answer.status_code, answer.text) == (403, "missing permission for index files (need 'admin')")
    assert len(api.store) == 0


@pytest.mark.parametrize("spoil", [b"", b"x", b"\x81\x08" + b"\xff" * 40, None])
def test_an_index_that_is_none_is_made_anew(api: Service, tmp_path: Path, spoil: bytes | None) -> None:
    go = go_folder(tmp_path)
    index = go / "index/sea.full.idx"
    index.write_bytes(index.read_bytes()[:-1] if spoil is None else spoil)
    found = InThread(api.url, token=TOKEN)("import_go", go)
    assert (found.shard_count, found.index_count) == (7, 2)
    assert api.store.info("sea").state is ShardState.NEW
    with api.store.acquire("sea") as shard:
        assert shard[FISH] == b"fish"


# -- what goes wrong on the way -------------------------------------------------------------------------------


def parcel(go: Path, key: str = "sea") -> bytes:
    record = {"Line": 1, "Key": key, "URL": f"fs://x?path={go.parent}/sea.car", "State": 2, "Error": ""}
    return json.dumps(record).encode() + b"\n" + (go / "index/sea.full.idx").read_bytes()


def put(api: Service, body: Any) -> httpx.Response:
    return httpx.put(f"{api.url}/rpc/v0/index", headers={"Authorization": f"Bearer {TOKEN}"}, content=body)


def test_what_is_put_may_be_only_so_large(tmp_path: Path) -> None:
    go = go_folder(tmp_path)
    body = parcel(go)
    with service(tmp_path, ServerLimits(max_index=len(body) - 1)) as api:
        for content in (body, iter([body[:50], body[50:]])):  # announced, and not
            answer = put(api, content)
            assert (answer.status_code, "bigger than maximum" in answer.text) == (413, True)
        with pytest.raises(RpcTransportError, match=r"index of .*HTTP 413"):
            InThread(api.url, token=TOKEN)("import_go", go)
        assert "sea" not in api.store
    with service(tmp_path, ServerLimits(max_index=len(body))) as api:
        assert put(api, body).json()["result"]["Indexes"] == 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"{}",
        b"[" * 5000,
        b'{"Line":1,"Key":"a\\n","URL":"x","State":2,"Error":""}',
        b"\xff",
        b"1" * (2 << 20),
    ],
)
def test_a_record_that_is_none_is_refused(api: Service, line: bytes) -> None:
    answer = put(api, line + b"\nxyz").json()
    assert (answer["error"]["code"], answer["error"]["message"][:21]) == (-32602, "no record of a shard:")
    assert len(api.store) == 0


def test_states_and_names_that_cannot_be_are_refused(api: Service, tmp_path: Path) -> None:
    go = go_folder(tmp_path)
    assert put(api, parcel(go, "x/../../y")).json()["result"]["Indexes"] == 0
    assert api.store.info("x/../../y").state is ShardState.NEW
    record = {"Line": 1, "Key": "a", "URL": "gopher://x", "State": 2, "Error": ""}
    found = put(api, json.dumps(record).encode() + b"\n").json()["result"]
    assert (found["RefusedCount"], found["Refused"][0][:8]) == (1, "line 1: ")


def head_of(size: int) -> bytes:
    words = f"Authorization: Bearer {TOKEN}\r\nContent-Length: {size}"
    return f"PUT /rpc/v0/index HTTP/1.1\r\nHost: x\r\n{words}\r\n\r\n".encode()


def test_a_client_that_vanishes_leaves_nothing(api: Service, tmp_path: Path) -> None:
    body = parcel(go_folder(tmp_path))
    head = head_of(len(body))
    for size in (0, 1, 20, len(body) // 2, len(body) - 1):
        with socket.create_connection(("127.0.0.1", api.port)) as client:
            client.sendall(head + body[:size])
    metrics = next(route.app for route in api.app.routes if route.path == "/rpc/v0/index")._dispatcher.metrics
    eventually(lambda: metrics.open["stream"] == 0)
    assert len(api.store) == 0
    assert put(api, body).json()["result"]["Shards"] == 1


def test_one_who_sends_nothing_is_let_go_of(tmp_path: Path) -> None:
    with (
        service(tmp_path, ServerLimits(request_timeout=0.1)) as api,
        socket.create_connection(("127.0.0.1", api.port)) as client,
    ):
        client.sendall(head_of(99) + b"x")
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_disk_that_is_full_is_told_and_changes_nothing(
    api: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Any:
        raise OSError(28, "No space left on device", "/somewhere/secret")

    go = go_folder(tmp_path)
    monkeypatch.setattr("carv2.dagstore.golayout.GoIndexFolder.write", full)
    with pytest.raises(RpcError, match=r"^No space left on device$"):
        InThread(api.url, token=TOKEN)("import_go", go)
    assert "sea" not in api.store


def test_two_at_once_make_each_shard_once(api: Service, tmp_path: Path) -> None:
    go, found = go_folder(tmp_path), list[GoImport]()

    def work() -> None:
        found.append(InThread(api.url, token=TOKEN)("import_go", go))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.shard_count for one in found) == len(api.store) == 7
    with api.store.acquire("sea") as shard:
        assert shard[FISH] == b"fish"


def test_methods_that_the_route_takes_are_told(api: Service) -> None:
    answer = httpx.delete(f"{api.url}/rpc/v0/index", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, PUT")


# -- the command ----------------------------------------------------------------------------------------------


def test_the_command_says_the_same_of_a_store_elsewhere(tmp_path: Path) -> None:
    go_folder(tmp_path)
    with DagStore(tmp_path / "store"):
        make_token_file(tmp_path)
    with served(tmp_path) as (url, _):
        for flag in ([], ["--json"]):
            far, own = (
                run(tmp_path, ["dagstore", "import-go", *where, *flag, "go"])
                for where in (["--api", url, "--token-file", "token"], ["--root", "own"])
            )
            assert (far.code, far.out, far.err) == (own.code, own.out, "")
        assert b"7 known, 3 refused" not in far.out  # that was the first time
