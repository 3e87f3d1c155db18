"""``carv2 ref create``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import progress, references, streams
from carv2.filestore import VARIANTS, refer

if TYPE_CHECKING:
    import argparse

HELP = "turn an archive into a ref-CAR, where the original still has its bytes"
EXAMPLES = (
    "carv2 ref create video.car /data/video.mp4 video-ref.car",
    "carv2 ref create --variant A folder.car /data/folder folder-ref.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dense", metavar="DENSE", help="the archive, - for standard input")
    parser.add_argument("original", metavar="ORIGINAL", help="the file or folder that it was made of")
    parser.add_argument("out", metavar="OUT", help="the new archive")
    parser.add_argument(
        "--variant",
        choices=sorted(VARIANTS),
        default="D",
        help="of the format: D for Lotus 1.19 and later (the default), A for Lotus up to 1.13.1",
    )
    references.add_base(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with streams.source(args.dense) as source, progress.bar("comparing") as tick:
        done = refer(
            source,
            args.original,
            args.out,
            variant=args.variant,
            root=references.base_of(args),
            on_progress=tick,
            limits=streams.limits_of(args),
        )
    if args.json:
        streams.print_json(done)
    else:
        print(f"{references.counted(done.reference_count, 'reference')} to {done.size} bytes")
        if done.kept_count:
            leaves = "1 leaf stays" if done.kept_count == 1 else f"{done.kept_count} leaves stay"
            print(f"{leaves} in full: the original does not have these bytes there", file=sys.stderr)
    if not done.reference_count:
        text = "no leaf became a reference: the original does not have their bytes where they should be"
        references.complain(args.out, f"{text}; all blocks are in the archive in full")
        return 1
    return 0
