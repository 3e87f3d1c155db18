"""JSON-RPC over HTTP: what is no call, batches, tokens, and clients that are gone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from carv2.rpc import ServerLimits, make_token
from rpc.inprocess import (
    EVERYTHING,
    FISH,
    PATIENCE,
    PIECE,
    PLAIN,
    SECRET,
    Service,
    eventually,
    outcome,
    request,
    service,
)

if TYPE_CHECKING:
    from pathlib import Path

PARSE, INVALID, NO_METHOD, PARAMS = -32700, -32600, -32601, -32602
LIST = request("DagstoreListShards")


def answer(api: Service, content: str | bytes, status: int = 200) -> Any:
    found = api.post(content if isinstance(content, bytes) else content.encode())
    assert found.status_code == status, found.text
    return found.json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"fish",
        b'{"jsonrpc": "2.0", "id": 1, "method": "a"',
        b"\xff\xfe",
        b'{"jsonrpc": "2.0", "id": NaN, "method": "a"}',
        b'{"jsonrpc": "2.0", "id": 1e999, "method": "a"}',
        b'{"jsonrpc": "2.0", "id": ' + b"1" * 5000 + b', "method": "a"}',
        b"[" * 100_000,
    ],
    ids=range(9),
)
def test_what_is_no_json_is_a_parse_error(idle: Service, content: bytes) -> None:
    found = answer(idle, content, 400)
    assert found == {"jsonrpc": "2.0", "id": None, "error": {"code": PARSE, "message": "Parse error"}}


@pytest.mark.parametrize(
    ("content", "id_"),
    [
        ("1", None),
        ('"fish"', None),
        ("null", None),
        ("[]", None),
        ('{"id": 1, "method": "a"}', 1),
        ('{"jsonrpc": "1.0", "id": "x", "method": "a"}', "x"),
        ('{"jsonrpc": "2.0", "id": 1}', 1),
        ('{"jsonrpc": "2.0", "id": 1, "method": 2}', 1),
        ('{"jsonrpc": "2.0", "id": {}, "method": "a"}', None),
        ('{"jsonrpc": "2.0", "id": true, "method": "a"}', None),
        ('{"jsonrpc": "2.0", "id": 1, "result": 1}', 1),
    ],
)
def test_what_is_no_request_is_an_invalid_one(idle: Service, content: str, id_: object) -> None:
    found = answer(idle, content, 400)
    assert found["error"]["code"] == INVALID
    assert found["error"]["message"].startswith("Invalid request")
    assert found["id"] == id_


@pytest.mark.parametrize("id_", [1, 0, -7, 1.5, 2**63, "", "x", '"é\u0000', None])
def test_the_id_comes_back_as_it_was(idle: Service, id_: object) -> None:
    found = answer(idle, request("DagstoreListShards", id=id_))
    assert (found["id"], type(found["id"])) == (id_, type(id_))
    assert found["result"] == []


@pytest.mark.parametrize("method", ["Filecoin.Nothing", "DagstoreListShards", "", "Filecoin.", "x" * 10_000])
def test_an_unknown_method_is_not_found(idle: Service, method: str) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": method}
    assert outcome(answer(idle, json.dumps(call))) == (NO_METHOD, f"method '{method[:100]}' not found")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("DagstoreListShards", [1]),
        ("DagstoreInitializeShard", []),
        ("DagstoreInitializeShard", ["a", "b"]),
        ("DagstoreInitializeShard", [1]),
        ("DagstoreInitializeShard", [None]),
        ("DagstoreInitializeShard", [""]),
        ("DagstoreInitializeShard", ["\ud800"]),
        ("DagstoreInitializeShard", ["x" * 2000]),
        ("DagstoreInitializeShard", {"key": "a"}),
        ("DagstoreInitializeShard", "a"),
        ("DagstoreLookupPieces", [str(FISH)]),
        ("DagstoreLookupPieces", [{"/": 1}]),
        ("DagstoreLookupPieces", [{"/": "fish"}]),
        ("DagstoreLookupPieces", [{"/": "\ud800"}]),
    ],
)
def test_wrong_parameters_are_invalid_ones(idle: Service, method: str, params: Any) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": f"Filecoin.{method}", "params": params}
    code, _ = outcome(answer(idle, json.dumps(call)))
    assert code == PARAMS


def test_the_number_of_parameters_is_wrong_in_the_words_of_go(idle: Service) -> None:
    text = "wrong param count (method 'Filecoin.DagstoreListShards'): 1 != 0"
    assert idle.call("DagstoreListShards", 1) == (PARAMS, text)


@pytest.mark.parametrize("params", [{}, {"params": None}, {"params": []}])
def test_no_parameters_may_be_left_out(idle: Service, params: dict[str, Any]) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "Filecoin.DagstoreListShards", **params}
    assert outcome(answer(idle, json.dumps(call))) == []


def test_a_notification_is_done_and_not_answered(api: Service) -> None:
    api.register("a")
    call = {"jsonrpc": "2.0", "method": "Filecoin.DagstoreDestroyShard", "params": ["a"]}
    found = api.post(json.dumps(call).encode())
    assert (found.status_code, found.content) == (204, b"")
    assert api.call("DagstoreListShards") == []


def test_a_batch_is_answered_as_one(api: Service) -> None:
    api.register("a")
    calls = [
        json.loads(request("DagstoreInitializeShard", "a", id="first")),
        {"jsonrpc": "2.0", "method": "Filecoin.DagstoreListShards"},
        7,
        json.loads(request("DagstoreNothing", id=2)),
    ]
    first, second, third = answer(api, json.dumps(calls))
    assert first == {"jsonrpc": "2.0", "id": "first", "result": None}
    assert (second["id"], second["error"]["code"]) == (None, INVALID)
    assert (third["id"], third["error"]["code"]) == (2, NO_METHOD)


def test_a_batch_of_notifications_is_not_answered_and_a_long_one_refused(idle: Service) -> None:
    call = {"jsonrpc": "2.0", "method": "Filecoin.DagstoreListShards"}
    assert idle.post(json.dumps([call, call]).encode()).status_code == 204
    found = answer(idle, json.dumps([call] * 51), 400)
    assert found["error"] == {"code": INVALID, "message": "Invalid request: a batch of 51 calls, limit 50"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_posts_are_calls(idle: Service, method: str) -> None:
    found = httpx.request(method, f"{idle.url}/rpc/v0", timeout=PATIENCE, verify=PLAIN)
    assert (found.status_code, found.headers["allow"]) == (405, "POST")


# -- tokens ---------------------------------------------------------------------------------------------------


def signed(claims: dict[str, Any], algorithm: str = "HS256", secret: bytes = SECRET) -> str:
    """A token, made by hand."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    head = text(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    body = f"{head}.{text(json.dumps(claims).encode())}"
    digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}.get(algorithm)
    return f"{body}.{text(hmac.new(secret, body.encode(), digest).digest()) if digest else ''}"


