"""``carv2 retrievals list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import color, repo, streams
from carv2.imports.retrievals import Retrievals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from carv2.imports import RetrievalRecord

HELP = "list the retrievals, and how far they are"
EXAMPLES = ("carv2 retrievals list", "carv2 retrievals list --json --repo folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    repo.add_repo(parser)


def run(args: argparse.Namespace) -> int:
    records = Retrievals(repo.retrievals_folder(args)).list()
    if args.json:
        for record in records:
            streams.print_json(record)
    else:
        for line in _table(records):
            print(line)
    return 1 if any(record.state == "damaged" for record in records) else 0


def _table(records: Sequence[RetrievalRecord]) -> Iterator[str]:
    if not records:
        return
    rows = [("ID", "State", "Size", "Root")]
    rows += [(record.id, record.state, str(record.size), _root_or_problem(record)) for record in records]
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for id_, state, size, root in rows:
        padded = f"{state:{widths[1]}}"
        shown = color.paint(padded, "error") if state == "damaged" else padded
        yield f"{id_:{widths[0]}}  {shown}  {size:>{widths[2]}}  {root}"


def _root_or_problem(record: RetrievalRecord) -> str:
    return color.printable(record.problem if record.root is None else record.root.short())
