"""Many blocks at once: sections that lie near each other are read as one range."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

from carv2._source import REMOTE_CHUNK_SIZE, BytesSource, MappedSource
from carv2.section import Block, blocks_of, new_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from carv2._finder import BlockFinder
    from carv2._source import Source
    from carv2.cid import CID

_AT_FIRST = 512
"""Blocks that are looked up before anything is read, for one who may want no more; then more and more."""

_AT_ONCE = 1 << 16
"""The most of them: the more, the nearer to each other they lie."""

_NEAR = 16 << 10
"""Bytes from one section of a local file to the next that cost less than another read; a request costs more."""

_SMALL = 2 << 10
"""Bytes of a section of a local file from which on a read by itself costs less than to copy it and keep it."""

_WINDOW = 256 << 10
"""Bytes of a local file that are read as one range."""

_HOLD = 32 << 20
"""Bytes read ahead that are kept until it is their turn."""


def read_merged(
    cids: Iterable[CID],
    *,
    source: Source,
    finder: BlockFinder,
    locate: Callable[[list[CID], list[bytes]], list[int | None]],
    read: Callable[[int, bytes], bytes | None],
    fetch: Callable[[CID], bytes],
    verify: bool,
) -> Iterator[Block]:
    """Yield the blocks of ``cids`` in that order.

    Args:
        cids: what is wanted; may be endless.
        source: what ``finder`` reads.
        finder: finds sections in it.
        locate: payload offset of each of some CIDs and their binary forms; None for one not to be read ahead.
        read: reads the block of a binary CID at an offset; None tells nothing.
        fetch: reads one block by itself; has the last word on everything that is odd.
        verify: check what is read against its hash.
    """
    if isinstance(source, (BytesSource, MappedSource)):  # a read costs next to nothing
        for cid in cids:
            yield new_block(Block, (cid.raw, fetch(cid)))
        return
    pending, many = iter(cids), _AT_FIRST
    ahead = _ReadAhead(finder, source, verify=verify)
    while group := list(islice(pending, many)):
        raws = [cid.raw for cid in group]
        offsets = locate(group, raws)
        held = ahead.blocks(raws, offsets)
        if None not in held:
            yield from blocks_of(raws, cast("list[bytes]", held))
        else:
            for at, data in enumerate(held):
                offset, held[at] = offsets[at], None
                if data is None and offset is not None:
                    data = read(offset, raws[at])  # noqa: PLW2901
                yield new_block(Block, (raws[at], fetch(group[at]) if data is None else data))
        many = max(_AT_FIRST, min(4 * many, _AT_ONCE, _HOLD * many // (ahead.taken + 1)))


class _ReadAhead:
    """Reads blocks in the order in which they lie."""

    taken = 0
    """Bytes of the blocks that were read last."""

    def __init__(self, finder: BlockFinder, source: Source, *, verify: bool) -> None:
        self._finder, self._verify = finder, verify
        self._gap, self._most, self._small = _NEAR, _WINDOW, _SMALL
        self._more = 0  # bytes behind where the last section of a range starts
        if source.chunk_size >= REMOTE_CHUNK_SIZE:
            self._gap, self._most, self._small = source.chunk_size, _HOLD, _HOLD
            self._more = source.chunk_size // 16

    def blocks(self, raws: list[bytes], offsets: list[int | None]) -> list[bytes | None]:
        """Each block that comes out of one read with others, None for the rest."""
        held: list[bytes | None] = [None] * len(raws)
        finder, verify, room = self._finder, self._verify, _HOLD
        self.taken = 0
        if finder.guess > self._small:
            return held
        known = cast("Sequence[int]", offsets)
        numbers = [number for number, offset in enumerate(offsets) if offset is not None]
        for first, last, run in self._runs(sorted(numbers, key=known.__getitem__), known):
            size = last - first + max(self._more, finder.guess)
            if size > room:
                break
            if len(run) == 1:
                continue
            for number, data in finder.usual_blocks(size, run, known, raws, room=room, verify=verify):
                held[number] = data
                room -= len(data)
        self.taken = _HOLD - room
        return held

    def _runs(self, numbers: list[int], offsets: Sequence[int]) -> Iterator[tuple[int, int, list[int]]]:
        """First offset, last offset and the numbers of such as lie no further apart than one read is worth."""
        gap, most = self._gap, self._most
        first = last = 0
        run: list[int] = []
        for number in numbers:
            offset = offsets[number]
            if run and (offset - last > gap or offset - first > most):
                yield first, last, run
                run = []
            if not run:
                first = offset
            last = offset
            run.append(number)
        if run:
            yield first, last, run
