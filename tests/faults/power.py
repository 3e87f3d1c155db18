"""A folder that loses power: what of its files, and of their names, may be there afterwards.

Data of one file and names in one directory are durable once they were synced, as POSIX has it and not as one file
system happens to: until then any subset of the writes, each in part, and of the changes of names may have come to
the disk. A rename is one change. A SQLite database syncs by itself: what it has in its files counts as durable.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from faults.disk import Change, Truncate, Write, applied, parts

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = -1
"""Stands for a directory, where the number of a file might."""

Names = dict[str, "int | None"]


class Named(NamedTuple):
    """Names that change together: each leads to a file, to a directory, or to nothing."""

    names: tuple[tuple[str, int | None], ...]
    folder: str
    """Syncing it makes them durable."""


Pending = tuple["int | None", "Named | Change"]
"""A change and the file that it is made to, or names."""


class State(NamedTuple):
    """What is there when the power is back."""

    names: dict[str, int]
    data: dict[int, bytes]
    databases: dict[str, bytes]
    said: frozenset[str]

    def make(self, folder: Path) -> None:
        """Put it there; what is in a directory that is not there is lost with it."""
        for name, file in sorted(self.names.items()):
            path = folder / name
            if not path.parent.is_dir():
                continue
            path.mkdir() if file == FOLDER else path.write_bytes(self.data[file])
        for name, data in self.databases.items():
            if (folder / name).parent.is_dir():
                (folder / name).write_bytes(data)


class Recorder:
    """Listens to the seam from a durable start on."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers: dict[tuple[int, int], int] = {}
        self.start: dict[str, int] = {}
        self.contents: dict[int, bytes] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self.log: list[tuple[str, Any, Any]] = []
        """What happened: ``data`` of a file, ``sync`` of a file, ``forget`` of one, ``names``, ``sync names`` of a
        directory, ``database`` with its bytes, ``said`` with a word."""
        for path in sorted(root.rglob("*")):
            if not _is_database(path):
                self.start[self._short(path)] = FOLDER if path.is_dir() else self._number(path)
        self._live = dict(self.start)
        self.databases = self._databases()

    def _short(self, path: Any) -> str:
        return os.path.relpath(path, self._root)

    def _number(self, path: Path) -> int:
        number = len(self.contents)
        self.contents[number] = path.read_bytes()
        found = os.stat(path)
        self._numbers[found.st_dev, found.st_ino] = number
        return number

    def _file(self, fd: Any) -> int | None:
        found = os.fstat(fd)
        return self._numbers.get((found.st_dev, found.st_ino))

    def _databases(self) -> dict[str, bytes]:
        changed: dict[str, bytes] = {}
        for path in sorted(self._root.rglob("*.sqlite*"), reverse=True):  # the log before what it is to go into
            if path.name.endswith("-shm"):
                continue
            try:
                found = path.stat()
                stamp = (found.st_mtime_ns, found.st_size)
                if self._seen.get(str(path)) != stamp:
                    changed[self._short(path)] = path.read_bytes()
                    self._seen[str(path)] = stamp
            except FileNotFoundError:
                continue
        return changed

    def _note(self, kind: str, what: Any, more: Any = None) -> None:
        for name, data in self._databases().items():
            self.log.append(("database", name, data))
        self.log.append((kind, what, more))

    def say(self, word: str) -> None:
        """From here on the caller relies on it."""
        self._note("said", word)

    # -- the seam tells -----------------------------------------------------------------------------------

    def opened(self, fd: int, path: str, *, is_new: bool, is_empty: bool) -> None:
        if is_new:
            found, number = os.fstat(fd), len(self.contents)
            self._numbers[found.st_dev, found.st_ino] = number
            self.contents[number] = b""
            self._name({self._short(path): number})
        elif is_empty:
            self.truncated(fd, 0)

    def wrote(self, fd: int, position: int, data: bytes) -> None:
        file = self._file(fd)
        if file is not None:
            self._note("data", file, Write(position, data))

    def truncated(self, fd: int, size: int) -> None:
        file = self._file(fd)
        if file is not None:
            self._note("data", file, Truncate(size))

    def synced(self, fd: int, *, failed: bool) -> None:
        file = self._file(fd)
        if file is not None:
            self._note("forget" if failed else "sync", file)
        elif not failed:
            self._note("sync names", self._folder_of(fd))

    def _folder_of(self, fd: int) -> str:
        wanted = os.fstat(fd)
        for name in (".", *(name for name, file in self._live.items() if file == FOLDER)):
            if os.path.samestat(wanted, os.stat(self._root / name)):
                return name
        raise AssertionError("a directory that nobody made")

    def named(self, changes: dict[str, str | None]) -> None:
        self._name(
            {
                self._short(new): None if old is None else self._live.get(self._short(old))
                for new, old in changes.items()
            }
        )

    def folder(self, path: str) -> None:
        self._name({self._short(path): FOLDER})

    def _name(self, names: Names) -> None:
        for name, file in names.items():
            if file is None:
                self._live.pop(name, None)
            else:
                self._live[name] = file
        target = next(iter(names))
        self._note("names", Named(tuple(names.items()), os.path.dirname(target) or "."))

    # -- power cuts ---------------------------------------------------------------------------------------

    def cuts(self, rng: random.Random, *, subsets: int = 16) -> Iterator[State]:
        """What a power cut at any moment may leave: all of it where at most ``subsets``, else some, by chance."""
        disk, seen = _Disk(self), set[int]()
        for kind, what, more in [*self.log, ("said", "", None)]:
            disk.take(kind, what, more)
            for state in disk.states(rng, subsets):
                mark = hash((*sorted(state.names.items()), *sorted(state.data.items()), state.said, disk.version))
                if mark not in seen:
                    seen.add(mark)
                    yield state

    def durable(self) -> State:
        """What is there for certain if the power goes now."""
        disk = _Disk(self)
        for entry in self.log:
            disk.take(*entry)
        return disk.state([])


