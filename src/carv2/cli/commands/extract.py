"""``carv2 extract``; its messages are those of go-car's ``car extract``, where that has one."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from carv2 import unixfs
from carv2._atomic import writing
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cli import color, progress, references, repairs, streams
from carv2.unixfs._safe_walk import Remembered
from carv2.unixfs.path import split_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Iterable
    from typing import Any, BinaryIO

    from carv2.cid import CID
    from carv2.filestore import FileStore
    from carv2.unixfs import Skipped

HELP = "take files and folders out of an archive; exit code 0: something came out, 1: nothing, or a block is wrong"
EXAMPLES = (
    "carv2 extract archive.car",
    "carv2 extract -o folder archive.car docs/readme.md images",
    "carv2 extract -o - archive.car docs/readme.md",
    "carv2 extract --tar archive.car | tar -t",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="FILE", nargs="?", default=None, help="the archive, - for standard input")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="what to extract, as `ls` shows it, or one /ipfs/CID/PATH (default: all)",
    )
    parser.add_argument("-f", "--file", "-i", "--input", dest="archive", metavar="FILE", help="the same as FILE")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="folder to write to, made if it is not there (default: the present one); - writes what is in the "
        "files to standard output; with --tar, the file to write (default: standard output)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print each path as it is extracted")
    parser.add_argument("--tar", action="store_true", help="write a tar file instead of a folder")
    parser.add_argument(
        "--symlinks",
        choices=("skip", "safe"),
        default="skip",
        help="skip them (default), or make those that stay inside",
    )
    taken = parser.add_mutually_exclusive_group()
    taken.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    taken.add_argument("--keep-existing", action="store_true", help="keep them; otherwise one is an error")
    parser.add_argument("--strict", action="store_true", help="stop where a block is missing")
    parser.add_argument("--skip-unsafe", action="store_true", help="pass over names that cannot be a file's")
    parser.add_argument("--portable", action="store_true", help="take names for unsafe that Windows cannot have")
    parser.add_argument("--name", default="unknown", help="for a root that is a file (default: unknown)")
    parser.add_argument(
        "--max-bytes", type=streams.size, metavar="BYTES", help="of all files (default: 1,000 times the archive)"
    )
    parser.add_argument("--max-entries", type=streams.count, metavar="N", help="files and folders")
    references.add_ref(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


def run(args: argparse.Namespace) -> int:
    name, words = _archive_and_paths(args)
    root, paths = _start(words)
    told = _Told(quiet=args.json, verbose=args.verbose)
    by_reference = references.is_wanted(args)
    with (
        streams.source(name) as source,
        streams.blame(name),
        contextlib.closing(references.store(source, args) if by_reference else _store(source, args)) as store,
        told.bar(getattr(store, "archive_size", None)) as tick,
    ):
        has_start = bool(root or store.roots)
        what = {"roots": None if root is None else [root], "paths": paths}
        if args.tar or args.output == "-":
            found = _to_stream(store, what, args, told, tick)
        else:
            found = _to_folder(store, what, args, told, tick)
    if args.json:
        streams.print_json(found, beside=_output(args))
    elif found["files"] or found["symlinks"]:
        print(f"extracted {found['files'] + found['symlinks']} file(s)", file=sys.stderr)
    else:
        print("no files extracted", file=sys.stderr)
    if not has_start:
        references.complain(name, "the archive has no roots: name a CID, as in /ipfs/CID/path")
    reasons = {skipped["reason"] for skipped in found["skipped"]}
    if "symlink" in reasons and not args.json:
        print("To make the symlinks that stay inside: --symlinks=safe", file=sys.stderr)
    damaged = "damaged" in reasons
    if not (reasons and not by_reference and references.hint(name)) and (damaged or "missing" in reasons):
        repairs.hint_at_index(name, args)
    return 0 if (found["files"] or found["symlinks"]) and not damaged else 1


def _archive_and_paths(args: argparse.Namespace) -> tuple[str, list[str]]:
    """With ``-f FILE`` all other words are paths; otherwise the first one is the archive."""
    words: list[str] = [*([] if args.words is None else [args.words]), *args.paths]
    if args.archive is not None:
        return args.archive, words
    return (words[0], words[1:]) if words else ("-", [])


def _start(words: list[str]) -> tuple[CID | None, list[str]]:
    """The root that a path names, None for the archive's own; and the paths below it."""
    starts = [split_path(word) for word in words]
    named = [root for root, _ in starts if root is not None]
    if not named:
        return None, words
    if len(starts) > 1:
        raise ValueError("of paths such as /ipfs/CID/path there can be one only, and no others beside it")
    return named[0], [starts[0][1]]


def _store(source: str | BinaryIO, args: argparse.Namespace) -> ReadOnlyBlockstore:
    return ReadOnlyBlockstore(source, limits=streams.limits_of(args), null_padding=args.null_padding)


def _output(args: argparse.Namespace) -> str:
    default = "-" if args.tar else "."
    return default if args.output is None else args.output


