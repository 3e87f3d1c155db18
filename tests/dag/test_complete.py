"""Completeness: what the roots reach, what is missing, what nothing leads to; by a scan and by a walk."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.codec import links_of as codec_links_of
from carv2.dag import Completeness, check_complete, detect_order, dot, select, sort, verify_deep
from carv2.dag import _gather as gather_module
from carv2.dag import _graph as graph_module
from carv2.dag import complete as complete_module
from carv2.dag.selector import EVERYTHING
from carv2.errors import CarError, IntegrityError, TruncatedError, UnknownHashError
from dag.dags import Dag, breadth_first, cbor_node, chain, dags, doubling, is_identity, pb_node
from helpers import archives
from helpers.archives import DAG_CBOR, DAG_PB, FISH, LOBSTER, SHA2_256, cid_v0, cid_v1, identity, link
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from carv2.cid import CIDLike


def summary(found: Completeness) -> tuple[int, int, int, int, set[tuple[bytes, bool]]]:
    missing = {(missing.cid.multihash, missing.parent is None) for missing in found.missing}
    return found.block_count, found.block_bytes, found.missing_count, found.unreachable_count, missing


def oracle(dag: Dag) -> tuple[int, int, int, int, set[tuple[bytes, bool]]]:
    cids = {carv2.CID(cid).to_v1(): cid for cid, _ in breadth_first(dag) if not is_identity(cid)}
    data = {carv2.CID(cid).multihash: data for cid, data in dag.blocks.items()}
    reached = {cid.multihash for cid in cids if cid.multihash in data}
    lost = {cid.multihash for cid in cids} - reached
    at_root: set[bytes] = set()
    pending = list(dag.roots)
    while pending:
        cid = pending.pop()
        if is_identity(cid):
            pending += dag.links[cid]
        at_root.add(carv2.CID(cid).multihash)
    return (
        len(reached),
        sum(len(data[multihash]) for multihash in reached),
        len(lost),
        len(data.keys() - reached),
        {(multihash, multihash in at_root) for multihash in lost},
    )


@settings(max_examples=60)
@given(dags(), st.randoms(use_true_random=False))
def test_a_scan_and_a_walk_find_what_the_short_and_slow_way_finds(dag: Dag, chance: random.Random) -> None:
    copies = [*dag.blocks.items(), *chance.choices(list(dag.blocks.items()) or [FISH], k=2)]
    archive = archives.v1(dag.roots, copies)
    expected = oracle(dag if dag.blocks else dag._replace(blocks=dict([FISH])))
    scanned = check_complete(archive)
    assert summary(scanned) == expected
    walked = check_complete(ReadOnlyBlockstore(archive))
    assert summary(walked) == expected
    assert scanned.depth == walked.depth
    assert scanned.complete == walked.complete == (expected[2] == 0)
    report, deep = verify_deep(archive)
    assert deep == scanned
    assert report == carv2.verify(archive)


def test_the_parent_of_a_missing_block_is_the_first_that_a_breadth_first_walk_meets() -> None:
    deep = archives.node(LOBSTER[0], extra=b"\x01")
    near = archives.node(LOBSTER[0], extra=b"\x02")
    top = archives.node(archives.node(deep[0])[0], near[0])
    for order in ([top, near, archives.node(deep[0]), deep], [deep, archives.node(deep[0]), near, top]):
        archive = archives.v1([top[0]], order)
        for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
            assert [(bytes(lost.cid), bytes(lost.parent or b"")) for lost in found.missing] == [
                (LOBSTER[0], near[0])
            ]
            assert found.depth == 2


def test_the_parent_of_what_an_identity_cid_links_to_is_the_block_that_holds_it() -> None:
    inner = identity(cbor_node([FISH[0], LOBSTER[0]]), codec=DAG_CBOR)
    outer = identity(cbor_node([inner]), codec=DAG_CBOR)
    top = archives.node(FISH[0], outer)
    archive = archives.v1([top[0]], [top, FISH])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert [(bytes(lost.cid), bytes(lost.parent or b"")) for lost in found.missing] == [(LOBSTER[0], top[0])]
        assert found.block_count == 2
    rooted = check_complete(archives.v1([outer], [FISH]))
    assert [(bytes(lost.cid), lost.parent) for lost in rooted.missing] == [(LOBSTER[0], None)]


def test_roots_of_the_callers_choice() -> None:
    node = archives.node(FISH[0])
    archive = archives.v1([LOBSTER[0]], [node, FISH, LOBSTER])
    assert check_complete(archive).unreachable_count == 2
    assert check_complete(archive, str(carv2.CID(node[0]))).unreachable_count == 1
    assert check_complete(archive, []).unreachable_count == 3
    assert check_complete(archives.v1([], [FISH])).complete
    store = MemoryBlockstore([node, FISH, LOBSTER])
    with pytest.raises(ValueError, match="names no roots"):
        check_complete(store)
    assert check_complete(store, [node[0]]).unreachable_count == 1
    plain = {carv2.CID(cid): data for cid, data in (node, FISH, LOBSTER)}
    assert check_complete(plain, [node[0]]) == check_complete(store, [node[0]])


def test_both_versions_of_a_cid_are_one_block() -> None:
    data = pb_node([FISH[0]])
    top = archives.node(cid_v0(data), cid_v1(data, codec=DAG_PB))
    for stored in (cid_v0(data), cid_v1(data, codec=DAG_PB)):
        archive = archives.v1([top[0]], [top, (stored, data), FISH])
        for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
            assert (found.block_count, found.unreachable_count, found.complete) == (3, 0, True)
    both = archives.v1([top[0]], [top, (cid_v0(data), data), (cid_v1(data, codec=DAG_PB), data), FISH])
    assert check_complete(both).unreachable_count == 0


def test_an_archive_that_stores_every_block_as_raw_is_walked_by_its_links() -> None:
    top = archives.node(archives.node(FISH[0])[0], LOBSTER[0])
    blocks = [top, archives.node(FISH[0]), FISH]
    as_raw = [(cid_v1(data), data) for _, data in blocks]
    found = check_complete(archives.v1([top[0]], as_raw))
    assert (found.block_count, found.depth) == (3, 2)
    assert [bytes(lost.cid) for lost in found.missing] == [LOBSTER[0]]


def test_a_block_that_is_there_under_two_codecs_is_followed_by_that_of_the_link() -> None:
    node = archives.node(LOBSTER[0])
    as_raw = (cid_v1(node[1]), node[1])
    for stored in ([as_raw, node], [node, as_raw]):
        assert check_complete(archives.v1([as_raw[0]], [*stored, FISH])).complete
        assert not check_complete(archives.v1([node[0]], stored)).complete


def test_what_cannot_be_followed_is_no_complete_dag() -> None:
    strange = (cid_v1(b"tree", codec=0x78), b"tree")
    broken = (cid_v1(b"\x82", codec=DAG_CBOR), b"\x82")
    node = archives.node(strange[0], broken[0])
    archive = archives.v1([node[0]], [node, strange, broken])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert not found.complete
        assert (found.missing_count, found.fault_count, dict(found.unknown_codecs)) == (0, 1, {0x78: 1})
        assert found.faults[0].cid is not None
        assert bytes(found.faults[0].cid) == broken[0]
        assert found.block_count == 3
    unreached = archives.v1([FISH[0]], [FISH, strange])
    assert check_complete(unreached).unknown_codecs == {}


def test_hashes_are_checked_unless_told_otherwise() -> None:
    node = archives.node(FISH[0])
    archive = archives.v1([node[0]], [node, (FISH[0], b"fisH")])
    with pytest.raises(IntegrityError):
        check_complete(archive)
    assert check_complete(archive, check_hashes=False).complete
    unknown = (cid_v1(b"data", code=0x9999, digest=b"abcd"), b"data")
    with pytest.raises(UnknownHashError):
        check_complete(archives.v1([unknown[0]], [unknown]))
    with pytest.raises(TruncatedError):
        check_complete(archive[:-1])


def test_digests_of_every_size_are_told_apart() -> None:
    blocks = [
        (cid_v1(b"%d" % at, codec=codec, code=0x9999, digest=bytes([at]) * size), b"%d" % at)
        for size in (0, 1, 2, 20, 31, 32, 33, 64, 130)
        for at in range(3 if size else 1)
        for codec in (0x55, 0x0202)
    ]
    odd = [
        (cid_v1(b"", code=0x100 + at, digest=b"abc"), b"") for at in range(60)
    ]  # more kinds than are told apart
    node = archives.node(*(cid for cid, _ in [*blocks[::2], *odd]))
    archive = archives.v1([node[0]], [node, *reversed(odd), *blocks])
    found = check_complete(archive, check_hashes=False)
    assert (found.missing_count, found.unreachable_count) == (0, 0)  # each is reached by one of its codecs
    holes = archives.v1([node[0]], [node, *odd[::2], *blocks[::4]])
    found = check_complete(holes, check_hashes=False)
    assert found.missing_count == len(blocks) // 2 - len(blocks[::4]) + 30


def test_many_parts_are_joined_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [(cid_v1(b"%d" % at), b"%d" % at) for at in range(300)]
    nodes = [archives.node(*(cid for cid, _ in leaves[at : at + 7])) for at in range(0, 300, 5)]
    top = archives.node(*(cid for cid, _ in nodes))
    archive = archives.v1([top[0]], [*leaves[10:], *nodes, top])
    expected = check_complete(archive)
    assert expected.missing_count == 10
    monkeypatch.setattr(graph_module, "_PART", 16)
    monkeypatch.setattr(graph_module, "_STRIDE", 5)
    assert check_complete(archive) == expected


def test_more_than_a_thousand_missing_blocks_are_counted() -> None:
    leaves = [cid_v1(b"%d" % at) for at in range(1100)]
    node = archives.node(*leaves)
    for source in (archives.v1([node[0]], [node]), MemoryBlockstore([node])):
        found = check_complete(source, [node[0]])
        assert found.missing_count == 1100
        assert [bytes(lost.cid) for lost in found.missing] == leaves[:1000]


def test_a_block_is_read_again_once_for_all_that_is_missing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [archives.node(*(cid_v1(b"%d" % (at + many)) for at in range(50))) for many in (0, 100)]
    top = archives.node(*(cid for cid, _ in nodes))
    read: list[bytes] = []

    def links_of(cid: bytes, data: bytes) -> list[bytes]:
        read.append(cid)
        return codec_links_of(cid, data)

    monkeypatch.setattr(gather_module, "links_of", links_of)
    found = check_complete(archives.v1([top[0]], [top, *nodes]))
    assert len(found.missing) == found.missing_count == 100
    assert sorted(read) == sorted([top[0], *(cid for cid, _ in nodes), *(cid for cid, _ in nodes)])


def test_faults_are_those_of_what_is_reached() -> None:
    data = [b"\x82\x19" + at.to_bytes(2, "big") for at in range(1010)]  # a list of two, with one
    broken = [(cid_v1(each, codec=DAG_CBOR), each) for each in data]
    node = archives.node(broken[-1][0], broken[-2][0])
    archive = archives.v1([node[0]], [*broken, broken[-1], node])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert {bytes(fault.cid or b"") for fault in found.faults} == {cid for cid, _ in broken[-2:]}
        assert (found.fault_count, found.unreachable_count) == (2, 1008)
    unreached = archives.v1([FISH[0]], [*broken, FISH])
    for found in (check_complete(unreached), check_complete(ReadOnlyBlockstore(unreached))):
        assert (found.complete, found.fault_count, found.faults) == (True, 0, ())


def test_a_root_that_makes_no_sense_is_one_fault() -> None:
    root = identity(b"\x82", codec=DAG_CBOR)
    node = archives.node(LOBSTER[0])
    archive = archives.v1([root, LOBSTER[0], node[0]], [node, FISH])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert (found.fault_count, len(found.faults), found.missing_count) == (1, 1, 1)


def test_what_is_missing_or_not_reached_is_counted_by_multihash() -> None:
    node, other = archives.node(FISH[0]), archives.node(FISH[0], extra=b"\x01")
    as_raw, other_as_raw = (cid_v1(node[1]), node[1]), (cid_v1(other[1]), other[1])
    stored = [node, as_raw, other, other_as_raw, FISH]
    for root, unreached in ((node, 1), (as_raw, 2), (FISH, 2), (other, 1)):
        archive = archives.v1([root[0]], stored)
        for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
            assert (found.unreachable_count, found.missing_count) == (unreached, 0)
    top = archives.node(node[0], as_raw[0])
    archive = archives.v1([top[0]], [top, FISH])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert [bytes(lost.cid) for lost in found.missing] == [node[0]]
        assert (found.missing_count, found.unreachable_count) == (1, 1)


def test_long_chains_and_many_ways_are_no_trouble() -> None:
    for dag, depth in ((chain(5_000), 4_999), (doubling(200), 199)):
        for found in (check_complete(dag.archive), check_complete(ReadOnlyBlockstore(dag.archive))):
            assert (found.complete, found.depth) == (True, depth)


def test_an_identity_cid_that_holds_too_much_is_not_looked_into() -> None:
    padded = identity(b"\x82" + link(FISH[0]) + archives.cbor_head(2, 70_000) + bytes(70_000), codec=DAG_CBOR)
    node = archives.node(padded)
    archive = archives.v1([node[0]], [node, FISH])
    for found in (check_complete(archive), check_complete(ReadOnlyBlockstore(archive))):
        assert not found.complete
        assert [problem.kind for problem in found.faults] == ["BudgetError"]
    assert verify_deep(archive)[0].ok


@settings(max_examples=60)
@given(dags(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.integers(0, 40))
def test_a_damaged_archive_gives_a_report_or_a_car_error(
    dag: Dag, changes: list[tuple[int, int]], cut: int
) -> None:
    archive = bytearray(dag.archive)
    for at, byte in changes:
        archive[at % len(archive)] = byte
    damaged = bytes(archive[: len(archive) - cut])
    report, deep = verify_deep(damaged)
    assert deep is not None or not report.ok
    for check_hashes in (True, False):
        with contextlib.suppress(CarError):
            assert isinstance(check_complete(damaged, check_hashes=check_hashes), Completeness)
    with contextlib.suppress(CarError), carv2.open(damaged) as car:
        detect_order(car.blocks(verify=False), car.roots)
    with contextlib.suppress(CarError):
        sort(damaged, io.BytesIO())
    with contextlib.suppress(CarError):
        missing: list[carv2.CID] = []
        store = ReadOnlyBlockstore(damaged, verify=False)
        list(dot(store, store.roots))
        list(
            select(store, store.roots[0], EVERYTHING, max_steps=1000, on_unknown="leaf", on_missing=missing.append)
        )


def test_a_report_goes_as_far_as_the_sections_do(tmp_path: Path) -> None:
    node = archives.node(FISH[0])
    for archive in (archives.v1([node[0]], [node, FISH])[:-1], b"nothing", b""):
        report, deep = verify_deep(archive)
        assert (report.ok, deep) == (False, None)
        assert report == carv2.verify(archive)
    damaged = archives.v1([node[0]], [node, (FISH[0], b"fisH")])
    report, deep = verify_deep(damaged)
    assert not report.ok
    assert deep is not None
    assert deep.complete
    path = tmp_path / "archive.car"
    path.write_bytes(archives.v1([node[0]], [node]))
    for workers in (1, 2):
        _, deep = verify_deep(path, workers=workers)
        assert deep is not None
        assert deep.missing_count == 1


def test_processes_share_the_hashing_of_a_deep_check(tmp_path: Path) -> None:
    leaves = [(cid_v1(bytes([at]) * 30_000), bytes([at]) * 30_000) for at in range(200)]
    node = archives.node(*(cid for cid, _ in leaves))
    path = tmp_path / "archive.car"
    path.write_bytes(archives.v1([node[0]], [*leaves[1:], node]))
    assert verify_deep(path, workers=2) == verify_deep(path)
    _, deep = verify_deep(path, workers=2)
    assert deep is not None
    assert (deep.block_count, deep.missing_count) == (200, 1)


def test_memory_is_tens_of_bytes_for_each_block_and_link() -> None:
    leaves = [cid_v1(b"%d" % at) for at in range(6_000)]
    nodes = [archives.node(*leaves[at : at + 20]) for at in range(0, 6_000, 20)]
    top = archives.node(*(cid for cid, _ in nodes))
    archive = archives.v1([top[0]], [top, *nodes, *((cid, b"%d" % at) for at, cid in enumerate(leaves))])
    tracemalloc.start()
    try:
        assert check_complete(archive, check_hashes=False).complete
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6_300 * 2 * 110 + (1 << 20)  # the dict of one part, here of all, included


SIZES = {
    "go-car-cli/simple-unixfs.car": (22, 0, 0),
    "go-car-cli/simple-unixfs-missing-blocks.car": (17, 3, 0),
    "go-car-cli/wikipedia-cryptographic-hash-function.car": (5, 680, 0),
    "go-car-cli/sample-v1.car": (1043, 0, 0),
    "go-car-cli/sample-wrapped-v2.car": (1043, 0, 0),
    "go-car/sample-unixfs-v2.car": None,
}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_archives_of_other_programs(name: str) -> None:
    path = shared_fixture(name)
    found = check_complete(path)
    assert summary(found) == summary(check_complete(ReadOnlyBlockstore(path)))
    expected = SIZES[name]
    if expected is not None:
        assert (found.block_count, found.missing_count, found.unreachable_count) == expected


def test_what_is_missing_of_a_sharded_directory() -> None:
    """570 shards, which `car extract` counts, and 110 entries."""
    path = shared_fixture("go-car-cli/wikipedia-cryptographic-hash-function.car")
    from carv2.codec import dag_pb

    with carv2.open(path) as car:
        nodes = {block.cid: dag_pb.decode(block.data) for block in car if block.cid.codec == DAG_PB}
    found = check_complete(path)
    shards = 0
    for lost in found.missing:
        assert lost.parent is not None
        named = {entry.cid: entry.name for entry in nodes[lost.parent].links}
        shards += len(named[bytes(lost.cid)] or "") == 2
    assert (shards, found.missing_count - shards) == (570, 110)


def test_a_sha2_256_cut_short_is_another_block() -> None:
    short = cid_v1(b"fish", code=SHA2_256, digest=carv2.CID(FISH[0]).digest[:20])
    node = archives.node(short)
    found = check_complete(archives.v1([node[0]], [node, FISH]))
    assert [bytes(lost.cid) for lost in found.missing] == [short]


class Asked(ReadOnlyBlockstore):
    """Counts how often it is asked for one block."""

    count = 0

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        self.count += 1
        return super().__getitem__(cid)


def links_to_nowhere(count: int) -> tuple[carv2.CID, bytes, list[bytes]]:
    """An archive of a root that links to two nodes, which link to ``count`` blocks that are not there."""
    lost = [cid_v1(b"%d" % number) for number in range(count)]
    nodes = [pb_node(lost[: count // 2]), pb_node([*lost[count // 2 :], lost[0]])]
    blocks = [(cid_v1(node, codec=DAG_PB), node) for node in nodes]
    root = pb_node([cid for cid, _ in blocks])
    blocks.insert(0, (cid_v1(root, codec=DAG_PB), root))
    return carv2.CID(blocks[0][0]), archives.v1([blocks[0][0]], blocks), lost


def test_an_archive_is_not_asked_for_what_its_index_does_not_have() -> None:
    root, data, lost = links_to_nowhere(3000)
    with Asked(data) as store:
        found = check_complete(store, root)
        assert store.count < 10
    assert (found.block_count, found.missing_count, found.unreachable_count) == (3, 3000, 0)
    assert [bytes(missing.cid) for missing in found.missing] == lost[:1000]


def test_only_so_many_missing_blocks_of_a_store_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    root, data, _ = links_to_nowhere(3000)
    monkeypatch.setattr(complete_module, "MAX_TOLD_APART", 2000)
    with ReadOnlyBlockstore(data) as store:
        assert check_complete(store, root).missing_count == 3000
        monkeypatch.setattr(complete_module, "MAX_TOLD_APART", 0)
        assert check_complete(store, root).missing_count == 3001  # one is linked to twice


def test_links_to_what_is_missing_are_not_kept_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    root, data, _ = links_to_nowhere(40_000)
    monkeypatch.setattr(complete_module, "MAX_TOLD_APART", 100)
    with ReadOnlyBlockstore(data) as store:
        check_complete(store, root)  # imports what it needs
        tracemalloc.start()
        found = check_complete(store, root)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.missing_count == 40_000
    assert peak < 40_000 * 150  # the links of one block at a time, which is half of them
