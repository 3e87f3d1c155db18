"""A DAG store elsewhere, for the commands of the group ``dagstore``: ``--api URL`` and ``--token-file FILE``."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING

from carv2.cli import streams
from carv2.errors import CarError, RpcError, RpcTransportError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator

    from carv2.rpc import DagStoreClient

TOKEN_VARIABLE = "CARV2_API_TOKEN"  # noqa: S105  (its name)
_LOCAL_FLAGS = ("root", "config", "pieces", "repo")
_NO_METHOD = -32601
_MOST = 64 << 10
"""Bytes that a file with a token may have."""


def add_api(parser: argparse.ArgumentParser) -> None:
    """``--api URL`` and ``--token-file FILE``."""
    parser.add_argument(
        "--api",
        metavar="URL",
        help="a store that is served elsewhere, such as http://127.0.0.1:7878, instead of one on this host",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"with --api: file with the token, - for standard input (default: ${TOKEN_VARIABLE}, else none)",
    )


def is_meant(args: argparse.Namespace) -> bool:
    """Whether the command is about a store elsewhere; ValueError for flags that do not go together."""
    if getattr(args, "api", None) is None:
        if getattr(args, "token_file", None) is not None:
            raise ValueError("--token-file goes with --api")
        return False
    for name in _LOCAL_FLAGS:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is about a store on this host, and does not go with --api")
    return True


def is_no_method(error: RpcError) -> bool:
    """Whether the caller cannot call it: there is no such method there, or the token does not allow it."""
    return error.code == _NO_METHOD or error.message.startswith("missing permission ")


def refuse(args: argparse.Namespace, *names: str) -> None:
    """ValueError for arguments that the API has no room for."""
    if is_meant(args):
        for name in names:
            if getattr(args, name):
                flag = "a URL" if name == "url" else f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} cannot be told to an API: the methods of Lotus take a key only")


@contextlib.contextmanager
def opened(
    args: argparse.Namespace, remedy_of: Callable[[CarError], str] = lambda _error: ""
) -> Generator[DagStoreClient]:
    """The store behind ``--api``; ``remedy_of`` says what mends an error of a shard."""
    from carv2.rpc import DagStoreClient  # noqa: PLC0415  (for the commands that call one)

    token = _token(args)
    try:
        client = DagStoreClient(args.api, token=token)
    except ImportError as error:
        raise CarError(str(error)) from error
    _warn(args.api, token)
    with client as store:
        try:
            yield store
        except KeyboardInterrupt:
            print("aborted", file=sys.stderr)
            raise
        except CarError as error:
            error.remedy = _remedy(error) or remedy_of(error)  # type: ignore[attr-defined]
            raise


def _token(args: argparse.Namespace) -> str | None:
    name: str | None = args.token_file
    if name is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    is_piped = name == "-"
    with contextlib.nullcontext(streams.standard_input()) if is_piped else open(name, "rb") as file:
        text = file.read(_MOST)
    words = text.split()
    if len(words) != 1 or not words[0].isascii() or not words[0].decode().isprintable():
        where = "standard input" if is_piped else name
        raise CarError(f"{where} holds no token, which is one word")  # what it holds may be secret
    return words[0].decode("ascii")


def _warn(url: str, token: str | None) -> None:
    from carv2.rpc._address import parse_address  # noqa: PLC0415  (as the client)

    address = parse_address(url)
    if token is not None and not address.is_secure and not address.is_loopback:
        print(
            f"warning: the token goes to {address.host} unencrypted; whoever sees it can use it too",
            file=sys.stderr,
        )


def _remedy(error: CarError) -> str:
    text = str(error)
    needed = re.search(r"^missing permission .*\(need '(\w+)'\)$", text)
    if isinstance(error, RpcError) and needed:
        return (
            f"`carv2 dagstore token --allow {needed[1]}`, where the store is served, makes a token for that; "
            f"give it with --token-file, or in ${TOKEN_VARIABLE}."
        )
    if isinstance(error, RpcError) and "unrecognized mount scheme: piece" in text:
        return "It must be served with the folder of unsealed pieces: `carv2 dagstore serve --pieces DIR`."
    if isinstance(error, RpcTransportError) and "refused" in text:
        return "Is it served there? `carv2 dagstore serve` says where."
    return ""
