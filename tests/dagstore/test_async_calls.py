"""Each call of the store for asyncio: the same answer, a wait that can be given up, and nothing left of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from carv2 import CID
from carv2.dagstore import DagStore, Deal, InitializeEvent, ShardState
from carv2.dagstore.asynchronous import AsyncDagStore
from carv2.errors import ShardErroredError, StateError, WaitTimeoutError
from dagstore.shards import PATIENCE, Place, blocks_of, check_serves, eventually, keys, memory_mount
from dagstore.test_leaks import check_nothing_held, descriptors, our_threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
    from pathlib import Path

    from carv2.testing import Faults

SYNC_ONLY = {"round", "add_keeper"}  # for GlobalBlockstore, which is made of the store
CANCELLED = {"stop"}  # what a coroutine has cancelling for


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, PATIENCE))


@contextlib.asynccontextmanager
async def opened(place: Place, **options: Any) -> AsyncGenerator[AsyncDagStore]:
    async with AsyncDagStore(place.store(**options)) as store:
        yield store


async def left_alone(store: AsyncDagStore) -> None:
    """Wait until nobody works on a shard or reads one; then there is no lease, no pin, no reader."""

    def is_idle() -> bool:
        busy = {ShardState.INITIALIZING, ShardState.RECOVERING, ShardState.SERVING}
        return not any(info.state in busy or info.references for info in store.store.list())

    def nothing_held() -> bool:
        try:
            check_nothing_held(store.store)
        except AssertionError:
            return False
        return True

    await asyncio.to_thread(eventually, is_idle, "somebody works or reads")
    await asyncio.to_thread(eventually, nothing_held, "something is held")


async def cancelled_while_held(faults: Faults, call: Awaitable[object]) -> None:
    """Begin ``call``, give it up while its mount does not answer, and only then let the mount go on."""
    faults.hold()
    task = asyncio.ensure_future(call)
    await asyncio.to_thread(faults.wait_until_held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    faults.release()


# -- the same calls -------------------------------------------------------------------------------------------


def public(kind: type) -> dict[str, Callable[..., object]]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}


@pytest.mark.parametrize("name", sorted(public(DagStore).keys() - SYNC_ONLY))
def test_the_facade_has_each_call_with_the_same_options(name: str) -> None:
    ours = inspect.signature(public(AsyncDagStore)[name]).parameters
    for option, parameter in inspect.signature(public(DagStore)[name]).parameters.items():
        if option in CANCELLED:
            continue
        if option in ours:
            assert (ours[option].kind, ours[option].default) == (parameter.kind, parameter.default)
        else:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert ours["options"].kind is inspect.Parameter.VAR_KEYWORD


def test_what_is_in_the_store_is_found_counted_and_told(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as store:
            told = store.subscribe()
            await store.register("one", place.mount("one"))
            one, two = next(iter(blocks_of("one"))), next(iter(blocks_of("two")))
            await store.register("two", place.mount("two"), lazy=True)
            assert await store.shards_with_many([one, two]) == {one.multihash: ["one"]}
            assert (await store.info("two")).state is ShardState.NEW
            assert [info.key for info in await store.list(state=ShardState.NEW)] == ["two"]
            assert [info.key for info in await store.list(prefix="o")] == ["one"]
            stat = await store.stat()
            assert (stat.shard_count, stat.by_state["new"], stat.by_state["available"]) == (2, 1, 1)
            assert stat == store.store.stat()
            assert store.counters() == store.store.counters()
            assert store.counters()["registered"] == 2
            async with store.blockstore(max_open=1) as blocks:
                assert await blocks.get(one) == blocks_of("one")[one]
                assert not await blocks.contains(two)
            event = await asyncio.to_thread(told.get, timeout=PATIENCE)
            assert event is not None
            assert event.key == "one"

    run(main())


def test_owners_collections_and_findings(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as store:
            await store.register("one", place.mount("one", sequential=True), owner="deal-1")
            await store.add_owner("one", "deal-2")
            assert await store.destroy("one", owner="deal-1") is False
            assert [one.freed > 0 for one in await store.gc()] == [True]
            assert await store.doctor(thorough=True) == []
            (place.root / "index" / "one.full.idx").unlink()
            findings = await store.doctor(mounts=False)
            assert [found.key for found in findings] == ["one"]
            assert [found.is_mended for found in await store.doctor(repair=True)] == [True]
            async with store.acquire("one"):
                assert [one.skipped for one in await store.gc()] == ["in use"]
                assert await store.destroy("one", owner="deal-2", force=True) is True
            assert await store.list() == []

    run(main())


def piece(number: int) -> str:
    return str(CID.of_data(b"%d" % number))


def test_moving_in_and_out(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as store:
            mounts = {key: memory_mount(key) for key in map(piece, range(3))}
            deals = [Deal(key, "StorageDealActive", f"deal-{key}") for key in mounts]
            assert (await store.migrate(deals, mount_of=mounts.__getitem__)).registered == 3
            assert (await store.migrate(deals, mount_of=mounts.__getitem__)).did_work is False
            await store.register("x", place.mount("x"))
            exported = await store.export_go(place.folder / "go")
            assert exported.shard_count == len(await store.list())
        async with AsyncDagStore(DagStore(place.folder / "other", mounts=place.faults.registry)) as other:
            imported = await other.import_go(place.folder / "go")
            assert imported.shard_count == exported.shard_count
            async with other.acquire("x") as shard:
                assert [await shard.get(cid) for cid in blocks_of("x")] == [*blocks_of("x").values()]

    run(main())


# -- indexing all ---------------------------------------------------------------------------------------------


def test_initializing_all_tells_of_each_shard(place: Place) -> None:
    async def main() -> None:
        async with opened(place) as store:
            await store.register_many(
                [*((key, place.mount(key)) for key in keys(3)), ("gone", "file:///gone.car")]
            )
            events = [event async for event in store.initialize_all(concurrency=2, include_sealed=True)]
            ends = {event.key: event.success for event in events if event.event == "end"}
            assert ends == {"gone": False, **dict.fromkeys(keys(3), True)}
            assert {event.total for event in events} == {4}
            assert [event async for event in store.initialize_all()] == []

    run(main())


async def first_of_many(place: Place, store: AsyncDagStore) -> tuple[AsyncGenerator[InitializeEvent], Faults]:
    """Five shards that are indexed one at a time; the first has begun, and its mount says nothing."""
    mounts = {key: place.mount(key) for key in keys(5)}
    await store.register_many(mounts.items())
    first = place.faults[mounts["shard-000"].url]
    first.hold()
    events = store.initialize_all(concurrency=1, include_sealed=True)
    begun = await anext(events)
    assert (begun.key, begun.event) == ("shard-000", "start")
    await asyncio.to_thread(first.wait_until_held)
    return events, first


async def check_only_the_first_was_done(store: AsyncDagStore, first: Faults) -> None:
    first.release()
    await left_alone(store)
    states = [info.state for info in await store.list()]
    assert states == [ShardState.AVAILABLE, *[ShardState.NEW] * 4]
    assert [event.success async for event in store.initialize_all(concurrency=2) if event.event == "end"] == [
        True
    ] * 4


@pytest.mark.parametrize("way", ["closed", "cancelled", "left"])
def test_who_ends_it_has_no_more_begun_and_nothing_held(place: Place, way: str) -> None:
    async def main() -> None:
        async with opened(place) as store:
            events, first = await first_of_many(place, store)
            if way == "closed":
                await events.aclose()
            elif way == "left":
                with pytest.raises(ZeroDivisionError):
                    async with contextlib.aclosing(events):
                        raise ZeroDivisionError
            else:
                task = asyncio.ensure_future(anext(events))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert [event async for event in events] == []
            await check_only_the_first_was_done(store, first)

    run(main())


def test_a_store_that_is_closed_ends_it(place: Place) -> None:
    async def main() -> None:
        store = AsyncDagStore(place.store())
        events, first = await first_of_many(place, store)
        rest = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        await store.close(timeout=0.1)
        end = await rest
        assert (end.event, end.success) == ("end", False)
        await events.aclose()
        first.release()

    run(main())


# -- giving up ------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[AsyncDagStore, str], Awaitable[object]]] = {
    "initialize": lambda store, _: store.initialize("key"),
    "recover": lambda store, _: store.recover("key"),
    "register": lambda store, url: store.register("key", url),
}


async def before(call: str, place: Place, store: AsyncDagStore, url: str) -> None:
    """The shard as ``call`` wants it."""
    if call == "initialize":
        await store.register("key", url, lazy=True)
    elif call == "recover":
        place.faults[url].gone = True
        with pytest.raises(ShardErroredError):
            await store.register("key", url)
        place.faults[url].gone = False


@pytest.mark.parametrize("call", CALLS)
def test_a_cancelled_call_goes_on_in_the_store(place: Place, call: str) -> None:
    async def main() -> None:
        mount = place.mount("key", sequential=True)
        async with opened(place) as store:
            await before(call, place, store, mount.url)
            await cancelled_while_held(place.faults[mount.url], CALLS[call](store, mount.url))
            await left_alone(store)
            assert (await store.info("key")).state is ShardState.AVAILABLE
            await asyncio.to_thread(check_serves, store.store, "key", "key")

    run(main())


@pytest.mark.parametrize("call", CALLS)
def test_a_timeout_is_an_error_and_the_work_goes_on(place: Place, call: str) -> None:
    timed: dict[str, Callable[[AsyncDagStore, str], Awaitable[object]]] = {
        "initialize": lambda store, _: store.initialize("key", timeout=0.01),
        "recover": lambda store, _: store.recover("key", timeout=0.01),
        "register": lambda store, url: store.register("key", url, timeout=0.01),
    }

    async def main() -> None:
        mount = place.mount("key")
        faults = place.faults[mount.url]
        async with opened(place) as store:
            await before(call, place, store, mount.url)
            faults.hold()
            with pytest.raises(WaitTimeoutError):
                await timed[call](store, mount.url)
            faults.release()
            await left_alone(store)
            assert (await store.info("key")).state is ShardState.AVAILABLE

    run(main())


@pytest.mark.parametrize("how", ["error", "cancelled", "cancelled twice"])
def test_a_shard_is_let_go_however_its_context_ends(place: Place, how: str) -> None:
    async def main() -> None:
        async with opened(place) as store:
            await store.register("key", place.mount("key", sequential=True))
            inside = asyncio.Event()

            async def read() -> None:
                async with store.acquire("key"):
                    inside.set()
                    if how == "error":
                        raise ZeroDivisionError
                    await asyncio.sleep(PATIENCE)

            task = asyncio.create_task(read())
            await inside.wait()
            if how != "error":
                task.cancel()
            if how == "cancelled twice":
                await asyncio.sleep(0)  # it is in the way out now
                task.cancel()
            with pytest.raises(ZeroDivisionError if how == "error" else asyncio.CancelledError):
                await task
            await left_alone(store)
            assert await store.destroy("key")

    run(main())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_many_that_give_up_leave_no_descriptor_and_no_thread(place: Place) -> None:
    async def main() -> None:
        async with opened(place, max_open_shards=1) as store:
            mounts = {key: place.mount(key, sequential=True) for key in keys(6)}
            await store.register_many(mounts.items())
            for number, (key, mount) in enumerate(mounts.items()):

                async def read(key: str = key) -> None:
                    async with store.acquire(key):
                        await asyncio.sleep(PATIENCE)

                task = asyncio.create_task(read())
                if number % 2:
                    await cancelled_while_held(place.faults[mount.url], task)
                else:
                    await asyncio.sleep(0.002 * number)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            await left_alone(store)

    run(main())  # what is opened once and for all
    before = descriptors()
    run(main_again(place))
    gc.collect()
    eventually(lambda: descriptors() <= before, "descriptors are left")
    eventually(lambda: not [name for name in our_threads() if name != "carv2-dagstore"], "threads are left")


async def main_again(place: Place) -> None:
    """The shards are known now: each is read, half of them by somebody who gives up."""
    async with opened(place, max_open_shards=1) as store:

        async def read(key: str) -> None:
            async with store.acquire(key) as shard:
                await shard.get(next(iter(blocks_of(key))))

        tasks = [asyncio.create_task(read(key)) for key in keys(6) for _ in range(4)]
        await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
        await left_alone(store)


# -- forks ----------------------------------------------------------------------------------------------------


def in_a_child(check: Callable[[], None]) -> int:
    """Exit code of a fork that does ``check``."""
    child = os.fork()
    if not child:
        try:
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001  (whatever it is, the parent's tests are not run here)
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


ARGUMENTS: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("acquire", "initialize", "recover", "destroy", "info"), ("key",)),
    "register": ("other", "file:///x.car"),
    "register_many": ([("other", "file:///x.car")],),
    "shards_with": (b"\x12\x00",),
    "shards_with_many": ([b"\x12\x00"],),
    "add_owner": ("key", "deal"),
    "add_keeper": (None,),
    "migrate": ([],),
    "export_go": ("go",),
    "import_go": ("go",),
}
CALLED = public(DagStore).keys() - {"close", "blockstore"}


def in_time(main: Coroutine[Any, Any, None]) -> None:
    """Run it in a child, which a signal ends if it hangs."""
    signal.alarm(10)
    asyncio.run(main)
    signal.alarm(0)


@contextlib.contextmanager
def held_by_a_thread(lock: threading.Condition) -> Generator[None]:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE)
    yield
    over.set()
    thread.join()


def begun(answer: object) -> None:
    """A generator does nothing before it is asked."""
    if inspect.isgenerator(answer):
        next(answer)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_each_call_in_a_child_of_a_fork_says_so_and_the_parent_goes_on(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key", sequential=True))
        shard = store.acquire("key")

        def check() -> None:
            for name in CALLED:
                with pytest.raises(StateError, match="open it again"):
                    begun(getattr(store, name)(*ARGUMENTS.get(name, ())))
            with pytest.raises(StateError, match="open it again"), store.blockstore() as blocks:
                blocks.get(next(iter(blocks_of("key"))))
            store.close()

        assert in_a_child(check) == 0
        assert store.info("key").references == 1
        shard.close()
        check_serves(store, "key", "key")
        store.register("other", place.mount("other"))
        check_serves(store, "other", "other")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_facade_in_a_child_of_a_fork_says_so_whatever_its_threads_were_at(place: Place) -> None:
    store = AsyncDagStore(place.store())

    async def use() -> None:
        await store.register("key", place.mount("key"))

    run(use())

    async def main() -> None:
        for call in (store.info("key"), store.list(), store.stat(), anext(store.initialize_all())):
            with pytest.raises(StateError, match="open it again"):
                await call
        with pytest.raises(StateError, match="open it again"):
            async with store.acquire("key"):
                pass
        await store.close()

    with held_by_a_thread(store._threads._changed):  # which the child does not have, so for ever there
        assert in_a_child(lambda: in_time(main())) == 0

    async def go_on() -> None:
        async with store, store.acquire("key") as shard:
            assert await shard.get(next(iter(blocks_of("key"))))

    run(go_on())
