"""What stands in a directory, and below it: entries with their kind, read from a store.

Names are given as they stand in the archive, which anybody may have made: ``..``, ``/etc/passwd`` and the empty
name are names. Whoever makes files of them has to look at them first, as :mod:`carv2.unixfs.extraction` does.

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2.cid import CID, DAG_PB, RAW
from carv2.errors import BlockNotFoundError, BudgetError, CodecError
from carv2.unixfs import data as unixfs_data
from carv2.unixfs._node import Node, codec_of, parse
from carv2.unixfs._walk import Missing, Want, finish, run
from carv2.unixfs.directory import DirLink, links_in, note_shard, walk_links
from carv2.unixfs.path import names_of, walk_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn, TypeAlias

    from carv2.cid import CIDLike
    from carv2.unixfs._walk import Store, Walk

    Kind: TypeAlias = Literal["file", "directory", "symlink", "unknown"]
    OnMissing: TypeAlias = 'Literal["raise"] | Callable[[Missing], object]'

__all__ = ["Entry", "Link", "list_directory", "list_links", "resolve", "walk_entries"]

MAX_DEPTH = 1024
"""Directories inside each other. Source: boxo's limit for a walk."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or symlink, and where it stands."""

    path: str
    """From the root, with slashes between names; ``""`` is the root itself."""
    name: str
    """The last name of the path, as it stands in the archive: not safe to be a file's."""
    cid: CID
    kind: Kind
    """``unknown``: a block of another codec than UnixFS uses, or one that does not hold what UnixFS needs."""
    size: int | None = None
    """Bytes of a file's payload, as its root block (of a raw one, the link to it) declares them; reading the file
    checks that. None where nothing says it, and of everything that is no file."""
    target: str | None = None
    """What a symlink points to, as it stands in the archive."""
    mode: int | None = None
    mtime: tuple[int, int] | None = None
    """Seconds since 1970, and nanoseconds on top."""


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of a directory, of which nothing was read but the directory."""

    name: str
    """As it stands in the archive: not safe to be a file's."""
    cid: CID
    size: int | None
    """Tsize: bytes of all blocks behind the link, by the word of whoever wrote it."""


_KINDS: dict[int, Kind] = {
    unixfs_data.RAW: "file",
    unixfs_data.FILE: "file",
    unixfs_data.DIRECTORY: "directory",
    unixfs_data.HAMT: "directory",
    unixfs_data.SYMLINK: "symlink",
}


def resolve(store: Store, root: CIDLike, path: str = "") -> Entry:
    """The entry at ``path`` below ``root``; ``""`` is the root itself.

    Symlinks are not followed: one at the end of the path is the answer, one in the middle an error. Of a sharded
    directory only the shards on the way are read. A path may lead through the maps and lists of dag-cbor and
    dag-json; where it ends inside such a block, that block is the answer, of kind ``unknown``.

    Raises:
        PathNotFoundError: there is nothing at the path.
        BlockNotFoundError: a block on the way is missing, or the one at its end (a raw one is not looked at).
        CodecError: a block on the way is not what it should be.
        ValueError: ``root`` is no CID, or ``path`` leads out of it.

    >>> import os, tempfile
    >>> from carv2 import unixfs
    >>> store = {}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(os.path.join(folder, "sea"))
    ...     with open(os.path.join(folder, "sea", "fish"), "w") as file:
    ...         _ = file.write("a fish")
    ...     root = unixfs.import_tree(folder, store.__setitem__, wrap=False).root
    >>> resolve(store, root, "sea/fish").size
    6
    """
    names = names_of(path)
    return finish(store, _walk_resolve(bytes(CID.of(root)), names))[0]


