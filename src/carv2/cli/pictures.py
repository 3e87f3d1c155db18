"""What the commands that draw archives have in common: their arguments, and where the picture goes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import progress, streams

if TYPE_CHECKING:
    import argparse

    from carv2.pictures import Layout


def add_arguments(parser: argparse.ArgumentParser, what: str, example: str) -> None:
    """The archive, the output, and how much is looked at."""
    streams.add_file(parser)
    add_output(parser, what, example)
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


def add_output(parser: argparse.ArgumentParser, what: str, example: str) -> None:
    """Where the picture or page goes."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        default="-",
        help=f"file for the {what}, such as {example} (default: standard output)",
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
    with writing(streams.destination(args.output, is_binary=False)) as sink:
        sink.write(text.encode("utf-8", "replace"))


def tell_of_problems(args: argparse.Namespace, found: Layout) -> int:
    """Say on standard error that the archive has problems, and what mends them; the exit code."""
    if not found.problem_count:
        return 0
    if not args.json:
        from carv2.cli import references, repairs  # noqa: PLC0415

        if references.hint(args.file):
            return 1
        first = found.problems[0]
        count = "1 problem" if found.problem_count == 1 else f"{found.problem_count:,} problems, the first"
        references.complain(args.file, f"{count}: {repairs.text_of('map', args.file, first)}")
        if repair := repairs.repair_of_problems(args.file, found.problems):
            print(repair, file=sys.stderr)
    return 1
