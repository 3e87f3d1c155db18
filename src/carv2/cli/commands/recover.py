"""``carv2 recover``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from carv2.blockstore import ReadWriteBlockstore, examine_file
from carv2.cli import color, progress, references, streams
from carv2.cli.typed import line_of
from carv2.errors import ResumeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from carv2.blockstore import Recovery

HELP = "say what an interrupted writer left that can be kept, or finish its archive"
EXAMPLES = ("carv2 recover unfinished.car", "carv2 recover --apply unfinished.car")

_EMPTY = bytes.fromhex("11a265726f6f7473806776657273696f6e01")  # a CARv1 header without roots
_LOOK = 64 << 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the archive; standard input cannot be recovered")
    parser.add_argument("--apply", action="store_true", help="cut what has to be cut, and finish the archive")
    parser.add_argument(
        "--data-padding",
        type=streams.size,
        metavar="BYTES",
        help="zeros that must be before the payload (default: any)",
    )
    parser.add_argument("--check-promised", action="store_true", help="hash what the header promises, too")
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    if args.file == "-":
        raise ValueError("standard input cannot be recovered")
    how: dict[str, Any] = {
        "data_padding": args.data_padding,
        "limits": streams.limits_of(args),
        "null_padding": args.null_padding,
        "check_promised": args.check_promised,
    }
    with streams.blame(args.file):
        with _bar("examining", args.file) as tick:
            found = examine_file(args.file, on_bytes=tick, **how)
        applied = args.apply and not _is_finished(found)
        if applied:
            _refuse_references(args.file, found)
            found = _apply(args.file, how) or found
    if args.json:
        streams.print_json({"file": args.file, "applied": applied, "cut_bytes": found.cut_bytes, **_fields(found)})
    else:
        for line in _lines(found, applied=applied):
            print(line)
        if not applied and not _is_finished(found) and args.file.isprintable():  # else nobody can type it
            print(f"To finish it: {line_of(['carv2', 'recover', '--apply', args.file])}", file=sys.stderr)
    return 1 if found.cut_bytes or (_needs_index(found) and not applied) else 0


def _bar(label: str, path: str) -> AbstractContextManager[progress.Tick]:
    return progress.bar(label, streams.total_size([path]))


def _apply(path: str, how: dict[str, Any]) -> Recovery | None:
    with _bar("recovering", path) as tick:
        store = ReadWriteBlockstore.resume(path, on_bytes=tick, **how)
    with store:
        return store.recovery


def _refuse_references(path: str, found: Recovery) -> None:
    """Records of positional references are not the blocks that they stand for: as torn sections they would go."""
    if found.cut_bytes and references.is_ref_car(_EMPTY + _bytes_at(path, found.kept_end)):
        why = "an unfinished ref-CAR: its records would be cut; import the original again"
        raise ResumeError(why, expected="an archive of whole blocks", found="positional references")


def _bytes_at(path: str, position: int) -> bytes:
    """What would be cut, as far as a record can reach."""
    with open(path, "rb") as file:
        file.seek(position)
        return file.read(_LOOK)


def _is_finished(found: Recovery) -> bool:
    if found.state == "finalized":
        return found.index_kept
    return found.version == 1 and found.state == "whole"


def _needs_index(found: Recovery) -> bool:
    return found.state == "finalized" and not found.index_kept


def _promised(found: Recovery) -> int:
    return found.promised_end - found.payload_position - found.first_section


def _fields(found: Recovery) -> dict[str, object]:
    names = ("state", "index_kept", "version", "block_count", "kept_end", "promised_end", "file_size", "reason")
    fields = {name: getattr(found, name) for name in names}
    return {**fields, "promised_bytes": _promised(found), "roots": found.payload_header.roots}


def _lines(found: Recovery, *, applied: bool) -> Iterator[str]:
    yield f"State: {found.state}"
    yield f"Version: {found.version}"
    yield f"Promised: {_promised(found)} bytes of sections"
    yield f"{'Kept' if applied else 'To keep'}: {found.block_count} blocks, up to byte {found.kept_end}"
    if _needs_index(found):
        yield f"Index: not that of the sections, {'made' if applied else 'to be made'} anew"
    if found.cut_bytes:
        head = color.paint("Cut:" if applied else "To cut:", "error")
        yield f"{head} {found.cut_bytes} bytes: {color.printable(str(found.reason))}"
