"""``carv2 attach-index``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.operations.indexing import attach_index, read_index

if TYPE_CHECKING:
    import argparse

HELP = "put an index into an archive, once it is shown to be right"
EXAMPLES = (
    "carv2 attach-index archive.car archive.carindex",
    "carv2 attach-index old.car old.carindex new.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="an archive of either version, - for standard input")
    parser.add_argument(
        "index", metavar="INDEX", help="a detached index, or a CARv2 that carries one, - for standard input"
    )
    parser.add_argument("out", metavar="OUT", nargs="?", help="(default: IN, replaced whole or not at all)")
    parser.add_argument("--no-verify", action="store_true", help="do not hold the index against the data")
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    out = args.file if args.out is None else args.out
    if out == "-" and args.out is None:
        raise ValueError("standard input cannot be replaced: name an OUT")
    if args.file == args.index == "-":
        raise ValueError("standard input cannot be the archive and the index")
    with streams.source(args.index) as index:
        read_index(index)  # what is wrong with it is said of it, not of the archive
        with streams.watched(args.file, "checking and copying", passes=2 - args.no_verify) as source:
            header = attach_index(
                source,
                index,
                streams.destination(out),
                verify=not args.no_verify,
                limits=streams.limits_of(args),
                null_padding=args.null_padding,
            )
    if args.json:
        streams.print_json(header, beside=out)
    return 0
