"""Connections of ``carv2 dagstore serve``: how many, how long they may be silent, and that they end with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

import carv2
from carv2 import CID
from carv2.cli import connections
from carv2.dagstore import DagStore, FileMount
from cli.running import run
from rpc.serving import PATIENCE, archive, served, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HALF = b"GET /health HTTP/1.1\r\nHost: x\r\n"
WHOLE = HALF + b"\r\n"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    archive(tmp_path / "sea.car", b"fish")
    with DagStore(tmp_path / "store") as opened:
        opened.register("sea", FileMount(tmp_path / "sea.car"))
    return tmp_path


@contextlib.contextmanager
def connected(url: str, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        yield [stack.enter_context(socket.create_connection(address, timeout=PATIENCE)) for _ in range(count)]


def test_half_requests_leave_room_for_whole_ones(store: Path) -> None:
    with served(store, files=128) as (url, _), connected(url, 220) as peers:
        for peer in peers:
            with contextlib.suppress(OSError):  # it had to make room
                peer.sendall(HALF)
        for _ in range(3):
            assert httpx.get(f"{url}/health").status_code == 200
            assert httpx.get(f"{url}/ipfs/{CID.of_data(b'fish')}?format=raw").content == b"fish"


@pytest.mark.parametrize("files", [20, 40, 64, 1024, resource.RLIM_INFINITY])
def test_the_store_has_its_files_too(files: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
    assert 8 <= connections.most_connections() <= max(8, 1024 if files < 0 else files // 2)


def test_that_nothing_can_be_accepted_is_said_once() -> None:
    said: list[dict[str, Any]] = []

    class Loop:
        def default_exception_handler(self, context: dict[str, Any]) -> None:
            said.append(context)

    loop, complaints = cast("asyncio.AbstractEventLoop", Loop()), connections.Complaints()
    for _ in range(100):
        complaints(loop, {"message": "socket.accept() out of system resource"})
    complaints(loop, {"message": "something else"})
    assert [context["message"] for context in said] == [
        "socket.accept() out of system resource",
        "something else",
    ]


def test_asyncio_still_says_it_in_these_words() -> None:
    import inspect
    from asyncio import selector_events

    assert connections._NO_ROOM in inspect.getsource(selector_events)


# -- uvicorn's protocols with limits ---------------------------------------------------------------------------


async def _app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] in _UNFINISHED:
        await _begun(scope, send)
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


_UNFINISHED = ("/stalled", "/cut", "/last")


async def _begun(scope: Any, send: Any) -> None:
    """An answer given up as the client takes nothing, or for reasons of its own; or a whole one."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/last":
        await send({"type": "http.response.body", "body": bytes(32 << 20)})
        return
    await send({"type": "http.response.body", "body": b"whole?", "more_body": True})
    if scope["path"] == "/stalled":
        await send({"type": "http.response.body", "body": bytes(32 << 20), "more_body": True})
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": b"b", "more_body": True}), 0.2)


@contextlib.asynccontextmanager
async def _limited(kind: str, most: int, asking_time: float) -> Any:
    import uvicorn

    config = uvicorn.Config(_app, http=cast("Any", kind), lifespan="off", log_config=None)
    config.load()
    config.http_protocol_class = connections.limited(cast("Any", config.http_protocol_class), most, asking_time)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        config.app = _app
        server.lifespan = config.lifespan_class(config)
        await server.startup([listening])
        try:
            yield port
        finally:
            await server.shutdown([listening])


@pytest.mark.parametrize("kind", ["h11", "httptools"])
@pytest.mark.parametrize("sent", [b"", HALF, WHOLE + HALF, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"])
def test_who_does_not_ask_is_let_go(kind: str, sent: bytes) -> None:
    async def main() -> bytes:
        async with _limited(kind, 8, 0.3) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                got = await asyncio.wait_for(reader.read(), 4)  # keep-alive of uvicorn is 5 s
            writer.close()
            return got

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["h11", "httptools"])
def test_who_waits_for_an_answer_is_not_let_go(kind: str) -> None:
    async def main() -> bytes:
        async with _limited(kind, 8, 0.3) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET / HTTP/1.0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            return got

    assert asyncio.run(main()).count(b"200 OK") == 3


@pytest.mark.parametrize("kind", ["h11", "httptools"])
def test_one_too_many_is_told_so_where_all_are_busy(kind: str) -> None:
    async def main() -> bytes:
        async with _limited(kind, 2, PATIENCE) as port:
            busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for _, writer in busy:
                writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            got = await asyncio.wait_for(reader.read(), PATIENCE)
            for one in (writer, *(pair[1] for pair in busy)):
                one.close()
            return got

    assert asyncio.run(main()).startswith(b"HTTP/1.1 503 ")


async def _fate(port: int, path: str, version: str) -> tuple[bytes, bool]:
    """What a client that reads nothing for a second gets then, and whether its connection was reset."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, ("127.0.0.1", port))
        await loop.sock_sendall(peer, f"GET {path} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(1)
        got = b""
        try:
            while piece := await asyncio.wait_for(loop.sock_recv(peer, 1 << 20), PATIENCE):
                got += piece
        except ConnectionResetError:
            return got, True
        return got, False


@pytest.mark.parametrize("kind", ["h11", "httptools"])
@pytest.mark.parametrize(
    ("path", "version", "is_reset"),
    [("/stalled", "1.1", True), ("/cut", "1.1", False), ("/cut", "1.0", True), ("/last", "1.1", True)],
)
def test_an_answer_that_is_given_up_takes_its_connection_with_it(
    kind: str, path: str, version: str, is_reset: bool
) -> None:
    async def main() -> tuple[bytes, bool]:
        async with _limited(kind, 8, 0.3) as port:
            return await _fate(port, path, version)

    got, was_reset = asyncio.run(main())
    assert was_reset == is_reset
    assert is_reset or b"whole?" in got  # who reads gets what there was
    assert len(got) < 32 << 20


# -- the end --------------------------------------------------------------------------------------------------


def test_a_server_that_is_stopped_leaves_who_takes_nothing(store: Path) -> None:
    (store / "big").write_bytes(os.urandom(24 << 20))
    assert run(store, ["create", "-f", "big.car", "big"]).code == 0
    with carv2.open(store / "big.car") as car:
        root = car.roots[0]
    with DagStore(store / "store") as opened:
        opened.register("big", FileMount(store / "big.car"))
    with served(store) as (url, server), connected(url, 1) as (peer,):
        peer.sendall(f"GET /ipfs/{root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert peer.recv(12) == b"HTTP/1.1 200"
        assert stop(server) == (0, "")  # uvicorn would say that it gave up
