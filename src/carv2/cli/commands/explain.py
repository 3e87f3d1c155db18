"""``carv2 explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, streams
from carv2.operations.explain import explain, to_lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2.operations.explain import Field

HELP = "show an archive or index byte by byte, a line for each field, up to the first fault"
EXAMPLES = ("carv2 explain archive.car", "carv2 explain --sections 3 archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser, text="an archive or a detached index, - for standard input")
    parser.add_argument("--sections", type=streams.positive, metavar="N", help="show the first N sections only")
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    faults: list[Field] = []

    def watched(fields: Iterator[Field]) -> Iterator[Field]:
        for field in fields:
            if field.error is not None:
                faults.append(field)
            if args.json:
                streams.print_json(field)
            else:
                yield field

    with streams.source(args.file) as source:
        fields = explain(
            source, limits=streams.limits_of(args), max_sections=args.sections, null_padding=args.null_padding
        )
        for line in to_lines(watched(fields)):
            fault = line.startswith("-->")
            print(color.paint(line, "error") if fault else color.paint(line[:17], "dim") + line[17:])
    return 1 if faults else 0
