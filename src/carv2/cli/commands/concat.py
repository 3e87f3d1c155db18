"""``carv2 concat``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carv2.cli import progress, streams
from carv2.operations.concat import concat

if TYPE_CHECKING:
    import argparse

HELP = "write the blocks of several archives to one, in their order"
EXAMPLES = (
    "carv2 concat -o whole.car shard-*.car",
    "carv2 concat --version 1 --roots all --deduplicate a.car b.car >both.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="archives, - for standard input")
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="-", help="the new archive (default: standard output)"
    )
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the new archive (default 2)")
    parser.add_argument(
        "--roots",
        choices=("first", "all", "none"),
        default="first",
        help="whose roots it has (default: those of the first archive)",
    )
    parser.add_argument("--deduplicate", action="store_true", help="write each CID once only")
    streams.add_checking(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with contextlib.ExitStack() as stack:
        sources = streams.sources(stack, args.files)
        tick = stack.enter_context(progress.bar("reading", streams.total_size(args.files)))
        report = concat(
            sources,
            streams.destination(args.output),
            version=args.version,
            roots=args.roots,
            deduplicate=args.deduplicate,
            verify=not args.no_verify,
            workers=args.workers,
            on_progress=tick,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
    if args.json:
        streams.print_json(report, beside=args.output)
    return 0
