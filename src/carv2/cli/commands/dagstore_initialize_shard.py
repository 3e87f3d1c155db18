"""``carv2 dagstore initialize-shard``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "index a shard that is new"
EXAMPLES = ("carv2 dagstore initialize-shard baga6ea4seaq",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    dagstore.add_key(parser)


def run(args: argparse.Namespace) -> int:
    with dagstore.opened(args) as store:
        info = store.initialize(args.key)
        if args.json:
            streams.print_json(dagstore.plain(info))
    return 0
