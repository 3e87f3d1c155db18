"""Where commands read and write: files, standard input and output."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, cast

from carv2.cid import CID
from carv2.cli import progress
from carv2.units import Limits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from carv2._source import Source

_CHUNK = 256 << 10


def add_file(
    parser: argparse.ArgumentParser, name: str = "file", text: str = "the archive, - for standard input"
) -> None:
    """The usual argument for an archive to read."""
    parser.add_argument(name, metavar=name.upper(), nargs="?", default="-", help=text)


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 on")
    return int(text)


def as_cid(text: str) -> CID:
    """The CID that an argument names, for argparse."""
    try:
        return CID.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a CID: {error}") from error


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Flags for what an archive may claim."""
    limits = Limits()
    parser.add_argument(
        "--max-section",
        type=size,
        default=limits.section,
        metavar="BYTES",
        help="largest section (default 8 MiB)",
    )
    parser.add_argument(
        "--max-header",
        type=size,
        default=limits.header,
        metavar="BYTES",
        help="largest header (default 32 MiB)",
    )


def count(text: str) -> int:
    """A flag's number of things, or of bytes in a file: plain, from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 on")
    return int(text)


def size(text: str) -> int:
    """A number of bytes as people write it: 1000, 100MiB, 1.5 GB.

    >>> size("100MiB"), size("1.5 GB"), size("512k")
    (104857600, 1500000000, 512000)
    """
    if text.isdecimal():
        return int(text)
    import re  # noqa: PLC0415
    from decimal import Decimal  # noqa: PLC0415  (1 ms, for those who ask for it)

    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?(?:([kmgt])(i?))?b?", text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, such as 1000, 100MiB or 1.5GB")
    number, prefix, binary = found.groups()
    power = " kmgt".index(prefix or " ")
    return int(Decimal(number) * (1024 if binary else 1000) ** power)


def add_checking(parser: argparse.ArgumentParser) -> None:
    """``--no-verify`` and ``--workers``."""
    parser.add_argument("--no-verify", action="store_true", help="do not check hashes")
    parser.add_argument("--workers", type=positive, default=1, help="processes to share the hashing (default 1)")


def add_null_padding(parser: argparse.ArgumentParser) -> None:
    """The flag for Filecoin's padded pieces."""
    parser.add_argument(
        "--null-padding", action="store_true", help="take a zero-length section for the end of the payload"
    )


def add_no_sync(parser: argparse.ArgumentParser) -> None:
    """The flag for those who can make the file anew after a power cut."""
    parser.add_argument(
        "--no-sync",
        action="store_true",
        help="do not wait for the disk: faster, but a power cut may leave a damaged file",
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
        if not isinstance(error, OSError) and getattr(error, "archive", None) is None:
            error.archive = "standard input" if archive == "-" else archive  # type: ignore[attr-defined]
        raise


@contextlib.contextmanager
def watched(name: str, label: str, *, passes: int = 1, workers: int = 1) -> Generator[str | BinaryIO | Source]:
    """The same, with a bar for what goes ``passes`` times through the file and prints nothing meanwhile.

    Several ``workers`` open the file themselves, so that there is nothing to see of them.
    """
    from carv2._source import open_source  # noqa: PLC0415  (what reads archives loads it, and nothing else should)

    with source(name) as opened:
        if workers > 1 or not progress.is_wanted():
            yield opened
            return
        inner = open_source(opened)
        try:
            with progress.bar(label, passes * inner.size) as tick:
                yield progress.WatchedSource(inner, tick)
        finally:
            inner.close()


@contextlib.contextmanager
def source(name: str) -> Generator[str | BinaryIO]:
    """What to read ``name`` from, at any position; a pipe is copied to a temporary file first."""
    with blame(name):
        if name == "-" or _is_pipe(name):
            with _spooled(name) as file:
                yield file
        else:
            yield name


@contextlib.contextmanager
def importing(paths: Sequence[str]) -> Generator[None]:
    """Where a device, a socket or a named pipe in a folder ends an import, say which flag leaves it out."""
    try:
        yield
    except OSError as error:
        if str(error.strerror).endswith("cannot be imported") and error.filename not in paths:
            error.advice = "To leave out devices, sockets and named pipes: --skip-special"  # type: ignore[attr-defined]
        raise


def sources(stack: contextlib.ExitStack, names: Sequence[str]) -> list[str | BinaryIO]:
    """The same for what reads several archives, and names those with a path in its errors itself."""
    if names.count("-") > 1:
        raise ValueError("standard input can be read once only")
    pipes = [name for name in names if name == "-" or _is_pipe(name)]
    if len(pipes) == 1:
        stack.enter_context(blame(pipes[0]))
    return [stack.enter_context(_spooled(name)) if name in pipes else name for name in names]


@contextlib.contextmanager
def _spooled(name: str) -> Generator[BinaryIO]:
    """A seekable file of what comes out of standard input or a named pipe, as a shell's ``<(...)`` is one."""
    if name == "-" and standard_input().seekable():
        yield standard_input()
        return
    import tempfile  # noqa: PLC0415  (5 ms, for those who read from a pipe)

    with tempfile.TemporaryFile() as spool:
        for chunk in chunks(name):
            spool.write(chunk)
        spool.flush()
        yield spool


def _is_pipe(name: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return False


def chunks(name: str) -> Iterator[bytes]:
    """The bytes of ``name`` front to back, as they come."""
    if name != "-":
        with open(name, "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        return
    descriptor = standard_input().fileno()
    while chunk := os.read(descriptor, _CHUNK):
        yield chunk


def lines(name: str) -> Iterator[str]:
    """The lines of a text file; bytes that are not UTF-8 come out as escapes."""
    with contextlib.nullcontext(standard_input()) if name == "-" else open(name, "rb") as file:
        for line in file:
            yield line.decode("utf-8", "backslashreplace")


def standard_input() -> BinaryIO:
    """Standard input, as bytes; OSError if this process was given none."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise OSError(errno.EBADF, "standard input is closed")
    if sys.stdin.isatty():
        print("waiting for standard input: a terminal; Ctrl-D ends it, Ctrl-C this command", file=sys.stderr)
    return sys.stdin.buffer


def destination(name: str, *, version: int | None = None, is_binary: bool = True) -> str | BinaryIO:
    """What to write ``name`` to; ValueError if it cannot take an archive of ``version``, or is a terminal."""
    if name != "-":
        return name
    sys.stdout.flush()
    if is_binary and sys.stdout.isatty():
        raise ValueError("what is no text is not for a terminal: name a file, or put a pipe behind it")
    if version == 2 and not sys.stdout.buffer.seekable():
        raise ValueError("a CARv2 needs a file that can seek; --version 1 goes to standard output")
    return sys.stdout.buffer


def total_size(names: Iterable[str]) -> int | None:
    """Bytes in the files of these names; None where one of them is no file that can be asked."""
    try:
        return sum(os.path.getsize(name) for name in names)
    except OSError:
        return None


def print_json(value: object, *, beside: str | None = None) -> None:
    """One JSON object on a line: on standard error, if ``beside`` says that standard output is taken."""
    import json  # noqa: PLC0415  (2 ms, for those who ask for it)

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
        return plain_fields({name: getattr(value, name) for name in cast("Any", value).__dataclass_fields__})
    if isinstance(value, dict):
        return plain_fields(cast("dict[object, object]", value))
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[object]", value)]
    return value


def plain_fields(fields: Mapping[Any, object]) -> dict[str, object]:
    """The same for the fields of a record."""
    return {str(key): plain(item) for key, item in fields.items()}
