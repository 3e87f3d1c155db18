"""Which paths of two directory trees differ; what is the same in both is not looked into."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from carv2.cid import CID
from carv2.errors import BlockNotFoundError, BudgetError
from carv2.unixfs._budget import Budget
from carv2.unixfs.entry import MAX_DEPTH, Entry, list_links, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CIDLike
    from carv2.unixfs._walk import Missing, Store
    from carv2.unixfs.entry import Link

__all__ = ["PathChange", "diff_paths"]


@dataclass(frozen=True, slots=True)
class PathChange:
    """A path that is not the same in both trees."""

    change: Literal["added", "removed", "changed", "incomplete"]
    """``incomplete``: a directory of which blocks are missing, so that not all of it could be compared."""
    before: Entry | None
    """What stands there in the one tree; None if nothing does."""
    after: Entry | None
    """The same of the other tree."""

    @property
    def path(self) -> str:
        """From the root, with slashes between names, as they stand in the archives; ``""`` is the root itself."""
        entry = self.after or self.before
        return "" if entry is None else entry.path


def diff_paths(
    a: Store,
    root_a: CIDLike,
    b: Store,
    root_b: CIDLike,
    *,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
) -> Iterator[PathChange]:
    """Compare two trees, directory by directory, each in the order of its names.

    Equal CIDs mean equal content and are passed over without reading a block, so the cost is that of what
    differs. Of a directory that only one tree has, only the directory itself is told. A file whose CID differs
    is changed, even if its bytes are the same, imported in another way. An entry of another kind is one that was
    removed and one that was added.

    Args:
        a: the store of the one tree; blocks may be missing.
        root_a: its root.
        b: the store of the other tree, maybe the same one.
        root_b: its root.
        max_entries: entries of directories to compare at most, and blocks of directories that are missing. By
            default as many as ``extract`` gives for an archive of the size of both, if the stores are archives,
            otherwise 10 millions: a small archive can hold a tree of any size.
        max_depth: directories inside each other, at most.

    Raises:
        BudgetError: there are more entries, or deeper ones.
        BlockNotFoundError: the block of a root is missing.
        CodecError: a directory is not what it should be.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> from carv2.codec import dag_pb
    >>> def directory(**files):
    ...     links = [dag_pb.PBLink(CID.of_data(data).raw, name, len(data)) for name, data in files.items()]
    ...     return dag_pb.encode(dag_pb.PBNode(links, bytes.fromhex("0801")))
    >>> trees = [directory(a=b"fish", b=b"lobster"), directory(b=b"barreleye", c=b"whale")]
    >>> store = MemoryBlockstore([(CID.of_data(tree, codec="dag-pb"), tree) for tree in trees])
    >>> old, new = store
    >>> [(change.change, change.path) for change in diff_paths(store, old, store, new)]
    [('removed', 'a'), ('changed', 'b'), ('added', 'c')]
    """
    budget = Budget(_size_of(a, b), None, max_entries)
    return _Comparison(a, b, budget, max_depth).changes(CID.of(root_a), CID.of(root_b))


def _size_of(a: Store, b: Store) -> int | None:
    """Bytes of the archives behind two stores; None if one of them is no archive."""
    sizes: list[int | None] = [getattr(store, "archive_size", None) for store in ((a,) if a is b else (a, b))]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


class _Tree:
    """One of the two trees."""

    def __init__(self, store: Store, budget: Budget) -> None:
        self._store, self._budget = store, budget

    def entry(self, path: str, name: str, link: Link) -> Entry:
        """What a link leads to; of kind ``unknown`` where its block is missing."""
        try:
            found = resolve(self._store, link.cid)
        except BlockNotFoundError:
            return Entry(path, name, link.cid, "unknown")
        size = link.size if found.kind == "file" and found.size is None else found.size
        return replace(found, path=path, name=name, size=size)

    def root(self, cid: CID) -> Entry:
        """The same of a root, whose block must be there."""
        return resolve(self._store, cid)

    def links(self, directory: Entry) -> tuple[dict[str, Link], bool]:
        """The entries of a directory by name, and whether that is all of them."""
        is_whole = True

        def on_missing(_: Missing) -> None:
            nonlocal is_whole
            is_whole = False
            self._budget.entry()

        found = {link.name: link for link in list_links(self._store, directory.cid, on_missing=on_missing)}
        return found, is_whole


class _Comparison:
    def __init__(self, a: Store, b: Store, budget: Budget, max_depth: int) -> None:
        self._a, self._b, self._budget = _Tree(a, budget), _Tree(b, budget), budget
        self._max_depth = max_depth

    def changes(self, root_a: CID, root_b: CID) -> Iterator[PathChange]:
        """All of them, depth-first."""
        if _same(root_a, root_b):
            return
        before, after = self._a.root(root_a), self._b.root(root_b)
        if not _are_directories(before, after):
            yield from _replaced(before, after)
            return
        stack = [self._in_directory(before, after)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, PathChange):
                yield found
            elif len(stack) == self._max_depth:
                raise BudgetError("directories inside each other", allowed=self._max_depth)
            else:
                stack.append(self._in_directory(*found))

    def _in_directory(self, before: Entry, after: Entry) -> Iterator[PathChange | tuple[Entry, Entry]]:
        """What differs directly inside of two directories; pairs of directories that are to be looked into."""
        old, old_is_whole = self._a.links(before)
        new, new_is_whole = self._b.links(after)
        if not (old_is_whole and new_is_whole):
            yield PathChange("incomplete", before, after)
        for name in sorted(old.keys() | new.keys()):
            self._budget.entry()
            one, other = old.get(name), new.get(name)
            path = f"{after.path}/{name}" if after.path else name
            if one is None:
                if other is not None and old_is_whole:
                    yield PathChange("added", None, self._b.entry(path, name, other))
            elif other is None:
                if new_is_whole:
                    yield PathChange("removed", self._a.entry(path, name, one), None)
            elif not _same(one.cid, other.cid):
                pair = self._a.entry(path, name, one), self._b.entry(path, name, other)
                if _are_directories(*pair):
                    yield pair
                else:
                    yield from _replaced(*pair)


def _replaced(before: Entry, after: Entry) -> Iterator[PathChange]:
    """Two different things of one path, not both directories."""
    if before.kind == after.kind or "unknown" in {before.kind, after.kind}:
        yield PathChange("changed", before, after)
    else:
        yield PathChange("removed", before, None)
        yield PathChange("added", None, after)


def _are_directories(one: Entry, other: Entry) -> bool:
    return one.kind == other.kind == "directory"


def _same(one: CID, other: CID) -> bool:
    """Whether two CIDs, of either version, name the same block read in the same way."""
    return one == other or (one.codec == other.codec and one.multihash == other.multihash)
