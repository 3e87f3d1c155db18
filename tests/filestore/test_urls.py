"""References to URLs, against a server of our own that behaves and one that does not."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from carv2.errors import CarError, CorruptReferenceError
from carv2.filestore import FileStore, Status, check_references, urls
from carv2.filestore._fault import Fault
from carv2.filestore.urls import UrlReader
from filestore.reading import archive_with, key_of, record_of
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD = bytes(range(256)) * 4
LEAF, OFFSET = PAYLOAD[100:130], 100
CID_BYTES = archives.cid_v1(LEAF)


class Handler(BaseHTTPRequestHandler):
    """Each path is another way to answer."""

    asked: list[tuple[str, str | None]]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        first, last = map(int, (wanted or "bytes=0-0").removeprefix("bytes=").split("-"))
        part, kind = PAYLOAD[first : last + 1], self.path.strip("/")
        if kind == "ranges":
            self.answer(206, part, ("Content-Range", f"bytes {first}-{last}/{len(PAYLOAD)}"))
        elif kind == "whole":
            self.answer(200, PAYLOAD)
        elif kind == "changed":
            self.answer(206, part[::-1])
        elif kind == "short":
            self.answer(206, part[:-1])
        elif kind == "short-whole":
            self.answer(200, PAYLOAD[:50])
        elif kind == "too-much":
            self.answer(206, part + bytes(10_000))
        elif kind == "other-range":
            self.answer(206, part, ("Content-Range", f"bytes {first + 1}-{last + 1}/{len(PAYLOAD)}"))
        elif kind == "cut":
            self.answer(206, part[:10], ("Content-Length", "30"))
        elif kind.isdigit():
            self.answer(int(kind), b"")
        elif kind == "garbage":
            self.wfile.write(b"\0" * 100)
        elif kind.startswith("to-"):
            self.answer(302, b"", ("Location", self.targets[kind]))
        elif kind == "slow":
            self.send_response(206)
            self.end_headers()
            over.wait(10)

    targets: dict[str, str]

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


over = threading.Event()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.asked = []
    over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        here = f"http://127.0.0.1:{running.server_port}"
        Handler.targets = {
            "to-ranges": f"{here}/ranges",
            "to-itself": f"{here}/to-itself",
            "to-another-host": f"http://localhost:{running.server_port}/ranges",
            "to-a-file": "file:///etc/hostname",
            "to-ftp": "ftp://127.0.0.1/x",
            "to-relative": "/ranges",
        }
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        over.set()
        running.shutdown()
        thread.join()


def archive_for(url: str, offset: int = OFFSET, size: int = len(LEAF)) -> bytes:
    return archive_with([CID_BYTES], [(key_of(CID_BYTES), record_of(url.encode(), offset, size))])


@pytest.mark.parametrize("kind", ["ranges", "whole", "too-much", "to-ranges", "to-relative"])
def test_a_range_of_a_url_is_a_leaf(server: str, kind: str) -> None:
    with FileStore(archive_for(f"{server}/{kind}"), allow=[], allow_urls=[server]) as store:
        Handler.asked.clear()
        assert store[CID_BYTES] == LEAF
        assert Handler.asked[0] == (f"/{kind}", "bytes=100-129")
        assert Handler.asked[-1][1] == "bytes=100-129"
        assert store.status_of(CID_BYTES).status is Status.OK
        assert store.status_of(CID_BYTES, hashes=False).status is Status.OK
        assert Handler.asked[-1][1] == "bytes=129-129"


@pytest.mark.parametrize(
    ("kind", "status", "detail"),
    [
        ("changed", Status.FILE_CHANGED, "other bytes are there: their hash differs"),
        ("short", Status.FILE_CHANGED, "the server has 129 bytes, the reference needs 130"),
        ("short-whole", Status.FILE_CHANGED, "the server has 50 bytes, the reference needs 130"),
        ("416", Status.FILE_CHANGED, "the server has no such range"),
        ("404", Status.FILE_NOT_FOUND, "the server answered 404"),
        ("410", Status.FILE_NOT_FOUND, "the server answered 410"),
        ("403", Status.FILE_ERROR, "the server answered 403"),
        ("500", Status.FILE_ERROR, "the server answered 500"),
        ("204", Status.FILE_ERROR, "the server answered 204"),
        ("other-range", Status.FILE_ERROR, "the server answered with the range from 101 on"),
        ("cut", Status.FILE_CHANGED, "the server has 110 bytes, the reference needs 130"),
        ("garbage", Status.FILE_ERROR, "BadStatusLine"),
        ("to-itself", Status.FILE_ERROR, "the server answered 302 10 times"),
        ("to-another-host", Status.FILE_ERROR, "a redirect to a server that may not be asked"),
        ("to-a-file", Status.FILE_ERROR, "a redirect to a server that may not be asked"),
        ("to-ftp", Status.FILE_ERROR, "a redirect to a server that may not be asked"),
    ],
)
def test_what_a_server_does_wrong_has_a_status(server: str, kind: str, status: Status, detail: str) -> None:
    with FileStore(archive_for(f"{server}/{kind}"), allow=[], allow_urls=[server]) as store:
        found = store.status_of(CID_BYTES)
        assert found.status is status
        assert found.detail.startswith(detail)
        with pytest.raises(CorruptReferenceError) as caught:
            _ = store[CID_BYTES]
        assert caught.value.status is status
        assert [each.status for each in check_references(store)] == [status]


def test_urls_are_off_unless_their_server_is_named(server: str) -> None:
    Handler.asked.clear()
    elsewhere = [[], ["https://example.org"], [server.replace("http:", "https:")], ["http://127.0.0.1:1"]]
    for allow_urls in elsewhere:
        with FileStore(archive_for(f"{server}/ranges"), allow=["/"], allow_urls=allow_urls) as store:
            status = store.status_of(CID_BYTES)
            assert (status.status, status.detail) == (
                Status.FILE_ERROR,
                "not allowed: it is of none of the servers that may be asked",
            )
    assert not Handler.asked


def test_a_redirect_is_followed_to_another_server_that_is_named(server: str) -> None:
    allowed = [server, server.replace("127.0.0.1", "localhost")]
    with FileStore(archive_for(f"{server}/to-another-host"), allow=[], allow_urls=allowed) as store:
        assert store[CID_BYTES] == LEAF


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://example.org/x", True),
        ("http://EXAMPLE.org:80/x", True),
        ("http://example.org", True),
        ("https://example.org/x", False),
        ("http://example.org:8080/x", False),
        ("http://example.org.evil.example/x", False),
        ("http://example.org@evil.example/x", False),
        ("http://user@example.org/x", False),
        ("http://evil.example\\@example.org/x", False),
        ("http://exam\tple.org/x", False),
        ("http://example.org/x y", False),
        ("http://example.org/\r\nHost: evil.example", False),
        ("http://example.org:99999/x", False),
        ("http://example.org:x/x", False),
        ("http://[::1/x", False),
        ("http:///x", False),
        ("http://ex\xe4mple.org/x", False),
        ("file://example.org/x", False),
    ],
)
def test_a_url_is_of_an_allowed_server_beyond_doubt(url: str, allowed: bool) -> None:
    assert UrlReader(["http://example.org"]).is_allowed(url) is allowed


@pytest.mark.parametrize(
    "url",
    ["example.org", "ftp://example.org", "http://", "http://example.org/folder", "http://a@b", "http://b?x", ""],
)
def test_only_a_scheme_and_host_can_be_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="is no scheme and host"):
        UrlReader([url])


def test_a_server_that_says_nothing_is_given_up(server: str) -> None:
    reader = UrlReader([server], timeout=0.05)
    with pytest.raises(Fault, match="timed out") as caught:
        reader.read(f"{server}/slow", 0, 10)
    assert caught.value.status is Status.FILE_ERROR


def test_a_server_that_drips_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "_PATIENCE", -1)
    with pytest.raises(Fault, match="too slow"):
        UrlReader([server]).read(f"{server}/ranges", 0, 10)


def test_a_server_that_is_not_there_is_an_error(server: str) -> None:
    port = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    nobody = f"http://127.0.0.1:{port.server_port}"
    port.server_close()
    with FileStore(archive_for(f"{nobody}/x"), allow=[], allow_urls=[nobody, server]) as store:
        assert store.status_of(CID_BYTES).status is Status.FILE_ERROR


def test_a_far_offset_is_not_skipped_to(server: str) -> None:
    archive = archive_for(f"{server}/whole", offset=1 << 40)
    with FileStore(archive, allow=[], allow_urls=[server]) as store:
        assert store.status_of(CID_BYTES).detail.startswith("the server knows no ranges, and 1099511627776 bytes")


def test_a_leaf_of_no_bytes_asks_nobody(server: str) -> None:
    empty = archives.cid_v1(b"")
    archive = archive_with([empty], [(key_of(empty), record_of(f"{server}/404".encode(), 5, 0))])
    Handler.asked.clear()
    with FileStore(archive, allow=[], allow_urls=[server]) as store:
        assert store[empty] == b""
    assert not Handler.asked


def test_neighbouring_ranges_are_one_request(server: str) -> None:
    pieces = [PAYLOAD[at : at + 30] for at in range(0, 300, 30)]
    url = f"{server}/ranges".encode()
    leaves = [(archives.cid_v1(piece), 30 * at) for at, piece in enumerate(pieces)]
    archive = archive_with(
        [cid for cid, _ in leaves], [(key_of(cid), record_of(url, at, 30)) for cid, at in leaves]
    )
    Handler.asked.clear()
    with FileStore(archive, allow=[], allow_urls=[server]) as store:
        assert [block.data for block in store.get_many(cid for cid, _ in leaves)] == pieces
    assert Handler.asked == [("/ranges", "bytes=0-299")]


def test_a_size_above_the_limit_asks_nobody(server: str) -> None:
    Handler.asked.clear()
    archive = archive_for(f"{server}/ranges", size=1 << 40)
    with (
        FileStore(archive, allow=[], allow_urls=[server]) as store,
        pytest.raises(CarError, match="limit 8388608"),
    ):
        _ = store[CID_BYTES]
    assert not Handler.asked
