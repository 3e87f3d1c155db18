"""Gateways that lie, stall, flood or talk nonsense: a fetch ends, in time, and keeps only what was asked for."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.cid import CID
from carv2.errors import CarError, FetchError
from carv2.ipfs import FetchOptions, fetch
from carv2.ipfs._client import _retry_after
from carv2.ipfs._gateway_url import GatewayURL
from carv2.ipfs._turns import Turns
from helpers import archives
from helpers.unixfs import Dag
from ipfs.test_fetch import BIG, DAG, FOLDER, QUICK, ROOT, check, left
from ipfs.webgateway import CAR, RAW, Answer, WebGateway, body, cut, status
from unixfs_read.gateway import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carv2.errors import GatewayError
    from carv2.ipfs._source import GatewaySource

FOREIGN = archives.BARRELEYE
ONCE = FetchOptions(timeout=5, patience=10, retries=0, max_wait=0)
LONG = 8.0  # seconds that no test waits for unless it fails


@pytest.fixture
def liar() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


@pytest.fixture
def honest() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


def blocks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(block.cid), block.data) for block in carv2.open(data)]


def among(change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> Callable[[Answer], Answer]:
    return body(lambda data: stream(change(blocks_of(data))))


def flipped(data: bytes) -> bytes:
    return data[:20_000] + bytes([data[20_000] ^ 1]) + data[20_001:]


TYPELESS = f"{CAR}; version=1"

LIES: dict[str, Callable[[Answer], Answer]] = {
    "a block with wrong bytes": body(flipped),
    "a foreign block in front": among(lambda blocks: [FOREIGN, *blocks]),
    "a foreign block in the middle": among(lambda blocks: [*blocks[:5], FOREIGN, *blocks[5:]]),
    "a foreign block at the end": among(lambda blocks: [*blocks, FOREIGN]),
    "a foreign block, in no order": lambda answer: replace(
        among(lambda blocks: [*blocks[:5], FOREIGN, *blocks[5:]])(answer), headers={"Content-Type": TYPELESS}
    ),
    "a block again": among(lambda blocks: [*blocks[:5], blocks[2], *blocks[5:]]),
    "another order": among(lambda blocks: [*blocks[:5], blocks[6], blocks[5], *blocks[7:]]),
    "another DAG": lambda answer: replace(answer, body=stream([FOREIGN])),
    "an empty archive": lambda answer: replace(answer, body=stream([])),
    "nothing": lambda answer: replace(answer, body=b""),
    "no archive": lambda answer: replace(answer, body=b"<html>" * 1000),
    "a header of 2 GiB": lambda answer: replace(answer, body=b"\xff\xff\xff\xff\x07" + b"x" * 100),
    "a section of 2 GiB": body(lambda data: data[:59] + b"\xff\xff\xff\xff\x07" + b"x" * 100),
    "a block left out": among(lambda blocks: blocks[:7] + blocks[8:]),
    "the gateway's regrets": body(
        lambda data: data[:20_000] + b"[Gateway Error: CAR stream truncated, response is incomplete]"
    ),
    "html, said to be that": lambda answer: replace(answer, headers={"Content-Type": "text/html"}, body=b"<html>"),
    "a raw block of another CID": lambda answer: replace(answer, headers={"Content-Type": RAW}, body=b"x"),
    "compressed": lambda answer: replace(
        answer,
        headers={**answer.headers, "Content-Encoding": "gzip"},
        body=gzip.compress(answer.body + bytes(1 << 20)),
    ),
    "no length, an early end": lambda answer: replace(
        answer, headers={**answer.headers, "Connection": "close"}, cut=20_000
    ),
    "400": status(400),
    "402": status(402),
    "410": status(410),
    "500": status(500),
    "a status that is none": status(999),
    "elsewhere": status(302, Location="http://127.0.0.2:1/ipfs/x"),
    "to a file": status(302, Location="file:///etc/passwd"),
    "in circles": status(302, Location="/ipfs/circle"),
    "to nowhere": status(302, Location="http://[::1"),
    "later than anybody waits": status(429, Retry_After="86400"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_liar_gets_nothing_in_and_the_next_gateway_is_asked(
    liar: WebGateway, honest: WebGateway, tmp_path: Path, name: str
) -> None:
    liar.always = LIES[name]
    out = tmp_path / "out.car"
    with contextlib.suppress(FetchError):
        alone = fetch(ROOT.cid, out, liar.url, options=ONCE)
        assert name in {"a foreign block at the end", "a foreign block, in no order"}  # all is there by then
        assert len(alone.failures) == 1
        out.unlink()
    kept = out if out.exists() else tmp_path / "out.car.part"
    if kept.exists():
        with carv2.open(kept) as car:
            assert {bytes(block.cid) for block in car} <= DAG.blocks.keys()
    found = fetch(ROOT.cid, out, [liar.url, honest.url], options=ONCE)
    check(out, honest)
    assert found.failures
    assert {error.url for error in found.failures} == {liar.url}
    assert left(tmp_path) == ["out.car"]


@pytest.mark.parametrize("name", LIES)
def test_a_liar_alone_comes_to_an_end(liar: WebGateway, tmp_path: Path, name: str) -> None:
    liar.always = LIES[name]
    began = time.monotonic()
    with contextlib.suppress(FetchError):
        fetch(FOLDER.cid, tmp_path / "out.car", liar.url, options=QUICK)
    assert time.monotonic() - began < LONG
    assert len(liar.asked) < 100


@pytest.mark.parametrize(
    "name", ["a block with wrong bytes", "a foreign block in the middle", "compressed", "elsewhere"]
)
def test_who_lied_once_is_not_asked_again(liar: WebGateway, tmp_path: Path, name: str) -> None:
    liar.faults = [LIES[name]]
    with pytest.raises(FetchError):
        fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=QUICK)
    assert len(liar.asked) == 1


TYPES = ["; version=1; order=dfs; dups=n", "; version=1; order=dfs; dups=y", "; version=1; order=unk; dups=n", ""]


@pytest.mark.parametrize("form", TYPES)
def test_what_the_answer_says_of_itself_counts(liar: WebGateway, tmp_path: Path, form: str) -> None:
    """Not what was asked for: order and duplicates."""
    liar.form = form
    if "dups=y" in form:
        liar.model.answer = lambda *args, **kw: type(liar.model).answer(  # type: ignore[method-assign]
            liar.model, *args, **{**kw, "dups": True}
        )
    elif "dfs" not in form:
        honest = liar.model.answer

        def levels(*args: object, **kw: object) -> list[tuple[bytes, bytes]]:
            blocks = honest(*args, **kw)  # type: ignore[arg-type]
            return blocks[:1] + blocks[:0:-1]

        liar.model.answer = levels  # type: ignore[method-assign]
    fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=ONCE)
    liar.model.__dict__.pop("answer", None)
    check(tmp_path / "out.car", liar)


def test_what_does_not_say_that_it_is_an_archive_is_none(liar: WebGateway, tmp_path: Path) -> None:
    liar.always = lambda answer: replace(answer, headers={"Content-Type": answer.headers["Content-Type"][:23]})
    found = fetch(FOLDER.cid, tmp_path / "out.car", liar.url, options=ONCE)
    assert [error.other_form for error in found.failures] == [True]
    assert all("format=raw" in asked for asked in liar.asked[1:])
    check(tmp_path / "out.car", liar, FOLDER.cid)


def test_a_block_without_end(liar: WebGateway, tmp_path: Path) -> None:
    liar.cars = False
    liar.always = lambda answer: (
        replace(answer, sized=False, endless=bytes(1 << 16)) if answer.status == 200 else answer
    )
    options = replace(ONCE, limits=carv2.Limits(section=1 << 20))
    with pytest.raises(FetchError, match="more than a block may have"):
        fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=options)


def test_an_answer_that_takes_too_much_memory_is_had_in_several(liar: WebGateway, tmp_path: Path) -> None:
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=replace(QUICK, max_held=9000))
    assert found.failures
    assert all("too much memory" in str(error) for error in found.failures)
    check(tmp_path / "out.car", liar)


def test_an_answer_with_children_first_is_no_use(liar: WebGateway, tmp_path: Path) -> None:
    liar.form = ""
    liar.always = among(lambda blocks: blocks[::-1])
    with pytest.raises(FetchError, match="too much memory"):
        fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=replace(QUICK, max_held=9000))
    assert len(liar.asked) == 1
    fetch(ROOT.cid, tmp_path / "out.car", liar.url)
    check(tmp_path / "out.car", liar)


STALLS: dict[str, Callable[[Answer], Answer]] = {
    "nothing behind the headers": lambda answer: replace(answer, body=b"", hang=True),
    "nothing behind a while": lambda answer: replace(answer, body=answer.body[:20_000], hang=True),
    "a byte now and then": lambda answer: replace(answer, pause=0.01),
    "a byte now and then behind a while": lambda answer: replace(
        answer, body=answer.body[:20_000], endless=b"\x01", pause=0.02
    ),
    "no end, in no order": lambda answer: replace(
        answer,
        headers={"Content-Type": CAR},
        body=answer.body[:20_000],
        endless=archives.section(*FOREIGN),
        pause=0.002,
    ),
}


@pytest.mark.parametrize("name", STALLS)
def test_a_gateway_that_stalls_is_given_up(
    liar: WebGateway, honest: WebGateway, tmp_path: Path, name: str
) -> None:
    liar.always = STALLS[name]
    options = FetchOptions(timeout=0.4, patience=0.8, retries=0, max_wait=0)
    began = time.monotonic()
    found = fetch(ROOT.cid, tmp_path / "out.car", [liar.url, honest.url], options=options)
    assert time.monotonic() - began < LONG
    assert len(found.failures) == 1
    check(tmp_path / "out.car", honest)


def test_an_answer_that_does_not_end_is_not_waited_for(liar: WebGateway, tmp_path: Path) -> None:
    liar.always = lambda answer: replace(answer, hang=True)
    began = time.monotonic()
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=FetchOptions(timeout=60, patience=60))
    assert time.monotonic() - began < LONG
    assert found.failures == ()
    check(tmp_path / "out.car", liar)


BEHIND: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "bytes that are no section": (body(lambda data: data + b"\xff" * 7), "behind it: "),
    "half a section": (body(lambda data: data + b"\x40half"), "section: wanted 65 bytes"),
    "a limit": (body(lambda data: data + b"\xff\xff\xff\xff\x07x"), "limit 8388608"),
    "regrets": (body(lambda data: data + b"[Gateway Error: out of luck]"), "out of luck"),
    "a connection that breaks": (
        lambda answer: replace(answer, body=answer.body + b"\x40half", cut=len(answer.body)),
        "breaks off",
    ),
    "less than was said": (
        lambda answer: replace(answer, body=answer.body + b"\x40half", cut=len(answer.body), sized=True),
        "breaks off",
    ),
    "endless bytes": (lambda answer: replace(answer, endless=b"\xff" * 1000), "behind it: "),
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_is_wrong_behind_the_last_block_is_a_remark(liar: WebGateway, tmp_path: Path, name: str) -> None:
    change, said = BEHIND[name]
    liar.faults = [change]
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=ONCE)
    assert [error.url for error in found.failures] == [liar.url]
    assert str(found.failures[0]).startswith(f"{liar.url}: all that was asked for came, but behind it: ")
    assert said in str(found.failures[0])
    assert len(liar.asked) == found.question_count == 1
    check(tmp_path / "out.car", liar)


def test_remarks_do_not_keep_a_gateway_waiting(
    liar: WebGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for all that is missing, one question after the other."""
    liar.faults = [cut(40_000)]
    regrets = body(lambda data: data + b"[Gateway Error: out of luck]")
    liar.always = lambda answer: regrets(answer) if CAR in answer.headers["Content-Type"] else answer
    failed, blamed = Turns.failed, list[str]()

    def count(turns: Turns, source: GatewaySource, error: GatewayError, *, was_useful: bool) -> None:
        blamed.append(str(error))
        failed(turns, source, error, was_useful=was_useful)

    monkeypatch.setattr(Turns, "failed", count)
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=QUICK)
    assert sum("behind it: " in str(error) for error in found.failures) > 1
    assert len(blamed) == 1
    check(tmp_path / "out.car", liar)


HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize("second", [status(404), lambda answer: replace(answer, headers=HTML, body=b"<html>")])
def test_an_error_names_the_page_that_came_instead(
    liar: WebGateway, tmp_path: Path, second: Callable[[Answer], Answer]
) -> None:
    liar.faults = [lambda answer: replace(answer, headers=HTML, body=b"<html>"), second]
    with pytest.raises(FetchError) as caught:
        fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=ONCE)
    said = str(caught.value)
    why = f"{liar.url}: it answered with text/html, not with {CAR}; and block by block: it answered "
    assert why in said
    assert said.count(liar.url) == 1
    assert said.partition(why)[2].startswith(("404", f"with text/html, not with {RAW}"))


def test_a_block_is_a_block_whatever_its_type(liar: WebGateway, tmp_path: Path) -> None:
    liar.cars = False
    liar.always = lambda answer: replace(answer, headers=HTML) if answer.status == 200 else answer
    fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=ONCE)
    check(tmp_path / "out.car", liar)


@pytest.mark.parametrize("code", [429, 503])
def test_a_wait_that_is_too_long_is_said(liar: WebGateway, tmp_path: Path, code: int) -> None:
    liar.always = status(code, Retry_After="3600")
    with pytest.raises(FetchError, match="left alone for 3600 seconds, and max_wait is 60") as caught:
        fetch(ROOT.cid, tmp_path / "out.car", liar.url)
    assert [error.status for error in caught.value.failures if hasattr(error, "status")] == [code]
    liar.faults = [status(code, Retry_After="0")]
    liar.always = lambda answer: answer
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url)
    assert "left alone" not in str(found.failures[0])


