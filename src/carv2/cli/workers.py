"""How many processes share the hashing of an archive."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from carv2.cli import progress, streams

if TYPE_CHECKING:
    import argparse

LARGE = 64 << 20
"""Bytes of a file from which on several processes are worth it without anybody asking for them."""
_MOST = 4


def add_to(parser: argparse.ArgumentParser) -> None:
    """``--workers``, which says so itself where it is not given."""
    parser.add_argument(
        "--workers",
        type=streams.positive,
        metavar="N",
        help="processes to share the hashing (default: up to 4 for a large file, as are free; 1 with a bar)",
    )


def number_of(args: argparse.Namespace, name: str) -> int:
    """How many are to share the file ``name``: as many as the flag says, else as are worth it.

    Where a bar is shown it is one, for nobody would move the bar on.
    """
    if args.workers is not None:
        return int(args.workers)
    return 1 if progress.is_wanted() or not _is_large(name) else max(1, min(_MOST, _free_processors()))


def _is_large(name: str) -> bool:
    try:
        found = os.stat(name)
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= LARGE


def _free_processors() -> int:
    """Processors of this process, less those that others keep busy."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = os.cpu_count() or 1 if affinity is None else len(affinity(0))
    try:
        return round(processors - os.getloadavg()[0])
    except (AttributeError, OSError):  # nobody can tell
        return processors
