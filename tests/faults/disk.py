"""A disk in memory that remembers what was written and synced, loses power on demand, and fails when told to."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import carv2
from carv2._source import _Exact
from carv2.blockstore import ReadWriteBlockstore, read_write
from carv2.errors import CarError, ClosedError, LockedError
from carv2.header import PRAGMA

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pytest

    from carv2._source import SourceLike

SECTOR = 512
HEADER = (11, 51)


class Write(NamedTuple):
    position: int
    data: bytes


class Truncate(NamedTuple):
    size: int


class Sync(NamedTuple):
    pass


class FailedSync(NamedTuple):
    """The kernel forgets that the pages were dirty: no later sync writes them (Linux, "fsyncgate")."""


class Acknowledged(NamedTuple):
    """What the caller was told to be safe from here on."""

    cids: frozenset[bytes]


Change: TypeAlias = "Write | Truncate"
Op: TypeAlias = "Change | Sync | FailedSync | Acknowledged"


def applied(data: bytes, changes: Iterable[Change]) -> bytes:
    """``data`` after the changes."""
    found = bytearray(data)
    for change in changes:
        size = change.size if isinstance(change, Truncate) else change.position + len(change.data)
        if isinstance(change, Truncate):
            del found[size:]
        if size > len(found) and (isinstance(change, Truncate) or change.data):
            found.extend(bytes(size - len(found)))
        if isinstance(change, Write):
            found[change.position : change.position + len(change.data)] = change.data
    return bytes(found)


class Disk:
    """What is on a disk under one name, as programs see it, and how it came there."""

    def __init__(self, data: bytes = b"") -> None:
        self.data, self.start = data, data
        self.log: list[Op] = []
        self.locked = False
        self.steps = 0
        self.fail_at: frozenset[int] = frozenset()
        """Numbers of the writes, truncations and syncs that fail."""

    def step(self, op: Change | Sync) -> None:
        self.steps += 1
        failing = self.steps in self.fail_at
        if failing and isinstance(op, Write):
            op = Write(op.position, op.data[: len(op.data) // 2])  # a short write, then no room
        if not isinstance(op, Sync) and not (failing and isinstance(op, Truncate)):
            self.data = applied(self.data, [op])
            self.log.append(op)
        elif isinstance(op, Sync):
            self.log.append(FailedSync() if failing else op)
        if failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def acknowledge(self, cids: Iterable[bytes]) -> None:
        self.log.append(Acknowledged(frozenset(cids)))


class DiskFile(_Exact):
    """An opened file on a disk: what a store takes for a :class:`carv2._storefile.WritableSource`."""

    def __init__(self, disk: Disk, name: str) -> None:
        if disk.locked:
            raise LockedError(name)
        self._disk, disk.locked, self._closed = disk, True, False

    def _open_disk(self) -> Disk:
        if self._closed:
            raise ClosedError("the file was closed")
        return self._disk

    @property
    def size(self) -> int:
        return len(self._open_disk().data)

    def read_at(self, position: int, size: int) -> bytes:
        assert size >= 0
        return self._open_disk().data[position : position + size]

    def write_at(self, position: int, data: bytes) -> None:
        self._open_disk().step(Write(position, bytes(data)))

    def truncate(self, size: int) -> None:
        self._open_disk().step(Truncate(size))

    def sync(self) -> None:
        self._open_disk().step(Sync())

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._disk.locked = False


class Disks:
    """Disks by name, in the place of the file system."""

    def __init__(self) -> None:
        self._disks: dict[str, Disk] = {}

    def __getitem__(self, name: str) -> Disk:
        return self._disks[name]

    def put(self, name: str, data: bytes) -> Disk:
        """A new disk, with ``data`` on it that are durable."""
        self._disks[name] = Disk(data)
        return self._disks[name]

    def create(self, name: str, front: bytes, *, sync: bool) -> DiskFile:
        """A file gets its name when its first bytes are durable (test_faults.py shows that of the real one).

        What is not to be synced is told apart by nobody here: such a store acknowledges nothing.
        """
        del sync
        if name in self._disks:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        return DiskFile(self.put(name, front), name)

    def resume(self, name: str) -> DiskFile:
        return DiskFile(self._disks[name], name)

    @classmethod
    def installed(cls, patch: pytest.MonkeyPatch) -> Disks:
        """Disks that ReadWriteBlockstore works on instead of files."""
        disks = cls()
        patch.setattr(read_write, "StoreFile", disks)
        return disks


class Crash(NamedTuple):
    """What may be found after the power went."""

    data: bytes
    safe: frozenset[bytes]
    """What the caller had been told to be safe."""


def crashes(disk: Disk, rng: random.Random, *, subsets: int = 12) -> Iterator[Crash]:
    """Every state that a power cut at any moment may leave, or, where there are too many, some of them.

    Between two syncs any subset of the changes may have come to the disk, each write of them in part.
    """
    seen: set[Crash] = set()
    durable, pending, safe = disk.start, list[Change](), frozenset[bytes]()
    for op in disk.log:
        states = [durable]
        if isinstance(op, Sync):
            durable, pending = applied(durable, pending), []
        elif isinstance(op, FailedSync):
            states, pending = list(_states(durable, pending, rng, subsets)), []
        elif isinstance(op, Acknowledged):
            safe |= op.cids
        else:
            pending = [*pending, op]
            states = list(_states(durable, pending, rng, subsets))
        for state in [*states, durable]:
            crash = Crash(state, safe)
            if crash not in seen:
                seen.add(crash)
                yield crash


def durable_state(disk: Disk) -> bytes:
    """What is there for certain after the power went now: nothing that was not synced."""
    durable, pending = disk.start, list[Change]()
    for op in disk.log:
        if isinstance(op, Sync):
            durable, pending = applied(durable, pending), []
        elif isinstance(op, FailedSync):
            pending = []
        elif not isinstance(op, Acknowledged):
            pending.append(op)
    return durable


def _states(durable: bytes, pending: Sequence[Change], rng: random.Random, subsets: int) -> Iterator[bytes]:
    """States with the last change in them, whole or in part; those without it came up before."""
    if not pending:
        yield durable
        return
    *before, last = pending
    if 1 << len(before) <= subsets:
        chosen = [
            [change for at, change in enumerate(before) if bits >> at & 1] for bits in range(1 << len(before))
        ]
    else:
        chosen = [
            [change for change in before if rng.random() < share] for share in (0.2, 0.5, 0.8) * (subsets // 3)
        ]
        chosen.append(before)
    for at, some in enumerate(chosen):
        whole = some == before
        old = applied(durable, some)
        for part in parts(last, old, rng, thorough=whole or at == 0):
            yield applied(old, [part])
        if some and not whole:
            torn = rng.randrange(len(some))
            old = applied(durable, some[:torn])
            part = rng.choice(list(parts(some[torn], old, rng, thorough=True)))
            yield applied(old, [part, *some[torn + 1 :], last])


def parts(change: Change, old: bytes, rng: random.Random, *, thorough: bool) -> Iterator[Change]:
    """The change, and what else may be there after it was interrupted, where ``old`` was before."""
    yield change
    if isinstance(change, Truncate) or (change.position, change.position + len(change.data)) == HEADER:
        return  # metadata are journaled; the header lies in one sector
    position, data = change
    size = len(data)
    before = old[position : position + size].ljust(size, b"\x00")  # a file that grew is zeros until its data come
    cuts = range(size) if thorough and size < 600 else sorted(rng.sample(range(size), min(size, 12)))
    for cut in cuts:
        yield Write(position, data[:cut])
    for cut in (0, *cuts[:: max(1, len(cuts) // 12)]):
        yield Write(position, data[:cut] + before[cut:])  # the size came to the disk, the rest of the data did not
    for cut in range(SECTOR - position % SECTOR, size, SECTOR):
        yield Write(position, before[:cut] + data[cut:])  # a later sector did, an earlier one did not
        yield Write(position, data[:cut] + before[cut:])


def assert_valid(archive: SourceLike) -> None:
    """carv2.verify finds nothing but roots that are no blocks: those may not have come yet."""
    problems = carv2.verify(archive).problems
    assert [problem for problem in problems if problem.kind != "MissingRoot"] == []


def assert_readable(crash: Crash) -> None:
    """Any reader gets what was promised, without a repair; an index that the header names is there and right."""
    if not crash.data.startswith(PRAGMA) or not any(crash.data[slice(*HEADER)]):
        return  # a CARv1 may be torn, and a header of zeros says that nobody finished
    with carv2.open(crash.data) as car:
        found = {block.cid_bytes for block in car}
        assert crash.safe <= found, f"{len(crash.safe - found)} acknowledged blocks cannot be read"
        assert car.header is not None
        if car.header.has_index:
            assert_valid(crash.data)


def check_crash(
    disks: Disks,
    crash: Crash,
    blocks: dict[bytes, bytes],
    *,
    resume: Callable[[str], ReadWriteBlockstore],
    go_on: bool = True,
) -> bool:
    """Resume after the crash; whether that worked, which it must if anything was promised.

    All that was promised is there, all that is there is right, and the archive can be finished.
    """
    assert_readable(crash)
    disk = disks.put("crashed", crash.data)
    try:
        store = resume("crashed")
    except CarError:
        assert not crash.safe, f"{len(crash.safe)} acknowledged blocks are lost"
        assert disk.data == crash.data, "refused, and yet changed"
        assert not disk.locked
        return False
    found = [bytes(cid) for cid in store]
    assert crash.safe <= set(found), f"{len(crash.safe - set(found))} acknowledged blocks are lost"
    for cid in found:
        assert store[cid] == blocks[cid]
    assert len(store) == len(found)
    if go_on:
        more = carv2.CID.of_data(b"one more block"), b"one more block"
        store.put(*more)
        store.finalize()
        assert_valid(disk.data)
        with carv2.open(disk.data) as car:
            assert [block.cid_bytes for block in car] == [
                *found,
                *([] if bytes(more[0]) in found else [bytes(more[0])]),
            ]
    store.discard()
    return True
