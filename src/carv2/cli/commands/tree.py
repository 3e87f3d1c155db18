"""``carv2 tree``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import folders, repairs, streams
from carv2.cli.drawing import ASCII, UNICODE, Drawing

if TYPE_CHECKING:
    import argparse

HELP = "draw what an archive holds, from its roots down"
EXAMPLES = ("carv2 tree archive.car", "carv2 tree --depth 2 --limit 10 archive.car photos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folders.add_archive(parser)
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="",
        help="below the roots, or /ipfs/CID/PATH (default: the roots)",
    )
    parser.add_argument("--depth", metavar="N", type=streams.positive, help="levels to show (default: all)")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=streams.positive,
        default=100,
        help="entries of a directory to show (default 100); the others are counted",
    )


def run(args: argparse.Namespace) -> int:
    with folders.opened(args) as store:
        drawing = Drawing(store, UNICODE if _can_print(UNICODE) else ASCII, depth=args.depth, limit=args.limit)
        for root, entry in folders.found(store, store.roots, args.path):
            for row in drawing.rows(root, entry):
                if args.json:
                    streams.print_json(row.fields())
                else:
                    print(row.text)
    if drawing.lacks_blocks:
        repairs.hint_at_index(args.file, args)
    return 1 if drawing.damaged else 0


def _can_print(marks: tuple[str, ...]) -> bool:
    try:
        "".join(marks).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
