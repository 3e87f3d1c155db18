"""The clients, against servers that answer as they should not."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.dagstore import ShardState
from carv2.errors import CarError, RpcError, RpcTransportError, WaitTimeoutError
from carv2.rpc import AsyncDagStoreClient, DagStoreClient, _calls
from carv2.rpc._address import parse_address
from carv2.rpc._dialogue import Dialogue, Stream
from rpc.clients import BOTH, InLoop, InThread, methods_of
from rpc.peers import http_server, response, websocket_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from websockets.sync.server import ServerConnection

    Client = type[InThread | InLoop]

both = pytest.mark.parametrize("client", BOTH)
FISH = CID.of_data(b"fish")
SECRET = "eyJhbGciOiJIUzI1NiJ9.hidden.token"  # no token at all, but told from everything else
SHARD = {"Key": "a", "State": "ShardStateNew", "Error": ""}
EVENT = {"Key": "a", "Event": "start", "Success": False, "Error": "", "Total": 1, "Current": 1}


def test_both_clients_have_the_same_methods() -> None:
    assert methods_of(DagStoreClient) == methods_of(AsyncDagStoreClient)


# -- where it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:7878", "http://127.0.0.1:7878/rpc/v0"),
        ("http://127.0.0.1:7878/", "http://127.0.0.1:7878/rpc/v0"),
        ("http://127.0.0.1:7878/rpc/v1", "http://127.0.0.1:7878/rpc/v1"),
        ("ws://localhost/rpc/v0", "http://localhost:80/rpc/v0"),
        ("wss://[::1]/x", "https://[::1]:443/x"),
        ("/ip4/127.0.0.1/tcp/2345/http", "http://127.0.0.1:2345/rpc/v0"),
        ("/ip6/::1/tcp/2345/wss", "https://[::1]:2345/rpc/v0"),
        ("/dns/a.example.org/tcp/1", "http://a.example.org:1/rpc/v0"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    address = parse_address(text)
    assert address.http_url == url
    assert address.websocket_url == url.replace("http", "ws", 1)
    assert parse_address(address.websocket_url) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:7878",
        "ftp://a/",
        "http://",
        "http://a:0",
        "http://a:70000",
        "http://a/?token=x",
        "http://[::1",
        "http://a\nb",
        "http://a\tb:1",
        "http://127.0.0.1:7878\n",
        "http://a/b c",
        "http://a..b",
        f"http://{'a' * 70}",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/tcp/0/http",
        "/ip4/127.0.0.1/tcp/1/quic",
        "/ip4/127.0.0.1/tcp/1/http/more",
        "/ip4//tcp/1",
        "/ip6/\0/tcp/1/http",
        "http://[::%[]",
        "/dns4/a@b/tcp/1",
        "/dns4/a?b/tcp/1",
        "/dns4/a b/tcp/1",
        "/",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="takes a token") as caught:
        DagStoreClient("http://me:hunter2@127.0.0.1:7878")
    assert "hunter2" not in str(caught.value)


def test_who_is_on_this_host() -> None:
    own = ["http://127.0.0.1:1", "http://127.9.9.9:1", "http://[::1]:1", "http://localhost:1"]
    assert all(parse_address(text).is_loopback for text in own)
    assert not any(
        parse_address(text).is_loopback for text in ("http://10.0.0.1:1", "http://localhost.example.org")
    )


@both
@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "tokén"])
def test_what_cannot_be_a_token_is_refused_and_not_repeated(client: Client, token: str) -> None:
    with pytest.raises(ValueError, match="one word") as caught:
        client("http://127.0.0.1:9", token=token)("list")
    assert not token or token not in str(caught.value)


# -- answers --------------------------------------------------------------------------------------------------


def result(value: object, number: object = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode()


def error(value: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "error": value}).encode()


def sending(data: bytes) -> Callable[[socket.socket], None]:
    return lambda to: to.sendall(data)


@both
def test_what_is_sent(client: Client) -> None:
    with http_server(sending(response(result(None)))) as (url, requests):
        assert client(url, token=SECRET)("recover", "baga") is None
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /rpc/v0 HTTP/1.1\r\n")
    assert f"Authorization: Bearer {SECRET}".encode() in head.split(b"\r\n")
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "Filecoin.DagstoreRecoverShard",
        "params": ["baga"],
    }


@both
def test_what_an_older_lotus_answers_to_a_call_without_result(client: Client) -> None:
    with http_server(sending(response(b'{"jsonrpc":"2.0","id":1}'))) as (url, _):
        assert client(url)("recover", "baga") is None


@both
def test_no_shards_are_an_empty_list_or_null(client: Client) -> None:
    for value in (list[Any](), None):
        with http_server(sending(response(result(value)))) as (url, _):
            assert client(url)("list") == []


@both
def test_of_a_shard_key_state_and_error_are_told(client: Client) -> None:
    told = [SHARD, {"Key": "b", "State": "ShardStateErrored", "Error": "why"}]
    with http_server(sending(response(result(told)))) as (url, _):
        (found,) = client(url)("list", state=ShardState.ERRORED)
    assert (found.key, found.state, found.error, found.url, found.source_size) == (
        "b",
        ShardState.ERRORED,
        "why",
        "",
        None,
    )


@both
def test_an_error_has_code_and_message(client: Client) -> None:
    for status in ("200 OK", "400 Bad Request", "500 Internal Server Error"):
        body = error({"code": -32601, "message": "no such method"})
        with http_server(sending(response(body, status=status))) as (url, _), pytest.raises(RpcError) as caught:
            client(url)("gc")
        assert (caught.value.code, caught.value.message) == (-32601, "no such method")


@both
def test_a_block_that_no_shard_has_is_in_no_shard_and_other_errors_stay(client: Client) -> None:
    texts = {
        "failed to lookup index for mh 1220aa, err: datastore: key not found": True,
        "failed to lookup index for mh 1220aa, err: disk failure": False,
        "shard not found": False,
    }
    for text, is_absent in texts.items():
        with http_server(sending(response(error({"code": 1, "message": text})))) as (url, _):
            if is_absent:
                assert client(url)("shards_with", FISH) == []
            else:
                with pytest.raises(RpcError):
                    client(url)("shards_with", FISH)


NO_ANSWERS: dict[str, bytes] = {
    "nothing": response(b""),
    "html": response(b"<html>", headers="Content-Type: text/html\r\n"),
    "a number": response(b"7"),
    "too deep": response(b"[" * 100_000),
    "another's": response(result([], 2)),
    "a string for an id": response(result([], "1")),
    "true for an id": response(result([], True)),
    "no list": response(result({"Key": "a"})),
    "no shards": response(result([7])),
    "no state": response(result([{"Key": "a", "Error": ""}])),
    "an unknown state": response(result([SHARD | {"State": "ShardStateGone"}])),
    "a number for a key": response(result([SHARD | {"Key": 7}])),
    "an error that is none": response(error("it failed")),
    "an error without a code": response(error({"message": "it failed"})),
    "cut off": response(result([])[:-4], size=100),
    "compressed": response(gzip.compress(result([])), headers="Content-Encoding: gzip\r\n"),
    "compressed, it says": response(result([]), headers="Content-Encoding: br\r\n"),
    "elsewhere": response(b"", status="307 Temporary Redirect", headers="Location: http://127.0.0.1:9/\r\n"),
    "no such path": response(b"not found", status="404 Not Found"),
    "a wrong token": response(b"no", status="401 Unauthorized"),
    "busy": response(b"later", status="503 Service Unavailable"),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "silence": b"",
}


@both
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_an_error_that_names_the_api_and_not_the_token(client: Client, name: str) -> None:
    with http_server(sending(NO_ANSWERS[name])) as (url, _), pytest.raises(RpcTransportError) as caught:
        client(url, token=SECRET, timeout=20)("list")
    assert str(caught.value).startswith(f"{url}/rpc/v0: ")
    assert SECRET not in repr(caught.value) + str(caught.value.__cause__)


@both
def test_a_redirect_is_not_followed(client: Client) -> None:
    with http_server(sending(response(result([])))) as (elsewhere, asked):
        moved = response(b"", status="307 Temporary Redirect", headers=f"Location: {elsewhere}\r\n")
        with http_server(sending(moved)) as (url, _), pytest.raises(RpcTransportError, match="307"):
            client(url, token=SECRET)("list")
        assert asked == []
        socket.create_connection(("127.0.0.1", parse_address(elsewhere).port)).close()  # so that it ends


@both
def test_proxies_of_the_environment_are_not_used(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with http_server(sending(response(result([])))) as (url, _):
        assert client(url)("list") == []


@both
def test_an_answer_without_end_is_read_up_to_a_limit(client: Client) -> None:
    sent: list[int] = []

    def pour(to: socket.socket) -> None:
        to.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
        while True:
            sent.append(to.send(b" " * 65536))

    with http_server(pour) as (url, _), pytest.raises(RpcTransportError, match="more than 1,000,000 bytes"):
        client(url, max_answer=1_000_000)("list")
    assert sum(sent) < 20_000_000  # what sockets buffer, on top of the limit


@both
@pytest.mark.parametrize("drips", [False, True])
def test_who_does_not_answer_in_time_is_not_waited_for(client: Client, drips: bool) -> None:
    def stall(to: socket.socket) -> None:
        to.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(600):
            if drips:
                to.sendall(b" ")
            time.sleep(0.05)
            if not drips:
                to.setblocking(False)
                try:
                    if to.recv(1) == b"":
                        return
                except BlockingIOError:
                    pass

    with http_server(stall) as (url, _), pytest.raises(WaitTimeoutError, match="DagstoreListShards"):
        client(url, timeout=0.3)("list")


@both
def test_work_is_waited_for_longer_than_an_answer(client: Client) -> None:
    def ponder(to: socket.socket) -> None:
        time.sleep(0.6)
        to.sendall(response(result(None)))

    with http_server(ponder) as (url, _):
        assert client(url, timeout=0.2)("initialize", "baga") is None
    with http_server(ponder) as (url, _), pytest.raises(WaitTimeoutError):
        client(url)("initialize", "baga", timeout=0.2)


@both
def test_nobody_there(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(RpcTransportError, match="cannot be reached"):
        client(url)("list")
    with pytest.raises(RpcTransportError, match="cannot be reached"):
        client(url).events()


DIALOGUE = Dialogue("http://a")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["ShardStateNew", "start"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SHARD, *EVENT, "id", "result", "error", "code", "message", "method", "params"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
CALLS = [
    _calls.list_shards(),
    _calls.collect(),
    _calls.index_size(),
    _calls.initialize_shard("a"),
    _calls.initialize_all(1, include_sealed=True),
]


@given(st.sampled_from(CALLS), JSON, st.sampled_from([200, 302, 401, 500]))
def test_any_json_is_an_answer_or_an_error(call: Any, value: object, status: int) -> None:
    for text in (json.dumps(value), result(value), error(value)):
        with contextlib.suppress(RpcError, RpcTransportError):
            DIALOGUE.answer(call, 1, text, status=status)


@given(st.sampled_from(CALLS), st.binary(max_size=50))
def test_any_bytes_are_an_error(call: Any, text: bytes) -> None:
    with pytest.raises(RpcTransportError):
        DIALOGUE.answer(call, 1, text)


@given(st.lists(JSON, max_size=4))
def test_any_messages_are_values_or_an_error(messages: list[Any]) -> None:
    stream = Stream(DIALOGUE, _calls.initialize_all(1, include_sealed=False), 1)
    stream.feed(result(7))
    for message in messages:
        for text in (json.dumps(message), value(message, 7)):
            try:
                stream.feed(text)
            except RpcTransportError:
                return


# -- streams --------------------------------------------------------------------------------------------------


def value(event: object, channel: int = 1) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": "xrpc.ch.val", "params": [channel, event]})


CLOSE = json.dumps({"jsonrpc": "2.0", "method": "xrpc.ch.close", "params": [1]})


def saying(*messages: str | bytes) -> Callable[[ServerConnection], None]:
    """A handler that opens channel 1 and says all that, then waits until nobody listens."""

    def handle(to: ServerConnection) -> None:
        request = json.loads(to.recv())
        assert request["method"] == "Filecoin.DagstoreInitializeAll"
        to.send(result(1, request["id"]).decode())
        for message in messages:
            to.send(message)
        for _ in to:
            pass

    return handle


@both
def test_a_stream_from_its_call_to_its_end(client: Client) -> None:
    others = [value(EVENT, 2), '{"jsonrpc":"2.0","method":"xrpc.ch.close","params":[2]}', "{}", '{"method":"x"}']
    handle = saying(value(EVENT), *others, value(EVENT | {"Event": "end", "Success": True}), CLOSE)
    with websocket_server(handle) as url:
        assert [(event.event, event.success) for event in client(url).events(concurrency=3)] == [
            ("start", False),
            ("end", True),
        ]


@both
def test_who_stops_listening_cancels(client: Client) -> None:
    heard: list[Any] = []

    def handle(to: ServerConnection) -> None:
        request = json.loads(to.recv())
        to.send(result(1, request["id"]).decode())
        to.send(value(EVENT))
        heard.append((request, json.loads(to.recv())))

    with websocket_server(handle) as url:
        assert len(client(url).events(most=1, concurrency=3, include_sealed=True)) == 1
    ((request, cancel),) = heard
    assert request["params"] == [{"MaxConcurrency": 3, "IncludeSealed": True}]
    assert (cancel["method"], cancel["params"]) == ("xrpc.cancel", [request["id"]])


def dropping(to: ServerConnection) -> None:
    to.send(result(1, json.loads(to.recv())["id"]).decode())
    to.send(value(EVENT))


def answering(*messages: str) -> Callable[[ServerConnection], None]:
    def handle(to: ServerConnection) -> None:
        to.recv()
        for message in messages:
            to.send(message)
        for _ in to:
            pass

    return handle


BROKEN_STREAMS: dict[str, Callable[[ServerConnection], None]] = {
    "closed before its end": dropping,
    "no JSON": saying("fish"),
    "bytes": saying(b"\xff\x00"),
    "no event": saying(value({"Key": "a"})),
    "an unknown event": saying(value(EVENT | {"Event": "middle"})),
    "true for a number": saying(value(EVENT | {"Total": True})),
    "too large": saying(value(EVENT | {"Error": "x" * (2 << 20)})),
    "no channel": answering(result(None).decode()),
    "another's channel": answering(result(1, 99).decode()),
    "an event at once": answering(value(EVENT)),
}


@both
@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_streams_that_are_none_or_break_off(client: Client, name: str) -> None:
    with websocket_server(BROKEN_STREAMS[name]) as url, pytest.raises(RpcTransportError):
        client(url).events()


@both
def test_a_stream_may_be_refused(client: Client) -> None:
    text = "missing permission to invoke 'DagstoreInitializeAll' (need 'write')"
    with (
        websocket_server(answering(error({"code": 1, "message": text}).decode())) as url,
        pytest.raises(RpcError, match="need 'write'"),
    ):
        client(url).events()


@both
@pytest.mark.parametrize("status", ["401 Unauthorized", "307 Temporary Redirect", "200 OK"])
def test_a_websocket_that_is_refused_or_elsewhere(client: Client, status: str) -> None:
    with http_server(sending(response(result([])))) as (elsewhere, asked):
        reply = response(b"", status=status, headers=f"Location: {elsewhere}\r\n")
        with http_server(sending(reply)) as (url, requests):
            with pytest.raises(RpcTransportError) as caught:
                client(url, token=SECRET).events()
            assert f"Authorization: Bearer {SECRET}".encode() in requests[0]
        assert SECRET not in str(caught.value)
        assert asked == []
        socket.create_connection(("127.0.0.1", parse_address(elsewhere).port)).close()


# -- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of this host that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made, key = (tmp_path_factory.mktemp("tls") / name for name in ("certificate", "key"))
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]
    subprocess.run(words, check=True, capture_output=True)
    return made, key


@both
def test_a_server_is_what_its_certificate_says_before_it_gets_a_token(
    client: Client, certificate: tuple[Path, Path]
) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=certificate[0])
    for call in ("list", "initialize_all"):
        with http_server(sending(response(result([]))), tls=ours) as (url, requests):
            with pytest.raises(RpcTransportError, match=r"(?i)certificate"):
                client(url, token=SECRET).events() if call == "initialize_all" else client(url, token=SECRET)(call)
            assert requests == []
    with http_server(sending(response(result([]))), tls=ours) as (url, requests):
        assert client(url, token=SECRET, tls=trusting)("list") == []
        assert SECRET.encode() in requests[0]
    with http_server(sending(response(b"", status="401 Unauthorized")), tls=ours) as (url, requests):
        with pytest.raises(RpcTransportError, match="401"):
            client(url, token=SECRET, tls=trusting).events()
        assert requests[0].startswith(b"GET /rpc/v0 ")


# -- what it needs --------------------------------------------------------------------------------------------


@pytest.fixture
def without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)


@pytest.mark.usefixtures("without_httpx")
def test_without_httpx_it_says_what_to_install() -> None:
    for kind in (DagStoreClient, AsyncDagStoreClient):
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'carv2\[rpc\]'"):
            kind("http://127.0.0.1:9")


def test_errors_are_ours() -> None:
    assert issubclass(RpcError, CarError)
    assert issubclass(RpcTransportError, CarError)