def list_links(store: Store, cid: CIDLike, *, on_missing: OnMissing = "raise") -> Iterator[Link]:
    """The entries of the directory ``cid`` as :func:`list_directory` gives them, without reading their blocks.

    Args:
        store: where blocks come from.
        cid: of the directory.
        on_missing: called with a :class:`Missing` for each shard that is not there; ``"raise"`` makes the first
            of them an error.

    Raises:
        BlockNotFoundError: the directory's own block is missing.
        UnixFSError: it is no directory, or a broken one.

    >>> import os, tempfile
    >>> from carv2 import unixfs
    >>> store = {}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(os.path.join(folder, "sea"))
    ...     with open(os.path.join(folder, "sea", "fish"), "w") as file:
    ...         _ = file.write("a fish")
    ...     root = unixfs.import_tree(folder, store.__setitem__, wrap=False).root
    >>> [link.name for link in list_links(store, root)]
    ['sea']
    """
    found: Iterator[DirLink | Missing] = run(store, _walk_links(bytes(CID.of(cid))))
    for item in found:
        if isinstance(item, DirLink):
            yield Link(item.name, CID.trusted(item.cid), item.size)
        else:
            _report(item, on_missing)


def list_directory(store: Store, cid: CIDLike, *, on_missing: OnMissing = "raise") -> Iterator[Entry]:
    """The entries of the directory ``cid``, in the order of its links; of several of one name, the first.

    The blocks of entries are read, as far as their kind is not clear from their CIDs.

    Args:
        store: where blocks come from.
        cid: of the directory.
        on_missing: called with a :class:`Missing` for each block that is not there: of an entry, which is then
            passed over, or of a shard. ``"raise"`` makes the first of them an error.

    Raises:
        BlockNotFoundError: the directory's own block is missing.
        UnixFSError: it is no directory, or a broken one.

    >>> import os, tempfile
    >>> from carv2 import unixfs
    >>> store = {}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(os.path.join(folder, "sea"))
    ...     with open(os.path.join(folder, "sea", "fish"), "w") as file:
    ...         _ = file.write("a fish")
    ...     root = unixfs.import_tree(folder, store.__setitem__, wrap=False).root
    >>> [(entry.path, entry.kind) for entry in list_directory(store, root)]
    [('sea', 'directory')]
    """
    return _reported(run(store, _walk_listing(bytes(CID.of(cid)))), on_missing)


def walk_entries(
    store: Store,
    root: CIDLike,
    path: str = "",
    *,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
    on_missing: OnMissing = "raise",
) -> Iterator[Entry]:
    """The entry at ``path`` below ``root``, and everything below it: depth-first, directories before what they
    hold, each directory's entries in the order of its links.

    The first entry is the one at ``path``, so with ``path=""`` it is the root, whose own path is ``""``. What is
    there twice is given twice: a small archive can hold a huge tree, hence ``max_entries``.

    Args:
        store: where blocks come from.
        root: where ``path`` begins.
        path: where to begin; paths of entries begin with it.
        max_entries: entries to give at most; what is missing counts as well.
        max_depth: directories inside each other, at most.
        on_missing: as in :func:`list_directory`.

    Raises:
        BudgetError: there are more entries, or deeper ones.
        PathNotFoundError, BlockNotFoundError, CodecError, ValueError: as in :func:`resolve`.

    >>> import os, tempfile
    >>> from carv2 import unixfs
    >>> store = {}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.mkdir(os.path.join(folder, "sea"))
    ...     with open(os.path.join(folder, "sea", "fish"), "w") as file:
    ...         _ = file.write("a fish")
    ...     root = unixfs.import_tree(folder, store.__setitem__, wrap=False).root
    >>> [entry.path for entry in walk_entries(store, root)]
    ['', 'sea', 'sea/fish']
    """
    walk = _walk_tree(bytes(CID.of(root)), names_of(path), max_depth)
    return _reported(_within(run(store, walk), max_entries), on_missing)


def _reported(found: Iterator[Entry | Missing], on_missing: OnMissing) -> Iterator[Entry]:
    for item in found:
        if isinstance(item, Entry):
            yield item
        else:
            _report(item, on_missing)


def _report(missing: Missing, on_missing: OnMissing) -> None:
    if on_missing == "raise":
        raise BlockNotFoundError(missing.cid)
    on_missing(missing)


def _within(found: Iterator[Entry | Missing], allowed: int | None) -> Iterator[Entry | Missing]:
    for count, item in enumerate(found, 1):
        if allowed is not None and count > allowed:
            raise BudgetError("entries", allowed=allowed, hint="allow more with max_entries")
        yield item


