"""An archive file that is being written: positional reads and writes, a lock, and when bytes are durable."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from carv2._atomic import create_in, publish, unlink
from carv2._locks import lock, unlock
from carv2._room import RoomAhead
from carv2._source import FileSource, Source
from carv2.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    PathLike: TypeAlias = "str | os.PathLike[str]"

_UNCOPIED = 64 << 10  # bytes of a part that is written by itself


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
    """A locked file descriptor, for the process that opened it: a forked child must not write to it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._process = os.getpid()
        self._room = RoomAhead(fd)

    def _check_ours(self) -> None:
        self._check_open()
        if self._process != os.getpid():
            raise StateError("the file belongs to the process that opened it, not to a fork of it")

    @classmethod
    def create(cls, path: PathLike, front: bytes, *, sync: bool = True) -> StoreFile:
        """Create ``path``, which appears locked and with ``front`` in it; FileExistsError if it is there.

        Without ``sync``, neither the name nor the bytes are waited for.
        """
        if os.path.lexists(path):
            raise FileExistsError(17, os.strerror(17), os.fspath(path))
        fd, temporary = create_in(os.path.dirname(os.path.abspath(path)), path)
        with contextlib.ExitStack() as undo:
            undo.callback(unlink, temporary)
            file = cls(fd)
            undo.callback(file.close)
            lock(fd, path)
            file.write_at(0, front)
            if sync:
                file.sync()
            publish(temporary, path, sync=sync)
            undo.pop_all()
        return file

    @classmethod
    def resume(cls, path: PathLike) -> StoreFile:
        """Open the existing ``path``."""
        while True:
            fd = os.open(path, os.O_RDWR)
            file = cls(fd)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
                lock(fd, path)
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()  # it was replaced before it was locked

    def copy_beside(self, path: PathLike) -> str:
        """Copy the file to a new one in the folder of ``path``, whose mode it gets; return its name."""
        fd, draft = create_in(os.path.dirname(os.path.abspath(path)), path)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, os.stat(path).st_mode & 0o7777)
                position, size = 0, self.size
                while position < size:
                    chunk = self.read_exactly(position, min(1 << 20, size - position), "archive")
                    file.write(chunk)
                    position += len(chunk)
        except BaseException:
            unlink(draft)
            raise
        return draft

    def write_at(self, position: int, data: bytes) -> None:
        self._check_ours()
        self._room.make(len(data), position)
        written = os.pwrite(self._fd, data, position)
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], position + written)

    def truncate(self, size: int) -> None:
        self._check_ours()
        os.ftruncate(self._fd, size)
        self._room.forget()

    def sync(self) -> None:
        self._check_ours()
        if not os.fstat(self._fd).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the file was removed while it was being written")
        os.fsync(self._fd)

    def close(self) -> None:
        if not self._closed and self._process == os.getpid():
            self._room.give_back()
            with contextlib.suppress(OSError):  # closing lets go of it, too
                unlock(self._fd)
        super().close()


def in_few_pieces(parts: list[bytes]) -> Iterator[bytes]:
    """The same bytes: small parts joined, large ones as they are."""
    joined = 0
    for at, part in enumerate(parts):
        if len(part) >= _UNCOPIED:
            if at > joined:
                yield b"".join(parts[joined:at])
            yield part
            joined = at + 1
    if joined < len(parts):
        yield b"".join(parts[joined:])
