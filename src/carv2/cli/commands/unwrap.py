"""``carv2 unwrap``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2.cli import references, streams
from carv2.cli.repairs import already
from carv2.errors import VersionError
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
    try:
        size = _unwrapped(args)
    except VersionError as error:
        copy = ["cat", args.source] if args.destination == "-" else ["cp", args.source, args.destination]
        purpose = "" if args.source == args.destination else "To copy it"
        raise already(error, purpose, *copy) from error
    if args.json:
        streams.print_json({"size": size}, beside=args.destination)
    else:
        references.hint(args.destination if os.path.isfile(args.destination) else args.source)
    return 0


def _unwrapped(args: argparse.Namespace) -> int:
    with streams.watched(args.source, "copying") as source:
        return unwrap(
            source,
            streams.destination(args.destination),
            limits=streams.limits_of(args),
            sync=not args.no_sync,
        )
