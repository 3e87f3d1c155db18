"""``carv2 imports check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import imported, progress, repo
from carv2.errors import CarError

if TYPE_CHECKING:
    import argparse

    from carv2.imports import ImportsManager

HELP = "check the archives of all imports, and on request their originals"
EXAMPLES = ("carv2 imports check --originals", "carv2 imports check --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    repo.add_repo(parser)
    parser.add_argument(
        "--originals", action="store_true", help="read some leaves of each import in the files that it refers to"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if an import is broken, or cannot be looked at."""
    with (
        imported.opened(args, check=None, all_lines=True, read_only=True) as imports,
        progress.bar("checking", _count(imports), "imports") as tick,
    ):
        report = imports.check(originals=args.originals, on_progress=tick)
    return 0 if report.ok else 1


def _count(imports: ImportsManager) -> int | None:
    try:
        return len(imports.ids())
    except (CarError, OSError):  # which the check tells
        return None
