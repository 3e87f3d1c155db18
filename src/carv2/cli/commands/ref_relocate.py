"""``carv2 ref relocate``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from carv2.cli import folders, references, streams
from carv2.filestore import relocate
from carv2.filestore.relocate import is_below, original_paths

if TYPE_CHECKING:
    import argparse

    from carv2._source import SourceLike

HELP = "make the references of a ref-CAR say where the originals are now"
EXAMPLES = (
    "carv2 ref relocate archive.car /data/video.mp4=/mnt/films/video.mp4",
    "carv2 ref relocate archive.car /data=/mnt/films -o moved.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the ref-CAR; - for standard input, with -o")
    parser.add_argument(
        "moves",
        metavar="OLD=NEW",
        nargs="+",
        help="path of a file or folder as the references have it, and where it is now",
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="the new archive (default: FILE is replaced)")
    parser.add_argument(
        "--check",
        choices=("hash", "size", "none"),
        default="hash",
        help="what to look at in the new places before anything is written (default: hash)",
    )
    parser.add_argument(
        "--allow",
        metavar="DIR",
        action="append",
        help="folder, or file, that may be read for that (default: the new places)",
    )
    references.add_base(parser)
    streams.add_limits(parser)


def _split(text: str, source: SourceLike, args: argparse.Namespace) -> tuple[str, str]:
    """OLD and NEW. Of several ``=`` the last counts with a path of the archive in front, or a folder."""
    first = references.move(text)
    if text.count("=") == 1:
        return first
    paths = original_paths(source, root=references.base_of(args), limits=streams.limits_of(args))
    for at in reversed([at for at, letter in enumerate(text) if letter == "="]):
        old, new = text[:at], text[at + 1 :]
        if old and new and any(is_below(path, os.path.abspath(old)) for path in paths):
            return old, new
    return first


def run(args: argparse.Namespace) -> int:
    if args.file == "-" and not args.output:
        raise ValueError("name the archive to write: -o OUT")
    with streams.watched(args.file, "checking") as source:
        moves = dict([_split(text, source, args) for text in args.moves])
        done = relocate(
            source,
            streams.destination(args.output or args.file),
            moves,
            check=args.check,
            allow=args.allow,
            root=references.base_of(args),
            limits=streams.limits_of(args),
        )
    if args.json:
        sys.stdout.flush()
        streams.print_json(done, beside=args.output)
        return 0
    told = sys.stderr if args.output == "-" else sys.stdout
    for old, new in done.paths.items():
        print(f"{folders.shown(old)} -> {folders.shown(new)}", file=told)
    print(f"{done.moved_count} of {references.counted(done.reference_count, 'reference')} moved", file=told)
    if done.unchecked_count:
        count = references.counted(done.unchecked_count, "record")
        text = f"{count} that nothing links to: what is in the new places was not compared"
        print(text, file=sys.stderr)
    return 0