class _Disk:
    """What is durable at one moment of a log, and what is not yet."""

    def __init__(self, recorder: Recorder) -> None:
        self._names, self._data = dict(recorder.start), dict(recorder.contents)
        for number in self._data:
            self._data[number] = recorder.contents[number] if number in recorder.start.values() else b""
        self._databases, self._said = dict(recorder.databases), frozenset[str]()
        self._pending: list[Pending] = []
        self.version = 0

    def take(self, kind: str, what: Any, more: Any) -> None:
        if kind == "data":
            self._pending.append((what, more))
        elif kind == "names":
            self._pending.append((None, what))
        elif kind == "database":
            self._databases[what] = more
            self.version += 1
        elif kind == "said":
            self._said |= {what} - {""}
        else:
            self._settle(kind, what)

    def _settle(self, kind: str, what: Any) -> None:
        """A sync: what it is about is durable, or was forgotten, and everything else is as before."""
        mine, others = list[Pending](), list[Pending]()
        for file, change in self._pending:
            named = isinstance(change, Named) and kind == "sync names" and change.folder == what
            (mine if named or (file == what and kind != "sync names") else others).append((file, change))
        self._pending = others
        if kind != "forget":
            self._names, self._data = self._with(mine)

    def _with(self, chosen: list[Pending]) -> tuple[dict[str, int], dict[int, bytes]]:
        names, data = dict(self._names), dict(self._data)
        for file, change in chosen:
            if isinstance(change, Named):
                for name, leads_to in change.names:
                    if leads_to is None:
                        names.pop(name, None)
                    else:
                        names[name] = leads_to
            elif file is not None:
                data[file] = applied(data[file], [change])
        return names, data

    def state(self, chosen: list[Pending]) -> State:
        names, data = self._with(chosen)
        return State(names, data, dict(self._databases), self._said)

    def states(self, rng: random.Random, subsets: int) -> Iterator[State]:
        """With subsets of what is pending; and with all of it but the last write, and that in part."""
        pending = self._pending
        if 1 << len(pending) <= subsets:
            for bits in range(1 << len(pending)):
                yield self.state([entry for at, entry in enumerate(pending) if bits >> at & 1])
        else:
            yield self.state([])
            yield self.state(pending)
            for _ in range(subsets - 2):
                share = rng.choice([0.2, 0.5, 0.8])
                yield self.state([entry for entry in pending if rng.random() < share])
        yield from self._torn(rng)

    def _torn(self, rng: random.Random) -> Iterator[State]:
        if not self._pending:
            return
        *before, (file, change) = self._pending
        if file is None or isinstance(change, Named):
            return
        _, data = self._with(before)
        some = list(parts(change, data[file], rng, thorough=False))
        for part in rng.sample(some, min(4, len(some))):
            yield self.state([*before, (file, part)])


def _is_database(path: Path) -> bool:
    return ".sqlite" in path.name
