"""Random operations and faults by several threads and processes on one store: ``python -m dagstore.soak SECONDS``.

Each process has shards of its own, of which it knows what must be so, and all share some, of which only that is
known which holds at any time: what is given is right, errors are of the kinds that were promised, events follow
the table, nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carv2.errors import (
    MountError,
    QuotaError,
    ShardErroredError,
    ShardExistsError,
    ShardInUseError,
    ShardNotFoundError,
    StateError,
    WaitTimeoutError,
)
from dagstore.shards import Place, archive_of, blocks_of, eventually, follow, keys, padded

if TYPE_CHECKING:
    from carv2.dagstore import DagStore, FileMount, ShardState, Subscription

THREADS, OWN, SHARED, BLOCKS = 4, 5, 3, 12
PIECE = 1 << 13
LONGEST = 30.0
"""Seconds that a call may take: faults are short."""

EXPECTED = (
    MountError, QuotaError, ShardErroredError, ShardExistsError, ShardInUseError, ShardNotFoundError, StateError,
    WaitTimeoutError,
)  # fmt: skip


class Soak:
    """What one process does."""

    def __init__(self, folder: str, name: str, seed: int) -> None:
        self.name, self.seed, self.is_first = name, seed, name.endswith("0")
        self.place = Place.at(Path(folder))
        self.own = list(keys(OWN, name))
        self.all = [*self.own, *keys(SHARED, "shared")]
        self.mounts: dict[str, FileMount] = {
            key: self.place.mount(key, padded(archive_of(key, BLOCKS), PIECE), sequential=int(key[-1]) % 2 == 0)
            for key in self.all
        }
        self.counts: Counter[str] = Counter()
        self.there: dict[str, bool] = {}
        """Which of its own shards must be there; they are used by one thread at a time."""
        self.locks = {key: threading.Lock() for key in self.own}
        self.failure: BaseException | None = None

    # -- opening and closing --------------------------------------------------------------------------------

    def open(self) -> None:
        self.store: DagStore = self.place.store(
            lease_seconds=3.0,
            gc_interval=0.05,
            transient_max_idle=0.1,
            transient_quota=8 * PIECE,
            max_open_shards=3,
            max_jobs=8,
            recover_backoff=0.0,
            max_recover_attempts=1000,
        )
        self.events: Subscription = self.store.subscribe(1 << 20)

    def run(self, seconds: float) -> None:
        """Go on for so long, in several lives."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.open()
            until = min(end, time.monotonic() + max(1.0, min(seconds / 3, 60.0)))
            threads = [threading.Thread(target=self.work, args=(number, until)) for number in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()) + 3 * LONGEST)
                assert not thread.is_alive(), "a call hangs"
            if self.failure is not None:
                raise self.failure
            self.check()
            self.store.close()
            self.listen()

    # -- what is done ---------------------------------------------------------------------------------------

    def work(self, number: int, until: float) -> None:
        numbers = random.Random(f"{self.seed} {self.name} {number} {until}")
        try:
            while time.monotonic() < until and self.failure is None:
                key = numbers.choice(self.all)
                with self.locks.get(key, contextlib.nullcontext()):
                    self.act(numbers, key)
        except BaseException as error:  # noqa: BLE001  (told by the main thread)
            self.failure = error

    def act(self, numbers: random.Random, key: str) -> None:
        operations = ["register", "register", "acquire", "acquire", "acquire", "destroy", "fault", "lose index"]
        operation = numbers.choice([*operations, "recover", "gc", "look up", "doctor", "initialize"])
        begun = time.monotonic()
        try:
            getattr(self, operation.replace(" ", "_"))(numbers, key)
            self.counts[operation] += 1
        except EXPECTED as error:
            self.counts[f"{operation}: {type(error).__name__}"] += 1
        assert time.monotonic() - begun < LONGEST, (operation, key)

    def register(self, numbers: random.Random, key: str) -> None:
        try:
            self.store.register(key, self.mounts[key], lazy=numbers.random() < 0.5, timeout=LONGEST / 2)
        except ShardExistsError:
            assert self.there.get(key, True), key
            raise
        finally:
            self.there[key] = True

    def acquire(self, numbers: random.Random, key: str) -> None:
        timeout = numbers.choice([0.0, 0.001, LONGEST / 2])
        try:
            shard = self.store.acquire(key, timeout=timeout)
        except ShardNotFoundError:
            assert key not in self.own or not self.there.get(key, False), key
            raise
        with shard:
            assert key not in self.own or self.there[key]
            for cid, data in blocks_of(key, BLOCKS).items():
                with contextlib.suppress(MountError):
                    assert shard[cid] == data
            time.sleep(numbers.choice([0.0, 0.01]))

    def destroy(self, numbers: random.Random, key: str) -> None:
        try:
            self.store.destroy(key, force=numbers.random() < 0.3)
        except ShardNotFoundError:
            assert key not in self.own or not self.there.get(key, False), key
            raise
        if key in self.own:
            self.there[key] = False

    def recover(self, _: random.Random, key: str) -> None:
        self.store.recover(key, timeout=LONGEST / 2)

    def initialize(self, _: random.Random, key: str) -> None:
        self.store.initialize(key, timeout=LONGEST / 2)

    def gc(self, _: random.Random, __: str) -> None:
        self.store.gc()

    def look_up(self, _: random.Random, key: str) -> None:
        cids = list(blocks_of(key, BLOCKS))
        for found in self.store.shards_with_many(cids).values():
            assert found == [key]
            assert key not in self.own or self.there[key]

    def doctor(self, numbers: random.Random, _: str) -> None:
        for found in self.store.doctor(repair=self.is_first and numbers.random() < 0.3):
            self.counts[f"found: {found.problem.value}"] += 1

    def lose_index(self, _: random.Random, key: str) -> None:
        Path(self.store._core.indices.path_of(key)).unlink(missing_ok=True)

    def fault(self, numbers: random.Random, key: str) -> None:
        faults = self.place.faults[self.mounts[key].url]
        faults.gone = numbers.random() < 0.2
        faults.delay = numbers.choice([0.0, 0.0, 0.002])
        faults.by_chance(
            numbers.randrange(1 << 30), chance=numbers.choice([0.0, 0.0, 0.2]), kinds=["refuse", "fail"]
        )

    # -- what must be so ------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Everything that happened here followed the table; others have no hand in what is the first one's."""
        told: dict[str, ShardState | None] = {}
        for event in self.events:
            if event.key not in self.own or not self.is_first:
                continue
            if event.key not in told:
                told[event.key] = event.state
            else:
                follow(told, event)
            self.counts["events"] += 1
        assert self.events.dropped == 0

    def check(self) -> None:
        """Once it is quiet here: all of its own shards that should be there are, and work."""
        for key in self.mounts:
            faults = self.place.faults[self.mounts[key].url]
            faults.gone, faults.delay = False, 0.0
            faults.by_chance(0, chance=0.0, kinds=[])
        core = self.store._core
        core.release_abandoned()
        eventually(
            lambda: not any(is_busy for is_busy, _ in core.live.activity().values()), "work goes on for ever"
        )
        for key in self.own:
            assert (key in self.store) == self.there.get(key, False), key
            if key in self.store:
                with self.store.acquire(key, timeout=LONGEST) as shard:
                    assert {cid: shard[cid] for cid in blocks_of(key, BLOCKS)} == blocks_of(key, BLOCKS)
                assert self.store.info(key).references == 0
            for cid in blocks_of(key, BLOCKS):
                assert self.store.shards_with(cid) == ([key] if self.there.get(key) else [])
        eventually(lambda: core.leases._held == {}, "leases are held")
        lease = core.catalogue.lease_of(self.own[0])  # the other process's doctor may have it
        assert lease is None or not lease.holder.startswith(f"{core.leases._holder}#"), lease


