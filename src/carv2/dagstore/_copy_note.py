"""What is noted about a local copy: what it is a copy of, and how far it is durable."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CopyNote"]


@dataclass(frozen=True, slots=True)
class CopyNote:
    """The note of one copy; ``size`` and ``tag`` are what the mount said before the first byte came."""

    key: str
    size: int | None
    """Bytes of the whole; None if the mount does not know, and the copy is not whole yet."""
    tag: str
    resumable: bool
    reserved: int
    """Bytes that are set aside for it while it comes in."""
    durable: int = 0
    """Bytes that a power cut leaves as they are."""
    modified: int = 0
    """Nanoseconds since 1970 of the whole copy's last change; 0 as long as it is not whole."""

    def to_bytes(self) -> bytes:
        """For the note's file."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, raw: bytes | None) -> CopyNote | None:
        """The note in a file; None if there is none, or nothing that makes sense.

        >>> CopyNote.of(CopyNote("k", 3, "t", True, 3).to_bytes())
        CopyNote(key='k', size=3, tag='t', resumable=True, reserved=3, durable=0, modified=0)
        """
        try:
            found: Any = json.loads(raw or b"")
            size = 0 if found["size"] is None else found["size"]
            numbers = (size, found["reserved"], found["durable"], found["modified"])
            is_sane = all(isinstance(number, int) and number >= 0 for number in numbers)
            is_sane = is_sane and isinstance(found["key"], str) and isinstance(found["tag"], str)
            return cls(**found) if is_sane else None
        except (ValueError, TypeError, KeyError):
            return None

    def is_of(self, stamp: tuple[int, int], size: int | None, tag: str) -> bool:
        """Whether the copy that has ``stamp`` is the one that was made, and what was asked for.

        ``stamp`` is its size and time of modification; a ``size`` of None and a ``tag`` of ``""`` ask for nothing.
        """
        return stamp == (self.size, self.modified) and size in {None, self.size} and tag in {"", self.tag}
