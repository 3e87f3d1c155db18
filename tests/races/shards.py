"""Races over parts of a DAG store; the store as a whole is shaken by ``dagstore.soak``, in several processes."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carv2.dagstore._leases import LeaseKeeper
from carv2.dagstore.catalogue import open_catalogue
from carv2.dagstore.catalogue.sql import SqlCatalogue
from carv2.dagstore.events import Event, EventHub, Subscription
from carv2.dagstore.mounts import FileMount, default_registry
from carv2.dagstore.states import Operation, ShardState
from carv2.errors import ShardInUseError
from dagstore.shards import Place, archive_of, check_serves
from dagstore.soak import Soak
from races.racing import Fault

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from races.racing import Step


@contextmanager
def events(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Everybody publishes, listeners come and go; who listens hears all of each publisher, in its order."""
    hub = EventHub()
    numbered, told = threading.local(), itertools.count()
    longest = hub.subscribe(1 << 22)

    def publishes(_: random.Random) -> None:
        if not hasattr(numbered, "name"):
            numbered.name, numbered.next = next(told), itertools.count()
        hub.publish(
            Event(f"{numbered.name}", Operation.REGISTER, ShardState.AVAILABLE, references=next(numbered.next))
        )

    def listens(_: random.Random) -> None:
        with hub.subscribe(1 << 16) as heard:
            for _each in range(20):
                publishes(_)
            time.sleep(0)
        _in_order(heard, own=str(numbered.name), at_least=20)

    yield [publishes, listens, listens]
    hub.close()
    counts = _in_order(longest)
    assert all(first == 0 for first, _ in counts.values())
    assert not hub._subscriptions


def _in_order(heard: Iterable[Event], own: str = "", at_least: int = 0) -> dict[str, tuple[int, int]]:
    """First and last number of each publisher; there is none missing between them."""
    spans: dict[str, tuple[int, int]] = {}
    for event in heard:
        first, last = spans.get(event.key, (event.references, event.references - 1))
        assert event.references == last + 1, (event.key, last, event.references)
        spans[event.key] = first, event.references
    if own:
        assert spans[own][1] - spans[own][0] + 1 >= at_least
    return spans


@contextmanager
def leases(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Several holders want the leases of few shards: one at a time has each."""
    catalogues = [open_catalogue(folder / "catalogue.sqlite") for _ in range(2)]
    keepers = [LeaseKeeper(each, f"holder{number}", 60.0) for number, each in enumerate(catalogues)]
    inside = dict.fromkeys("abc", 0)

    def works(numbers: random.Random) -> None:
        keeper, key = numbers.choice(keepers), numbers.choice("abc")
        taking = numbers.choice([keeper.holding, keeper.holding_at_once])
        with contextlib.suppress(ShardInUseError), taking(key) as holder:
            inside[key] += 1
            assert inside[key] == 1
            time.sleep(numbers.random() / 100)
            keeper.check(holder)
            assert keeper.is_held(key)
            assert inside[key] == 1
            inside[key] -= 1

    yield [works]
    assert all(keeper._held == {} for keeper in keepers)
    assert not any(catalogue.lease_of(key) for catalogue in catalogues for key in inside)
    for keeper, catalogue in zip(keepers, catalogues, strict=True):
        keeper.close()
        catalogue.close()


@contextmanager
def mounts(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """One registry, one mount, one opened source, for all, besides those that each makes for itself."""
    data = archive_of("mounted", 40)
    path = folder / "a.car"
    path.write_bytes(data)
    registry, mount = default_registry(entry_points=False), FileMount(str(path))
    shared = mount.open()
    names = itertools.count()

    def reads(numbers: random.Random) -> None:
        start = numbers.randrange(len(data))
        size = numbers.randrange(len(data) - start)
        assert shared.read_at(start, size) == data[start : start + size]

    def opens(_: random.Random) -> None:
        found = registry.instantiate(mount.url)
        assert found.stat().size == len(data)
        with contextlib.closing(found.open()) as source:
            assert source.read_at(0, len(data)) == data

    def registers(_: random.Random) -> None:
        scheme = f"kind{next(names)}"
        registry.register(scheme, lambda _: mount)
        assert scheme in registry
        assert registry.instantiate(f"{scheme}://x") is mount

    yield [reads, reads, opens, registers]
    shared.close()
    assert len(registry.schemes) == 2 + next(names)


@contextmanager
def dag_store(folder: Path, numbers: random.Random) -> Iterator[list[Step]]:
    """All that a store can do, with faults, by threads: as in the soak, under shaking."""
    soak = Soak(str(folder), "process0", numbers.randrange(1 << 30))
    soak.open()

    def acts(numbers: random.Random) -> None:
        key = numbers.choice(soak.all)
        with soak.locks.get(key, contextlib.nullcontext()):
            soak.act(numbers, key)

    yield [acts]
    soak.check()
    soak.store.close()
    soak.listen()


@contextmanager
def shared_shards(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Two stores on one folder, as two processes have it: copies are made, read and collected."""
    place = Place.at(folder)
    options = {"max_open_shards": 1, "lease_seconds": 60.0}
    with place.store(**options) as one, place.store(**options) as other:
        for number in range(4):
            one.register(f"shard{number}", place.mount(f"shard{number}", sequential=True))

        def serves(numbers: random.Random) -> None:
            key = f"shard{numbers.randrange(4)}"
            check_serves(numbers.choice([one, other]), key, key)

        def collects(numbers: random.Random) -> None:
            numbers.choice([one, other]).gc()

        yield [serves, serves, serves, collects]
        for store in (one, other):
            assert all(info.references == 0 for info in store.list())
            assert not list(store.doctor(thorough=True))


def _looks_then_takes(self: SqlCatalogue, key: str, holder: str, seconds: float) -> bool:
    if self.lease_of(key) is not None:
        return False
    time.sleep(0.002)
    other = self.lease_of(key)
    if other is not None:
        self.release_lease(key, other.holder)
    return _try_lease(self, key, holder, seconds)


_try_lease = SqlCatalogue.try_lease
LEASES = Fault("a lease is looked for, then taken", SqlCatalogue, "try_lease", _looks_then_takes)


def _subscribes_slowly(self: EventHub, size: int = 1024) -> Subscription:
    subscription, before = Subscription(self, size), self._subscriptions
    time.sleep(0)
    self._subscriptions = (*before, subscription)
    return subscription


EVENTS = Fault("listeners are added without a lock", EventHub, "subscribe", _subscribes_slowly)
