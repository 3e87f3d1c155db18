"""``carv2 get-block``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import carv2
from carv2._atomic import writing
from carv2.cli import streams

if TYPE_CHECKING:
    import argparse

HELP = "take one block out of an archive, its hash checked"
EXAMPLES = ("carv2 get-block archive.car bafkrei... >block",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the archive, - for standard input")
    parser.add_argument("cid", metavar="CID", type=carv2.CID.of, help="of the block; its codec does not matter")
    parser.add_argument(
        "out", metavar="OUT", nargs="?", default="-", help="file for the block (default: standard output)"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not check the hash")
    parser.add_argument("--rebuild-index", action="store_true", help="do not trust the archive's index")
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with (
        streams.source(args.file) as source,
        carv2.open(source, limits=streams.limits_of(args)) as car,
    ):
        if args.rebuild_index:
            car.ignore_index()
        data = car.get(args.cid, verify=not args.no_verify)
    with writing(streams.destination(args.out)) as sink:
        sink.write(data)
    if args.json:
        sys.stdout.flush()
        streams.print_json({"cid": args.cid, "size": len(data)}, beside=args.out)
    return 0
