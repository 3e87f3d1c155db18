"""``carv2 create``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, cast

from carv2.cli import color, nodes, progress, streams
from carv2.dag import export
from carv2.unixfs.packing import pack
from carv2.unixfs.profiles import DEFAULT_PROFILE, PROFILES, ImportProfile, profile_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import BinaryIO

    from carv2.unixfs.importing import ImportReport

HELP = "pack files and folders into an archive, and print its root"
EXAMPLES = (
    "carv2 create -o photos.car photos",
    "carv2 create --profile kubo-legacy-v1 --no-wrap -o photos.car photos",
    "carv2 create --profile go-car --explain",
    "carv2 create --kubo auto -o photos.car /ipfs/bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="a file or folder; several stand side by side. With --kubo, a CID or /ipfs/CID/path of the node",
    )
    parser.add_argument(
        "-o",
        "--output",
        "-f",
        "--file",
        metavar="OUT",
        help="the archive, - for standard output; it is replaced if it is there",
    )
    parser.add_argument(
        "--profile",
        type=_profile,
        default=DEFAULT_PROFILE,
        metavar="NAME",
        help=f"how files become blocks: {', '.join(PROFILES)} (default: the first)",
    )
    parser.add_argument("--explain", action="store_true", help="show every parameter of the profile, pack nothing")
    parser.add_argument("--no-wrap", action="store_true", help="no folder around PATH, of which there is one")
    parser.add_argument(
        "--hidden",
        action=argparse.BooleanOptionalAction,
        help="take entries whose names begin with a dot (default: as the profile says)",
    )
    parser.add_argument("--skip-special", action="store_true", help="leave out devices, sockets and named pipes")
    parser.add_argument("--version", type=int, choices=(1, 2), default=2, help="of the archive (default 2)")
    parser.add_argument(
        "--workers", type=streams.positive, metavar="N", help="threads to share the hashing (default: up to 4)"
    )
    streams.add_no_sync(parser)
    nodes.add_kubo(parser, "pack what an IPFS node holds, as the blocks that it is there")


def _profile(name: str) -> ImportProfile:
    try:
        return profile_of(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    if args.explain:
        _explain(args.profile, as_json=args.json)
        return 0
    if not args.paths:
        raise argparse.ArgumentTypeError("name a file or folder to pack")
    if not args.output:
        raise argparse.ArgumentTypeError("name the archive to write: -o OUT")
    nodes.require(args)
    if args.kubo is not None:
        _pack_from_node(args)
        return 0
    with (
        streams.importing(args.paths),
        _sink(args.output) as out,
        progress.bar("packing", _size_of(args.paths)) as tick,
    ):
        report = pack(
            args.paths,
            out,
            profile=args.profile,
            wrap=not args.no_wrap,
            version=args.version,
            hidden=args.hidden,
            special="skip" if args.skip_special else "raise",
            workers=args.workers,
            on_progress=tick,
            sync=not args.no_sync,
        )
    _tell(report, args)
    return 0


def _size_of(paths: Sequence[str]) -> int | None:
    """Bytes to pack, where they are those of files; of folders nobody knows them before."""
    return streams.total_size(paths) if all(map(os.path.isfile, paths)) else None


def _pack_from_node(args: argparse.Namespace) -> None:
    """Write the archive of a DAG as the node has it: no profile can change that."""
    if len(args.paths) != 1:
        raise ValueError("with --kubo, name one CID or /ipfs/CID/path")
    if args.profile != DEFAULT_PROFILE and args.profile != profile_of(DEFAULT_PROFILE):
        raise ValueError("with --kubo the blocks are there already: --profile can change nothing")
    with nodes.opened(args) as node, _sink(args.output) as out:
        found = export(node, out, nodes.root_of(node, args.paths[0]), version=args.version)
    if args.json:
        streams.print_json(found, beside=args.output)
    else:
        print(found.root, file=sys.stderr if args.output == "-" else sys.stdout)


@contextlib.contextmanager
def _sink(name: str) -> Generator[str | BinaryIO]:
    """What to write the archive to: its root is known last, so what goes to standard output is kept until then."""
    if name != "-":
        yield name
        return
    out = cast("BinaryIO", streams.destination(name))
    with tempfile.TemporaryFile() as spool:
        yield spool
        spool.seek(0)
        shutil.copyfileobj(spool, out, 1 << 20)


def _tell(report: ImportReport, args: argparse.Namespace) -> None:
    for skipped in report.skipped:
        _warn(skipped.path, f"{skipped.reason}, left out")
    if report.left_out and not args.json:
        counts = ", ".join(f"{what} ({count})" for what, count in report.left_out.items())
        print(f"left out, as the profile has it: {counts}", file=sys.stderr)
    for path in report.changed:
        _warn(path, "changed while it was read; the archive has what was read")
    if args.json:
        streams.print_json(report, beside=args.output)
    else:
        print(report.root, file=sys.stderr if args.output == "-" else sys.stdout)


def _warn(path: str, what: str) -> None:
    print(f"{color.paint('carv2 create:', 'error')} {color.printable(path)}: {what}", file=sys.stderr)


def _explain(profile: ImportProfile, *, as_json: bool) -> None:
    fields = profile.explain()
    if as_json:
        streams.print_json(fields)
        return
    for name, value in fields.items():
        shown = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        print(f"{name:17}  {shown:17}  {MEANINGS[name]}")


MEANINGS = {
    "name": "of the profile",
    "cid_version": "of dag-pb blocks; raw leaves have 1",
    "hash": "of all blocks",
    "chunk_size": "bytes of payload in each leaf but a file's last",
    "file_links": "most links of a node within a file",
    "leaves": "raw: the payload alone; file: dag-pb around it",
    "single_chunk": "a file of one chunk is that leaf, or a node over it",
    "last_link": "a file's last node of one link is made, or collapses",
    "empty_names": "links within a file have a name, an empty one",
    "tsize": "Tsize counts all bytes of the DAG, or the payload's",
    "hamt_rule": "what a folder's size is, for the threshold",
    "hamt_threshold": "a larger folder is a HAMT",
    "hamt_inclusive": "so is one just as large",
    "hamt_fanout": "slots of a shard",
    "hidden": "entries whose names begin with a dot are taken",
    "empty_directories": "folders with nothing to import are kept",
    "symlinks": "kept, followed, or skipped",
    "inline_limit": "blocks of up to so many bytes are in their CIDs",
    "duplicates": "how often a block is written that comes again",
}
