"""``carv2 retrievals info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, repo, streams
from carv2.cli.commands.retrieve import lines_of
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse

HELP = "check a retrieval: what is there of its DAG, and what is missing"
EXAMPLES = ("carv2 retrievals info 1637000000000000000",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `retrievals list` shows it")
    repo.add_repo(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    record = retrievals.info(args.id)
    with streams.blame(f"retrieval {record.id}"):
        found = retrievals.check(args.id)
    if args.json:
        streams.print_json({**streams.plain_fields({"retrieval": record}), "completeness": found})
    else:
        print(f"Retrieval: {record.id}")
        print(f"File: {color.printable(record.path)}, {record.size} bytes")
        if record.root is not None:
            print(f"Root: {color.printable(record.root.short())}")
        for line in lines_of(found):
            print(line)
        print(f"State: {record.state}")
    return 0 if found.complete else 1
