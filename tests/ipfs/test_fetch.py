"""Fetches from gateways that are honest, and from those that break off: all comes, once, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.cid import CID
from carv2.dag import check_complete
from carv2.errors import (
    BudgetError,
    FetchError,
    LockedError,
    PathNotFoundError,
    ResumeError,
    UnixFSError,
    UnknownHashError,
)
from carv2.ipfs import FetchOptions, fetch, fetch_into
from carv2.ipfs._gateway_url import GatewayURL
from carv2.unixfs import read
from helpers import archives
from helpers.unixfs import Dag, Made, identity
from ipfs.webgateway import WebGateway, cut, status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = FetchOptions(timeout=5, patience=10, retries=3, max_wait=0.02)


def sample() -> tuple[Dag, Made, Made, Made]:
    """Repeats, shards, identities, a CIDv0, a file of two levels; its root, the file, and a folder."""
    dag = Dag()
    leaves = [dag.raw(bytes([at]) * 3000) for at in range(20)]
    left, right = dag.file([*leaves[:10], leaves[0]]), dag.file(leaves[10:])
    big = dag.file([left, right, dag.file([dag.leaf(b"old", v0=True)])])
    names = {f"name {at}": dag.raw(b"%d" % at) for at in range(40)}
    folder = dag.directory({"big": big, "in": identity(b"in", codec=archives.RAW), "one": leaves[0]})
    root = dag.directory({"folder": folder, "sharded": dag.hamt({**names, "big": big}, fanout=8)})
    return dag, root, big, folder


DAG, ROOT, BIG, FOLDER = sample()


@pytest.fixture
def gateway() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


@pytest.fixture
def other() -> Iterator[WebGateway]:
    with WebGateway(DAG.blocks) as server:
        yield server


def keys(blocks: list[tuple[bytes, bytes]]) -> set[bytes]:
    return {cid[-32:] for cid, _ in blocks}


def check(archive: Path, server: WebGateway, root: bytes = ROOT.cid, **request: Any) -> None:
    """That the archive is just what an honest gateway has to send, each block once."""
    expected = server.model.answer(root, dups=False, **request)
    with carv2.open(archive) as car:
        assert car.roots == (CID(root),)
        blocks = [(bytes(block.cid), block.data) for block in car]
    assert keys(blocks) == keys(expected)
    assert len(blocks) == len(expected)
    assert carv2.verify(archive).ok


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("dups", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_a_whole_dag(gateway: WebGateway, tmp_path: Path, version: int, dups: bool) -> None:
    out = tmp_path / "out.car"
    options = FetchOptions(dups=dups)
    found = fetch(ROOT.cid, out, gateway.url, version=version, options=options)
    check(out, gateway)
    assert (found.question_count, found.failures, found.resumed_count) == (1, (), 0)
    assert f"dups={'y' if dups else 'n'}" in gateway.accepts[0]
    assert left(tmp_path) == ["out.car"]
    with carv2.open(out) as car:
        assert car.version == version
        assert version == 1 or (car.header is not None and car.header.has_index)
    assert check_complete(out).complete


REQUESTS: dict[str, dict[str, Any]] = {
    "path": {"path": "folder/big"},
    "path with a blank, in a shard": {"path": "sharded/name 7"},
    "entity of a file": {"path": "folder/big", "scope": "entity"},
    "entity of a folder": {"path": "folder", "scope": "entity"},
    "entity of shards": {"path": "sharded", "scope": "entity"},
    "block": {"scope": "block"},
    "block at a path": {"path": "folder/big", "scope": "block"},
    "bytes": {"path": "folder/big", "scope": "entity", "byte_range": (4000, 40_000)},
    "bytes to the end": {"path": "sharded/big", "scope": "entity", "byte_range": (-2000, None)},
    "bytes from the end": {"path": "folder/big", "scope": "entity", "byte_range": (-9000, -3500)},
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("cars", [True, False], ids=["cars", "single blocks"])
def test_a_part_of_a_dag(gateway: WebGateway, tmp_path: Path, name: str, cars: bool) -> None:
    gateway.cars = cars
    out, request = tmp_path / "out.car", REQUESTS[name]
    found = fetch(ROOT.cid, out, gateway.url, **request, options=QUICK)
    check(out, gateway, **request)
    assert len(found.failures) == (not cars)
    assert (found.question_count == 1) == (cars or found.block_count == 0)


@pytest.mark.parametrize("name", [*REQUESTS, "all"])
@pytest.mark.parametrize("size", [300, 2500, 9000, 30_000])
def test_a_break_costs_what_was_under_way(gateway: WebGateway, tmp_path: Path, name: str, size: int) -> None:
    """Only what is missing is asked for again: the root's own request is made once."""
    out, request = tmp_path / "out.car", REQUESTS.get(name, {})
    gateway.faults = [cut(size)]
    found = fetch(ROOT.cid, out, gateway.url, **request, options=QUICK)
    check(out, gateway, **request)
    assert gateway.faults == []
    assert len(found.failures) <= 1
    if found.failures and size > 300 and found.block_count > 2:
        assert sum(f"/ipfs/{CID(ROOT.cid)}" in asked for asked in gateway.asked) == 1
        sent_once = sum(len(data) for _, data in gateway.model.answer(ROOT.cid, dups=False, **request))
        shared = BIG.total if name == "all" else 0  # comes again with what was not begun yet, and shares it
        assert gateway.sent < 1.5 * sent_once + shared + 8000


