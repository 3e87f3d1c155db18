"""The record of a positional reference: which bytes of which file a block is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FileReference"]


@dataclass(frozen=True, slots=True)
class FileReference:
    """``size`` bytes at ``offset`` of the file at ``path``.

    >>> FileReference("data/input.bin", 0, 10)
    FileReference(path='data/input.bin', offset=0, size=10)
    """

    path: str
    """Relative to the reference's root, ``/`` in archives of Lotus; or a whole URL."""
    offset: int
    size: int
