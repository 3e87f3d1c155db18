"""What is wrong with an archive, one finding at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.errors import FormatError, IntegrityError

if TYPE_CHECKING:
    from carv2.cid import CID
    from carv2.errors import CarError


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault: what kind (the name of the error class that it would raise), where, and about which block."""

    kind: str
    message: str
    position: int | None = None
    """Absolute byte position in the file, where there is one."""
    cid: CID | None = None

    @classmethod
    def of(cls, error: CarError) -> Problem:
        """The problem that ``error`` tells of."""
        position = error.position if isinstance(error, (FormatError, IntegrityError)) else None
        cid = error.cid if isinstance(error, IntegrityError) else None
        return cls(kind=type(error).__name__, message=str(error), position=position, cid=cid)

    def __str__(self) -> str:
        return self.message
