"""``carv2 import``; what it prints is what Lotus' ``client import`` does."""  # noqa: N999  (no statement imports it)

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from carv2.cli import color, imported, nodes, progress, references, repo, streams
from carv2.dag import export
from carv2.errors import StateError
from carv2.filestore import VARIANTS
from carv2.imports._archives import REF_CAR, only_root
from carv2.unixfs.profiles import PROFILES, ImportProfile, profile_of

if TYPE_CHECKING:
    from carv2.filestore import ReferenceReport
    from carv2.imports import Import, ImportsManager

HELP = "import a file or folder without copying it: its archive refers to it"
EXAMPLES = (
    "carv2 import data/input.bin",
    "carv2 import -q --profile unixfs-v1-2025 data/photos",
    "carv2 import --car archive.car",
    "carv2 import --kubo auto -o archive.car bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a file or folder; it must stay as it is, and where it is")
    repo.add_repo(parser)
    parser.add_argument(
        "--car", action="store_true", help="PATH is an archive with one root: it is taken in where it is"
    )
    nodes.add_kubo(parser, "PATH is a CID or /ipfs/CID/path of an IPFS node, copied into the archive OUT")
    parser.add_argument("-o", "--output", metavar="OUT", help="with --kubo: the archive, which stays yours")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but the root")
    parser.add_argument(
        "--profile",
        type=_profile,
        default="lotus",
        metavar="NAME",
        help=f"how files become blocks: {', '.join(PROFILES)} (default: lotus)",
    )
    parser.add_argument(
        "--variant", choices=VARIANTS, default="D", help="of the ref-CARv2: D is what Lotus wrote last (default D)"
    )
    parser.add_argument("--wrap", action="store_true", help="make a folder around PATH, in which it has its name")
    parser.add_argument(
        "--hidden",
        action=argparse.BooleanOptionalAction,
        help="take entries whose names begin with a dot (default: as the profile says)",
    )
    parser.add_argument("--skip-special", action="store_true", help="leave out devices, sockets and named pipes")


def _profile(name: str) -> ImportProfile:
    try:
        return profile_of(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    nodes.require(args)
    if (args.kubo is None) != (args.output is None) or (args.kubo is not None and args.car):
        raise ValueError("--kubo URL and -o OUT go together, and without --car")
    if args.kubo is not None:
        _copy_from_node(args)
    _look_first(args)
    with imported.opened(args, check=None) as imports:
        added, report = _add_car(imports, args) if args.car else _import(imports, args)
    if report is not None:
        _tell(report, args)
    if args.json:
        counts = {} if report is None else {"report": report}
        streams.print_json({**imported.plain(added), **counts})
    else:
        print(added.root if args.quiet else f"Import {added.id}, Root {added.root}")
    return 0


def _copy_from_node(args: argparse.Namespace) -> None:
    """Write the archive of a DAG of the node, which is then taken in where it is."""
    with nodes.opened(args) as node:
        export(node, args.output, nodes.root_of(node, args.path))
    args.path, args.car = args.output, True


def _look_first(args: argparse.Namespace) -> None:
    """Raise what can be seen before a repo is made for what cannot be imported."""
    path = os.path.abspath(args.path)
    if os.path.isfile(path):
        with open(path, "rb"):
            pass
    elif args.skip_special or os.path.islink(path):
        os.lstat(path)
    else:
        os.stat(path)
    if args.car and os.path.isfile(path):
        with streams.blame(args.path):
            only_root(path)
            if references.has_records(path):
                raise StateError(REF_CAR)


def _add_car(imports: ImportsManager, args: argparse.Namespace) -> tuple[Import, None]:
    with streams.blame(args.path):
        return imports.add_car(args.path), None


def _import(imports: ImportsManager, args: argparse.Namespace) -> tuple[Import, ReferenceReport]:
    reports: list[ReferenceReport] = []
    total = os.path.getsize(args.path) if os.path.isfile(args.path) else None
    with streams.importing([args.path]), progress.bar("importing", total) as tick:
        added = imports.import_file(
            args.path,
            profile=args.profile,
            variant=args.variant,
            wrap=args.wrap,
            hidden=args.hidden,
            special="skip" if args.skip_special else "raise",
            on_progress=tick,
            on_report=reports.append,
        )
    return added, reports[0]


def _tell(report: ReferenceReport, args: argparse.Namespace) -> None:
    for skipped in report.skipped:
        shown = color.printable(skipped.path)
        print(f"{color.paint('carv2 import:', 'error')} {shown}: {skipped.reason}, left out", file=sys.stderr)
    if report.left_out and not args.json:
        counts = ", ".join(f"{what} ({count})" for what, count in report.left_out.items())
        print(f"left out, as the profile has it: {counts}", file=sys.stderr)
