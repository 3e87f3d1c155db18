"""``carv2 dagstore import-go``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "take over shards and indexes that are as the Go dagstore has them"
EXAMPLES = ("carv2 dagstore import-go backup",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument("folder", metavar="DIR", help="folder with shards.jsonl and index/")
    dagstore.takes(parser, "must provide a single folder")


def run(args: argparse.Namespace) -> int:
    with dagstore.either(args) as store:
        report = store.import_go(args.folder)
    if args.json:
        streams.print_json(report)
        return 0
    for text in report.refused:
        print(color.printable(text))
    print(
        f"{report.shard_count} shards, {report.index_count} indexes; "
        f"{report.known} known, {report.refused_count} refused"
    )
    return 1 if report.refused_count else 0
