"""``carv2 retrievals info``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from carv2.cli import color, repo, streams
from carv2.cli.commands.retrieve import how_to_go_on, how_to_salvage, lines_of
from carv2.errors import FormatError
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2.imports import RetrievalCheck, RetrievalRecord

HELP = "check a retrieval: what is there of its DAG, and what is missing"
EXAMPLES = ("carv2 retrievals info 1637000000000000000",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as `retrievals list` shows it")
    repo.add_repo(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    retrievals = Retrievals(repo.retrievals_folder(args), limits=streams.limits_of(args))
    record = retrievals.info(args.id)
    found: RetrievalCheck | None = None
    try:
        found = retrievals.check(args.id)
    except FormatError as error:
        record = replace(record, problem=record.problem or str(error))
    if args.json:
        streams.print_json({"retrieval": record, "completeness": found})
    else:
        for line in _lines(record, found):
            print(line)
        advice = _advice(args, record, found)
        print(advice, end="\n" if advice else "", file=sys.stderr)
    return 0 if found is not None and found.complete and not (found.damaged_count or record.problem) else 1


def _lines(record: RetrievalRecord, found: RetrievalCheck | None) -> Iterator[str]:
    yield f"Retrieval: {record.id}"
    yield f"File: {color.printable(record.path)}, {record.size} bytes"
    if record.root is not None:
        yield f"Root: {color.printable(record.root.short())}"
    if record.problem:
        yield color.paint("Damaged:", "error") + f" {color.printable(record.problem)}"
    if found is not None:
        yield from lines_of(found)
    unfinished = record.state == "partial" and found is not None and found.complete
    yield f"State: {record.state}{', and all is there' if unfinished else ''}"


def _advice(args: argparse.Namespace, record: RetrievalRecord, found: RetrievalCheck | None) -> str:
    """The command that is to come next, if any."""
    root = "ROOT" if record.root is None else record.root
    if found is None and record.root is None:
        how = how_to_salvage(args, record.id, record.path, root)
        return f"to repair it: {how_to_go_on(args, record.id, root)} --from ...; if that is refused, {how}"
    go_on = how_to_go_on(args, record.id, root)
    if found is None or found.damaged_count:
        return f"to repair it, and take what was damaged again: {go_on} --from ..."
    if record.state == "partial":
        return f"to finish it: {go_on}" if found.complete else f"to go on: {go_on} --from ..."
    return ""
