"""How much memory an index takes while it is built and written: ``python benchmarks/memory.py [--entries N]``.

Prints one JSON object. ``bytes_per_entry`` is the peak of the process over what it held before, divided by the
number of entries; 40 of those bytes are the entry itself, as it is in the file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import measure

from carv2.index import IndexBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH = 1_000
_SECTION_SIZE = 158
_PREFIX = bytes([1, 0x71, 0x12, 32])


def synthetic_entries(count: int) -> Iterator[list[tuple[bytes, int, int]]]:
    """Batches of neighbouring sections with random digests, as a scan of an archive gives them."""
    digests = random.Random(1)
    for first in range(0, count, _BATCH):
        many = min(_BATCH, count - first)
        raw = digests.randbytes(32 * many)
        yield [(_PREFIX + raw[32 * at : 32 * at + 32], 0, (first + at + 1) * _SECTION_SIZE) for at in range(many)]


def index_memory(count: int) -> dict[str, float]:
    """Build an index of ``count`` entries in this process, which must be a fresh one, and write it to nowhere."""
    builder = IndexBuilder()
    start_kib, offset, written = measure.memory_kib("VmRSS"), 0, 0
    for entries in synthetic_entries(count):
        builder.add_sections(entries, offset, 0)
        offset = entries[-1][2]
    with Path(os.devnull).open("wb") as sink:
        for chunk in builder.chunks():
            written += sink.write(chunk)
    peak_kib = measure.memory_kib("VmHWM") - start_kib
    return {
        "entries": count,
        "index_bytes": written,
        "peak_kib": peak_kib,
        "bytes_per_entry": peak_kib * 1024 / count,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=10_000_000)
    print(json.dumps(index_memory(parser.parse_args().entries)))