def test_a_token_made_by_hand_is_as_good_as_ours(idle: Service) -> None:
    assert idle.call("DagstoreGC", token=signed({"Allow": list(EVERYTHING)})) == []


@pytest.mark.parametrize(
    "token",
    [
        make_token(b"\x08" * 32, EVERYTHING),
        make_token(SECRET, EVERYTHING, expires=1.0),
        signed({"Allow": ["admin"]}, "none"),
        signed({"Allow": ["admin"]}, "HS512"),
        signed({"Allow": "admin"}),
        signed({"Allow": [1]}),
        signed({}),
        signed({"Allow": ["admin"], "exp": "tomorrow"}),
        signed({"Allow": ["admin"], "nbf": 1 << 40}),
        make_token(SECRET, EVERYTHING)[:-2],
        "fish",
        "a.b.c",
        "é",
    ],
    ids=range(13),
)
def test_a_token_that_is_none_gets_no_further_even_for_reading(idle: Service, token: str) -> None:
    headers = {b"Authorization": f"Bearer {token}".encode()}
    found = httpx.post(f"{idle.url}/rpc/v0", content=LIST, headers=headers, timeout=PATIENCE, verify=PLAIN)
    assert found.status_code == 401
    assert found.headers["www-authenticate"] == "Bearer"
    assert "Traceback" not in found.text


