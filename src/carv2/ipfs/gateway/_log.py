"""What goes to the log again and again, once a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PERIOD = 60.0  # seconds
_MOST = 256  # errors that are remembered


class Repeats:
    """Which errors were told a short while ago. For one thread.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: OrderedDict[tuple[type[Exception], str], list[float]] = OrderedDict()

    def __len__(self) -> int:
        """Errors that are remembered."""
        return len(self._told)

    def note_of(self, error: Exception) -> str | None:
        """What to say behind ``error``: nothing, or how often it was not told; None if it is not to be told.

        >>> repeats = Repeats(iter([0, 59, 60]).__next__)
        >>> [repeats.note_of(ValueError("crab")) for _ in range(3)]
        ['', None, ' (and 1 time more since it was told last)']
        """
        key, now = (type(error), str(error)), self._clock()
        told = self._told.get(key)
        if told is not None and now - told[0] < _PERIOD:
            told[1] += 1
            return None
        self._told[key] = [now, 0]
        self._told.move_to_end(key)
        if len(self._told) > _MOST:
            self._told.popitem(last=False)
        times = int(told[1]) if told is not None else 0
        return f" (and {times} time{'s' * (times != 1)} more since it was told last)" if times else ""
