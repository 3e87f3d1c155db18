"""Blocks of every size are read in few goes, whatever sizes came before, and checked like others."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.blockstore import ReadOnlyBlockstore

if TYPE_CHECKING:
    from pathlib import Path

CID_SIZE = 36
EDGES = [
    edge - CID_SIZE + more
    for edge in (127, 128, 512, (1 << 14) - 1, 1 << 14, 64 << 10, (1 << 21) - 1, 1 << 21)
    for more in (-1, 0, 1)
]


class Counted:
    """A file in memory that counts how often it is read, and how much."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads, self.bytes = data, 0, 0
        self.size = len(data)

    def read_at(self, position: int, size: int) -> bytes:
        self.reads += 1
        self.bytes += size
        return self.data[position : position + size]


def archive(path: Path, sizes: list[int]) -> list[CID]:
    luck = random.Random(1)
    blocks = [luck.randbytes(size) for size in sizes]
    with carv2.create(path, roots=[]) as car:
        for data in blocks:
            car.write(CID.of_data(data), data)
    return [CID.of_data(data) for data in blocks]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_at_the_edges_of_lengths_come_back(tmp_path: Path, seed: int) -> None:
    sizes = random.Random(seed).sample(EDGES, len(EDGES))
    cids = archive(tmp_path / "sea.car", sizes)
    with ReadOnlyBlockstore(tmp_path / "sea.car") as store:
        for _ in range(2):
            assert [len(store[cid]) for cid in cids] == sizes
        assert [(block.cid, len(block.data)) for block in store.get_many(cids)] == list(
            zip(cids, sizes, strict=True)
        )
        assert [store.size_of(cid) for cid in cids] == sizes


@pytest.mark.parametrize("size", [5_000, 20_000, 60_000, 300_000, 1 << 20])
def test_blocks_are_read_in_two_goes_at_most_and_little_else_is(tmp_path: Path, size: int) -> None:
    cids = archive(tmp_path / "sea.car", [50_000, *[size] * 40])
    source: Any = Counted((tmp_path / "sea.car").read_bytes())
    index = carv2.build_index(tmp_path / "sea.car").to_index()
    with ReadOnlyBlockstore(source, index=index) as store:
        for cid in cids[:3]:
            assert store[cid]
        source.reads = source.bytes = 0
        for block in store.get_many(cids[3:]):
            assert len(block.data) == size
        count = len(cids[3:])
        assert source.reads <= 2 * count
        assert source.bytes <= 4 * (size + 100) * count


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_large_block_that_is_damaged_or_cut_is_an_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "sea.car"
    cid = archive(path, [size])[0]
    with ReadOnlyBlockstore(path) as store:
        whole = store[cid]
    data = path.read_bytes()
    at = data.index(whole) + size - 5
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with ReadOnlyBlockstore(path) as store:
        for read in (lambda: store[cid], lambda: list(store.get_many([cid, cid]))):
            with pytest.raises(carv2.IntegrityError):
                read()
    index = carv2.build_index(data).to_index()
    with (
        ReadOnlyBlockstore(carv2_v1(data)[: -size // 2], index=index) as store,
        pytest.raises((carv2.FormatError, carv2.IntegrityError)),
    ):
        _ = store[cid]


def carv2_v1(data: bytes) -> bytes:
    with carv2.open(data) as car:
        return data[car.payload_position : car.payload_end]
