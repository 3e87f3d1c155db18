"""A few leaves of an import, read in the originals: enough to see that those were moved, cut or replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID
from carv2.codec import links_of
from carv2.errors import CarError, CorruptReferenceError
from carv2.filestore.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2.blockstore import ReadOnlyBlockstore

MAX_DEPTH = 128
"""Nodes on the way down to a leaf; a DAG as deep as that is none of ours."""


class Unreadable(NamedTuple):
    """A leaf that could not be had."""

    reason: str
    status: str
    """The word of :class:`carv2.filestore.Status`; ``ERROR`` where it is another fault."""


def first_unreadable(store: FileStore | ReadOnlyBlockstore, root: CID, samples: int) -> Unreadable | None:
    """Read up to ``samples`` leaves by their references; None if all are what they should be.

    Each is at the end of a way down from the root: the first and the last leaf, then others by chance. So the work
    does not grow with the import. Where there are no references, nothing is read.
    """
    import random  # noqa: PLC0415  (10 ms, for those who sample)

    if not isinstance(store, FileStore):
        return None
    ways: list[Callable[[int], int]] = [lambda _: 0, lambda count: count - 1, random.randrange]
    seen: set[CID] = set()
    for turn in range(samples):
        try:
            _descend(store, root, ways[min(turn, 2)], seen)
        except CorruptReferenceError as error:
            return Unreadable(str(error), str(error.status))
        except (CarError, OSError) as error:
            return Unreadable(str(error), "ERROR")
    return None


def _descend(store: FileStore, cid: CID, choose: Callable[[int], int], seen: set[CID]) -> None:
    """Go down to a leaf, by the link that ``choose`` takes of so many, and read it unless it was ``seen``."""
    for _ in range(MAX_DEPTH):
        if cid in seen:
            return
        if store.reference_of(cid) is not None:
            seen.add(cid)
        data = store[cid]
        links = links_of(cid.raw, data)
        if not links:
            return
        cid = CID.trusted(links[choose(len(links))])
