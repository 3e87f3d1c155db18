"""``carv2 retrievals export``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from carv2.cli import color, progress, repo, streams
from carv2.dag import selector
from carv2.errors import SelectorError
from carv2.imports.retrievals import Retrievals
from carv2.unixfs._safe_walk import Remembered

if TYPE_CHECKING:
    from carv2.dag import Exported, Selector
    from carv2.imports._export import Form
    from carv2.unixfs import ExtractReport, Skipped

HELP = "write what was retrieved: as a file or folder, a tar file, or an archive"
EXAMPLES = (
    "carv2 retrievals export 1637000000000000000 folder",
    "carv2 retrievals export --path docs/readme.md 1637000000000000000 readme.md",
    "carv2 retrievals export --tar 1637000000000000000 - | tar -t",
    "carv2 retrievals export --car --version 1 1637000000000000000 archive.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `retrievals list` shows it")
    parser.add_argument(
        "out", metavar="OUT", help="where to; - for standard output, which takes no folder and no CARv2"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--car", action="store_const", dest="form", const="car", help="write an archive")
    form.add_argument("--tar", action="store_const", dest="form", const="tar", help="write a tar file")
    parser.add_argument("--path", metavar="PATH", default="", help="what to write (default: the root)")
    parser.add_argument("--version", type=int, choices=(1, 2), help="of an archive (default 2)")
    parser.add_argument(
        "-s", "--selector", metavar="JSON", type=_as_selector, help="which blocks to put into an archive"
    )
    parser.add_argument("--partial", action="store_true", help="pass over what is missing")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--symlinks", choices=("skip", "safe"), help="skip them (default), or make those that stay inside"
    )
    parser.add_argument(
        "--max-bytes", type=streams.size, metavar="BYTES", help="that may come out (default: 1,000 times as many)"
    )
    repo.add_repo(parser)
    streams.add_limits(parser)


def _as_selector(text: str) -> Selector:
    try:
        return selector.parse(text)
    except SelectorError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace) -> int:
    form: Form = args.form or "unixfs"
    if form != "car" and (args.version is not None or args.selector is not None):
        raise ValueError("--version and --selector go with --car")
    if form == "car" and args.out == "-" and args.version != 1:
        raise ValueError("a CARv2 needs a file that can seek; --version 1 goes to standard output")
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    record = retrievals.info(args.id)
    skipped: Remembered[Skipped] = Remembered()
    with streams.blame(f"retrieval {record.id}"), progress.bar("exporting", record.size) as tick:
        report = retrievals.export(
            args.id,
            streams.destination(args.out),
            form=form,
            path=args.path,
            selector=args.selector,
            version=args.version or 2,
            partial=args.partial,
            existing="replace" if args.overwrite else "error",
            on_bytes=tick,
            **_options(args, form, skipped),
        )
    _report(args, report, skipped)
    lost = any(item.reason in {"missing", "damaged"} for item in skipped.items)
    return 1 if lost or _missing_in(report) else 0


def _options(args: argparse.Namespace, form: str, skipped: Remembered[Skipped]) -> dict[str, Any]:
    """What only some forms know."""
    if form == "car":
        return {"max_bytes": args.max_bytes}

    def on_skip(item: Skipped) -> None:
        skipped.add(item, len(item.path) + len(item.detail))

    return {"max_bytes": args.max_bytes, "symlinks": args.symlinks or "skip", "on_skip": on_skip}


def _report(
    args: argparse.Namespace, report: ExtractReport | Exported | None, skipped: Remembered[Skipped]
) -> None:
    if args.json:
        fields = {"id": args.id, "out": args.out, "report": report, "skipped": skipped.items}
        streams.print_json(fields, beside=args.out)
        return
    for item in skipped.items:
        detail = f": {item.detail}" if item.detail else ""
        print(color.printable(f"left out: {item.path}: {item.reason}{detail}"), file=sys.stderr)
    missing = _missing_in(report)
    if missing:
        print(f"left out: {missing} missing block{'s' * (missing > 1)}", file=sys.stderr)


def _missing_in(report: ExtractReport | Exported | None) -> int:
    """Blocks that an archive was written without."""
    return int(getattr(report, "missing_count", 0))
