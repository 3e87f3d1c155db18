"""A tree in an archive as steps that can be taken on a disk: names and depth checked, budgets kept, gaps reported.

What takes the steps makes nothing that a step does not name, so nothing hostile gets to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from carv2.cid import CID, RAW
from carv2.errors import BlockNotFoundError, BudgetError, IntegrityError, PathNotFoundError, UnsafePathError
from carv2.unixfs._budget import MeteredStore
from carv2.unixfs.entry import MAX_DEPTH, Entry, list_directory, resolve
from carv2.unixfs.file import read
from carv2.unixfs.names import check_name, check_target, folded
from carv2.unixfs.path import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.unixfs._budget import Budget
    from carv2.unixfs._walk import Missing, Store

    Reason: TypeAlias = Literal[
        "missing", "damaged", "unsafe name", "symlink", "unsafe symlink", "exists", "collision", "not UnixFS"
    ]
    OnMissing: TypeAlias = Literal["skip", "raise"]
    OnUnsafe: TypeAlias = Literal["skip", "raise"]
    Symlinks: TypeAlias = Literal["skip", "safe"]

__all__ = ["Skipped"]

Item = TypeVar("Item")

ROOT_FILE = "unknown"
"""Name of a root that is a file: its own is not in the archive. Source: go-car's ``car extract``."""

_MAX_NAMES = 1 << 18
"""Names, of all directories that we are in, that are remembered to find those that differ only in case."""

_MAX_DETAIL = 500
"""Characters: targets of symlinks may be as long as a block."""

_MAX_TEXT = 32 << 20
"""Characters of paths and the like that a report remembers: they can be long, and many."""


_HELD = 8 << 20
"""Bytes of a file that is held whole before anything of it goes out, so that one with a gap can be left out."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was in the archive, or should have been, and was not given out."""

    path: str
    """From the root, with a slash in front."""
    reason: Reason
    """``missing``: a block is not there; ``damaged``: one is not what its hash says; ``unsafe name``; ``symlink``:
    they are not wanted; ``unsafe symlink``: it leads outside; ``exists``: a file was there already; ``collision``:
    the file system takes two names for one, or could; ``not UnixFS``."""
    count: int = 1
    """How many: more than one only of missing shards of the sharded directory ``path``, with entries unknown."""
    shard: bool = False
    """Whether shards are what is missing."""
    detail: str = ""
    """What else there is to say."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is given out, and what becomes of the rest."""

    symlinks: Symlinks = "skip"
    on_missing: OnMissing = "skip"
    on_unsafe: OnUnsafe = "raise"
    portable: bool = False
    max_depth: int = MAX_DEPTH
    root_file: str = ROOT_FILE
    any_name: bool = False
    """Names are not used for anything, so they may be anything."""


class Step(NamedTuple):
    """One thing to do, in the directory where we are."""

    do: Literal["enter", "leave", "file", "symlink"]
    name: bytes = b""
    """Safe to be a file's; a symlink's target is safe as well."""
    path: str = ""
    """The same with what is before it, from the root, without a slash in front."""
    entry: Entry | None = None
    """None of directories on the way to where the walk begins."""
    target: bytes = b""
    twin: bytes | None = None
    """An earlier name of the same directory that differs only in case, or in how its characters are composed."""


class _Level:
    """A directory that we are in."""

    __slots__ = ("entries", "names", "path", "shards")

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: dict[str, bytes] = {}
        self.shards = 0
        self.entries: Iterator[Entry] = iter(())


