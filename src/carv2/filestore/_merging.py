"""Many references at once: small ranges of one original that lie near each other are read as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.filestore._fault import Fault
from carv2.filestore.record import FileReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2.filestore._following import Follower

_SMALL = 64 << 10
"""Bytes of a range of a file that another read costs less than copying it out of a larger one."""

_NEAR = 4 << 10
"""Bytes between two ranges that cost less than another read."""

_AT_MOST = 1 << 20
"""Bytes that are read as one range."""


def read_merged(wanted: Sequence[FileReference], follower: Follower) -> Iterator[bytes | None]:
    """The bytes of each reference, in order; None for one that is better read by itself.

    What is read as one is kept only until the next range begins: references come in the order of their file.
    """
    for run in _runs(wanted):
        first, last = run[0], run[-1]
        data = None
        if len(run) > 1:
            stop = max(each.offset + each.size for each in run)
            data = _read(follower, FileReference(first.path, first.offset, stop - first.offset))
        for each in run:
            at = each.offset - first.offset
            yield None if data is None else data[at : at + each.size]
        del data, last


def _read(follower: Follower, reference: FileReference) -> bytes | None:
    try:
        return follower.read(reference)
    except Fault:
        return None


def _runs(wanted: Sequence[FileReference]) -> Iterator[list[FileReference]]:
    run: list[FileReference] = []
    for each in wanted:
        if run and not _goes_on(run, each):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _goes_on(run: list[FileReference], reference: FileReference) -> bool:
    first, last = run[0], run[-1]
    if reference.path != first.path or last.size > _SMALL or reference.size > _SMALL:
        return False
    gap = reference.offset - (last.offset + last.size)
    return 0 <= gap <= _NEAR and reference.offset + reference.size - first.offset <= _AT_MOST
