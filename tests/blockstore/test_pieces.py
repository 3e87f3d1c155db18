"""Blocks of all sizes, gathered or not, come to lie in the file as one writer after the other would put them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Literal

import pytest

import carv2
from carv2.blockstore import ReadWriteBlockstore

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1 << 10
SIZES = {
    "large last": (3, 5 * KIB, 64 * KIB),
    "large first": (64 * KIB, 5 * KIB, 3),
    "large only": (64 * KIB, 1024 * KIB, 65 * KIB),
    "large between": (3, 64 * KIB - 1, 300 * KIB, 0, 5 * KIB, 64 * KIB, 64 * KIB + 1, 7, 8),
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_small_and_large_blocks_lie_in_the_order_in_which_they_were_put(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    blocks = [(carv2.CID.of_data(data), data) for data in map(os.urandom, sizes)]
    with ReadWriteBlockstore.create(tmp_path / "new", durability="none") as store:
        store.put_many(blocks)
        assert all(store[cid] == data for cid, data in blocks)
    sink = io.BytesIO()
    with carv2.CarWriter(sink, version=2) as car:
        car.write_all(blocks)
    assert (tmp_path / "new").read_bytes() == sink.getvalue()


@pytest.mark.parametrize(("durability", "least"), [("none", 0), ("flush", 2)])
def test_without_durability_the_disk_is_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Literal["none", "flush"], least: int
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with ReadWriteBlockstore.create(tmp_path / "a.car", durability=durability) as store:
        store.put(carv2.CID.of_data(b"fish"), b"fish")
        store.flush()
        store.finalize()
    assert len(synced) >= least
    assert bool(synced) is bool(least)