class SafeWalk:
    """Walks that share a budget and a log.

    Args:
        store: where blocks come from.
        budget: for all walks together.
        rules: what to do about what is not as it should be.
        on_skip: hears of everything that is not given out.
    """

    def __init__(
        self, store: Store, budget: Budget, rules: Rules, on_skip: Callable[[Skipped], object] | None = None
    ) -> None:
        self._store, self._budget, self._rules = MeteredStore(store, budget), budget, rules
        self._on_skip = on_skip
        self._is_pruned = False
        self._is_root_file_free = True
        self._names = 0

    def prune(self) -> None:
        """Pass over the directory of the last step, which was to be entered and was not."""
        self._is_pruned = True

    def skip(self, path: str, reason: Reason, *, count: int = 1, shard: bool = False, detail: str = "") -> None:
        """Say that something is not given out."""
        if self._on_skip is not None:
            self._on_skip(Skipped(f"/{path}", reason, count, shard, detail[:_MAX_DETAIL]))

    def pieces(self, entry: Entry) -> Iterable[bytes]:
        """The payload of a file, not yet paid for."""
        if entry.cid.codec == RAW and not entry.cid.is_identity:
            return (self._store[entry.cid],)
        return read(self._store, entry.cid)

    def payload(self, step: Step) -> tuple[int, Iterable[bytes]] | None:
        """Bytes of a file, and its content, paid for; None if it is not all there, which was said then.

        Only of a larger file it is not known beforehand that it is all there.
        """
        entry = step.entry
        assert entry is not None  # only directories on the way have none
        if entry.size is not None and entry.size > _HELD and entry.cid.codec != RAW:  # of raw ones it is a guess
            return entry.size, self._budget.paid(self.pieces(entry))
        try:
            pieces = list(self._budget.paid(self.pieces(entry)))
        except BlockNotFoundError as error:
            self.missing(step.path, error.cid)
            return None
        except IntegrityError as error:
            self.damaged(step.path, error)
            return None
        return sum(map(len, pieces)), pieces

    def take(self, roots: Sequence[CID], paths: Paths) -> Iterator[tuple[CID, Iterator[Step]]]:
        """The steps to all of ``paths``, each once; to be taken before the next are asked for.

        Raises:
            PathNotFoundError: at one of them there is nothing. Others: as :meth:`steps`.
        """
        for path in paths.covered:  # they come with others, if they are there
            for _ in self.walks(roots, path):
                break
        for path in paths.apart:
            yield from self.walks(roots, path)

    def walks(self, roots: Sequence[CID], path: str) -> Iterator[tuple[CID, Iterator[Step]]]:
        """The steps from each root that has something at ``path``; to be taken before the next are asked for.

        Raises:
            PathNotFoundError: none of the roots has. Others: as :meth:`steps`.
        """
        failure: PathNotFoundError | None = None
        failed = 0
        for root in roots:
            steps = self.steps(root, path)
            try:
                first = next(steps, None)
            except PathNotFoundError as error:
                failure, failed = failure or error, failed + 1
                continue
            if first is not None:
                yield root, chain((first,), steps)
        if failure is not None and failed == len(roots):
            raise failure

    def steps(self, root: CIDLike, path: str = "") -> Iterator[Step]:
        """What is at ``path`` below ``root``, and the directories on the way there.

        Raises:
            PathNotFoundError: there is nothing at the path.
            BudgetError: the tree is larger than the budget, or deeper than the rules allow.
            UnsafePathError, BlockNotFoundError: by the rules, which may as well have them passed over.
            CodecError: a directory is broken.
        """
        names = names_of(path)
        try:
            entry = resolve(self._store, root, "/".join(names))
        except BlockNotFoundError:
            self.missing("/".join(names), CID.of(root))
            return
        self._budget.entry()
        way = [self._name(name, CID.of(root)) for name in names]
        if entry.kind == "directory":
            yield from _entering(way, names)
            yield from self._below(entry, len(way))
            yield from [Step("leave")] * len(way)
            return
        level = _Level("/".join(names[:-1]))
        if not names and entry.kind != "unknown":
            entry = self._named(entry)
        step = self._step_of(entry, level, len(way[:-1]))
        if step is not None:
            yield from _entering(way[:-1], names)
            yield step
            yield from [Step("leave")] * len(way[:-1])

    def _named(self, root: Entry) -> Entry:
        """A root that is no directory, with a name: the agreed one, or its CID if that is taken."""
        name = self._rules.root_file if self._is_root_file_free else str(root.cid)
        self._is_root_file_free = False
        return replace(root, path=name, name=name)

    def _name(self, name: str, cid: CID) -> bytes:
        if self._rules.any_name:
            return name.encode("utf-8", "surrogateescape")
        return check_name(name, portable=self._rules.portable, cid=cid)

    def _below(self, top: Entry, depth: int) -> Iterator[Step]:
        stack = [self._open(top, top.path)]
        while stack:
            level = stack[-1]
            entry = next(level.entries, None)
            if entry is None:
                stack.pop()
                self._names -= len(level.names)
                self._say_what_shards_are_missing(level)
                if stack:
                    yield Step("leave")
                continue
            self._budget.entry()
            step = self._step_of(entry, level, depth + len(stack) - 1)
            if step is None:
                continue
            self._is_pruned = False
            yield step
            if step.do == "enter" and not self._is_pruned:
                if depth + len(stack) >= self._rules.max_depth:
                    raise BudgetError("directories inside each other", allowed=self._rules.max_depth)
                stack.append(self._open(entry, step.path))

    def _open(self, directory: Entry, path: str) -> _Level:
        level = _Level(path)

        def on_missing(missing: Missing) -> None:
            self._budget.entry()
            if missing.shard:
                level.shards += 1
                if self._rules.on_missing == "raise":
                    raise BlockNotFoundError(missing.cid)
            else:
                self.missing(_join(path, missing.path), missing.cid)

        level.entries = list_directory(self._store, directory.cid, on_missing=on_missing)
        return level

    def damaged(self, path: str, error: IntegrityError) -> None:
        """Say that a block of what is at ``path`` is not what its hash says, or raise."""
        if self._rules.on_missing == "raise":
            raise error
        self.skip(path, "damaged", detail=str(error))

    def missing(self, path: str, cid: CID) -> None:
        """Say that a block of what is at ``path`` is not there, or raise."""
        if self._rules.on_missing == "raise":
            raise BlockNotFoundError(cid)
        self.skip(path, "missing", detail=str(cid))

    def _say_what_shards_are_missing(self, level: _Level) -> None:
        if level.shards:
            self.skip(level.path, "missing", count=level.shards, shard=True)

    def _step_of(self, entry: Entry, level: _Level, depth: int) -> Step | None:
        path = _join(level.path, entry.name)
        if entry.kind == "unknown":
            self.skip(path, "not UnixFS", detail=f"{entry.cid.codec_name} {entry.cid}")
            return None
        try:
            name = self._name(entry.name, entry.cid)
        except UnsafePathError as error:
            self._unsafe(path, "unsafe name", error)
            return None
        twin = self._twin_of(entry.name, name, level)
        if twin is not None and self._rules.portable:
            self.skip(path, "collision", detail=twin.decode("utf-8", "surrogateescape"))
            return None
        if entry.kind == "symlink":
            target = self._target_of(entry, path, depth)
            return None if target is None else Step("symlink", name, path, entry, target, twin)
        return Step("enter" if entry.kind == "directory" else "file", name, path, entry, b"", twin)

    def _twin_of(self, name: str, raw: bytes, level: _Level) -> bytes | None:
        if self._names >= _MAX_NAMES:
            return None
        first = level.names.setdefault(folded(name), raw)
        if first is raw:
            self._names += 1
        return None if first == raw else first

    def _unsafe(self, path: str, reason: Reason, error: UnsafePathError) -> None:
        if self._rules.on_unsafe == "raise":
            raise error
        self.skip(path, reason, detail=str(error.args[0]))

    def _target_of(self, entry: Entry, path: str, depth: int) -> bytes | None:
        if self._rules.symlinks == "skip":
            self.skip(path, "symlink", detail=entry.target or "")
            return None
        try:
            return check_target(entry.target or "", depth, name=entry.name, cid=entry.cid)
        except UnsafePathError as error:
            self.skip(path, "unsafe symlink", detail=str(error.args[0]))
            return None


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _entering(way: Sequence[bytes], names: Sequence[str]) -> Iterator[Step]:
    for at, name in enumerate(way, 1):
        yield Step("enter", name, "/".join(names[:at]))


class Remembered(Generic[Item]):
    """A list that takes nothing more once it holds enough."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._room = _MAX_TEXT

    def add(self, item: Item, size: int) -> None:
        """Append it, if there is room left for text of ``size`` characters."""
        self._room -= size + 100
        if self._room >= 0:
            self.items.append(item)


class Paths(NamedTuple):
    """What is asked for."""

    apart: list[str]
    """None of them below another one; ``""`` if nothing in particular is."""
    covered: list[str]
    """Below one of those."""


def paths_apart(paths: str | Iterable[str]) -> Paths:
    """The paths, in their order.

    Raises:
        ValueError: one of them leads out of the root.

    >>> paths_apart(["a/b", "c", "/a/", "a/b/d"])
    Paths(apart=['c', 'a'], covered=['a/b', 'a/b/d'])
    """
    given = [paths] if isinstance(paths, str) else paths
    wanted = list(dict.fromkeys(names_of(path) for path in given))
    kept = set(wanted)
    covered = {names for names in wanted if any(names[:at] in kept for at in range(len(names)))}
    apart = ["/".join(names) for names in wanted if names not in covered]
    return Paths(apart or [""], ["/".join(names) for names in wanted if names in covered])