# -- the walks ----------------------------------------------------------------------------------------------


def _walk_resolve(root: bytes, names: tuple[str, ...]) -> Walk[NoReturn, tuple[Entry, Node | None]]:
    """The entry at the end of ``names``, and its node if that had to be read."""
    path, name = "/".join(names), names[-1] if names else ""
    target = yield from walk_path(root, names)
    if target.block is not None:
        return Entry(path, name, CID.trusted(target.cid_bytes), "unknown"), None
    return (yield from _look_at(target.cid_bytes, path, name, target.size, target.depth))


def _look_at(
    cid_bytes: bytes, path: str, name: str, size: int | None, depth: int
) -> Walk[NoReturn, tuple[Entry, Node | None]]:
    cid, codec = CID.trusted(cid_bytes), codec_of(cid_bytes)
    if codec == RAW:
        return Entry(path, name, cid, "file", len(cid.digest) if cid.is_identity else size), None
    if codec != DAG_PB:
        return Entry(path, name, cid, "unknown"), None
    block = yield Want(cid_bytes, path, depth)
    try:
        node = parse(cid_bytes, block)
    except CodecError:  # one odd entry does not hide the others; reading it says what is wrong
        return Entry(path, name, cid, "unknown"), None
    return _entry_of(node, path, name), node


def _entry_of(node: Node, path: str, name: str) -> Entry:
    data = node.data
    kind: Kind = _KINDS.get(data.type, "unknown")
    size = target = None
    if kind == "file":
        size = len(data.data or b"") + sum(data.blocksizes) if data.filesize is None else data.filesize
    elif kind == "symlink":
        target = (data.data or b"").decode("utf-8", "surrogateescape")
    return Entry(path, name, node.cid, kind, size, target, data.mode, data.mtime)


def _walk_links(cid_bytes: bytes) -> Walk[DirLink | Missing, None]:
    node = parse(cid_bytes, (yield Want(cid_bytes)))
    yield from walk_links(node, path="", depth=0)


def _walk_listing(cid_bytes: bytes) -> Walk[Entry | Missing, None]:
    node = parse(cid_bytes, (yield Want(cid_bytes)))
    yield from _walk_below(node, "", 0, max_depth=0)


def _walk_tree(root: bytes, names: tuple[str, ...], max_depth: int) -> Walk[Entry | Missing, None]:
    entry, node = yield from _walk_resolve(root, names)
    yield entry
    if node is not None and node.is_directory:
        yield from _walk_below(node, entry.path, len(names), max_depth=max_depth)


class _Level:
    """The links of one block that are still to be looked at, and what they are part of."""

    __slots__ = ("depth", "level", "links", "path", "shards")

    def __init__(self, links: Iterator[DirLink], path: str, depth: int, level: int, shards: set[bytes]) -> None:
        self.links, self.path, self.depth, self.level = links, path, depth, level
        self.shards = shards
        """Those of the same directory that were met so far."""


def _walk_below(node: Node, path: str, depth: int, *, max_depth: int) -> Walk[Entry | Missing, None]:
    """The entries of a directory; with a ``max_depth`` also what they hold, that many directories down."""
    stack = [_Level(links_in(node), path, depth, 1, set())]
    while stack:
        top = stack[-1]
        link = next(top.links, None)
        if link is None:
            stack.pop()
            continue
        path = top.path if link.place else f"{top.path}/{link.name}" if top.path else link.name
        try:
            if link.place:
                note_shard(link.cid, top.shards)
                shard = parse(link.cid, (yield Want(link.cid, path, top.depth + 1)))
                links = links_in(shard, link.place)
                stack.append(_Level(links, path, top.depth + 1, top.level, top.shards))
                continue
            entry, below = yield from _look_at(link.cid, path, link.name, link.size, top.depth + 1)
        except BlockNotFoundError as error:
            yield Missing(path, error.cid, link.place is not None)
            continue
        yield entry
        if max_depth and below is not None and below.is_directory:
            if top.level == max_depth:
                raise BudgetError("directories inside each other", allowed=max_depth)
            stack.append(_Level(links_in(below), path, top.depth + 1, top.level + 1, set()))
