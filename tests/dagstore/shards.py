"""Archives, stores and patience for the tests of the DAG store's core."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import carv2
from carv2.dagstore import BytesMount, DagStore, DagStoreConfig, FileMount
from carv2.dagstore.states import is_allowed
from carv2.testing import FaultyMounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carv2.dagstore import Event, ShardState

Result = TypeVar("Result")

PATIENCE = 60.0
"""Seconds that nothing here comes near, unless it hangs."""


def blocks_of(seed: str, count: int = 5) -> dict[carv2.CID, bytes]:
    """Blocks that no archive of another seed has."""
    data = [f"{seed}-{number}-".encode() * (number + 1) for number in range(count)]
    return {carv2.CID.of_data(each): each for each in data}


def archive_of(seed: str, count: int = 5) -> bytes:
    """A CARv1 of them."""
    blocks = blocks_of(seed, count)
    return b"".join(carv2.iter_car([next(iter(blocks))], blocks.items()))


def padded(archive: bytes, size: int = 1 << 12) -> bytes:
    """As an unsealed piece has it."""
    return archive.ljust(size, b"\0")


@dataclass
class Place:
    """A folder with archives, and a store on it that may be opened again and again, with faults at will."""

    folder: Path
    faults: FaultyMounts

    @classmethod
    def at(cls, folder: Path) -> Place:
        (folder / "archives").mkdir(parents=True, exist_ok=True)
        return cls(folder, FaultyMounts())

    @property
    def root(self) -> Path:
        return self.folder / "store"

    def store(self, **options: Any) -> DagStore:
        """The store, without a collection now and then unless that is asked for."""
        options = {"gc_interval": 0.0, "lease_seconds": 1.0, **options}
        return DagStore(self.root, mounts=self.faults.registry, config=DagStoreConfig(**options))

    def mount(self, seed: str, archive: bytes | None = None, *, sequential: bool = False) -> FileMount:
        """A file that holds ``archive``, by default a piece with the blocks of ``seed``."""
        path = self.folder / "archives" / f"{seed}.car"
        data = padded(archive_of(seed)) if archive is None else archive
        if not path.exists() or path.read_bytes() != data:  # else it would be another one
            path.write_bytes(data)
        mount = FileMount(str(path))
        if sequential:
            self.faults[mount.url].random_access = False
        return mount


def check_serves(store: DagStore, key: str, seed: str, count: int = 5) -> None:
    """The shard gives all its blocks, and each of them leads to it."""
    blocks = blocks_of(seed, count)
    with store.acquire(key, timeout=PATIENCE) as shard:
        assert {cid: shard[cid] for cid in blocks} == blocks
        assert len(shard) == len(blocks)
    for cid in blocks:
        assert key in store.shards_with(cid)


def eventually(condition: Callable[[], object], what: str = "") -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.005)


class Calls:
    """Calls in threads of their own; those that are done say what came of them, a value or an error."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self.results: list[Any] = []

    def __call__(self, call: Callable[[], object], times: int = 1) -> None:
        def work() -> None:
            try:
                self.results.append(call())
            except Exception as error:  # noqa: BLE001  (that is the result)
                self.results.append(error)

        for _ in range(times):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)

    def wait(self) -> list[Any]:
        """What came of them all."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "hangs"
        return self.results


def memory_mount(seed: str) -> BytesMount:
    """A mount with its bytes in the URL."""
    return BytesMount(archive_of(seed))


def keys(count: int, prefix: str = "shard") -> Iterator[str]:
    """So many, in their order."""
    return (f"{prefix}-{number:03d}" for number in range(count))


def follow(told: dict[str, ShardState | None], event: Event) -> None:
    """Take an event for what happened; it must be in the table."""
    before = told.get(event.key)
    assert is_allowed(before, event.operation, event.state), (before, event)
    assert event.references >= 0
    told[event.key] = event.state


def with_tests() -> str:
    """``PYTHONPATH`` of a process that is to find these modules, and carv2 where this one found it."""
    return os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
