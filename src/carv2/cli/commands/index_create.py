"""``carv2 index create``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import streams
from carv2.cli.codecs import add_codec
from carv2.operations.indexing import build_index, usual_codec

if TYPE_CHECKING:
    import argparse

HELP = "write the index of an archive to a file of its own"
_USUAL = -1  # no codec was named
EXAMPLES = ("carv2 index create archive.car archive.carindex",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="an archive of either version, - for standard input")
    parser.add_argument("out", metavar="OUT", nargs="?", default="-", help="(default: standard output)")
    add_codec(parser, none=False)
    parser.set_defaults(codec=_USUAL)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.codec is None:
        raise ValueError("an index needs a codec")
    limits = streams.limits_of(args)
    with streams.watched(args.file, "indexing") as source:
        builder = build_index(
            source,
            codec=usual_codec(source, limits=limits) if args.codec == _USUAL else args.codec,
            identity=args.identity,
            limits=limits,
            null_padding=args.null_padding,
        )
    count = len(builder)
    with writing(streams.destination(args.out)) as sink:
        for chunk in builder.chunks():
            sink.write(chunk)
    if args.json:
        streams.print_json({"records": count}, beside=args.out)
    return 0
