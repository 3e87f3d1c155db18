"""``carv2 stat``; it begins with the text of ``carv2 inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, progress, streams
from carv2.cli.commands.inspect import lines_of
from carv2.dag.statistics import stat
from carv2.multicodec import name_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2.dag.statistics import Statistics

HELP = "count everything in an archive: blocks, what its roots reach, order, index, padding"
EXAMPLES = ("carv2 stat archive.car", "carv2 stat --json --full archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument("--full", action="store_true", help="check the hash of each block too")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=streams.positive,
        default=1,
        help="processes to share the hashing (default 1)",
    )
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    with (
        streams.source(args.file) as source,
        progress.bar("counting", streams.total_size([args.file])) as tick,
    ):
        found = stat(
            source, full=args.full, workers=args.workers, on_progress=tick, limits=streams.limits_of(args)
        )
    if args.json:
        dag = {**vars(found.completeness), "faults": [str(fault) for fault in found.completeness.faults]}
        streams.print_json({**vars(found), "completeness": dag})
        return 0
    for line in [*lines_of(found.inspection), *_lines(found)]:
        label, colon, value = line.partition(":")
        print(color.paint(label, "name") + colon + value if colon else line)
    return 0


def _lines(found: Statistics) -> Iterator[str]:
    dag, gaps = found.completeness, found.gaps
    yield f"Duplicate blocks: {found.duplicate_count} ({found.duplicate_bytes} bytes)"
    yield f"Identity CIDs: {found.identity_count}"
    yield f"Reachable from the roots: {dag.block_count} ({dag.block_bytes} bytes)"
    yield f"Unreachable: {dag.unreachable_count} ({dag.unreachable_bytes} bytes)"
    yield f"Missing: {dag.missing_count}"
    if dag.unknown_codecs:
        named = ", ".join(f"{many} of codec {name_of(code)}" for code, many in dag.unknown_codecs.items())
        yield f"Links not known: {named}"
    if dag.fault_count:
        yield f"Links that cannot be read: {dag.fault_count}"
    yield f"Depth: {dag.depth}"
    yield f"Links: {found.link_count}"
    yield "Block count per number of links:"
    yield from (f"\t{_range_from(least)}: {many}" for least, many in found.fan_out.items())
    yield f"Order: {_order(found)}"
    yield f"Index: {_index(found)}"
    yield f"Padding before payload / at its end / before index: {_padding(found)}"
    yield f"Bytes behind the end: {gaps.behind}"


def _range_from(least: int) -> str:
    return str(least) if least < 2 else f"{least}-{2 * least - 1}"


def _order(found: Statistics) -> str:
    order = found.order
    notes = [", with repeats" * order.dups, ", with gaps" * order.gaps]
    return order.order + "".join(notes)


def _index(found: Statistics) -> str:
    if not found.index_problem_count:
        return {"absent": "none", "right": "lists each block where it is"}.get(found.index, found.index)
    first = color.printable(found.index_problems[0].message)
    count = found.index_problem_count
    return f"{found.index}, {count} problem{'s' * (count != 1)}, the first: {first}"


def _padding(found: Statistics) -> str:
    gaps = found.gaps
    return f"{gaps.before_payload} / {gaps.at_payload_end} / {gaps.before_index}"
