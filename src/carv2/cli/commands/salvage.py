"""``carv2 salvage``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, references, streams
from carv2.operations.salvage import salvage

if TYPE_CHECKING:
    import argparse

HELP = "write every whole, verified block of a damaged archive to a new one"
EXAMPLES = ("carv2 salvage damaged.car saved.car",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="the damaged archive, - for standard input")
    parser.add_argument("destination", metavar="DST", help="path of the new one; must not exist")
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the new archive (default 2)")
    parser.add_argument(
        "--unverified", action="store_true", help="save blocks whose hash function is not known too"
    )
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.destination == "-":
        raise ValueError("DST must be a path: the archive appears there when it is whole")
    with streams.watched(args.source, "searching") as source:
        report = salvage(
            source,
            args.destination,
            version=args.version,
            unverified=args.unverified,
            limits=streams.limits_of(args),
        )
    if args.json:
        streams.print_json(report)
    else:
        print(f"{report.block_count} blocks saved, {report.block_bytes} bytes")
        for lost in report.lost:
            print(
                color.paint("lost: ", "error")
                + f"bytes {lost.start} to {lost.stop}: {color.printable(lost.reason)}"
            )
        if report.block_count and not report.has_header:
            print("no roots: the header could not be read")
        for root in report.missing_roots:
            print(color.paint("missing: ", "error") + f"root {root}")
        if report.lost:
            references.hint(args.source)
    return 1 if report.lost or report.missing_roots or not report.has_header else 0
