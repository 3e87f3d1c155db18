"""Where commands read and write: files, standard input and output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any, cast

from carv2.cid import CID
from carv2.units import Limits

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator, Mapping
    from typing import BinaryIO

_CHUNK = 256 << 10


def add_file(
    parser: argparse.ArgumentParser, name: str = "file", text: str = "the archive, - for standard input"
) -> None:
    """The usual argument for an archive to read."""
    parser.add_argument(name, metavar=name.upper(), nargs="?", default="-", help=text)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Flags for what an archive may claim."""
    limits = Limits()
    parser.add_argument(
        "--max-section",
        type=int,
        default=limits.section,
        metavar="BYTES",
        help="largest section (default 8 MiB)",
    )
    parser.add_argument(
        "--max-header",
        type=int,
        default=limits.header,
        metavar="BYTES",
        help="largest header (default 32 MiB)",
    )


def add_null_padding(parser: argparse.ArgumentParser) -> None:
    """The flag for Filecoin's padded pieces."""
    parser.add_argument(
        "--null-padding", action="store_true", help="take a zero-length section for the end of the payload"
    )


def limits_of(args: argparse.Namespace) -> Limits:
    """The limits that the flags of :func:`add_limits` give."""
    return Limits(section=args.max_section, header=args.max_header)


@contextlib.contextmanager
def blame(archive: str) -> Generator[None]:
    """Name the archive in errors that come out of here."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError):
            error.archive = "standard input" if archive == "-" else archive  # type: ignore[attr-defined]
        raise


@contextlib.contextmanager
def source(name: str) -> Generator[str | BinaryIO]:
    """What to read ``name`` from, at any position; a pipe is copied to a temporary file first."""
    with blame(name):
        if name != "-":
            yield name
        elif sys.stdin.buffer.seekable():
            yield sys.stdin.buffer
        else:
            with tempfile.TemporaryFile() as spool:
                for chunk in chunks(name):
                    spool.write(chunk)
                spool.flush()
                yield spool


def chunks(name: str) -> Iterator[bytes]:
    """The bytes of ``name`` front to back, as they come."""
    if name != "-":
        with open(name, "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        return
    while chunk := os.read(sys.stdin.fileno(), _CHUNK):
        yield chunk


def destination(name: str) -> str | BinaryIO:
    """What to write ``name`` to."""
    if name != "-":
        return name
    sys.stdout.flush()
    return sys.stdout.buffer


def print_json(value: object, *, beside: str | None = None) -> None:
    """One JSON object on a line: on standard error, if ``beside`` says that standard output is taken."""
    print(json.dumps(plain(value)), file=sys.stderr if beside == "-" else sys.stdout)


def plain(value: object) -> object:
    """``value`` in JSON's own types: CIDs as text, bytes as hex, records as objects."""
    if isinstance(value, CID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "_asdict"):
        return plain_fields(cast("Any", value)._asdict())
    if hasattr(value, "__dataclass_fields__"):
        return plain_fields(vars(value))
    if isinstance(value, dict):
        return plain_fields(cast("dict[object, object]", value))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[object]", value)]
    return value


def plain_fields(fields: Mapping[Any, object]) -> dict[str, object]:
    """The same for the fields of a record."""
    return {str(key): plain(item) for key, item in fields.items()}
