"""``carv2 report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import pictures, streams

if TYPE_CHECKING:
    import argparse

HELP = "make one page about an archive: its layout, blocks, DAG and problems, as HTML"
EXAMPLES = ("carv2 report archive.car -o report.html", "carv2 report --json archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pictures.add_arguments(parser, "page", "report.html")


def run(args: argparse.Namespace) -> int:
    from carv2.pictures import draw_report  # noqa: PLC0415

    found = pictures.survey(args)
    if args.json:
        streams.print_json(found)
    else:
        pictures.write(args, draw_report(found))
    return pictures.tell_of_problems(args, found)
