"""What ``retrievals export`` and ``imports export`` share: in which form, how much, and what became of it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Any

from carv2.cli import color, progress, repo, streams
from carv2.cli.commands.extract import line_of
from carv2.dag import selector
from carv2.errors import SelectorError
from carv2.unixfs._safe_walk import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import TypeAlias

    from carv2.dag import Exported, Selector
    from carv2.imports._export import Form
    from carv2.unixfs import ExtractReport, Skipped

    Export: TypeAlias = Callable[..., ExtractReport | Exported | None]
    """``export`` of the imports or the retrievals."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OUT and the flags; the command itself adds what is exported."""
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


def form_of(args: argparse.Namespace) -> Form:
    """The form that is asked for; ValueError if other flags do not go with it."""
    form: Form = args.form or "unixfs"
    if form != "car" and (args.version is not None or args.selector is not None):
        raise ValueError("--version and --selector go with --car")
    if form == "car" and args.out == "-" and args.version != 1:
        raise ValueError("a CARv2 needs a file that can seek; --version 1 goes to standard output")
    return form


def run(args: argparse.Namespace, export: Export, id_: int | str, *, what: str, size: int | None) -> int:
    """Export ``id_``, of so many bytes, which errors call ``what``; return the exit code."""
    form = form_of(args)
    skipped = Skips()
    with streams.blame(f"{what} {id_}"), overwriting(), progress.bar("exporting", size) as tick:
        report = export(
            id_,
            streams.destination(args.out, is_binary=form != "unixfs"),
            form=form,
            path=args.path,
            selector=args.selector,
            version=args.version or 2,
            partial=args.partial,
            existing="replace" if args.overwrite else "error",
            on_bytes=tick,
            **_options(args, form, skipped),
        )
    _report(args, id_, report, skipped)
    lost = any(item.reason in {"missing", "damaged"} for item in skipped.items)
    return 1 if lost or _missing_in(report) else 0


class Skips:
    """What was passed over: what it has room for."""

    def __init__(self) -> None:
        self._remembered: Remembered[Skipped] = Remembered()

    @property
    def items(self) -> Sequence[Skipped]:
        """All that is remembered."""
        return self._remembered.items

    def add(self, item: Skipped) -> None:
        """Remember one."""
        self._remembered.add(item, len(item.path) + len(item.detail))


@contextlib.contextmanager
def overwriting() -> Generator[None]:
    """Say in the error about a file that is there what replaces it."""
    try:
        yield
    except FileExistsError as error:
        why = "File exists (--overwrite replaces such files)"
        raise FileExistsError(error.errno, why, error.filename) from None


def _options(args: argparse.Namespace, form: str, skipped: Skips) -> dict[str, Any]:
    """What only some forms know."""
    if form == "car":
        return {"max_bytes": args.max_bytes}
    return {"max_bytes": args.max_bytes, "symlinks": args.symlinks or "skip", "on_skip": skipped.add}


def _report(
    args: argparse.Namespace,
    id_: int | str,
    report: ExtractReport | Exported | None,
    skipped: Skips,
) -> None:
    if args.json:
        fields = {"id": str(id_), "out": args.out, "report": report, "skipped": skipped.items}
        streams.print_json(fields, beside=args.out)
        return
    tell(skipped, report)


def tell(skipped: Skips, report: ExtractReport | Exported | None) -> None:
    """Say on standard error what was left out."""
    for item in skipped.items:
        print(color.printable(line_of(item)), file=sys.stderr)
    if any(item.reason == "symlink" for item in skipped.items):
        print("--symlinks safe makes the symlinks that stay inside", file=sys.stderr)
    missing = _missing_in(report)
    if missing:
        print(f"left out: {missing} missing block{'s' * (missing > 1)}", file=sys.stderr)


def _missing_in(report: ExtractReport | Exported | None) -> int:
    """Blocks that an archive was written without."""
    return int(getattr(report, "missing_count", 0))
