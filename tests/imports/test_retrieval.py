"""One retrieval: however blocks come and streams break off, what is kept is right and can be gone on with."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CarError,
    FinalizedError,
    FormatError,
    GatewayTruncatedError,
    IncompleteError,
    IntegrityError,
    LockedError,
    ResumeError,
    StateError,
    TruncatedError,
)
from carv2.imports import Retrievals, _retrieval_store, retrieval
from carv2.units import Limits
from helpers import archives
from helpers.unixfs import Dag
from imports.retrieving import CHILDREN_FIRST, DAG, PARENTS_FIRST, ROOT, STRAYS, pieces, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORDERS = {"parents first": PARENTS_FIRST, "children first": CHILDREN_FIRST}
COUNT = len(DAG.blocks)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable when is for the tests of ReadWriteBlockstore to say; these open thousands of files."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(_retrieval_store, "_MEMORY", 1 << 16)


@pytest.fixture
def retrievals(tmp_path: Path) -> Retrievals:
    return Retrievals(tmp_path / "retrievals")


def sections_within(blocks: list[tuple[bytes, bytes]], size: int) -> int:
    """How many blocks are whole in the first ``size`` bytes of a CARv1 of them without roots."""
    bounds = archives.section_bounds(archives.header([]), blocks)
    return sum(stop <= size for _, stop in bounds)


# -- streams ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_stream_of_either_version_in_any_order_and_pieces(
    retrievals: Retrievals, order: str, version: int, size: int
) -> None:
    with retrievals.start(ROOT, id="x") as it:
        received = it.receive(pieces(stream(ORDERS[order], version=version), size))
        assert (received.block_count, received.new_count, received.known_count) == (COUNT, COUNT, 0)
        assert received.new_bytes == sum(len(cid) + len(data) for cid, data in CHILDREN_FIRST)
        assert retrievals.check("x").complete  # the end of a stream is a checkpoint
        assert it.finish().complete
    with retrievals.open("x") as store:
        assert {bytes(cid): store[cid] for cid in store} == DAG.blocks


@pytest.mark.parametrize("order", ORDERS)
def test_a_stream_that_is_cut_at_any_byte_leaves_what_was_whole(tmp_path: Path, order: str) -> None:
    blocks = ORDERS[order]
    data = stream(blocks)
    whole_at = {stop for _, stop in archives.section_bounds(archives.header([]), blocks)} | {
        len(archives.header([]))
    }
    retrievals = Retrievals(tmp_path)
    for cut in range(0, len(data), 1 if order == "parents first" else 5):
        with retrievals.start(ROOT, id=str(cut)) as it:
            if cut in whole_at:  # nothing tells that there was to be more
                it.receive([data[:cut]])
            else:
                with pytest.raises(TruncatedError):
                    it.receive([data[:cut]])
            assert it.received.new_count == sections_within(blocks, cut)
            with pytest.raises(IncompleteError):
                it.finish()
        record = retrievals.info(str(cut))
        assert record.state == "partial"
        with retrievals.start(ROOT, id=str(cut)) as it:
            assert it.resumed_count == len(it) == sections_within(blocks, cut)
            if cut % 5:
                continue
            received = it.receive([data])
            assert received.known_count == it.resumed_count
            assert it.finish().complete


def test_a_damaged_byte_is_refused_with_its_place_in_the_stream(tmp_path: Path) -> None:
    data = stream(PARENTS_FIRST)
    retrievals = Retrievals(tmp_path)
    bounds = archives.section_bounds(archives.header([]), PARENTS_FIRST)
    for number, (start, end) in enumerate(bounds):
        codec_at = end - sum(map(len, PARENTS_FIRST[number])) + 1
        for at in sorted({*range(start, codec_at), *range(codec_at + 1, end, 5)}):
            with retrievals.start(ROOT, id="x") as it:
                with pytest.raises((FormatError, IntegrityError)) as caught:
                    it.receive(pieces(damaged(data, at), 50))
                position: int = caught.value.position  # type: ignore[attr-defined]
                assert start <= position <= (end if isinstance(caught.value, IntegrityError) else len(data))
                assert it.received.new_count >= number
                assert all(it[cid] == DAG.blocks.get(bytes(cid), it[cid]) for cid in it._store)
            retrievals.remove("x")


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_a_block_by_the_name_of_another_codec_has_the_same_data(retrievals: Retrievals) -> None:
    data = stream(PARENTS_FIRST)
    _, end = archives.section_bounds(archives.header([]), PARENTS_FIRST)[0]
    with retrievals.start(ROOT, id="x") as it:
        it.receive([damaged(data, end - sum(map(len, PARENTS_FIRST[0])) + 1)])
        assert it.received.new_count == COUNT
        assert ROOT not in it
        assert it.finish().complete
    with retrievals.open("x") as store:
        assert store[ROOT] == DAG.blocks[ROOT.raw]


def test_a_fault_is_told_before_the_next_chunk_comes(retrievals: Retrievals) -> None:
    data = stream(PARENTS_FIRST)
    with retrievals.start(ROOT) as it:
        with pytest.raises(IntegrityError):
            it.feed(data[:-1] + b"?")
        assert it.received.new_count == COUNT - 1
        with pytest.raises(IntegrityError):
            it.feed(b"more")
        with pytest.raises(IntegrityError):
            it.end_stream()
        assert it.feed(data) == COUNT
        it.end_stream()
        assert it.finish().complete


def test_a_gateway_that_gives_up_is_quoted(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT) as it:
        with pytest.raises(GatewayTruncatedError, match="no more peers"):
            it.receive([stream(PARENTS_FIRST[:3]) + b"\n\n[Gateway Error: no more peers]"])
        assert it.received.new_count == 3


def test_nothing_is_a_stream_that_was_cut(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT) as it:
        with pytest.raises(TruncatedError):
            it.receive([])
        with pytest.raises(TruncatedError):
            it.end_stream()
        with pytest.raises(TypeError, match="iterable of chunks"):
            it.receive(stream(PARENTS_FIRST))  # type: ignore[arg-type]


def test_streams_do_not_mix(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT) as it:
        it.feed(stream(PARENTS_FIRST)[:30])
        with pytest.raises(StateError, match="another stream"):
            it.receive([stream(PARENTS_FIRST)])
        with pytest.raises(TruncatedError):
            it.end_stream()
        it.receive([stream(PARENTS_FIRST)])
        assert it.finish().complete


def test_a_source_that_fails_in_the_middle_leaves_what_came(retrievals: Retrievals) -> None:
    def chunks() -> object:
        yield stream(PARENTS_FIRST)[:400]
        raise ConnectionResetError(104, "gone")

    with retrievals.start(ROOT, id="x") as it, pytest.raises(ConnectionResetError):
        it.receive(chunks())  # type: ignore[arg-type]
    kept = sections_within(PARENTS_FIRST, 400)
    assert kept
    with retrievals.start(None, id="x") as it:
        assert it.resumed_count == kept
        it.receive([stream(PARENTS_FIRST)])
        assert it.finish().complete


def test_asynchronous_streams(retrievals: Retrievals) -> None:
    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for piece in pieces(data, 40):
            await asyncio.sleep(0)
            yield piece

    async def run() -> None:
        with retrievals.start(ROOT) as it:
            with pytest.raises(TruncatedError):
                await it.areceive(chunks(stream(PARENTS_FIRST)[:-1]))
            sizes: list[int] = []
            received = await it.areceive(chunks(stream(PARENTS_FIRST)), on_bytes=sizes.append)
            assert (received.new_count, received.known_count) == (1, COUNT - 1)
            assert sum(sizes) == len(stream(PARENTS_FIRST))
            assert it.finish().complete

    asyncio.run(run())


# -- any order, any sessions --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.permutations(range(COUNT + len(STRAYS))),
    st.lists(st.integers(0, COUNT + len(STRAYS)), max_size=4),
    st.integers(0, COUNT + len(STRAYS)),
    st.booleans(),
)
def test_what_is_missing_and_what_does_not_belong_is_known_at_any_time(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int], stop: int, streamed: bool
) -> None:
    everything = CHILDREN_FIRST + STRAYS
    blocks = [everything[at] for at in order][:stop]
    sessions = [0, *sorted(min(cut, stop) for cut in cuts), stop]
    retrievals = Retrievals(tmp_path_factory.mktemp("r"))
    for first, last in itertools.pairwise(sessions):
        with retrievals.start(ROOT, id="x") as it:
            if streamed:
                it.receive(pieces(stream(blocks[first:last]), 33))
            else:
                it.put_many(blocks[first:last])
    reached = _reached(dict(blocks))
    with retrievals.start(ROOT, id="x") as it:
        found = it.check()
        assert found.block_count == len(reached)
        assert found.unreachable_count == stop - len(reached)
        assert all((cid in it) == (cid in dict(blocks)) for cid, _ in everything)
        assert {bytes(item.cid) for item in found.missing} == _links(reached) - reached
        assert found.complete == (reached == set(DAG.blocks))
        if not found.complete:
            with pytest.raises(IncompleteError) as caught:
                it.finish()
            assert caught.value.completeness == found
        it.finish(partial=True)
    assert retrievals.info("x").state == "finished"
    assert carv2.verify(retrievals.info("x").path).ok or ROOT.raw not in dict(blocks)


def _links(blocks: set[bytes]) -> set[bytes]:
    links = {bytes(link) for cid in blocks for link in carv2.Block(CID.of(cid), DAG.blocks[cid]).links()}
    return links | {ROOT.raw}


def _reached(blocks: dict[bytes, bytes]) -> set[bytes]:
    reached: set[bytes] = set()
    while more := (_links(reached) & blocks.keys()) - reached:
        reached |= more
    return reached


# -- ends ---------------------------------------------------------------------------------------------------------


def test_the_file_is_the_one_that_go_car_would_write(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.receive([stream(PARENTS_FIRST)])
        it.finish()
    payload = archives.v1([ROOT.raw], PARENTS_FIRST)
    records = archives.records_of(archives.header([ROOT.raw]), PARENTS_FIRST)
    expected = archives.v2(payload, archives.index_multihash_sorted(records))
    assert Path(it.path).read_bytes() == expected


def test_a_finished_one_may_be_asked_and_finished_again_and_takes_nothing_more(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(CHILDREN_FIRST)
        assert it.finish() == it.finish() == it.check()
        with pytest.raises(FinalizedError):
            it.put(*STRAYS[0])
    before = Path(it.path).read_bytes()
    with retrievals.start(ROOT, id="x") as it:
        assert it.put_many(CHILDREN_FIRST) == 0
        assert it.finish().complete
    assert Path(it.path).read_bytes() == before
    with retrievals.start(ROOT, id="x") as it:  # and it can be opened again
        assert it.put(*STRAYS[0])
    assert retrievals.info("x").state == "partial"
    with retrievals.start(ROOT, id="x") as it:
        assert it.finish().unreachable_count == 1


def test_the_missing_blocks_are_named(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT) as it:
        it.put_many(PARENTS_FIRST[:1])
        with pytest.raises(IncompleteError, match=r"^3 blocks are missing, the first: baf") as caught:
            it.finish()
        assert caught.value.root == ROOT
        assert [item.parent for item in caught.value.completeness.missing] == [ROOT] * 3


def test_links_that_cannot_be_followed_are_no_end(retrievals: Retrievals) -> None:
    strange = (archives.cid_v1(b"tree", codec=0x78), b"tree")
    with retrievals.start(strange[0]) as it:
        it.put(*strange)
        with pytest.raises(IncompleteError, match="links of 1 block cannot be followed"):
            it.finish()
        assert not it.finish(partial=True).complete


def test_links_of_either_version_lead_to_blocks_of_the_other(retrievals: Retrievals) -> None:
    dag = Dag()
    old, new = dag.leaf(b"fish", v0=True).cid, dag.leaf(b"fish").cid
    for linked, sent in ((old, new), (new, old)):
        parent = archives.node(linked)
        for only_linked in (False, True):
            with retrievals.start(parent[0], only_linked=only_linked) as it:
                it.receive([stream([parent, (sent, dag.blocks[sent])])])
                assert it.finish().complete


def test_a_root_that_holds_its_data_is_there_from_the_beginning(retrievals: Retrievals) -> None:
    root = archives.identity(b"fish")
    with retrievals.start(root, id="x") as it:
        assert not it.put(root, b"fish")
        assert it[root] == b"fish"
        assert it.received.known_count == 1
        assert it.finish().complete
    retrievals.export("x", Path(retrievals.folder).parent / "fish")
    assert (Path(retrievals.folder).parent / "fish").read_bytes() == b"fish"


def test_blocks_are_checked_as_they_come_and_as_they_go(retrievals: Retrievals) -> None:
    cid, data = PARENTS_FIRST[0]
    with retrievals.start(ROOT, id="x") as it:
        with pytest.raises(IntegrityError):
            it.put(cid, data + b"?")
        with pytest.raises(BlockNotFoundError):
            it[cid]
        assert it.put(cid, data)
        with pytest.raises(IntegrityError):  # also when it is the second of its kind
            it.put(CHILDREN_FIRST[1][0], b"?")
        it.flush()
        position = Path(it.path).read_bytes().rindex(data)
        with open(it.path, "r+b") as file:
            file.seek(position)
            file.write(b"?")
        with pytest.raises(IntegrityError):
            it[cid]
        found = it.check()
        assert (found.damaged_count, found.missing[0].cid) == (1, ROOT)
        with pytest.raises(BlockNotFoundError):  # the file was made anew without it
            it[cid]
        assert it.finish(partial=True).missing_count == 1


def test_one_block_under_two_codecs_is_two_blocks_as_with_lotus(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT) as it:
        assert it.put(archives.cid_v1(b"\xf6"), b"\xf6")
        assert it.put(archives.cid_v1(b"\xf6", codec=archives.DAG_CBOR), b"\xf6")
        assert len(it) == 2


# -- budgets ------------------------------------------------------------------------------------------------------


def test_no_more_blocks_than_granted_over_all_sessions(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x", max_blocks=3) as it:
        assert it.put_many(CHILDREN_FIRST[:2]) == 2
    with retrievals.start(ROOT, id="x", max_blocks=3) as it:
        with pytest.raises(BudgetError, match="more than 3 blocks"):
            it.receive([stream(CHILDREN_FIRST)])
        assert it.received.new_count == 1
        assert not it.put(*CHILDREN_FIRST[0])  # what is there is no more
    with retrievals.start(ROOT, id="x") as it:
        it.receive([stream(CHILDREN_FIRST)])
        assert it.finish().complete


def test_no_more_bytes_than_granted_over_all_sessions(retrievals: Retrievals) -> None:
    large, small = CHILDREN_FIRST[4:6], CHILDREN_FIRST[:4]
    granted = sum(len(archives.section(*block)) for block in large) + sum(map(len, small[0] + small[1]))
    with retrievals.start(ROOT, id="x", max_bytes=granted) as it:
        assert it.put_many(large) == 2
    with retrievals.start(ROOT, id="x", max_bytes=granted) as it:
        with pytest.raises(BudgetError, match=f"more than {granted} bytes of blocks; max_bytes grants more"):
            it.put_many(small)
        assert it.received.new_count == 2
        assert not it.put(*large[0])


def test_limits_of_blocks(tmp_path: Path) -> None:
    retrievals = Retrievals(tmp_path, limits=Limits(section=50))
    with retrievals.start(ROOT) as it:
        for take in (lambda: it.receive([stream(CHILDREN_FIRST)]), lambda: it.put_many(CHILDREN_FIRST)):
            with pytest.raises(FormatError, match="limit 50"):
                take()


# -- only what is linked ------------------------------------------------------------------------------------------


def test_only_what_is_linked_is_kept_if_parents_come_first(retrievals: Retrievals) -> None:
    blocks = [STRAYS[0], *PARENTS_FIRST, STRAYS[1]]
    with retrievals.start(ROOT, id="x", only_linked=True) as it:
        received = it.receive([stream(blocks[:3])])
        assert (received.new_count, received.left_out_count) == (2, 1)
    with retrievals.start(ROOT, id="x", only_linked=True) as it:
        received = it.receive([stream(blocks[2:])])
        assert (received.new_count, received.known_count, received.left_out_count) == (COUNT - 2, 1, 1)
        found = it.finish()
        assert (found.complete, found.unreachable_count) == (True, 0)


def test_no_more_links_are_remembered_than_granted(retrievals: Retrievals) -> None:
    links = {CID.trusted(cid).to_v1() for cid in DAG.blocks}
    with retrievals.start(ROOT, id="x", only_linked=True, max_links=len(links) - 1) as it:
        with pytest.raises(BudgetError, match=f"more than {len(links) - 1} links; max_links grants more"):
            it.receive([stream(PARENTS_FIRST)])
        assert 0 < it.received.new_count < COUNT
    with retrievals.start(ROOT, id="x", only_linked=True, max_links=len(links)) as it:
        it.receive([stream(PARENTS_FIRST)])
        assert it.finish().complete
    with pytest.raises(BudgetError, match="more than 2 links"):
        retrievals.start(ROOT, id="x", only_linked=True, max_links=2)
    with retrievals.start(ROOT, id="x", max_links=2) as it:
        assert it.finish().complete


def test_children_that_come_before_their_parents_are_left_out(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, only_linked=True) as it:
        received = it.receive([stream(CHILDREN_FIRST)])
        assert (received.new_count, received.left_out_count) == (1, COUNT - 1)
        for _ in range(3):  # each time one level more
            it.receive([stream(CHILDREN_FIRST)])
        assert it.finish().complete


def test_a_linked_block_under_another_codec_is_left_out(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, only_linked=True) as it:
        for codec in (0x55, 0x71, 0x300000):
            cid = archives.cid_v1(DAG.blocks[ROOT.raw], codec=codec)
            assert not it.put(cid, DAG.blocks[ROOT.raw])
        assert it.received.left_out_count == 3
        assert it.put(ROOT, DAG.blocks[ROOT.raw])


def test_what_was_kept_without_links_leads_on_with_them(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many([*CHILDREN_FIRST[-2:], STRAYS[0]])
    with retrievals.start(ROOT, id="x", only_linked=True) as it:
        it.put_many(PARENTS_FIRST)
        assert it.finish().complete


# -- others at the file -------------------------------------------------------------------------------------------


def test_one_writer_at_a_time(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put(*CHILDREN_FIRST[0])
        with pytest.raises(LockedError):
            retrievals.start(ROOT, id="x")
        with pytest.raises(LockedError):
            retrievals.remove("x")
        assert retrievals.info("x").state == "partial"
        it.flush()
        assert retrievals.check("x").unreachable_count == 1
    with retrievals.start(ROOT, id="x") as it:
        assert len(it) == 1


def test_another_root_is_another_retrieval(retrievals: Retrievals) -> None:
    retrievals.start(ROOT, id="x").close()
    with pytest.raises(ResumeError):
        retrievals.start(STRAYS[0][0], id="x")
    with retrievals.start(None, id="x") as it:
        assert it.root == ROOT


def _put_and_lose_the_file(retrievals: Retrievals, error: type[Exception] | None) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put(*CHILDREN_FIRST[0])
        os.unlink(it.path)  # so that closing fails
        if error is not None:
            raise error


@pytest.mark.parametrize(("error", "seen"), [(None, FileNotFoundError), (ZeroDivisionError, ZeroDivisionError)])
def test_the_first_error_counts(
    retrievals: Retrievals, error: type[Exception] | None, seen: type[Exception]
) -> None:
    with pytest.raises(seen):
        _put_and_lose_the_file(retrievals, error)


def test_a_checkpoint_comes_by_itself(retrievals: Retrievals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHECKPOINT", 200)
    with retrievals.start(ROOT, id="x") as it:
        it.feed(stream(PARENTS_FIRST))
        there = retrievals.check("x")
        assert 0 < there.block_count < COUNT
        assert sum(len(cid) + len(data) for cid, data in PARENTS_FIRST[there.block_count :]) < 200 + 300


def test_a_file_that_was_tampered_with_raises_nothing_else(tmp_path: Path) -> None:
    retrievals = Retrievals(tmp_path)
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
        it.finish()
    whole = Path(it.path).read_bytes()
    for at in [*range(200), *range(200, len(whole), 17)]:
        Path(it.path).write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert [record.id for record in retrievals.list()] == ["x"]
        try:
            with retrievals.start(ROOT, id="x") as it:
                it.receive([stream(PARENTS_FIRST)])
                it.finish()
        except CarError:
            continue
        assert retrievals.check("x").complete


# -- damage -------------------------------------------------------------------------------------------------------


def _with_damage(retrievals: Retrievals, at: int, *, finished: bool) -> tuple[bytes, bytes]:
    """Store all, and change a byte in the data of block ``at``, which is returned."""
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
        if finished:
            it.finish()
    cid, data = PARENTS_FIRST[at]
    whole = Path(it.path).read_bytes()
    place = whole.index(cid + data) + len(cid)
    Path(it.path).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return cid, data


WITH_DATA = [at for at, (_, data) in enumerate(PARENTS_FIRST) if data]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("at", WITH_DATA)
def test_a_damaged_block_is_told_and_taken_again(retrievals: Retrievals, at: int, finished: bool) -> None:
    cid, _ = _with_damage(retrievals, at, finished=finished)
    found = retrievals.check("x")
    assert not found.complete
    assert [problem.cid for problem in found.damaged] == [CID.of(cid)]
    assert found.damaged_count == found.missing_count == 1
    with retrievals.start(ROOT, id="x") as it:
        assert it.receive([stream(PARENTS_FIRST)]).new_count == 1
        assert it.repaired
        assert it.finish().complete
    again = retrievals.check("x")
    assert (again.complete, again.damaged_count, again.block_count) == (True, 0, COUNT)
    assert carv2.verify(it.path).ok
    assert os.listdir(retrievals.folder) == ["x.car"]


@pytest.mark.parametrize("finished", [False, True])
def test_damage_that_finishing_finds_leaves_a_block_to_be_taken(retrievals: Retrievals, finished: bool) -> None:
    cid, data = _with_damage(retrievals, WITH_DATA[-1], finished=finished)
    with retrievals.start(ROOT, id="x") as it:
        with pytest.raises(IncompleteError) as caught:
            it.finish()
        assert [missing.cid for missing in caught.value.completeness.missing] == [CID.of(cid)]
        assert (it.repaired, len(it), it.resumed_count) == (True, COUNT - 1, COUNT)
    assert [record.state for record in retrievals.list()] == ["partial"]
    assert retrievals.check("x").damaged_count == 0
    with retrievals.start(ROOT, id="x", max_blocks=COUNT) as it:
        assert it.put(cid, data)
        assert not it.repaired
        assert it.finish().complete


def test_what_was_damaged_makes_room_for_itself(retrievals: Retrievals) -> None:
    cid, data = _with_damage(retrievals, WITH_DATA[-1], finished=False)
    with retrievals.start(ROOT, id="x", max_blocks=COUNT) as it:
        with pytest.raises(IncompleteError):
            it.finish()
        assert it.put(cid, data)
        with pytest.raises(BudgetError):
            it.put(*STRAYS[0])
        assert it.finish().complete


def test_a_damaged_stray_goes_before_the_archive_is_finished(retrievals: Retrievals) -> None:
    cid, data = STRAYS[0]
    with retrievals.start(ROOT, id="x") as it:
        it.put_many([*PARENTS_FIRST, *STRAYS])
    whole = Path(it.path).read_bytes()
    Path(it.path).write_bytes(whole.replace(cid + data, cid + data[::-1]))
    assert (retrievals.check("x").complete, retrievals.check("x").damaged_count) == (True, 1)
    with retrievals.start(ROOT, id="x") as it:
        it.finish()
    assert carv2.verify(it.path).ok
    assert retrievals.check("x").unreachable_count == 1


@pytest.mark.parametrize("root", [ROOT, None])
def test_sections_that_make_no_sense_are_left_out_at_the_start(retrievals: Retrievals, root: CID | None) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
    whole = Path(it.path).read_bytes()
    cid, data = PARENTS_FIRST[2]
    at = whole.index(cid + data)
    Path(it.path).write_bytes(whole[: at - 1] + b"\xff\xff" + whole[at + 1 :])  # its length, and its CID
    with retrievals.start(root, id="x") as it:
        assert (it.repaired, it.resumed_count) == (True, COUNT - 1)
        it.receive([stream(PARENTS_FIRST)])
        assert it.finish().complete
    assert carv2.verify(it.path).ok


def test_a_file_that_lost_its_end_is_gone_on_with(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
    os.truncate(it.path, os.path.getsize(it.path) - 1)
    with retrievals.start(ROOT, id="x") as it:
        assert (it.repaired, len(it)) == (True, COUNT - 1)
        it.put(*PARENTS_FIRST[-1])
        assert it.finish().complete


def test_what_says_no_root_is_left_as_it_is(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
    damaged = bytearray(Path(it.path).read_bytes())
    damaged[52:60] = b"\xff" * 8
    Path(it.path).write_bytes(damaged)
    with pytest.raises(FormatError):
        retrievals.start(ROOT, id="x")
    assert Path(it.path).read_bytes() == damaged
    assert os.listdir(retrievals.folder) == ["x.car"]


def test_a_repair_that_finds_no_room_leaves_the_file(
    retrievals: Retrievals, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_damage(retrievals, WITH_DATA[0], finished=False)
    before = Path(retrievals.info("x").path).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_retrieval_store, "replace", full)
    with pytest.raises(OSError, match="No space"), retrievals.start(ROOT, id="x") as it:
        it.receive([stream(PARENTS_FIRST)])
    assert Path(it.path).read_bytes() == before
    assert os.listdir(retrievals.folder) == ["x.car"]


def test_an_id_in_use_names_the_file_and_both_roots(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        it.put_many(PARENTS_FIRST)
    other = CID.of(STRAYS[0][0])
    with pytest.raises(ResumeError, match="another id, or remove x") as caught:
        retrievals.start(other, id="x")
    for part in (it.path, ROOT.short(), other.short()):
        assert part in str(caught.value)


def test_nothing_is_left_of_what_is_discarded(retrievals: Retrievals) -> None:
    with retrievals.start(ROOT, id="x") as it:
        assert it.created
        it.put(*PARENTS_FIRST[0])
        it.discard()
    assert os.listdir(retrievals.folder) == []
