"""What the commands on imports share: the manager, and what it tells its log."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carv2.cli import color, progress, repo, streams
from carv2.errors import ImportNotFoundError
from carv2.imports import ImportsManager
from carv2.imports.sanity import FIELDS, LOGGER, is_interrupted

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Literal

    from carv2.cid import CID
    from carv2.imports import Import

_LEVELS = {"INFO": "good", "WARN": "error"}


@contextlib.contextmanager
def opened(
    args: argparse.Namespace,
    *,
    check: Literal["archives", "originals"] | None = "archives",
    all_lines: bool = False,
    read_only: bool = False,
) -> Generator[ImportsManager]:
    """The imports of the repo. What their check warns of is shown on standard error, or what it says at all.

    With ``--json`` the latter goes to standard output.
    """
    handler = _Shown(as_json=args.json and all_lines, level=logging.INFO if all_lines else logging.WARNING)
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(handler.level)
    try:
        with ImportsManager(repo.imports_folder(args), check=check, read_only=read_only) as manager:
            yield manager
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


class _Shown(logging.Handler):
    """A line for each record of the log: level, text, and the fields as a JSON object, with tabs between."""

    def __init__(self, *, as_json: bool, level: int) -> None:
        super().__init__(level)
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        level = "WARN" if record.levelno >= logging.WARNING else record.levelname
        fields = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        shown = {"id" if name == "import_id" else name: value for name, value in fields.items()}
        if "id" in shown:
            shown["id"] = str(shown["id"])
        if self._as_json:
            print(json.dumps({"level": level.lower(), "message": record.getMessage(), **shown}))
        else:
            progress.make_room()
            text = f"{color.paint(level, _LEVELS[level])}\t{record.getMessage()}"
            print(f"{text}\t{json.dumps(shown)}" if shown else text, file=sys.stderr)


def number(text: str) -> int:
    """The number of an import, for argparse."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19:
        raise argparse.ArgumentTypeError(f"{text} is no number of an import")
    return int(text)


def add_which(parser: argparse.ArgumentParser) -> None:
    """The argument that names an import."""
    parser.add_argument(
        "which", metavar="IMPORT", type=_which, help="its number, or its root: then the first that has it"
    )


def _which(text: str) -> int | CID:
    return number(text) if text.isdecimal() else streams.as_cid(text)


def found(imports: ImportsManager, which: int | CID) -> Import:
    """The import that the argument names.

    Raises:
        ImportNotFoundError: there is none.
    """
    if isinstance(which, int):
        return told(imports, imports.info(which))
    entry = imports.find(which)
    if entry is None:
        raise ImportNotFoundError(which)
    return told(imports, entry)


def told(imports: ImportsManager, entry: Import) -> Import:
    """The same import; if it was interrupted, its ``error`` says so."""
    if not is_interrupted(entry) or imports.is_under_way(entry):
        return entry
    return replace(entry, error=f"it was interrupted; `carv2 imports remove {entry.id}` clears it")


def plain(entry: Import) -> dict[str, Any]:
    """An import for JSON. Its number is a text: many programs read no number above 2**53 exactly."""
    return {**streams.plain_fields({name: getattr(entry, name) for name in entry.__slots__}), "id": str(entry.id)}


def line_of(entry: Import) -> str:
    """An import in a line, in the words of Lotus' ``client local``."""
    root = "<nil>" if entry.root is None else entry.root
    return f"{entry.id}: {root} @{color.printable(entry.filename or '')} ({color.printable(entry.source or '')})"
