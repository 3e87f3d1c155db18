"""``carv2 dagstore initialize-all``."""

from __future__ import annotations

import argparse
import contextlib
import sys

from carv2.cli import color, dagstore

HELP = "index all shards that are new"
EXAMPLES = ("carv2 dagstore initialize-all --concurrency 10",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    parser.add_argument(
        "--concurrency", metavar="N", type=_count, required=True, help="shards at once; 0 for no limit"
    )
    parser.add_argument(
        "--include-sealed", action="store_true", help="also those whose bytes their origin has to make ready first"
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if a shard could not be indexed."""
    failed: list[str] = []
    with dagstore.either(args) as store:
        events = store.initialize_all(concurrency=args.concurrency, include_sealed=args.include_sealed)
        with contextlib.closing(events):
            for event in events:
                dagstore.print_event(event, as_json=args.json)
                if event.event == "end" and not event.success:
                    failed.append(event.key)
    if failed and not args.json:
        again = color.printable(dagstore.line(args, "recover-shard", failed[0]))
        print(f"{len(failed)} failed; to try one again: {again}", file=sys.stderr)
    return 1 if failed else 0
