"""Out of an archive and into a pipe: the content of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.errors import BlockNotFoundError
from carv2.unixfs._budget import Budget
from carv2.unixfs._safe_walk import Rules, SafeWalk, paths_apart
from carv2.unixfs.entry import MAX_DEPTH
from carv2.unixfs.extraction import opened, roots_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.unixfs._safe_walk import OnMissing, Skipped, Step
    from carv2.unixfs._walk import Store

__all__ = ["payload_stream"]


def payload_stream(
    source: Store | SourceLike,
    *,
    roots: Iterable[CIDLike] | None = None,
    paths: str | Iterable[str] = (),
    on_missing: OnMissing = "skip",
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
    on_path: Callable[[str], object] | None = None,
    on_skip: Callable[[Skipped], object] | None = None,
) -> Iterator[bytes]:
    """The content of the files in an archive, one after another, piece by piece.

    Args:
        source: as in :func:`extract`; so are ``roots``, ``paths``, ``on_missing`` and the three limits.
        on_path: called with the path of each file before its first piece.
        on_skip: called with what is left out: symlinks, what is no UnixFS, and what is missing. Of a file larger
            than 8 MiB a part may have gone out when something is found missing.

    Raises:
        BudgetError, PathNotFoundError, FormatError, IntegrityError, ValueError: as :func:`extract`.

    >>> import carv2
    >>> from carv2 import CID
    >>> root = CID.of_data(b"fish")
    >>> b"".join(payload_stream(b"".join(carv2.iter_car([root], [(root, b"fish")]))))
    b'fish'
    """
    rules = Rules(on_missing=on_missing, max_depth=max_depth, any_name=True)
    with opened(source) as (store, archive_size):
        starts = roots_of(store, roots)
        walk = SafeWalk(store, Budget(archive_size, max_bytes, max_entries), rules, on_skip)
        for _, steps in walk.take(starts, paths_apart(paths)):
            for step in steps:
                if step.do == "file":
                    yield from _content(walk, step, on_path)


def _content(walk: SafeWalk, step: Step, on_path: Callable[[str], object] | None) -> Iterator[bytes]:
    payload = walk.payload(step)
    if payload is None:
        return
    if on_path is not None:
        on_path(step.path)
    try:
        yield from payload[1]
    except BlockNotFoundError as error:
        walk.missing(step.path, error.cid)
