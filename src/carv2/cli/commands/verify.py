"""``carv2 verify``; silent where all is well, like go-car's ``car verify``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import color, streams
from carv2.multicodec import name_of
from carv2.operations.verify import verify

if TYPE_CHECKING:
    import argparse

    from carv2.operations.verify import Verification

HELP = "check archives from end to end: structure, hashes, roots, index"
EXAMPLES = ("carv2 verify archive.car", "carv2 verify --verbose --workers 2 *.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="archives, - for standard input")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was checked")
    parser.add_argument(
        "--workers", type=streams.positive, default=1, help="processes to share the hashing (default 1)"
    )
    parser.add_argument(
        "--allow-unknown-hash", action="store_true", help="a hash function that is not known is no problem"
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    code = 0
    for name in args.files:
        try:
            report = _verify(name, args)
        except OSError as error:
            print(color.paint("carv2: ", "error") + str(error), file=sys.stderr)
            code = 1
            continue
        if args.json:
            streams.print_json({"file": name, "ok": report.ok, **vars(report)})
        else:
            _print(name, report, verbose=args.verbose)
        code = code if report.ok else 1
    return code


def _verify(name: str, args: argparse.Namespace) -> Verification:
    with streams.watched(name, "verifying", workers=args.workers) as source:
        return verify(
            source,
            workers=args.workers,
            allow_unknown_hash=args.allow_unknown_hash,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )


def _print(name: str, report: Verification, *, verbose: bool) -> None:
    shown = "standard input" if name == "-" else color.printable(name)
    for problem in report.problems:
        print(color.paint(f"carv2: {shown}: ", "error") + color.printable(problem.message), file=sys.stderr)
    more = report.problem_count - len(report.problems)
    if more:
        print(color.paint(f"carv2: {shown}: ", "error") + f"{more} more problems", file=sys.stderr)
    if verbose and report.ok:
        index = "index checked" if report.index_checked else "no index"
        unknown = "".join(f", {many} with {name_of(code)} not checked" for code, many in report.unverified.items())
        print(f"{shown}: {color.paint('ok', 'good')}, {report.verified_count} blocks{unknown}, {index}")
