"""Races over what a DAG store has open: shards that are held, shared and let go of, copies that come and go."""

from __future__ import annotations

import contextlib
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carv2.dagstore._held import HeldShards
from carv2.dagstore.mounts import BytesMount
from carv2.dagstore.transients import Transients
from carv2.errors import QuotaError, ShardInUseError
from dagstore.shards import PATIENCE, Place, archive_of, blocks_of, eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from races.racing import Step


class _Counted:
    """A shard that knows whether it is open."""

    times_closed = 0

    def close(self) -> None:
        self.times_closed += 1


@contextmanager
def held(_folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Shards that stay acquired between reads, more than may: closed once, and never while they are read."""
    made: list[_Counted] = []

    def acquired(_: str) -> Any:
        made.append(shard := _Counted())
        return shard

    kept = HeldShards(acquired, 2)

    def reads(numbers: random.Random) -> None:
        with kept.borrowed(numbers.choice("abcd")) as borrowed:
            shard: Any = borrowed
            for _ in range(3):
                assert not shard.times_closed
                time.sleep(0)

    def lets_go(numbers: random.Random) -> None:
        kept.let_go(numbers.choice(["a", "b", None]))

    def forgets(numbers: random.Random) -> None:
        kept.forget(numbers.choice("abcd"))

    yield [reads, reads, reads, reads, lets_go, forgets]
    kept.close()
    assert [shard.times_closed for shard in made] == [1] * len(made)


@contextmanager
def open_shards(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """A store that may have one shard open without a reader, and threads that read three; some let go together."""
    place, names = Place.at(folder), [f"shard{number}" for number in range(3)]
    shared: list[Any] = []
    with place.store(max_open_shards=1, lease_seconds=PATIENCE) as store:
        for name in names:
            store.register(name, place.mount(name))

        def reads(numbers: random.Random) -> None:
            name = numbers.choice(names)
            with store.acquire(name, timeout=PATIENCE) as shard:
                assert {cid: shard[cid] for cid in blocks_of(name)} == blocks_of(name)
                assert store.info(name).references >= 1

        def shares(numbers: random.Random) -> None:
            shared.append(store.acquire(numbers.choice(names), timeout=PATIENCE))

        def lets_go(_: random.Random) -> None:
            for shard in shared[-3:]:  # so do others
                shard.close()

        yield [reads, reads, shares, lets_go, lets_go]
        for shard in shared:
            shard.close()
        core = store._core
        assert all(info.references == 0 for info in store.list())
        eventually(lambda: len(core.live._shards) <= 1, "all but one are forgotten")
        eventually(lambda: sum(not opened._is_closed for opened in core.live._all) <= 1, "all but one are closed")
        assert all(opened._readers == 0 for opened in core.live._all)


@contextmanager
def copies(folder: Path, _: random.Random) -> Iterator[list[Step]]:
    """Copies of what can only be read front to back, with room for two of four: what is pinned is there, whole."""
    data = {f"copy{number}": archive_of(f"copy{number}", 20) for number in range(4)}
    with Transients(folder / "copies", quota=2 * max(map(len, data.values())) + 1) as found:

        def fetches(numbers: random.Random) -> None:
            key = numbers.choice(list(data))
            with contextlib.suppress(QuotaError):  # all room is pinned
                path = Path(found.fetch(key, BytesMount(data[key]), size=len(data[key]), timeout=PATIENCE))
                assert path.read_bytes() == data[key]
                with contextlib.suppress(ShardInUseError):
                    found.drop(key)
                    raise AssertionError("it was dropped while it was pinned")
                assert path.read_bytes() == data[key]
                found.unpin(key)

        def drops(numbers: random.Random) -> None:
            with contextlib.suppress(ShardInUseError):
                found.drop(numbers.choice(list(data)))

        def collects(_: random.Random) -> None:
            found.collect()

        yield [fetches, fetches, fetches, drops, collects]
        eventually(lambda: not found._running)
        assert found.usage().pinned == 0
        found.collect()
        assert found.usage() == (0, 0, 0)
