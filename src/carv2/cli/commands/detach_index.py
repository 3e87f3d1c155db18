"""``carv2 detach-index``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.operations.indexing import detach_index

if TYPE_CHECKING:
    import argparse

HELP = "copy the index out of a CARv2, as it stands there"
EXAMPLES = ("carv2 detach-index archive.car archive.carindex", "carv2 detach-index list archive.carindex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="the CARv2, - for standard input")
    parser.add_argument("out", metavar="OUT", nargs="?", default="-", help="(default: standard output)")
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with streams.watched(args.file, "copying") as source:
        size = detach_index(source, streams.destination(args.out), limits=streams.limits_of(args))
    if args.json:
        streams.print_json({"size": size}, beside=args.out)
    return 0
