"""What a node says about pins and imports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.cid import CID

__all__ = ["CarImport", "ImportedRoot", "Pin"]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Something that the node keeps."""

    cid: CID
    kind: str
    """``recursive``, ``direct``, ``indirect``, or ``indirect through CID``."""
    name: str
    """Empty if it has none."""


@dataclass(frozen=True, kw_only=True)
class ImportedRoot:
    """A root of an archive that a node imported."""

    cid: CID
    pin_error: str
    """Why it could not be pinned; empty if it was."""


@dataclass(frozen=True, kw_only=True)
class CarImport:
    """What a node imported."""

    roots: tuple[ImportedRoot, ...]
    """In the node's order; none where nothing was to be pinned."""
    block_count: int
    """Sections of the archive, repeats counted."""
    block_bytes: int
    """Data of those blocks."""
