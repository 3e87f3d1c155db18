"""JSON-RPC over WebSocket: calls at once, the stream, what is cancelled, and clients that are gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from carv2.rpc import ServerLimits, make_token
from rpc.inprocess import EVERYTHING, PATIENCE, SECRET, Service, eventually, outcome, receive, request, service

if TYPE_CHECKING:
    from pathlib import Path

    from websockets.sync.client import ClientConnection

NOTHING_OPEN = {"call": 0, "wait": 0, "connection": 0, "stream": 0}
CANCELLED = {"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "context canceled"}}


def initialize_all(concurrency: int = 0, id: object = 7, *, sealed: bool = True) -> str:
    return request("DagstoreInitializeAll", {"MaxConcurrency": concurrency, "IncludeSealed": sealed}, id=id)


def cancel(id: object = 7) -> str:
    return json.dumps({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [id]})


def values(websocket: ClientConnection, channel: int) -> list[dict[str, Any]]:
    """The values of a channel, up to its end, which nothing else interrupts."""
    found = []
    while (message := receive(websocket))["method"] == "xrpc.ch.val":
        assert set(message) == {"jsonrpc", "method", "params"}
        number, value = message["params"]
        assert number == channel
        found.append(value)
    assert message == {"jsonrpc": "2.0", "method": "xrpc.ch.close", "params": [channel]}
    return found


def test_calls_are_answered_with_their_ids_as_they_end(api: Service) -> None:
    url = api.held("a")
    with api.websocket() as websocket:
        websocket.send(request("DagstoreInitializeShard", "a", id="slow"))
        websocket.send(request("DagstoreListShards", id="quick"))
        assert receive(websocket)["id"] == "quick"
        api.mounts[url].release()
        assert receive(websocket) == {"jsonrpc": "2.0", "id": "slow", "result": None}
    eventually(lambda: api.open_now() == NOTHING_OPEN)


def test_all_new_shards_are_initialized_and_told_of(api: Service) -> None:
    bad = api.register("bad")
    api.mounts[bad].gone = True
    for key in "ab":
        api.register(key)
    with api.websocket() as websocket:
        websocket.send(initialize_all(concurrency=2))
        assert receive(websocket) == {"jsonrpc": "2.0", "id": 7, "result": 1}
        found = values(websocket, 1)
        assert [set(event) for event in found] == [{"Key", "Event", "Success", "Error", "Total", "Current"}] * 6
        assert {event["Total"] for event in found} == {3}
        for key, current in (("a", 1), ("b", 2), ("bad", 3)):
            start, end = [event for event in found if event["Key"] == key]
            assert start == {
                "Key": key, "Event": "start", "Success": False, "Error": "", "Total": 3, "Current": current,
            }  # fmt: skip
            assert (end["Event"], end["Current"], end["Success"]) == ("end", current, key != "bad")
            assert bool(end["Error"]) == (key == "bad")
        websocket.send(initialize_all())
        assert receive(websocket)["result"] == 2
        assert values(websocket, 2) == []


def test_less_than_none_at_once_is_as_many_as_there_are(api: Service) -> None:
    api.register("a")
    with api.websocket() as websocket:
        websocket.send(initialize_all(concurrency=-1))
        assert [event["Event"] for event in values(websocket, receive(websocket)["result"])] == ["start", "end"]


def test_sealed_shards_are_left_alone_unless_they_are_asked_for(api: Service) -> None:
    sealed = api.register("sealed")
    api.mounts[sealed].ready = False
    api.register("a")
    with api.websocket() as websocket:
        for is_asked, expected in ((False, {"a"}), (True, {"sealed"})):
            websocket.send(initialize_all(sealed=is_asked))
            assert {event["Key"] for event in values(websocket, receive(websocket)["result"])} == expected


def test_a_cancelled_stream_ends_at_once_and_begins_no_more(api: Service) -> None:
    urls = [api.held(key) for key in "abc"]
    with api.websocket() as websocket:
        websocket.send(initialize_all(concurrency=1))
        assert receive(websocket)["result"] == 1
        assert receive(websocket)["params"][1]["Key"] == "a"
        websocket.send(cancel())
        assert values(websocket, 1) == []
        assert api.open_now()["stream"] == 0
        api.mounts[urls[0]].release()
        eventually(lambda: api.call("DagstoreListShards")[0]["State"] == "ShardStateAvailable")
        time.sleep(0.1)  # for a mistake
        states = [shard["State"] for shard in api.call("DagstoreListShards")]
        assert states == ["ShardStateAvailable", "ShardStateNew", "ShardStateNew"]
        websocket.send(request("DagstoreListShards", id=8))
        assert receive(websocket)["id"] == 8


def test_a_client_that_is_gone_ends_its_streams_and_calls(api: Service) -> None:
    for key in "abc":
        api.held(key)
    before = threading.active_count()
    with api.websocket() as websocket:
        websocket.send(initialize_all(concurrency=1))
        websocket.send(request("DagstoreInitializeShard", "c", id=8))
        eventually(lambda: (api.open_now()["stream"], api.open_now()["wait"]) == (1, 1))
        begun = ["ShardStateInitializing", "ShardStateNew", "ShardStateInitializing"]
        eventually(lambda: [shard["State"] for shard in api.call("DagstoreListShards")] == begun)
        websocket.socket.shutdown(2)  # without a word
    eventually(lambda: api.open_now() == NOTHING_OPEN)
    eventually(lambda: not [one for one in threading.enumerate() if "recv_events" in one.name])
    assert [shard["State"] for shard in api.call("DagstoreListShards")] == begun
    assert threading.active_count() < before + 30


def test_streams_that_come_and_go_leave_no_threads(api: Service) -> None:
    api.held("a")
    counts = []
    for _ in range(3):
        for _ in range(5):
            with api.websocket() as websocket:
                websocket.send(initialize_all())
                assert receive(websocket)["result"] == 1
        eventually(lambda: api.open_now()["stream"] == 0)
        time.sleep(0.6)  # so long a thread may take to see that nobody wants its events
        counts.append(sum(thread.name == "carv2-dagstore" for thread in threading.enumerate()))
    assert counts[2] <= counts[0] + 1


def test_a_call_that_waits_can_be_cancelled_and_is_answered(api: Service) -> None:
    api.held("a")
    with api.websocket() as websocket:
        websocket.send(request("DagstoreInitializeShard", "a", id=7))
        eventually(lambda: api.open_now()["wait"] == 1)
        websocket.send(cancel(8))  # there is none
        websocket.send(cancel(7))
        assert receive(websocket) == CANCELLED
        assert api.open_now()["wait"] == 0
        websocket.send(cancel(7))  # again
        websocket.send(json.dumps({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": []}))
        websocket.send(request("DagstoreListShards", id=9))
        assert receive(websocket)["id"] == 9


def test_calls_that_are_cancelled_at_once_are_answered_all_the_same(api: Service) -> None:
    api.held("a")
    with api.websocket() as websocket:
        for _ in range(20):
            websocket.send(request("DagstoreRegisterShard", "a", id=7))
            websocket.send(cancel())
            assert receive(websocket) in (CANCELLED, {"jsonrpc": "2.0", "id": 7, "result": None})


@pytest.mark.parametrize(
    ("message", "code"),
    [("fish", -32700), ("[]", -32600), ("7", -32600), ('{"jsonrpc":"2.0","id":1}', -32600), (b"\xff", -32700)],
)
def test_what_is_no_call_is_refused_and_the_next_one_answered(
    idle: Service, message: str | bytes, code: int
) -> None:
    with idle.websocket() as websocket:
        websocket.send(message)
        assert outcome(receive(websocket))[0] == code
        websocket.send(request("DagstoreListShards").encode())  # as bytes, which go-jsonrpc takes too
        assert outcome(receive(websocket)) == []


def test_messages_of_go_clients_that_want_no_answer_get_none(idle: Service) -> None:
    with idle.websocket() as websocket:
        for method in ("xrpc.ch.val", "xrpc.ch.close", "Filecoin.DagstoreInitializeAll", "Filecoin.Nothing"):
            websocket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": [1]}))
        websocket.send(request("DagstoreListShards", id="last"))
        assert receive(websocket) == {"jsonrpc": "2.0", "id": "last", "result": []}


def test_a_batch_is_answered_as_one_and_has_no_streams(idle: Service) -> None:
    with idle.websocket() as websocket:
        websocket.send(f"[{request('DagstoreListShards', id=1)},{initialize_all(id=2)}]")
        first, second = receive(websocket)
        assert (first["result"], second["error"]["code"]) == ([], -32601)


def test_a_stream_takes_its_permission_and_parameters(idle: Service) -> None:
    with idle.websocket(None) as websocket:
        websocket.send(initialize_all())
        text = "missing permission to invoke 'DagstoreInitializeAll' (need 'write')"
        assert outcome(receive(websocket)) == (1, text)
    with idle.websocket() as websocket:
        for params in ([], [7], [{"MaxConcurrency": "1"}], [{"MaxConcurrency": True}], [{"IncludeSealed": 1}]):
            websocket.send(request("DagstoreInitializeAll", *params))
            assert outcome(receive(websocket))[0] == -32602
        websocket.send(request("DagstoreInitializeAll", {"MaxConcurrency": -1, "Other": 1}))
        assert outcome(receive(websocket)) == 1


def test_a_token_that_is_none_and_a_page_of_a_stranger_are_refused_before_it_opens(idle: Service) -> None:
    with pytest.raises(InvalidStatus) as refused:
        idle.websocket(make_token(b"\x08" * 32, EVERYTHING))
    assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        idle.websocket(None, origin="https://example.org")
    assert refused.value.response.status_code == 403


def test_connections_streams_and_calls_are_limited(tmp_path: Path) -> None:
    limits = ServerLimits(max_connections=2, max_streams=1, max_calls_per_connection=3, max_body=2000)
    with service(tmp_path, limits) as api:
        api.held("a")
        with api.websocket() as first, api.websocket() as second:
            with pytest.raises(InvalidStatus) as refused:
                api.websocket()
            assert refused.value.response.status_code == 503
            first.send(initialize_all())
            assert receive(first)["result"] == 1
            second.send(initialize_all())
            text = "too much at once: limit 1 for each stream; try again later"
            assert outcome(receive(second)) == (-32000, text)
            assert receive(first)["params"][1]["Event"] == "start"
            for id_ in (1, 2, 3):
                first.send(request("DagstoreRecoverShard", "b", id=id_))
                assert receive(first)["id"] == id_
            api.register("b")
            api.mounts[api.store.info("b").url].hold()
            first.send(request("DagstoreInitializeShard", "b", id=4))
            api.register("c")
            api.mounts[api.store.info("c").url].hold()
            first.send(request("DagstoreInitializeShard", "c", id=5))
            eventually(lambda: api.open_now()["wait"] == 2)
            first.send(request("DagstoreListShards", id=6))
            assert outcome(receive(first)) == (-32000, "more than 3 calls at once on this connection")
            second.send("[" + " " * 2000 + "]")
            with pytest.raises(ConnectionClosed) as closed:
                second.recv(timeout=PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        eventually(lambda: api.open_now() == NOTHING_OPEN)


def test_who_comes_along_leaves_places_for_those_who_may_write(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(max_connections=3)) as api, contextlib.ExitStack() as stack:
        for token in (None, make_token(SECRET, ["read", "sign"])):
            stack.enter_context(api.websocket(token))
        for token, status in ((None, 503), (make_token(SECRET, ["read"]), 503), ("fish", 401)):
            with pytest.raises(InvalidStatus) as refused:
                api.websocket(token)
            assert refused.value.response.status_code == status
        operator = stack.enter_context(api.websocket(make_token(SECRET, ["read", "admin"])))
        operator.send(request("DagstoreListShards"))
        assert outcome(receive(operator)) == []
        with pytest.raises(InvalidStatus) as refused:
            api.websocket()
        assert refused.value.response.status_code == 503


def test_on_an_open_connection_a_token_expires_too(idle: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time()
    with idle.websocket(make_token(SECRET, EVERYTHING, expires=start + 1000)) as websocket:
        websocket.send(request("DagstoreListShards"))
        assert outcome(receive(websocket)) == []
        monkeypatch.setattr("carv2.rpc.tokens.time.time", lambda: start + 1001)
        for message in (request("DagstoreListShards", id=7), initialize_all()):
            websocket.send(message)
            assert outcome(receive(websocket)) == (1, "the token has expired")
        websocket.send(f"[{request('DagstoreListShards')}]")
        assert outcome(receive(websocket)[0]) == (1, "the token has expired")


def test_who_takes_nothing_is_let_go_of(tmp_path: Path) -> None:
    with service(tmp_path, ServerLimits(send_timeout=0.3)) as api:
        api.store.register_many((f"{number:05}" + "x" * 900, "bytes:///" + "YQ==") for number in range(2000))
        with api.websocket(max_queue=1, max_size=None, compression=None, close_timeout=0.1) as websocket:
            for id_ in range(60):
                websocket.send(request("DagstoreListShards", id=id_))
            eventually(lambda: api.open_now()["connection"] == 0)


def test_a_stream_goes_on_while_its_client_is_slow(api: Service) -> None:
    for number in range(50):
        api.register(f"{number:02}")
    with api.websocket() as websocket:
        websocket.send(initialize_all(concurrency=4))
        assert receive(websocket)["result"] == 1
        time.sleep(0.3)
        found = values(websocket, 1)
    assert len(found) == 100
    assert sum(event["Success"] for event in found) == 50


def test_the_number_of_a_channel_is_the_connections_own(api: Service) -> None:
    with api.websocket() as first, api.websocket(make_token(SECRET, ["write"])) as second:
        for websocket in (first, second):
            websocket.send(initialize_all())
            assert receive(websocket)["result"] == 1
            assert values(websocket, 1) == []


@pytest.mark.parametrize(
    "at", ["websocket.accept", "websocket.send", "websocket.close", "websocket.http.response.start"]
)
@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_a_client_that_is_gone_at_any_moment_is_no_error(idle: Service, at: str, error: type[Exception]) -> None:
    sent = list[str]()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == at:
            raise error("the client is gone")

    async def main() -> None:
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        inbox.put_nowait({"type": "websocket.connect"})
        inbox.put_nowait({"type": "websocket.receive", "text": request("DagstoreListShards")})
        if at == "websocket.close":
            inbox.put_nowait({"type": "websocket.receive", "text": "[" + " " * (1 << 20) + "]"})
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/rpc/v0",
            "headers": [],
            "extensions": {"websocket.http.response": {}},
        }
        if at.endswith("start"):
            scope["headers"] = [(b"authorization", b"Bearer fish")]
        await asyncio.wait_for(idle.app(scope, inbox.get, send), PATIENCE)

    asyncio.run(main())
    assert at in sent
    assert idle.open_now() == NOTHING_OPEN


def test_a_client_that_is_gone_before_it_was_let_in_gets_no_word(idle: Service) -> None:
    async def receive() -> Any:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "websocket", "path": "/rpc/v0", "headers": []}
    asyncio.run(asyncio.wait_for(idle.app(scope, receive, send), PATIENCE))
