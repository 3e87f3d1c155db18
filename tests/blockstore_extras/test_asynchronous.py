"""The façade for asyncio: the loop goes on, order and errors are the store's, and cancelling loses nothing."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from blockstore_extras.stores import BARRELEYE, FISH, LOBSTER, Pair, indexed, pair
from carv2 import CID, Block
from carv2.blockstore import AsyncBlockstore, MemoryBlockstore, ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.errors import BlockNotFoundError, ClosedError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from carv2.cid import CIDLike

MANY = [pair(b"%d" % at * 9) for at in range(300)]
LARGE = [pair(bytes([at]) * 300_000) for at in range(12)]


class Gated(MemoryBlockstore):
    """Stops in the middle of a call until it is let go on."""

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.is_closed = False
        super().__init__()

    def _wait(self) -> None:
        self.entered.set()
        assert self.gate.wait(20)

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        self._wait()
        return super().put(cid, data)

    def close(self) -> None:
        self._wait()
        self.is_closed = True


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(2000):
        if happened():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def test_it_does_what_the_store_does(tmp_path: Path) -> None:
    async def main() -> None:
        store = AsyncBlockstore(ReadWriteBlockstore.create(tmp_path / "new.car"))
        assert await store.put(*FISH) is True
        assert await store.put(*FISH) is False
        assert await store.put_many([FISH, LOBSTER]) == 1
        assert await store.get(str(FISH[0])) == b"fish"
        assert await store.size_of(LOBSTER[0]) == 7
        assert [await store.contains(cid) for cid in (FISH[0], BARRELEYE[0])] == [True, False]
        await store.flush()
        await store.finalize()
        assert [block async for block in store.get_many([LOBSTER[0], FISH[0]])] == [Block(*LOBSTER), Block(*FISH)]
        await store.close()
        await store.close()
        with pytest.raises(ClosedError):
            await store.get(FISH[0])

    asyncio.run(main())
    assert carv2.verify(tmp_path / "new.car").ok


def test_errors_are_those_of_the_store() -> None:
    async def main() -> None:
        store = AsyncBlockstore(MemoryBlockstore([FISH]))
        with pytest.raises(BlockNotFoundError):
            await store.get(LOBSTER[0])
        with pytest.raises(BlockNotFoundError):
            await store.size_of(LOBSTER[0])
        with pytest.raises(IntegrityError):
            await store.put(LOBSTER[0], b"fish")
        with pytest.raises(ValueError, match="CID"):
            await store.get("no CID")

    asyncio.run(main())


@pytest.mark.parametrize("blocks", [MANY, LARGE, [], MANY[:64], MANY[:1]], ids=len)
def test_get_many_gives_all_blocks_in_order(blocks: list[Pair]) -> None:
    async def main() -> list[Block]:
        store = AsyncBlockstore(ReadOnlyBlockstore(indexed(blocks)))
        return [block async for block in store.get_many(cid for cid, _ in blocks[::-1])]

    assert asyncio.run(main()) == [Block(*each) for each in blocks[::-1]]


@pytest.mark.parametrize("before", [0, 1, 63, 64, 65, 200])
def test_get_many_gives_what_comes_before_a_missing_block(before: int) -> None:
    async def main() -> None:
        store = AsyncBlockstore(MemoryBlockstore(MANY))
        blocks: Any = store.get_many([*(cid for cid, _ in MANY[:before]), FISH[0], MANY[0][0]])
        assert [await anext_(blocks) for _ in range(before)] == [Block(*each) for each in MANY[:before]]
        with pytest.raises(BlockNotFoundError):
            await anext_(blocks)

    asyncio.run(main())


def test_get_many_reads_no_further_than_a_batch_ahead() -> None:
    asked = 0

    def wanted() -> Iterator[CID]:
        nonlocal asked
        while True:
            asked += 1
            yield LARGE[asked % 12][0]

    async def main() -> None:
        blocks: Any = AsyncBlockstore(MemoryBlockstore(LARGE)).get_many(wanted())
        await anext_(blocks)
        assert asked <= 5
        await blocks.aclose()

    asyncio.run(main())


async def anext_(items: AsyncIterator[Block]) -> Block:
    return await items.__anext__()


async def slowly(blocks: list[Pair], error: Exception | None = None) -> AsyncIterator[Pair]:
    for block in blocks:
        await asyncio.sleep(0)
        yield block
    if error is not None:
        raise error


def plainly(blocks: list[Pair], error: Exception | None = None) -> Iterator[Pair]:
    yield from blocks
    if error is not None:
        raise error


@pytest.mark.parametrize("source", [slowly, plainly])
@pytest.mark.parametrize("blocks", [MANY, LARGE, [], MANY[:64]], ids=len)
def test_put_many_takes_both_kinds_of_iterables(source: Callable[..., Any], blocks: list[Pair]) -> None:
    async def main() -> None:
        memory = MemoryBlockstore()
        store = AsyncBlockstore(memory)
        assert await store.put_many(source(blocks)) == len(blocks)
        assert await store.put_many(source([*blocks, FISH])) == 1
        assert list(memory) == [cid for cid, _ in [*blocks, FISH]]

    asyncio.run(main())


@pytest.mark.parametrize("source", [slowly, plainly])
@pytest.mark.parametrize("before", [0, 3, 64, 100])
def test_put_many_stores_what_came_before_its_iterable_failed(source: Callable[..., Any], before: int) -> None:
    async def main() -> None:
        memory = MemoryBlockstore()
        with pytest.raises(ConnectionResetError):
            await AsyncBlockstore(memory).put_many(source(MANY[:before], ConnectionResetError(104, "reset")))
        assert list(memory) == [cid for cid, _ in MANY[:before]]

    asyncio.run(main())


@pytest.mark.parametrize("source", [slowly, plainly])
def test_put_many_stores_what_comes_before_a_wrong_block(source: Callable[..., Any]) -> None:
    async def main() -> None:
        memory = MemoryBlockstore()
        with pytest.raises(IntegrityError):
            await AsyncBlockstore(memory).put_many(source([*MANY[:70], (FISH[0], b"?"), *MANY[70:]]))
        assert list(memory) == [cid for cid, _ in MANY[:70]]

    asyncio.run(main())


def test_the_event_loop_goes_on_while_the_store_is_slow() -> None:
    async def main() -> None:
        gated = Gated()
        task = asyncio.ensure_future(AsyncBlockstore(gated).put(*FISH))
        await until(gated.entered.is_set)  # this coroutine runs while the put does
        assert not task.done()
        gated.gate.set()
        assert await task is True

    asyncio.run(main())


def test_a_cancelled_put_returns_at_once_and_may_still_store_its_block() -> None:
    async def main() -> None:
        gated = Gated()
        store = AsyncBlockstore(gated)
        task = asyncio.ensure_future(store.put(*FISH))
        await until(gated.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await store.contains(FISH[0])
        gated.gate.set()
        await until(lambda: FISH[0] in gated)
        assert await store.put(*FISH) is False  # right in any case

    asyncio.run(main())


@pytest.mark.parametrize("source", [slowly, plainly])
def test_a_cancelled_put_many_begins_no_further_batch(source: Callable[..., Any]) -> None:
    class OneBatch(Gated):
        batches = -1  # the first one is that of __init__

        def put_many(self, blocks: Any, /) -> int:
            self.batches += 1
            if self.batches:
                self._wait()
            return super().put_many(blocks)

    async def main() -> None:
        gated = OneBatch()
        task = asyncio.ensure_future(AsyncBlockstore(gated).put_many(source(MANY)))
        await until(gated.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gated.gate.set()
        await until(lambda: len(gated) == 64)
        await asyncio.sleep(0.05)
        assert (gated.batches, list(gated)) == (1, [cid for cid, _ in MANY[:64]])

    asyncio.run(main())


@pytest.mark.parametrize("cancellations", [1, 2])
def test_closing_goes_on_when_it_is_cancelled(cancellations: int) -> None:
    async def main() -> None:
        gated = Gated()
        task = asyncio.ensure_future(AsyncBlockstore(gated).close())
        await until(gated.entered.is_set)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0.02)
        assert task.done() is (cancellations == 2)  # the second one is not waited for
        gated.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: gated.is_closed)

    asyncio.run(main())


def test_a_cancelled_transfer_leaves_a_file_that_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "new.car"

    async def transfer(stored: asyncio.Event) -> None:
        async with AsyncBlockstore(ReadWriteBlockstore.create(path, [FISH[0]])) as store:
            await store.put_many(MANY)
            await store.flush()
            stored.set()
            await asyncio.sleep(60)

    async def main() -> None:
        stored = asyncio.Event()
        task = asyncio.ensure_future(transfer(stored))
        await stored.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with ReadWriteBlockstore.resume(path, [FISH[0]]) as store:
        assert store.recovery is not None
        assert (store.recovery.state, store.recovery.block_count) == ("whole", len(MANY))


def test_async_with_leaves_the_store_as_its_own_with_would(tmp_path: Path) -> None:
    async def write(path: Path, error: Exception | None) -> None:
        async with AsyncBlockstore(ReadWriteBlockstore.create(path)) as store:
            await store.put(*FISH)
            if error is not None:
                raise error

    asyncio.run(write(tmp_path / "good.car", None))
    with pytest.raises(ConnectionResetError):
        asyncio.run(write(tmp_path / "bad.car", ConnectionResetError(104, "reset")))
    states = [carv2.blockstore.examine_file(tmp_path / name).state for name in ("good.car", "bad.car")]
    assert states == ["finalized", "whole"]


def test_a_store_without_a_with_of_its_own_is_closed() -> None:
    class Bare:
        closed = False

        def close(self) -> None:
            self.closed = True

    async def main() -> None:
        bare: Any = Bare()
        async with AsyncBlockstore(bare):
            assert not bare.closed
        assert bare.closed

    asyncio.run(main())


def test_discarding_leaves_what_was_flushed(tmp_path: Path) -> None:
    async def main() -> None:
        store = AsyncBlockstore(ReadWriteBlockstore.create(tmp_path / "new.car"))
        await store.put(*FISH)
        await store.flush()
        await store.put(*LOBSTER)
        await store.discard()

    asyncio.run(main())
    assert [block.data for block in carv2.open(tmp_path / "new.car")] == [b"fish"]


def test_many_tasks_share_a_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncBlockstore(ReadWriteBlockstore.create(tmp_path / "new.car")) as store:
            assert sum(await asyncio.gather(*(store.put(*each) for each in MANY * 2))) == len(MANY)
            found = await asyncio.gather(*(store.get(cid) for cid, _ in MANY))
            assert found == [data for _, data in MANY]

    asyncio.run(main())
    assert carv2.verify(tmp_path / "new.car").ok


def test_below_the_dag_store_asyncio_is_imported_by_this_module_alone_and_only_when_it_is_used() -> None:
    source = Path(carv2.__file__).parent
    importing = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and "asyncio" in {getattr(node, "module", None), *(alias.name for alias in node.names)}
    }
    above = ("dagstore/", "rpc/", "ipfs/", "cli/")
    assert {path for path in importing if not path.startswith(above)} == {"blockstore/asynchronous.py"}
    code = (
        "import sys, carv2.blockstore as b; assert 'asyncio' not in sys.modules;"
        "b.AsyncBlockstore; assert 'asyncio' in sys.modules; assert 'AsyncBlockstore' in b.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source.parent)})
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = carv2.blockstore.nothing
