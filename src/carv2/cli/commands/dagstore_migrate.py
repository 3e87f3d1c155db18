"""``carv2 dagstore migrate``."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from carv2.cli import color, dagstore, streams

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from carv2.dagstore import Deal, MigrationReport

HELP = "register the pieces of all active deals, once"
EXAMPLES = ("carv2 dagstore migrate --pieces /data/pieces deals.jsonl",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    text = 'lines of {"PieceCID": "baga…", "State": "StorageDealActive", "ProposalCID": "…"}; - for standard input'
    parser.add_argument("deals", metavar="DEALS", help=text)
    dagstore.takes(parser, "must provide a single file of deals")
    parser.add_argument("--again", action="store_true", help="also where it was done before")


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if there were deals that make no shard."""
    from dataclasses import replace  # noqa: PLC0415  (not for --help)

    with (
        dagstore.either(args) as store,
        contextlib.nullcontext(streams.standard_input()) if args.deals == "-" else open(args.deals, "rb") as file,
    ):
        refused = _Refused()
        report = store.migrate(_deals(file, refused), again=args.again)
    report = replace(
        report,
        deal_count=report.deal_count + refused.count,
        invalid=(*refused.texts, *report.invalid),
        invalid_count=report.invalid_count + refused.count,
    )
    _show(report, as_json=args.json)
    return 1 if report.invalid_count else 0


_MOST_NAMED = 100  # as in the report


class _Refused:
    """Lines that are no deals: how many, and what is wrong with the first of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.count = 0

    def add(self, text: str) -> None:
        self.count += 1
        if self.count <= _MOST_NAMED:
            self.texts.append(text)


def _deals(lines: Iterable[bytes], refused: _Refused) -> Iterator[Deal]:
    from carv2.dagstore import Deal  # noqa: PLC0415  (not for --help)

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = _fields(line)
        except (ValueError, RecursionError) as error:
            refused.add(f"line {number} is no deal: {error}")
        else:
            yield Deal(*fields, source=f"line {number}")


def _fields(line: bytes) -> tuple[str, str, str]:
    found: Any = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  (the file's fault, not the caller's)
    fields = [str(_plain(found.get(name, ""))) for name in ("PieceCID", "State", "ProposalCID")]  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
    return fields[0], fields[1], fields[2]


def _plain(value: Any) -> Any:
    """A CID as Lotus writes it in JSON, as text."""
    return value.get("/", "") if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]


def _show(report: MigrationReport, *, as_json: bool) -> None:
    if as_json:
        streams.print_json(
            {
                "did_work": report.did_work,
                "deals": report.deal_count,
                "registered": report.registered,
                "known": report.known,
                "not_ready": report.not_ready,
                "invalid": list(report.invalid),
                "invalid_count": report.invalid_count,
            }
        )
    elif not report.did_work:
        print("migrated before; nothing was done")
    else:
        for text in report.invalid:
            print(color.printable(text))
        print(
            f"{report.deal_count} deals: {report.registered} shards registered, {report.known} known, "
            f"{report.not_ready} not active, {report.invalid_count} invalid"
        )
