"""``carv2 dagstore lookup-pieces``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "list the shards that have a block"
EXAMPLES = ("carv2 dagstore lookup-pieces bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument("cid", metavar="CID", type=streams.as_cid, help="of the block; its multihash counts")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if no shard has it."""
    with dagstore.opened(args) as store:
        keys = store.shards_with(args.cid)
        dagstore.print_shards(map(store.info, keys), as_json=args.json)
    return 0 if keys else 1