def test_what_is_missing_of_a_whole_file_is_had_in_few_questions(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [cut(4500)]
    found = fetch(BIG.cid, tmp_path / "out.car", gateway.url, scope="entity", options=QUICK)
    check(tmp_path / "out.car", gateway, BIG.cid, scope="entity")
    assert found.block_count == 25
    assert found.question_count < 15  # the leaves of one node, and the nodes beside it with all that is below them


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(60, 70_000), max_size=6),
    name=st.sampled_from([*REQUESTS, "all"]),
    dups=st.booleans(),
)
def test_any_breaks_at_two_gateways(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], name: str, dups: bool
) -> None:
    options = FetchOptions(retries=8, max_wait=0, dups=dups)
    out, request = tmp_path_factory.mktemp("fetch") / "out.car", REQUESTS.get(name, {})
    with WebGateway(DAG.blocks) as one, WebGateway(DAG.blocks) as two:
        one.faults, two.faults = [cut(size) for size in cuts[::2]], [cut(size) for size in cuts[1::2]]
        fetch(ROOT.cid, out, [one.url, two.url], **request, options=options)
        check(out, one, **request)


def test_many_questions_go_over_one_connection(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.cars = False
    found = fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=QUICK)
    assert found.question_count == len(gateway.asked) > 60
    assert gateway.connections <= 2


