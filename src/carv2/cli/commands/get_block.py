"""``carv2 get-block``."""

from __future__ import annotations

import argparse
import sys

import carv2
from carv2._atomic import writing
from carv2.cli import references, streams

HELP = "take one block out of an archive, its hash checked"
EXAMPLES = (
    "carv2 get-block archive.car bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu block.bin",
    "carv2 get-block - bafkqaatjmq <archive.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the archive, - for standard input")
    parser.add_argument("cid", metavar="CID", type=_cid, help="of the block; its codec does not matter")
    parser.add_argument(
        "out", metavar="OUT", nargs="?", default="-", help="file for the block (default: standard output)"
    )
    parser.add_argument("--no-verify", action="store_true", help="do not check the hash")
    parser.add_argument("--rebuild-index", action="store_true", help="do not trust the archive's index")
    references.add_ref(parser)
    streams.add_limits(parser)


def _cid(text: str) -> carv2.CID:
    try:
        return carv2.CID.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a CID: {error}") from error


def run(args: argparse.Namespace) -> int:
    data = _by_reference(args) if references.is_wanted(args) else _read(args)
    with writing(streams.destination(args.out, is_binary=False)) as sink:
        sink.write(data)
    if args.json:
        sys.stdout.flush()
        streams.print_json({"cid": args.cid, "size": len(data)}, beside=args.out)
    return 0


def _read(args: argparse.Namespace) -> bytes:
    with (
        streams.source(args.file) as source,
        carv2.open(source, limits=streams.limits_of(args)) as car,
    ):
        if args.rebuild_index:
            car.ignore_index()
        return car.get(args.cid, verify=not args.no_verify)


def _by_reference(args: argparse.Namespace) -> bytes:
    with references.opened(args) as store:
        return store[args.cid]
