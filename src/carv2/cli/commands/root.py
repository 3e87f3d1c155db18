"""``carv2 root``; its text is that of go-car's ``car root``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import carv2
from carv2.cli import streams

if TYPE_CHECKING:
    import argparse

    from carv2 import CID

HELP = "list the roots of an archive, one a line"
EXAMPLES = ("carv2 root archive.car", "carv2 root - <archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with streams.blame(args.file):
        roots = _roots(args)
    if args.json:
        streams.print_json({"roots": roots})
    else:
        for root in roots:
            print(root)
    return 0


def _roots(args: argparse.Namespace) -> tuple[CID, ...]:
    """As soon as the header is there: what comes behind it may be long."""
    decoder = carv2.CarDecoder(limits=streams.limits_of(args), verify=False)
    for chunk in streams.chunks(args.file):
        try:
            decoder.feed(chunk)
        except carv2.CarError:  # behind the header, maybe: that is no matter here
            if decoder.roots is None:
                raise
        if decoder.roots is not None:
            return decoder.roots
    decoder.finish()
    return decoder.roots or ()
