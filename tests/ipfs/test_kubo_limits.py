"""Nodes whose answers have no end: what is read of them is limited in time and in memory."""

from __future__ import annotations

import contextlib
import json
import threading
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.errors import KuboError
from carv2.ipfs.kubo import KuboBlockstore, _meter
from carv2.units import Limits
from ipfs.kubo_node import Handler, Node, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FISH = carv2.CID.of_data(b"fish")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ROOT = json.dumps({"Root": {"Cid": {"/": str(FISH)}, "PinErrorMsg": ""}}).encode() + b"\n"


@pytest.fixture
def node() -> Iterator[Node]:
    with running() as node:
        node.blocks = {FISH.multihash: b"fish"}
        yield node


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Endless:
    """Sends ``head``, and then ``more`` again and again, up to ``most`` bytes; ``sent`` counts."""

    def __init__(self, head: bytes, more: bytes, *, most: int = 64 << 20, pause: float = 0) -> None:
        self.head, self.more, self.most, self.pause = head, more, most, pause
        self.sent, self.over = 0, threading.Event()

    def __call__(self, handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(self.head)
        while self.sent < self.most and not self.over.wait(self.pause):
            handler.wfile.write(self.more)
            self.sent += len(self.more)


# -- time -----------------------------------------------------------------------------------------------------

DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a line of a chunk": (CHUNKED + b"5;", b"a"),
    "the body": (CHUNKED, chunk(b"a")),
    "trailers": (CHUNKED + chunk(b"fish") + b"0\r\nX:", b"a"),
    "an error": (b"HTTP/1.1 500 no\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a"),
}


@pytest.mark.parametrize("head_and_more", DRIPS.values(), ids=DRIPS.keys())
@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("block/get", lambda store: store[FISH]),
        ("dag/export", lambda store: list(store.export_car(FISH))),
    ],
)
def test_what_drips_is_not_waited_for_without_end(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    use: Callable[[KuboBlockstore], object],
    head_and_more: tuple[bytes, bytes],
) -> None:
    monkeypatch.setattr(_meter, "_PATIENCE", 2)
    # then the node hangs up, which is another error
    drip = node.instead[call] = Endless(*head_and_more, pause=0.01, most=300 * len(head_and_more[1]))
    try:
        with KuboBlockstore(node.url, timeout=0.25) as store:
            with pytest.raises(KuboError, match="no answer in time"):
                use(store)
            assert node.count(call) == 1
    finally:
        drip.over.set()


FLOODS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "lines of chunks": (CHUNKED, b"1;" + bytes(60_000) + b"\r\na\r\n"),
}


@pytest.mark.parametrize("head_and_more", FLOODS.values(), ids=FLOODS.keys())
def test_what_is_sent_around_an_answer_is_limited(node: Node, head_and_more: tuple[bytes, bytes]) -> None:
    flood = node.instead["dag/export"] = Endless(*head_and_more)
    with KuboBlockstore(node.url) as store:
        with pytest.raises(KuboError, match="far more around its answer"):
            list(store.export_car(FISH))
        assert node.count("dag/export") == 1
    assert flood.sent < flood.most


