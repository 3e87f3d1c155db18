"""``carv2 dagstore lookup-pieces``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from carv2.cli import api, dagstore, streams
from carv2.errors import ShardNotFoundError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from carv2.dagstore import DagStore, ShardInfo

HELP = "list the shards that have a block"
EXAMPLES = ("carv2 dagstore lookup-pieces bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument("cid", metavar="CID", type=streams.as_cid, help="of the block; its multihash counts")
    dagstore.takes(parser, "must provide a single CID")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if no shard has it."""
    found = _found(args)
    dagstore.print_shards(found, as_json=args.json, is_remote=api.is_meant(args))
    if not found and not args.json:
        print(f"no shard has {args.cid}", file=sys.stderr)
    return 0 if found else 1


def _found(args: argparse.Namespace) -> list[ShardInfo]:
    if api.is_meant(args):
        with api.opened(args) as client:
            return client.lookup(args.cid)
    with dagstore.opened(args, is_new_fine=False) as store:
        return list(_those_there(store, store.shards_with(args.cid)))


def _those_there(store: DagStore, keys: Iterable[str]) -> Iterator[ShardInfo]:
    """The shards that are still there."""
    for key in keys:
        with contextlib.suppress(ShardNotFoundError):  # destroyed meanwhile
            yield store.info(key)
