"""The order of an archive, told block by block."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore
from carv2.dag import Order, OrderDetector, detect_order, stat, walk
from dag.dags import Dag, chain, dags, doubling, is_identity
from helpers import archives
from helpers.archives import DAG_CBOR, FISH, LOBSTER, cid_v0, cid_v1, identity
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from collections.abc import Sequence

Pairs = list[tuple[bytes, bytes]]


def sent(dag: Dag, order: Any, *, repeats: bool) -> Pairs:
    """What a gateway would send of ``dag``: a walk without identity CIDs and missing blocks, by multihash."""
    store = MemoryBlockstore(dag.blocks.items())
    pairs: Pairs = []
    seen: set[bytes] = set()
    for visit in walk(store, dag.roots, order=order, repeats=repeats, on_missing=lambda _: None):
        key = visit.cid.multihash
        if not is_identity(visit.cid_bytes) and (repeats or key not in seen):
            seen.add(key)
            pairs.append((visit.cid_bytes, visit.data))
    return pairs


def order_of(pairs: Pairs, roots: Sequence[bytes], **settings: Any) -> tuple[str, bool]:
    found = detect_order(pairs, roots, **settings)
    return found.order, found.dups


@settings(max_examples=80)
@given(dags(), st.sampled_from(["dfs", "bfs"]), st.booleans())
def test_what_a_walk_sends_is_recognised(dag: Dag, order: Any, repeats: bool) -> None:
    pairs = sent(dag, order, repeats=repeats)
    assume(pairs)
    repeated = len({cid for cid, _ in pairs}) < len(pairs)
    found = order_of(pairs, dag.roots)
    assert found[0] in {order, "dfs"}
    assert found[0] == order or [cid for cid, _ in pairs] == [cid for cid, _ in sent(dag, "dfs", repeats=found[1])]
    assert found[1] == repeated


@settings(max_examples=80)
@given(dags(missing=False), st.data())
def test_an_order_that_is_told_is_one_that_a_walk_over_the_same_blocks_gives(
    dag: Dag, data: st.DataObject
) -> None:
    """Whatever the blocks, their order and their repeats."""
    pairs = data.draw(st.lists(st.sampled_from([*dag.blocks.items(), FISH]), min_size=1, max_size=8))
    if data.draw(st.booleans()):
        pairs = sent(dag, "dfs", repeats=data.draw(st.booleans()))[: data.draw(st.integers(1, 8))] or pairs
    found = detect_order(pairs, dag.roots)
    if found.order == "unknown":
        return
    here = Dag(dict(pairs), dag.links, dag.roots)
    again = sent(here, found.order, repeats=found.dups)
    expected = [carv2.CID(cid).multihash for cid, _ in again]
    assert [carv2.CID(cid).multihash for cid, _ in pairs] == expected[: len(pairs)]
    assert len(pairs) == len(expected) or (found.dups and found.gaps)  # the end was cut off


@settings(max_examples=40)
@given(dags())
def test_gaps_are_what_is_missing(dag: Dag) -> None:
    pairs = sent(dag, "dfs", repeats=False)
    assume(pairs)
    lost: list[object] = []
    store = MemoryBlockstore(dag.blocks.items())
    list(walk(store, dag.roots, on_missing=lost.append))
    assert detect_order(pairs, dag.roots).gaps == bool(lost)


def test_a_gap_behind_an_identity_cid_is_one() -> None:
    around = archives.node(identity(archives.node(FISH[0])[1], codec=DAG_CBOR))
    assert detect_order([around], [around[0]]).gaps
    assert not detect_order([around, FISH], [around[0]]).gaps


MIDDLE = archives.node(FISH[0], LOBSTER[0])
OTHER = archives.node(FISH[0], extra=b"\x01")
TOP = archives.node(MIDDLE[0], OTHER[0])
CASES: dict[str, tuple[Pairs, tuple[str, bool, bool]]] = {
    "depth-first": ([TOP, MIDDLE, FISH, LOBSTER, OTHER], ("dfs", False, False)),
    "breadth-first": ([TOP, MIDDLE, OTHER, FISH, LOBSTER], ("bfs", False, False)),
    "depth-first, repeated": ([TOP, MIDDLE, FISH, LOBSTER, OTHER, FISH], ("dfs", True, False)),
    "breadth-first, repeated": ([TOP, MIDDLE, OTHER, FISH, LOBSTER, FISH], ("bfs", True, False)),
    "children first": ([FISH, LOBSTER, MIDDLE, OTHER, TOP], ("unknown", False, False)),
    "repeated in the wrong place": ([TOP, MIDDLE, FISH, FISH, LOBSTER, OTHER], ("unknown", True, False)),
    "children swapped": ([TOP, MIDDLE, LOBSTER, FISH, OTHER], ("unknown", False, False)),
    "something else at the end": (
        [TOP, MIDDLE, FISH, LOBSTER, OTHER, archives.BARRELEYE],
        ("unknown", False, False),
    ),
    "the root alone": ([TOP], ("dfs", False, True)),
    "a gap": ([TOP, MIDDLE, LOBSTER, OTHER], ("dfs", False, True)),
    "a gap whose block comes later": ([TOP, MIDDLE, LOBSTER, OTHER, FISH], ("unknown", False, False)),
    "no root": ([MIDDLE, FISH, LOBSTER], ("unknown", False, False)),
    "nothing": ([], ("unknown", False, False)),
}


@pytest.mark.parametrize("name", CASES)
def test_an_archive_of_five_blocks(name: str) -> None:
    pairs, (order, dups, gaps) = CASES[name]
    assert detect_order(pairs, TOP[0]) == Order(order=order, dups=dups, gaps=gaps)  # type: ignore[arg-type]


def test_of_repeats_all_must_be_there_but_for_an_end_that_was_cut_off() -> None:
    top = archives.node(FISH[0], LOBSTER[0], FISH[0], LOBSTER[0])
    assert order_of([top, FISH, LOBSTER], top[:1]) == ("dfs", False)
    assert order_of([top, FISH, LOBSTER, FISH, LOBSTER], top[:1]) == ("dfs", True)
    assert order_of([top, FISH, LOBSTER, FISH], top[:1]) == ("dfs", True)
    assert order_of([top, FISH, LOBSTER, LOBSTER], top[:1]) == ("unknown", True)


def test_without_roots_the_first_block_is_taken_for_one() -> None:
    assert order_of([MIDDLE, FISH, LOBSTER], []) == ("dfs", False)
    assert order_of([FISH, MIDDLE], []) == ("unknown", False)


def test_both_versions_of_a_cid_are_one_block() -> None:
    data = b"\x0a\x02\x08\x01"
    as_v0, as_v1 = cid_v0(data), cid_v1(data, codec=0x70)
    top = archives.node(as_v0, FISH[0], as_v1)
    assert order_of([top, (as_v1, data), FISH], top[:1]) == ("dfs", False)
    assert order_of([top, (as_v1, data), FISH, (as_v0, data)], top[:1]) == ("dfs", True)


def test_identity_cids_are_followed_and_never_waited_for() -> None:
    inner = identity(archives.node(FISH[0])[1], codec=DAG_CBOR)
    top = archives.node(inner, LOBSTER[0])
    assert detect_order([top, FISH, LOBSTER], top[0]) == Order(order="dfs", dups=False, gaps=False)
    own = (inner, archives.node(FISH[0])[1])
    assert detect_order([top, own, FISH, own, LOBSTER], top[0]) == Order(order="dfs", dups=False, gaps=False)
    assert detect_order([top, LOBSTER, FISH], top[0]).order == "bfs"


def test_blocks_that_cannot_be_read_lead_nowhere() -> None:
    broken = (cid_v1(b"\x82", codec=DAG_CBOR), b"\x82")
    strange = (cid_v1(b"tree", codec=0x78), b"tree")
    top = archives.node(broken[0], strange[0], FISH[0])
    assert order_of([top, broken, strange, FISH], top[:1]) == ("dfs", False)


def test_the_result_may_be_asked_for_at_any_time() -> None:
    detector = OrderDetector(TOP[0])
    told = []
    for cid, data in [TOP, MIDDLE, FISH, LOBSTER, OTHER, TOP]:
        told.append(detector.result().order)
        detector.add(cid, data)
    assert [*told, detector.result().order] == ["unknown", "dfs", "dfs", "dfs", "dfs", "dfs", "unknown"]
    assert detector.result().dups


def test_an_identity_cid_that_holds_too_much_is_passed_over() -> None:
    padded = b"\x82" + archives.link(LOBSTER[0]) + archives.cbor_head(2, 70_000) + bytes(70_000)
    top = archives.node(identity(padded, codec=DAG_CBOR), FISH[0])
    assert order_of([top, FISH], top[:1]) == ("dfs", False)
    assert stat(archives.v1([top[0]], [top, FISH])).order == Order(order="dfs", dups=False, gaps=False)


def test_an_order_that_needs_too_much_memory_is_given_up() -> None:
    leaves = [(cid_v1(b"%d" % at), b"%d" % at) for at in range(50)]
    top = archives.node(*(cid for cid, _ in leaves))
    assert order_of([top, *leaves], top[:1], max_remembered=60) == ("dfs", False)
    assert order_of([top, *leaves], top[:1], max_remembered=40) == ("unknown", False)
    detector = OrderDetector(top[0], max_remembered=40)
    for cid, data in [top, *leaves]:
        detector.add(cid, data)
        assert len(detector._arrived) <= 40


def test_long_chains_and_many_ways() -> None:
    deep = chain(5_000)
    assert order_of(sent_in_order(deep), deep.roots) == ("dfs", False)
    wide = doubling(60)
    assert order_of(sent_in_order(wide), wide.roots) == ("dfs", False)
    few = doubling(8)
    assert order_of(sent(few, "dfs", repeats=True), few.roots) == ("dfs", True)


def sent_in_order(dag: Dag) -> Pairs:
    return list(reversed(list(dag.blocks.items())))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("go-car-cli/simple-unixfs.car", Order(order="dfs", dups=False, gaps=False)),
        ("go-car-cli/wikipedia-cryptographic-hash-function.car", Order(order="dfs", dups=False, gaps=True)),
        ("go-car/sample-v1.car", Order(order="dfs", dups=False, gaps=False)),
        ("go-car/sample-unixfs-v2.car", Order(order="unknown", dups=False, gaps=False)),
    ],
)
def test_archives_of_other_programs(name: str, expected: Order) -> None:
    with carv2.open(shared_fixture(name)) as car:
        assert detect_order(car, car.roots) == expected
        mixed = list(car)
        random.Random(1).shuffle(mixed)
        assert len(mixed) < 5 or detect_order(mixed, car.roots).order == "unknown"
