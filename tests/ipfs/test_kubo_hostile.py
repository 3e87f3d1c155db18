"""Nodes that lie, stall, break off or are none; and what goes over the wire."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.dag import export
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CarError,
    ClosedError,
    IncompleteError,
    IntegrityError,
    KuboError,
    PinError,
    TruncatedError,
)
from carv2.ipfs.kubo import KuboBlockstore, NodeRetrieval
from carv2.units import Limits
from helpers import archives
from ipfs.kubo_node import Handler, Node, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FISH, LOBSTER = (carv2.CID.of_data(data) for data in (b"fish", b"lobster"))
_TOP, _NODE = archives.node(bytes(FISH), bytes(LOBSTER))
TOP, NODE = carv2.CID(_TOP), _NODE
STATS = {"BlockCount": 1, "BlockBytesCount": 1}


@pytest.fixture
def node() -> Iterator[Node]:
    with running() as node:
        node.blocks = {FISH.multihash: b"fish", LOBSTER.multihash: b"lobster"}
        yield node


@pytest.fixture
def store(node: Node) -> Iterator[KuboBlockstore]:
    with KuboBlockstore(node.url, timeout=5, retries=1) as store:
        yield store


# -- lies -----------------------------------------------------------------------------------------------------


def test_other_bytes_than_asked_for_are_found_out(node: Node, store: KuboBlockstore) -> None:
    node.blocks[FISH.multihash] = b"FISH"
    for read in (lambda: store[FISH], lambda: list(store.get_many([LOBSTER, FISH]))):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert caught.value.cid == FISH


def test_another_cid_than_was_sent_is_found_out(node: Node, store: KuboBlockstore) -> None:
    def put(handler: Handler) -> None:
        handler._answer(iter([{"Key": str(FISH), "Size": 3}]))

    node.instead["block/put"] = put
    with pytest.raises(IntegrityError, match="stored bafkrei"):
        store.put(carv2.CID.of_data(b"new"), b"new")


@pytest.mark.parametrize("answers", [[], [{"Size": 3}], ["text"], [{"Key": "no CID"}], [[1]]])
def test_answers_to_a_put_that_make_no_sense(node: Node, store: KuboBlockstore, answers: list[object]) -> None:
    node.instead["block/put"] = lambda handler: handler._answer(iter(answers))
    with pytest.raises(KuboError, match="not one of Kubo's"):
        store.put(carv2.CID.of_data(b"new"), b"new")


def test_more_answers_than_blocks(node: Node, store: KuboBlockstore) -> None:
    new = carv2.CID.of_data(b"new")
    node.instead["block/put"] = lambda handler: handler._answer(iter([{"Key": str(new)}, {"Key": str(FISH)}]))
    with pytest.raises(KuboError, match="not one of Kubo's"):
        store.put(new, b"new")


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("block/stat", lambda store: store.size_of(FISH)),
        ("refs/local", list),
        ("pin/ls", lambda store: list(store.pins())),
        ("pin/add", lambda store: store.pin_add(FISH)),
        ("dag/import", lambda store: store.import_car([b"x"])),
        ("version", lambda store: store.version()),
    ],
)
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null\n", b'{"Root": {}}', b'{"Size": -1}', b"[" * 100_000, b"\xff"]
)
def test_nonsense_is_an_error_with_the_address(
    node: Node, store: KuboBlockstore, call: str, use: Callable[[KuboBlockstore], object], body: bytes
) -> None:
    node.instead[call] = lambda handler: handler.plain(200, body)
    if call == "version" and body.startswith(b'{"'):
        assert store.version() == ""
        return
    with pytest.raises(KuboError, match="not one of Kubo's") as caught:
        use(store)
    assert caught.value.url == node.url


def test_a_body_without_end_is_cut_off(node: Node) -> None:
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.begin()
        while sent < 1 << 30:
            handler.chunk(bytes(65_536))
            sent += 65_536

    node.instead["block/get"] = node.instead["block/stat"] = node.instead["refs/local"] = endless
    with KuboBlockstore(node.url, limits=Limits(section=100_000)) as store:
        with pytest.raises(KuboError, match="more than 100000 bytes"):
            _ = store[FISH]
        with pytest.raises(KuboError, match="more than 1048576 bytes"):
            store.size_of(FISH)
        with pytest.raises(KuboError, match="a line of the answer is too long"):
            list(store)
    assert sent < 100 << 20


# -- what breaks off ------------------------------------------------------------------------------------------


def raw(handler: Handler, data: bytes) -> None:
    """Send ``data`` as they are, and hang up."""
    handler.wfile.write(data)
    handler.close_connection = True


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "in a chunk": CHUNKED + b"4\r\nfi",
    "behind a chunk": CHUNKED + b"4\r\nfish\r\n",
    "before the last line": CHUNKED + b"4\r\nfish\r\n0\r\n",
    "in a trailer": CHUNKED + b"4\r\nfish\r\n0\r\nX-Stream-Err",
    "a chunk too long": CHUNKED + b"3\r\nfish\r\n0\r\n\r\n",
    "a chunk with other bytes behind it": CHUNKED + b"4\r\nfish__0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-4\r\nfish\r\n0\r\n\r\n",
    "a chunk of nothing known": CHUNKED + b"0x4\r\nfish\r\n0\r\n\r\n",
    "trailers without end": CHUNKED + b"4\r\nfish\r\n0\r\n" + b"A: b\r\n" * 40 + b"\r\n",
    "less than said": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfish",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nfish",
    "an old HTTP": b"HTTP/1.0 200 OK\r\n\r\nfish",
    "no HTTP": b"220 ftp.example ready\r\n",
    "nothing": b"",
    "an error that breaks off": b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_breaks_off_is_none(node: Node, store: KuboBlockstore, data: bytes) -> None:
    node.instead["block/get"] = lambda handler: raw(handler, data)
    with pytest.raises(KuboError) as caught:
        _ = store[FISH]
    assert node.url in str(caught.value)
    del node.instead["block/get"]
    assert store[FISH] == b"fish"


def test_an_export_that_fails_gives_what_came_first(node: Node, store: KuboBlockstore) -> None:
    def export_(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b"first")
        handler.end(f"walk failed: ipld: could not find {LOBSTER}")

    node.instead["dag/export"] = export_
    came: list[bytes] = []
    with pytest.raises(BlockNotFoundError) as caught:
        came.extend(store.export_car(FISH))
    assert (came, caught.value.cid) == ([b"first"], LOBSTER)
    node.instead["dag/export"] = lambda handler: raw(handler, CHUNKED + b"5\r\nfirst\r\n")
    came.clear()
    with pytest.raises(KuboError, match="ended in the middle"):
        came.extend(store.export_car(FISH))
    assert came == [b"first"]


def test_an_error_behind_a_listing_is_raised(node: Node, store: KuboBlockstore) -> None:
    def refs(handler: Handler) -> None:
        handler.begin()
        handler.chunk(b'{"Ref": "%s", "Err": ""}\n' % str(FISH).encode())
        handler.end("the disk broke")

    node.instead["refs/local"] = refs
    with pytest.raises(KuboError, match="the disk broke"):
        len(store)
    node.instead["refs/local"] = lambda handler: handler._answer(iter([{"Ref": "", "Err": "no disk"}]))
    with pytest.raises(KuboError, match="no disk"):
        list(store)


def test_a_node_that_says_nothing_is_not_waited_for_without_end(node: Node) -> None:
    go_on = threading.Event()

    def stall(_: Handler) -> None:
        go_on.wait(30)

    node.instead["block/get"] = stall
    try:
        with KuboBlockstore(node.url, timeout=0.2, retries=5) as store:
            with pytest.raises(KuboError, match="no answer in time"):
                _ = store[FISH]
            assert node.count("block/get") == 1  # whoever stalls once is not asked again
    finally:
        go_on.set()


def test_a_node_that_trickles_is_not_waited_for_without_end(node: Node) -> None:
    over = threading.Event()

    def trickle(handler: Handler) -> None:
        handler.begin()
        while not over.wait(0.02):
            handler.chunk(b"x")

    node.instead["block/get"] = trickle
    try:
        with KuboBlockstore(node.url, timeout=0.1) as store, pytest.raises(KuboError, match="no answer in time"):
            _ = store[FISH]
    finally:
        over.set()


def test_closing_ends_the_waiting(node: Node) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def stall(_: Handler) -> None:
        asked.set()
        go_on.wait(30)

    node.instead["block/get"] = stall
    store = KuboBlockstore(node.url)
    errors: list[BaseException] = []

    def read() -> None:
        try:
            list(store.get_many([FISH]))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert asked.wait(10)
    store.close()
    thread.join(10)
    go_on.set()
    assert [type(error) for error in errors] == [ClosedError]


# -- what is tried again --------------------------------------------------------------------------------------


def test_a_connection_that_broke_is_made_anew(node: Node, store: KuboBlockstore) -> None:
    broken = iter([True])

    def once(handler: Handler) -> None:
        if next(broken, False):
            raw(handler, b"")
        else:
            handler._answer(handler.on_block_get(handler.options))

    node.instead["block/get"] = once
    assert store[FISH] == b"fish"
    assert node.count("block/get") == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_proxy_is_asked_again_and_then_believed(node: Node, store: KuboBlockstore, status: int) -> None:
    node.instead["block/get"] = lambda handler: handler.plain(status, b"busy")
    with pytest.raises(KuboError, match="busy") as caught:
        _ = store[FISH]
    assert caught.value.code == status
    assert node.count("block/get") == 2


def test_connections_are_kept(node: Node, store: KuboBlockstore) -> None:
    for _ in range(20):
        assert store[FISH] == b"fish"
        with pytest.raises(BlockNotFoundError):
            store.size_of(TOP)
    assert node.connections == 1


def test_a_connection_that_was_left_in_the_middle_is_not_used_again(node: Node) -> None:
    large = bytes(3_000_000)
    node.blocks = {cid.multihash: data for cid, data in ((FISH, b"fish"), (carv2.CID.of_data(large), large))}
    with KuboBlockstore(node.url, retries=0) as store:
        assert store[FISH] == b"fish"
        for chunks in [store.export_car(carv2.CID.of_data(large)) for _ in range(3)]:
            assert next(chunks)
            del chunks
        assert store[FISH] == b"fish"


def test_an_import_is_made_once(node: Node, store: KuboBlockstore) -> None:
    node.instead["dag/import"] = lambda handler: raw(handler, b"")
    with pytest.raises(KuboError):
        store.import_car(iter([b"x"] * 3))
    assert node.count("dag/import") == 1


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with KuboBlockstore(url, retries=1) as store, pytest.raises(KuboError, match="cannot be asked") as caught:
            store.version()
    assert (caught.value.url, caught.value.code) == (url, None)


# -- who is asked, and how ------------------------------------------------------------------------------------


def test_no_redirect_is_followed(node: Node, store: KuboBlockstore) -> None:
    with running() as other:
        other.blocks = dict(node.blocks)
        node.instead["block/get"] = lambda handler: handler.plain(307, b"", Location=f"{other.url}{handler.path}")
        with pytest.raises(KuboError, match="redirect"):
            _ = store[FISH]
        assert other.asked == []


def test_no_proxy_is_asked(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with KuboBlockstore(node.url) as store:
        assert store[FISH] == b"fish"


def test_what_is_no_node_is_named(node: Node, store: KuboBlockstore) -> None:
    node.instead["block/get"] = lambda handler: handler.plain(404, b"404 page not found")
    with pytest.raises(KuboError, match="404 page not found") as caught:
        _ = store[FISH]
    assert caught.value.code == 404


@pytest.mark.parametrize(
    "said",
    ["ipld: could not find {}", "blockservice: key not found", "merkledag: not found"],
)
def test_the_words_of_old_and_new_nodes_for_a_missing_block(node: Node, store: KuboBlockstore, said: str) -> None:
    node.instead["block/stat"] = lambda handler: handler.refuse(said.format(LOBSTER))
    with pytest.raises(BlockNotFoundError) as caught:
        store.size_of(FISH)
    assert caught.value.cid == FISH
    assert FISH not in store


def test_secrets_are_sent_and_not_told(node: Node) -> None:
    with KuboBlockstore(node.url, token="open-sesame") as store:
        store.version()
    user = node.url.replace("//", "//me:my%20secret@")
    with KuboBlockstore(user) as store:
        store.version()
        assert store.url == node.url
    assert [headers["Authorization"] for headers in node.headers] == [
        "Bearer open-sesame",
        f"Basic {base64.b64encode(b'me:my secret').decode()}",
    ]
    with pytest.raises(ValueError, match="the token has") as caught:
        KuboBlockstore(node.url, token="open-sesame\nX: y")
    assert "sesame" not in str(caught.value)


def test_only_an_online_store_has_the_node_ask_its_network(node: Node, store: KuboBlockstore) -> None:
    def uses(store: KuboBlockstore) -> None:
        _ = store[FISH], store.size_of(FISH), FISH in store, list(store.export_car(FISH))
        store.pin_add(FISH)

    uses(store)
    assert [options.get("offline") for _, options in node.asked] == ["true"] * 5
    node.asked.clear()
    with KuboBlockstore(node.url, online=True) as online:
        uses(online)
    assert [options.get("offline") for _, options in node.asked] == [None, None, "true", None, None]


def test_blocks_are_put_some_at_a_time(node: Node, store: KuboBlockstore) -> None:
    blocks = [(carv2.CID.of_data(b"%d" % at), b"%d" % at) for at in range(200)]
    assert store.put_many(blocks) == 200
    assert node.count("block/put") == 4
    assert store.put_many(blocks) == 0
    assert node.count("block/put") == 4


def test_a_unix_socket(tmp_path: Path) -> None:
    with running(tmp_path / "api.sock") as node:
        node.blocks[FISH.multihash] = b"fish"
        for url in (node.url, f"/unix{tmp_path}/api.sock"):
            with KuboBlockstore(url) as store:
                assert [block.data for block in store.get_many([FISH] * 9)] == [b"fish"] * 9


# -- retrievals straight into a node --------------------------------------------------------------------------


def stream(*blocks: tuple[carv2.CID, bytes]) -> bytes:
    return b"".join(carv2.iter_car([TOP], blocks))


ALL = [(TOP, NODE), (FISH, b"fish"), (LOBSTER, b"lobster")]


def test_a_retrieval_into_a_node(node: Node, store: KuboBlockstore) -> None:
    node.blocks.clear()
    first = NodeRetrieval(store, TOP)
    with pytest.raises(TruncatedError):
        first.receive([stream(*ALL)[:-3]])
    assert (first.block_count, first.new_count) == (2, 2)
    with pytest.raises(IncompleteError) as caught:
        first.finish()
    assert [missing.cid for missing in caught.value.completeness.missing] == [LOBSTER]
    assert node.pins == {}
    again = NodeRetrieval(store, TOP)
    assert again.receive([stream(*ALL)]) == 1
    again.finish(name="fish and lobster")
    assert node.pins == {TOP: ("recursive", "fish and lobster")}
    assert b"".join(store.export_car(TOP)) == stream(*ALL)


def test_a_retrieval_takes_no_more_than_it_may(node: Node, store: KuboBlockstore) -> None:
    node.blocks.clear()
    budgets = [NodeRetrieval(store, TOP, max_blocks=2), NodeRetrieval(store, TOP, max_bytes=len(NODE) + 4)]
    for retrieval in budgets:
        with pytest.raises(BudgetError):
            retrieval.receive([stream(*ALL)])
        assert LOBSTER not in store
    damaged = stream(*ALL).replace(b"lobster", b"LOBSTER")
    with pytest.raises(IntegrityError):
        NodeRetrieval(store, TOP).receive([damaged])
    assert len(store) == 2


def test_an_import_whose_root_cannot_be_pinned(node: Node, store: KuboBlockstore) -> None:
    node.blocks.clear()
    with pytest.raises(PinError) as caught:
        store.import_car(stream(*ALL[:2]))
    assert [root.cid for root in caught.value.report.roots] == [TOP]
    assert store.import_car(stream(*ALL[2:]), pin=False).block_count == 1
    store.pin_add(TOP)


def test_everything_hostile_is_an_error_of_ours(node: Node, store: KuboBlockstore, tmp_path: Path) -> None:
    """Whatever a node answers, a walk over it ends in a CarError, and no archive is left half written."""
    for data in BROKEN.values():
        node.instead["block/get"] = lambda handler, data=data: raw(handler, data)  # type: ignore[misc]
        with pytest.raises(CarError):
            export(store, tmp_path / "out.car", TOP)
        assert list(tmp_path.iterdir()) == []


def test_what_may_take_long_and_what_may_not(node: Node) -> None:
    def slowly(handler: Handler) -> None:
        time.sleep(0.4)
        handler.refuse("at last")

    node.instead["dag/import"] = node.instead["dag/export"] = slowly
    with KuboBlockstore(node.url, timeout=0.1) as store:
        with pytest.raises(KuboError, match="at last"):
            store.import_car([b"x"])
        with pytest.raises(KuboError, match="no answer in time"):
            list(store.export_car(FISH))
    with KuboBlockstore(node.url, slow_timeout=0.1) as store, pytest.raises(KuboError, match="no answer in time"):
        store.import_car([b"x"])


# -- memory ---------------------------------------------------------------------------------------------------


def test_archives_of_any_size_take_little_memory(node: Node, store: KuboBlockstore) -> None:
    size, piece = 64 << 20, bytes(128 << 10)

    def export_(handler: Handler) -> None:
        handler.begin()
        for _ in range(size // len(piece)):
            handler.chunk(piece)
        handler.end()

    node.discards = True
    node.instead["dag/import"] = lambda handler: handler._answer(iter([{"Stats": STATS}]))
    node.instead["dag/export"] = export_
    tracemalloc.start()
    try:
        assert store.import_car(piece for _ in range(size // len(piece))).block_count == 1
        assert sum(map(len, store.export_car(FISH))) == size
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# -- any bytes at all -----------------------------------------------------------------------------------------


class OneAnswer:
    """A server that answers each request with the same bytes, and hangs up."""

    def __init__(self) -> None:
        self.data = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            with connection:
                if not (asked := connection.recv(65_536)):
                    return
                if b"/block/get?" in asked:
                    connection.sendall(self.data)

    def close(self) -> None:
        socket.create_connection(self.socket.getsockname()).close()
        self.thread.join()
        self.socket.close()


@pytest.fixture(scope="module")
def one_answer() -> Iterator[OneAnswer]:
    server = OneAnswer()
    yield server
    server.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20), st.booleans())
def test_a_body_in_chunks_of_any_size(one_answer: OneAnswer, pieces: list[bytes], is_extended: bool) -> None:
    data, extension = b"".join(pieces), b"; name=value" if is_extended else b""
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    one_answer.data = CHUNKED + chunks + b"0\r\n\r\n"
    with KuboBlockstore(one_answer.url, timeout=10) as store:
        assert store[carv2.CID.of_data(data)] == data


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", CHUNKED, CHUNKED + b"4\r\nfish\r\n"]
    ),
    st.one_of(st.binary(max_size=60), st.text("0123456789abcdef\r\n:; X", max_size=60).map(str.encode)),
)
def test_whatever_is_answered_is_the_block_or_an_error_of_ours(
    one_answer: OneAnswer, head: bytes, rest: bytes
) -> None:
    one_answer.data = head + rest
    with KuboBlockstore(one_answer.url, timeout=10, retries=0) as store, contextlib.suppress(CarError):
        assert store[FISH] == b"fish"
