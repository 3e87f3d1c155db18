"""Out of an archive and into a folder: files, directories and symlinks, and nothing outside of the folder.

Nothing in an archive is believed but what its CIDs prove. Names are checked (:func:`check_name`), and used one by
one below an open directory in a way that follows no symlink; content is checked against its hash before it is
written; a file is there whole or not at all; and the budget ends what a small archive would make of a disk.

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/); go-car's ``car extract``, for where files go.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2._folder import Folder
from carv2._source import open_source
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, IntegrityError
from carv2.unixfs._ahead import ahead
from carv2.unixfs._budget import Budget
from carv2.unixfs._safe_walk import ROOT_FILE, Remembered, Rules, SafeWalk, Skipped, paths_apart
from carv2.unixfs.entry import MAX_DEPTH

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Iterator

    from typing_extensions import TypeIs

    from carv2._folder import Existing
    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.unixfs._safe_walk import OnMissing, OnUnsafe, Step, Symlinks
    from carv2.unixfs._walk import Store
    from carv2.unixfs.entry import Entry

__all__ = ["ExtractReport", "extract"]

_LARGE = 4 << 20
"""Bytes of a file from which on it is read by another thread than it is written by."""


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What came out of an archive."""

    files: int = 0
    directories: int = 0
    """That were in the archive, whether they had to be made or not; roots are not among them."""
    symlinks: int = 0
    bytes: int = 0
    """Of the files' payload."""
    skipped: tuple[Skipped, ...] = ()
    """What did not come out, and why; if that is very much, the first of it: some 32 million characters."""
    collisions: tuple[str, ...] = ()
    """Paths whose last name differs from another in its directory only by case, or by how its characters are
    composed: on another computer they would be the same file."""


