"""``carv2 debug``; its text is that of go-car's ``car debug``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import streams
from carv2.operations.patch import to_patch

if TYPE_CHECKING:
    import argparse

    from carv2 import CID

HELP = "show an archive as a text that can be edited and compiled again"
EXAMPLES = ("carv2 debug archive.car >archive.patch", "carv2 debug archive.car | carv2 compile -o copy.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument("-o", "--output", metavar="OUT", default="-", help="(default: standard output)")
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    inexact: list[CID] = []
    is_quiet = args.output != "-"  # a bar between the lines of a text helps nobody
    opened = streams.watched(args.file, "reading") if is_quiet else streams.source(args.file)
    with opened as source, writing(streams.destination(args.output, is_binary=False)) as out:
        pieces = to_patch(
            source,
            name=args.file,
            on_inexact=inexact.append,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
        for piece in pieces:
            out.write(piece)
    if args.json:
        streams.print_json({"inexact": inexact}, beside=args.output)
    for cid in [] if args.json else inexact[:1]:
        others = f" and {len(inexact) - 1} others" if len(inexact) > 1 else ""
        print(f"warning: {cid.short()}{others}: not canonical, compile gives another CID", file=sys.stderr)
    return 0
