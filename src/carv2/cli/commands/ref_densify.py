"""``carv2 ref densify``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import progress, references, streams
from carv2.filestore import densify

if TYPE_CHECKING:
    import argparse

HELP = "write an archive in which the leaves of a ref-CAR stand in full"
EXAMPLES = (
    "carv2 ref densify archive.car dense.car --allow /data",
    "carv2 ref densify --version 1 archive.car - --allow /data/video.mp4 | ssh host 'cat >video.car'",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="the ref-CAR, - for standard input")
    parser.add_argument("out", metavar="OUT", help="the new archive; - for standard output, with --version 1")
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the new archive (default 2)")
    references.add_allowances(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    settings = references.settings_of(args)
    with streams.source(args.file) as source, progress.bar("reading") as tick:
        done = densify(
            source,
            streams.destination(args.out, version=args.version),
            version=args.version,
            on_progress=tick,
            limits=streams.limits_of(args),
            **settings,
        )
    if args.json:
        sys.stdout.flush()
        streams.print_json(done, beside=args.out)
    elif done.orphan_count:
        count = references.counted(done.orphan_count, "record")
        print(f"{count} that nothing links to left out", file=sys.stderr)
    return 0