def extract(
    source: Store | SourceLike,
    into: str | os.PathLike[str],
    *,
    roots: Iterable[CIDLike] | None = None,
    paths: str | Iterable[str] = (),
    existing: Existing = "error",
    symlinks: Symlinks = "skip",
    on_missing: OnMissing = "skip",
    on_unsafe: OnUnsafe = "raise",
    portable: bool = False,
    root_file: str = ROOT_FILE,
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_depth: int = MAX_DEPTH,
    on_path: Callable[[str], object] | None = None,
    on_skip: Callable[[Skipped], object] | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> ExtractReport:
    """Write what is in an archive into the folder ``into``, which is made if it is not there.

    Args:
        source: an archive (a path, bytes, a file), or a store of blocks.
        into: the folder; its directories may be there already, and are written into.
        roots: where to begin; the archive's own, if not given.
        paths: what to write, with everything below; all of it, if there are none. A path keeps its directories. It
            must be below one of the roots.
        existing: what becomes of a file that is there already: ``error`` stops, ``keep`` leaves it and reports it,
            ``replace`` replaces it. Of several roots with the same path the first counts, except with ``replace``.
        symlinks: ``skip`` them, or make those that are ``safe``: that lead to something inside the folder, with no
            ``..`` behind another name. The others are reported.
        on_missing: ``skip`` a file of which a block is missing or damaged, and report it; or ``raise`` the error.
        on_unsafe: ``raise`` UnsafePathError for a name that cannot be a file's; or ``skip`` and report it.
        portable: refuse also names that Windows cannot have, and the second of two that differ only by case.
        root_file: name for a root that is a file and has none; a second one is called by its CID.
        max_bytes: of all files together; 1,000 times the archive, if not given, or 1 TiB for a store without one.
        max_entries: files, directories and symlinks; by the size of the archive, if not given.
        max_depth: directories inside each other.
        on_path: called with the path of each thing that is made, before it is.
        on_skip: called with what is skipped, at once.
        on_bytes: called with the number of bytes written, time and again.

    Raises:
        UnsafePathError: see ``on_unsafe``. What was written before stays, here and in other cases.
        BudgetError: the tree is larger or deeper than allowed.
        PathNotFoundError: nothing at one of ``paths``.
        FormatError, IntegrityError: the archive, or one of its directories, is broken.
        OSError: the system refuses, or something is in the way; FileExistsError: see ``existing``.
        ValueError: one of ``paths`` leads out of the root; a store without roots, and none given.

    >>> import carv2, os, tempfile
    >>> root = CID.of_data(b"fish")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = extract(b"".join(carv2.iter_car([root], [(root, b"fish")])), folder)
    ...     report.files, report.bytes, os.listdir(folder)
    (1, 4, ['unknown'])
    """
    rules = Rules(symlinks, on_missing, on_unsafe, portable, max_depth, root_file)
    wanted = paths_apart(paths)
    with opened(source) as (store, archive_size):
        starts = roots_of(store, roots)
        budget = Budget(archive_size, max_bytes, max_entries)
        log = _Log(on_path, on_skip)
        walk = SafeWalk(store, budget, rules, log.skip)
        with Folder(into, existing=existing) as folder:
            maker = _Maker(folder, walk, budget, log, on_bytes)
            for root, steps in walk.take(starts, wanted):
                maker.make(steps, is_first=root == starts[0])
        return log.report(budget.spent)


@contextlib.contextmanager
def opened(source: Store | SourceLike) -> Generator[tuple[Store, int | None]]:
    """A store, and how many bytes its archive has, if it has one."""
    if _is_store(source):
        yield source, getattr(source, "archive_size", None)
        return
    archive = open_source(source)
    try:
        with contextlib.closing(ReadOnlyBlockstore(archive)) as store:
            yield store, archive.size
    finally:
        if archive is not source:
            archive.close()


def _is_store(source: Store | SourceLike) -> TypeIs[Store]:
    return hasattr(source, "__getitem__") and not isinstance(source, (str, bytes, bytearray, memoryview))


def roots_of(store: Store, roots: Iterable[CIDLike] | None) -> list[CID]:
    """Each root once, in order."""
    found = getattr(store, "roots", None) if roots is None else roots
    if found is None:
        raise ValueError("the store has no roots, so say which")
    return list(dict.fromkeys(map(CID.of, found)))


class _Log:
    """Counts what is made and remembers what is not."""

    def __init__(
        self, on_path: Callable[[str], object] | None, on_skip: Callable[[Skipped], object] | None
    ) -> None:
        self.on_path, self._on_skip = on_path, on_skip
        self.files = self.directories = self.symlinks = 0
        self._skipped: Remembered[Skipped] = Remembered()
        self._collisions: Remembered[str] = Remembered()

    def skip(self, skipped: Skipped) -> None:
        self._skipped.add(skipped, len(skipped.path) + len(skipped.detail))
        if self._on_skip is not None:
            self._on_skip(skipped)

    def collision(self, path: str) -> None:
        self._collisions.add(path, len(path))

    def report(self, size: int) -> ExtractReport:
        skipped, collisions = tuple(self._skipped.items), tuple(self._collisions.items)
        return ExtractReport(self.files, self.directories, self.symlinks, size, skipped, collisions)


class _Maker:
    """Takes steps in a folder."""

    def __init__(
        self,
        folder: Folder,
        walk: SafeWalk,
        budget: Budget,
        log: _Log,
        on_bytes: Callable[[int], object] | None,
    ) -> None:
        self._folder, self._walk, self._budget, self._log = folder, walk, budget, log
        self._on_bytes = on_bytes
        self._is_first = True

    def make(self, steps: Iterator[Step], *, is_first: bool) -> None:
        """Take all steps of a walk; what an earlier one has made stays, unless this is the first."""
        self._is_first = is_first
        for step in steps:
            if step.do == "leave":
                self._folder.leave()
                continue
            if self._log.on_path is not None:
                self._log.on_path(self._folder.path_of(step.name))
            if step.twin is not None and self._collides(step, step.twin):
                self._walk.prune()
            elif step.do == "enter":
                self._enter(step)
            elif step.do == "file":
                self._file(step, step.entry)
            else:
                self._symlink(step)

    def _collides(self, step: Step, twin: bytes) -> bool:
        """Whether the file system takes the two names for one; then the first one stays."""
        self._log.collision(f"/{step.path}")
        found = self._folder.inode(step.name)
        if found is None or found != self._folder.inode(twin):
            return False
        self._walk.skip(step.path, "collision", detail=twin.decode("utf-8", "surrogateescape"))
        return True

    def _enter(self, step: Step) -> None:
        entry = step.entry
        if entry is None:
            self._folder.enter(step.name)
        else:
            self._folder.enter(step.name, mode=entry.mode, mtime=entry.mtime)
            self._log.directories += 1

    def _file(self, step: Step, entry: Entry | None) -> None:
        assert entry is not None  # only directories on the way have none
        try:
            pieces = self._walk.pieces(entry)
            if entry.size is not None and entry.size > _LARGE:
                pieces = ahead(pieces)
            paid = self._budget.paid(pieces, self._on_bytes)
            made = self._folder.write(step.name, paid, mode=entry.mode, mtime=entry.mtime)
        except BlockNotFoundError as error:
            self._walk.missing(step.path, error.cid)
            return
        except IntegrityError as error:
            self._walk.damaged(step.path, error)
            return
        except FileExistsError:
            if self._is_first:
                raise
            made = False
        if made:
            self._log.files += 1
        else:
            self._walk.skip(step.path, "exists")

    def _symlink(self, step: Step) -> None:
        try:
            made = self._folder.symlink(step.name, step.target)
        except FileExistsError:
            if self._is_first:
                raise
            made = False
        if made:
            self._log.symlinks += 1
        else:
            self._walk.skip(step.path, "exists")