def test_time_that_a_reader_takes_is_not_the_nodes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(_meter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    car = [bytes(100_000)] * 10
    node.instead["dag/export"] = lambda handler: handler._answer(iter(car))
    node.instead["pin/ls"] = lambda handler: handler._answer(iter([{"Cid": str(FISH), "Type": "direct"}] * 10_000))
    with KuboBlockstore(node.url, timeout=5, slow_timeout=5) as store:
        for items in (store.export_car(FISH), store.pins()):
            for _ in items:
                now[0] += 1_000


def test_a_stream_has_time_again_when_it_went_on_and_a_short_answer_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(_meter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stream, short = _meter.Meter(2), _meter.Meter(2)
    now[0] = 1.5
    assert stream.seconds() == 0.5
    stream.begin_body(2, is_stream=True)
    short.begin_body(2, is_stream=False)
    for _ in range(3):
        now[0] += 7
        stream.gain(4096)
        short.gain(4096)
        assert stream.seconds() == 2
    with pytest.raises(TimeoutError):
        short.seconds()
    for _ in range(4):
        now[0] += 7
        stream.gain(1)
    with pytest.raises(TimeoutError):
        stream.seconds()


# -- memory ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def little_memory(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("more", [b"{}\n", b"\n", b'{"Size": 4}\n', b" "])
@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("version", lambda store: store.version()),
        ("block/stat", lambda store: store.size_of(FISH)),
        ("block/stat", lambda store: FISH in store),
        ("block/stat", lambda store: store.put(FISH, b"fish")),
        ("pin/rm", lambda store: store.pin_rm(FISH)),
    ],
)
def test_a_short_answer_without_end(
    node: Node, call: str, use: Callable[[KuboBlockstore], object], more: bytes
) -> None:
    endless = node.instead[call] = Endless(CHUNKED, chunk(more * 20_000), most=16 << 20)
    said = pytest.raises(KuboError, match=r"not one of Kubo's|more than 1048576 bytes")
    with KuboBlockstore(node.url) as store, little_memory(8 << 20), said:
        use(store)
    assert endless.sent < endless.most


def test_an_import_that_names_roots_without_end(node: Node) -> None:
    endless = node.instead["dag/import"] = Endless(CHUNKED, chunk(ROOT * 500), most=16 << 20)
    with KuboBlockstore(node.url) as store:
        with pytest.raises(KuboError, match="more than 65536 roots"):
            store.import_car([b"x"])
        assert endless.sent < endless.most
        long = ROOT.replace(b'""', b'"%b"' % bytes(b"x" * 500_000))
        endless = node.instead["dag/import"] = Endless(CHUNKED, chunk(long))
        with pytest.raises(KuboError, match="more than 16777216 bytes"):
            store.import_car([b"x"])
        assert endless.sent < endless.most


def test_a_block_in_pieces_of_two_bytes(node: Node) -> None:
    node.instead["block/get"] = Endless(CHUNKED, chunk(b"ab") * 1000)
    too_long = pytest.raises(KuboError, match="more than 200000 bytes")
    with KuboBlockstore(node.url, limits=Limits(section=200_000)) as store, little_memory(2 << 20), too_long:
        _ = store[FISH]


# -- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", ["9" * 4000, "9" * 5000, str(1 << 63), "-5", "true", "4.0", "1e999", '"4"', "null"]
)
def test_what_is_no_size(node: Node, size: str) -> None:
    body = f'{{"Size": {size}}}'.encode()
    stats = f'{{"Stats": {{"BlockCount": {size}, "BlockBytesCount": 4}}}}'.encode()
    node.instead["block/stat"] = lambda handler: handler.plain(200, body)
    node.instead["dag/import"] = lambda handler: handler.plain(200, stats)
    with KuboBlockstore(node.url) as store:
        for use in (lambda: store.size_of(FISH), lambda: FISH in store, lambda: store.import_car([b"x"])):
            with pytest.raises(KuboError, match="not one of Kubo's"):
                use()


def test_the_largest_size_that_go_has(node: Node) -> None:
    node.instead["block/stat"] = lambda handler: handler._answer(iter([{"Size": (1 << 63) - 1}]))
    with KuboBlockstore(node.url) as store:
        assert store.size_of(FISH) == (1 << 63) - 1


@pytest.mark.parametrize("pins", [5, True, str(FISH), {str(FISH): 1}])
def test_what_is_no_list_of_pins(node: Node, pins: object) -> None:
    node.instead["pin/add"] = lambda handler: handler._answer(iter([{"Pins": pins}]))
    with KuboBlockstore(node.url) as store, pytest.raises(KuboError, match="not one of Kubo's"):
        store.pin_add(FISH)