@pytest.mark.parametrize("header", ["fish", "Basic YTpi", "Bearer"])
def test_an_authorization_that_is_no_bearer_token_is_refused(idle: Service, header: str) -> None:
    assert idle.post(LIST.encode(), None, Authorization=header).status_code == 401


def test_a_token_may_stand_in_the_url(idle: Service) -> None:
    token = make_token(SECRET, ["admin"])
    found = httpx.post(
        f"{idle.url}/rpc/v0?token={token}", content=request("DagstoreGC"), timeout=PATIENCE, verify=PLAIN
    )
    assert outcome(found.json()) == []


def test_a_server_without_a_secret_knows_no_token(tmp_path: Path) -> None:
    with service(tmp_path, secret=None, anonymous=["admin"]) as api:
        assert api.post(LIST.encode()).status_code == 401
        assert api.call("DagstoreGC", token=None) == []
        assert api.call("DagstoreListShards", token=None)[0] == 1


def test_pages_of_strangers_are_refused(tmp_path: Path) -> None:
    with service(tmp_path, origins=["https://example.org"]) as api:
        assert api.post(LIST.encode(), Origin="https://example.com").status_code == 403
        assert api.post(LIST.encode(), Origin=api.url).status_code == 403
        assert api.post(LIST.encode(), Origin="https://example.org").status_code == 200


# -- limits ---------------------------------------------------------------------------------------------------


def raw(api: Service, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server says to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as peer:
        for part in parts:
            peer.sendall(part)
            time.sleep(pause)
        found = b""
        while chunk := peer.recv(65536):
            found += chunk
        return found


HEAD = b"POST /rpc/v0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(max_body=1000)) as api:
        assert api.post(LIST.encode().ljust(1000)).status_code == 200
        found = api.post(LIST.encode().ljust(1001))
        assert found.status_code == 413
        assert found.json()["error"] == {"code": PARSE, "message": "request bigger than maximum 1000 allowed"}
        for claimed in (b"1001", b"9" * 19):  # which is not waited for
            assert raw(api, HEAD + b"Content-Length: " + claimed + b"\r\n\r\n{").startswith(b"HTTP/1.1 413")
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        assert raw(api, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk).startswith(b"HTTP/1.1 413")


def test_a_request_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(request_timeout=0.2)) as api:
        found = raw(api, HEAD + b"Content-Length: 100\r\n\r\n{")
        assert found.startswith(b"HTTP/1.1 408")


def test_a_call_that_takes_too_long_is_told_so_and_others_are_answered(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(wait_timeout=0.3)) as api:
        api.held("a")
        text = "DagstoreInitializeShard: not done within 0.3 s; it goes on"
        assert api.call("DagstoreInitializeShard", "a") == (1, text)
        assert api.call("DagstoreListShards")[0]["State"] == "ShardStateInitializing"
        assert api.open_now() == {"call": 0, "wait": 0, "connection": 0, "stream": 0}


def in_thread(call: Any) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_many_that_wait_hold_up_nobody_and_too_many_are_refused(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(max_waiting=20, threads=1)) as api:
        urls = [api.held(f"{number:02}") for number in range(21)]
        threads = [
            in_thread(lambda key=f"{number:02}": api.call("DagstoreInitializeShard", key)) for number in range(20)
        ]
        eventually(lambda: api.open_now()["wait"] == 20)
        assert len(api.call("DagstoreListShards")) == 21
        code, text = api.call("DagstoreInitializeShard", "20")
        assert (code, text) == (-32000, "too much at once: limit 20 for each wait; try again later")
        for url in urls:
            api.mounts[url].release()
        for thread in threads:
            thread.join(PATIENCE)
        states = [shard["State"] for shard in api.call("DagstoreListShards")]
        assert states == ["ShardStateAvailable"] * 20 + ["ShardStateNew"]


