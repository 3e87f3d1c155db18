"""``carv2 imports export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cli import exporting, imported

if TYPE_CHECKING:
    import argparse

HELP = "write what was imported: as a file or folder, a tar file, or an archive that holds everything itself"
EXAMPLES = (
    "carv2 imports export 1629158672000000001 input.bin",
    "carv2 imports export --path docs/readme.md 1629158672000000001 readme.md",
    "carv2 imports export --tar 1629158672000000001 - | tar -t",
    "carv2 imports export --car --version 1 1629158672000000001 whole.car",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    imported.add_which(parser)
    exporting.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    exporting.form_of(args)
    with imported.opened(args, check=None, read_only=True) as imports:
        entry = imported.found(imports, args.which)
        return exporting.run(args, imports.export, entry.id, what="import", size=None)
