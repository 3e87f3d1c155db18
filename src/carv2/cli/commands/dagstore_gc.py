"""``carv2 dagstore gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import api, color, dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "remove the local copies of shards that nobody reads"
EXAMPLES = ("carv2 dagstore gc --root /data/dagstore",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)


def run(args: argparse.Namespace) -> int:
    is_remote = api.is_meant(args)
    with dagstore.either(args, is_new_fine=False) as store:
        collected = store.gc()
    for one in collected:
        if args.json:
            freed = {} if is_remote else {"freed": one.freed}  # which no API tells
            streams.print_json({"Key": one.key, "Success": not one.skipped, "Error": one.skipped, **freed})
        elif one.skipped:
            print(f"{color.printable(one.key)} SKIPPED {color.printable(one.skipped)}")
        else:
            size = "" if is_remote else f" {one.freed:,} bytes"
            print(f"{color.printable(one.key)} {color.paint('SUCCESS', 'good')}{size}")
    if not collected and not args.json:
        print("no shards collected")
    return 0
