"""Races over blockstores that grow, and over those that stand on others."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import carv2
from carv2.blockstore import (
    AsyncBlockstore,
    CachingBlockstore,
    MemoryBlockstore,
    ReadWriteBlockstore,
    StoreTracker,
    UnionBlockstore,
)
from carv2.blockstore.cache import _cost
from races.racing import blocks_of, sample

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from carv2.blockstore import WritableBlockstore
    from races.racing import Step


class Acknowledged:
    """What a store must have from now on, because a call that put it came back."""

    def __init__(self, count: int = 4000) -> None:
        self.pool = list(blocks_of("acknowledged", count).items())
        self.blocks: dict[carv2.CID, bytes] = {}

    def some(self, numbers: random.Random, most: int = 8) -> dict[carv2.CID, bytes]:
        return dict(numbers.sample(self.pool, numbers.randrange(1, most + 1)))

    def there(self, numbers: random.Random) -> list[carv2.CID]:
        known = self.blocks.copy()
        return sample(numbers, known) if known else []

    def check_archive(self, path: Path, *, dups: bool = False) -> None:
        """The file has each of them, once, and nothing that was never put."""
        assert carv2.verify(path).problems == ()
        with carv2.open(path) as car:
            found = [section.cid for section in car.sections()]
            assert self.blocks.keys() <= set(found) <= {cid for cid, _ in self.pool}
            assert dups or len(found) == len(set(found))
            assert all(car.get(cid) == data for cid, data in self.blocks.items())


def _writing(store: WritableBlockstore, told: Acknowledged) -> list[Step]:
    def puts(numbers: random.Random) -> None:
        for cid, data in told.some(numbers).items():
            store.put(cid, data)
            told.blocks[cid] = data
            assert store[cid] == data

    def puts_many(numbers: random.Random) -> None:
        blocks = told.some(numbers, 40)
        store.put_many(blocks.items())
        told.blocks.update(blocks)
        assert all(cid in store for cid in blocks)

    def gets(numbers: random.Random) -> None:
        for cid in told.there(numbers):
            assert store[cid] == told.blocks[cid]
            assert store.size_of(cid) == len(told.blocks[cid])

    def gets_many(numbers: random.Random) -> None:
        wanted = told.there(numbers)
        assert [block.cid for block in store.get_many(wanted)] == wanted

    def lists(_: random.Random) -> None:
        before = set(told.blocks.copy())
        found = list(store)
        assert before <= set(found)
        assert len(found) == len(set(found))
        assert len(store) >= len(found)

    return [puts, puts, puts_many, gets, gets, gets_many, lists]


@contextmanager
def read_write(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One archive that all put into and read from, with checkpoints by anybody."""
    told, path = Acknowledged(), folder / "a.car"
    with ReadWriteBlockstore.create(path, [], durability="none") as store:

        def flushes(numbers: random.Random) -> None:
            store.flush()
            with carv2.open(path) as car:  # anybody may read what a checkpoint names
                assert all(block.data for block in itertools.islice(car.blocks(), 50))

        yield [*_writing(store, told), flushes]
        store.finalize()
    told.check_archive(path)


@contextmanager
def asynchronous(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """The same through asyncio: several loops, several tasks in each."""
    told, path = Acknowledged(), folder / "a.car"
    inner = ReadWriteBlockstore.create(path, [], durability="none")
    store = AsyncBlockstore(inner)

    async def one(cid: carv2.CID, data: bytes) -> None:
        await store.put(cid, data)
        told.blocks[cid] = data
        assert await store.contains(cid)
        assert await store.get(cid) == data

    async def many(blocks: Mapping[carv2.CID, bytes], wanted: list[carv2.CID]) -> None:
        await asyncio.gather(*itertools.starmap(one, blocks.items()))
        assert [block.cid async for block in store.get_many(wanted)] == wanted
        await store.flush()

    def tasks(numbers: random.Random) -> None:
        asyncio.run(many(told.some(numbers), told.there(numbers)))

    yield [tasks, *_writing(inner, told)]
    asyncio.run(store.finalize())
    asyncio.run(store.close())
    told.check_archive(path)


@contextmanager
def caching(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """A cache that is much too small, so that blocks come and go all the time."""
    told, room = Acknowledged(300), 8 << 10
    store = CachingBlockstore(MemoryBlockstore(told.pool[:100]), max_bytes=room)
    told.blocks.update(told.pool[:100])

    def keeps_to_its_room(_: random.Random) -> None:
        with store._lock:
            assert store.kept_bytes == sum(_cost(cid, data) for cid, data in store._kept.items()) <= room

    yield [*_writing(store, told), keeps_to_its_room]
    asked = store.hits + store.misses
    for cid, data in told.blocks.items():
        assert store[cid] == data
    assert store.hits + store.misses == asked + len(told.blocks)
    assert store.kept_bytes == sum(_cost(cid, data) for cid, data in store._kept.items()) <= room


@contextmanager
def union(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Stores are added and removed while others read."""
    base = blocks_of("base", 50)
    guests = [blocks_of(f"guest {each}", 5) for each in range(40)]
    free, lock = list(range(len(guests))), threading.Lock()
    always = MemoryBlockstore(base.items())
    with UnionBlockstore([always]) as store:

        def visits(numbers: random.Random) -> None:
            with lock:
                number = free.pop(numbers.randrange(len(free)))
            guest = MemoryBlockstore(guests[number].items())
            store.add(guest, first=numbers.random() < 0.5)
            assert all(store[cid] == data for cid, data in guests[number].items())
            store.remove(guest)
            assert not any(cid in store for cid in guests[number])
            with lock:
                free.append(number)

        def gets(numbers: random.Random) -> None:
            wanted = sample(numbers, base)
            assert [store[cid] for cid in wanted] == [base[cid] for cid in wanted]
            assert [block.cid for block in store.get_many(wanted)] == wanted

        def lists(_: random.Random) -> None:
            assert base.keys() <= set(store)

        yield [visits, visits, visits, gets, lists]
        assert store.stores == (always,)


@contextmanager
def tracker(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Archives that are opened for the first who asks, shared, finished for the last who lets go, and resumed."""
    told = {key: Acknowledged(400) for key in range(3)}
    with StoreTracker() as found:

        def holds(numbers: random.Random) -> None:
            key = numbers.randrange(len(told))
            with found.holding(key, folder / f"{key}.car", durability="none") as store:
                assert found.get(key) is store
                for cid, data in told[key].some(numbers).items():
                    store.put(cid, data)
                    told[key].blocks[cid] = data
                for cid in told[key].there(numbers):
                    assert store[cid] == told[key].blocks[cid]

        yield [holds]
        assert len(found) == 0
    for key, each in told.items():
        if each.blocks:
            each.check_archive(folder / f"{key}.car")
