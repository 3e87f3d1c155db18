"""Responses of a trustless gateway: whole ones, and every way in which they can be wrong."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import (
    BlockNotFoundError,
    BudgetError,
    CarError,
    CodecError,
    GatewayTruncatedError,
    IntegrityError,
    PathNotFoundError,
    TruncatedError,
    UnexpectedBlockError,
    UnixFSError,
    UnknownCodecError,
)
from carv2.unixfs import StreamedBlock, StreamVerifier, averify_stream, form_of, read, verify_stream
from helpers import archives
from helpers.shared import shared_fixture
from helpers.unixfs import Dag, Made, identity
from unixfs_read.gateway import Blocks, Gateway, stream
from unixfs_read.stores import Counting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

FOREIGN = archives.BARRELEYE


def sample() -> tuple[Dag, Made]:
    """A bit of everything: repeats, shards, symlinks, CIDv0, identities, a file of two levels."""
    dag = Dag()
    same, other = dag.raw(b"same"), dag.raw(b"other")
    left = dag.file([same, other, same])
    right = dag.file(
        [other, dag.leaf(b"old", v0=True), identity(b"in", codec=archives.RAW)._replace(size=2)], inline=b"!"
    )
    big = dag.file([left, left, right, dag.file([same])])
    folder = dag.directory({"big": big, "link": dag.symlink(b"big"), "one": same})
    names = {f"name {at}": dag.raw(b"%d" % at) for at in range(40)}
    sharded = dag.hamt({**names, "big": big, "folder": folder}, fanout=8)
    return dag, dag.directory({"again": folder, "empty": dag.directory({}), "folder": folder, "sharded": sharded})


DAG, ROOT = sample()
GATEWAY = Gateway(DAG.blocks)

Request = dict[str, Any]
REQUESTS: list[Request] = [
    {"path": path, "scope": scope}
    for path in (
        "",
        "folder",
        "again/one",
        "sharded",
        "sharded/name 7",
        "sharded/folder/big",
        "folder/link",
        "empty",
    )
    for scope in ("all", "entity", "block")
] + [
    {"path": path, "scope": "entity", "byte_range": byte_range}
    for path in ("folder/big", "sharded/big", "folder/one", "folder")
    for byte_range in (
        (0, None),
        (0, 0),
        (4, 8),
        (-3, None),
        (3, -4),
        (-1, -1),
        (30, 31),
        (13, 25),
        (1000, None),
        (0, -1),
    )
]
IDS = [f"{r['path'] or '.'} {r['scope']} {r.get('byte_range', '')}" for r in REQUESTS]


def checked(blocks: Blocks, request: Request, **form: Any) -> list[StreamedBlock]:
    return list(verify_stream([stream(blocks)], ROOT.cid, **request, **form))


def pairs(found: list[StreamedBlock]) -> Blocks:
    return [(block.cid_bytes, block.data) for block in found]


# -- what is whole ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", REQUESTS, ids=IDS)
@pytest.mark.parametrize("dups", [True, False])
def test_a_whole_response_is_given_block_by_block(request_: Request, dups: bool) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, dups=dups)
    assert pairs(checked(sent, request_, dups=dups)) == sent


@pytest.mark.parametrize("request_", REQUESTS, ids=IDS)
def test_a_response_of_unknown_order_is_given_in_the_order_of_the_walk(request_: Request) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, dups=False)
    for seed in range(3):
        mixed = random.Random(seed).sample(sent, len(sent))
        assert pairs(checked(mixed, request_, order="unk", dups=False)) == sent
        repeated = mixed + mixed[:2]
        assert pairs(checked(repeated, request_, order="unk")) == sent
        foreign = [*mixed[:1], FOREIGN, *mixed[1:]]
        assert pairs(checked(foreign, request_, order="unk", on_unexpected="ignore")) == sent


@given(at=st.integers(0, len(REQUESTS) - 1), cuts=st.lists(st.integers(0, 5000), max_size=20), dups=st.booleans())
def test_it_does_not_matter_how_the_bytes_arrive(at: int, cuts: list[int], dups: bool) -> None:
    sent = GATEWAY.answer(ROOT.cid, **REQUESTS[at], dups=dups)
    whole = stream(sent)
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    chunks = [whole[start:stop] for start, stop in itertools.pairwise(edges)]
    assert pairs(list(verify_stream(chunks, ROOT.cid, **REQUESTS[at], dups=dups))) == sent


def test_blocks_come_as_soon_as_they_are_proven() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    whole = stream(sent)
    verifier = StreamVerifier(ROOT.cid)
    got: Blocks = []
    at = len(archives.header(()))
    verifier.feed(whole[:at])
    for cid, data in sent:
        section = archives.section(cid, data)
        assert verifier.feed(section[:-1]) == []
        (block,) = verifier.feed(section[-1:])
        got.append((block.cid_bytes, block.data))
    verifier.finish()
    assert got == sent


def test_each_block_says_where_it_belongs() -> None:
    sent = GATEWAY.answer(ROOT.cid, "sharded/folder/big", scope="entity")
    whole = stream(sent)
    found = checked(sent, {"path": "sharded/folder/big", "scope": "entity"})
    assert [block.path for block in found[:2]] == ["", "sharded"]
    assert {block.path for block in found[2:]} == {"sharded", "sharded/folder", "sharded/folder/big"}
    along = [block for block in found if block.path != "sharded/folder/big"]
    assert [block.depth for block in along] == list(range(len(along)))
    assert len(along) > 3
    assert all(later.depth <= before.depth + 1 for before, later in itertools.pairwise(found))
    for block in found:
        assert whole[block.position : block.position + len(block.data)] == block.data
        assert block.cid == CID(block.cid_bytes)


def test_paths_of_a_whole_dag_are_those_of_its_files() -> None:
    paths = {block.path for block in checked(GATEWAY.answer(ROOT.cid), {})}
    names = {f"sharded/name {at}" for at in range(40)}
    folders = {
        f"{base}/{name}" for base in ("again", "folder", "sharded/folder") for name in ("big", "link", "one")
    }
    assert paths == {"", "again", "empty", "folder", "sharded", "sharded/big", "sharded/folder"} | names | folders
    depths = {block.path: block.depth for block in checked(GATEWAY.answer(ROOT.cid), {})}
    assert (depths[""], depths["empty"], depths["folder/one"]) == (0, 1, 2)


def test_what_was_checked_makes_the_file() -> None:
    found = checked(GATEWAY.answer(ROOT.cid, "folder/big", dups=False), {"path": "folder/big"}, dups=False)
    store = Counting(dict(pairs(found)))
    cid = next(block.cid_bytes for block in found if block.path == "folder/big")
    half = b"sameothersame"
    assert b"".join(read(store, cid)) == half * 2 + b"!otheroldin" + b"same"


def test_a_block_may_come_by_another_cid_of_its_multihash() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    renamed = [(b"\x01\x55\x12\x20" + cid[-32:], data) for cid, data in sent]
    assert pairs(checked(renamed, {})) == sent
    as_v0 = [(cid[-34:], data) for cid, data in sent]
    assert pairs(checked(as_v0, {"path": ""}, dups=True)) == sent


def test_the_roots_of_the_header_are_not_looked_at() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    for roots in ([archives.identity(b"")], [FOREIGN[0]], [ROOT.cid, FOREIGN[0]]):
        assert pairs(list(verify_stream([stream(sent, roots)], ROOT.cid))) == sent


def test_a_root_of_an_identity_needs_no_block() -> None:
    made = identity(archives.PB_NODE[1])
    assert list(verify_stream([stream([])], made.cid)) == []
    with pytest.raises(UnexpectedBlockError):
        list(verify_stream([stream([FOREIGN])], made.cid))


def test_an_index_behind_the_payload_is_passed_over() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    whole = archives.v2(stream(sent), b"\x81\x08 some index")
    assert pairs(list(verify_stream([whole], ROOT.cid))) == sent


def test_the_same_for_an_asynchronous_iterable() -> None:
    sent = GATEWAY.answer(ROOT.cid, dups=False)

    async def chunks() -> AsyncIterator[bytes]:
        whole = stream(sent)
        for at in range(0, len(whole), 100):
            await asyncio.sleep(0)
            yield whole[at : at + 100]

    async def collect() -> list[StreamedBlock]:
        return [block async for block in averify_stream(chunks(), ROOT.cid, dups=False)]

    assert pairs(asyncio.run(collect())) == sent

    async def too_much() -> None:
        async for _ in averify_stream(chunks(), ROOT.cid, scope="block"):
            pass

    with pytest.raises(UnexpectedBlockError):
        asyncio.run(too_much())


# -- what is not ------------------------------------------------------------------------------------------------

FORMS = [{"dups": True}, {"dups": False}]
SOME = [request for request in REQUESTS if request["path"] in {"", "folder/big", "sharded/name 7"}]


def taken(chunks: list[bytes], root: bytes, **request: Any) -> tuple[Blocks, CarError | None]:
    """What a response gives, and the error that ends it."""
    got: Blocks = []
    try:
        for block in verify_stream(chunks, root, **request):
            got.append((block.cid_bytes, block.data))
    except CarError as error:
        return got, error
    return got, None


def wrong(blocks: Blocks, expected: Blocks, request: Request, form: dict[str, Any]) -> CarError:
    """The error that a response gives; what came before it must be as it should."""
    got, error = taken([stream(blocks)], ROOT.cid, **request, **form)
    assert got == expected[: len(got)]
    assert error is not None
    return error


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("request_", SOME, ids=str)
def test_cut_at_every_block(request_: Request, form: dict[str, Any]) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, **form)
    for at in range(len(sent)):
        error = wrong(sent[:at], sent, request_, form)
        assert isinstance(error, BlockNotFoundError)
        assert bytes(error.cid) == sent[at][0]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("request_", SOME, ids=str)
def test_without_any_one_block(request_: Request, form: dict[str, Any]) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, **form)
    for at in range(len(sent)):
        if sent[at] in sent[at + 1 : at + 2]:  # it makes no difference which of two in a row is gone
            continue
        error = wrong(sent[:at] + sent[at + 1 :], sent, request_, form)
        assert isinstance(error, BlockNotFoundError if at + 1 == len(sent) else UnexpectedBlockError)
        if not form["dups"]:
            without = sent[:at] + sent[at + 1 :]
            assert isinstance(wrong(without, sent, request_, {**form, "order": "unk"}), BlockNotFoundError)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("request_", SOME, ids=str)
def test_with_any_block_twice_or_a_foreign_one(request_: Request, form: dict[str, Any]) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, **form)
    for at in range(0, len(sent) + 1, 1 + len(sent) // 40):
        for extra in [FOREIGN, *sent[max(0, at - 1) : at]]:
            if extra in sent[at : at + 1]:
                continue
            blocks = [*sent[:at], extra, *sent[at:]]
            error = wrong(blocks, sent, request_, form)
            assert isinstance(error, UnexpectedBlockError)
            assert bytes(error.cid) == extra[0]
            assert stream(blocks)[error.position :].startswith(extra[1])
            assert pairs(checked(blocks, request_, **form, on_unexpected="ignore")) == sent


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("request_", SOME, ids=str)
def test_with_any_two_neighbours_swapped(request_: Request, form: dict[str, Any]) -> None:
    sent = GATEWAY.answer(ROOT.cid, **request_, **form)
    for at in range(len(sent) - 1):
        swapped = [*sent[:at], sent[at + 1], sent[at], *sent[at + 2 :]]
        if swapped != sent:
            assert isinstance(wrong(swapped, sent, request_, form), UnexpectedBlockError)


def test_a_forged_block_is_an_integrity_error() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    for at, (cid, data) in enumerate(sent):
        forged = [*sent[:at], (cid, data[:-1] + b"?"), *sent[at + 1 :]]
        error = wrong(forged, sent, {}, {})
        assert isinstance(error, IntegrityError)
        assert not isinstance(error, UnexpectedBlockError)


def test_cut_at_every_byte() -> None:
    sent = GATEWAY.answer(ROOT.cid, "folder/big", scope="entity")
    whole = stream(sent)
    bounds, at = {len(archives.header(()))}, len(archives.header(()))
    for cid, data in sent:
        at += len(archives.section(cid, data))
        bounds.add(at)
    for cut in range(len(whole)):
        got, error = taken([whole[:cut]], ROOT.cid, path="folder/big", scope="entity")
        assert isinstance(error, BlockNotFoundError if cut in bounds else TruncatedError)
        assert got == sent[: len(got)]
        assert len(got) == max(0, sum(bound <= cut for bound in bounds) - 1)


def test_a_gateway_that_gives_up_says_why() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    text = b"[Gateway Error: CAR stream truncated, response is incomplete]"
    for at in range(0, len(sent), 7):
        for lead in (b"", b"\n\n"):
            with pytest.raises(GatewayTruncatedError, match="response is incomplete"):
                list(verify_stream([stream(sent[:at]) + lead + text], ROOT.cid))


def test_an_error_stays() -> None:
    sent = GATEWAY.answer(ROOT.cid)
    verifier = StreamVerifier(ROOT.cid)
    assert len(verifier.feed(stream([*sent[:3], FOREIGN, *sent[3:]]))) == 3
    for _ in range(2):
        with pytest.raises(UnexpectedBlockError):
            verifier.feed(b"")
        with pytest.raises(UnexpectedBlockError):
            verifier.finish()


def test_blocks_prove_that_a_path_is_not_there() -> None:
    for path, count in (
        ("nothing", 1),
        ("folder/nothing", 2),
        ("folder/one/nothing", 3),
        ("sharded/nothing", None),
    ):
        sent = GATEWAY.answer(ROOT.cid, path) if "one" not in path else GATEWAY.answer(ROOT.cid, "folder/one")
        got, error = taken([stream(sent)], ROOT.cid, path=path)
        assert got == sent
        assert count in {None, len(got)}
        assert isinstance(error, PathNotFoundError)
        assert error.segment == "nothing"
        with pytest.raises(BlockNotFoundError):
            list(verify_stream([stream(sent[:-1])], ROOT.cid, path))


def test_in_any_order_what_is_wrong_is_told_at_the_end() -> None:
    sent = GATEWAY.answer(ROOT.cid, dups=False)
    mixed = sent[::-1]
    with pytest.raises(BlockNotFoundError):
        checked(mixed[:-1], {}, order="unk", dups=False)
    with pytest.raises(UnexpectedBlockError) as caught:
        checked([*mixed[:5], FOREIGN, *mixed[5:]], {}, order="unk", dups=False)
    assert bytes(caught.value.cid) == FOREIGN[0]
    with pytest.raises(UnexpectedBlockError):
        checked([*mixed, FOREIGN], {}, order="unk", dups=True)
    with pytest.raises(UnexpectedBlockError):
        checked([*mixed[:5], mixed[2], *mixed[5:]], {}, order="unk", dups=False)
    assert pairs(checked([*mixed[:5], mixed[2], *mixed[5:]], {}, order="unk", dups=True)) == sent


# -- budgets ----------------------------------------------------------------------------------------------------


def test_what_comes_too_early_is_held_only_up_to_a_budget() -> None:
    dag = Dag()
    root = dag.file([dag.raw(bytes([at]) * 10_000) for at in range(50)])
    sent = Gateway(dag.blocks).answer(root.cid, dups=False)
    late = sent[1:] + sent[:1]
    assert len(list(verify_stream([stream(late)], root.cid, order="unk", dups=False))) == 51
    with pytest.raises(BudgetError, match="more than 100000 bytes"):
        list(verify_stream([stream(late)], root.cid, order="unk", dups=False, max_held=100_000))
    assert len(list(verify_stream([stream(sent)], root.cid, order="unk", dups=False, max_held=100_000))) == 51
    swapped = [block for at in range(1, 50, 2) for block in (sent[at + 1], sent[at])]
    assert (
        len(list(verify_stream([stream(sent[:1] + swapped)], root.cid, order="unk", dups=False, max_held=50_000)))
        == 51
    )
    with pytest.raises(BudgetError):
        list(verify_stream([stream(sent)], root.cid, dups=False, max_held=10_000))
    assert len(list(verify_stream([stream(sent)], root.cid, max_held=0))) == 51


def bomb(levels: int) -> tuple[Dag, Made]:
    dag = Dag()
    made = dag.raw(b"x" * 64)
    for _ in range(levels):
        made = dag.file([made] * 64)
    return dag, made


@pytest.mark.parametrize("byte_range", [None, (0, None), (5, 64**9 * 33 + 7), (64**8 + 1, -(64**7) - 9)])
@pytest.mark.parametrize("scope", ["all", "entity"])
@pytest.mark.parametrize("order", ["dfs", "unk"])
def test_exabytes_that_repeat_themselves_are_checked_in_the_time_of_their_blocks(
    byte_range: tuple[int, int | None] | None, scope: Any, order: Any
) -> None:
    dag, made = bomb(9)
    sent = list(dag.blocks.items())[::-1]
    found = list(
        verify_stream([stream(sent)], made.cid, scope=scope, byte_range=byte_range, order=order, dups=False)
    )
    assert pairs(found) == sent


def test_a_chain_that_is_too_long_is_refused() -> None:
    dag = Dag()
    made = dag.raw(b"x")
    for _ in range(1030):
        made = dag.node([(b"d", made)], None)
    sent = list(dag.blocks.items())[::-1]
    with pytest.raises(BudgetError, match="1024"):
        list(verify_stream([stream(sent)], made.cid))


def test_links_that_wait_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carv2.unixfs._request.MAX_WAITING", 100)
    dag, made = bomb(1)
    sent = Gateway(dag.blocks).answer(made.cid)
    assert len(list(verify_stream([stream(sent)], made.cid))) == 65
    many = dag.file([made] * 20)  # never more than 84 at a time
    assert len(list(verify_stream([stream(Gateway(dag.blocks).answer(many.cid))], many.cid))) == 1301
    dag, made = bomb(2)
    with pytest.raises(BudgetError, match="links"):
        list(verify_stream([stream(Gateway(dag.blocks).answer(made.cid))], made.cid))


def test_a_stream_in_order_with_repeats_is_not_remembered() -> None:
    verifier = StreamVerifier(ROOT.cid)
    for block in GATEWAY.answer(ROOT.cid):
        verifier.feed(stream([block]) if verifier._decoder.roots is None else archives.section(*block))
    verifier.finish()
    assert verifier._memory._held == 0


# -- odd DAGs ---------------------------------------------------------------------------------------------------


def test_dag_cbor_is_walked_by_its_links() -> None:
    dag = Dag()
    folder = dag.directory({"fish": dag.raw(b"fish")})
    body = b"\x83\x01" + archives.link(folder.cid) + archives.link(folder.cid)
    top = dag.put(body, codec=archives.DAG_CBOR)
    inner = [(folder.cid, dag.blocks[folder.cid]), *((c, d) for c, d in dag.blocks.items() if d == b"fish")]
    whole = [(top.cid, body), *inner, *inner]
    assert pairs(list(verify_stream([stream(whole)], top.cid))) == whole
    assert pairs(list(verify_stream([stream(whole[:3])], top.cid, dups=False))) == whole[:3]
    assert pairs(list(verify_stream([stream(whole[:3])], top.cid, "1/fish"))) == whole[:3]
    assert pairs(list(verify_stream([stream(whole[:1])], top.cid, scope="entity"))) == whole[:1]
    for scope in ("block", "entity"):
        for count in (1, 2):  # boxo's gateway sends the block that a path ends in twice
            sent = whole[:1] * count
            assert pairs(list(verify_stream([stream(sent)], top.cid, "0", scope=scope))) == sent
        with pytest.raises(UnexpectedBlockError):
            list(verify_stream([stream(whole[:1] * 3)], top.cid, "0", scope=scope))
        with pytest.raises(BlockNotFoundError):
            list(verify_stream([stream([])], top.cid, "0", scope=scope))
    assert pairs(list(verify_stream([stream(whole)], top.cid, "0"))) == whole
    assert pairs(list(verify_stream([stream(whole[:1] + whole)], top.cid, "0"))) == whole[:1] + whole
    assert pairs(list(verify_stream([stream(whole[:3])], top.cid, "0", dups=False))) == whole[:3]
    with pytest.raises(UnexpectedBlockError):
        list(verify_stream([stream(whole[:1] + whole[:3])], top.cid, "0", dups=False))


def test_a_codec_that_nobody_knows_is_named() -> None:
    data = b"?"
    cid = archives.cid_v1(data, codec=0x300099)
    with pytest.raises(UnknownCodecError):
        list(verify_stream([stream([(cid, data)])], cid))
    assert len(list(verify_stream([stream([(cid, data)])], cid, scope="block"))) == 1


def test_dag_pb_that_is_no_unixfs_is_one_entity() -> None:
    dag = Dag()
    made = dag.node([(b"x", dag.raw(b"x"))], None)
    sent = [(made.cid, dag.blocks[made.cid])]
    assert pairs(list(verify_stream([stream(sent)], made.cid, scope="entity"))) == sent
    assert len(list(verify_stream([stream(Gateway(dag.blocks).answer(made.cid))], made.cid))) == 2


def test_a_file_that_lies_about_its_sizes_is_refused_as_when_it_is_read() -> None:
    dag = Dag()
    made = dag.file([dag.raw(b"fish")], sizes=[5], size=5)
    sent = Gateway(dag.blocks).answer(made.cid)
    with pytest.raises(UnixFSError, match="5 bytes of payload declared, 4 found"):
        list(verify_stream([stream(sent)], made.cid, scope="entity"))
    bad = dag.put(b"\xff", codec=archives.DAG_PB)
    with pytest.raises(CodecError) as caught:
        list(verify_stream([stream([(bad.cid, b"\xff")])], bad.cid))
    assert caught.value.cid == CID(bad.cid)


def test_one_block_linked_by_both_kinds_of_cid_comes_once() -> None:
    dag = Dag()
    old = dag.leaf(b"fish", v0=True)
    new = old._replace(cid=b"\x01\x70" + old.cid)
    root = dag.directory({"new": new, "old": old})
    sent = [(root.cid, dag.blocks[root.cid]), (new.cid, dag.blocks[old.cid])]
    assert pairs(list(verify_stream([stream(sent)], root.cid, dups=False))) == sent
    tree = dag.file([old, new])
    sent = [(tree.cid, dag.blocks[tree.cid]), (old.cid, dag.blocks[old.cid])]
    for form in ({}, {"byte_range": (1, 6)}):
        found = verify_stream([stream(sent)], tree.cid, scope="entity", dups=False, **form)  # type: ignore[arg-type]
        assert pairs(list(found)) == sent


@given(raw=st.binary(max_size=60), pick=st.integers(0, 200), at=st.integers(0, 5000))
def test_whatever_arrives_there_are_right_blocks_or_a_named_error(raw: bytes, pick: int, at: int) -> None:
    sent = GATEWAY.answer(ROOT.cid)
    whole = stream(sent)
    at %= len(whole)
    damaged = whole[:at] + raw + whole[at + pick :]
    got, error = taken([damaged], ROOT.cid)
    assert got == (sent if error is None else sent[: len(got)])


# -- what is asked for ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"scope": "none"},
        {"order": "bfs"},
        {"on_unexpected": "warn"},
        {"byte_range": (5, 4)},
        {"byte_range": (-4, -5)},
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_the_callers_mistake(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        StreamVerifier(ROOT.cid, **arguments)
    assert not isinstance(caught.value, CarError)
    with pytest.raises(ValueError, match="leads out"):
        StreamVerifier(ROOT.cid, "../x")


CONTENT_TYPES = {
    "application/vnd.ipld.car": ("unk", True, "ignore"),
    "application/vnd.ipld.car; version=1": ("unk", True, "ignore"),
    "application/vnd.ipld.car; version=1; order=dfs": ("dfs", False, "ignore"),
    "application/vnd.ipld.car;version=1;order=dfs;dups=y": ("dfs", True, "error"),
    "application/vnd.ipld.car; dups=n; order=DFS": ("dfs", False, "error"),
    'application/vnd.ipld.car; order="dfs"; dups="y"': ("dfs", True, "error"),
    "application/vnd.ipld.car; order=unk; dups=y": ("unk", True, "error"),
    "application/vnd.ipld.car; order=unk; dups=n": ("unk", False, "error"),
    "": ("unk", True, "ignore"),
}


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_a_content_type_says_how_to_check(content_type: str) -> None:
    form = form_of(content_type)
    assert (form["order"], form["dups"], form["on_unexpected"]) == CONTENT_TYPES[content_type]
    sent = GATEWAY.answer(ROOT.cid, dups=form["dups"] and form["order"] == "dfs")
    assert pairs(list(verify_stream([stream(sent)], ROOT.cid, **form))) == GATEWAY.answer(
        ROOT.cid, dups=form["dups"] and form["order"] == "dfs"
    )


# -- the gateway-conformance fixtures ---------------------------------------------------------------------------

FIXTURES = [
    "dir_listing/fixtures.car",
    "gateway-cache/fixtures.car",
    "gateway-raw-block.car",
    "path_gateway_dag/dag-pb.car",
    "path_gateway_unixfs/dir-with-files.car",
    "path_gateway_unixfs/dir-with-percent-encoded-filename.car",
    "path_gateway_unixfs/symlink.car",
]


def roots_of(name: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    store = ReadOnlyBlockstore(shared_fixture(f"gateway-conformance/{name}").read_bytes())
    blocks = {bytes(cid): store[cid] for cid in store}
    for root in store.roots:
        yield bytes(root), blocks


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("scope", ["all", "entity", "block"])
@pytest.mark.parametrize("dups", [True, False])
def test_responses_of_the_gateways_own_fixtures(name: str, scope: Any, dups: bool) -> None:
    for root, blocks in roots_of(name):
        sent = Gateway(blocks).answer(root, scope=scope, dups=dups)
        assert pairs(list(verify_stream([stream(sent)], root, scope=scope, dups=dups))) == sent
        mixed = sorted(sent)
        if not dups:
            assert pairs(list(verify_stream([stream(mixed)], root, scope=scope, order="unk", dups=False))) == sent


def test_ranges_of_the_fixture_with_several_blocks() -> None:
    ((root, blocks),) = roots_of("path_gateway_unixfs/dir-with-files.car")
    for first, last in itertools.product((0, 255, 256, 600, 1025, -1, -300), (None, -1, 255, 256, 700, 1025)):
        if last is not None and (first < 0) == (last < 0) and last < first:
            continue
        request: Request = {"path": "multiblock.txt", "scope": "entity", "byte_range": (first, last)}
        for dups in (True, False):
            sent = Gateway(blocks).answer(root, **request, dups=dups)
            assert pairs(list(verify_stream([stream(sent)], root, **request, dups=dups))) == sent


@pytest.mark.parametrize(
    "name", ["path_gateway_dag/dag-cbor-traversal.car", "path_gateway_dag/dag-json-traversal.car"]
)
def test_a_path_through_values_of_the_fixtures(name: str) -> None:
    ((root, blocks),) = roots_of(name)
    ordered = list(blocks.items())
    assert ordered[0][0] == root
    assert pairs(list(verify_stream([stream(ordered)], root))) == ordered
    assert pairs(list(verify_stream([stream(ordered)], root, "foo/link/bar", scope="block"))) == ordered
