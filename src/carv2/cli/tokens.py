"""What `dagstore serve` and `dagstore token` share: the secret that tokens are signed with."""

from __future__ import annotations

import argparse
import os
import re

from carv2.errors import CarError

_FILE = "token-secret"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_secret(parser: argparse.ArgumentParser) -> None:
    """``--token-secret FILE``."""
    parser.add_argument(
        "--token-secret",
        metavar="FILE",
        help=f"file with the secret that tokens are signed with, made if there is none (default: {_FILE} in the "
        "folder of the store)",
    )


def secret_of(args: argparse.Namespace, folder: str) -> bytes:
    """The secret, of a store in that folder."""
    from carv2.rpc import load_or_make_secret  # noqa: PLC0415  (for the commands that need it)

    path = args.token_secret or os.path.join(folder, _FILE)
    try:
        return load_or_make_secret(path)
    except FileNotFoundError as error:  # which names a temporary file beside it
        raise CarError(f"{path}: there is no folder for it") from error
    except ValueError as error:  # the file's fault
        raise CarError(str(error)) from error


def duration(text: str) -> int:
    """Seconds, for argparse: 90s, 15m, 12h, 30d, 2w.

    >>> duration("12h")
    43200
    """
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 15m, 12h or 30d")
    return int(found[1]) * _SECONDS[found[2]]
