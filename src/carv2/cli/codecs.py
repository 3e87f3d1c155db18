"""Flags that say what an index is to be like."""

from __future__ import annotations

import argparse

from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED
from carv2.multicodec import name_of

_CODECS = {name_of(code): code for code in (CAR_MULTIHASH_INDEX_SORTED, CAR_INDEX_SORTED)}


def add_codec(parser: argparse.ArgumentParser, *, none: bool = True) -> None:
    """``-c`` and ``--identity``."""
    names = [*_CODECS, "none"] if none else list(_CODECS)
    parser.add_argument(
        "-c",
        "--codec",
        type=_codec,
        default=CAR_MULTIHASH_INDEX_SORTED,
        metavar="CODEC",
        help=f"format of the index: {', '.join(names)} (default: the first)",
    )
    parser.add_argument("--identity", action="store_true", help="list identity CIDs in the index too")


def _codec(name: str) -> int | None:
    if name != "none" and name not in _CODECS:
        raise argparse.ArgumentTypeError(f"unknown index codec {name}; known are: {', '.join(_CODECS)}, none")
    return _CODECS.get(name)
