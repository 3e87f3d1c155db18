"""An archive file that is being written: positional reads and writes, a lock, and when bytes are durable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from carv2._atomic import sync_folder
from carv2._locks import lock
from carv2._source import FileSource, Source

if TYPE_CHECKING:
    from typing import TypeAlias

    PathLike: TypeAlias = "str | os.PathLike[str]"


@runtime_checkable
class WritableSource(Source, Protocol):
    """A source that can be written to. What is written may be lost, in any order, until :meth:`sync` returns."""

    def write_at(self, position: int, data: bytes) -> None:
        """Write all of ``data`` at ``position``; on an OSError some of it may be there."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file, or fill it with zeros, to ``size`` bytes."""
        ...

    def sync(self) -> None:
        """Make everything that was written durable."""
        ...


class StoreFile(FileSource):
    """A locked file descriptor."""

    @classmethod
    def create(cls, path: PathLike) -> StoreFile:
        """Create ``path``; FileExistsError if it is there."""
        file = cls._open_locked(path, os.O_CREAT | os.O_EXCL)
        sync_folder(os.path.dirname(os.path.abspath(path)))
        return file

    @classmethod
    def resume(cls, path: PathLike) -> StoreFile:
        """Open the existing ``path``."""
        return cls._open_locked(path, 0)

    @classmethod
    def _open_locked(cls, path: PathLike, flags: int) -> StoreFile:
        fd = os.open(path, os.O_RDWR | flags | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            lock(fd, path)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, owned=True)

    def write_at(self, position: int, data: bytes) -> None:
        self._check_open()
        written = os.pwrite(self._fd, data, position)
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], position + written)

    def truncate(self, size: int) -> None:
        self._check_open()
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        self._check_open()
        os.fsync(self._fd)
