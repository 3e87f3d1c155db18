"""``carv2 dagstore destroy-shard``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import api, color, dagstore, streams

if TYPE_CHECKING:
    import argparse

HELP = "remove a shard, its index and its local copy; files of yours stay"
EXAMPLES = (
    "carv2 dagstore destroy-shard baga6ea4seaq",
    "carv2 dagstore destroy-shard --owner deal-7 baga6ea4seaq",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    dagstore.add_key(parser)
    parser.add_argument("--owner", default="", help="who needs it no more; it stays as long as others do")


def run(args: argparse.Namespace) -> int:
    is_gone = _destroyed(args)
    if args.json:
        streams.print_json({"Key": args.key, "destroyed": is_gone})
    else:
        what = "Destroyed shard" if is_gone else "Others still need shard"
        print(f"{what} {color.printable(args.key)}")
    return 0


def _destroyed(args: argparse.Namespace) -> bool:
    """Whether it is gone; an API knows no owners who could still need it."""
    api.refuse(args, "owner")
    if not api.is_meant(args):
        with dagstore.opened(args) as store:
            return store.destroy(args.key, owner=args.owner)
    with api.opened(args) as client:
        client.destroy(args.key)
    return True
