"""Archives made of DAGs: one taken out, and one brought into order."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.dag import check_complete, detect_order, export, sort, verify_deep, walk
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CodecError,
    IntegrityError,
    SelectorError,
    UnknownCodecError,
)
from dag.dags import Dag, dags, doubling, is_identity
from helpers import archives
from helpers.archives import BARRELEYE, DAG_CBOR, FISH, LOBSTER, cid_v1, identity
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

MIDDLE = archives.node(FISH[0], LOBSTER[0])
TOP = archives.node(MIDDLE[0], FISH[0])
ARCHIVE = archives.v1([TOP[0]], [FISH, BARRELEYE, LOBSTER, MIDDLE, TOP])


def exported(source: Any, *arguments: Any, **settings: Any) -> tuple[Any, bytes]:
    sink = io.BytesIO()
    report = export(source, sink, *arguments, **{"version": 1, **settings})
    return report, sink.getvalue()


def in_order(source: Any, **settings: Any) -> tuple[Any, bytes]:
    sink = io.BytesIO()
    return sort(source, sink, **settings), sink.getvalue()


def pairs(archive: bytes) -> list[tuple[bytes, bytes]]:
    with carv2.open(archive) as car:
        return [(block.cid_bytes, block.data) for block in car]


# -- export -------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(dags(), st.booleans(), st.booleans())
def test_what_comes_out_is_the_walk_and_nothing_else(dag: Dag, identities: bool, from_store: bool) -> None:
    store = MemoryBlockstore(dag.blocks.items())
    root = dag.roots[0]
    lost: list[carv2.CID] = []
    walked = [visit[:2] for visit in walk(store, root, on_missing=lost.append)]
    expected = [(cid, data) for cid, data in walked if identities or not is_identity(cid)]
    source = store if from_store else dag.archive
    if lost and bytes(lost[0]) == root:
        with pytest.raises(BlockNotFoundError):
            exported(source, root, strict=False)
        return
    report, archive = exported(source, root, strict=False, identity=identities)
    assert_bytes_equal(archive, archives.v1([root], expected))
    assert (report.block_count, report.missing) == (len(expected), tuple(lost))
    assert report.block_bytes == sum(len(data) for _, data in expected)
    if lost:
        with pytest.raises(BlockNotFoundError):
            exported(source, root)


def test_a_carv2_has_an_index_and_all_that_its_root_leads_to(tmp_path: Path) -> None:
    report = export(ARCHIVE, tmp_path / "dag.car")
    assert (report.root, report.block_count, report.missing_count) == (carv2.CID(TOP[0]), 4, 0)
    checked, deep = verify_deep(tmp_path / "dag.car")
    assert checked.ok
    assert checked.index_checked
    assert deep is not None
    assert (deep.complete, deep.block_count, deep.unreachable_count) == (True, 4, 0)
    with carv2.open(tmp_path / "dag.car") as car:
        assert car.version == 2
        assert car.roots == (carv2.CID(TOP[0]),)


def test_a_selector_and_budgets() -> None:
    report, archive = exported(ARCHIVE, None, '{"i":{"i":1,">":{".":{}}}}')
    assert pairs(archive) == [TOP, FISH]
    assert report.block_count == 2
    with pytest.raises(SelectorError):
        exported(ARCHIVE, None, "{}")
    for budget in ({"max_blocks": 3}, {"max_bytes": 100}, {"max_depth": 1}):
        with pytest.raises(BudgetError):
            exported(ARCHIVE, **budget)


def test_the_root_may_be_left_out_where_there_is_only_one() -> None:
    two = archives.v1([TOP[0], FISH[0]], [FISH, BARRELEYE, LOBSTER, MIDDLE, TOP])
    for source in (two, archives.v1([], [FISH]), MemoryBlockstore([FISH])):
        with pytest.raises(ValueError, match="say which"):
            exported(source)
    assert pairs(exported(two, str(carv2.CID(FISH[0])))[1]) == [FISH]
    assert pairs(exported(ReadOnlyBlockstore(ARCHIVE))[1])[0] == TOP


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.car"
    gaps = archives.v1([TOP[0]], [TOP, MIDDLE, FISH])
    for _ in range(2):
        with pytest.raises(BlockNotFoundError):
            export(gaps, out)
        assert not list(tmp_path.iterdir())
    out.write_bytes(b"before")
    with pytest.raises(BlockNotFoundError):
        export(gaps, out, FISH[0][:-1] + b"?", strict=False)
    damaged = archives.v1([TOP[0]], [TOP, MIDDLE, (FISH[0], b"fisH"), LOBSTER])
    with pytest.raises(IntegrityError):
        export(damaged, out)
    assert out.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1
    assert export(gaps, out, strict=False).missing == (carv2.CID(LOBSTER[0]),)
    export(out, out, FISH[0])
    assert pairs(out.read_bytes()) == [FISH]


def test_a_store_that_lies_is_caught() -> None:
    store = {carv2.CID(FISH[0]): b"fisH"}
    with pytest.raises(IntegrityError):
        exported(store, FISH[0])


def test_what_is_not_known_is_an_error_unless_it_is_a_leaf() -> None:
    strange = (cid_v1(b"tree", codec=0x78), b"tree")
    archive = archives.v1([strange[0]], [strange])
    with pytest.raises(UnknownCodecError):
        exported(archive)
    assert exported(archive, on_unknown="leaf")[1] == archive


# -- sort ---------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(dags(), st.sampled_from(["dfs", "bfs"]), st.booleans(), st.booleans())
def test_a_sorted_archive_is_what_a_walk_gives(dag: Dag, order: Any, dups: bool, keep: bool) -> None:
    report, archive = in_order(dag.archive, order=order, dups=dups, keep_unreachable=keep)
    store = MemoryBlockstore(dag.blocks.items())
    walked = walk(store, dag.roots, order=order, repeats=dups, on_missing=lambda _: None)
    expected = [visit[:2] for visit in walked if not is_identity(visit.cid_bytes)]
    reached = {carv2.CID(cid).multihash for cid, _ in expected}
    others: dict[bytes, tuple[bytes, bytes]] = {}
    for cid, data in dag.blocks.items():
        if carv2.CID(cid).multihash not in reached:
            others.setdefault(carv2.CID(cid).multihash, (cid, data))
    assert pairs(archive) == expected + (list(others.values()) if keep else [])
    assert report.unreachable_count == len(others)
    assert report.block_count == len(pairs(archive))
    assert in_order(archive, order=order, dups=dups, keep_unreachable=keep)[1] == archive
    if expected and not (keep and others):
        found = detect_order(pairs(archive), dag.roots)
        assert found.order in {order, "dfs"} or both_versions(expected)


def both_versions(blocks: list[tuple[bytes, bytes]]) -> bool:
    """Whether a block stands there under two CIDs: more than its hash says, which is what an order goes by."""
    return len({cid for cid, _ in blocks}) > len({carv2.CID(cid).multihash for cid, _ in blocks})


@pytest.mark.parametrize("version", [1, 2])
def test_the_version_stays_unless_another_is_asked_for(version: int, tmp_path: Path) -> None:
    source = tmp_path / "source.car"
    source.write_bytes(ARCHIVE if version == 1 else archives.v2(ARCHIVE))
    for wanted in (None, 1, 2):
        sort(source, tmp_path / "out.car", version=wanted)
        with carv2.open(tmp_path / "out.car") as car:
            assert car.version == (wanted or version)
            assert (car.index is not None) == (car.version == 2)
        assert carv2.verify(tmp_path / "out.car").ok
    before = (tmp_path / "out.car").read_bytes()
    sort(tmp_path / "out.car", tmp_path / "out.car")
    assert (tmp_path / "out.car").read_bytes() == before


def test_copies_and_identity_cids_are_left_out() -> None:
    own = identity(archives.node(LOBSTER[0])[1], codec=DAG_CBOR)
    top = archives.node(own, FISH[0], FISH[0])
    archive = archives.v1([top[0]], [FISH, FISH, LOBSTER, (own, archives.node(LOBSTER[0])[1]), top])
    report, ordered = in_order(archive)
    assert pairs(ordered) == [top, LOBSTER, FISH]
    assert (report.unreachable_count, report.repeated_count) == (0, 0)
    report, ordered = in_order(archive, dups=True)
    assert pairs(ordered) == [top, LOBSTER, FISH, FISH]
    assert report.repeated_count == 1


def test_an_archive_without_roots_has_nothing_in_order() -> None:
    archive = archives.v1([], [FISH, LOBSTER])
    assert in_order(archive)[0].unreachable_count == 2
    assert in_order(archive, keep_unreachable=True)[1] == archive


def test_repeats_end_at_a_thousand_times_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("carv2.dag.exporting"), "MAX_GROWTH", 2)
    with pytest.raises(BudgetError, match=f"more than {2 * len(doubling(9).archive)} bytes"):
        in_order(doubling(9).archive, dups=True)
    monkeypatch.undo()
    dag = doubling(40)
    with pytest.raises(BudgetError, match="bytes"):
        in_order(dag.archive, dups=True, max_bytes=10_000)
    small = doubling(3)
    assert in_order(small.archive, dups=True)[0].block_count == 7
    with pytest.raises(BudgetError):
        in_order(ARCHIVE, max_bytes=20)


def test_what_a_wrong_index_does_not_name_is_sorted_all_the_same() -> None:
    of_others = archives.index_multihash_sorted(archives.records_of(archives.header([FISH[0]]), [FISH]))
    found, out = in_order(archives.v2(ARCHIVE, of_others))
    assert (found.block_count, found.missing_count, found.unreachable_count) == (4, 0, 1)
    assert pairs(out) == [TOP, MIDDLE, FISH, LOBSTER]


def test_damage_is_not_sorted_away(tmp_path: Path) -> None:
    for blocks in (
        [TOP, MIDDLE, FISH, (LOBSTER[0], b"lobsteR")],
        [TOP, MIDDLE, FISH, LOBSTER, (BARRELEYE[0], b"?")],
    ):
        with pytest.raises(IntegrityError):
            sort(archives.v1([TOP[0]], blocks), tmp_path / "out.car")
    broken = (cid_v1(b"\x82", codec=DAG_CBOR), b"\x82")
    with pytest.raises(CodecError):
        sort(archives.v1([broken[0]], [broken]), tmp_path / "out.car")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["go-car-cli/simple-unixfs.car", "go-car/sample-v1-noidentity.car"])
def test_archives_of_other_programs_are_in_order_already(name: str) -> None:
    path = shared_fixture(name)
    archive = path.read_bytes()
    assert_bytes_equal(in_order(path)[1], archive)
    assert_bytes_equal(exported(path)[1], archive)
    assert check_complete(in_order(path, order="bfs")[1]) == check_complete(path)
