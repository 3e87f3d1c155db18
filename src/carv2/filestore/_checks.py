"""Leaves read where their records say, checked; errors that say which could not be had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2._tree import inode_of, name_in
from carv2.cid import CID
from carv2.errors import CorruptReferenceError, IntegrityError, UnknownHashError
from carv2.filestore._fault import Fault
from carv2.filestore.status import Status
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from typing import BinaryIO

    from carv2._tree import Symlinks
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
        except UnknownHashError as error:
            raise _error(leaf, reference, Fault(Status.OTHER_ERROR, str(error.args[0])), position) from error
        except IntegrityError as error:
            fault = Fault(Status.FILE_CHANGED, "other bytes are there now: their hash differs")
            raise _error(leaf, reference, fault, position) from error


class Spared:
    """Originals, which an archive is never written over: by no name of theirs, and through no file that is open.

    Every method raises ValueError if ``out`` is one.
    """

    def __init__(self, out: PathLike | BinaryIO) -> None:
        self._out, self._inode, self._last = out, inode_of(out), ""

    def refuse_file(self, path: PathLike) -> None:
        """``path`` is an original, if it is there."""
        if self._inode is not None and inode_of(path) == self._inode:
            raise self._error()

    def refuse_named(self, reference: FileReference, root: PathLike) -> None:
        """What ``reference`` names is an original."""
        if self._inode is None or reference.path == self._last:
            return
        self._last = reference.path
        if not reference.is_url:
            self.refuse_file(reference.full_path(root))

    def refuse_below(self, path: PathLike, *, hidden: bool = True, symlinks: Symlinks = "keep") -> None:
        """All files that an import of ``path`` would take are originals."""
        if self._inode is not None and name_in(path, self._inode, hidden=hidden, symlinks=symlinks) is not None:
            raise self._error()

    def is_file(self, other: object) -> bool:
        """Whether ``out`` is the file ``other``."""
        return self._inode is not None and inode_of(other) == self._inode

    def _error(self) -> ValueError:
        named = isinstance(self._out, (str, bytes, os.PathLike))
        shown = os.fsdecode(self._out) if named else "the file to write to"  # type: ignore[arg-type]
        return ValueError(f"{shown} is one of the originals: it is not written over; name another file to write")


def _error(cid: bytes, reference: FileReference, fault: Fault, position: int) -> CorruptReferenceError:
    named = CID.trusted(cid)
    why = f"{named.short()} is {reference}: {fault.detail}"
    return CorruptReferenceError(why, cid=named, position=position, status=fault.status, reference=reference)
