"""``carv2 ls``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from carv2.cli import folders, streams
from carv2.unixfs import Missing, list_directory, list_links

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from carv2.blockstore.protocols import Blockstore
    from carv2.unixfs import Entry

HELP = "list the entries of a directory in an archive"
EXAMPLES = (
    "carv2 ls archive.car",
    "carv2 ls -l archive.car photos/2026",
    "carv2 ls archive.car /ipfs/bafybeiaysi4s6lnjev27ln5icwm6tueaw2vdykrtjkwiphwekaywqhcjze/wiki",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folders.add_archive(parser)
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="",
        help="below the roots, or /ipfs/CID/PATH (default: the roots)",
    )
    parser.add_argument("-l", "--long", action="store_true", help="show kind, size in bytes and CID of each entry")


def run(args: argparse.Namespace) -> int:
    shards: list[Missing] = []
    with folders.opened(args) as store:
        found = folders.found(store, store.roots, args.path)
        for root, entry in found:
            if len(found) > 1 and not args.json:
                print(f"{root}:")
            for line in _lines(args, store, entry, shards):
                print(line)
    folders.tell_of_shards(args.file, len(shards))
    return 1 if shards else 0


def _lines(args: argparse.Namespace, store: Blockstore, entry: Entry, shards: list[Missing]) -> Iterator[str]:
    """The lines for what stands at the path; shards that are not there are put into ``shards``."""
    if args.json or args.long:
        for item in _entries(store, entry):
            if isinstance(item, Missing) and item.shard:
                shards.append(item)
            else:
                yield _json(item, entry.path) if args.json else _long(item)
    elif entry.kind == "directory":
        for link in list_links(store, entry.cid, on_missing=shards.append):
            yield folders.shown(link.name)
    else:
        yield folders.shown(entry.name or str(entry.cid))


def _entries(store: Blockstore, entry: Entry) -> Iterator[Entry | Missing]:
    if entry.kind != "directory":
        yield entry
        return
    missing: list[Missing] = []
    for found in list_directory(store, entry.cid, on_missing=missing.append):
        yield from missing
        missing.clear()
        yield found
    yield from missing


def _json(item: Entry | Missing, base: str) -> str:
    if isinstance(item, Missing):
        fields: object = {"name": item.path, "cid": str(item.cid), "kind": "missing"}
    else:
        fields = streams.plain(item)
    path = item.path if not base or item.path == base else f"{base}/{item.path}"
    return json.dumps({**cast("dict[str, object]", fields), "path": path})


def _long(item: Entry | Missing) -> str:
    if isinstance(item, Missing):
        return f"{'missing':<9}  {'-':>12}  {item.cid}  {folders.shown(item.path)}"
    size = "-" if item.size is None else item.size
    target = "" if item.target is None else f" -> {folders.shown(item.target)}"
    return f"{item.kind:<9}  {size:>12}  {item.cid}  {folders.shown(item.name)}{target}".rstrip()
