"""``carv2 imports info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, imported, repo, streams
from carv2.errors import ImportNotFoundError

if TYPE_CHECKING:
    import argparse

    from carv2.cid import CID
    from carv2.imports import Import, ImportsManager

HELP = "show the labels of an import, found by its number or its root"
EXAMPLES = (
    "carv2 imports info 1629158672000000001",
    "carv2 imports info bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "which", metavar="IMPORT", type=_which, help="its number, or its root: then the first that has it"
    )
    repo.add_repo(parser)


def _which(text: str) -> int | CID:
    return imported.number(text) if text.isdecimal() else streams.as_cid(text)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args) as imports:
        entry = _found(imports, args.which)
    if args.json:
        streams.print_json(imported.plain(entry))
        return 0
    print(f"id         {entry.id}")
    for key, value in sorted(entry.labels.items()):
        print(f"{color.printable(key):9}  {color.printable(value)}")
    return 0


def _found(imports: ImportsManager, which: int | CID) -> Import:
    if isinstance(which, int):
        return imports.info(which)
    entry = imports.find(which)
    if entry is None:
        raise ImportNotFoundError(which)
    return entry
