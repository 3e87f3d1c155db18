"""Of threads that put the same block at once, one asks whether it is there and puts it; the others wait."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Set as AbstractSet


class Claims:
    """Keys that somebody is at work on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[bytes] = set()

    @contextlib.contextmanager
    def on(self, keys: AbstractSet[bytes]) -> Generator[None]:
        """Have ``keys`` alone meanwhile: all of them from the same moment on, so that nobody waits for another."""
        with self._changed:
            self._changed.wait_for(lambda: self._held.isdisjoint(keys))
            self._held |= keys
        try:
            yield
        finally:
            with self._changed:
                self._held -= keys
                self._changed.notify_all()
