"""Races over what reads archives."""

from __future__ import annotations

import contextlib
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import _source
from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError
from races.racing import Fault, blocks_of, sample

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from races.racing import Step

NOBODY = carv2.CID.of_data(b"nobody has this")


def _archive(folder: Path, blocks: dict[carv2.CID, bytes]) -> Path:
    path = folder / "a.car"
    with carv2.create(path, roots=[next(iter(blocks))]) as car:
        for cid, data in blocks.items():
            car.write(cid, data)
    return path


@contextmanager
def reader(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One reader of one file, for everything that it does."""
    blocks = blocks_of("reader", 300)
    with carv2.open(_archive(folder, blocks)) as car:

        def gets(numbers: random.Random) -> None:
            for cid in sample(numbers, blocks):
                assert car.get(cid) == blocks[cid]
                assert car.find(cid).size == len(blocks[cid])

        def misses(_: random.Random) -> None:
            with pytest.raises(BlockNotFoundError):
                car.get(NOBODY)

        def iterates(numbers: random.Random) -> None:
            workers = numbers.choice([1, 1, 2])
            assert {block.cid: block.data for block in car.blocks(workers=workers)} == blocks

        def goes_through(_: random.Random) -> None:
            assert [section.cid for section in car.sections()] == list(blocks)

        yield [gets, gets, gets, misses, iterates, goes_through]


@contextmanager
def read_only(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One blockstore over one file, opened anew by anybody while others read: samples of the index come lazily."""
    blocks = blocks_of("read-only", 800, size=50)
    path = _archive(folder, blocks)
    with contextlib.ExitStack() as held:
        shared = [held.enter_context(ReadOnlyBlockstore(path))]

        def gets(numbers: random.Random) -> None:
            store = shared[0]
            for cid in sample(numbers, blocks):
                assert cid in store
                assert store[cid] == blocks[cid]
                assert store.size_of(cid) == len(blocks[cid])

        def gets_many(numbers: random.Random) -> None:
            wanted = sample(numbers, blocks, 100)
            found = list(shared[0].get_many(wanted))
            assert [block.cid for block in found] == wanted
            assert all(block.data == blocks[block.cid] for block in found)

        def misses(_: random.Random) -> None:
            assert NOBODY not in shared[0]
            assert shared[0].get(NOBODY) is None

        def lists(_: random.Random) -> None:
            assert set(shared[0]) == blocks.keys()
            assert len(shared[0]) == len(blocks)

        def takes_its_place(_: random.Random) -> None:
            shared[0] = ReadOnlyBlockstore(path)  # the one before is closed when its last reader lets go

        yield [gets, gets, gets, gets_many, misses, lists, takes_its_place]
        shared[0].close()


def _reads_with_a_cursor(self: _source.FileSource, position: int, size: int) -> bytes:
    os.lseek(self._fd, position, os.SEEK_SET)
    time.sleep(0)
    return os.read(self._fd, size)


CURSOR = Fault("files are read through a cursor", _source.FileSource, "read_at", _reads_with_a_cursor)
