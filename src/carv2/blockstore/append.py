"""One block more for an archive on disk, or a new archive of one block.

Source: go-car's ``car put-block``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._atomic import draft_name, publish, replace, unlink
from carv2._storefile import StoreFile
from carv2.blockstore.read_write import ReadWriteBlockstore
from carv2.errors import ResumeError
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carv2.cid import CID, CIDLike

__all__ = ["Appended", "append_block"]


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What :func:`append_block` did."""

    created: bool
    """There was no archive before."""
    stored: bool
    """False: the archive had the block, and was not touched."""
    version: int
    roots: tuple[CID, ...]


def append_block(
    path: str | os.PathLike[str],
    cid: CIDLike,
    data: bytes,
    *,
    roots: Iterable[CIDLike] = (),
    version: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_bytes: Callable[[int], object] | None = None,
) -> Appended:
    """Put one block into the archive at ``path``, which is replaced whole or not at all; create it if need be.

    For many blocks use :class:`ReadWriteBlockstore`: this copies the archive each time.

    Args:
        path: the archive, finalized or not.
        cid: of the block.
        data: of the block; checked.
        roots: of a new archive.
        version: of a new archive (default 2); an old one must have it.
        limits: upper bounds for what the archive may claim, and for the block.
        on_bytes: called with the bytes of sections that are looked over, some thousands of sections at a time.

    Raises:
        LockedError: a writer has the archive.
        ResumeError: it is of another version, or something in it would have to be cut off.
        OSError: ``path`` is no regular file, or the disk fails.
        IntegrityError: ``data`` are not what ``cid`` names.

    >>> import os, tempfile
    >>> from carv2 import CID
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sea.car")
    ...     first = append_block(path, CID.of_data(b"fish"), b"fish")
    ...     again = append_block(path, CID.of_data(b"fish"), b"fish")
    ...     first.created, again.stored
    (True, False)
    """
    target = os.path.realpath(path)
    if not os.path.lexists(target):
        store = _put_into_new(path, target, cid, data, roots, version or 2, limits)
        return Appended(created=True, stored=True, version=version or 2, roots=store.roots)
    if not os.path.isfile(target):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with contextlib.closing(StoreFile.resume(target)) as original:  # keeps other writers out
        draft = original.copy_beside(target)
        try:
            store = ReadWriteBlockstore.resume(draft, version=version, limits=limits, on_bytes=on_bytes)
            found = store.recovery
            with store:
                if found is not None and found.cut_bytes:
                    why = f"the last {found.cut_bytes} bytes are no section: {found.reason}"
                    raise ResumeError(why, expected=found.kept_end, found=found.file_size)
                stored = store.put(cid, data)
            if stored:
                replace(draft, target)
        finally:
            unlink(draft)
    kept = 2 if found is None else found.version
    return Appended(created=False, stored=stored, version=kept, roots=store.roots)


def _put_into_new(  # noqa: PLR0917
    path: str | os.PathLike[str],
    target: str,
    cid: CIDLike,
    data: bytes,
    roots: Iterable[CIDLike],
    version: int,
    limits: Limits,
) -> ReadWriteBlockstore:
    """A new archive, which appears when it is whole."""
    draft = draft_name(os.path.dirname(target))
    try:
        with ReadWriteBlockstore.create(draft, roots, version=version, limits=limits) as store:
            store.put(cid, data)
        publish(draft, target)
    except OSError as error:
        if error.filename is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        unlink(draft)
    return store
