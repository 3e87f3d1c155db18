"""``carv2 sort``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.dag import sort

if TYPE_CHECKING:
    import argparse

    from carv2.dag import Sorted

HELP = "write an archive anew with its blocks in the order of a walk from its roots"
EXAMPLES = (
    "carv2 sort archive.car sorted.car",
    "carv2 sort --order bfs --keep-unreachable archive.car sorted.car",
    "carv2 sort --dups archive.car response.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="the archive, - for standard input")
    parser.add_argument("out", metavar="OUT", help="the new one; - for standard output, for a CARv1")
    parser.add_argument(
        "--order", choices=("dfs", "bfs"), default="dfs", help="depth-first (the default), or breadth-first"
    )
    parser.add_argument("--dups", action="store_true", help="repeat a block each time that a link leads to it")
    parser.add_argument(
        "--keep-unreachable",
        action="store_true",
        help="write what no link leads to as well, behind the rest, instead of leaving it out",
    )
    parser.add_argument("--version", type=int, choices=(1, 2), help="of the new archive (default: that of IN)")
    parser.add_argument(
        "--max-bytes",
        type=streams.size,
        metavar="BYTES",
        help="data that may be written (default: any; with --dups 1,000 times the size of IN)",
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with streams.watched(args.file, "sorting", passes=3) as source:
        found = sort(
            source,
            streams.destination(args.out, version=args.version),
            order=args.order,
            dups=args.dups,
            keep_unreachable=args.keep_unreachable,
            version=args.version,
            max_bytes=args.max_bytes,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
    if args.json:
        sys.stdout.flush()
        streams.print_json(found, beside=args.out)
    else:
        _tell(found, kept=args.keep_unreachable)
    return 0


def _tell(found: Sorted, *, kept: bool) -> None:
    if found.unreachable_count and not kept:
        note = f"left out {_blocks(found.unreachable_count)} that no link leads to; see --keep-unreachable"
        print(note, file=sys.stderr)
    if found.missing_count:
        print(f"{_blocks(found.missing_count)} missing", file=sys.stderr)


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
