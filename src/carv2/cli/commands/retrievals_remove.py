"""``carv2 retrievals remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import repo, streams
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse

HELP = "delete retrievals, finished or not"
EXAMPLES = ("carv2 retrievals remove 1637000000000000000",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="as `retrievals list` shows it")
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    retrievals = Retrievals(repo.retrievals_folder(args))
    ids = list(dict.fromkeys(args.ids))
    for id_ in ids:  # all or none, as far as that can be known
        retrievals.info(id_)
    for id_ in ids:
        retrievals.remove(id_)
        if args.json:
            streams.print_json({"id": id_, "removed": True})
    return 0
