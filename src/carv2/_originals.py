"""The original files that positional references lead to: files alone, and only in folders that were named.

A path out of a record is a stranger's. It is resolved through its symlinks first, and what it leads to must be a
file that was allowed, or below a folder that was. From there on each component is opened on its own, relative to
the one before it and through no symlink, so that what is swapped meanwhile leads nowhere else. Only a regular
file is ever opened: a named pipe could wait for ever, and a device can do anything. POSIX only.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple

from carv2._source import FileSource
from carv2.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2._tree import Inode

KEPT_OPEN = 64
"""Originals that are kept open, the ones used last."""

_MAX_PATH = 4096  # bytes, as Linux has it; resolving takes time that grows with the square of it

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_AS_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | os.O_NOFOLLOW | _CLOEXEC
_AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | _CLOEXEC

_KINDS = {
    stat.S_IFDIR: (errno.EISDIR, "a folder, not a file"),
    stat.S_IFLNK: (errno.ELOOP, "a symlink, which was something else a moment ago"),
    stat.S_IFIFO: (errno.EINVAL, "a named pipe, not a file"),
    stat.S_IFSOCK: (errno.EINVAL, "a socket, not a file"),
    stat.S_IFCHR: (errno.EINVAL, "a character device, not a file"),
    stat.S_IFBLK: (errno.EINVAL, "a block device, not a file"),
}


class _Open(NamedTuple):
    source: FileSource
    inode: Inode


class Originals:
    """Files below the folders ``allow``, or among the files ``allow``, by their whole paths.

    What is allowed is resolved here and now: where a symlink among it leads later does not matter. It need not
    exist. Threads may share an object of this class.

    Raises:
        ValueError: an empty path, which a variable of a shell that was never set makes, too.
    """

    def __init__(
        self, allow: Iterable[str | bytes | os.PathLike[str] | os.PathLike[bytes]], *, keep: int = KEPT_OPEN
    ) -> None:
        named = [os.fsencode(path) for path in allow]
        if b"" in named:
            raise ValueError("an empty path cannot be allowed: it would stand for the present folder")
        self._allowed = tuple(map(os.path.realpath, named))
        self._keep, self._lock = keep, threading.Lock()
        self._open: dict[str, _Open] = {}
        self._closed = False

    def open(self, path: str) -> FileSource:
        """The file at ``path``; it is closed when nobody uses it any more, or with :meth:`close`.

        Raises:
            OSError: there is none, it is no regular file, cannot be read, or was not allowed; ``strerror`` says
                which. Of what was not allowed it says nothing, not even whether it exists.
            ClosedError: this was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the originals were closed")
            held = self._open.pop(path, None)
            if held is not None and self._is_still(held, path):
                self._open[path] = held  # the last one now
                return held.source
        opened = self._open_now(path)
        with self._lock:
            if self._closed:
                opened.source.close()
                raise ClosedError("the originals were closed")
            self._open[path] = opened
            while len(self._open) > self._keep:
                del self._open[next(iter(self._open))]  # whoever reads it has hold of it
        return opened.source

    @staticmethod
    def _is_still(held: _Open, path: str) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            found = os.stat(path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == held.inode

    def _open_now(self, path: str) -> _Open:
        """Open it; if there are no descriptors left, without those that are only kept."""
        try:
            return self._open_anew(path)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        with self._lock:
            self._open.clear()
        return self._open_anew(path)

    def _open_anew(self, path: str) -> _Open:
        folder, names = self._below(_resolved(path))
        fd = os.open(folder, _AS_FOLDER)
        try:
            for name in names[:-1]:
                inner = os.open(name, _AS_FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            return _open_file(names[-1], fd)
        finally:
            os.close(fd)

    def _below(self, path: bytes) -> tuple[bytes, list[bytes]]:
        """The allowed folder that ``path`` is in, or that of an allowed file, and the names from there on."""
        for allowed in self._allowed:
            if path == allowed:
                folder, name = os.path.split(path)
                return folder, [name or b"."]
            if path.startswith(allowed.rstrip(b"/") + b"/"):
                return allowed, path[len(allowed) :].strip(b"/").split(b"/")
        raise PermissionError(errno.EPERM, "not allowed: it is in none of the folders that may be read")

    def close(self) -> None:
        """Close all files; may be called twice. A read under way elsewhere ends with ClosedError."""
        with self._lock:
            self._closed = True
            for held in self._open.values():
                held.source.close()
            self._open.clear()


def _resolved(path: str) -> bytes:
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise OSError(errno.EINVAL, "a path with a NUL byte in it")
    if len(raw) >= _MAX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"a path of {len(raw)} bytes")
    try:
        return os.path.realpath(raw)
    except RecursionError:  # each symlink takes a level of it in Python up to 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


def _open_file(name: bytes, folder: int) -> _Open:
    _require_file(os.stat(name, dir_fd=folder, follow_symlinks=False))  # to open a device can be an act by itself
    fd = os.open(name, _AS_FILE, dir_fd=folder)
    source = FileSource(fd)
    status = os.fstat(fd)
    _require_file(status)
    return _Open(source, (status.st_dev, status.st_ino))


def _require_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(*_KINDS.get(stat.S_IFMT(status.st_mode), (errno.EINVAL, "no regular file")))
