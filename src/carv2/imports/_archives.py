"""The archive of an import: opened as what it is, and looked at for what can be wrong with it."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from carv2.blockstore import ReadOnlyBlockstore
from carv2.errors import FormatError, StateError, TruncatedError
from carv2.filestore._archive import is_ref_car
from carv2.filestore.store import FileStore
from carv2.imports.record import OURS
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.imports.record import Import


def open_archive(entry: Import, *, limits: Limits = DEFAULT_LIMITS) -> FileStore | ReadOnlyBlockstore:
    """The blocks of an import.

    An archive of ours may lead to the original that is recorded, and to nothing else; a user's own leads nowhere.

    Raises:
        StateError: it has no archive.
        OSError: the archive cannot be opened, or is no file.
        FormatError: it is no archive.
    """
    path = _file_of(entry)
    if entry.car_owner != OURS:
        return ReadOnlyBlockstore(path, limits=limits)
    allowed = [entry.filename] if entry.filename and os.path.isabs(entry.filename) else []
    return FileStore(path, allow=allowed, limits=limits)


def _file_of(entry: Import) -> str:
    path = entry.car_path
    if path is None:
        raise StateError(f"import {entry.id} has no archive")
    if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would wait for somebody
        raise OSError(errno.EINVAL, "not a regular file", path)
    return path


SCAN_LIMIT = 64 << 20
"""Bytes of an archive without an index that are gone through without being asked: a fraction of a second."""


REF_CAR = (
    "it is a ref-CAR, whose leaves are in other files: import the original itself (`carv2 import ORIGINAL`), "
    "or put its leaves into an archive first (`carv2 ref densify`)"
)


def only_root(path: str, *, limits: Limits = DEFAULT_LIMITS) -> CID:
    """The root of the archive at ``path``, of which it has exactly one.

    Raises:
        FormatError: it has another number of them, or is no archive. The text is Lotus'.
        OSError: it cannot be read.
    """
    with CarReader(path, limits=limits) as car:
        return _only_root(car)


def _only_root(car: CarReader) -> CID:
    roots = car.roots
    if len(roots) != 1:
        why = f"car file can have one and only one root, found {len(roots)}"
        raise FormatError(why, position=car.payload_position)
    return roots[0]


def examine(
    entry: Import, *, thorough: bool = False, limits: Limits = DEFAULT_LIMITS
) -> FileStore | ReadOnlyBlockstore | None:
    """Open the archive of an import, and see whether its header, its index and its root are what they should be.

    Only the archive is read. One without an index is gone through from section to section; if it is larger than
    :data:`SCAN_LIMIT`, only where it is to be ``thorough``: otherwise nothing is opened then.

    Raises:
        StateError: the import was never finished, or its root is another one than the archive's; or it is an
            archive of the user's with references, which nobody follows.
        CarError: the archive is damaged, or does not have its root.
        OSError: it cannot be read.
    """
    path = _file_of(entry)
    with CarReader(path, limits=limits) as car:
        found = _only_root(car)
        is_large = car.source.size > SCAN_LIMIT
        is_long = is_large and car.index is None
        if car.payload_end > car.source.size:
            raise TruncatedError(
                "payload",
                wanted=car.payload_end - car.payload_position,
                got=car.source.size - car.payload_position,
                position=car.source.size,
            )
    if entry.root is None:
        raise StateError(entry.error or "the import was not finished: it has no root")
    if found != entry.root:
        raise StateError(f"the root of the archive is {found}")
    if entry.car_owner != OURS and (thorough or not is_large) and is_ref_car(path, limits=limits):
        raise StateError(REF_CAR)
    if is_long and not thorough:
        return None
    store = open_archive(entry, limits=limits)
    try:
        _read_root(store, entry.root)
    except BaseException:
        store.close()
        raise
    return store


def _read_root(store: FileStore | ReadOnlyBlockstore, root: CID) -> None:
    """Read the root's block, unless that lies in an original."""
    if isinstance(store, FileStore) and store.reference_of(root) is not None:
        return
    _ = store[root]
