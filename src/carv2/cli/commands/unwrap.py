"""``carv2 unwrap``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2.cli import references, streams
from carv2.operations.wrap import unwrap

if TYPE_CHECKING:
    import argparse

HELP = "take the CARv1 out of a CARv2, byte for byte"
EXAMPLES = ("carv2 unwrap new.car old.car",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="the CARv2, - for standard input")
    parser.add_argument("destination", metavar="DST", help="the CARv1, - for standard output; may be SRC")
    streams.add_limits(parser)
    streams.add_no_sync(parser)


def run(args: argparse.Namespace) -> int:
    with streams.watched(args.source, "copying") as source:
        size = unwrap(
            source,
            streams.destination(args.destination),
            limits=streams.limits_of(args),
            sync=not args.no_sync,
        )
    if args.json:
        streams.print_json({"size": size}, beside=args.destination)
    else:
        references.hint(args.destination if os.path.isfile(args.destination) else args.source)
    return 0
