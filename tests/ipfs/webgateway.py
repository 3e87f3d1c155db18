"""A trustless gateway on loopback that is as good or as bad as a test wants, over the model of the read tests."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from carv2.cid import CID
from unixfs_read.gateway import Gateway, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CAR, RAW = "application/vnd.ipld.car", "application/vnd.ipld.raw"


@dataclass
class Answer:
    """What is sent, and how."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    """Bytes of the body after which the connection ends."""
    pause: float = 0.0
    """Seconds between bytes, of which each goes alone."""
    endless: bytes = b""
    """Sent again and again behind the body."""
    hang: bool = False
    """Send nothing behind the body, and do not end."""
    sized: bool = False
    """Say how long the body is; else it is chunked."""


def plain(answer: Answer) -> Answer:
    return answer


def cut(size: int) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, cut=size)


def status(code: int, **headers: str) -> Callable[[Answer], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Answer(code, {"Content-Type": "text/plain", **named}, b"no\x1b[31m luck\nhere")


def body(change: Callable[[bytes], bytes]) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, body=change(answer.body))


class WebGateway:
    """Serves ``blocks``; ``faults`` change one answer after the other, ``always`` each of them."""

    def __init__(self, blocks: Mapping[bytes, bytes], *, cars: bool = True, form: str | None = None) -> None:
        self.model = Gateway(blocks)
        self.cars, self.form = cars, form
        self.faults: list[Callable[[Answer], Answer]] = []
        self.always: Callable[[Answer], Answer] = plain
        self.asked: list[str] = []
        self.accepts: list[str] = []
        self.connections = 0
        self.hangs_up = False
        """Close connections behind answers without saying so."""
        self.sent = 0
        self._over = threading.Event()

    def __enter__(self) -> WebGateway:  # noqa: PYI034  (typing.Self needs Python 3.11)
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                gateway.connections += 1
                super().setup()

            def do_GET(self) -> None:
                gateway.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        self.accepts.append(request.headers.get("Accept", ""))
        try:
            found = self._honest(request.path)
        except (KeyError, ValueError):
            found = status(400)(Answer())
        found = self.always(found)
        if self.faults:
            found = self.faults.pop(0)(found)
        self._send(request, found)

    def _honest(self, target: str) -> Answer:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        _, _, text, *names = parts.path.split("/")
        root = bytes(CID.of(text))
        if query["format"] == "raw":
            data = self.model.blocks.get(root)
            return (
                Answer(200, {"Content-Type": RAW}, data, sized=True) if data is not None else status(404)(Answer())
            )
        if not self.cars:
            return status(406)(Answer())
        span = None
        if "entity-bytes" in query:
            first, _, last = query["entity-bytes"].partition(":")
            span = int(first), None if last == "*" else int(last)
        dups = query["car-dups"] == "y"
        path = "/".join(map(unquote, names))
        try:
            blocks = self.model.answer(root, path, scope=query["dag-scope"], byte_range=span, dups=dups)
        except KeyError:
            return status(404)(Answer())
        form = f"; version=1; order=dfs; dups={query['car-dups']}" if self.form is None else self.form
        return Answer(200, {"Content-Type": CAR + form}, stream(blocks, [root]))

    def _send(self, request: BaseHTTPRequestHandler, answer: Answer) -> None:
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        chunked = not answer.sized
        if chunked:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(len(answer.body)))
        request.end_headers()
        whole = answer.cut is None or answer.cut >= len(answer.body)
        size = 1 if answer.pause else 16 << 10
        sent = answer.body if whole else answer.body[: answer.cut]
        for at in range(0, len(sent), size):
            self._write(request, sent[at : at + size], chunked=chunked)
            time.sleep(answer.pause)
        while answer.endless and not self._over.is_set():
            self._write(request, answer.endless, chunked=chunked)
            time.sleep(answer.pause)
        if answer.hang:
            self._over.wait(20)
        if not whole or answer.hang or self.hangs_up:
            request.close_connection = True
        if not whole or answer.hang:
            return
        if chunked:
            request.wfile.write(b"0\r\n\r\n")

    def _write(self, request: BaseHTTPRequestHandler, data: bytes, *, chunked: bool) -> None:
        request.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        self.sent += len(data)
