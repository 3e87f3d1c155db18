"""``carv2 imports remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "forget imports, and delete the archives that go with them"
EXAMPLES = ("carv2 imports remove 1629158672000000001",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids",
        metavar="NUMBER",
        nargs="+",
        type=imported.number,
        help="of an import, all or none; originals, and archives that were taken in with --car, are left alone",
    )
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, check=None) as imports:
        imports.remove(*args.ids)
        if args.json:
            for id_ in args.ids:
                streams.print_json({"id": str(id_), "removed": True})
        imports.check()
    return 0
