"""``carv2 list``; its text is that of go-car's ``car list``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import carv2
from carv2.cli import references, streams
from carv2.errors import IntegrityError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2 import Block

HELP = "list the CIDs of an archive in file order, checking each block"
EXAMPLES = (
    "carv2 list archive.car",
    "curl https://example.org/archive.car | carv2 list -",
    "carv2 list --verbose archive.car",
    "carv2 list --unixfs archive.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument("--no-verify", action="store_true", help="do not check hashes")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-v", "--verbose", action="store_true", help="say what each block is and links to")
    form.add_argument("--unixfs", action="store_true", help="list the paths of files and directories instead")
    form.add_argument("--unixfs-blocks", action="store_true", help="the same, with the CID before each path")
    parser.add_argument(
        "--max-entries",
        metavar="N",
        type=streams.positive,
        help="files and folders to list (default: a fourth of the archive's bytes)",
    )
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.unixfs or args.unixfs_blocks:
        from carv2.cli import folders  # noqa: PLC0415  (most listings need no UnixFS)

        return folders.print_paths(args)
    kept = references.Beginning()
    try:
        return _list(args, kept)
    except IntegrityError:
        if args.file == "-":
            references.hint("-", kept.data)
        raise


def _list(args: argparse.Namespace, kept: references.Beginning) -> int:
    with streams.blame(args.file):
        blocks = carv2.iter_blocks(
            kept.of(streams.chunks(args.file)),
            verify=not args.no_verify,
            limits=streams.limits_of(args),
            null_padding=args.null_padding,
        )
        if args.verbose:
            _describe(blocks, as_json=args.json)
            return 0
        write = sys.stdout.write
        for block in blocks:
            if args.json:
                streams.print_json({"cid": block.cid, "size": len(block.data)})
            else:
                write(f"{block.cid}\n")
    return 0


def _describe(blocks: Iterator[Block], *, as_json: bool) -> None:
    from carv2.cli import described  # noqa: PLC0415  (most listings need no codecs)

    for block in blocks:
        if as_json:
            streams.print_json({"cid": block.cid, "size": len(block.data), **described.fields(block)})
        else:
            sys.stdout.write("".join(f"{line}\n" for line in described.lines(block)))
