"""``carv2 ref status``; its lines are those of Kubo's ``ipfs filestore verify``, with whole paths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carv2.cli import color, folders, references, streams
from carv2.filestore import Status, verify_references

if TYPE_CHECKING:
    import argparse

    from carv2.filestore import ReferencesReport, ReferenceStatus

HELP = "say of each reference of a ref-CAR what became of it"
EXAMPLES = (
    "carv2 ref status archive.car --allow /data",
    "carv2 ref status --all --quick archive.car --allow /data --allow /mnt/old/video.mp4",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument("--all", action="store_true", help="list those that are ok, too")
    references.add_quick(parser)
    references.add_allowances(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    settings = references.settings_of(args)

    def show(found: ReferenceStatus) -> None:
        tick(0 if found.reference is None else found.reference.size)
        if found.status or args.all:
            print(json.dumps(references.fields_of(found, args.base)) if args.json else _line(found, args.base))

    with streams.source(args.file) as source, references.bar("checking", beside="-") as tick:
        report = verify_references(
            source,
            hashes=not args.quick,
            on_status=show,
            null_padding=args.null_padding,
            limits=streams.limits_of(args),
            **settings,
        )
    if report.damage:
        references.complain(args.file, references.with_repair(report.damage))
    if not args.json:
        print(_summary(report))
    return 0 if report.ok else 1


def _line(found: ReferenceStatus, base: str) -> str:
    style = "error" if found.status else "good"
    word = color.paint(f"{found.status!s:<7}", style)
    place = ""
    if found.reference is not None:
        path = folders.shown(found.reference.full_path(base))
        place = f" {found.reference.size:>6} {path} {found.reference.offset}"
    if not found.is_linked:
        place += ", not linked to"
    why = f": {folders.shown(found.detail)}" if found.detail else ""
    return f"{word} {found.cid!s:<50}{place}{why}"


def _summary(report: ReferencesReport) -> str:
    counts = ", ".join(f"{report.counts[status]} {status}" for status in Status if report.counts.get(status))
    leaves = references.counted(report.leaf_count, "reference")
    text = f"{leaves} to {report.size} bytes: {counts}" if counts else "no references"
    if not report.orphan_count:
        return text
    many = report.orphan_counts
    counts = ", ".join(f"{many[status]} {status}" for status in Status if many.get(status))
    return f"{text}; {references.counted(report.orphan_count, 'record')} that nothing links to: {counts}"
