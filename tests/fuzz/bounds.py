"""What an input may cost: lines of Python and bytes of memory, neither of which depends on the machine."""

from __future__ import annotations

import resource
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

LINES, LINES_PER_BYTE = 30_000, 400
"""Lines of Python that a check may run, and more for each byte of its input; the check's own are among them."""

MEMORY, MEMORY_PER_BYTE = 512 << 10, 256
"""Bytes that may be allocated at a time, and more for each byte of the input."""

ROOM = 512 << 20
"""Bytes of address space that a fuzzing process may grow by: what a length claims is not to be allocated."""


class Cost(NamedTuple):
    """What a check took."""

    lines: int
    memory: int

    def check(self, size: int) -> None:
        """Raise AssertionError if that is more than an input of ``size`` bytes may cost."""
        lines, memory = LINES + LINES_PER_BYTE * size, MEMORY + MEMORY_PER_BYTE * size
        assert self.lines <= lines, f"{self.lines} lines of Python for {size} bytes, allowed {lines}"
        assert self.memory <= memory, f"{self.memory} bytes of memory for {size} bytes, allowed {memory}"


class TooMuchWorkError(AssertionError):
    """A check ran so many lines that waiting for its end is no use."""


def cost_of(check: Callable[[bytes], object], data: bytes, *, warm: bool = True) -> Cost:
    """Run ``check``, once for the lines and once for the memory; what it raises goes through.

    With ``warm`` it is run before that, so that what is imported or made once and for all does not count.
    """
    if warm:
        check(data)
    return Cost(_lines_of(check, data), _memory_of(check, data))


def _lines_of(check: Callable[[bytes], object], data: bytes) -> int:
    count, most = 0, 4 * (LINES + LINES_PER_BYTE * len(data))

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count > most:
                raise TooMuchWorkError(f"more than {most} lines of Python for {len(data)} bytes")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(before)
    return count


def _memory_of(check: Callable[[bytes], object], data: bytes) -> int:
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        check(data)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not was_tracing:
            tracemalloc.stop()


def fence() -> None:
    """Let this process grow by :data:`ROOM` from here on; beyond that it gets MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, resource.RLIM_INFINITY))
