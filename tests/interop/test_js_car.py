"""@ipld/car reads what carv2 writes, and carv2 what it writes."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

import carv2
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture
from interop.samples import BLOCKS, LAYOUTS, SHARED, write

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

NAMES = pytest.mark.parametrize("name", BLOCKS)
FOREIGN = pytest.mark.parametrize("path", SHARED)


def check_reading(js: Peer, path: Path) -> None:
    """Roots, blocks and their places are what carv2 finds."""
    with carv2.open(path) as car:
        roots = [str(root) for root in car.roots]
        sections = list(car.sections())
        blocks = [car.read(section) for section in sections]
    assert js("root", path).split() == roots
    assert js("list", path).split() == [str(section.cid) for section in sections]
    assert [json.loads(line) for line in js("blocks", path).splitlines()] == [
        {"cid": str(block.cid), "size": len(block.data), "sha256": hashlib.sha256(block.data).hexdigest()}
        for block in blocks
    ]
    assert [json.loads(line) for line in js("index", path).splitlines()] == [
        {
            "cid": str(section.cid),
            "offset": section.position,
            "length": section.data_position + section.size - section.position,
            "blockOffset": section.data_position,
            "blockLength": section.size,
        }
        for section in sections
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@NAMES
def test_ipld_car_reads_what_carv2_writes(js: Peer, tmp_path: Path, name: str, layout: str) -> None:
    check_reading(js, write(tmp_path / "x.car", name, layout))


@FOREIGN
def test_both_read_foreign_archives_alike(js: Peer, path: str) -> None:
    check_reading(js, shared_fixture(path))


@NAMES
def test_what_ipld_car_writes_is_what_carv2_writes(js: Peer, tmp_path: Path, name: str) -> None:
    source = write(tmp_path / "ours.car", name, "v1")
    js("write", source, tmp_path / "js.car")
    assert_bytes_equal((tmp_path / "js.car").read_bytes(), source.read_bytes())
    assert carv2.verify(tmp_path / "js.car").ok


@FOREIGN
def test_a_foreign_archive_written_anew_by_ipld_car_is_good_here(js: Peer, tmp_path: Path, path: str) -> None:
    source = shared_fixture(path)
    js("write", source, tmp_path / "js.car")
    with carv2.open(source) as ours, carv2.open(tmp_path / "js.car") as theirs:
        assert theirs.roots == ours.roots
        assert list(theirs) == list(ours)


@NAMES
def test_ipld_car_gets_each_block_that_carv2_wrote(js: Peer, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "x.car", name, "v1")
    for cid, data in BLOCKS[name][:3]:
        assert js.run("get", path, cid).stdout == data


def test_empty_archives_pass_both_ways(js: Peer, tmp_path: Path) -> None:
    for layout, options in LAYOUTS.items():
        path = tmp_path / f"{layout}.car"
        with carv2.create(path, [], **options):
            pass
        check_reading(js, path)
    js("write", tmp_path / "v1.car", tmp_path / "js.car")
    assert (tmp_path / "js.car").read_bytes() == archives.EMPTY_HEADER


def test_what_carv2_salvages_of_a_damaged_archive_ipld_car_reads(js: Peer, tmp_path: Path) -> None:
    damaged = bytearray(write(tmp_path / "x.car", "mixed", "v2").read_bytes())
    damaged[200] ^= 1
    carv2.salvage(bytes(damaged), tmp_path / "saved.car")
    check_reading(js, tmp_path / "saved.car")