def check_at_the_end(folder: str) -> None:
    """Nobody is at it any more."""
    place = Place.at(Path(folder))
    with place.store() as store:
        list(store.doctor(repair=True, thorough=True))
        left = list(store.doctor(thorough=True))
        assert not left, left
        for info in store.list():
            assert store._core.catalogue.lease_of(info.key) is None
            store.destroy(info.key)
        assert store.stat().multihash_count == store.stat().transient_bytes == 0
    assert set(os.listdir(place.root / "index")) == {".version", ".carv2-indexes"}


def main(
    seconds: float, processes: int = 2, *, folder: str = "", seed: int = 0, stdout: int | None = None
) -> None:
    """Have so many processes do that, for so long; say what they did."""
    with contextlib.ExitStack() as held:
        folder = folder or held.enter_context(tempfile.TemporaryDirectory())
        command: list[Any] = [sys.executable, "-m", "dagstore.soak", seconds, folder, seed]
        for number in range(SHARED):
            Place.at(Path(folder)).mount(
                f"shared-{number:03d}", padded(archive_of(f"shared-{number:03d}", BLOCKS), PIECE)
            )
        workers = [
            subprocess.Popen([*map(str, command), f"process{each}"], stdout=stdout) for each in range(processes)
        ]
        for worker in workers:
            held.callback(worker.kill)
        for worker in workers:
            assert worker.wait(4 * LONGEST + 2 * seconds) == 0
        check_at_the_end(folder)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        soak = Soak(sys.argv[2], sys.argv[4], int(sys.argv[3]))
        soak.run(float(sys.argv[1]))
        print(*sorted(soak.counts.items()), sep="\n")
    else:
        main(float(sys.argv[1]), seed=random.randrange(1 << 30))
