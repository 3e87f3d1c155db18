"""The calls by which carv2 touches files below one folder: numbered, and failing where a test wants them to.

What is patched is the ``os`` module under the real code, and nothing of carv2: an opened file stays a real file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

Inode = tuple[int, int]

READS = frozenset(
    {"pread", "preadv", "read", "stat", "lstat", "fstat", "scandir", "listdir", "open to read", "flock"}
)
WRITES = frozenset({"pwrite", "write"})
CHANGES = WRITES | {
    *("open to write", "create", "ftruncate", "fsync", "replace", "rename", "link", "unlink"),
    *("mkdir", "rmdir", "symlink", "utime", "fchmod"),
}
GROWS = WRITES | {"create", "mkdir", "symlink", "link", "fsync"}
"""What a full disk refuses: blocks may be allocated as late as at a sync."""


class Call(NamedTuple):
    """One call, before it is made."""

    number: int
    name: str
    path: str


@dataclass
class Fault:
    """A call that fails, or all from one on."""

    number: int
    error: int
    among: frozenset[str]
    """Names of the calls that fail; the number counts all of them, whatever their name."""
    is_lasting: bool = False
    hits: int = 0
    last: str = ""
    """Name of the last call that failed."""

    def strikes(self, call: Call) -> bool:
        struck = call.name in self.among and (
            call.number >= self.number if self.is_lasting else call.number == self.number
        )
        self.hits += struck
        self.last = call.name if struck else self.last
        return struck


class Listener(Protocol):
    """What is told of each change that was made; sizes and contents are those of the real files."""

    def opened(self, fd: int, path: str, *, is_new: bool, is_empty: bool) -> None: ...
    def wrote(self, fd: int, position: int, data: bytes) -> None: ...
    def truncated(self, fd: int, size: int) -> None: ...
    def synced(self, fd: int, *, failed: bool) -> None: ...
    def named(self, changes: dict[str, str | None]) -> None: ...
    def folder(self, path: str) -> None: ...
    def say(self, word: str) -> None: ...


class Seam:
    """The calls below ``root``, for as long as it is installed.

    Args:
        root: calls elsewhere are none of its affair.
        fault: what fails.
        listener: is told of what was changed.
        is_short: each read and write moves half of what it was asked to.
    """

    def __init__(
        self,
        root: Path,
        *,
        fault: Fault | None = None,
        listener: Listener | None = None,
        is_short: bool = False,
    ) -> None:
        self.calls: list[Call] = []
        self._root, self._fault, self._listener, self._is_short = os.fspath(root), fault, listener, is_short
        self._lock, self._own = threading.RLock(), threading.local()
        self._paths: dict[Inode, str] = {}
        self._held: list[int] = []
        self._real: dict[str, Callable[..., Any]] = {}

    @contextlib.contextmanager
    def installed(self, patch: pytest.MonkeyPatch) -> Iterator[Seam]:
        """All calls go through it meanwhile."""
        with patch.context() as patching:
            for name in ("pread", "preadv", "read", "fstat", "pwrite", "write", "ftruncate", "fsync", "fchmod"):
                self._patch(patching, os, name, self._by_fd)
            for name in ("stat", "lstat", "scandir", "listdir", "unlink", "mkdir", "rmdir", "symlink", "utime"):
                self._patch(patching, os, name, self._by_path)
            for name in ("replace", "rename", "link"):
                self._patch(patching, os, name, self._renaming)
            self._patch(patching, fcntl, "flock", self._by_fd)
            self._patch(patching, os, "open", self._open)
            self._real["fdopen"] = os.fdopen
            patching.setattr(os, "fdopen", self._fdopen)
            try:
                yield self
            finally:
                while self._held:
                    os.close(self._held.pop())

    def _patch(self, patch: pytest.MonkeyPatch, module: Any, name: str, by: Callable[..., Any]) -> None:
        self._real[name] = getattr(module, name)
        patch.setattr(module, name, functools.partial(by, name))

    def say(self, word: str) -> None:
        """Whoever makes the calls relies on it from here on."""
        self._tell("say", word)

    def _tell(self, what: str, *about: Any, **more: Any) -> None:
        """The listener's own calls are not counted."""
        if self._listener is None:
            return
        self._own.calls = True
        try:
            getattr(self._listener, what)(*about, **more)
        finally:
            self._own.calls = False

    # -- which file it is ---------------------------------------------------------------------------------

    def _of_fd(self, fd: Any) -> str | None:
        """The path by which the file was opened; None if that was not here."""
        if getattr(self._own, "calls", False):
            return None
        try:
            found = self._real["fstat"](fd if isinstance(fd, int) else fd.fileno())
        except (OSError, AttributeError):
            return None
        return self._paths.get((found.st_dev, found.st_ino))

    def _resolved(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The whole path; None if it is elsewhere."""
        if getattr(self._own, "calls", False):
            return None
        if isinstance(path, int):
            return self._of_fd(path)
        name = os.fsdecode(path)
        if dir_fd is not None:
            folder = self._of_fd(dir_fd)
            if folder is None:
                return None
            name = os.path.join(folder, name)
        name = os.path.abspath(name)
        return name if name == self._root or name.startswith(self._root + os.sep) else None

    def _remember(self, fd: int, path: str) -> None:
        """Keep the file from going away with its last name: its number would be another's."""
        found = self._real["fstat"](fd)
        inode = (found.st_dev, found.st_ino)
        if inode not in self._paths:
            self._paths[inode] = path
            self._held.append(self._real["open"](path, os.O_PATH))  # no dup of it, which would share its lock

    # -- calls --------------------------------------------------------------------------------------------

    def _count(self, name: str, path: str) -> bool:
        """Take note of a call; whether it is to fail."""
        call = Call(len(self.calls) + 1, name, os.path.relpath(path, self._root))
        self.calls.append(call)
        return self._fault is not None and self._fault.strikes(call)

    def _failure(self) -> OSError:
        assert self._fault is not None
        return OSError(self._fault.error, os.strerror(self._fault.error))

    def _by_fd(self, name: str, fd: Any, *more: Any) -> Any:
        path = self._of_fd(fd)
        if path is None:
            return self._real[name](fd, *more)
        with self._lock:
            fails = self._count(name, path)
            if name in {"write", "pwrite"}:
                return self._write(fd, more[0], more[1] if name == "pwrite" else None, fails=fails)
            if fails:
                if name == "fsync":
                    self._tell("synced", fd, failed=True)
                raise self._failure()
        if self._is_short and name in {"pread", "read", "preadv"}:
            more = self._halved(name, more)
        result = self._real[name](fd, *more)
        with self._lock:
            if name == "fsync":
                self._tell("synced", fd, failed=False)
            elif name == "ftruncate":
                self._tell("truncated", fd, more[0])
        return result

    @staticmethod
    def _halved(name: str, more: tuple[Any, ...]) -> tuple[Any, ...]:
        if name == "preadv":
            buffer = memoryview(more[0][0])
            return ([buffer[: max(1, len(buffer) // 2)]], *more[1:])
        return (max(1, more[0] // 2) if more[0] else 0, *more[1:])

    def _write(self, fd: int, data: Any, position: int | None, *, fails: bool) -> int:
        """Of a write that fails for want of room, half is there: the kernel says so at the next one only."""
        view = memoryview(data).cast("B")
        if (self._is_short and len(view) > 1) or (fails and self._fault and self._fault.error == errno.ENOSPC):
            view = view[: len(view) // 2]
        if fails and self._fault and self._fault.error != errno.ENOSPC:
            raise self._failure()
        at = os.lseek(fd, 0, os.SEEK_CUR) if position is None else position
        written: int = (
            self._real["write"](fd, view) if position is None else self._real["pwrite"](fd, view, position)
        )
        self._tell("wrote", fd, at, bytes(view[:written]))
        if fails:
            raise self._failure()
        return written

    def _by_path(self, name: str, path: Any = ".", *more: Any, **options: Any) -> Any:
        where = path if name != "symlink" else more[0]
        resolved = self._resolved(where, options.get("dir_fd"))
        if resolved is None:
            return self._real[name](path, *more, **options)
        with self._lock:
            if self._count(name, resolved):
                raise self._failure()
            result = self._real[name](path, *more, **options)
            if name in {"unlink", "rmdir"}:
                self._tell("named", {resolved: None})
            elif name == "mkdir":
                self._tell("folder", resolved)
        return result

    def _renaming(self, name: str, old: Any, new: Any, **options: Any) -> None:
        source = self._resolved(old, options.get("src_dir_fd"))
        target = self._resolved(new, options.get("dst_dir_fd"))
        if source is None or target is None:
            self._real[name](old, new, **options)
            return
        with self._lock:
            if self._count(name, target):
                raise self._failure()
            self._real[name](old, new, **options)
            self._tell("named", {target: source} | ({} if name == "link" else {source: None}))

    def _open(self, _: str, path: Any, flags: int, *more: Any, **options: Any) -> int:
        resolved = self._resolved(path, options.get("dir_fd"))
        if resolved is None:
            return int(self._real["open"](path, flags, *more, **options))
        with self._lock:
            is_there = self._is_there(resolved)
            creates = bool(flags & os.O_CREAT) and not is_there
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
            if self._count("create" if creates else "open to write" if writes else "open to read", resolved):
                raise self._failure()
            fd = int(self._real["open"](path, flags, *more, **options))
            self._remember(fd, resolved)
            self._tell("opened", fd, resolved, is_new=creates, is_empty=bool(flags & os.O_TRUNC))
        return fd

    def _is_there(self, path: str) -> bool:
        try:
            self._real["lstat"](path)
        except OSError:
            return False
        return True

    def _fdopen(self, fd: int, mode: str = "r", *more: Any, **options: Any) -> Any:
        if self._of_fd(fd) is None or "b" not in mode:
            return self._real["fdopen"](fd, mode, *more, **options)
        raw = _RawFile(fd, mode)
        if "+" in mode:
            return io.BufferedRandom(raw)
        return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)


class _RawFile(io.FileIO):
    """What a buffered file stands on: its reads and writes are calls of ``os``, so they are counted, too."""

    def write(self, data: Any) -> int:
        return os.write(self.fileno(), data)

    def readinto(self, buffer: Any) -> int:
        data = os.read(self.fileno(), len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: os.read(self.fileno(), 1 << 16), b""))

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self.fileno(), size)
        return size
