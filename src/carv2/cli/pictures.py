"""What the commands that draw archives have in common: their arguments, and where the picture goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import progress, streams

if TYPE_CHECKING:
    import argparse

    from carv2.pictures import Layout


def add_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """The archive, the output, and how much is looked at."""
    streams.add_file(parser)
    add_output(parser, example)
    parser.add_argument(
        "--max-blocks",
        type=streams.positive,
        default=1_000_000,
        metavar="N",
        help="follow links and count duplicates of at most so many blocks (default 1,000,000)",
    )
    parser.add_argument(
        "--workers", type=streams.positive, default=1, help="processes to share the hashing (default 1)"
    )
    streams.add_limits(parser)


def add_output(parser: argparse.ArgumentParser, example: str) -> None:
    """Where the picture goes."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        default="-",
        help=f"the picture, such as {example} (default: standard output)",
    )


def survey(args: argparse.Namespace) -> Layout:
    """Look at the archive; a damaged one too."""
    from carv2.pictures import layout  # noqa: PLC0415  (dataclasses and more: 10 ms)

    with (
        streams.source(args.file) as source,
        progress.bar("looking", streams.total_size([args.file])) as tick,
    ):
        return layout(
            source,
            name="standard input" if args.file == "-" else args.file.replace("\\", "/").rpartition("/")[2],
            max_blocks=args.max_blocks,
            workers=args.workers,
            on_progress=tick,
            limits=streams.limits_of(args),
        )


def write(args: argparse.Namespace, text: str) -> None:
    """Write the picture, whole or not at all."""
    with writing(streams.destination(args.output)) as sink:
        sink.write(text.encode("utf-8", "replace"))
