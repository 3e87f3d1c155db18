"""``carv2 inspect``; its text is that of go-car's ``car inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import RAW
from carv2.cli import color, references, streams, workers
from carv2.multicodec import name_of
from carv2.operations.inspect import inspect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2.operations.inspect import Inspection

HELP = "describe an archive and count its blocks"
EXAMPLES = ("carv2 inspect archive.car", "carv2 inspect --full --workers 2 archive.car")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    streams.add_file(parser)
    parser.add_argument("--full", action="store_true", help="check the hash of each block too")
    workers.add_to(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    several = workers.number_of(args, args.file) if args.full else 1
    with streams.watched(args.file, "inspecting", workers=several) as source:
        report = inspect(source, full=args.full, workers=several, limits=streams.limits_of(args))
    if args.json:
        streams.print_json(report)
    else:
        for line in lines_of(report):
            label, colon, value = line.partition(":")
            print(color.paint(label, "name") + colon + value if colon else line)
        if RAW in report.codecs and report.min_block_size <= references.LARGEST_RECORD:
            references.hint(args.file)
    return 0


def lines_of(report: Inspection) -> Iterator[str]:
    """The lines of ``car inspect``."""
    yield f"Version: {report.version}"
    if report.header is not None:
        yield f"Characteristics: {report.header.characteristics:032x}"
        yield f"Data offset: {report.header.data_offset}"
        yield f"Data (payload) length: {report.header.data_size}"
        yield f"Index offset: {report.header.index_offset}"
        yield f"Index type: {_index_type(report)}"
    if len(report.roots) > 1:
        yield "Roots:"
        yield from (f"\t{root}" for root in report.roots)
    else:
        yield f"Roots: {report.roots[0] if report.roots else '(none)'}"
    yield f"Root blocks present in data: {'Yes' if report.roots_present else 'No'}"
    yield f"Block count: {report.block_count}"
    sizes = f"{report.min_block_size} / {report.average_block_size} / {report.max_block_size}"
    yield f"Min / average / max block length (bytes): {sizes}"
    sizes = f"{report.min_cid_size} / {report.average_cid_size} / {report.max_cid_size}"
    yield f"Min / average / max CID length (bytes): {sizes}"
    yield "Block count per codec:"
    yield from (f"\t{name_of(code)}: {many}" for code, many in report.codecs.items())
    yield "CID count per multihash:"
    yield from (f"\t{name_of(code)}: {many}" for code, many in report.hashes.items())


def _index_type(report: Inspection) -> str:
    if report.index_codec is None:
        return "(none)"
    return name_of(report.index_codec) + (" (headless: without its codec)" if report.index_is_headless else "")
