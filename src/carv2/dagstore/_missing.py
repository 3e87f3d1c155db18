"""What was looked for in vain, for a while: so that a peer who asks again and again costs no look-ups."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1 << 16  # multihashes that are remembered, some 150 bytes each


class MissingBlocks:
    """Multihashes that no shard had, remembered for ``seconds``, and until blocks come in.

    Args:
        seconds: for how long; 0 for not at all.
        round_now: a number that changes when blocks come in.
    """

    def __init__(self, seconds: float, round_now: Callable[[], int]) -> None:
        self._seconds, self._round_now = seconds, round_now
        self._round = round_now()
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, multihash: bytes) -> bool:
        """Whether it was missing a moment ago, and nothing came in since."""
        if not self._until:
            return False
        with self._lock:
            self._forget_if_old()
            until = self._until.get(multihash)
            return until is not None and time.monotonic() < until

    def add(self, multihash: bytes, round_: int) -> None:
        """It was looked for in vain; ``round_`` is that of before the look."""
        if not self._seconds:
            return
        with self._lock:
            self._forget_if_old()
            if round_ == self._round:
                self._until[multihash] = time.monotonic() + self._seconds
                self._until.move_to_end(multihash)
                while len(self._until) > _MOST:
                    self._until.popitem(last=False)

    def _forget_if_old(self) -> None:
        now = self._round_now()
        if now != self._round:
            self._round = now
            self._until.clear()
