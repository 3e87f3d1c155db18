"""Where in a folder the leaves of a DAG should stand, if it was made of that folder."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, DAG_PB, RAW
from carv2.errors import BlockNotFoundError, CodecError, UnsafePathError
from carv2.unixfs._node import codec_of, parse
from carv2.unixfs._walk import inline
from carv2.unixfs.entry import list_links
from carv2.unixfs.names import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CIDLike
    from carv2.unixfs._node import Node
    from carv2.unixfs._walk import Store

_MAX_DEPTH = 64
"""Nodes above each other in a file; see :mod:`carv2.unixfs.file`."""

_MAX_FOLDERS = 1024
"""Folders inside each other; see :mod:`carv2.unixfs.entry`."""


class Place(NamedTuple):
    """Where a leaf begins."""

    path: str
    offset: int


class _Item(NamedTuple):
    """An entry of the tree that is still to be looked at."""

    path: str
    cid: bytes
    depth: int


class Placer:
    """Goes through the tree below a root as an import would, and notes where it comes to each raw leaf.

    A block is gone through as often as the archive has it, so the work is bounded by the archive's size, whatever
    the tree looks like; and a leaf gets as many places as it has sections. What cannot be read or is no UnixFS has
    no places.

    Args:
        store: where nodes come from.
        counts: sections of each binary CID.
    """

    def __init__(self, store: Store, counts: Counter[bytes]) -> None:
        self._store, self._counts = store, counts
        self._visits: Counter[bytes] = Counter()
        self.places: dict[bytes, list[Place]] = {}

    def go_through(self, root: CIDLike, original: str) -> None:
        """Look for the leaves below ``root``, which was made of the file or folder ``original``."""
        stack = [_Item(original, bytes(CID.of(root)), 0)]
        while stack:
            item = stack.pop()
            if codec_of(item.cid) == RAW:
                self._note(item.cid, Place(item.path, 0))
                continue
            node = self._node(item.cid)
            if node is None:
                continue
            if node.is_file and os.path.isfile(item.path):
                self._go_through_file(node, item.path)
            elif node.is_directory and item.depth < _MAX_FOLDERS and os.path.isdir(item.path):
                stack += reversed(self._entries(item))

    def _entries(self, item: _Item) -> list[_Item]:
        """What stands in a folder, in the order in which an import takes it."""
        entries: list[_Item] = []
        try:
            for link in list_links(self._store, CID.trusted(item.cid), on_missing=lambda _: None):
                try:
                    name = check_name(link.name)
                except UnsafePathError:
                    continue
                path = os.path.join(item.path, os.fsdecode(name))
                entries.append(_Item(path, link.cid.raw, item.depth + 1))
        except (BlockNotFoundError, CodecError):
            return []
        return sorted(entries, key=lambda entry: os.fsencode(entry.path))

    def _go_through_file(self, node: Node, path: str) -> None:
        stack = [_parts_of(node, 0)]
        while stack:
            part = next(stack[-1], None)
            if part is None:
                stack.pop()
                continue
            cid, at = part
            if codec_of(cid) == RAW:
                self._note(cid, Place(path, at))
            elif len(stack) < _MAX_DEPTH and (child := self._node(cid)) is not None and child.is_file:
                stack.append(_parts_of(child, at))

    def _note(self, leaf: bytes, place: Place) -> None:
        count = self._counts.get(leaf, 0)
        if count and len(found := self.places.setdefault(leaf, [])) < count:
            found.append(place)

    def _node(self, cid: bytes) -> Node | None:
        """The node, unless it was gone through often enough or is none."""
        try:
            if codec_of(cid) != DAG_PB:
                return None
            data = inline(cid)
            if data is None:
                if self._visits[cid] >= self._counts.get(cid, 0):
                    return None
                self._visits[cid] += 1
                data = self._store[CID.trusted(cid)]
            return parse(cid, data)
        except (BlockNotFoundError, CodecError):
            return None


def _parts_of(node: Node, at: int) -> Iterator[tuple[bytes, int]]:
    """The children of a file's node, and where they begin; none if the node does not say how large they are."""
    at += len(node.data.data or b"")
    if len(node.links) == len(node.data.blocksizes):
        for link, size in zip(node.links, node.data.blocksizes, strict=True):
            yield link.cid, at
            at += size
