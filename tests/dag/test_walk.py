"""Walks: order, budgets, what is missing, what is not known, and DAGs made to be hard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.dag import walk
from carv2.errors import BlockNotFoundError, BudgetError, CodecError, UnknownCodecError
from dag.dags import Dag, breadth_first, cbor_node, chain, dags, depth_first, doubling, is_identity
from helpers import archives
from helpers.archives import DAG_CBOR, FISH, LOBSTER, cid_v1, identity, link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2.blockstore import Blockstore

ORACLES = {"dfs": depth_first, "bfs": breadth_first}
STORES: dict[str, Any] = {
    "memory": lambda dag: MemoryBlockstore(dag.blocks.items(), whole_cids=True),
    "archive": lambda dag: ReadOnlyBlockstore(dag.archive),
    "dict": lambda dag: {carv2.CID(cid): data for cid, data in dag.blocks.items()},
}


def store_of(blocks: Iterable[tuple[bytes, bytes]]) -> Blockstore:
    return MemoryBlockstore(blocks)


@settings(max_examples=60)
@given(
    dags(),
    st.sampled_from(["dfs", "bfs"]),
    st.booleans(),
    st.sampled_from(sorted(STORES)),
)
def test_a_walk_is_that_of_the_short_and_slow_one(dag: Dag, order: Any, repeats: bool, kind: str) -> None:
    expected = [
        (cid, depth)
        for cid, depth in ORACLES[order](dag, repeats=repeats)
        if is_identity(cid) or cid in dag.blocks
    ]
    lost = {cid for cid, _ in ORACLES[order](dag) if not is_identity(cid) and cid not in dag.blocks}
    missing: list[carv2.CID] = []
    visits = list(walk(STORES[kind](dag), dag.roots, order=order, repeats=repeats, on_missing=missing.append))
    assert [(visit.cid_bytes, visit.depth) for visit in visits] == expected
    assert {bytes(cid) for cid in missing} == lost
    assert repeats or len(missing) == len(lost)
    for visit in visits:
        assert visit.cid.matches(visit.data) or visit.cid.is_identity
        assert visit.data == dag.blocks.get(visit.cid_bytes, visit.cid.digest)


@pytest.mark.parametrize("order", ["dfs", "bfs"])
@pytest.mark.parametrize("kind", sorted(STORES))
def test_a_missing_block_is_fatal_unless_somebody_hears_of_it(order: Any, kind: str) -> None:
    node = archives.node(FISH[0], LOBSTER[0])
    dag = Dag(dict([node, LOBSTER]), {}, [node[0]])
    walked = walk(STORES[kind](dag), dag.roots, order=order)
    assert next(walked).cid_bytes == node[0]
    with pytest.raises(BlockNotFoundError) as caught:
        list(walked)
    assert bytes(caught.value.cid) == FISH[0]
    seen: list[carv2.CID] = []
    walked = walk(STORES[kind](dag), dag.roots, order=order, on_missing=seen.append)
    assert [visit.data for visit in walked][1:] == [b"lobster"]
    assert list(map(bytes, seen)) == [FISH[0]]


@pytest.mark.parametrize("order", ["dfs", "bfs"])
def test_many_missing_blocks_among_many_that_are_there(order: Any) -> None:
    leaves = [(cid_v1(b"%d" % at), b"%d" % at) for at in range(500)]
    node = archives.node(*(cid for cid, _ in leaves))
    store = store_of([node, *leaves[::3]])
    missing: list[carv2.CID] = []
    found = [visit.data for visit in walk(store, node[0], order=order, on_missing=missing.append)][1:]
    assert found == [data for _, data in leaves[::3]]
    assert len(missing) == 500 - len(found)


@pytest.mark.parametrize("order", ["dfs", "bfs"])
@pytest.mark.parametrize(
    ("budget", "allowed"),
    [("max_depth", 3), ("max_blocks", 4), ("max_bytes", sum(map(len, chain(4).blocks.values())))],
)
def test_a_budget_is_what_may_be_used_up_and_no_more(order: Any, budget: Any, allowed: Any) -> None:
    def granted(amount: int) -> dict[str, Any]:
        return {budget: amount}

    dag = chain(4)
    store = store_of(dag.blocks.items())
    assert len(list(walk(store, dag.roots, order=order, **granted(allowed)))) == 4
    walked = walk(store, dag.roots, order=order, **granted(allowed - 1))
    assert [next(walked).depth for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BudgetError) as caught:
        next(walked)
    assert caught.value.allowed == allowed - 1


def test_a_walk_goes_1024_levels_deep_unless_told_otherwise() -> None:
    dag = chain(1026)
    store = store_of(dag.blocks.items())
    with pytest.raises(BudgetError, match="more than 1024 levels"):
        list(walk(store, dag.roots))
    assert len(list(walk(store, dag.roots, max_depth=1025))) == 1026


@pytest.mark.parametrize(("order", "length"), [("dfs", 100_000), ("bfs", 5_000)])
def test_a_chain_of_100_000_blocks_is_only_long(order: Any, length: int) -> None:
    dag = chain(length)
    store = {carv2.CID(cid): data for cid, data in dag.blocks.items()}
    depths = [visit.depth for visit in walk(store, dag.roots, order=order, max_depth=None)]
    assert depths == list(range(length))


def test_a_dag_with_very_many_ways_through_it() -> None:
    dag = doubling(60)
    store = store_of(dag.blocks.items())
    for order in ("dfs", "bfs"):
        assert len(list(walk(store, dag.roots, order=order))) == 60
    with pytest.raises(BudgetError, match="more than 2000 blocks"):
        list(walk(store, dag.roots, repeats=True, max_blocks=2000))
    with pytest.raises(BudgetError, match="more than 100000 bytes"):
        list(walk(store, dag.roots, repeats=True, max_bytes=100_000))


def test_a_store_that_lies_can_make_a_cycle_and_the_walk_ends() -> None:
    cid = cid_v1(b"not this", codec=DAG_CBOR)
    store = {carv2.CID(cid): cbor_node([cid])}
    assert len(list(walk(store, cid))) == 1
    with pytest.raises(BudgetError, match="levels"):
        list(walk(store, cid, repeats=True))


def test_identity_cids_in_one_another_end_at_a_budget() -> None:
    cid = FISH[0]
    for _ in range(30):
        cid = identity(link(cid), codec=DAG_CBOR)
    visits = list(walk(store_of([FISH]), cid))
    assert visits[-1].data == b"fish"
    assert len(visits) == 31
    large = identity(link(FISH[0]) + b"", codec=DAG_CBOR)
    padded = identity(b"\x82" + link(FISH[0]) + archives.cbor_head(2, 70_000) + bytes(70_000), codec=DAG_CBOR)
    assert len(list(walk(store_of([FISH]), large))) == 2
    with pytest.raises(BudgetError, match="identity CID"):
        list(walk(store_of([FISH]), padded))
    assert len(list(walk({}, identity(bytes(70_000))))) == 1  # raw: nothing to be looked into


def test_a_block_whose_codec_is_not_known() -> None:
    strange = (cid_v1(b"tree", codec=0x78), b"tree")
    node = archives.node(strange[0], FISH[0])
    store = store_of([node, strange, FISH])
    walked = walk(store, node[0])
    assert [next(walked).cid_bytes, next(walked).cid_bytes] == [node[0], strange[0]]
    with pytest.raises(UnknownCodecError) as caught:
        next(walked)
    assert caught.value.code == 0x78
    assert len(list(walk(store, node[0], on_unknown="leaf"))) == 3


def test_a_block_that_breaks_its_codec_comes_out_before_the_error() -> None:
    broken = (cid_v1(b"\x82", codec=DAG_CBOR), b"\x82")
    walked = walk(store_of([broken]), broken[0])
    assert next(walked).data == b"\x82"
    with pytest.raises(CodecError) as caught:
        next(walked)
    assert caught.value.cid is not None
    assert bytes(caught.value.cid) == broken[0]


def test_roots_may_be_one_cid_or_several_in_any_form() -> None:
    store = store_of([FISH, LOBSTER])
    fish = carv2.CID(FISH[0])
    for roots in (fish, str(fish), bytes(fish), [fish], (str(fish), bytes(fish)), iter([fish])):
        assert [visit.cid for visit in walk(store, roots)] == [fish]
    assert list(walk(store, [])) == []
    assert len(list(walk(store, [FISH[0], LOBSTER[0]]))) == 2


@pytest.mark.parametrize("wrong", [{"order": "random"}, {"on_unknown": "skip"}, {"on_missing": "skip"}], ids=str)
def test_a_setting_that_cannot_be_is_told_at_once(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        walk(store_of([]), FISH[0], **wrong)


class Faltering(MemoryBlockstore):
    """A store whose get_many gives up early."""

    def get_many(self, cids: Any) -> Any:
        yield from list(super().get_many(cids))[:1]


def test_a_store_that_gives_fewer_than_asked_for_is_asked_again() -> None:
    node = archives.node(FISH[0], LOBSTER[0])
    found = walk(Faltering([node, FISH, LOBSTER]), node[0], order="bfs")
    assert [visit.data for visit in found][1:] == [b"fish", b"lobster"]
