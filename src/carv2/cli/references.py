"""What the commands that follow positional references share: which files and servers may be read is said here."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from carv2.cid import RAW
from carv2.cli import color, progress, streams

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from carv2.filestore import FileStore, ReferenceStatus
    from carv2.reader import CarReader
    from carv2.section import Section

LARGEST_RECORD = 8 << 10
"""Bytes of a record; larger blocks are none."""
_REPAIR = "`carv2 recover --apply` makes a lost index anew"
_NOTHING_ALLOWED = (
    "say which folders or files the references may lead to, with --allow DIR: nothing else is ever read "
    "(what a ref-CAR says about paths is anybody's claim)"
)


def add_allowances(parser: argparse.ArgumentParser) -> None:
    """``--allow``, ``--allow-url`` and ``--base``."""
    parser.add_argument(
        "--allow",
        metavar="DIR",
        action="append",
        default=[],
        help="folder, or file, that references may lead to; may be given several times",
    )
    parser.add_argument(
        "--allow-url",
        metavar="URL",
        action="append",
        default=[],
        help="server that they may lead to, such as https://example.org; may be given several times",
    )
    add_base(parser)


def add_base(parser: argparse.ArgumentParser) -> None:
    """``--base``, which the library calls ``root``: these commands have roots of another kind."""
    parser.add_argument(
        "--base", metavar="DIR", default="/", help="folder that the paths in records begin at (default /)"
    )


def base_of(args: argparse.Namespace) -> str:
    """The folder of :func:`add_base`, absolute."""
    return os.path.abspath(str(args.base))


def add_ref(parser: argparse.ArgumentParser) -> None:
    """``--ref``, and what goes with it, for a command that reads ordinary archives too."""
    parser.add_argument(
        "--ref", action="store_true", help="the archive is a ref-CAR: read leaves where its references lead to"
    )
    add_allowances(parser)


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags of :func:`add_allowances` say, as keyword arguments of the library.

    Raises:
        ValueError: they allow nothing.
    """
    if not args.allow and not args.allow_url:
        raise ValueError(_NOTHING_ALLOWED)
    return {"allow": args.allow, "allow_urls": args.allow_url, "root": base_of(args)}


def is_wanted(args: argparse.Namespace) -> bool:
    """Whether references are to be followed.

    Raises:
        ValueError: ``--ref`` is there without ``--allow``, or the other way round.
    """
    if args.ref:
        settings_of(args)
        return True
    if args.allow or args.allow_url or args.base != "/":
        raise ValueError("--allow, --allow-url and --base go with --ref")
    return False


@contextlib.contextmanager
def opened(args: argparse.Namespace) -> Generator[FileStore]:
    """The ref-CAR that the arguments name, as a store; its flags are checked before anything is read."""
    settings_of(args)
    with streams.source(args.file) as source, contextlib.closing(store(source, args)) as found:
        yield found


def store(source: str | BinaryIO, args: argparse.Namespace) -> FileStore:
    """The same, of what was opened already."""
    if getattr(args, "rebuild_index", False) or getattr(args, "no_verify", False):
        raise ValueError("with --ref, neither --rebuild-index nor --no-verify")
    from carv2.errors import FormatError  # noqa: PLC0415
    from carv2.filestore import FileStore  # noqa: PLC0415  (commands without --ref need none of it)

    padded = getattr(args, "null_padding", False)
    settings: dict[str, Any] = {
        "null_padding": padded,
        "limits": streams.limits_of(args),
        **settings_of(args),
    }
    try:
        return FileStore(source, **settings)
    except FormatError as error:
        found = FileStore(source, salvage=True, **settings)
        archive = getattr(args, "file", None) or getattr(args, "archive", None) or args.words
        complain(archive or "-", f"{with_repair(str(error))}; what is there is read")
        return found


def move(text: str) -> tuple[str, str]:
    """``OLD=NEW``, for argparse."""
    old, _, new = text.partition("=")
    if not old or not new:
        raise argparse.ArgumentTypeError(f"{text!r} is no OLD=NEW")
    return old, new


