"""``carv2 index``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.cli.codecs import add_codec
from carv2.operations.indexing import reindex, usual_codec
from carv2.operations.wrap import payload_of

if TYPE_CHECKING:
    import argparse

HELP = "write an archive anew as a CARv2 with a fresh index"
_USUAL = -1  # no codec was named
EXAMPLES = ("carv2 index archive.car indexed.car", "carv2 index create archive.car archive.carindex")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="an archive of either version, - for standard input")
    parser.add_argument("out", metavar="OUT", nargs="?", default="-", help="(default: standard output)")
    add_codec(parser)
    parser.set_defaults(codec=_USUAL)
    parser.add_argument(
        "--version", type=int, choices=(1, 2), default=2, help="1: just the payload, no index (default 2)"
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    limits, out = streams.limits_of(args), streams.destination(args.out)
    with streams.watched(args.file, "indexing", passes=args.version) as source:
        if args.version == 1:
            if args.codec is not None:
                raise ValueError("a CARv1 has no index: use --codec none")
            report: object = {"size": payload_of(source, out, limits=limits)}
        else:
            report = reindex(
                source,
                out,
                codec=usual_codec(source, limits=limits) if args.codec == _USUAL else args.codec,
                identity=args.identity,
                limits=limits,
                null_padding=args.null_padding,
            )
    if args.json:
        streams.print_json(report, beside=args.out)
    return 0
