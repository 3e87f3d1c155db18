"""A web server on this machine that is as good or as bad as a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer:
    """Serves :attr:`files`, by path; counts requests."""

    def __init__(self, *, ranges: bool = True, sizes: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges, self.sizes, self.tags = ranges, sizes, True
        self.says_ranges = ""  # what Accept-Ranges says, if anything
        self.status = 0  # sent instead of an answer
        self.stop_after = -1  # bytes of a body after which the connection ends
        self.stuck = threading.Event()  # clear: answers wait
        self.stuck.set()
        self.requests: list[tuple[str, str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0
        self.connections: list[socket.socket] = []

    def __enter__(self) -> WebServer:  # noqa: PYI034  (typing.Self needs Python 3.11)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                server.connections.append(self.connection)

            def do_HEAD(self) -> None:
                server.answer(self, body=False)

            def do_GET(self) -> None:
                server.answer(self, body=True)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stuck.set()
        self._server.shutdown()
        for connection in self.connections:  # clients keep theirs for the next request
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        self.requests.append((request.command, request.path, request.headers.get("Range", "")))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.stuck.wait(30)
        data = self.files.get(request.path)
        if self.status or data is None:
            request.send_response(self.status or 404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start, end, partial = self._range(request, len(data))
        if partial and start >= len(data):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if partial else 200)
        if partial:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self._describe(request, data, end - start)
        request.end_headers()
        if body:
            self._send(request, data[start:end])

    def _range(self, request: BaseHTTPRequestHandler, size: int) -> tuple[int, int, bool]:
        found = re.match(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not found or not self.ranges:
            return 0, size, False
        return int(found[1]), min(size, int(found[2] or size) + 1), True

    def _describe(self, request: BaseHTTPRequestHandler, data: bytes, length: int) -> None:
        if self.sizes:
            request.send_header("Content-Length", str(length))
        else:
            request.send_header("Connection", "close")
        if self.says_ranges:
            request.send_header("Accept-Ranges", self.says_ranges)
        if self.tags:
            request.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()[:16]}"')

    def _send(self, request: BaseHTTPRequestHandler, part: bytes) -> None:
        if 0 <= self.stop_after < len(part):
            part, request.close_connection = part[: self.stop_after], True
        try:
            request.wfile.write(part)
            self.sent += len(part)
        except OSError:  # the client has gone
            request.close_connection = True
