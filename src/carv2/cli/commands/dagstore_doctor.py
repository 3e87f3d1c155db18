"""``carv2 dagstore doctor``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import color, dagstore, streams

if TYPE_CHECKING:
    import argparse

    from carv2.dagstore import Finding

HELP = "look over the store, and mend what can be mended"
EXAMPLES = ("carv2 dagstore doctor --thorough", "carv2 dagstore doctor --repair")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument("--thorough", action="store_true", help="read index files and local copies whole")
    parser.add_argument("--no-mounts", action="store_true", help="do not ask where the bytes come from")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if something is wrong and was not mended."""
    sick = mended = 0
    with dagstore.either(args, is_new_fine=False) as store:
        for found in store.doctor(repair=args.repair, thorough=args.thorough, mounts=not args.no_mounts):
            mended += found.is_mended
            sick += not found.is_mended
            _show(args, found)
    if not args.json:
        print(f"{sick + mended} found" + (f", {mended} mended" if args.repair else ""))
        if sick and not args.repair:
            print(f"{dagstore.line(args, 'doctor', '--repair')} mends what can be mended", file=sys.stderr)
    return 1 if sick else 0


def _show(args: argparse.Namespace, found: Finding) -> None:
    if args.json:
        streams.print_json(
            {
                "Key": found.key,
                "problem": found.problem.value,
                "detail": found.detail,
                "remedy": found.remedy,
                "mended": found.is_mended,
                "Error": found.error,
            }
        )
        return
    style = "good" if found.is_mended else "bad"
    parts = [color.printable(found.key), color.paint(found.problem.value, style)]
    texts = dict.fromkeys((found.detail, dagstore.cause(found.key, found.error)))
    parts += [color.printable(text) for text in texts if text]
    parts.append("mended" if found.is_mended else f"to mend it: {_remedy(args, found)}")
    print(": ".join(parts))


def _remedy(args: argparse.Namespace, found: Finding) -> str:
    """What to type, where that is one command on the shard."""
    if found.problem.value == "errored":
        return color.printable(dagstore.recovery(args, found.key, f"{found.detail} {found.error}"))
    return found.remedy
