"""What all answers of a gateway share: places, and memory of blocks that were sent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from carv2.errors import BudgetError

if TYPE_CHECKING:
    from types import TracebackType


class Places:
    """Room for so many answers at a time."""

    def __init__(self, count: int) -> None:
        self._count, self.taken = count, 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Take a place; whether there was one."""
        with self._lock:
            if self.taken >= self._count:
                return False
            self.taken += 1
            return True

    def leave(self) -> None:
        """Give it back."""
        with self._lock:
            self.taken -= 1


class Remembered:
    """How many blocks answers remember, all together."""

    def __init__(self, allowed: int) -> None:
        self._allowed, self.count = allowed, 0
        self._lock = threading.Lock()

    def share(self) -> Share:
        """The part of one answer."""
        return Share(self)

    def add(self, number: int) -> None:
        """Count more of them, or fewer.

        Raises:
            BudgetError: they are too many; the ``number`` is not counted.
        """
        with self._lock:
            if number > 0 and self.count + number > self._allowed:
                hint = "an answer with dups=y needs none"
                raise BudgetError("blocks to be remembered here", allowed=self._allowed, hint=hint)
            self.count += number


class Share:
    """What one answer remembers; forgotten at the end of the context."""

    _STEP = 256  # blocks that are counted at once: a lock for each would cost as much as the block

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._taken = self._left = 0
        self._is_over = False

    def take(self) -> None:
        """Count one more."""
        if not self._left and not self._is_over:
            self._remembered.add(self._STEP)
            self._taken += self._STEP
            self._left = self._STEP
        self._left -= 1

    def __enter__(self) -> Share:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._remembered.add(-self._taken)
