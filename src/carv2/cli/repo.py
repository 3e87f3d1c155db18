"""The folder in which imports and retrievals are kept: ``--repo DIR``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

VARIABLE, DEFAULT = "CARV2_PATH", "~/.carv2"


def add_repo(parser: argparse.ArgumentParser) -> None:
    """``--repo DIR``."""
    parser.add_argument(
        "--repo",
        metavar="DIR",
        help=f"folder of imports and retrievals; made if there is none (default: ${VARIABLE}, else {DEFAULT})",
    )


def folder_of(args: argparse.Namespace) -> str:
    """The repo that the arguments name, or else the environment; absolute. Nothing is made here.

    Raises:
        ValueError: there is no home to expand ``~`` to.
    """
    named = str(args.repo or os.environ.get(VARIABLE) or DEFAULT)
    expanded = os.path.expanduser(named)
    if expanded.startswith("~"):
        raise ValueError(f"{named}: whose home that is cannot be found; name a folder with --repo")
    return os.path.abspath(expanded)


def imports_folder(args: argparse.Namespace) -> str:
    """Where the imports of the repo are."""
    return os.path.join(folder_of(args), "imports")


def retrievals_folder(args: argparse.Namespace) -> str:
    """Where its retrievals are."""
    return os.path.join(folder_of(args), "retrievals")
