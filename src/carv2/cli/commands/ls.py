"""``carv2 ls``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from carv2.cli import folders, repairs, streams
from carv2.unixfs import Missing, list_directory, list_links

if TYPE_CHECKING:
    import argparse

    from carv2.blockstore.protocols import Blockstore
    from carv2.unixfs import Entry

HELP = "list the entries of a directory in an archive"
EXAMPLES = (
    "carv2 ls archive.car",
    "carv2 ls -l archive.car photos/2026",
    "carv2 ls archive.car /ipfs/bafybeifu7xa5pgw34ytmol4bgvkzwf67laua4pcz6ajkrum2msxei22xh4/docs",
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
    with folders.opened(args) as store:
        found = folders.found(store, store.roots, args.path)
        entries = shards = 0
        for root, entry in found:
            if len(found) > 1 and not args.json:
                print(f"{root}:")
            lost = _print_entries(args, store, entry)
            entries, shards = entries + lost[0], shards + lost[1]
    folders.tell_of_shards(args.file, shards)
    if entries or shards:
        repairs.hint_at_index(args.file, args)
    return 1 if shards else 0


def _print_entries(args: argparse.Namespace, store: Blockstore, entry: Entry) -> tuple[int, int]:
    """Print what stands at the path; how many entries, and how many shards of it, are not there."""
    entries, shards, is_directory = 0, 0, entry.kind == "directory"

    def on_missing(missing: Missing) -> None:
        nonlocal entries, shards
        if missing.shard:
            shards += 1
        else:
            entries += 1
            print(line_of(missing))

    def line_of(item: Entry | Missing) -> str:
        return _json(item, entry.path) if args.json else _long(item)

    if args.json or args.long:
        for item in list_directory(store, entry.cid, on_missing=on_missing) if is_directory else [entry]:
            print(line_of(item))
    elif is_directory:
        for link in list_links(store, entry.cid, on_missing=on_missing):
            print(folders.shown(link.name))
    else:
        print(folders.shown(entry.name or str(entry.cid)))
    return entries, shards


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
