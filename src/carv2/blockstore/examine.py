"""What resuming a file would keep and what it would cut, found out without changing it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from carv2._source import FileSource
from carv2._storefile import StoreFile
from carv2.blockstore._kept_index import KeptIndex
from carv2.blockstore._recovery import Recovery, examine
from carv2.blockstore._settings import header_in
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable


__all__ = ["Recovery", "examine_file"]


def examine_file(
    path: str | os.PathLike[str],
    *,
    data_padding: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    check_promised: bool = False,
    on_bytes: Callable[[int], object] | None = None,
) -> Recovery:
    """Look a file over as :meth:`ReadWriteBlockstore.resume` would, and change nothing.

    The writers' lock is held meanwhile; on a file that may not be written to, the look is without it.

    Args:
        path: the archive, finished or not.
        data_padding: zero bytes that a CARv2 must have between header and payload; None takes any.
        limits: upper bounds for what it may claim.
        null_padding: take a zero-length section for the end of the sections.
        check_promised: hash what the header promises too.
        on_bytes: called with the bytes of sections that are looked over, some thousands of sections at a time.

    Raises:
        LockedError: it is being written.
        ResumeError: it cannot be resumed: another padding, or an unknown hash function behind what was promised.
        FormatError: it is not an archive, or damaged where it promises not to be.
        IntegrityError: the same, for a hash.

    >>> import os, tempfile
    >>> from carv2 import CID, iter_car
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "cut.car")
    ...     archive = b"".join(iter_car([], [(CID.of_data(data), data) for data in (b"fish", b"lobster")]))
    ...     with open(path, "wb") as file:
    ...         written = file.write(archive[:-1])
    ...     found = examine_file(path)
    >>> found.state, found.block_count, found.cut_bytes
    ('torn', 1, 43)
    """
    file = _open(path)
    try:
        how: Any = {"null_padding": null_padding, "check_promised": check_promised, "on_bytes": on_bytes}
        kept = KeptIndex.of(file)
        if kept is None:
            found = examine(file, limits, **how)
        else:
            header = header_in(file)
            identity = header is not None and header.is_fully_indexed
            found = kept.examine(file, limits, identity=identity, **how)
    finally:
        file.close()
    found.require(None, None, data_padding)
    return found


def _open(path: str | os.PathLike[str]) -> FileSource:
    try:
        return StoreFile.resume(path)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        return FileSource.open(path)
