"""What becomes of a positional reference when it is followed: go-ipfs-filestore's codes and words.

Source: boxo's ``filestore`` (``util.go``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.filestore.record import FileReference

__all__ = ["ReferenceStatus", "Status"]


class Status(enum.IntEnum):
    """How a reference fared; the numbers and words are those of boxo's ``filestore``.

    >>> Status.FILE_CHANGED.value, str(Status.FILE_CHANGED)
    (12, 'changed')
    """

    OK = 0
    FILE_ERROR = 10
    """The file is there and cannot be read, or may not be."""
    FILE_NOT_FOUND = 11
    FILE_CHANGED = 12
    """It is shorter than the reference needs, or holds other bytes."""
    OTHER_ERROR = 20
    """The record itself is damaged, most likely."""
    KEY_NOT_FOUND = 30
    """The DAG links to the leaf, and there is neither a block nor a record of it."""

    def __str__(self) -> str:
        return _WORDS[self]


_WORDS = {
    Status.OK: "ok",
    Status.FILE_ERROR: "error",
    Status.FILE_NOT_FOUND: "no-file",
    Status.FILE_CHANGED: "changed",
    Status.OTHER_ERROR: "ERROR",
    Status.KEY_NOT_FOUND: "missing",
}


@dataclass(frozen=True, slots=True)
class ReferenceStatus:
    """How the reference that stands for a block fared."""

    cid: CID
    """Of the block, as its parent links to it."""
    reference: FileReference | None
    """None where there is no record, or none that can be read."""
    status: Status
    detail: str = ""
    """What is wrong, in words; empty if nothing is."""
    is_linked: bool = True
    """False of a record that nothing leads to from the roots. Unless its key shows the leaf's hash (variants A and
    B), ``cid`` is the one that the record goes by, and the bytes of the original cannot be checked."""
