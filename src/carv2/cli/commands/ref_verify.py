"""``carv2 ref verify``; silent where all is well, as ``carv2 verify`` is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from carv2.cli import color, progress, references, streams
from carv2.errors import CarError
from carv2.filestore import verify_references

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from carv2.filestore import ReferencesReport, ReferenceStatus

HELP = "check ref-CARs as a whole, and what they refer to"
EXAMPLES = (
    "carv2 ref verify archive.car --allow /data",
    "carv2 ref verify -v imports/*.car --allow /data --allow /mnt",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="archives, - for standard input")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what was checked")
    references.add_quick(parser)
    references.add_allowances(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    settings = {
        **references.settings_of(args),
        "hashes": not args.quick,
        "null_padding": args.null_padding,
        "limits": streams.limits_of(args),
    }
    code = 0
    for name in args.files:
        try:
            report = _verify(name, settings)
        except (CarError, OSError) as error:
            references.complain(name, color.words_of(error, about=name))
            code = 1
            continue
        if args.json:
            streams.print_json({"file": name, "ok": report.ok, **_fields(report, args.base)})
        else:
            _print(name, report, verbose=args.verbose)
        code = code if report.ok else 1
    return code


def _verify(name: str, settings: dict[str, Any]) -> ReferencesReport:
    def count(found: ReferenceStatus) -> None:
        tick(0 if found.reference is None else found.reference.size)

    with streams.source(name) as source, progress.bar("verifying") as tick:
        return verify_references(source, on_status=count, **settings)


def _print(name: str, report: ReferencesReport, *, verbose: bool) -> None:
    if report.damage:
        references.complain(name, references.with_repair(report.damage))
    for found in report.problems:
        place = "" if found.reference is None else f" ({found.reference})"
        references.complain(name, f"{found.status}: {found.cid.short()}{place}: {found.detail}")
    more = sum(count for status, count in report.counts.items() if status) - len(report.problems)
    if more:
        references.complain(name, f"{more} more problems")
    if verbose and report.ok:
        sys.stdout.write(_what_was_checked(name, report))


def _what_was_checked(name: str, report: ReferencesReport) -> str:
    shown = "standard input" if name == "-" else color.printable(name)
    nodes = references.counted(report.node_count, "block")
    leaves = references.counted(report.leaf_count, "reference")
    orphans = f", {references.counted(report.orphan_count, 'record')} of no use" if report.orphan_count else ""
    return f"{shown}: {color.paint('ok', 'good')}, {nodes}, {leaves} to {report.size} bytes{orphans}\n"


def _fields(report: ReferencesReport, base: str) -> dict[str, object]:
    fields = {name: getattr(report, name) for name in report.__dataclass_fields__}
    fields["counts"] = {str(status): count for status, count in report.counts.items()}
    fields["orphan_counts"] = {str(status): count for status, count in report.orphan_counts.items()}
    fields["problems"] = [references.fields_of(found, base) for found in report.problems]
    return fields
