"""``carv2 compile``: the way back from ``carv2 debug``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.operations.patch import from_patch

if TYPE_CHECKING:
    import argparse

HELP = "make an archive of the text that debug shows, edited or not"
EXAMPLES = ("carv2 compile -o archive.car archive.patch", "carv2 debug archive.car | carv2 compile >copy.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser, text="the text, - for standard input")
    parser.add_argument("-o", "--output", metavar="OUT", default="-", help="(default: standard output)")
    parser.add_argument("--version", type=int, choices=(1, 2), help="of the archive (default: what the text says)")
    parser.add_argument("-v", "--verbose", action="store_true", help="list the CIDs that changed")
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with streams.blame(args.file):
        text = streams.chunks(args.file)  # of which nobody keeps the whole
        out = streams.destination(args.output)
        report = from_patch(text, out, version=args.version, limits=streams.limits_of(args))
    if args.json:
        streams.print_json(report, beside=args.output)
    elif args.verbose:
        for old, new in report.changed.items():
            print(f"{old.short()} is now {new.short()}", file=sys.stderr)
    return 0