def flood(front: bytes, again: bytes) -> Callable[[socket.socket], None]:
    def serve(client: socket.socket) -> None:
        client.sendall(front)
        while True:
            client.sendall(again * (1 + 4096 // len(again)))

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car; version=1; order=dfs; dups=y\r\n"
HEADER = archives.header([])
IDENTITY = archives.section(archives.identity(b"x"), b"x")
FLOODS = {
    "interim answers": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": flood(OK, b"X: " + b"x" * 60_000 + b"\r\n"),
    "a status line": flood(b"", b"H"),
    "a header of an archive": flood(OK + b"\r\n" + archives.varint(30 << 20), b"x"),
    "a chunk's size": flood(OK + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
    "empty chunks' likes": flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\nx\r\n"),
    "an error's text": flood(b"HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n\r\n", b"x"),
    "blocks nobody asked for": flood(OK + b"\r\n" + HEADER, archives.section(*FOREIGN)),
    "identity blocks": flood(OK + b"\r\n" + HEADER, IDENTITY),
    "a redirect's body": flood(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"x"),
    "zeros": flood(OK + b"\r\n", bytes(1000)),
    "another protocol": flood(b"SSH-2.0-OpenSSH_9.6\r\n", b"x"),
}


@contextlib.contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that reads a request and then does as it likes with each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(4096)
            behave(client)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=talk, args=[client], daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("name", FLOODS)
def test_floods_end(tmp_path: Path, name: str) -> None:
    began = time.monotonic()
    with serving(FLOODS[name]) as url, pytest.raises(FetchError):
        fetch(ROOT.cid, tmp_path / "out.car", url, options=ONCE)
    assert time.monotonic() - began < LONG
    assert left(tmp_path) == []


def test_a_dag_of_few_blocks_and_very_many_ways_through_it(tmp_path: Path) -> None:
    """Duplicates, if somebody asks for them, are bounded by the budget too."""
    dag = Dag()
    top = dag.file([dag.raw(b"x" * 10_000)] * 3)
    for _ in range(40):
        top = dag.directory([(b"a", top), (b"b", top)])

    def bomb(client: socket.socket) -> None:
        client.sendall(OK + b"\r\n" + HEADER)
        stack = [top.cid]
        while stack:
            cid = stack.pop()
            client.sendall(archives.section(cid, dag.blocks[cid]))
            if cid[1] == archives.DAG_PB:
                stack += [bytes(link) for link in carv2.Block(cid, dag.blocks[cid]).links()][::-1]

    with serving(bomb) as url, pytest.raises(CarError, match="each twice"):
        fetch(top.cid, tmp_path / "out.car", url, options=replace(ONCE, dups=True, max_bytes=1 << 20))
    with WebGateway(dag.blocks) as server:
        found = fetch_of_single_blocks(server, top.cid, tmp_path / "new.car")
    assert found == 42


def fetch_of_single_blocks(server: WebGateway, root: bytes, out: Path) -> int:
    server.cars = False
    return fetch(root, out, server.url, options=QUICK).block_count


def test_retry_after_is_honoured_within_limits(liar: WebGateway, tmp_path: Path) -> None:
    liar.faults = [status(503, Retry_After="1")]
    began = time.monotonic()
    found = fetch(ROOT.cid, tmp_path / "out.car", liar.url, options=FetchOptions(max_wait=1.5))
    assert time.monotonic() - began >= 1
    assert [(error.status, error.retry_after) for error in found.failures] == [(503, 1)]


def test_what_retry_after_may_say() -> None:
    assert _retry_after(None) is None
    assert _retry_after("9" * 400) == 1 << 30
    assert _retry_after("Fri, 31 Dec 9999 23:59:59 GMT") == 1 << 30
    for nonsense in ("", "-1", "1.5", "²", "next week", "Fri, 99 Dec 1999 23:59:59 GMT"):
        assert _retry_after(nonsense) is None


def test_a_redirect_to_the_same_server_is_followed(liar: WebGateway, tmp_path: Path) -> None:
    liar.faults = [status(301, Location=f"/ipfs/{CID(BIG.cid)}?format=car&dag-scope=all&car-dups=n")]
    fetch(BIG.cid, tmp_path / "out.car", liar.url, options=ONCE)
    check(tmp_path / "out.car", liar, BIG.cid)
    assert len(liar.asked) == 2


@pytest.mark.parametrize(
    ("gateway", "target", "may"),
    [
        ("https://a.b", "https://a.b/x", True),
        ("https://a.b", "https://bafy.ipfs.a.b/x", True),
        ("http://a.b", "https://x.a.b/", True),
        ("http://a.b:8080", "http://x.a.b:8080/", True),
        ("http://a.b:8080", "http://a.b:8081/", False),
        ("http://a.b:8080", "https://a.b/", False),
        ("https://a.b", "http://a.b/", False),
        ("https://a.b", "https://a.b:8443/", False),
        ("https://a.b", "https://xa.b/", False),
        ("https://a.b", "https://b/", False),
        ("https://a.b", "https://a.b@c.d/", False),
        ("https://a.b", "https://c.d\\.a.b/", False),
        ("https://a.b", "//c.d/", False),
    ],
)
def test_where_redirects_may_lead(gateway: str, target: str, may: bool) -> None:
    assert GatewayURL.parse(gateway).allows(target) is may


@pytest.mark.parametrize("at", range(0, 3000, 97))
def test_any_changed_byte_is_noticed(liar: WebGateway, tmp_path: Path, at: int) -> None:
    """Of the archive's header nothing is believed, so that there a change may do no harm."""
    dag = Dag()
    top = dag.directory({"a": dag.file([dag.raw(b"x" * 900), dag.raw(b"y" * 900)]), "b": dag.raw(b"z" * 900)})
    liar.model.blocks = dag.blocks
    liar.always = body(lambda data: data[: at % len(data)] + b"\xaa" + data[at % len(data) + 1 :])
    with contextlib.suppress(FetchError):
        fetch(top.cid, tmp_path / "out.car", liar.url, options=ONCE)
        check(tmp_path / "out.car", liar, top.cid)
        assert at < 60
    for name in left(tmp_path):
        with carv2.open(tmp_path / name) as car:
            assert {bytes(block.cid) for block in car} <= dag.blocks.keys()


def test_memory_stays_small(tmp_path: Path) -> None:
    """64 MiB come, and go to the file."""
    dag = Dag()
    leaves = [dag.raw(os.urandom(1 << 20)) for _ in range(64)]
    root = dag.file(leaves)
    code = (
        "import resource, sys; from carv2.ipfs import fetch; me = resource.RUSAGE_SELF;"
        "before = resource.getrusage(me).ru_maxrss; fetch(*sys.argv[1:]);"
        "print(resource.getrusage(me).ru_maxrss - before)"
    )
    with WebGateway(dag.blocks) as server:
        argv = [sys.executable, "-c", code, str(CID(root.cid)), str(tmp_path / "out.car"), server.url]
        done = subprocess.run(argv, capture_output=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 24 << 20


def test_a_full_disk_is_the_callers_and_keeps_what_came(liar: WebGateway, tmp_path: Path) -> None:
    code = "import sys; from carv2.ipfs import fetch; fetch(*sys.argv[1:])"
    argv = [sys.executable, "-c", code, str(CID(ROOT.cid)), str(tmp_path / "out.car"), liar.url]

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = subprocess.run(argv, capture_output=True, check=False, preexec_fn=small)
    assert b"OSError: [Errno 27]" in done.stderr
    assert left(tmp_path) in (["out.car.part"], [])
    fetch(ROOT.cid, tmp_path / "out.car", liar.url)
    check(tmp_path / "out.car", liar)


def test_a_cut_answer_is_told_as_such(liar: WebGateway, tmp_path: Path) -> None:
    liar.always = cut(20_000)
    liar.faults = []
    with pytest.raises(FetchError, match="its answer breaks off"):
        fetch(FOLDER.cid, tmp_path / "out.car", liar.url, options=ONCE)
