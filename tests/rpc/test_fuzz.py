"""Requests that nobody thought of: whatever comes, the answer is JSON-RPC's and the server goes on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2.errors import RpcError
from carv2.rpc import ServerLimits, create_app
from carv2.rpc import _jsonrpc as rpc
from rpc.inprocess import FISH, PIECE, SECRET, Service, all_methods, receive, request, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

CODES = {1, rpc.PARSE_ERROR, rpc.INVALID_REQUEST, rpc.METHOD_NOT_FOUND, rpc.INVALID_PARAMS, rpc.SERVER_BUSY}
METHODS = [
    "Filecoin.DagstoreListShards", "Filecoin.DagstoreInitializeShard", "Filecoin.DagstoreRecoverShard",
    "Filecoin.DagstoreInitializeAll", "Filecoin.DagstoreGC", "Filecoin.DagstoreLookupPieces",
    "Filecoin.DagstorePieceIndexSize", "Filecoin.DagstoreRegisterShard", "Filecoin.DagstoreDestroyShard",
    "Filecoin.DagstoreStat", "Filecoin.DagstoreConfig", "Filecoin.DagstoreDoctor", "Filecoin.DagstoreMigrate",
    "Filecoin.DagstoreExportGo", "Filecoin.DagstoreImportGo",
    "xrpc.cancel", "xrpc.ch.val", "xrpc.ch.close", "rpc.discover",
]  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
params = st.lists(
    json_values
    | st.sampled_from(
        [
            "a",
            PIECE,
            {"/": str(FISH)},
            {"/": "Qm"},
            {"MaxConcurrency": 1, "IncludeSealed": True},
            {"Thorough": True, "SkipMounts": True},
            {"Deals": [{"PieceCID": PIECE}], "More": True},
            {"Records": [{"Line": 1, "Key": "a", "URL": "x", "State": 2, "Error": ""}]},
        ]
    ),
    max_size=2,
)
calls = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | json_values,
        "id": st.integers() | st.text() | json_values,
        "method": st.sampled_from(METHODS) | st.text() | json_values,
        "params": params | json_values,
        "meta": json_values,
    },
)
sound_calls = st.fixed_dictionaries(
    {
        "jsonrpc": st.just("2.0"),
        "id": st.integers() | st.text(),
        "method": st.sampled_from(METHODS),
        "params": params,
    }
)
messages = st.one_of(
    calls.map(json.dumps),
    sound_calls.map(json.dumps),
    st.lists(sound_calls | json_values, max_size=4).map(json.dumps),
    json_values.map(json.dumps),
    st.text(),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
bodies = st.one_of(
    messages, st.binary(), st.tuples(messages, st.integers(0, 200)).map(lambda two: two[0][: two[1]])
)


def check(answer: Any) -> None:
    """It is an answer, and says nothing of the server's insides."""
    assert isinstance(answer, dict)
    assert answer["jsonrpc"] == "2.0"
    assert not isinstance(answer["id"], (list, dict, bool))
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        assert set(answer["error"]) == {"code", "message"}
        assert answer["error"]["code"] in CODES, answer
        assert "Traceback" not in answer["error"]["message"]
        assert 'File "' not in answer["error"]["message"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("fuzzed")) as found:
        yield found


@pytest.fixture(scope="module")
def app(fuzzed: Service) -> Starlette:
    limits = ServerLimits(max_body=5000)
    return create_app(fuzzed.store, secret=SECRET, anonymous=["read", "write", "admin"], limits=limits)


async def ask(app: Starlette, method: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        return await client.request(method, "/rpc/v0", content=body, headers=headers)


fuzz = settings(max_examples=300, suppress_health_check=[*HealthCheck])


@fuzz
@given(body=bodies)
def test_whatever_is_posted_is_answered_as_json_rpc_says(app: Starlette, body: bytes) -> None:
    found = asyncio.run(ask(app, "POST", body, {}))
    assert found.status_code in {200, 204, 400, 413}
    assert (found.status_code == 204) == (not found.content)
    if found.content:
        value = found.json()
        for answer in value if isinstance(value, list) else [value]:
            check(answer)
        text = found.text
        assert "NaN" not in text or b"NaN" in body
        assert "Infinity" not in text or b"Infinity" in body


@fuzz
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
    headers=st.dictionaries(
        st.sampled_from(["Authorization", "Origin", "Content-Length", "Content-Type", "Cookie"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
        | st.sampled_from(["Bearer a.b.c", "bearer", "18446744073709551616", "-1", "null"]),
    ),
)
def test_whatever_headers_there_are_the_status_is_one_of_ours(
    app: Starlette, method: str, headers: dict[str, str]
) -> None:
    found = asyncio.run(ask(app, method, request("DagstoreListShards").encode(), headers))
    assert found.status_code in {200, 401, 403, 405, 413}
    assert "Traceback" not in found.text


@fuzz
@given(body=bodies)
def test_what_is_read_of_a_message_can_be_given_back(body: bytes) -> None:
    try:
        requests, _ = rpc.parse(body, max_batch=10)
    except RpcError as fault:
        check(json.loads(b"".join(rpc.error(None, fault))))
        return
    for one in requests:
        check(json.loads(b"".join(rpc.result(one.id, b"null"))))
        assert json.loads(b"".join(rpc.result(one.id, b"[1]")))["id"] == one.id


@settings(max_examples=60, suppress_health_check=[*HealthCheck])
@given(sent=st.lists(bodies.map(lambda body: body[:4000]), max_size=6))
def test_whatever_a_websocket_gets_it_goes_on(fuzzed: Service, sent: list[bytes]) -> None:
    with fuzzed.websocket() as websocket:
        for body in sent:
            websocket.send(body)
        websocket.send(request("DagstoreListShards", id="the last of them"))
        while True:
            message = receive(websocket)
            if isinstance(message, dict) and message.get("id") == "the last of them":
                break
            for answer in message if isinstance(message, list) else [message]:
                if "method" in answer:
                    assert answer["method"] in {"xrpc.ch.val", "xrpc.ch.close"}
                else:
                    check(answer)


def test_the_fuzzer_knows_all_methods(fuzzed: Service) -> None:
    assert set(all_methods(fuzzed.store)) <= set(METHODS)
