"""What filter, concat and split write: go-car's own stores write the same bytes, and other programs read them.

``car filter`` puts the blocks that it keeps into go-car's read-write store; so does the peer's ``put`` here.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture
from interop.samples import BLOCKS, SHARED, write

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

NAMES = pytest.mark.parametrize("name", BLOCKS)
FOREIGN = pytest.mark.parametrize("path", SHARED)


def kept_by_the_model(source: Any, cids: set[carv2.CID]) -> bytes:
    """A CARv1 of the roots and sections that a filter keeps, duplicates and identity CIDs included."""
    with carv2.open(source) as car:
        roots = [bytes(root) for root in car.roots if root in cids]
        return archives.v1(
            roots, [(cid, data) for cid, data in car.blocks(verify=False) if carv2.CID(cid) in cids]
        )


@NAMES
def test_filter_writes_what_go_cars_store_writes(go: Peer, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.car", name, "v2")
    every = [cid for cid, _ in BLOCKS[name]]
    for number, cids in enumerate((every, every[::2], every[1:], [])):
        kept, theirs = tmp_path / f"{number}-kept.car", tmp_path / f"{number}-go.car"
        kept.write_bytes(kept_by_the_model(source, set(cids)))
        go("put", "--whole-cids", kept, theirs)
        sink = io.BytesIO()
        carv2.filter_blocks(source, sink, cids)
        assert_bytes_equal(sink.getvalue(), theirs.read_bytes())
        go("put", "--whole-cids", "--v1", kept, tmp_path / f"{number}-v1.car")
        sink = io.BytesIO()
        carv2.filter_blocks(source, sink, cids, version=1)
        assert_bytes_equal(sink.getvalue(), (tmp_path / f"{number}-v1.car").read_bytes())


@pytest.mark.parametrize("inverse", [False, True])
def test_go_cars_own_filter_test(go: Peer, tmp_path: Path, inverse: bool) -> None:
    source = shared_fixture("go-car-cli/simple-unixfs.car")
    with carv2.open(source) as car:
        every = [block.cid for block in car]
    carv2.filter_blocks(source, tmp_path / "out.car", every[7:9], inverse=inverse)
    expected = every[:7] + every[9:] if inverse else every[7:9]
    assert go("list", tmp_path / "out.car").split() == list(map(str, expected))
    assert len(expected) == (20 if inverse else 2)


@NAMES
def test_appending_writes_what_go_cars_store_writes(go: Peer, tmp_path: Path, name: str) -> None:
    """The peer reopens its archive and puts more; what it has already stays where it is."""
    first, more = write(tmp_path / "first.car", "mixed", "v2"), write(tmp_path / "more.car", name, "v2")
    ours, theirs = tmp_path / "ours.car", tmp_path / "theirs.car"
    go("put", "--whole-cids", first, theirs)
    ours.write_bytes(theirs.read_bytes())
    both = tmp_path / "both.car"  # resuming checks the roots, so they must be the old ones
    with carv2.create(both, [BLOCKS["mixed"][0][0]], version=1) as car:
        car.write_all(BLOCKS[name])
    go("resume", "--whole-cids", both, theirs)
    carv2.filter_blocks(more, ours, [cid for cid, _ in BLOCKS[name]], append=True)
    assert_bytes_equal(ours.read_bytes(), theirs.read_bytes())


@NAMES
def test_a_concatenation_is_what_go_car_makes_of_the_same_sections(go: Peer, tmp_path: Path, name: str) -> None:
    """Another archive comes behind it: go-car's order of many records is not certain where blocks are repeated."""
    sources = [write(tmp_path / "1.car", name, "v1"), write(tmp_path / "2.car", "one", "v2-padded")]
    carv2.concat(sources, tmp_path / "v1.car", version=1)
    carv2.concat([tmp_path / "v1.car"], tmp_path / "v2.car")
    go("wrap", tmp_path / "v1.car", tmp_path / "go.car")
    assert_bytes_equal((tmp_path / "v2.car").read_bytes(), (tmp_path / "go.car").read_bytes())
    assert len(go("list", tmp_path / "v2.car").split()) == len(BLOCKS[name]) + 1


@FOREIGN
def test_shards_are_read_by_go_car_and_together_are_the_archive(go: Peer, tmp_path: Path, path: str) -> None:
    source = shared_fixture(path)
    sizes = [len(archives.section(*block)) for block in carv2.open(source)]
    size = max(3 * max(sizes) + 700, sum(sizes) // 3)  # a few shards
    for version in (1, 2):
        front = tmp_path / f"v{version}"
        shards = carv2.split(source, front, size=size, version=version, roots="none")
        listed = [cid for shard in shards for cid in go("list", shard.path).split()]
        assert listed == [str(block.cid) for block in carv2.open(source)]
        assert all(go("root", shard.path) == "" for shard in shards)


@pytest.mark.parametrize("roots", ["first", "all", "placeholder"])
def test_go_car_finds_nothing_wrong_with_a_shard(go: Peer, tmp_path: Path, roots: Any) -> None:
    source = write(tmp_path / "in.car", "many", "v2")
    for shard in carv2.split(source, tmp_path / "part", size=40_000, version=2, roots=roots):
        assert go("inspect", "--full", shard.path).startswith("Version: 2\n")
        assert len(shard.roots) == (1 if roots != "first" or shard.path.endswith("-0001.car") else 0)


@NAMES
def test_ipld_car_finds_each_block_where_the_slices_say(js: Peer, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "in.car", name, "v2")
    sizes = [len(archives.section(bytes(cid), data)) for cid, data in BLOCKS[name]]
    size = max(200 + max(sizes), sum(sizes) // 3)
    for shard in carv2.split(source, tmp_path / "part", size=size):
        with carv2.open(shard.path) as car:
            slices = [(str(section.cid), section.data_position, section.size) for section in car.sections()]
        theirs = [json.loads(line) for line in js("index", shard.path).splitlines()]
        assert slices == [(entry["cid"], entry["blockOffset"], entry["blockLength"]) for entry in theirs]
