"""``carv2 dagstore list-shards``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import dagstore

if TYPE_CHECKING:
    import argparse

HELP = "list the shards, by key"
EXAMPLES = (
    "carv2 dagstore list-shards --root /data/dagstore",
    "carv2 dagstore list-shards --state errored --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument(
        "--state",
        choices=["new", "initializing", "available", "serving", "recovering", "errored"],
        help="those in one state only",
    )
    parser.add_argument("--prefix", default="", help="those whose keys begin with it only")


def run(args: argparse.Namespace) -> int:
    from carv2.dagstore import ShardState  # noqa: PLC0415  (not for --help)

    state = None if args.state is None else ShardState[args.state.upper()]
    with dagstore.either(args, is_new_fine=False) as store:
        shards = store.list(state=state, prefix=args.prefix)
        dagstore.print_shards(shards, as_json=args.json, is_remote=args.api is not None)
    return 0
