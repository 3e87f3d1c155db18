"""An export of a store that is served elsewhere: what the same on its own host writes, or nothing."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from carv2.dagstore import DagStore, FileMount
from carv2.dagstore.indices import IndexFolder
from carv2.errors import RpcError, RpcTransportError
from carv2.rpc import ServerLimits, _forms, make_token
from cli.running import run
from rpc.clients import BOTH, InLoop, InThread
from rpc.inprocess import EVERYTHING, SECRET, Service, service
from rpc.serving import archive, served
from rpc.serving import make_token as make_token_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Client = type[InThread | InLoop]

both = pytest.mark.parametrize("client", BOTH)
TOKEN = make_token(SECRET, EVERYTHING)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_empty(folder: Path) -> bool:
    return {*files_in(folder)} <= {"index/.version"}


def all_sorts(api: Service) -> None:
    """Shards with an index, without one, errored, with a lost or spoiled one; keys that make no file."""
    api.register("sound", b"fish", b"newt", lazy=False)
    api.register("Ünïcode &?#%2F", lazy=False)
    api.register("..", lazy=False)
    api.register("a/../b", lazy=False)
    api.register("new")
    api.register("lost", lazy=False)
    api.register("spoiled", lazy=False)
    gone = api.register("gone")
    api.mounts[gone].gone = True
    with contextlib.suppress(Exception):
        api.store.initialize("gone")
    folder = IndexFolder(api.pieces.parent / "store/index")
    folder.drop("lost")
    (api.pieces.parent / "store/index/spoiled.full.idx").write_bytes(b"x")


@both
def test_an_export_is_what_the_store_itself_writes(client: Client, api: Service, tmp_path: Path) -> None:
    all_sorts(api)
    own = api.store.export_go(tmp_path / "own")
    assert (own.shard_count, own.index_count) == (8, 3)
    assert client(api.url, token=TOKEN)("export_go", tmp_path / "far") == own
    assert files_in(tmp_path / "far") == files_in(tmp_path / "own")
    assert "index/...full.idx" in files_in(tmp_path / "far")


def test_local_copies_are_told_if_they_are_asked_for(api: Service, tmp_path: Path) -> None:
    archive(tmp_path / "sea.car", b"fish")
    api.store.register("a", FileMount(tmp_path / "sea.car"), local_copy=tmp_path / "sea.car")
    call = InThread(api.url, token=TOKEN)
    for name, is_wanted in (("with", True), ("without", False)):
        call("export_go", tmp_path / name, local_copies=is_wanted)
        api.store.export_go(tmp_path / f"own-{name}", local_copies=is_wanted)
        assert files_in(tmp_path / name) == files_in(tmp_path / f"own-{name}")
    assert b"sea.car" in files_in(tmp_path / "with")["shards.jsonl"]


def test_records_of_many_values_are_all_there(api: Service, tmp_path: Path) -> None:
    for number in range(1000):
        api.store.register(f"{number:04}{'x' * 100}", FileMount("/nowhere"), lazy=True)
    assert InThread(api.url, token=TOKEN)("export_go", tmp_path / "far").shard_count == 1000
    api.store.export_go(tmp_path / "own")
    assert files_in(tmp_path / "far") == files_in(tmp_path / "own")


@both
def test_a_folder_with_shards_is_left_alone(client: Client, api: Service, tmp_path: Path) -> None:
    api.register("a", lazy=False)
    api.store.export_go(tmp_path / "far")
    before = files_in(tmp_path / "far")
    with pytest.raises(FileExistsError, match="holds shards already"):
        client(api.url, token=TOKEN)("export_go", tmp_path / "far")
    assert files_in(tmp_path / "far") == before


@both
def test_who_is_no_admin_gets_no_export(client: Client, api: Service, tmp_path: Path) -> None:
    api.register("a", lazy=False)
    for token in (None, make_token(SECRET, ["read", "write", "sign"])):
        with pytest.raises(RpcError, match="missing permission to invoke 'DagstoreExportGo'"):
            client(api.url, token=token)("export_go", tmp_path / "far")
    assert is_empty(tmp_path / "far")


@pytest.mark.parametrize(
    ("method", "query", "token", "status"),
    [
        ("GET", "?key=a", None, 403),
        ("GET", "?key=a", make_token(SECRET, ["read", "write", "sign"]), 403),
        ("GET", "?key=a", "nonsense", 401),
        ("GET", "?key=a", make_token(SECRET, EVERYTHING, expires=1), 401),
        ("POST", "?key=a", TOKEN, 405),
        ("GET", "", TOKEN, 400),
        ("GET", "?key=%FF", TOKEN, 400),
        ("GET", "?key=nobody", TOKEN, 204),
        ("GET", "?key=../../token-secret", TOKEN, 204),
        ("GET", "?key=a", TOKEN, 200),
    ],
)
def test_index_files_are_for_admins(api: Service, method: str, query: str, token: str | None, status: int) -> None:
    api.register("a", lazy=False)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = httpx.request(method, f"{api.url}/rpc/v0/index{query}", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.content == (api.pieces.parent / "store/index/a.full.idx").read_bytes()


def test_only_so_many_index_files_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(tmp_path, ServerLimits(max_streams=1)) as api:
        api.register("a", lazy=False)
        metrics = next(route.app for route in api.app.routes if route.path == "/rpc/v0/index")._dispatcher.metrics
        metrics.open["stream"] += 1
        answer = httpx.get(f"{api.url}/rpc/v0/index?key=a", headers={"Authorization": f"Bearer {TOKEN}"})
        metrics.open["stream"] -= 1
        assert (answer.status_code, "too much at once" in answer.text) == (503, True)


# -- what goes wrong on the way -------------------------------------------------------------------------------


class Spoiling:
    """An application in front of the real one, that does something to what it says of index files."""

    def __init__(self, app: Any, how: str) -> None:
        self.app, self.how = app, how

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def spoilt(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                if self.how == "digest":
                    headers[b"carv2-sha256"] = b"0" * 64
                elif self.how == "no digest":
                    del headers[b"carv2-sha256"]
                elif self.how == "no length":
                    del headers[b"content-length"]
                elif self.how == "gzip":
                    headers[b"content-encoding"] = b"gzip"
                message = {**message, "headers": [*headers.items()]}
                if self.how in {"404", "302"}:
                    message["status"] = int(self.how)
            elif self.how == "cut" and message["body"]:
                await send({**message, "body": message["body"][:-1]})
                raise ConnectionError
            elif self.how == "bytes":
                message = {**message, "body": b"\xff" * len(message["body"])}
            await send(message)

        is_index = (
            scope["type"] == "http" and scope["path"].endswith("/index") and b"key=b" in scope["query_string"]
        )
        await self.app(scope, receive, spoilt if is_index else send)


@both
@pytest.mark.parametrize("how", ["digest", "no digest", "no length", "gzip", "404", "302", "cut", "bytes"])
def test_an_index_that_does_not_come_whole_leaves_nothing(
    how: str, client: Client, api: Service, tmp_path: Path
) -> None:
    api.register("a", lazy=False)
    api.register("b", lazy=False)
    api.app.middleware_stack = Spoiling(api.app.build_middleware_stack(), how)
    with pytest.raises(RpcTransportError):
        client(api.url, token=TOKEN)("export_go", tmp_path / "far")
    assert is_empty(tmp_path / "far")


@both
def test_records_that_are_not_all_of_them_leave_nothing(
    client: Client, api: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> Iterator[Any]:
        raise OSError(5, "Input/output error", "/somewhere/secret")
        yield

    api.register("a", lazy=False)
    monkeypatch.setattr("carv2.rpc._own.records_of", failing)
    with pytest.raises(RpcError, match=r"^Input/output error$"):
        client(api.url, token=TOKEN)("export_go", tmp_path / "far")
    assert is_empty(tmp_path / "far")
    monkeypatch.setattr(
        _forms, "end_of_records_out", lambda _error="": b'{"Records": [], "Done": false, "Error": ""}'
    )
    with pytest.raises(RpcTransportError, match="ended early"):
        client(api.url, token=TOKEN)("export_go", tmp_path / "far")
    assert is_empty(tmp_path / "far")


def test_a_key_that_cannot_be_is_refused() -> None:
    record = {"k": "a\n", "u": "", "t": "", "s": 2, "l": False, "e": "", "HasIndex": True}
    with pytest.raises(ValueError, match="control character"):
        _forms.records_in({"Records": [record], "Done": False, "Error": ""})


# -- the command ----------------------------------------------------------------------------------------------


def test_the_command_says_the_same_of_a_store_elsewhere(tmp_path: Path) -> None:
    archive(tmp_path / "sea.car", b"fish", b"newt")
    with DagStore(tmp_path / "store") as opened:
        opened.register("sea", FileMount(tmp_path / "sea.car"))
        opened.register("new", FileMount(tmp_path / "sea.car"), lazy=True)
    make_token_file(tmp_path)
    with served(tmp_path) as (url, _):
        for flag in ([], ["--json"]):
            for where, flags in (("own", ["--root", "store"]), ("far", ["--api", url, "--token-file", "token"])):
                found = run(tmp_path, ["dagstore", "export-go", *flags, *flag, f"{where}{len(flag)}"])
                assert (found.code, found.err) == (0, "")
                expected = json.dumps({"shard_count": 2, "index_count": 1}) if flag else "2 shards, 1 indexes"
                assert found.out.decode() == expected + "\n"
            assert files_in(tmp_path / f"far{len(flag)}") == files_in(tmp_path / f"own{len(flag)}")
        again = run(tmp_path, ["dagstore", "export-go", "--api", url, "--token-file", "token", "far0"])
        assert again.code == 1
