"""``carv2 dagstore token``."""

from __future__ import annotations

import argparse
import time

from carv2.cli import dagstore, streams, tokens
from carv2.errors import CarError

HELP = "make a token for clients of `carv2 dagstore serve`"
EXAMPLES = (
    "carv2 dagstore token --root /data/dagstore --allow read,write --expires 30d > token",
    "carv2 dagstore token --allow read,write,sign,admin",
)

_PERMISSIONS = ("read", "write", "sign", "admin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_local_store(parser)
    tokens.add_secret(parser)
    parser.add_argument(
        "--allow",
        metavar="LIST",
        type=_permissions,
        required=True,
        help="what it allows, of read, write, sign and admin, with commas between; none implies another",
    )
    parser.add_argument(
        "--expires",
        metavar="DURATION",
        type=tokens.duration,
        help="how long it is good, such as 12h or 30d (default: as long as the secret stays)",
    )


def _permissions(text: str) -> list[str]:
    """The names, each once, for argparse."""
    given = [name.strip() for name in text.split(",")]
    wrong = [name for name in given if name not in _PERMISSIONS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of read, write, sign, admin")
    return [name for name in _PERMISSIONS if name in given]


def run(args: argparse.Namespace) -> int:
    expires = None if args.expires is None else int(time.time()) + args.expires
    token = _made(args, expires)
    if args.json:
        streams.print_json({"token": token, "allow": args.allow, "expires": expires})
    else:
        print(token)
    return 0


def _made(args: argparse.Namespace, expires: int | None) -> str:
    config = dagstore.config_of(args)
    folder = dagstore.folder_of(args, config)
    if args.token_secret is None and not dagstore.is_there(folder, config):
        raise CarError(f"{folder}: there is no DAG store; --token-secret names a secret elsewhere")
    try:
        from carv2.rpc import make_token  # noqa: PLC0415  (not for --help)

        return make_token(tokens.secret_of(args, folder), args.allow, expires=expires)
    except ImportError as error:
        name = "PyJWT" if error.name == "jwt" else error.name
        raise CarError(f"tokens need {name}: pip install 'carv2[rpc]'") from error
