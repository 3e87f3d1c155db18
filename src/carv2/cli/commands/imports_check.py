"""``carv2 imports check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import imported, repo

if TYPE_CHECKING:
    import argparse
    from typing import Literal

HELP = "check the archives of all imports, and on request their originals"
EXAMPLES = ("carv2 imports check --originals", "carv2 imports check --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    repo.add_repo(parser)
    parser.add_argument(
        "--originals", action="store_true", help="read some leaves of each import in the files that it refers to"
    )


def run(args: argparse.Namespace) -> int:
    """Exit code: 1 if an import is broken, or cannot be looked at."""
    depth: Literal["archives", "originals"] = "originals" if args.originals else "archives"
    with imported.opened(args, check=depth, all_lines=True, read_only=True) as imports:
        report = imports.sanity
    return 0 if report is None or report.ok else 1
