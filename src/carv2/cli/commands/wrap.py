"""``carv2 wrap``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.cli.codecs import add_codec
from carv2.cli.repairs import already
from carv2.errors import VersionError
from carv2.operations.wrap import wrap

if TYPE_CHECKING:
    import argparse

    from carv2.header import CarV2Header

HELP = "make a CARv2 with an index of a CARv1"
EXAMPLES = ("carv2 wrap old.car new.car", "carv2 wrap - - <old.car >new.car")
_FRESH = ("To write it with a fresh index", "carv2", "index")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="the CARv1, - for standard input")
    parser.add_argument("destination", metavar="DST", help="the CARv2, - for standard output")
    add_codec(parser)
    parser.add_argument(
        "--data-padding", type=streams.size, default=0, metavar="BYTES", help="zeros before the payload"
    )
    parser.add_argument(
        "--index-padding", type=streams.size, default=0, metavar="BYTES", help="zeros before the index"
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)
    streams.add_no_sync(parser)


def run(args: argparse.Namespace) -> int:
    try:
        header = _wrapped(args)
    except VersionError as error:
        raise already(error, *_FRESH, args.source, args.destination) from error
    if args.json:
        streams.print_json(header, beside=args.destination)
    return 0


def _wrapped(args: argparse.Namespace) -> CarV2Header:
    with streams.watched(args.source, "wrapping", passes=2) as source:
        return wrap(
            source,
            streams.destination(args.destination),
            index_codec=args.codec,
            identity=args.identity,
            data_padding=args.data_padding,
            index_padding=args.index_padding,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
            sync=not args.no_sync,
        )
