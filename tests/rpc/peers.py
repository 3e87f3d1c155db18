"""Servers that say what a test tells them to, for clients that must not believe everything."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from websockets.sync.server import ServerConnection


def read_request(connection: socket.socket) -> bytes:
    """One request with its body, as far as it comes."""
    found = b""
    while b"\r\n\r\n" not in found:
        chunk = connection.recv(65536)
        if not chunk:
            return found
        found += chunk
    head, _, body = found.partition(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < size and (chunk := connection.recv(65536)):
        body += chunk
    return head + b"\r\n\r\n" + body


def response(body: bytes, *, status: str = "200 OK", headers: str = "", size: int | None = None) -> bytes:
    """An HTTP response; ``size`` is what it claims, if that is not so."""
    length = len(body) if size is None else size
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n".encode() + body


@contextlib.contextmanager
def http_server(
    answer: Callable[[socket.socket], object], *, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request and does ``answer`` with the connection; its URL and what it was sent."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection if tls is None else tls.wrap_socket(connection, server_side=True) as opened:
                    requests.append(read_request(opened))
                    answer(opened)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.getsockname()[1]}", requests
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    assert not thread.is_alive()


@contextlib.contextmanager
def websocket_server(handle: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """A WebSocket server with that handler; its URL."""
    from websockets.sync.server import serve

    with serve(handle, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(30)
    assert not thread.is_alive()
