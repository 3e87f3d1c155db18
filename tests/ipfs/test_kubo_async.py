"""A node for asyncio: the same answers, many at once, and what cancelling does."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.errors import BlockNotFoundError, ClosedError, KuboError
from carv2.ipfs.kubo import AsyncKuboBlockstore, KuboBlockstore
from ipfs.kubo_node import Handler, Node, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

BLOCKS = [(carv2.CID.of_data(b"%d" % at), b"%d" % at) for at in range(300)]
FIRST = BLOCKS[0][0]


@pytest.fixture
def node() -> Iterator[Node]:
    with running() as node:
        yield node


def test_all_of_it(node: Node) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in carv2.iter_car([FIRST], BLOCKS[:100]):
            yield chunk

    async def main() -> None:
        async with AsyncKuboBlockstore(node.url, timeout=30) as store:
            assert await store.version() == "0.43.0-ours"
            assert (await store.import_car(chunks())).block_count == 100
            assert (await store.import_car(b"".join(carv2.iter_car([FIRST], BLOCKS[:1])), pin=False)).roots == ()
            assert await store.put_many(BLOCKS[:200]) == 100
            assert await store.put(*BLOCKS[200])
            assert await store.contains(FIRST)
            assert not await store.contains(BLOCKS[299][0])
            assert await store.size_of(FIRST) == 1
            assert [block.data async for block in store.get_many(cid for cid, _ in BLOCKS[:201])] == [
                data for _, data in BLOCKS[:201]
            ]
            with pytest.raises(BlockNotFoundError):
                await store.get(BLOCKS[299][0])
            await store.pin_add(BLOCKS[1][0], name="one")
            assert [(pin.cid, pin.name) async for pin in store.pins()] == [(FIRST, ""), (BLOCKS[1][0], "one")]
            await store.pin_rm(FIRST)
            exported = b"".join([chunk async for chunk in store.export_car(FIRST)])
            assert exported == b"".join(carv2.iter_car([FIRST], BLOCKS[:1]))
        with pytest.raises(ClosedError):
            await store.get(FIRST)
        await store.close()

    asyncio.run(main())


def test_slow_answers_do_not_take_the_threads_of_the_loop(node: Node) -> None:
    """Forty calls wait at the same time for a node that answers when all are there."""
    together = threading.Barrier(40, timeout=20)

    def meet(handler: Handler) -> None:
        together.wait()
        handler._answer(handler.on_block_get(handler.options))

    node.blocks = {cid.multihash: data for cid, data in BLOCKS}
    node.instead["block/get"] = meet

    async def main() -> list[bytes]:
        async with AsyncKuboBlockstore(KuboBlockstore(node.url, timeout=30)) as store:
            return await asyncio.gather(*(store.get(cid) for cid, _ in BLOCKS[:40]))

    assert asyncio.run(main()) == [data for _, data in BLOCKS[:40]]


def test_an_import_that_is_cancelled_sends_nothing_more(node: Node) -> None:
    taken, sent = 0, asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b"".join(carv2.iter_car([FIRST], BLOCKS[:100]))
        while True:
            taken += 1
            if taken == 5:
                sent.set()
            yield bytes(1000)
            await asyncio.sleep(0.001)

    async def main() -> None:
        async with AsyncKuboBlockstore(node.url) as store:
            task = asyncio.ensure_future(store.import_car(endless()))
            await sent.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)
            before = taken
            await asyncio.sleep(0.1)
            assert taken <= before + 1

    asyncio.run(main())
    assert node.blocks == {}


def test_who_leaves_a_listing_early_leaves_nothing_open(node: Node) -> None:
    node.blocks = {cid.multihash: data for cid, data in BLOCKS}

    async def main() -> None:
        async with AsyncKuboBlockstore(node.url) as store:
            chunks: Any = store.export_car(FIRST)
            async for _ in chunks:
                break
            await chunks.aclose()
            found = [block async for block in store.get_many([FIRST])]
            assert found[0].data == BLOCKS[0][1]

    asyncio.run(main())


def test_errors_of_a_source_are_its_own(node: Node) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk broke")

    async def main() -> None:
        async with AsyncKuboBlockstore(node.url) as store:
            with pytest.raises(OSError, match="the disk broke"):
                await store.import_car(failing())
            with pytest.raises(KuboError):
                await store.import_car(b"no archive")

    asyncio.run(main())
