"""Leaves read where their records say, checked; errors that say which could not be had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2._tree import inode_of
from carv2.cid import CID
from carv2.errors import CorruptReferenceError, IntegrityError
from carv2.filestore._fault import Fault
from carv2.filestore.status import Status
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from carv2.filestore._following import Follower
    from carv2.filestore.record import FileReference, PathLike


class LeafReader:
    """Reads leaves through references, each checked against its hash."""

    def __init__(self, follower: Follower) -> None:
        self._follower, self._checker = follower, BlockChecker()

    def read(self, leaf: bytes, reference: FileReference, *, position: int) -> bytes:
        """The block ``leaf``; ``position`` is that of its record.

        Raises:
            CorruptReferenceError: the bytes cannot be had, or are others.
        """
        try:
            data = self._follower.read(reference)
        except Fault as fault:
            raise _error(leaf, reference, fault, position) from None
        make = self._checker.constructors.get(leaf[:-32])
        if make is None or make(data).digest() != leaf[-32:]:
            self._check(leaf, data, reference, position)
        return data

    def probe(self, cid: bytes, reference: FileReference, *, position: int) -> None:
        """Raise unless there are as many bytes; none is read. ``cid`` is for the error."""
        try:
            self._follower.probe(reference)
        except Fault as fault:
            raise _error(cid, reference, fault, position) from None

    def _check(self, leaf: bytes, data: bytes, reference: FileReference, position: int) -> None:
        try:
            self._checker.check(leaf, data, position=position)
        except IntegrityError as error:
            fault = Fault(Status.FILE_CHANGED, "other bytes are there now: their hash differs")
            raise _error(leaf, reference, fault, position) from error


def refuse_original(out: PathLike | BinaryIO, originals: Iterable[PathLike]) -> None:
    """Raise ValueError if ``out`` is one of these files, which must stay what they are."""
    inode = inode_of(out)
    if inode is not None and any(inode_of(path) == inode for path in originals):
        shown = os.fsdecode(out) if isinstance(out, (str, bytes, os.PathLike)) else "the file to write to"
        raise ValueError(f"{shown} is one of the originals: it is not written over")


def _error(cid: bytes, reference: FileReference, fault: Fault, position: int) -> CorruptReferenceError:
    named = CID.trusted(cid)
    why = f"{named.short()} is {reference}: {fault.detail}"
    return CorruptReferenceError(why, cid=named, position=position, status=fault.status, reference=reference)
