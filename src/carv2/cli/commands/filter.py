"""``carv2 filter``; its messages are those of go-car's ``car filter``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import carv2
from carv2.cli import color, progress, streams
from carv2.operations.filter import filter_blocks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

HELP = "write the blocks of some CIDs to an archive of their own"
EXAMPLES = (
    "carv2 filter --cid-file cids.txt archive.car some.car",
    "carv2 list archive.car | head | carv2 filter --inverse archive.car rest.car",
)

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="IN", help="the archive; - for standard input, with --cid-file")
    parser.add_argument("out", metavar="OUT", help="the new archive, - for standard output")
    parser.add_argument(
        "--cid-file", metavar="FILE", default="-", help="CIDs, one a line (default: standard input)"
    )
    parser.add_argument("--inverse", action="store_true", help="keep all blocks but these")
    parser.add_argument("--append", action="store_true", help="add to OUT, a CARv2, which keeps its roots")
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the new archive (default 2)")
    parser.add_argument("--keep-identity", action="store_true", help="write identity CIDs too")
    streams.add_checking(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    cids: dict[carv2.CID, None] = {}
    for cid in _cids(args.cid_file):
        if cid in cids:
            print(f"duplicate cid: {cid}", file=sys.stderr)
        cids[cid] = None
    if not args.json:
        what = f"filtering {'out' if args.inverse else 'to'} {len(cids)} cids"
        print(what, file=sys.stderr if args.out == "-" else sys.stdout, flush=True)
    with (
        streams.source(args.file) as source,
        progress.bar("filtering", streams.total_size([args.file])) as tick,
    ):
        report = filter_blocks(
            source,
            streams.destination(args.out),
            cids,
            inverse=args.inverse,
            append=args.append,
            version=args.version,
            keep_identity=args.keep_identity,
            verify=not args.no_verify,
            workers=args.workers,
            on_progress=tick,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
    if args.json:
        streams.print_json(report, beside=args.out)
        return 0
    if not report.roots:
        print("warning: no roots defined after filtering", file=sys.stderr)
    for cid in report.missing[:_SHOWN]:
        print(f"warning: not in the archive: {cid}", file=sys.stderr)
    if len(report.missing) > _SHOWN:
        print(f"warning: not in the archive: {len(report.missing) - _SHOWN} more", file=sys.stderr)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.file == args.cid_file == "-":
        raise ValueError("standard input cannot be the archive and the CIDs: name a --cid-file")
    if args.append and args.out == "-":
        raise ValueError("standard output cannot be appended to")
    if args.append:
        with streams.blame(args.out):
            version = carv2.read_version(args.out)
        if args.version != 2 or version != 2:
            raise ValueError("can only append to version 2 car files")


def _cids(name: str) -> Iterator[carv2.CID]:
    """The CIDs of a file, one a line; blank lines are passed over."""
    for number, line in enumerate(streams.lines(name), start=1):
        text = line.strip()
        if not text:
            continue
        try:
            yield carv2.CID.of(text)
        except ValueError as error:
            where = "standard input" if name == "-" else name
            why = f"{color.printable(text[:100])} is not a CID: {error}"
            raise ValueError(f"{where}, line {number}: {why}") from error
