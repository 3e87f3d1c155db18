"""Web servers that were allowed and do their worst: each range comes to an end, in time and in memory."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from carv2.filestore import Status
from carv2.filestore._fault import Fault
from carv2.filestore.urls import UrlReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 206 Partial Content\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_MUCH, TOO_SLOW = "more than it was asked for", "too slow|timed out"
LONG = 5.0  # seconds that no test waits for unless it fails


def flood(front: bytes, again: bytes) -> Callable[[socket.socket], None]:
    """Sends ``front`` and then ``again`` without end, as fast as that goes."""

    def serve(client: socket.socket) -> None:
        client.sendall(front)
        while True:
            client.sendall(again * (1 + 4096 // len(again)))

    return serve


def drip(front: bytes, again: bytes) -> Callable[[socket.socket], None]:
    """Sends ``again`` without end, but slowly: no read waits for long."""

    def serve(client: socket.socket) -> None:
        client.sendall(front)
        while True:
            client.sendall(again)
            time.sleep(0.005)

    return serve


SERVERS = {
    "flood of interim answers": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TOO_MUCH),
    "drip of interim answers": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), TOO_SLOW),
    "long headers": (flood(OK, b"X: " + b"x" * 60_000 + b"\r\n"), TOO_MUCH),
    "drip of a status line": (drip(b"", b"H"), TOO_SLOW),
    "drip of a header": (drip(OK + b"X: ", b"x"), TOO_SLOW),
    "drip of a body": (drip(OK + b"\r\n", b"x"), TOO_SLOW),
    "drip of a chunk's size": (drip(CHUNKED + b"1;", b"x"), TOO_SLOW),
    "flood of trailers": (flood(CHUNKED + b"1\r\nx\r\n0\r\n", b"x: y\r\n"), TOO_MUCH),
    "drip of trailers": (drip(CHUNKED + b"1\r\nx\r\n0\r\n", b"x: y\r\n"), TOO_SLOW),
    "redirects with endless bodies": (
        flood(b"HTTP/1.1 302 Found\r\nLocation: /y\r\n\r\n", b"x"),
        "the server answered 302 10 times",
    ),
    "silence": (lambda client: client.recv(1) and None, TOO_SLOW),
}


@contextlib.contextmanager
def running(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that treats each client so, until that leaves."""

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(client,)))
                threads[-1].start()

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(LONG)
            client.recv(65536)
            serve(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", SERVERS)
def test_every_range_comes_to_an_end(name: str) -> None:
    serve, expected = SERVERS[name]
    with running(serve) as here:
        start = time.monotonic()
        timeout = 0.03 if expected == TOO_SLOW else LONG / 2  # on a busy machine, even a flood takes its time
        with pytest.raises(Fault, match=expected) as caught:
            UrlReader([here], timeout=timeout).read(f"{here}/a", 0, 1000)
        assert caught.value.status is Status.FILE_ERROR
        assert time.monotonic() - start < LONG


def test_one_interim_answer_is_passed_over() -> None:
    def serve(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + b"2;x=y\r\nfi\r\n2\r\nsh\r\n0\r\nx: y\r\n\r\n")

    with running(serve) as here:
        assert UrlReader([here]).read(f"{here}/a", 0, 4) == b"fish"