def test_a_connection_that_was_closed_meanwhile_is_no_failure(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.cars, gateway.hangs_up = False, True
    found = fetch(ROOT.cid, tmp_path / "out.car", gateway.url, options=replace(QUICK, retries=0))
    check(tmp_path / "out.car", gateway)
    assert [error.status for error in found.failures] == [406]


def test_a_gateway_that_gives_something_each_time_is_not_given_up(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.always = cut(9000)
    found = fetch(BIG.cid, tmp_path / "out.car", gateway.url, options=replace(QUICK, retries=1))
    check(tmp_path / "out.car", gateway, BIG.cid)
    assert len(found.failures) >= 2


def test_what_a_gateway_lacks_comes_from_the_next(gateway: WebGateway, other: WebGateway, tmp_path: Path) -> None:
    out = tmp_path / "out.car"
    gateway.always = cut(20_000)
    found = fetch(ROOT.cid, out, [gateway.url, other.url], options=QUICK)
    check(out, gateway)
    assert [error.url for error in found.failures] == [gateway.url]
    assert other.asked
    assert not any(str(CID(ROOT.cid)) in asked for asked in other.asked)


def test_a_failed_fetch_keeps_what_came_and_the_next_goes_on(
    gateway: WebGateway, other: WebGateway, tmp_path: Path
) -> None:
    out = tmp_path / "out.car"
    gateway.faults = [cut(20_000), *[status(500)] * 9]
    with pytest.raises(FetchError, match=r"answered 500: no.* luck here") as caught:
        fetch(ROOT.cid, out, gateway.url, options=QUICK)
    assert caught.value.path == str(out) + ".part"
    assert len(caught.value.failures) == 1 + QUICK.retries
    assert left(tmp_path) == ["out.car.part"]
    found = fetch(ROOT.cid, out, other.url, options=QUICK)
    assert found.resumed_count > 4
    check(out, gateway)
    assert left(tmp_path) == ["out.car"]


def test_where_nothing_came_nothing_is_left(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.always = status(404)
    (tmp_path / "out.car").write_bytes(b"as it was")
    with pytest.raises(FetchError) as caught:
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url)
    assert (caught.value.path, len(gateway.asked)) == (None, 1)
    assert left(tmp_path) == ["out.car"]
    assert (tmp_path / "out.car").read_bytes() == b"as it was"


def test_a_killed_process_leaves_a_part_that_is_gone_on_with(gateway: WebGateway, tmp_path: Path) -> None:
    out = tmp_path / "out.car"
    part = tmp_path / "out.car.part"
    dag = Dag()
    big = dag.file([dag.file([dag.raw(os.urandom(100_000)) for _ in range(10)]) for _ in range(4)])
    gateway.model.blocks = dag.blocks

    def stalls(answer: Any) -> Any:
        answer.hang, answer.body = True, answer.body[:2_500_000]
        return answer

    gateway.faults = [stalls]
    code = f"from carv2.ipfs import fetch; fetch('{CID(big.cid)}', {str(out)!r}, {gateway.url!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 20
        while (not part.exists() or part.stat().st_size < 1_500_000) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert left(tmp_path) == ["out.car.part"]
    found = fetch(big.cid, out, gateway.url, options=QUICK)
    assert found.resumed_count >= 14
    assert found.block_count + found.resumed_count == 45
    check(out, gateway, big.cid)
    fetch(big.cid, tmp_path / "whole.car", gateway.url)
    assert out.read_bytes() == (tmp_path / "whole.car").read_bytes()


def test_two_at_the_same_file(gateway: WebGateway, tmp_path: Path) -> None:
    out = tmp_path / "out.car"

    def meanwhile(_: int) -> None:
        with pytest.raises(LockedError):
            fetch(ROOT.cid, out, gateway.url)

    fetch(ROOT.cid, out, gateway.url, on_bytes=meanwhile)
    check(out, gateway)


def test_a_part_of_another_dag_is_not_touched(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [cut(20_000), status(404)]
    with pytest.raises(FetchError):
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url)
    before = (tmp_path / "out.car.part").read_bytes()
    with pytest.raises(ResumeError):
        fetch(BIG.cid, tmp_path / "out.car", gateway.url)
    assert (tmp_path / "out.car.part").read_bytes() == before


def test_a_part_that_is_no_archive_is_named_and_not_touched(gateway: WebGateway, tmp_path: Path) -> None:
    part = tmp_path / "out.car.part"
    part.write_bytes(b"garbage")
    with pytest.raises(carv2.FormatError) as caught:
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url)
    assert str(caught.value).startswith(f"{part} is not what a fetch leaves: remove it, or name another file; ")
    assert part.read_bytes() == b"garbage"


def test_a_damaged_part_is_mended(gateway: WebGateway, tmp_path: Path) -> None:
    gateway.faults = [cut(30_000), status(404)]
    with pytest.raises(FetchError):
        fetch(ROOT.cid, tmp_path / "out.car", gateway.url)
    part = tmp_path / "out.car.part"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    found = fetch(ROOT.cid, tmp_path / "out.car", gateway.url)
    assert found.resumed_count > 2
    check(tmp_path / "out.car", gateway)


def test_what_an_earlier_request_left_behind_does_not_get_into_the_archive(
    gateway: WebGateway, tmp_path: Path
) -> None:
    out = tmp_path / "out.car"
    gateway.faults = [cut(50_000), status(404)]
    with pytest.raises(FetchError):
        fetch(ROOT.cid, out, gateway.url)
    fetch(ROOT.cid, out, gateway.url, "folder/big", scope="block")
    check(out, gateway, path="folder/big", scope="block")
    assert left(tmp_path) == ["out.car"]


def test_a_byte_range_can_be_read_out_of_the_archive(gateway: WebGateway, tmp_path: Path) -> None:
    fetch(ROOT.cid, tmp_path / "out.car", gateway.url, "folder/big", scope="entity", byte_range=(5000, 6999))
    with ReadOnlyBlockstore(tmp_path / "out.car") as store:
        assert b"".join(read(store, BIG.cid, 5000, 7000)) == b"\1" * 1000 + b"\2" * 1000


def test_nothing_at_the_path_is_proven_and_final(gateway: WebGateway, other: WebGateway, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="nothing"):
        fetch(ROOT.cid, tmp_path / "out.car", [gateway.url, other.url], "folder/nothing")
    assert other.asked == []
    assert left(tmp_path) == []


def test_an_identity_root_needs_no_gateway(gateway: WebGateway, tmp_path: Path) -> None:
    fetch("bafkqaaa", tmp_path / "out.car", gateway.url)
    assert gateway.asked == []
    with carv2.open(tmp_path / "out.car") as car:
        assert (car.roots, list(car)) == ((CID.of("bafkqaaa"),), [])


@pytest.mark.parametrize(
    ("options", "named"),
    [({"max_bytes": 30_000}, "30000 bytes of blocks; max_bytes"), ({"max_blocks": 12}, "12 blocks; max_blocks")],
)
def test_budgets_end_a_fetch_and_keep_what_came(
    gateway: WebGateway, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    out = tmp_path / "out.car"
    for _ in range(2):
        with pytest.raises(BudgetError, match=named):
            fetch(ROOT.cid, out, gateway.url, options=replace(QUICK, **options))
        assert left(tmp_path) == ["out.car.part"]
        assert (tmp_path / "out.car.part").stat().st_size < 32_000
    fetch(ROOT.cid, out, gateway.url)
    check(out, gateway)


def test_a_store_of_any_kind_takes_the_blocks(gateway: WebGateway) -> None:
    store, taken = MemoryBlockstore(), list[bytes]()
    found = fetch_into(store, FOLDER.cid, gateway.url, on_block=lambda cid, _: taken.append(cid))
    assert found.block_count == len(store) == len(taken)
    again = fetch_into(store, ROOT.cid, gateway.url, options=QUICK)
    assert again.question_count == 1
    assert fetch_into(store, ROOT.cid, gateway.url).question_count == 0


def test_a_dag_that_cannot_be_checked_or_followed_is_no_gateways_fault(
    gateway: WebGateway, tmp_path: Path
) -> None:
    strange = archives.cid_v1(b"x", code=0x3FFFFF, digest=b"y" * 32)
    broken = archives.cid_v1(b"\xff\xff", codec=archives.DAG_PB)
    gateway.model.blocks = {strange: b"x", broken: b"\xff\xff"}
    gateway.cars = False
    with pytest.raises(UnknownHashError):
        fetch(strange, tmp_path / "out.car", gateway.url, scope="block")
    with pytest.raises((UnixFSError, carv2.FormatError)):
        fetch(broken, tmp_path / "out.car", gateway.url)


@pytest.mark.parametrize(
    "url",
    [
        "example.org",
        "ftp://example.org",
        "http://user@example.org",
        "http://example.org/?x",
        "http://[::1",
        "http://a\\b",
        "/unix/run/gateway.sock",
        "/ip4/127.0.0.1/udp/80",
        "/ip4/127.0.0.1/tcp/99999/http",
        "/dns4/user@example.org/tcp/80",
        "/dns4/a?b/tcp/80",
    ],
)
def test_addresses_that_are_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="no address of a gateway"):
        fetch(ROOT.cid, tmp_path / "out.car", url)
    assert left(tmp_path) == []


def test_other_mistakes_of_the_caller(tmp_path: Path, gateway: WebGateway) -> None:
    out = tmp_path / "out.car"
    requests: list[dict[str, Any]] = [{"scope": "most"}, {"byte_range": (0, 1)}, {"version": 3}, {"path": "../x"}]
    for wrong in requests:
        with pytest.raises(ValueError):
            fetch(ROOT.cid, out, gateway.url, **wrong)
    with pytest.raises(ValueError, match="no gateway"):
        fetch(ROOT.cid, out, [])
    with pytest.raises(OSError, match="regular"):
        fetch(ROOT.cid, tmp_path, gateway.url)
    for name in ("timeout", "max_bytes", "max_wait"):
        with pytest.raises(ValueError, match=name):
            FetchOptions(**dict[str, Any]({name: -1}))
    assert gateway.asked == []


@pytest.mark.parametrize("end", ["", "/http", "/http/"])
def test_an_address_may_be_a_multiaddr(gateway: WebGateway, tmp_path: Path, end: str) -> None:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    found = fetch(ROOT.cid, tmp_path / "out.car", f"/ip4/{host}/tcp/{port}{end}")
    check(tmp_path / "out.car", gateway)
    assert found.failures == ()


@pytest.mark.parametrize(
    ("multiaddr", "url"),
    [
        ("/dns4/example.org/tcp/443/https", "https://example.org:443"),
        ("/dns/example.org/tcp/8443/tls/http", "https://example.org:8443"),
        ("/ip6/::1/tcp/8080/http", "http://[::1]:8080"),
    ],
)
def test_what_a_multiaddr_stands_for(multiaddr: str, url: str) -> None:
    found = GatewayURL.parse(multiaddr)
    assert (found.text, found.origin) == (url, GatewayURL.parse(url).origin)


def test_an_address_may_have_a_path(gateway: WebGateway, tmp_path: Path) -> None:
    fetch(ROOT.cid, tmp_path / "out.car", f"{gateway.url}/ipfs/")
    check(tmp_path / "out.car", gateway)
