"""``carv2 guess-profile``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.cli import color, progress, streams
from carv2.unixfs.guessing import guess_profile

if TYPE_CHECKING:
    from carv2.unixfs.guessing import Guess

HELP = "say which import profile gives a file or folder its CID"
EXAMPLES = (
    "carv2 guess-profile photo.jpg QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
    "carv2 guess-profile --all photos bafybeihy3kizsacme7rhlcutbn4ekspbmnjwwo2vblqy3bzp467x72u6ve",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file or folder")
    parser.add_argument("cid", metavar="CID", type=_cid, help="that it should have, of either version")
    parser.add_argument("--all", action="store_true", help="show what each profile gives, the right ones first")


def _cid(text: str) -> CID:
    try:
        return CID.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a CID: {error}") from error


def run(args: argparse.Namespace) -> int:
    with progress.bar("importing") as tick:
        guesses = guess_profile(args.path, args.cid, on_progress=tick)
    found = [guess for guess in guesses if guess.matches]
    for guess in guesses if args.all else found:
        if args.json:
            fields = {
                "profile": guess.profile.name,
                "wrap": guess.wrap,
                "root": guess.root,
                "matches": guess.matches,
            }
            streams.print_json(fields)
        elif args.all:
            print(f"{guess.root}  {_flags(guess)}")
        else:
            print(_flags(guess))
    if not found:
        print(f"carv2 guess-profile: no profile gives {color.printable(args.path)} this CID", file=sys.stderr)
    return 0 if found else 1


def _flags(guess: Guess) -> str:
    """What ``carv2 create`` wants to hear."""
    return f"--profile {guess.profile.name}" + ("" if guess.wrap else " --no-wrap")
