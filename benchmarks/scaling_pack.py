"""Bytes imported as a file of many small leaves: ``python benchmarks/scaling_pack.py pack FILE OUT --count N``.

N leaves of 120 bytes are cut out of FILE, which is read no further than that; what comes of them goes to OUT.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import measure

import carv2
from carv2 import unixfs

if TYPE_CHECKING:
    from measure import Run

LEAF = 120


def pack(run: Run) -> None:
    part = run.needed_out().with_name("part")
    with run.path.open("rb") as source, part.open("wb") as out:
        left = run.count * LEAF
        while left and (data := source.read(min(left, 1 << 20))):
            left -= out.write(data)
    profile = dataclasses.replace(unixfs.PROFILES["unixfs-v1-2025"], chunk_size=LEAF)
    with run.timed():
        unixfs.pack(part, run.needed_out(), profile=profile, wrap=False)
    run.found.blocks = carv2.inspect(run.needed_out()).block_count
    part.unlink()


if __name__ == "__main__":
    measure.main({"pack": pack}, lambda: unixfs.pack)
