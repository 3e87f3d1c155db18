"""``carv2 imports relocate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import imported, references, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "tell an import where its original is now"
EXAMPLES = (
    "carv2 imports relocate 1629158672000000001 /data/video.mp4=/mnt/films/video.mp4",
    "carv2 imports relocate 1629158672000000001 /data=/mnt/films",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    imported.add_which(parser)
    parser.add_argument(
        "moves",
        metavar="OLD=NEW",
        nargs="+",
        type=references.move,
        help="path of a file or folder as it was imported, and where it is now",
    )
    parser.add_argument(
        "--check",
        choices=("hash", "size", "none"),
        default="hash",
        help="what to look at in the new places before anything is changed (default: hash)",
    )
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, check=None) as imports:
        entry = imported.found(imports, args.which)
        with streams.blame(f"import {entry.id}"):
            entry = imports.relocate(entry.id, dict(args.moves), check=args.check)
    if args.json:
        streams.print_json(imported.plain(entry))
    else:
        print(imported.line_of(entry))
    return 0
