"""``carv2 map``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import pictures, streams

if TYPE_CHECKING:
    import argparse

HELP = "draw the bytes of an archive, and how a walk goes through them, as SVG"
EXAMPLES = ("carv2 map archive.car -o map.svg", "carv2 map --json archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pictures.add_arguments(parser, "picture", "map.svg")


def run(args: argparse.Namespace) -> int:
    from carv2.pictures import draw_map  # noqa: PLC0415

    found = pictures.survey(args)
    if args.json:
        streams.print_json(found)
    else:
        pictures.write(args, draw_map(found))
    return pictures.tell_of_problems(args, found)
