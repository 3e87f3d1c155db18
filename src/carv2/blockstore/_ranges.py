"""Many blocks at once: sections that lie near each other are read as one range."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from carv2._source import REMOTE_CHUNK_SIZE
from carv2.errors import CarError
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2._finder import BlockFinder
    from carv2._source import Source
    from carv2.cid import CID

_AT_ONCE = 512
"""Blocks that are looked up before anything is read."""

_NEAR = 4 << 10
"""Bytes between two sections of a local file that cost less than another read; a request costs more."""

_HOLD = 32 << 20
"""Bytes read ahead that are kept until it is their turn."""


def read_merged(
    cids: Iterable[CID],
    *,
    source: Source,
    finder: BlockFinder,
    locate: Callable[[CID], int | None],
    fetch: Callable[[CID], bytes],
    verify: bool,
) -> Iterator[Block]:
    """Yield the blocks of ``cids`` in that order.

    Args:
        cids: what is wanted; may be endless.
        source: what ``finder`` reads.
        finder: finds sections in it.
        locate: payload offset of a block, or None for one that is not to be read ahead.
        fetch: reads one block by itself; has the last word on everything that is odd.
        verify: check what is read against its hash.
    """
    pending = iter(cids)
    while group := list(islice(pending, _AT_ONCE)):
        places = {at: offset for at, cid in enumerate(group) if (offset := locate(cid)) is not None}
        runs = _ranges(sorted((offset, at) for at, offset in places.items()), _gap(source))
        merged = [run for run in runs if len(run) > 1]
        held = dict(_read_ahead(merged, group, source, finder, verify=verify)) if merged else {}
        for at, cid in enumerate(group):
            data = held.pop(at, None)
            if data is None and at in places:  # alone: nothing is gained by reading it before its turn
                data = finder.usual_block(places[at], cid.raw, verify=verify)
            yield Block(cid, fetch(cid) if data is None else data)


def _gap(source: Source) -> int:
    """Bytes between sections that are read as one range."""
    return source.chunk_size if source.chunk_size >= REMOTE_CHUNK_SIZE else _NEAR


def _read_ahead(
    runs: Iterable[list[tuple[int, int]]], group: list[CID], source: Source, finder: BlockFinder, *, verify: bool
) -> Iterator[tuple[int, bytes]]:
    """Number in the group and data of each block of ``runs`` that can be had easily."""
    room = _HOLD
    for members in runs:
        first = members[0][0]
        size = members[-1][0] - first + max(source.chunk_size // 16, finder.guess)
        if size > room:
            continue
        room -= size
        try:
            window = finder.window(first, size)
            for offset, at in members:
                found = finder.at(offset, window=window)
                if found.data is not None and found.cid == group[at].raw:
                    yield at, finder.data_of(found, verify=verify)
        except CarError:  # whatever it is, fetching the block by itself says so
            continue


def _ranges(places: list[tuple[int, int]], gap: int) -> Iterator[list[tuple[int, int]]]:
    """Runs of places, ascending, that lie no further apart than ``gap`` bytes."""
    run: list[tuple[int, int]] = []
    for place in places:
        if run and place[0] - run[-1][0] > gap:
            yield run
            run = []
        run.append(place)
    if run:
        yield run
