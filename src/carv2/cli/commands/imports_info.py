"""``carv2 imports info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "show the labels of an import, found by its number or its root"
EXAMPLES = (
    "carv2 imports info 1629158672000000001",
    "carv2 imports info bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    imported.add_which(parser)
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, read_only=True) as imports:
        entry = imported.found(imports, args.which)
    if args.json:
        streams.print_json(imported.plain(entry))
        return 0
    print(f"id         {entry.id}")
    for key, value in sorted(entry.labels.items()):
        print(f"{color.printable(key):9}  {color.printable(value)}")
    if entry.error:
        print(f"error      {color.printable(entry.error)}")
    return 0