def _to_folder(
    store: ReadOnlyBlockstore | FileStore,
    what: dict[str, Any],
    args: argparse.Namespace,
    told: _Told,
    tick: progress.Tick,
) -> dict[str, Any]:
    try:
        report = unixfs.extract(
            store,
            _output(args),
            existing="replace" if args.overwrite else "keep" if args.keep_existing else "error",
            on_bytes=tick,
            on_path=lambda path: told.path(os.path.normpath(path)),
            **what,
            **_names(args),
            **_common(args, told),
        )
    except FileExistsError as error:
        why = "File exists (--overwrite replaces such files, --keep-existing keeps them)"
        raise FileExistsError(error.errno, why, error.filename) from None
    told.collisions(report.collisions)
    return streams.plain_fields({name: getattr(report, name) for name in _FIELDS})


def _to_stream(
    store: ReadOnlyBlockstore | FileStore,
    what: dict[str, Any],
    args: argparse.Namespace,
    told: _Told,
    tick: progress.Tick,
) -> dict[str, Any]:
    output = _output(args)
    if args.tar and output == "-" and sys.stdout.isatty():
        raise ValueError("a tar file is not for a terminal: say -o FILE, or put a pipe behind it")
    counted = _Counted(told)
    if args.tar:
        pieces = unixfs.tar_stream(store, on_path=counted.path, **what, **_names(args), **_common(args, counted))
    else:
        pieces = unixfs.payload_stream(store, on_path=counted.path, **what, **_common(args, counted))
    with writing(streams.destination(output, is_binary=False)) as sink:
        for piece in pieces:
            sink.write(piece)
            tick(len(piece))
    return counted.found


def _names(args: argparse.Namespace) -> dict[str, Any]:
    """How names become those of files."""
    return {
        "symlinks": args.symlinks,
        "on_unsafe": "skip" if args.skip_unsafe else "raise",
        "portable": args.portable,
        "root_file": args.name,
    }


def _common(args: argparse.Namespace, told: _Told | _Counted) -> dict[str, Any]:
    return {
        "on_missing": "raise" if args.strict else "skip",
        "max_bytes": args.max_bytes,
        "max_entries": args.max_entries,
        "on_skip": told.skip,
    }


class _Told:
    """Lines on standard error. While a bar is shown they wait."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet, self._verbose = quiet, verbose and not quiet
        self._waiting: Remembered[str] | None = None

    @contextlib.contextmanager
    def bar(self, size: int | None) -> Generator[progress.Tick]:
        """A bar, if there is to be one."""
        if self._verbose or not progress.is_wanted():
            yield _ignore
            return
        self._waiting = Remembered()
        try:
            with progress.bar("extracting", size) as tick:
                yield tick
        finally:
            lines, self._waiting = self._waiting, None
            for line in lines.items:
                print(line, file=sys.stderr)

    def path(self, path: str) -> None:
        """Say what is being extracted."""
        if self._verbose:
            self._say(path)

    def skip(self, skipped: Skipped) -> None:
        """Say what is not."""
        self._say(line_of(skipped))

    def collisions(self, paths: Iterable[str]) -> None:
        """Say which names would be one elsewhere."""
        for path in paths:
            self._say(f"differs from another name only by case: {path}")

    def _say(self, text: str) -> None:
        line = color.printable(text)
        if self._waiting is not None:
            self._waiting.add(line, len(line))
        elif not self._quiet:
            print(line, file=sys.stderr)


class _Counted:
    """The same, for streams, which give no report."""

    def __init__(self, told: _Told) -> None:
        self._told = told
        self._skipped: Remembered[Skipped] = Remembered()
        self._files = 0

    def path(self, path: str) -> None:
        """Count one."""
        self._files += 1
        self._told.path(path)

    def skip(self, skipped: Skipped) -> None:
        """Remember it."""
        self._skipped.add(skipped, len(skipped.path) + len(skipped.detail))
        self._told.skip(skipped)

    @property
    def found(self) -> dict[str, Any]:
        """What there is to report."""
        return streams.plain_fields({"files": self._files, "symlinks": 0, "skipped": self._skipped.items})


def _ignore(_: int, /) -> None:
    """The tick of no bar."""


def line_of(skipped: Skipped) -> str:
    """What to tell people of something that was passed over."""
    return _LINES[skipped.reason](skipped)


def _missing(skipped: Skipped) -> str:
    if skipped.shard:
        return f"data for entry not found for {skipped.count} unknown sharded entries (skipped...)"
    return f"data for entry not found: {skipped.path} (skipping...)"


_FIELDS = ("files", "directories", "symlinks", "bytes", "skipped", "collisions")
_LINES: dict[str, Callable[[Skipped], str]] = {
    "missing": _missing,
    "damaged": lambda skipped: f"damaged: {skipped.path}: {skipped.detail} (skipping...)",
    "unsafe name": lambda skipped: f"unsafe name: {skipped.path} (skipping...)",
    "symlink": lambda skipped: f"symlink: {skipped.path} -> {skipped.detail} (skipping...)",
    "unsafe symlink": lambda skipped: f"unsafe symlink: {skipped.path}: {skipped.detail} (skipping...)",
    "exists": lambda skipped: f"exists already: {skipped.path} (skipping...)",
    "collision": lambda skipped: f"name taken by {skipped.detail}: {skipped.path} (skipping...)",
    "not UnixFS": lambda skipped: f"no file or folder: {skipped.path} is {skipped.detail} (skipping...)",
}
