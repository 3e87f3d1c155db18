"""Paths: names, keys and places, through blocks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

import carv2
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.dag import Resolved, resolve
from carv2.errors import BlockNotFoundError, BudgetError, CodecError, PathNotFoundError, UnknownCodecError
from dag.dags import Dag, cbor_node, dags, pb_node
from helpers import archives
from helpers.archives import DAG_CBOR, DAG_PB, FISH, LOBSTER, cid_v1, identity, link
from helpers.shared import shared_fixture


def block(data: bytes, codec: int = DAG_CBOR) -> tuple[bytes, bytes]:
    return cid_v1(data, codec=codec), data


NAMED = block(pb_node([FISH[0], LOBSTER[0], LOBSTER[0]], b"data", ["fish", "0", "fish"]), DAG_PB)
BRIDGE = block(link(NAMED[0]))  # a block that is nothing but a link
MAP = block(b"\xa2\x61a\x82\x01" + link(BRIDGE[0]) + b"\x63x/y" + link(FISH[0]))
STORE = MemoryBlockstore([NAMED, BRIDGE, MAP, FISH, LOBSTER])


def cids(*blocks: tuple[bytes, bytes]) -> tuple[carv2.CID, ...]:
    return tuple(carv2.CID(cid) for cid, _ in blocks)


@pytest.mark.parametrize(
    ("path", "value", "remaining", "way"),
    [
        ("a/0", 1, ("a", "0"), [MAP]),
        ("/a//0/", 1, ("a", "0"), [MAP]),
        (["a", "0"], 1, ("a", "0"), [MAP]),
        (["x/y"], b"fish", (), [MAP, FISH]),
        ("a/1/fish", b"fish", (), [MAP, BRIDGE, NAMED, FISH]),
        ("a/1/0", b"lobster", (), [MAP, BRIDGE, NAMED, LOBSTER]),
        ("a/1/Data", b"data", ("Data",), [MAP, BRIDGE, NAMED]),
        ("a/1/Links/1/Name", "0", ("Links", "1", "Name"), [MAP, BRIDGE, NAMED]),
        ("a/1/Links/1/Hash", b"lobster", (), [MAP, BRIDGE, NAMED, LOBSTER]),
    ],
)
def test_a_path_leads_through_blocks(
    path: str | list[str], value: object, remaining: tuple[str, ...], way: list[tuple[bytes, bytes]]
) -> None:
    found = resolve(STORE, MAP[0], path)
    assert found == Resolved(carv2.CID(way[-1][0]), remaining, value, cids(*way))


def test_the_last_link_need_not_be_followed() -> None:
    found = resolve(STORE, MAP[0], "a/1/fish", follow_last=False)
    assert found == Resolved(carv2.CID(NAMED[0]), ("fish",), carv2.CID(FISH[0]), cids(MAP, BRIDGE, NAMED))
    assert resolve(STORE, MAP[0], ["x/y"], follow_last=False).value == carv2.CID(FISH[0])
    with pytest.raises(BlockNotFoundError):
        resolve(MemoryBlockstore([MAP]), MAP[0], ["x/y"])
    assert resolve(MemoryBlockstore([MAP]), MAP[0], ["x/y"], follow_last=False).remaining == ("x/y",)


def test_no_path_is_the_root() -> None:
    found = resolve(STORE, str(carv2.CID(NAMED[0])))
    assert found.value["Data"] == b"data"
    assert [entry.get("Name") for entry in found.value["Links"]] == ["fish", "0", "fish"]
    assert resolve(STORE, NAMED[0], follow_last=False) == found
    assert resolve(STORE, BRIDGE[0], "").blocks == cids(BRIDGE, NAMED)


@pytest.mark.parametrize(
    ("path", "segment", "where"),
    [
        ("b", "b", MAP),
        ("a/2", "2", MAP),
        ("a/-1", "-1", MAP),
        ("a/x", "x", MAP),
        ("a/0/x", "x", MAP),
        ("a/1/bird", "bird", NAMED),
        ("a/1/fish/scale", "scale", FISH),
        ("a/1/Data/0", "0", NAMED),
        ("a/99999999999999999999999", "9" * 23, MAP),
    ],
)
def test_what_is_not_there_is_named(path: str, segment: str, where: tuple[bytes, bytes]) -> None:
    with pytest.raises(PathNotFoundError) as caught:
        resolve(STORE, MAP[0], path)
    assert (caught.value.segment, caught.value.path, bytes(caught.value.cid)) == (segment, path, where[0])


def test_blocks_that_are_missing_or_make_no_sense() -> None:
    broken, strange = block(b"\x82"), block(b"tree", 0x78)
    top = archives.node(LOBSTER[0], broken[0], strange[0])
    store = MemoryBlockstore([top, broken, strange])
    with pytest.raises(BlockNotFoundError):
        resolve(store, top[0], "0/x")
    with pytest.raises(CodecError) as caught:
        resolve(store, top[0], "1/x")
    assert caught.value.cid == carv2.CID(broken[0])
    with pytest.raises(UnknownCodecError):
        resolve(store, top[0], "2/x")


def test_a_way_that_never_ends() -> None:
    cid = cid_v1(b"not this", codec=DAG_CBOR)
    store = {carv2.CID(cid): link(cid)}
    with pytest.raises(BudgetError, match="more than 1024 blocks"):
        resolve(store, cid)
    nested = FISH[0]
    for _ in range(9):
        nested = identity(link(nested), codec=DAG_CBOR)
    assert resolve(STORE, nested, max_blocks=10).value == b"fish"
    with pytest.raises(BudgetError):
        resolve(STORE, nested, max_blocks=9)


@settings(max_examples=40)
@given(dags(missing=False))
def test_each_link_of_each_block_is_found_by_its_path(dag: Dag) -> None:
    store = MemoryBlockstore(dag.blocks.items(), whole_cids=True)
    for cid, links in dag.links.items():
        for at, child in enumerate(links):
            path = f"{at:04}" if carv2.CID(cid).codec == DAG_PB else f"l/{at}"
            assert resolve(store, cid, path).cid == carv2.CID(child)


def test_an_archive_of_another_program() -> None:
    with ReadOnlyBlockstore(shared_fixture("go-car-cli/simple-unixfs.car")) as store:
        found = resolve(store, store.roots[0], "a/2/B.txt")
        assert found.value["Data"] == b"\x08\x02\x12\x04a2B\n\x18\x04"
        assert len(found.blocks) == 4
        with pytest.raises(PathNotFoundError):
            resolve(store, store.roots[0], "a/4")


def test_a_number_may_be_a_key() -> None:
    numbered = block(b"\xa1\x612" + link(FISH[0]))
    assert resolve(MemoryBlockstore([numbered, FISH]), numbered[0], "2").value == b"fish"
    assert resolve(MemoryBlockstore([block(cbor_node([]))]), block(cbor_node([]))[0], "n").value == 0
