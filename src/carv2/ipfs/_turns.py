"""Whose turn it is among several gateways, some of which failed."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.errors import GatewayError
    from carv2.ipfs._fetch_options import FetchOptions
    from carv2.ipfs._source import GatewaySource

_FIRST_WAIT = 0.5
"""Seconds; twice as long after each failure in a row."""


class _Place:
    """How a gateway behaved."""

    def __init__(self, source: GatewaySource) -> None:
        self.source = source
        self.failures = 0  # in a row
        self.ready_at = 0.0


class Turns:
    """One gateway is asked until it fails; then it is the next one's turn, and that one waits for a while."""

    def __init__(self, sources: Sequence[GatewaySource], options: FetchOptions) -> None:
        self._options = options
        self._places = [_Place(source) for source in sources]

    def first(self) -> GatewaySource | None:
        """Whom to ask next: who is ready first; None if nobody is left."""
        if not self._places:
            return None
        now = time.monotonic()
        best = min(self._places, key=lambda place: max(place.ready_at, now))
        return best.source

    def wait(self, source: GatewaySource) -> None:
        """Until ``source`` may be asked."""
        pause = self._place_of(source).ready_at - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def failed(self, source: GatewaySource, error: GatewayError, *, was_useful: bool) -> None:
        """Note a failure; ``was_useful`` if something new had come before it."""
        place = self._place_of(source)
        self._places.remove(place)
        if error.other_form and source.speaks_cars:
            source.speaks_cars = False  # what it has may be had block by block
            self._places.insert(0, place)
            return
        place.failures = 1 if was_useful else place.failures + 1
        wait = self._wait_after(place.failures, error)
        if error.is_final or place.failures > self._options.retries or wait is None:
            return
        place.ready_at = time.monotonic() + wait
        self._places.append(place)

    def _wait_after(self, failures: int, error: GatewayError) -> float | None:
        """Seconds; None for longer than may be waited."""
        longest = self._options.max_wait
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= longest else None
        grown = _FIRST_WAIT * 2.0 ** min(failures - 1, 30)
        return min(grown * random.uniform(0.75, 1.25), longest)  # noqa: S311  (so that not all come at once)

    def _place_of(self, source: GatewaySource) -> _Place:
        return next(place for place in self._places if place.source is source)
