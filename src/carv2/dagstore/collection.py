"""Collecting local copies that nobody needs now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.dagstore._core import Core

__all__ = ["Collected"]


@dataclass(frozen=True, slots=True)
class Collected:
    """What became of the local copy of the shard ``key``."""

    key: str
    freed: int = 0
    """Bytes."""
    skipped: str = ""
    """Why it is still there: in use, or used lately."""


def collect(core: Core, *, max_idle: float) -> list[Collected]:
    """Remove the local copies that were not in use for ``max_idle`` seconds; one entry for each that there is."""
    core.release_abandoned()
    core.keepers.let_go(min_idle=max_idle)
    core.live.close_unused(min_idle=max_idle)
    found = core.transients.collect(min_idle=max_idle)
    core.counters.add("collected", len(found.freed))
    core.counters.add("collected_bytes", sum(found.freed.values()))
    gone = [Collected(key, freed=size) for key, size in found.freed.items()]
    stay = [Collected(key, skipped=why) for key, why in found.skipped.items()]
    return sorted(gone + stay, key=lambda one: one.key)
