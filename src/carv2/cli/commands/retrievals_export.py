"""``carv2 retrievals export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import exporting, repo, streams
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse

HELP = "write what was retrieved: as a file or folder, a tar file, or an archive"
EXAMPLES = (
    "carv2 retrievals export 1637000000000000000 folder",
    "carv2 retrievals export --path docs/readme.md 1637000000000000000 readme.md",
    "carv2 retrievals export --tar 1637000000000000000 - | tar -t",
    "carv2 retrievals export --car --version 1 1637000000000000000 whole.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `retrievals list` shows it")
    exporting.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    exporting.form_of(args)
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    record = retrievals.info(args.id)
    return exporting.run(args, retrievals.export, record.id, what="retrieval", size=record.size)
