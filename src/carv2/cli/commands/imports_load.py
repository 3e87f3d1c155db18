"""``carv2 imports load``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from carv2.cli import imported, repo, streams

if TYPE_CHECKING:
    import argparse

HELP = "take in records of imports, as Lotus has them; archives stay where they are"
EXAMPLES = ("carv2 imports load imports.jsonl", "carv2 imports load --trust lotus-imports.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(
        parser, text="""lines of {"id":...,"Labels":{...}}, or one object by number; - for standard input"""
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="the records are your own: follow their archives into the originals, and let archives in the repo go "
        "with their imports",
    )
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    with imported.opened(args, check=None) as imports, streams.blame(args.file):
        with (
            contextlib.nullcontext(streams.standard_input()) if args.file == "-" else open(args.file, "rb") as file
        ):
            loaded = imports.load_records(file, trust=args.trust)
        if args.json:
            streams.print_json(loaded)
        else:
            there = f", {loaded.present} {'was' if loaded.present == 1 else 'were'} there already"
            what = "import" if loaded.added == 1 else "imports"
            print(f"{loaded.added} {what} added{there if loaded.present else ''}")
        imports.check()
    return 0
