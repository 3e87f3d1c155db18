"""Blocks out of batches of sections: cut out, checked, the large ones hashed ahead by threads."""

from __future__ import annotations

import os
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from carv2.errors import CarError
from carv2.section import Block, blocks_of, data_of, new_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from carv2._scan import Batch
    from carv2.section import BlockChecker

WORTH_A_THREAD = 32 << 10
"""Bytes of a block from which on hashing it in a thread of its own pays: hashlib lets go of the interpreter."""
_UNASKED = 8 << 20
"""Bytes of large blocks before threads that nobody asked for: to begin some takes as long as hashing these."""
_HELD = 8 << 20
"""Bytes of blocks that are read ahead."""
_SMALL = 1 << 10
"""Bytes of a block up to which cutting out many at once pays; larger ones leave their memory to the next."""


def default_workers() -> int:
    """Threads that are worth it here: one for each processor of this process, four at most."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(4, os.cpu_count() or 1 if affinity is None else len(affinity(0)))


def unchecked(found: Iterator[Batch]) -> Iterator[Block]:
    """The blocks of all batches."""
    return chain.from_iterable(map(_cut_out, found))


def _cut_out(batch: Batch) -> Iterator[Block]:
    buffer, entries = batch.buffer, batch.entries
    cids = entries.cids
    if len(buffer) < _SMALL * len(cids):
        return blocks_of(cids, data_of(buffer, entries))
    columns = zip(cids, entries.starts, entries.stops, strict=True)
    return (new_block(Block, (cid, buffer[start:stop])) for cid, start, stop in columns)


def checked(found: Iterator[Batch], checker: BlockChecker, workers: int | None) -> Iterator[Block]:
    """The blocks of all batches, each checked before it comes; large ones are hashed ahead by ``workers`` threads.

    None is one for each processor, from the eighth megabyte on.
    """
    threads = default_workers() if workers is None else workers
    if threads < 2:
        return chain.from_iterable(_checked(batch, checker) for batch in found)
    return chain.from_iterable(_by_threads(found, _Ahead(checker, threads), _UNASKED if workers is None else 0))


def _by_threads(found: Iterator[Batch], ahead: _Ahead, unasked: int) -> Iterator[Iterable[Block]]:
    """The blocks in parts. One thread does the reading, so that the memory of one block serves for the next."""
    fault: CarError | OSError | None = None
    try:
        while True:
            try:
                batch = next(found)
            except StopIteration:
                break
            except (CarError, OSError) as error:  # raised when what comes before it was yielded
                fault = error
                break
            size = len(batch.buffer) if len(batch.entries) == 1 else 0
            if size < WORTH_A_THREAD or unasked > 0 or ahead.is_of_another_process():
                unasked -= size
                yield from ahead.rest()
                yield _checked(batch, ahead.checker)
                continue
            ahead.add(batch)
            while ahead.is_full():
                yield (ahead.take(),)
        yield from ahead.rest()
    finally:
        ahead.close()
    if fault is not None:
        raise fault


class _Hashed(NamedTuple):
    """A block whose hash is on its way."""

    block: Block
    position: int
    check: Future[None]


class _Ahead:
    """Large blocks that threads hash, in their order."""

    def __init__(self, checker: BlockChecker, threads: int) -> None:
        self.checker, self._threads = checker, threads
        self._process = os.getpid()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[_Hashed] = deque()
        self._held = 0

    def add(self, batch: Batch) -> None:
        """Have the one block of ``batch`` hashed."""
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (15 ms, for large blocks only)

            self._pool = ThreadPoolExecutor(self._threads)
        cid, start, stop = batch.entries[0]
        data, position = batch.buffer[start:stop], batch.base + start
        check = self._pool.submit(self.checker.check, cid, data, position=position)
        self._waiting.append(_Hashed(new_block(Block, (cid, data)), position, check))
        self._held += len(data)

    def is_full(self) -> bool:
        """Whether one is to be taken before the next is read."""
        return len(self._waiting) > 2 * self._threads or (self._held > _HELD and len(self._waiting) > 1)

    def is_of_another_process(self) -> bool:
        """Whether this is a fork, into which threads do not come along."""
        return self._process != os.getpid()

    def take(self) -> Block:
        """The first block.

        Raises:
            IntegrityError, UnknownHashError: as the checker does.
        """
        (cid, data), position, check = self._waiting.popleft()
        self._held -= len(data)
        if self.is_of_another_process():
            self.checker.check(cid, data, position=position)
        else:
            check.result()
        return new_block(Block, (cid, data))

    def rest(self) -> Iterator[tuple[Block]]:
        """All that are left."""
        while self._waiting:
            yield (self.take(),)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None and not self.is_of_another_process():
            self._pool.shutdown(cancel_futures=True)


def _checked(batch: Batch, checker: BlockChecker) -> Iterator[Block]:
    """The blocks of ``batch``; they are checked at once if that tells that all is well, else one by one."""
    data = data_of(batch.buffer, batch.entries)
    if checker.are_right(batch.entries, data):
        return blocks_of(batch.entries.cids, data)
    return _checked_each(batch, data, checker)


def _checked_each(batch: Batch, data: list[bytes], checker: BlockChecker) -> Iterator[Block]:
    constructors = checker.constructors
    for (cid, start, _), each in zip(batch.entries, data, strict=True):
        make = constructors.get(cid[:-32])
        if make is None or make(each).digest() != cid[-32:]:
            checker.check(cid, each, position=batch.base + start)
        yield new_block(Block, (cid, each))
