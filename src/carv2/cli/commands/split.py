"""``carv2 split``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import carv2
from carv2.cli import color, progress, streams
from carv2.operations.split import split

if TYPE_CHECKING:
    import argparse

    from carv2.operations.split import Shard

HELP = "cut an archive into archives of at most so many bytes"
EXAMPLES = (
    "carv2 split --size 100MiB archive.car shards/",
    "carv2 split --size 1GB --roots placeholder --json archive.car part >slices.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="the archive, - for standard input")
    parser.add_argument(
        "out",
        metavar="OUT",
        help="a folder, or the front of the files' names, to which -0001.car and so on is put",
    )
    parser.add_argument(
        "--size",
        type=streams.size,
        required=True,
        help="most bytes of a file: 1000, 100MiB, 1.5GB",
    )
    parser.add_argument(
        "--roots",
        choices=("first", "all", "none", "placeholder"),
        default="first",
        help="which files have the archive's roots (default: the first); placeholder: the others have bafkqaaa",
    )
    parser.add_argument("--version", type=int, choices=(1, 2), default=1, help="of the files (default 1)")
    streams.add_checking(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.out.endswith("/") and not os.path.isdir(args.out):
        raise ValueError(f"no such folder: {args.out}")
    with (
        streams.source(args.file) as source,
        progress.bar("reading", streams.total_size([args.file])) as tick,
    ):
        shards = split(
            source,
            args.out,
            size=args.size,
            roots=args.roots,
            version=args.version,
            verify=not args.no_verify,
            workers=args.workers,
            on_progress=tick,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
    for shard in shards:
        if args.json:
            _print_slices(shard, streams.limits_of(args))
        else:
            print(shard.cid, shard.size, color.printable(shard.path))
    return 0


def _print_slices(shard: Shard, limits: carv2.Limits) -> None:
    """The shard as JSON, with the place of each of its blocks; piece by piece, because they may be many."""
    write = sys.stdout.write
    write(json.dumps(streams.plain(shard))[:-1] + ', "slices": [')
    separator = ""
    with carv2.open(shard.path, limits=limits) as car:
        for section in car.sections():
            write(f'{separator}["{section.cid}", {section.data_position}, {section.size}]')
            separator = ", "
    write("]}\n")
