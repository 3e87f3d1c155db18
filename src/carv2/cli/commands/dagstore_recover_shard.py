"""``carv2 dagstore recover-shard``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore

if TYPE_CHECKING:
    import argparse

HELP = "index a shard anew that is errored"
EXAMPLES = ("carv2 dagstore recover-shard baga6ea4seaq",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    dagstore.add_key(parser)


def run(args: argparse.Namespace) -> int:
    with dagstore.either(args, is_watched=True) as store:
        info = store.recover(args.key)
        dagstore.print_done(args, info)
    return 0
