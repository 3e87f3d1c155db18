"""Which IPFS node a command asks: ``--kubo`` and what goes with it."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from carv2.errors import BlockNotFoundError

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.cid import CID
    from carv2.ipfs.kubo import KuboBlockstore

_AUTO = "auto"
_LONGEST_LINE = 4096


def add_kubo(parser: argparse.ArgumentParser, text: str) -> None:
    """``--kubo``, for ``text``, and its token; ``--online`` where the node is read."""
    where = "http://HOST:PORT, a multiaddr, unix:///PATH, or auto for what $IPFS_PATH/api says"
    parser.add_argument("--kubo", metavar="URL", type=address, help=f"{text}: its RPC, {where}")
    add_token(parser)
    parser.add_argument(
        "--online", action="store_true", help="with --kubo: let the node fetch what it does not hold"
    )


def add_token(parser: argparse.ArgumentParser) -> None:
    """``--kubo-token-file``."""
    parser.add_argument("--kubo-token-file", metavar="FILE", help="with the secret that the node's RPC wants")


def address(text: str) -> str:
    """The address of a node, for argparse."""
    from carv2.ipfs.kubo.address import NodeAddress  # noqa: PLC0415  (for who asks a node)

    try:
        if text != _AUTO:
            NodeAddress.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _of_repo() -> str:
    """What a running node on this machine wrote into its repo."""
    repo = os.environ.get("IPFS_PATH") or os.path.join(os.path.expanduser("~"), ".ipfs")
    try:
        return _first_line(os.path.join(repo, "api"))
    except FileNotFoundError as error:
        error.advice = "no node runs on that repo (`ipfs daemon` starts one), or it is elsewhere: $IPFS_PATH"  # type: ignore[attr-defined]
        raise


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline(_LONGEST_LINE).strip()


def _token_in(path: str) -> str:
    token = _first_line(path)
    if not token:
        raise ValueError(f"{path}: its first line is empty, and should be the token")
    return token


def require(args: argparse.Namespace) -> None:
    """Raise ValueError for flags that need ``--kubo`` without it."""
    if args.kubo is None and args.online:
        raise ValueError("--online goes with --kubo")
    if args.kubo_token_file is not None and args.kubo is None and getattr(args, "to_kubo", None) is None:
        raise ValueError("--kubo-token-file goes with --kubo")


@contextlib.contextmanager
def opened(args: argparse.Namespace, url: str | None = None) -> Generator[KuboBlockstore]:
    """The node of ``--kubo``, or the one at ``url``."""
    from carv2.ipfs.kubo import KuboBlockstore  # noqa: PLC0415  (for who asks a node)

    token = None if args.kubo_token_file is None else _token_in(args.kubo_token_file)
    where = url or str(args.kubo)
    with KuboBlockstore(
        _of_repo() if where == _AUTO else where, online=url is None and args.online, token=token
    ) as node:
        try:
            yield node
        except BlockNotFoundError as error:
            if url is None and not args.online:
                error.advice = f"the node at {node.url} does not hold it; --online lets it ask its network"  # type: ignore[attr-defined]
            raise


def root_of(node: KuboBlockstore, text: str) -> CID:
    """What ``CID``, ``/ipfs/CID`` or ``/ipfs/CID/path`` names; a path is followed in the node."""
    from carv2.cid import CID  # noqa: PLC0415
    from carv2.unixfs import resolve  # noqa: PLC0415

    root, _, path = text.removeprefix("/ipfs/").partition("/")
    try:
        cid = CID.of(root)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is neither a CID nor /ipfs/CID/path: {error}") from error
    return resolve(node, cid, path).cid if path.strip("/") else cid
