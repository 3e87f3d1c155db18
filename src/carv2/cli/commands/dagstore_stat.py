"""``carv2 dagstore stat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "count what is in the store"
EXAMPLES = ("carv2 dagstore stat --json",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)


def run(args: argparse.Namespace) -> int:
    with dagstore.opened(args, is_new_fine=False) as store:
        stat = store.stat()
    counts: dict[str, object] = {
        "shards": stat.shard_count,
        **{f"shards {name}": count for name, count in stat.by_state.items()},
        "multihashes": stat.multihash_count,
        "blocks": stat.block_count,
        "index bytes": stat.index_bytes,
        "local copies": stat.transient_count,
        "local copy bytes": stat.transient_bytes,
    }
    if args.json:
        streams.print_json({name.replace(" ", "_"): value for name, value in counts.items()})
        return 0
    width = max(map(len, counts))
    for name, value in counts.items():
        print(f"{name:{width}}  {value:,}")
    return 0
