"""``carv2 imports list``; what it prints is what Lotus' ``client local`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "list the imports, oldest first"
EXAMPLES = ("carv2 imports list --repo /data/carv2",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, read_only=True) as imports:
        for entry in (imported.told(imports, entry) for entry in imports.list()):
            if args.json:
                streams.print_json(imported.plain(entry))
                continue
            print(imported.line_of(entry))
            if entry.error:
                print(f"\terror: {color.printable(entry.error)}")
    return 0
