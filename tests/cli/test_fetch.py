"""``carv2 fetch`` from a gateway on this machine: what it writes and says, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID
from cli.running import SOURCE, run, run_shell, told
from ipfs.test_fetch import BIG, DAG, ROOT, check
from ipfs.webgateway import Answer, WebGateway, body, cut, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CID_TEXT = str(CID(ROOT.cid))
QUICK = ["--max-wait", "0.02", "--timeout", "5"]


@pytest.fixture
def gateway() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


@pytest.mark.parametrize("front", ["", "/ipfs/", "ipfs://"])
def test_an_archive_of_what_a_path_leads_to(gateway: WebGateway, tmp_path: Path, front: str) -> None:
    ran = run(tmp_path, ["fetch", f"{front}{CID_TEXT}/folder/big", "--from", gateway.url, "-o", "out.car"])
    assert (ran.err, ran.code) == ("", 0)
    blocks = gateway.model.answer(ROOT.cid, "folder/big", dups=False)
    size = sum(len(cid) + len(data) for cid, data in blocks)
    assert ran.out.decode().splitlines() == [
        f"Root: {CID_TEXT}",
        "Path: folder/big",
        f"Came in: {len(blocks)} blocks, {size} bytes, in 1 answer",
    ]
    check(tmp_path / "out.car", gateway, path="folder/big")


@pytest.mark.parametrize("argv", [["--scope", "entity"], ["--bytes=-5000:*"], ["--scope", "block", "--v1"]])
def test_flags_say_what_is_asked_for(gateway: WebGateway, tmp_path: Path, argv: list[str]) -> None:
    out = tmp_path / "out.car"
    ran = run(tmp_path, ["fetch", f"{CID_TEXT}/folder/big", "--from", gateway.url, "-o", "out.car", *argv])
    assert (ran.err, ran.code) == ("", 0)
    byte_range = (-5000, None) if len(argv) == 1 else None
    scope = "entity" if byte_range else argv[1]
    check(out, gateway, path="folder/big", scope=scope, byte_range=byte_range)
    with carv2.open(out) as car:
        assert car.version == (1 if "--v1" in argv else 2)


def test_a_stream_on_standard_output(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [cut(20_000), cut(10_000)]
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "-", *QUICK])
    assert ran.code == 0
    assert "its answer breaks off" in ran.err
    (tmp_path / "out.car").write_bytes(ran.out)
    check(tmp_path / "out.car", gateway)
    assert not list(tmp_path.glob("*.part"))


def test_what_failed_is_said_and_how_to_go_on(gateway: WebGateway, tmp_path: Path) -> None:
    argv = ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car", "--retries", "0", *QUICK]
    gateway.faults = [cut(20_000)]
    gateway.always = lambda answer: answer if len(gateway.asked) == 1 else status(503)(answer)
    ran = run(tmp_path, argv)
    assert (ran.out, ran.code) == (b"", 1)
    first, second = ran.err.splitlines()
    assert first.startswith(f"carv2: {CID_TEXT} could not be had: {gateway.url}: ")
    assert second == "what came in is kept in out.car.part; the same command goes on with it"
    gateway.always = lambda answer: answer
    ran = run(tmp_path, argv)
    assert ran.code == 0
    assert b"\nWas there: " in ran.out
    check(tmp_path / "out.car", gateway)


def test_what_a_gateway_says_does_nothing_to_a_terminal(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.always = status(404)
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    assert ran.code == 1
    assert r"it answered 404: no\x1b[31m luck here" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_wait_that_is_too_long_names_the_flag(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.always = status(503, Retry_After="3600")
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    assert ran.code == 1
    assert ran.err.endswith("it is to be left alone for 3600 seconds, and --max-wait is 60\n")


def test_json_has_the_failures(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [status(503)]
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car", "--json", *QUICK])
    found = json.loads(ran.out)
    assert (ran.err, found["root"], found["out"], found["resumed_count"]) == ("", CID_TEXT, "out.car", 0)
    assert [failure.split(": ")[1] for failure in found["failures"]] == ["it answered 503"]


def test_a_part_of_another_dag(gateway: WebGateway, tmp_path: Path) -> None:
    argv = ["--from", gateway.url, "-o", "out.car", "--retries", "0"]
    gateway.faults = [cut(20_000), status(404)]
    assert run(tmp_path, ["fetch", CID_TEXT, *argv]).code == 1
    ran = run(tmp_path, ["fetch", str(CID(BIG.cid)), *argv])
    assert ran.code == 1
    assert "out.car.part is of another fetch: remove it, or name another file" in ran.err


def test_a_file_that_is_there_is_replaced_once_all_is_there(gateway: WebGateway, tmp_path: Path) -> None:
    (tmp_path / "out.car").write_bytes(b"old")
    argv = ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car", "--retries", "0"]
    gateway.faults = [cut(20_000), status(404)]
    assert run(tmp_path, argv).code == 1
    assert (tmp_path / "out.car").read_bytes() == b"old"
    gateway.faults = []
    assert run(tmp_path, argv).code == 0
    check(tmp_path / "out.car", gateway)


def test_who_comes_second_is_told_to_wait(gateway: WebGateway, tmp_path: Path) -> None:
    part = ReadWriteBlockstore.create(tmp_path / "out.car.part", [CID(ROOT.cid)])
    try:
        ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    finally:
        part.discard()
    assert ran.code == 1
    first, second = ran.err.splitlines()
    assert first.endswith("out.car.part is locked by another writer")
    assert second == "another fetch is writing it: wait for that to end, or name another file"


def _garbage(part: Path) -> None:
    part.write_bytes(b"\x00 no archive" * 100)


def _link(part: Path) -> None:
    (part.parent / "elsewhere").write_bytes(b"")
    part.symlink_to(part.parent / "elsewhere")


def _open_to_all(part: Path) -> None:
    part.write_bytes(b"")
    part.chmod(0o666)


@pytest.mark.parametrize("make", [_garbage, _link, _open_to_all, Path.mkdir, os.mkfifo])
def test_what_no_fetch_left_is_not_gone_on_with(
    gateway: WebGateway, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    part = tmp_path / "out.car.part"
    make(part)
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    assert ran.code == 1
    advice = "out.car.part is not what a fetch leaves: remove it, or name another file"
    assert ran.err.count(advice) == 1
    assert ran.err.splitlines()[-1].partition("; ")[0].endswith(advice)
    assert (part.exists(), gateway.asked) == (True, [])


def test_a_full_disk_keeps_what_came(gateway: WebGateway, tmp_path: Path) -> None:
    argv = f"carv2 fetch {CID_TEXT} --from {gateway.url} -o out.car"
    no_bytecode = "PYTHONDONTWRITEBYTECODE=1"  # which would be cut, and stay so
    ran = run_shell(tmp_path, f"ulimit -f 40; trap '' XFSZ; export {no_bytecode}; exec {argv}")
    assert ran.code == 1
    assert "File too large" in ran.err
    assert ran.err.splitlines()[-1] == "what came in is kept in out.car.part; the same command goes on with it"
    assert run_shell(tmp_path, argv).code == 0
    check(tmp_path / "out.car", gateway)


def test_a_stream_is_no_carv2(gateway: WebGateway, tmp_path: Path) -> None:
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "-", "--version", "2"])
    assert (ran.code, ran.out, gateway.asked) == (2, b"", [])
    assert "--version 1 goes to standard output" in ran.err


def test_a_warning_of_what_stood_behind_the_last_block(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [body(lambda data: data + b"[Gateway Error: no\x1b[31m luck]")]
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    assert ran.code == 0
    assert "all that was asked for came, but behind it: " in ran.err
    assert "\x1b" not in ran.err


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_keeps_what_came(gateway: WebGateway, tmp_path: Path) -> None:
    def hang(answer: Answer) -> Answer:
        answer.body, answer.hang = answer.body[:30_000], True
        return answer

    gateway.faults = [hang]
    process = subprocess.Popen(
        [sys.executable, "-m", "carv2", "fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_take_interrupts,  # noqa: PLW1509  (whoever runs the tests may ignore them)
    )
    deadline = time.monotonic() + 20
    while gateway.sent < 30_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # it has read that
    out, err = told(process, signal.SIGINT)
    assert (process.returncode, out) == (130, b"")
    assert b"what came in is kept in out.car.part" in err
    ran = run(tmp_path, ["fetch", CID_TEXT, "--from", gateway.url, "-o", "out.car"])
    assert b"Was there: " in ran.out
    check(tmp_path / "out.car", gateway)


@pytest.mark.parametrize(
    "argv",
    [
        ["x", "--from", "http://a.b", "-o", "o"],
        ["bafkqaaa", "-o", "o"],
        ["bafkqaaa", "--from", "http://a.b"],
        ["bafkqaaa", "--from", "a.b", "-o", "o"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--bytes", "1"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--bytes", "9:1"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--bytes", "0:1", "--scope", "block"],
        ["bafkqaaa/..", "--from", "http://a.b", "-o", "o"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--timeout", "-1"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--timeout", "0"],
        ["bafkqaaa", "--from", "http://a.b", "-o", "o", "--retries", "x"],
    ],
)
def test_wrong_usage(tmp_path: Path, argv: list[str]) -> None:
    ran = run(tmp_path, ["fetch", *argv])
    assert (ran.code, ran.out) == (2, b"")
    assert "Try 'carv2 fetch --help'" in ran.err
    assert list(tmp_path.iterdir()) == []
