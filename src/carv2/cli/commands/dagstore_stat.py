"""``carv2 dagstore stat``."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from carv2.cli import api, dagstore, streams
from carv2.errors import RpcError

if TYPE_CHECKING:
    import argparse

    from carv2.dagstore import StoreStat
    from carv2.rpc import DagStoreClient

HELP = "count what is in the store"
EXAMPLES = ("carv2 dagstore stat --json",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)


def run(args: argparse.Namespace) -> int:
    counts = _counts_elsewhere(args) if api.is_meant(args) else _counts_here(args)
    if args.json:
        streams.print_json({name.replace(" ", "_"): value for name, value in counts.items()})
        return 0
    width = max(map(len, counts))
    for name, value in counts.items():
        print(f"{name:{width}}  {value:,}")
    return 0


def _counts_here(args: argparse.Namespace) -> dict[str, int]:
    with dagstore.opened(args, is_new_fine=False) as store:
        return _named(store.stat())


def _named(stat: StoreStat) -> dict[str, int]:
    return {
        "shards": stat.shard_count,
        **{f"shards {name}": count for name, count in stat.by_state.items()},
        "multihashes": stat.multihash_count,
        "blocks": stat.block_count,
        "index bytes": stat.index_bytes,
        "local copies": stat.transient_count,
        "local copy bytes": stat.transient_bytes,
    }


def _counts_elsewhere(args: argparse.Namespace) -> dict[str, int]:
    """All of it; or as much as the methods of Lotus tell, to one who may only read."""
    with api.opened(args) as client:
        try:
            return _named(client.stat())
        except RpcError as error:
            if not api.is_no_method(error):
                raise
            return _counts_of_lotus(client)


def _counts_of_lotus(client: DagStoreClient) -> dict[str, int]:
    from carv2.dagstore import ShardState  # noqa: PLC0415  (not for --help)

    states = Counter(info.state for info in client.list())
    sizes: dict[str, int] = {}
    with contextlib.suppress(RpcError):  # it takes the permission `admin`, and not every server has it
        sizes["index bytes"] = client.index_size()
    by_state = {f"shards {state.name.lower()}": states[state] for state in ShardState}
    return {"shards": states.total(), **by_state, **sizes}
