"""Blocks out of batches of sections: cut out, checked, the large ones hashed ahead by threads."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from carv2._ahead import UNASKED, WORTH_A_THREAD, Job, default_workers, in_order
from carv2.section import Block, blocks_of, data_of, new_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._scan import Batch
    from carv2.section import BlockChecker

_SMALL = 1 << 10
"""Bytes of a block up to which cutting out many at once pays; larger ones leave their memory to the next."""


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
    job_of = _Jobs(checker, UNASKED if workers is None else 0).of
    return chain.from_iterable(in_order(found, job_of, lambda batch: _checked(batch, checker), threads))


class _Jobs:
    """What threads are to do of the reading: not the cutting out, so that memory serves again."""

    def __init__(self, checker: BlockChecker, unasked: int) -> None:
        self._checker, self._unasked = checker, unasked

    def of(self, batch: Batch) -> Job | None:
        """The check of a batch's one block, if that is large."""
        size = len(batch.buffer) if len(batch.entries) == 1 else 0
        if size < WORTH_A_THREAD or self._unasked > 0:
            self._unasked -= size
            return None
        cid, start, stop = batch.entries[0]
        block, position = new_block(Block, (cid, batch.buffer[start:stop])), batch.base + start
        return Job(stop - start, lambda: self._checked(block, position))

    def _checked(self, block: Block, position: int) -> Block:
        self._checker.check(*block, position=position)
        return block


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
