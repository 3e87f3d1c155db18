"""A gateway to ask: in this process, or under a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

if TYPE_CHECKING:
    from collections.abc import Generator

SERVERS = ["h11", "httptools"]


def ask(app: Any, url: str, method: str = "GET", **options: Any) -> httpx.Response:
    """The answer of ``app`` to one request, without a server."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            client.headers.pop("accept")
            return await client.request(method, url, **options)

    return asyncio.run(main())


def call(app: Any, raw: bytes, query: bytes = b"", headers: Any = (), **scope: Any) -> tuple[int, bytes]:
    """Status and body, for requests that no client would make."""
    sent: list[Any] = []

    async def main() -> None:
        done = asyncio.Event()

        async def receive() -> Any:
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {
            "type": "http", "method": "GET", "path": raw.decode("latin-1"), "raw_path": raw,
            "query_string": query, "headers": list(headers), **scope,
        }  # fmt: skip
        await app(given, receive, send)

    asyncio.run(main())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@contextlib.contextmanager
def served(app: Any, http: str = "h11") -> Generator[str]:
    """The base URL of ``app`` under uvicorn, in a thread."""
    config = uvicorn.Config(app, port=0, http=http, ws="none", log_level="critical", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_for(is_so: Any) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