def test_a_client_that_is_gone_is_waited_for_no_longer(api: Service) -> None:
    url = api.held("a")
    threads = threading.active_count()
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE) as peer:
        body = request("DagstoreInitializeShard", "a").encode()
        token = make_token(SECRET, EVERYTHING).encode()
        peer.sendall(HEAD + b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (token, len(body), body))
        eventually(lambda: api.open_now()["wait"] == 1)
    eventually(lambda: api.open_now()["wait"] == 0)
    assert threading.active_count() <= threads + 16 + 3
    api.mounts[url].release()
    eventually(lambda: api.call("DagstoreListShards")[0]["State"] == "ShardStateAvailable")


def with_many(api: Service, count: int = 3000) -> None:
    api.store.register_many((f"{number:05}" + "x" * 900, "bytes:///YQ==") for number in range(count))


def test_a_large_answer_comes_whole_to_all_who_ask(api: Service) -> None:
    with_many(api)
    answers: list[Any] = []
    threads = [in_thread(lambda: answers.append(api.call("DagstoreListShards"))) for _ in range(4)]
    for thread in threads:
        thread.join(PATIENCE)
    assert [[shard["Key"][:5] for shard in answer] for answer in answers] == [[f"{i:05}" for i in range(3000)]] * 4


def test_who_does_not_read_a_large_answer_is_let_go_of(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(send_timeout=0.2)) as api:
        with_many(api, 12_000)  # more than the system takes in before it is read
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.settimeout(PATIENCE)
            peer.connect(("127.0.0.1", api.port))
            body = LIST.encode()
            peer.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            counted = 'requests_total{method="DagstoreListShards",outcome="ok"} 1'
            eventually(lambda: counted in httpx.get(f"{api.url}/metrics", verify=PLAIN, timeout=PATIENCE).text)
            time.sleep(1.0)  # from then on it is being sent
            size = 0
            with contextlib.suppress(ConnectionError):
                while chunk := peer.recv(1 << 20):
                    size += len(chunk)
            assert 0 < size < 12_000 * 900


def test_what_nobody_expected_is_logged_and_the_client_told_only_that(
    api: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api.store, "gc", lambda: 1 // 0)
    with caplog.at_level(logging.ERROR, "carv2.rpc"):
        assert api.call("DagstoreGC") == (-32603, "internal error; the server's log says more")
    assert "ZeroDivisionError" in caplog.text


def test_an_error_of_the_disk_does_not_say_where_it_is(api: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/somewhere/secret")

    monkeypatch.setattr(api.store, "gc", fail)
    assert api.call("DagstoreGC") == (1, "failed to gc: No space left on device")


def test_a_piece_registered_by_many_at_once_is_registered_once(api: Service) -> None:
    from rpc.inprocess import archive_of

    (api.pieces / f"{PIECE}.car").write_bytes(archive_of(b"fish"))
    found: list[Any] = []
    threads = [in_thread(lambda: found.append(api.call("DagstoreRegisterShard", PIECE))) for _ in range(8)]
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [None] * 8
    assert api.store.counters()["registered"] == 1


def test_the_end_of_a_large_answer_is_not_waited_for_without_limit() -> None:
    from carv2.rpc._http import _respond_slowly

    async def send(message: Any) -> None:
        if message.get("body") == b"":  # as a server does while the client takes nothing
            await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.wait_for(_respond_slowly(send, 200, "text/plain", [b"a" * 100_000], 0.05), 5)

    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert time.monotonic() - began < 4
