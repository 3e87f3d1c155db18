"""``carv2 dagstore report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import api, dagstore, pictures, streams
from carv2.errors import RpcError

if TYPE_CHECKING:
    import argparse

    from carv2.dagstore.survey import StoreSurvey

HELP = "make one page about the store: its shards by state, errors, sizes, as HTML"
EXAMPLES = ("carv2 dagstore report -o report.html", "carv2 dagstore report --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    dagstore.add_store(parser)
    pictures.add_output(parser, "page", "report.html")


def run(args: argparse.Namespace) -> int:
    from carv2.dagstore.survey import draw_store_report  # noqa: PLC0415  (not for --help)

    found = _survey(args)
    if args.json:
        streams.print_json(found)
    else:
        pictures.write(args, draw_store_report(found))
    return 1 if found.errors else 0


def _survey(args: argparse.Namespace) -> StoreSurvey:
    from carv2.dagstore.survey import survey  # noqa: PLC0415  (the same)

    with dagstore.either(args, is_new_fine=False) as store:
        copies: int | None = None
        size: int | None = None
        try:
            stat = store.stat()
            copies, size = stat.transient_count, stat.transient_bytes
        except RpcError as error:
            if not api.is_no_method(error):
                raise
        name = args.api if api.is_meant(args) else dagstore.folder_of(args, dagstore.config_of(args))
        return survey(store.list(), name=name, local_copies=copies, local_copy_bytes=size)
