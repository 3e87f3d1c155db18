"""``carv2 dagstore export-go``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "write what is known of the shards, and their indexes, as the Go dagstore has them"
EXAMPLES = ("carv2 dagstore export-go backup",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument("folder", metavar="DIR", help="new folder, for shards.jsonl and index/")
    dagstore.takes(parser, "must provide a single folder")
    text = "also where your own files are, which a Go dagstore takes for its own and deletes"
    parser.add_argument("--local-copies", action="store_true", help=text)


def run(args: argparse.Namespace) -> int:
    with dagstore.either(args, is_new_fine=False) as store:
        report = store.export_go(args.folder, local_copies=args.local_copies)
    if args.json:
        streams.print_json(report)
        return 0
    print(f"{report.shard_count} shards, {report.index_count} indexes")
    return 0
