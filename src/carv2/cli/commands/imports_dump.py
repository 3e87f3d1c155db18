"""``carv2 imports dump``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2.cli import imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "write the records of all imports as Lotus has them, one a line"
EXAMPLES = ("carv2 imports dump -o imports.jsonl", "carv2 imports dump | carv2 imports load --repo other")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="OUT", default="-", help="(default: standard output)")
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    count = 0
    with (
        imported.opened(args, read_only=True) as imports,
        writing(streams.destination(args.output, is_binary=False)) as out,
    ):
        for line in imports.export_records():
            out.write(line.encode("ascii") + b"\n")
            count += 1
    if args.json:
        streams.print_json({"count": count}, beside=args.output)
    return 0
