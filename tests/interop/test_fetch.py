"""A real Kubo node's gateway: what it sends is taken, and what it cannot give comes from another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from carv2.cid import CID
from carv2.errors import FetchError, PathNotFoundError
from carv2.ipfs import FetchOptions, fetch
from helpers.unixfs import Dag, Made
from ipfs.test_fetch import QUICK, check, left
from ipfs.webgateway import WebGateway

if TYPE_CHECKING:
    from pathlib import Path

    from interop.kubo_node import KuboNode


def sample() -> tuple[Dag, Made, Made]:
    """Repeats, shards, a CIDv0, a file of two levels: what go-unixfsnode reads as others do."""
    dag = Dag()
    leaves = [dag.raw(bytes([at]) * 30_000) for at in range(40)]
    big = dag.file([dag.file([*leaves[:20], leaves[0]]), dag.file(leaves[20:])])
    folder = dag.directory({"big": big, "old": dag.leaf(b"old", v0=True), "one": leaves[0]})
    names = {f"name {at}": dag.raw(b"%d" % at) for at in range(40)}
    root = dag.directory({"folder": folder, "sharded": dag.hamt({**names, "big": big}, fanout=8)})
    return dag, root, leaves[30]


DAG, ROOT, LEAF = sample()
MODEL = WebGateway(DAG.blocks)
REQUESTS: dict[str, dict[str, Any]] = {
    "all": {},
    "path": {"path": "folder/big"},
    "path in a shard": {"path": "sharded/name 7"},
    "entity of a file": {"path": "folder/big", "scope": "entity"},
    "entity of shards": {"path": "sharded", "scope": "entity"},
    "block": {"path": "folder", "scope": "block"},
    "bytes": {"path": "folder/big", "scope": "entity", "byte_range": (40_000, 400_000)},
    "bytes from the end": {"path": "sharded/big", "scope": "entity", "byte_range": (-50_000, None)},
}


@pytest.fixture
def gateway(kubo_node: KuboNode) -> str:
    """The address of the gateway of a node that has the DAG."""
    kubo_node.ipfs("dag", "import", "--pin-roots=false", stdin=DAG.archive(ROOT))
    return (kubo_node.repo / "gateway").read_text().strip()


@pytest.mark.parametrize("dups", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
def test_each_kind_of_request(gateway: str, tmp_path: Path, name: str, dups: bool) -> None:
    found = fetch(ROOT.cid, tmp_path / "out.car", gateway, **REQUESTS[name], options=FetchOptions(dups=dups))
    check(tmp_path / "out.car", MODEL, ROOT.cid, **REQUESTS[name])
    assert (found.failures, found.question_count) == ((), 1)


def test_nothing_at_the_path(gateway: str, tmp_path: Path) -> None:
    with pytest.raises((PathNotFoundError, FetchError)):
        fetch(ROOT.cid, tmp_path / "out.car", gateway, "folder/nothing", options=QUICK)
    assert left(tmp_path) == []


def test_a_block_that_the_node_lacks(gateway: str, kubo_node: KuboNode, tmp_path: Path) -> None:
    """What came before its answer broke off is not asked for again, and the rest comes from elsewhere."""
    kubo_node.ipfs("block", "rm", str(CID(LEAF.cid)))
    out = tmp_path / "out.car"
    with pytest.raises(FetchError) as caught:
        fetch(ROOT.cid, out, gateway, "folder", options=QUICK)
    assert caught.value.path == f"{out}.part"
    with WebGateway(DAG.blocks) as other:
        found = fetch(ROOT.cid, out, [gateway, other.url], "folder", options=QUICK)
        assert 30_000 < other.sent < 400_000
    assert found.resumed_count > 30
    check(out, MODEL, ROOT.cid, path="folder")
