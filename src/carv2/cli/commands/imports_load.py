"""``carv2 imports load``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carv2.cli import imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "take in records of imports, as Lotus has them; archives stay where they are"
EXAMPLES = ("carv2 imports load imports.jsonl",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(
        parser, text="""lines of {"id":...,"Labels":{...}}, or one object by number; - for standard input"""
    )
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, check=None) as imports, streams.blame(args.file):
        with (
            contextlib.nullcontext(streams.standard_input()) if args.file == "-" else open(args.file, "rb") as file
        ):
            added = imports.load_records(file)
        if args.json:
            streams.print_json({"added": added})
        else:
            print(f"{added} {'import' if added == 1 else 'imports'} added")
        imports.check()
    return 0
