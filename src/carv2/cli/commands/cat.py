"""``carv2 cat``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import folders, progress, streams
from carv2.unixfs import read

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

HELP = "write a file of an archive to standard output"
EXAMPLES = (
    "carv2 cat archive.car docs/readme.txt",
    "carv2 cat archive.car video.mp4 --range 0:1000000 -o beginning.mp4",
    "carv2 cat archive.car log --range=-200:",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folders.add_archive(parser)
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="",
        help="below the roots, or /ipfs/CID/PATH (default: the root)",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="-", help="file to write (default: standard output)"
    )
    parser.add_argument(
        "--range",
        metavar="A:B",
        type=_range,
        help="bytes from A up to, not including, B; negative ones count from the end, both may be left out",
    )
    parser.add_argument("--offset", metavar="BYTES", type=streams.size, help="pass over so many bytes first")
    parser.add_argument("--length", metavar="BYTES", type=streams.size, help="write so many bytes at most")


def _range(text: str) -> tuple[int, int | None]:
    first, colon, last = text.partition(":")
    try:
        if colon:
            return int(first or 0), int(last) if last else None
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is no range of bytes, such as 0:100 or -100:")


def run(args: argparse.Namespace) -> int:
    start, stop = _span(args)
    with folders.opened(args) as store:
        _, entry = folders.found(store, store.roots, args.path)[0]
        size = 0
        with _bar(args, entry.size) as tick, writing(streams.destination(args.output, is_binary=False)) as sink:
            for piece in read(store, entry.cid, start, stop):
                sink.write(piece)
                size += len(piece)
                tick(len(piece))
    if args.json:
        sys.stdout.flush()
        streams.print_json({"cid": entry.cid, "size": size}, beside=args.output)
    return 0


def _bar(args: argparse.Namespace, size: int | None) -> AbstractContextManager[progress.Tick]:
    """A bar, unless the file goes to a terminal."""
    if args.output == "-" and sys.stdout.isatty():
        return contextlib.nullcontext(lambda _: None)
    return progress.bar("reading", None if args.range or args.length is not None else size)


def _span(args: argparse.Namespace) -> tuple[int, int | None]:
    if args.range is not None and (args.offset is not None or args.length is not None):
        raise ValueError("--range says what --offset and --length say: give one or the other")
    if args.range is not None:
        start, stop = args.range
        return start, stop
    start = args.offset or 0
    return start, None if args.length is None else start + args.length