def add_quick(parser: argparse.ArgumentParser) -> None:
    """``--quick``."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only look whether the files are there, may be read and are long enough; do not read them",
    )


def bar(label: str, *, beside: str) -> AbstractContextManager[progress.Tick]:
    """A bar, unless ``beside``, which is written to meanwhile, is a terminal."""
    if beside == "-" and sys.stdout.isatty():
        return contextlib.nullcontext(lambda _: None)
    return progress.bar(label)


def counted(number: int, noun: str) -> str:
    """The number, and the noun in its singular or plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def fields_of(found: ReferenceStatus, base: str) -> dict[str, object]:
    """How a reference fared, for JSON."""
    reference = found.reference
    return {
        "cid": str(found.cid),
        "status": str(found.status),
        "code": int(found.status),
        "path": None if reference is None else reference.full_path(base),
        "offset": None if reference is None else reference.offset,
        "size": None if reference is None else reference.size,
        "detail": found.detail,
        "linked": found.is_linked,
    }


def with_repair(damage: str) -> str:
    """What is wrong with an archive, and the command that may help."""
    if "carv2 recover" in damage or damage.startswith(("section", "payload")):  # what is cut there is lost
        return damage
    return f"{damage} ({_REPAIR})"


def complain(name: object, text: str) -> None:
    """Say on standard error what is wrong with the archive ``name``."""
    shown = "standard input" if name == "-" else str(name)
    print(color.paint(f"carv2: {color.printable(shown)}: ", "error") + color.printable(text), file=sys.stderr)


def hint_at_import(name: str, error: BaseException) -> None:
    """Say so if a ``ref`` command was given the number of an import where an archive is wanted."""
    wanted = str(getattr(error, "filename", None) or "")
    if not name.startswith("ref ") or not isinstance(error, FileNotFoundError) or not wanted.isdecimal():
        return
    text = f"of the archive of an import, give its path: `carv2 imports info {wanted}` shows it as car_path"
    complain(wanted, text)


_HINT = "this is a ref-CAR, whose leaves are in other files: `carv2 ref` and the flag --ref are for it"
_KEPT = 1 << 20  # bytes of a stream, for a hint
_LOOKED_AT = 256
"""Sections: Lotus writes up to 128 nodes in front of the first record, carv2 none."""


class Beginning:
    """Keeps the beginning of a stream, so that a hint can be given of what went through."""

    def __init__(self) -> None:
        self.data = b""

    def of(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, as they are."""
        for chunk in chunks:
            if len(self.data) < _KEPT:
                self.data += chunk
            yield chunk


def hint(name: object, data: bytes | None = None) -> bool:
    """Say on standard error, if the archive ``name`` is a ref-CAR, what reads it; for when something failed.

    Only a few small sections are looked at, whatever the size of the archive. ``data`` are the beginning of what
    has no name.
    """
    found = is_ref_car(name if data is None else data)
    if found:
        complain(name, _HINT)
    return found


def is_ref_car(archive: object) -> bool:
    """Whether the file of this name, or the bytes, are one as far as its beginning tells."""
    if not isinstance(archive, bytes) and not (isinstance(archive, str) and os.path.isfile(archive)):
        return False
    from carv2.errors import CarError  # noqa: PLC0415  (the least part of what follows)

    with contextlib.suppress(CarError, OSError):
        return has_records(archive)
    return False


def has_records(name: str | bytes) -> bool:
    """Whether one of the first sections of the archive ``name`` is a record."""
    from carv2.reader import CarReader  # noqa: PLC0415  (what reads archives loads it, and nothing else should)

    with CarReader(name) as car:
        return any(_is_record(found, car) for found in islice(car.sections(), _LOOKED_AT))


def _is_record(found: Section, car: CarReader) -> bool:
    if found.size > LARGEST_RECORD or found.cid.codec != RAW:
        return False
    data = car.source.read_exactly(found.data_position, found.size, "block")
    if found.cid.matches(data) is not False:
        return False
    from carv2.filestore._archive import looks_like_record  # noqa: PLC0415  (100 ms, not for ordinary archives)

    return looks_like_record(found.cid.raw, data)
