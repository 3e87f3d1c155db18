"""The gateway under real servers: answers that are broken off, clients that vanish or stall, stores that hang."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import logging
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import carv2
from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError, GatewayTruncatedError
from carv2.ipfs.gateway import GatewayLimits, create_gateway
from carv2.ipfs.gateway._exchange import ClientGoneError, Exchange
from carv2.unixfs import verify_stream
from helpers.unixfs import Dag
from ipfs.gateway_server import SERVERS, call, served, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAF, LEAVES = 256 << 10, 40
GONE = 30


class Store(dict[CID, bytes]):
    """A file of ten megabytes in different blocks; one of them is ``gone``, and at one it can be made to wait."""

    def __init__(self, leaves: int = LEAVES) -> None:
        dag = Dag()
        parts = [dag.raw(bytes([at]) * LEAF) for at in range(leaves)]
        self.root = CID(dag.file(parts).cid)
        self.leaves = [CID(part.cid) for part in parts]
        super().__init__({CID(cid): data for cid, data in dag.blocks.items()})
        self.read: list[CID] = []
        self.barrier = threading.Event()
        self.barrier.set()
        self.before: CID | None = None

    def __getitem__(self, cid: CID) -> bytes:
        self.read.append(cid)
        if cid == self.before:
            self.barrier.wait(20)
        return super().__getitem__(cid)


@pytest.fixture(params=SERVERS)
def http_server(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def place_of(base: str) -> tuple[str, int]:
    host, _, port = base.removeprefix("http://").partition(":")
    return host, int(port)


def url_of(base: str, store: Store, more: str = "") -> str:
    return f"{base}/ipfs/{store.root}?format=car{more}"


def taken_until_broken_off(answer: httpx.Response) -> bytes:
    """What came of a body before the client saw that it will not be whole."""
    taken: list[bytes] = []
    with pytest.raises(httpx.RemoteProtocolError):
        taken.extend(answer.iter_raw())
    return b"".join(taken)


def test_a_large_archive_arrives_whole(http_server: str) -> None:
    store = Store()
    app = create_gateway(store)
    with served(app, http_server) as base, httpx.Client() as client:
        with client.stream("GET", url_of(base, store)) as answer:
            assert answer.status_code == 200
            assert answer.headers["transfer-encoding"] == "chunked"
            found = list(verify_stream(answer.iter_bytes(), store.root, dups=False))
        assert [block.cid for block in found] == [store.root, *store.leaves]
        assert client.head(url_of(base, store)).status_code == 200
        assert client.get(f"{base}/ipfs/{store.leaves[3]}?format=raw").content == bytes([3]) * LEAF
        assert client.get(f"{base}/ipfs/{store.root}").status_code == 400
    assert app.counters()["answered"] == 3


@pytest.mark.parametrize("fault", [None, OSError("/secret/place failed"), RuntimeError("/secret/place")])
def test_an_answer_that_cannot_be_finished_is_broken_off_so_that_clients_notice(
    http_server: str, fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Store):
        def __getitem__(self, cid: CID) -> bytes:
            if cid == self.leaves[GONE]:
                raise fault or BlockNotFoundError(cid)
            return super().__getitem__(cid)

    store = Faulty()
    app = create_gateway(store)
    with served(app, http_server) as base, httpx.Client() as client:
        with client.stream("GET", url_of(base, store)) as answer:
            assert answer.status_code == 200
            taken = taken_until_broken_off(answer)
        assert client.get(f"{base}/ipfs/{store.leaves[0]}?format=raw").status_code == 200  # the server goes on
    assert b"secret" not in taken
    assert ("secret" in caplog.text) == (fault is not None)
    given: list[CID] = []
    verified = verify_stream([taken], store.root, dups=False)
    with pytest.raises(GatewayTruncatedError) as error:
        given.extend(block.cid for block in verified)
    assert given == [store.root, *store.leaves[:GONE]]  # all that was there
    assert (str(store.leaves[GONE]) in error.value.reason) == (fault is None)
    assert app.counters()["broken_off"] == 1


def test_clients_of_http_1_0_notice_by_the_last_line(http_server: str) -> None:
    store = Store()
    del store[store.leaves[GONE]]
    app = create_gateway(store)
    with served(app, http_server) as base:
        host, port = place_of(base)
        with socket.create_connection((host, port)) as plain:
            plain.sendall(f"GET /ipfs/{store.root}?format=car HTTP/1.0\r\n\r\n".encode())
            taken = b"".join(iter(lambda: plain.recv(1 << 16), b""))
    head, _, body = taken.partition(b"\r\n\r\n")
    assert b"200" in head.split(b"\r\n")[0]
    if b"chunked" not in head.lower():
        with pytest.raises(GatewayTruncatedError):
            list(carv2.iter_blocks([body]))


def test_a_client_that_vanishes_stops_the_reading(http_server: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(80)
    store.before = store.leaves[10]
    app = create_gateway(store)
    with served(app, http_server) as base:
        for gone in range(1, 4):
            store.read.clear()
            store.barrier.clear()
            with httpx.Client() as client, client.stream("GET", url_of(base, store)) as answer:
                wait_for(lambda: store.read[-1] == store.before)  # it reads ahead of what it sends
                assert next(answer.iter_raw(100))
            wait_for(lambda gone=gone: app.counters()["clients_gone"] == gone)
            store.barrier.set()
            wait_for(lambda: app.counters()["under_way"] == 0)
            assert len(store.read) < 12 + 8
    counted = app.counters()
    assert (counted["clients_gone"], counted["broken_off"], counted["answered"]) == (3, 0, 0)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("steps", range(8))
def test_a_client_that_vanishes_at_any_step_of_the_event_loop_stops_the_sending(steps: int) -> None:
    """asyncio.wait_for may swallow a cancellation that comes when its work is done: then all 200 would be sent.

    How many are sent while the news travels through the event loop depends on how fast the reading thread is.
    """
    store = Store(200)
    app = create_gateway(store)
    sent: list[Any] = []

    async def main() -> None:
        gone = asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 3:
                gone.set()
                for _ in range(steps):
                    await asyncio.sleep(0)

        scope = {"type": "http", "method": "GET", "path": f"/ipfs/{store.root}", "query_string": b"format=car"}
        await app(scope, receive, send)

    asyncio.run(main())
    app.close()
    assert 3 <= len(sent) < 100
    assert app.counters()["clients_gone"] == 1


def test_a_client_that_vanishes_while_a_store_hangs_is_not_waited_for(http_server: str) -> None:
    store = Store()
    store.before = store.root
    store.barrier.clear()
    app = create_gateway(store, limits=GatewayLimits(max_responses=1))
    with served(app, http_server) as base:
        with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.2) as client:
            client.get(url_of(base, store))
        wait_for(lambda: app.counters()["clients_gone"] == 1)
        with httpx.Client() as client:  # its thread is still at work, and keeps its place
            busy = client.get(url_of(base, store))
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            store.barrier.set()
            wait_for(lambda: app.counters()["under_way"] == 0)
            assert client.get(url_of(base, store)).status_code == 200


def test_a_client_that_takes_nothing_is_let_go_of() -> None:
    store = Store(100)
    app = create_gateway(store, limits=GatewayLimits(send_timeout=0.2))
    with served(app) as base:
        host, port = place_of(base)
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect((host, port))
            stalled.sendall(f"GET /ipfs/{store.root}?format=car HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_for(lambda: app.counters()["clients_gone"] == 1)
            assert len(store.read) < 100
    assert app.counters()["under_way"] == 0


@pytest.mark.parametrize("form", ["raw", "car"])
def test_an_answer_of_one_block_has_its_place_until_the_client_took_it(http_server: str, form: str) -> None:
    data = bytes(8 << 20)
    cid = CID.of_data(data)
    app = create_gateway({cid: data}, limits=GatewayLimits(send_timeout=0.5, max_responses=1))
    with served(app, http_server) as base, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(place_of(base))
        stalled.sendall(f"GET /ipfs/{cid}?format={form} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for(lambda: app.counters()["clients_gone"] == 1)
        assert app.counters()["answered"] == 0
        wait_for(lambda: app.counters()["under_way"] == 0)
        assert httpx.get(f"{base}/ipfs/{cid}?format={form}").content.endswith(data)


@contextlib.contextmanager
def stalled(base: str, cid: CID, form: str) -> Iterator[socket.socket]:
    """A client that asked, and reads nothing."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(place_of(base))
        peer.sendall(f"GET /ipfs/{cid}?format={form} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield peer


def test_one_client_has_a_quarter_of_the_places() -> None:
    store = Store(100)
    app = create_gateway(store, limits=GatewayLimits(max_responses=8))
    with served(app) as base, stalled(base, store.root, "car"), stalled(base, store.root, "car") as second:
        wait_for(lambda: app.counters()["under_way"] == 2)
        refused = httpx.get(f"{base}/ipfs/{store.leaves[0]}?format=raw")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        raw = f"/ipfs/{store.leaves[0]}".encode()
        assert call(app, raw, b"format=raw", client=("192.0.2.7", 1))[0] == 200  # another has room
        second.close()
        wait_for(lambda: app.counters()["under_way"] == 1)
        assert httpx.get(f"{base}/ipfs/{store.leaves[0]}?format=raw").status_code == 200


@pytest.mark.parametrize("form", ["raw", "car"])
def test_what_all_answers_hold_has_a_limit(form: str) -> None:
    data = bytes(8 << 20)
    cid, small = CID.of_data(data), CID.of_data(b"fish")
    limits = GatewayLimits(max_pending_bytes=11 << 20, max_per_client=64)
    app = create_gateway({cid: data, small: b"fish"}, limits=limits)
    with served(app) as base, stalled(base, cid, form) as first:
        assert first.recv(12) == b"HTTP/1.1 200"
        wait_for(lambda: app._places.bytes >= len(data))
        refused = httpx.get(f"{base}/ipfs/{cid}?format={form}")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{base}/ipfs/{small}?format=raw").content == b"fish"
        first.close()
        wait_for(lambda: app.counters()["under_way"] == 0)
        assert httpx.get(f"{base}/ipfs/{cid}?format={form}").status_code == 200


def test_an_answer_that_would_hold_too_much_is_broken_off() -> None:
    dag = Dag()
    sizes = 3 << 20, 6 << 20  # what is begun with, and what is too much, whatever was taken until then
    root = CID(dag.file([dag.raw(bytes([at]) * size) for at, size in enumerate(sizes)]).cid)
    app = create_gateway(
        {CID(cid): data for cid, data in dag.blocks.items()}, limits=GatewayLimits(max_pending_bytes=5 << 20)
    )
    with served(app) as base, httpx.stream("GET", f"{base}/ipfs/{root}?format=car") as answer:
        assert b"too much is under way" in taken_until_broken_off(answer)
    assert app.counters()["under_way"] == 0


def taken_slowly(rate: float, timeout: float, *, each: float = 0.02) -> int:
    """Bytes of 20 KiB that a client takes, a KiB each 0.02 seconds, before it is let go of."""
    sent: list[int] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        await asyncio.sleep(each)
        sent.append(len(message["body"]))

    async def main() -> None:
        exchange = Exchange({"method": "GET"}, receive, send, timeout, rate)

        async def answer() -> None:
            for _ in range(20):
                await exchange.body(bytes(1024), more=True)
            await exchange.body(b"")

        await exchange.run(answer())

    with contextlib.suppress(ClientGoneError):
        asyncio.run(main())
    return sum(sent)


def test_a_client_that_takes_a_little_now_and_then_is_let_go_of() -> None:
    assert 0 < taken_slowly(rate=1 << 30, timeout=0.1) < 20 << 10  # each piece was taken in time, all too slowly
    assert taken_slowly(rate=1, timeout=0.1) == 20 << 10  # as fast as it has to be
    assert taken_slowly(rate=1 << 30, timeout=60) == 20 << 10  # not waited for long enough to tell
    assert taken_slowly(rate=1, timeout=0.1, each=30) == 0  # one piece takes too long


def test_a_store_that_hangs_is_waited_for_so_long_and_no_longer() -> None:
    for at, expected in ((0, 504), (GONE, 200)):
        store = Store()
        store.before = ([store.root, *store.leaves])[at]
        store.barrier.clear()
        app = create_gateway(store, limits=GatewayLimits(read_timeout=0.3))
        with served(app) as base, httpx.Client() as client:
            with client.stream("GET", url_of(base, store)) as answer:
                assert answer.status_code == expected
                if expected == 200:
                    taken_until_broken_off(answer)
            store.barrier.set()
            wait_for(lambda app=app: app.counters()["under_way"] == 0)


def test_an_answer_without_end_is_broken_off_at_the_limit() -> None:
    dag = Dag()
    made = dag.raw(bytes(1000))
    for _ in range(40):  # 2**40 ways to one block
        made = dag.directory([(b"a", made), (b"b", made)])
    store = {CID(cid): data for cid, data in dag.blocks.items()}
    app = create_gateway(store, limits=GatewayLimits(max_bytes=3 << 20))
    with served(app) as base, httpx.Client() as client:
        with client.stream("GET", f"{base}/ipfs/{CID(made.cid)}?format=car&car-dups=y") as answer:
            size = len(taken_until_broken_off(answer))
        assert 2 << 20 < size <= (3 << 20) + 512
        once = client.get(f"{base}/ipfs/{CID(made.cid)}?format=car&car-dups=n")
        assert len(list(carv2.iter_blocks([once.content]))) == 41


def test_many_clients_at_once_get_what_they_asked_for(http_server: str) -> None:
    store = Store(12)
    app = create_gateway(store, limits=GatewayLimits(max_responses=8, max_per_client=8))
    failed: list[Any] = []

    def work() -> None:
        try:
            with httpx.Client(timeout=30) as client:
                for _ in range(3):
                    answer = client.get(url_of(base, store, "&car-dups=y"))
                    assert len(list(verify_stream([answer.content], store.root))) == 13
        except BaseException as error:  # noqa: BLE001  (raised below)
            failed.append(error)

    with served(app, http_server) as base:
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed
    assert app.counters()["answered"] == 18


def test_memory_does_not_grow_with_the_answer() -> None:
    """Blocks are made when they are asked for, so that what is held is the gateway's."""

    class Made(dict[CID, bytes]):
        def __getitem__(self, cid: CID) -> bytes:
            return super().__getitem__(cid) if cid in self else bytes([cid.digest[0]]) * LEAF

    def peak(leaves: int) -> int:
        dag = Dag()
        part = dag.raw(bytes(LEAF))
        root = CID(dag.file([part] * leaves).cid)
        app = create_gateway(Made({root: dag.blocks[bytes(root)]}))
        with served(app) as base, httpx.Client() as client:
            tracemalloc.start()
            try:
                with client.stream("GET", f"{base}/ipfs/{root}?format=car&car-dups=y") as answer:
                    size = sum(map(len, answer.iter_raw(1 << 16)))
                    assert size > leaves * LEAF
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    few, many = peak(40), peak(240)
    assert many < few + (4 << 20)


def test_a_kept_connection_serves_one_request_after_the_other(http_server: str) -> None:
    store = Store(2)
    app = create_gateway(store)
    with served(app, http_server) as base:
        host, port = place_of(base)
        connection = http.client.HTTPConnection(host, port)
        for method, path in itertools.product(("GET", "HEAD"), (f"/ipfs/{store.root}?format=car", "/ipfs/x", "/")):
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            assert bool(body) == (method == "GET")
        connection.close()


def test_the_server_shuts_down_with_answers_under_way() -> None:
    store = Store(200)
    app = create_gateway(store)
    started = time.monotonic()
    with served(app) as base, httpx.Client() as client, client.stream("GET", url_of(base, store)) as answer:
        assert next(answer.iter_raw(100))
    assert time.monotonic() - started < 15
    assert call(app, f"/ipfs/{store.root}".encode(), b"format=raw")[0] == 503


def test_an_archive_on_disk_comes_back_byte_for_byte(tmp_path: Path, http_server: str) -> None:
    store = Store(5)
    path = tmp_path / "sea.car"
    with carv2.create(path, roots=[store.root], version=1) as car:
        for cid in [store.root, *store.leaves]:
            car.write(cid, store[cid])
    with ReadOnlyBlockstore(path) as blocks:
        app = create_gateway(blocks)
        with served(app, http_server) as base, httpx.Client() as client:
            assert client.get(url_of(base, store)).content == path.read_bytes()


def test_a_body_that_nobody_asked_for_is_dropped() -> None:
    store = Store(2)
    app = create_gateway(store)
    with served(app) as base:
        host, port = place_of(base)
        with socket.create_connection((host, port), timeout=20) as peer:
            head = f"GET /ipfs/{store.root}?format=raw HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
            peer.sendall(head.encode() + bytes(100_000))
            assert peer.recv(12) == b"HTTP/1.1 200"
