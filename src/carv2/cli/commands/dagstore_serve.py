"""``carv2 dagstore serve``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from carv2.cli import dagstore, serving, streams, tokens
from carv2.errors import CarError

if TYPE_CHECKING:
    import socket

    from carv2.dagstore import DagStore

HELP = "serve a store to other programs and hosts: JSON-RPC as Lotus has it, and a trustless gateway"
EXAMPLES = (
    "carv2 dagstore serve --root /data/dagstore",
    "carv2 dagstore serve --listen 127.0.0.1:2345 --no-gateway --access-log -",
)

_HURRY = 1.0
"""Seconds that indexing gets to end, if who stopped the server did it twice."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_local_store(parser)
    tokens.add_secret(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=serving.listen,
        default=serving.listen(serving.DEFAULT),
        help=f"where to listen, port 0 for any that is free (default {serving.DEFAULT}: this host only)",
    )
    parser.add_argument(
        "--gateway",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="give the blocks of all shards to whoever asks, at /ipfs/CID (default: yes)",
    )
    parser.add_argument(
        "--access-log", metavar="FILE", help="write a line on each request, - for standard error (default: none)"
    )


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C, which is no error."""
    try:
        _serve(args)
    except ImportError as error:
        name = "PyJWT" if error.name == "jwt" else error.name
        raise CarError(f"serving needs {name}: pip install 'carv2[rpc]'") from error
    return 0


def _serve(args: argparse.Namespace) -> None:
    from carv2.rpc import ServerLimits, create_app  # noqa: PLC0415  (optional)

    limits = ServerLimits()
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(serving.bound(args.listen))
        store = stack.enter_context(dagstore.opened(args, is_served=True))
        secret = tokens.secret_of(args, dagstore.folder_of(args, dagstore.config_of(args)))
        gateway = _gateway(store, stack, listening) if args.gateway else None
        stack.enter_context(serving.access_log(args.access_log))
        _warn(args, listening)
        app = create_app(store, secret=secret, limits=limits, gateway=gateway)
        url = serving.url_of(listening)
        if serving.run(app, listening, limits, lambda: _say_ready(args, url)):
            store.close(timeout=_HURRY)


def _gateway(store: DagStore, stack: contextlib.ExitStack, listening: socket.socket) -> Any:
    from carv2.ipfs.gateway import GatewayLimits, create_gateway  # noqa: PLC0415  (not for --help)

    limits = GatewayLimits()
    if not serving.is_open_to_others(listening):  # then all have one address: of this host, or a proxy on it
        limits = GatewayLimits(max_per_client=limits.max_responses)
    gateway = create_gateway(stack.enter_context(store.blockstore()), limits=limits)
    stack.callback(gateway.close)
    return gateway


def _warn(args: argparse.Namespace, listening: socket.socket) -> None:
    if serving.is_open_to_others(listening):
        what = "list shards and read their blocks" if args.gateway else "list shards"
        print(
            f"warning: other hosts can reach this: whoever does may {what} without a token, and tokens "
            "go over the network unencrypted; better listen on 127.0.0.1, behind a proxy with TLS",
            file=sys.stderr,
        )


def _say_ready(args: argparse.Namespace, url: str) -> None:
    if args.json:
        gateway = f"{url}/ipfs/" if args.gateway else None
        streams.print_json({"url": url, "api": f"{url}/rpc/v0", "gateway": gateway, "pid": os.getpid()})
    else:
        print(f"Listening on {url}")
    sys.stdout.flush()
