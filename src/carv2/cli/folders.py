"""What the commands that look at the files and directories of an archive share."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from carv2.blockstore import ReadOnlyBlockstore
from carv2.cli import color, references, repairs, streams
from carv2.errors import PathNotFoundError
from carv2.unixfs import resolve, walk_entries
from carv2.unixfs._budget import Budget
from carv2.unixfs.path import split_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from carv2.blockstore.protocols import Blockstore
    from carv2.cid import CID
    from carv2.filestore import FileStore
    from carv2.unixfs import Entry, Missing


def add_archive(parser: argparse.ArgumentParser) -> None:
    """The archive, and flags for how it is read."""
    parser.add_argument("file", metavar="FILE", help="the archive, - for standard input")
    parser.add_argument("--rebuild-index", action="store_true", help="do not trust the archive's index")
    references.add_ref(parser)
    streams.add_null_padding(parser)
    streams.add_limits(parser)


@contextlib.contextmanager
def opened(args: argparse.Namespace) -> Generator[ReadOnlyBlockstore | FileStore]:
    """The archive that the arguments name, as a store."""
    if references.is_wanted(args):
        with references.opened(args) as store:
            yield store
    else:
        with _archive(args) as store:
            yield store


@contextlib.contextmanager
def _archive(args: argparse.Namespace) -> Generator[ReadOnlyBlockstore]:
    with (
        streams.source(args.file) as source,
        ReadOnlyBlockstore(
            source,
            rebuild_index=getattr(args, "rebuild_index", False),
            verify=not getattr(args, "no_verify", False),
            null_padding=args.null_padding,
            limits=streams.limits_of(args),
        ) as store,
    ):
        yield store


def starts(roots: tuple[CID, ...], text: str) -> list[tuple[CID, str]]:
    """Where a path of the command line may begin: at the CID that it names, or at any root; and the rest of it."""
    root, path = split_path(text)
    if root is not None:
        return [(root, path)]
    if not roots:
        raise ValueError("the archive has no roots: name a CID, as in /ipfs/CID/path")
    return [(root, path) for root in dict.fromkeys(roots)]


def found(store: Blockstore, roots: tuple[CID, ...], text: str) -> list[tuple[CID, Entry]]:
    """What stands at a path of the command line, below each root that has it; at least one does.

    Raises:
        PathNotFoundError: none has.
    """
    entries: list[tuple[CID, Entry]] = []
    failure: PathNotFoundError | None = None
    for root, path in starts(roots, text):
        try:
            entry = resolve(store, root, path)
            if entry.kind == "file" and entry.size is None:  # no link says it
                entry = replace(entry, size=store.size_of(entry.cid))
            entries.append((root, entry))
        except PathNotFoundError as error:
            failure = failure or error
    if failure is not None and not entries:
        raise failure
    return entries


def shown(text: str) -> str:
    """A name out of an archive as it may be printed here: nothing in it moves a cursor, or fails to encode."""
    encoding = sys.stdout.encoding or "utf-8"
    return color.printable(text).encode(encoding, "backslashreplace").decode(encoding)


def tell_of_shards(archive: str, count: int) -> None:
    """Say on standard error that entries of a directory are not known, if shards of it are missing."""
    if count:
        parts = "1 part of a directory is" if count == 1 else f"{count} parts of directories are"
        print(f"carv2: {color.printable(archive)}: {parts} missing, and entries with it", file=sys.stderr)


def print_paths(args: argparse.Namespace) -> int:
    """The paths of all files and directories, in the words of ``car list --unixfs`` and ``--unixfs-blocks``.

    A missing block ends go-car's listing; here, what can be reached is listed, and the exit code is 1.
    """
    missing = 0
    with _archive(args) as store:
        budget = Budget(store.archive_size, None, args.max_entries)

        def on_missing(item: Missing) -> None:
            nonlocal missing
            missing += 1
            budget.entry()
            if not item.shard:
                _print_path(args, item.cid, item.path, {"path": item.path, "cid": item.cid, "kind": "missing"})

        for root in store.roots:
            entries = walk_entries(store, root, on_missing=on_missing)
            next(entries)  # the root itself has no path
            for entry in entries:
                budget.entry()
                _print_path(args, entry.cid, entry.path, entry)
    if missing:
        blocks = "1 block is" if missing == 1 else f"{missing} blocks are"
        print(f"carv2: {color.printable(args.file)}: {blocks} missing, and what is below", file=sys.stderr)
        repairs.hint_at_index(args.file, args)
    return 1 if missing else 0


def _print_path(args: argparse.Namespace, cid: CID, path: str, fields: object) -> None:
    if args.json:
        streams.print_json(fields)
    else:
        print(f"{cid} {shown(path)}" if args.unixfs_blocks else shown(path))
