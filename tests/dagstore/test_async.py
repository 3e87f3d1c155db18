"""The store for asyncio: the same, without holding up the event loop; cancelling leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

from carv2.dagstore import ShardState
from carv2.dagstore.asynchronous import AsyncDagStore
from carv2.errors import ClosedError, ShardErroredError, ShardNotFoundError, WaitTimeoutError
from dagstore.shards import PATIENCE, Place, blocks_of, eventually, keys

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE))


def test_a_whole_life(place: Place) -> None:
    async def main() -> None:
        async with AsyncDagStore(place.store()) as store:
            assert (await store.register("one", place.mount("one"))).state is ShardState.AVAILABLE
            assert await store.register_many([("two", place.mount("two"))]) == 1
            assert (await store.initialize("two", timeout=PATIENCE)).state is ShardState.AVAILABLE
            blocks = blocks_of("one")
            async with store.acquire("one") as shard:
                assert {cid: await shard.get(cid) for cid in blocks} == blocks
                assert (await store.info("one")).references == 1
            assert await store.shards_with(next(iter(blocks))) == ["one"]
            assert [info.key for info in await store.list()] == ["one", "two"]
            with pytest.raises(ShardErroredError):
                await store.register("bad", place.mount("bad", b"junk"))
            place.mount("bad")
            assert (await store.recover("bad")).state is ShardState.AVAILABLE
            assert await store.destroy("one") is True
            with pytest.raises(ShardNotFoundError):
                async with store.acquire("one"):
                    pass
        with pytest.raises(ClosedError):
            await store.register("late", place.mount("late"))

    run(main())


def test_many_at_once_and_the_loop_goes_on(place: Place) -> None:
    """More than there are threads in asyncio's own pool, and one that has nothing to do with the store."""

    async def main() -> None:
        mounts = {key: place.mount(key) for key in keys(40)}
        async with AsyncDagStore(place.store()) as store:
            await store.register_many(mounts.items())
            for mount in mounts.values():
                place.faults[mount.url].hold()

            async def read(key: str) -> None:
                async with store.acquire(key, timeout=PATIENCE) as shard:
                    cid, data = next(iter(blocks_of(key).items()))
                    assert await shard.get(cid) == data

            tasks = [asyncio.create_task(read(key)) for key in mounts]
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(lambda: "of others") == "of others"
            for mount in mounts.values():
                place.faults[mount.url].release()
            await asyncio.gather(*tasks)

    run(main())


@pytest.mark.parametrize("moment", ["while it waits", "as it comes"])
def test_a_cancelled_acquire_leaves_nothing_behind(place: Place, moment: str) -> None:
    async def main() -> None:
        mount = place.mount("key", sequential=True)
        faults = place.faults[mount.url]
        async with AsyncDagStore(place.store()) as store:
            await store.register("key", mount, lazy=True)
            faults.hold()

            async def read() -> None:
                async with store.acquire("key"):
                    raise AssertionError

            tasks = [asyncio.create_task(read()) for _ in range(5)]
            await asyncio.to_thread(faults.wait_until_held)
            if moment == "as it comes":
                faults.release()
                live = store.store._core.live._shards
                while "key" in live and not live["key"].references:  # and the loop has not heard of it yet
                    time.sleep(0.001)  # noqa: ASYNC251
            for task in tasks:
                task.cancel()
            assert {type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            faults.release()
            async with store.acquire("key", timeout=PATIENCE) as shard:
                cid, data = next(iter(blocks_of("key").items()))
                assert await shard.get(cid) == data
            await asyncio.to_thread(eventually, lambda: store.store.info("key").references == 0)

    run(main())
    gc.collect()


def test_a_loop_that_ends_meanwhile(place: Place) -> None:
    mount = place.mount("key", sequential=True)
    faults = place.faults[mount.url]
    with place.store() as store:
        store.register("key", mount, lazy=True)
        faults.hold()

        async def main() -> None:
            async def read() -> None:
                async with AsyncDagStore(store).acquire("key"):
                    pass

            task = asyncio.create_task(read())
            await asyncio.to_thread(faults.wait_until_held)
            assert not task.done()

        run(main())
        faults.release()
        eventually(lambda: store.info("key").state is ShardState.AVAILABLE)
        eventually(lambda: store.info("key").references == 0)
    gc.collect()


def test_a_timeout(place: Place) -> None:
    async def main() -> None:
        mount = place.mount("key")
        async with AsyncDagStore(place.store()) as store:
            await store.register("key", mount, lazy=True)
            place.faults[mount.url].hold()
            with pytest.raises(WaitTimeoutError):
                async with store.acquire("key", timeout=0.01):
                    pass
            place.faults[mount.url].release()
            async with store.acquire("key"):
                pass

    run(main())


def test_closing_ends_what_waits(place: Place) -> None:
    async def main() -> None:
        mount = place.mount("key")
        store = AsyncDagStore(place.store())
        await store.register("key", mount, lazy=True)
        place.faults[mount.url].hold()

        async def read() -> None:
            async with store.acquire("key"):
                pass

        task = asyncio.create_task(read())
        await asyncio.to_thread(place.faults[mount.url].wait_until_held)
        await store.close(timeout=0.1)
        with pytest.raises(ClosedError):
            await task
        place.faults[mount.url].release()

    run(main())
