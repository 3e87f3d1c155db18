"""Comparing bytes so that a difference can be seen."""

from __future__ import annotations

_WINDOW = 16


def assert_bytes_equal(found: bytes, expected: bytes) -> None:
    """Fail with the first differing offset and what stands around it on both sides."""
    if found == expected:
        return
    both = min(len(found), len(expected))
    at = next((at for at in range(both) if found[at] != expected[at]), both)
    start = max(0, at - _WINDOW)
    window = slice(start, at + _WINDOW)
    raise AssertionError(
        f"bytes differ from offset {at} on (sizes {len(found)} and {len(expected)}); from offset {start}:\n"
        f"  found    {found[window].hex(' ')}\n"
        f"  expected {expected[window].hex(' ')}\n"
        f"           {'   ' * (at - start)}^^"
    )
