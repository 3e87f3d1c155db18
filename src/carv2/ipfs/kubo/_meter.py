"""What an answer may cost: the time until it goes on, and the bytes that are sent around what it says."""

from __future__ import annotations

import time

from carv2.ipfs.kubo._body import BrokenBodyError

_HEAD = 256 << 10
"""Bytes that may come beside the body: headers, interim answers, trailers."""

_PER_BYTE = 8  # bytes that a byte of the body may take in chunks
_PATIENCE = 10  # times the silence that is allowed: until a short answer ends, or a stream goes on
_PROGRESS = 4 << 10  # bytes of the body with which a stream has gone on


class Meter:
    """Of one answer, from the end of the request on. Begins with its headers, which share one silence.

    Args:
        silence: seconds without a byte.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._patience, self._is_stream = silence, False
        self._deadline = time.monotonic() + silence
        self._left, self._gained = _HEAD, 0

    def begin_body(self, silence: float, *, is_stream: bool) -> None:
        """The headers are there.

        Args:
            silence: seconds without a byte.
            is_stream: it may take as long as it likes, as long as it goes on.
        """
        self._silence, self._patience, self._is_stream = silence, _PATIENCE * silence, is_stream
        self._deadline = time.monotonic() + self._patience

    def seconds(self) -> float:
        """How long the next step may take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, self._silence)

    def spend(self, count: int) -> None:
        """Count bytes that came, of whatever kind."""
        self._left -= count
        if self._left < 0:
            raise BrokenBodyError("it sends far more around its answer than the answer has")

    def gain(self, count: int) -> None:
        """Count bytes of the body."""
        self._left += _PER_BYTE * count
        self._gained += count
        if self._gained >= _PROGRESS:
            self.go_on()

    def go_on(self) -> None:
        """A stream went on, or who reads it comes back for more: its time begins again."""
        self._gained = 0
        if self._is_stream:
            self._deadline = time.monotonic() + self._patience
