"""``carv2 dagstore register-shard``."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

from carv2.cli import api, color, dagstore
from carv2.errors import CarError, RpcError, ShardErroredError, ShardExistsError

if TYPE_CHECKING:
    import argparse

    from carv2.dagstore import DagStore, ShardInfo
    from carv2.rpc import DagStoreClient

HELP = "register a shard, and index it"
EXAMPLES = (
    "carv2 dagstore --root /data/dagstore register-shard baga6ea4seaq pieces/baga6ea4seaq.car",
    "carv2 dagstore register-shard --lazy baga6ea4seaq https://example.org/baga6ea4seaq.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    dagstore.add_key(parser)
    parser.add_argument(
        "url", metavar="URL", nargs="?", help="where its bytes are: a URL or a path (default: piece://KEY)"
    )
    dagstore.takes(parser, "must provide a shard key, and a URL or path")
    parser.add_argument("--lazy", action="store_true", help="index it when it is first read")
    parser.add_argument(
        "--local-copy", metavar="FILE", help="read this file instead as long as it is there; it stays yours"
    )
    parser.add_argument("--owner", default="", help="who needs the shard, such as a deal")


def run(args: argparse.Namespace) -> int:
    if api.is_meant(args):
        api.refuse(args, "url", "lazy", "local_copy", "owner")
        with api.opened(args, lambda error: _remedy(args, error)) as client:
            client.register(args.key)
            _check_remote(client, args.key)
        info = None
    else:
        info = _registered_here(args)
    dagstore.print_done(args, info)
    if not args.json:
        print(f"Registered shard {color.printable(args.key)}")
    return 0


def _check_remote(client: DagStoreClient, key: str) -> None:
    """ShardErroredError if it is errored there: of a shard that is known Lotus' method says nothing."""
    try:
        found = [info for info in client.list(prefix=key) if info.key == key and info.state.name == "ERRORED"]
    except RpcError as error:
        if api.is_no_method(error):  # a token without "read"
            return
        raise
    for info in found:
        raise ShardErroredError(key, cause=info.error, error_type="")


def _remedy(args: argparse.Namespace, error: CarError) -> str:
    if isinstance(error, ShardErroredError) and args.key.isprintable():
        return dagstore.again(args, args.key, str(error))
    return ""


def _registered_here(args: argparse.Namespace) -> ShardInfo:
    url = args.url or f"piece://{args.key}"
    if url.partition("://")[0] in dagstore.REMOTE and importlib.util.find_spec("fsspec") is None:
        raise CarError(f"{args.key}: a shard with such a URL needs fsspec: pip install 'carv2[remote]'")
    with dagstore.opened(args, is_watched=True) as store:
        if "://" not in url:
            from carv2.dagstore import FileMount  # noqa: PLC0415  (not for --help)

            url = FileMount(os.path.abspath(url)).url
        return _registered(store, args, url)


def _registered(store: DagStore, args: argparse.Namespace, url: str) -> ShardInfo:
    """The shard, of which one more owner is noted if it is there already, with the same URL."""
    try:
        return store.register(args.key, url, lazy=args.lazy, local_copy=args.local_copy, owner=args.owner)
    except ShardExistsError:
        info = store.info(args.key)
        if not args.owner or info.url != url:
            raise
        store.add_owner(args.key, args.owner)
        return info
