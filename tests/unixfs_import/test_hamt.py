"""HAMT directories: each name where its hash says, whatever the fan-out."""

from __future__ import annotations

import dataclasses
from typing import Any

import mmh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carv2.errors import UnixFSError
from carv2.unixfs import ImportProfile, _import_hamt
from carv2.unixfs._blocks import BlockMaker, Link
from carv2.unixfs._import_directory import put_directory
from unixfs_import.decoding import Archive, Node

PROFILE = ImportProfile(name="sharded", hamt_rule="entries", hamt_threshold=1)
FANOUTS = [8, 16, 32, 64, 128, 256, 512, 1024]
FISH = Link(bytes.fromhex("015512200c81c5d1ee9c55a0ecdd1b4b9ba8c1e0c7e4c8ee8b4d4cba0c6d8b4e3b5d4f6a"), 4, 4)


def shards(names: list[bytes], profile: ImportProfile) -> tuple[Link, dict[bytes, bytes]]:
    blocks: dict[bytes, bytes] = {}
    maker = BlockMaker(profile, lambda cid, block: blocks.update({cid: bytes(block)}))
    return put_directory(maker, [(name, FISH) for name in sorted(names)]), blocks


def slots(name: bytes, fanout: int) -> list[int]:
    """The slot of a name on each level, from its hash written in binary."""
    bits = f"{mmh3.hash64(name, signed=False)[0]:064b}"
    width = fanout.bit_length() - 1
    return [int(bits[at : at + width], 2) for at in range(0, 64 - width + 1, width)]


def places(archive: Archive, cid: bytes, above: tuple[int, ...] = ()) -> dict[bytes, tuple[int, ...]]:
    """The way to each name: slots."""
    node = Node(archive.block(cid))
    digits = len(f"{node.message[6][0] - 1:X}")  # type: ignore[operator]
    found: dict[bytes, tuple[int, ...]] = {}
    for name, link, _ in node.links:
        assert name is not None
        way = (*above, int(name[:digits], 16))
        assert name[:digits] == name[:digits].upper()
        if len(name) == digits:
            found |= places(archive, link, way)
        else:
            found[name[digits:]] = way
    return found


@settings(deadline=None, max_examples=60)
@given(
    names=st.sets(
        st.binary(min_size=1, max_size=8).filter(lambda name: b"/" not in name), min_size=2, max_size=60
    ),
    fanout=st.sampled_from(FANOUTS),
)
def test_each_name_is_where_its_hash_says_and_no_deeper(names: set[bytes], fanout: int) -> None:
    root, blocks = shards(list(names), dataclasses.replace(PROFILE, hamt_fanout=fanout))
    found = places(Archive(blocks), root.cid)
    assert set(found) == names
    for name, way in found.items():
        assert list(way) == slots(name, fanout)[: len(way)]
        others = [slots(other, fanout)[: len(way) - 1] for other in names if other != name]
        assert list(way[:-1]) in others or len(way) == 1


@pytest.mark.parametrize("fanout", FANOUTS)
def test_thousands_of_names(fanout: int) -> None:
    names = [b"file-%d" % number for number in range(3000)]
    root, blocks = shards(names, dataclasses.replace(PROFILE, hamt_fanout=fanout))
    assert set(places(Archive(blocks), root.cid)) == set(names)
    last = list(blocks)[-1]
    assert root.cid == last
    assert root.tsize == 4 * 3000 + sum(map(len, blocks.values()))


def test_the_examples_of_the_specification() -> None:
    root, blocks = shards([b"470.txt", b"742.txt"], PROFILE)
    assert places(Archive(blocks), root.cid) == {b"470.txt": (0x00, 0x6E), b"742.txt": (0x00, 0xFF)}


def test_a_bit_field_has_no_leading_zeros() -> None:
    name = next(b"%d" % number for number in range(10_000) if slots(b"%d" % number, 256)[0] == 9)
    root, blocks = shards([name], dataclasses.replace(PROFILE, hamt_threshold=1, hamt_inclusive=True))
    node = Node(blocks[root.cid])
    assert node.data == b"\x02\x00"
    assert (node.message[5], node.message[6]) == ([0x22], [256])


@pytest.mark.parametrize(
    ("differ", "fanout", "is_told_apart"), [(1, 256, True), (1, 1024, False), (16, 1024, True), (0, 8, False)]
)
def test_names_whose_hashes_are_nearly_the_same(
    monkeypatch: Any, differ: int, fanout: int, is_told_apart: bool
) -> None:
    monkeypatch.setattr(_import_hamt, "name_hash", {b"a": 7 << 60, b"b": 7 << 60 ^ differ, b"c": 0}.__getitem__)
    profile = dataclasses.replace(PROFILE, hamt_fanout=fanout)
    if is_told_apart:
        root, blocks = shards([b"a", b"b", b"c"], profile)
        assert len(blocks) == 64 // (fanout.bit_length() - 1)
        assert Archive(blocks | {FISH.cid: b"fish"}).tsize(root.cid) == root.tsize
    else:
        with pytest.raises(UnixFSError, match="two names have the same hash, one of them a"):
            shards([b"a", b"b", b"c"], profile)


RULES = [
    ("entries", False, 10, 11),
    ("entries", True, 9, 10),
]


@pytest.mark.parametrize(("rule", "inclusive", "plain", "sharded"), RULES)
def test_entries_may_decide(rule: Any, inclusive: bool, plain: int, sharded: int) -> None:
    profile = dataclasses.replace(PROFILE, hamt_rule=rule, hamt_threshold=10, hamt_inclusive=inclusive)
    for count, kind in ((plain, 1), (sharded, 5)):
        root, blocks = shards([b"%d" % number for number in range(count)], profile)
        assert Node(blocks[root.cid]).type == kind


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("rule", ["block-bytes", "links-bytes"])
@pytest.mark.parametrize("count", [3, 200])
def test_sizes_may_decide(rule: Any, inclusive: bool, count: int) -> None:
    names = [b"name-%d" % number for number in range(count)]
    root, blocks = shards(names, dataclasses.replace(PROFILE, hamt_rule="never"))
    size = len(blocks[root.cid]) if rule == "block-bytes" else sum(len(name) + 36 for name in names)
    for threshold, kind in ((size - 1, 5), (size, 5 if inclusive else 1), (size + 1, 1)):
        profile = dataclasses.replace(PROFILE, hamt_rule=rule, hamt_threshold=threshold, hamt_inclusive=inclusive)
        found, shard_blocks = shards(names, profile)
        assert Node(shard_blocks[found.cid]).type == kind, threshold - size


def test_never_is_never() -> None:
    root, blocks = shards(
        [b"%d" % number for number in range(5000)], dataclasses.replace(PROFILE, hamt_rule="never")
    )
    assert len(Node(blocks[root.cid]).links) == 5000
