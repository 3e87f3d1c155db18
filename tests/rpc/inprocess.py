"""A served store in this process, with faults at will, and somebody who calls it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from websockets.sync.client import ClientConnection, connect

import carv2
from carv2.dagstore import BytesMount, DagStore, DagStoreConfig, FolderPieces, default_registry
from carv2.rpc import ServerLimits, create_app, make_token
from carv2.rpc._own import OwnMethods
from carv2.rpc.methods import Method, StoreMethods
from carv2.testing import FaultyMounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that never use it: else each of them reads the system's certificates."""
SECRET = b"\x07" * 32
EVERYTHING = ("read", "write", "sign", "admin")
PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
FISH = carv2.CID.of_data(b"fish")


def archive_of(*texts: bytes) -> bytes:
    blocks = [(carv2.CID.of_data(text), text) for text in texts]
    return b"".join(carv2.iter_car([blocks[0][0]], blocks))


@dataclass
class Service:
    """A store and where it is served."""

    store: DagStore
    mounts: FaultyMounts
    port: int
    app: Any
    pieces: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, content: bytes, token: str | None = "", **headers: str) -> httpx.Response:
        """Some bytes, sent with a token for everything, with another one, or with none (None)."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token or make_token(SECRET, EVERYTHING)}"
        with httpx.Client(timeout=PATIENCE, verify=PLAIN) as client:
            return client.post(f"{self.url}/rpc/v0", content=content, headers=headers)

    def call(self, method: str, *params: Any, token: str | None = "") -> Any:
        """The result of a call, or its error as a pair of code and text."""
        answer = self.post(request(method, *params).encode(), token)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        return outcome(answer.json())

    def websocket(self, token: str | None = "", **options: Any) -> ClientConnection:
        headers = {} if token is None else {"Authorization": f"Bearer {token or make_token(SECRET, EVERYTHING)}"}
        found: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}/rpc/v0", additional_headers=headers, **options
        )
        return found

    def register(self, key: str, *texts: bytes, lazy: bool = True, **options: Any) -> str:
        """A shard of those blocks; the URL of its mount."""
        mount = BytesMount(archive_of(*(texts or (key.encode(),))))
        self.store.register(key, mount, lazy=lazy, **options)
        return mount.url

    def held(self, key: str) -> str:
        """A new shard whose bytes do not come before they are released."""
        url = self.register(key)
        self.mounts[url].hold()
        return url

    def open_now(self) -> dict[str, int]:
        """What the server says is open."""
        lines = httpx.get(f"{self.url}/metrics", timeout=PATIENCE, verify=PLAIN).text.splitlines()
        return {line.split('"')[1]: int(line.split()[1]) for line in lines if line.startswith("carv2_rpc_open{")}


def all_methods(store: DagStore) -> dict[str, Method]:
    methods = StoreMethods(store, threads=1)
    return methods.table() | OwnMethods(store, methods.work, threads=1).table()


def request(method: str, *params: Any, id: Any = 1) -> str:
    call = {"jsonrpc": "2.0", "id": id, "method": f"Filecoin.{method}", "params": list(params)}
    return json.dumps(call)


def outcome(answer: dict[str, Any]) -> Any:
    """The result of an answer, or its error as a pair."""
    assert answer["jsonrpc"] == "2.0"
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    if "error" not in answer:
        return answer["result"]
    assert set(answer["error"]) == {"code", "message"}
    assert "Traceback" not in answer["error"]["message"]
    return answer["error"]["code"], answer["error"]["message"]


def receive(websocket: ClientConnection) -> Any:
    return json.loads(websocket.recv(timeout=PATIENCE))


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)


class Server(uvicorn.Server):
    """One that looks more often whether it should end."""

    async def main_loop(self) -> None:
        while not self.should_exit:  # noqa: ASYNC110  (a thread sets it)
            await asyncio.sleep(0.01)


def run_app(app: Any, server: socket.socket) -> tuple[uvicorn.Server, threading.Thread]:
    uvicorn_ = Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=lambda: asyncio.run(uvicorn_.serve([server])), daemon=True)
    thread.start()
    eventually(lambda: uvicorn_.started)
    return uvicorn_, thread


@contextlib.contextmanager
def service(folder: Path, limits: ServerLimits | None = None, **options: Any) -> Iterator[Service]:
    """Such a service; all that it held is let go of at the end."""
    pieces = folder / "pieces"
    pieces.mkdir(exist_ok=True)
    mounts = FaultyMounts(default_registry(pieces=FolderPieces(str(pieces))))
    config = DagStoreConfig(gc_interval=0.0, recover_on_start="no")
    with DagStore(folder / "store", mounts=mounts.registry, config=config) as store:
        app = create_app(store, **{"secret": SECRET, **options}, limits=limits or ServerLimits())
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        uvicorn_, thread = run_app(app, server)
        try:
            yield Service(store, mounts, server.getsockname()[1], app, pieces)
        finally:
            for url in mounts:
                mounts[url].release()
            uvicorn_.should_exit = True
            thread.join(PATIENCE)
            server.close()
            assert not thread.is_alive()
