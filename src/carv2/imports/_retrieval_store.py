"""The archive under a retrieval: made, gone on with, and made anew out of what is whole of a damaged one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2._atomic import draft_name, replace, unlink
from carv2._storefile import StoreFile
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID
from carv2.errors import FormatError
from carv2.operations.salvage import whole_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.units import Limits

_MEMORY = 64 << 20
"""Bytes that keeping track of blocks may take; an eighth of them is taken at once."""


def open_store(path: str, root: CID | None, *, create: bool, limits: Limits) -> ReadWriteBlockstore:
    """The file of a retrieval as Lotus' ``CARBlockstoreAccessor`` keeps it: one root, blocks by whole CIDs."""
    if not create:
        roots = None if root is None else [root]
        return ReadWriteBlockstore.resume(
            path, roots, version=2, deduplicate="cid", verify=False, max_memory=_MEMORY, limits=limits
        )
    assert root is not None  # the caller knows it of a new one
    store = ReadWriteBlockstore.create(
        path, [root], deduplicate="cid", verify=False, max_memory=_MEMORY, limits=limits
    )
    try:
        store.flush()  # the file says from the beginning what it is
    except BaseException:
        store.discard()
        raise
    return store


def rebuild(path: str, root: CID | None, limits: Limits) -> bool:
    """Put an archive of what is whole in the damaged file in its place, without an index; whether that was done.

    It is not if the file does not say that it is of ``root``, or of one at all. What was there stays until the new
    file is durable.

    Raises:
        LockedError: somebody is writing it.
        OSError: there is no room for the new file, say; the old one is left.
    """
    file = StoreFile.resume(path)
    draft = draft_name(os.path.dirname(path))
    try:
        try:
            roots, blocks = whole_blocks(file, limits=limits)
        except FormatError:
            return False
        if len(roots) != 1 or root not in {None, roots[0]}:
            return False
        _write(draft, roots[0], blocks, limits)
        replace(draft, path)
        return True
    finally:
        unlink(draft)
        file.close()


def _write(path: str, root: CID, blocks: Iterator[tuple[bytes, bytes]], limits: Limits) -> None:
    store = open_store(path, root, create=True, limits=limits)
    try:
        for cid, data in blocks:
            store.put(CID.trusted(cid), data)
        store.close()
    finally:
        store.discard()
