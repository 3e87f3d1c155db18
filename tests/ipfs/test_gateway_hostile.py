"""Requests that no client makes: whatever comes, the gateway answers, tells nothing and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import carv2
from carv2 import CID
from carv2.ipfs.gateway import GatewayLimits, create_gateway
from carv2.unixfs import form_of, verify_stream
from helpers.unixfs import Dag, identity
from ipfs.gateway_server import ask, call

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG = Dag()
TWO = DAG.file([DAG.raw(b"b"), DAG.raw(b"c")])
FOLDER = DAG.directory({"a": DAG.raw(b"a"), "ü": TWO, b"\xff": DAG.raw(b"d")})
ROOT = CID(FOLDER.cid)
STORE = {CID(cid): data for cid, data in DAG.blocks.items()}
APP = create_gateway(STORE)


@pytest.fixture(scope="module", autouse=True)
def closed_at_the_end() -> Iterator[None]:
    yield
    APP.close()


PIECES = [
    b"/ipfs/", b"/ipns/", str(ROOT).encode(), b"bafkqaaa", b"..", b".", b"/", b"%2e%2e", b"%2F", b"%00", b"%",
    b"%FF", b"%zz", b"a", b"\xc3\xbc", b"%C3%BC", b"Qm", b"f01",
    b"z" * 50, b"\x00", b"\r\n",
    b"ipfs://", b"?", b"#",
]  # fmt: skip
NAMES = ["format", "dag-scope", "entity-bytes", "car-version", "car-order", "car-dups", "filename", ""]
VALUES = [
    "raw", "car", "tar", "all", "entity", "block", "0:*", "-1:5", "5:-9", "1", "2", "dfs", "y", "n", "",
    "\r\nX: y",
    "9" * 400, "ü", "\x00", "%", "0:0", "a/b", "'", '"',
]  # fmt: skip
TYPES = ["application/vnd.ipld.car", "application/vnd.ipld.raw", "*/*", "text/html", ";", ",", "q=1", "q=",
         "dups=y", "order=dfs", "version=1", "=", '"', " ", "\xff", "nan", "q=nan", "q=1e999"]  # fmt: skip

paths = st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=8).map(
    lambda parts: b"/ipfs/" + b"".join(parts)
)
queries = st.lists(
    st.tuples(st.sampled_from(NAMES) | st.text(max_size=3), st.sampled_from(VALUES) | st.text(max_size=9))
)
headers = st.lists(
    st.tuples(
        st.sampled_from([b"accept", b"Accept", b"if-none-match", b"cache-control", b"range"]),
        st.lists(st.sampled_from(TYPES), max_size=6).map(lambda parts: ";".join(parts).encode("latin-1"))
        | st.binary(max_size=20),
    ),
    max_size=4,
)


def is_in_order(status: int, body: bytes) -> None:
    assert status in {200, 204, 304, 400, 404, 405, 406, 412, 414, 422, 501}, (status, body)
    assert b"Traceback" not in body


@given(
    path=paths, query=queries, given_headers=headers, method=st.sampled_from(["GET", "HEAD", "OPTIONS", "BREW"])
)
@example(path=b"/ipfs/" + b"z" * 4000, query=[("format", "raw")], given_headers=[], method="GET")
@example(path=b"/ipfs/Qm\xff", query=[("format", "raw")], given_headers=[], method="GET")
def test_any_request_is_answered(path: bytes, query: Any, given_headers: Any, method: str) -> None:
    from urllib.parse import urlencode

    raw_query = urlencode(query, errors="surrogatepass").encode()
    is_in_order(*call(APP, path, raw_query, given_headers, method=method))


@given(query=st.binary(max_size=60), accept=st.binary(max_size=60))
def test_any_bytes_in_query_and_accept_are_answered(query: bytes, accept: bytes) -> None:
    is_in_order(*call(APP, f"/ipfs/{ROOT}/a".encode(), query, [(b"accept", accept)]))


@given(first=st.integers(-20, 20), last=st.none() | st.integers(-20, 20), dups=st.booleans())
def test_every_range_that_is_one_can_be_verified(first: int, last: int | None, dups: bool) -> None:
    span = f"{first}:{'*' if last is None else last}"
    answer = ask(APP, f"/ipfs/{ROOT}/ü?format=car&car-dups={'ny'[dups]}&entity-bytes={span}")
    if last is not None and (first < 0) == (last < 0) and last < first:
        assert answer.status_code == 400
        return
    form = form_of(answer.headers["content-type"])
    asked: dict[str, Any] = {"scope": "entity", "byte_range": (first, last)}
    found = list(verify_stream([answer.content], ROOT, "ü", **asked, **form))
    assert found[0].cid == ROOT


def test_names_that_are_no_text_are_found() -> None:
    status, body = call(APP, f"/ipfs/{ROOT}/%FF".encode(), b"format=car")
    assert (status, [block.data for block in carv2.iter_blocks([body])][-1]) == (200, b"d")
    assert ask(APP, f"/ipfs/{ROOT}/%FF?format=car").headers["x-ipfs-path"].endswith("/%FF")


@pytest.mark.parametrize("prefix", [b"", b"/", b"//", b"/./", b"/x/../"])
def test_slashes_and_dots_do_not_matter(prefix: bytes) -> None:
    _, expected = call(APP, f"/ipfs/{ROOT}/a".encode(), b"format=car")
    assert call(APP, f"/ipfs/{ROOT}/".encode() + prefix + b"a", b"format=car") == (200, expected)


def test_headers_of_an_answer_hold_nothing_that_ends_a_line() -> None:
    for url in (
        f"/ipfs/{ROOT}/a%0d%0aX-Evil:1?format=car",
        f"/ipfs/{ROOT}?format=car&filename=a%0d%0aX-Evil:1",
        f"/ipfs/{ROOT}?dag-scope=%0d%0aX-Evil:1&format=car",
        "/ipfs/%0d%0aX-Evil:1?format=raw",
    ):
        answer = ask(APP, url)
        assert not [value for value in answer.headers.values() if "\r" in value or "\n" in value]
        assert "x-evil" not in answer.headers


def test_a_huge_identity_cid_is_no_header() -> None:
    dag = Dag()
    huge = identity(bytes(100_000), codec=0x55)
    root = CID(dag.directory({"huge": huge}).cid)
    app = create_gateway({CID(cid): data for cid, data in dag.blocks.items()})
    for method in ("GET", "HEAD"):
        answer = ask(app, f"/ipfs/{root}/huge?format=car", method)
        assert answer.status_code == 422
        assert len(str(answer.headers)) < 2000
    app.close()


def test_a_deep_dag_ends_and_takes_no_stack() -> None:
    dag = Dag()
    made = dag.raw(b"bottom")
    for _ in range(1100):
        made = dag.directory({"d": made})
    app = create_gateway({CID(cid): data for cid, data in dag.blocks.items()})
    answer = ask(app, f"/ipfs/{CID(made.cid)}?format=car")
    assert (answer.status_code, "1024" in answer.text) == (422, True)
    assert ask(app, f"/ipfs/{CID(made.cid)}/{'d/' * 1100}?format=car").status_code == 200
    app.close()


def test_a_url_has_a_limit() -> None:
    app = create_gateway(STORE, limits=GatewayLimits(max_url=100))
    assert ask(app, f"/ipfs/{ROOT}?format=raw").status_code == 200
    assert ask(app, f"/ipfs/{ROOT}?format=raw&filename={'a' * 50}").status_code == 414
    app.close()


def test_other_kinds_of_connections_are_turned_away() -> None:
    import asyncio

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    asyncio.run(APP({"type": "websocket"}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
