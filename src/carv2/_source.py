"""Positional reads over whatever holds an archive: the only module that reads files.

A source has no cursor, so threads may share it without a lock. All reading ends in :meth:`Source.read_at`,
which gives what there is, or :meth:`Source.read_exactly`, which raises if that is less than asked for; a
short read is never taken for data.
"""

from __future__ import annotations

import abc
import errno
import io
import os
import stat
import threading
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeAlias, runtime_checkable

from carv2.errors import ClosedError, TruncatedError

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable
    from typing import Any, BinaryIO

    AtHand: TypeAlias = "bytes | mmap.mmap"

    SourceLike: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Source"
    """What every public call that reads an archive takes; an opened fsspec file is a BinaryIO."""

CHUNK_SIZE = 64 << 10
"""Bytes of a sequential read from a file: measured best from 64 to 256 KiB (benchmarks/)."""

_HAS_PREADV = hasattr(os, "preadv")  # macOS before 11 has not

REMOTE_CHUNK_SIZE = 1 << 20
"""The same where each read is a request."""


@runtime_checkable
class Source(Protocol):
    """Random-access bytes."""

    chunk_size: int
    """How many bytes a sequential reader should ask for at a time."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    def read_at(self, position: int, size: int) -> bytes:
        """The bytes from ``position`` on: ``size`` of them, or as many as there are."""
        ...

    def read_exactly(self, position: int, size: int, field: str) -> bytes:
        """Exactly ``size`` bytes; raises TruncatedError, naming ``field``, where the source ends before."""
        ...

    def close(self) -> None:
        """Let go of what was opened here; a file that the caller opened stays open."""
        ...


class _Exact(abc.ABC):
    """The half of a source that is the same for all of them."""

    chunk_size = CHUNK_SIZE

    @abc.abstractmethod
    def read_at(self, position: int, size: int) -> bytes: ...

    def read_exactly(self, position: int, size: int, field: str) -> bytes:
        if position < 0 or size < 0:
            raise ValueError(f"position and size must be >= 0, got {position} and {size}")
        data = self.read_at(position, size)
        if len(data) < size:
            raise TruncatedError(field, wanted=size, got=len(data), position=position + len(data))
        return data

    def close(self) -> None:  # noqa: B027  (most sources have nothing to let go of)
        """Let go of what was opened here."""


class BytesSource(_Exact):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, position: int, size: int) -> bytes:
        return self.data[position : position + size]


class FileSource(_Exact):
    """A file descriptor read with ``os.pread``."""

    def __init__(self, fd: int) -> None:
        self._fd, self._closed, self._released = fd, False, False
        _open_nothing()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FileSource:
        """Open ``path`` for reading."""
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        if os.path.isdir(path):
            os.close(fd)
            raise IsADirectoryError(21, os.strerror(21), os.fspath(path))
        return cls(fd)

    @classmethod
    def open_regular(cls, path: str | os.PathLike[str]) -> FileSource:
        """Open ``path`` if it is a regular file, without waiting; OSError for a pipe, a device or a folder."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a named pipe would wait for its writer
        source = cls(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)))
        try:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        except BaseException:
            source.close()
            raise
        return source

    @classmethod
    def temporary(cls, chunks: Iterable[bytes]) -> FileSource:
        """A file without a name that holds ``chunks`` and goes away when it is closed."""
        import tempfile  # noqa: PLC0415  (10 ms, for those who need it)

        with tempfile.TemporaryFile(buffering=0) as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:  # a disk that fills up takes a part first, and says so only then
                    view = view[file.write(view) :]
            return cls(os.dup(file.fileno()))

    def __del__(self) -> None:
        if not getattr(self, "_released", True):  # False from when there is a descriptor
            self._released = True
            os.close(self._fd)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an open file cannot be copied or pickled: open it again by its path")

    @property
    def size(self) -> int:
        """As it is now: a file may grow or shrink while it is open."""
        self._check_open()
        size = os.fstat(self._fd).st_size
        if not size:
            self._check_open()  # another thread may have closed it just now
        return size

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    def read_at(self, position: int, size: int) -> bytes:
        if self._closed:
            raise ClosedError("the file was closed")
        if position >= 1 << 62:  # more than any file system holds, and than pread takes
            return b""
        try:
            data = os.pread(self._fd, size, position)
        except OSError:
            self._check_open()  # another thread may have closed it just now
            raise
        if not data:
            self._check_open()
        while 0 < len(data) < size:  # a signal, or the kernel's 2 GiB a call
            more = os.pread(self._fd, size - len(data), position + len(data))
            if not more:
                self._check_open()
                break
            data += more
        return data

    def read_into(self, position: int, buffer: memoryview) -> int:
        """Read into memory that the caller uses again; how many bytes there were, none at the end of the file."""
        self._check_open()
        if _HAS_PREADV:
            count = os.preadv(self._fd, [buffer], position)
        else:
            data = os.pread(self._fd, len(buffer), position)
            buffer[: len(data)] = data
            count = len(data)
        if not count:
            self._check_open()
        return count

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the file was closed")

    def close(self) -> None:
        """Let go of the file. A read that another thread has under way finds nothing, never another file."""
        was_open, self._closed = not self._closed, True  # first, so that a read that finds nothing knows why
        if was_open:
            os.dup2(_open_nothing(), self._fd, inheritable=False)  # the number stays taken until nobody can use it


_nothing: list[int] = []
"""A descriptor of an empty file, kept open: when a file is closed there may be no other to be had."""


def _open_nothing() -> int:
    if not _nothing:
        _nothing.append(os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
    return _nothing[0]


class MappedSource(_Exact):
    """A memory map of a file: reads without system calls, and with a catch.

    Where the file is made shorter while it is mapped, the next read behind its new end kills the interpreter;
    no ``try`` helps. For files that nobody shortens.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import mmap  # noqa: PLC0415

        file = FileSource.open(path)
        try:
            self._size = file.size
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._size else None
        finally:
            file.close()
        self._closed = False

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        if self._map is None or self._closed:
            if self._closed:
                raise ClosedError("the file was closed")
            return b""
        return self._map[position : position + size]

    @property
    def mapped(self) -> mmap.mmap | bytes:
        """All of it; of an empty file, which cannot be mapped, nothing."""
        return b"" if self._map is None else self._map

    def peeker(self) -> Callable[[int, int], bytes]:
        """What gives the same as :meth:`read_at`, with less ado; nothing where the map was closed."""
        mapped = self.mapped

        def peek(size: int, position: int) -> bytes:
            try:
                return mapped[position : position + size]
            except ValueError:  # it was closed, maybe just now and by another thread
                return b""

        return peek

    def close(self) -> None:
        self._closed = True
        if self._map is not None:
            self._map.close()


class FileObjectSource(_Exact):
    """A seekable binary file object, read under a lock, because it has one cursor."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._lock = file, threading.Lock()
        with self._lock:
            here = file.tell()
            self._size = file.seek(0, io.SEEK_END)
            file.seek(here)

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        if position >= self._size:
            return b""
        with self._lock:
            self._file.seek(position)
            parts: list[bytes] = []
            while size > 0:
                part = self._file.read(size)
                if not part:
                    break
                parts.append(bytes(part)[:size])
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class RemoteSource(_Exact):
    """An fsspec file, read by ranges past its read-ahead cache, which is made for reading front to back."""

    chunk_size = REMOTE_CHUNK_SIZE

    def __init__(self, file: Any) -> None:
        self._fs, self._path, self._size = file.fs, file.path, int(file.size)

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        end = min(position + size, self._size)
        if end <= position:
            return b""
        try:
            data = bytes(self._fs.cat_file(self._path, start=position, end=end))
        except OSError:
            raise
        except Exception as error:  # each file system has its own ways to say that it could not be read
            raise OSError(f"{self._path}: {type(error).__name__}: {error}") from error
        if len(data) > end - position:
            raise OSError(f"{self._path}: asked for {end - position} bytes, got {len(data)}: ranges are ignored")
        return data


class PositionalSource(_Exact):
    """An object of the caller's with ``size`` and ``read_at(position, size)``, which gives what there is."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        return int(self._reader.size)

    def read_at(self, position: int, size: int) -> bytes:
        return bytes(self._reader.read_at(position, size))[:size]


class SliceView:
    """A stretch of a source that is sliced like ``bytes``, reading just the slice: how an index is looked up.

    Not a memory map: a map of a file that shrinks kills the interpreter, a read raises.
    """

    def __init__(self, source: Source, start: int, stop: int) -> None:
        self._source, self._start, self._size = source, start, max(0, min(stop, source.size) - start)

    def __len__(self) -> int:
        return self._size

    def peeking(self, start: int) -> tuple[int, Callable[[int, int], bytes]]:
        """A function like that of :func:`peeker`, and what ``start`` is called there."""
        return self._start + start, peeker(self._source)

    def at_hand(self, start: int) -> tuple[int, AtHand | None]:
        """What :func:`at_hand` gives, and what ``start`` is called there."""
        return self._start + start, at_hand(self._source)

    def __getitem__(self, key: slice) -> bytes:
        start, stop = key.start, key.stop
        if start is None or stop is None or not 0 <= start < stop <= self._size:
            start, stop, _ = key.indices(self._size)
            if stop <= start:
                return b""
        data = self._source.read_at(self._start + start, stop - start)
        if len(data) < stop - start:
            end = self._start + start + len(data)
            raise TruncatedError("index", wanted=stop - start, got=len(data), position=end)
        return data


def at_hand(source: Source) -> AtHand | None:
    """All bytes of a source that is in memory or mapped, None of others. A closed map raises ValueError."""
    if type(source) is MappedSource:
        return source.mapped
    return source.data if type(source) is BytesSource else None


def peeker(source: Source) -> Callable[[int, int], bytes]:
    """What reads ``size`` bytes from ``position`` on with as little ado as can be, for code that asks again.

    It may give fewer bytes than there are, or none where the source was closed: :meth:`Source.read_at` tells.
    """
    if type(source) is FileSource:
        return partial(os.pread, source.fileno())
    if type(source) is MappedSource:
        return source.peeker()
    read_at = source.read_at
    return lambda size, position: read_at(position, size)


def open_source(source: SourceLike, *, memory_map: bool = False) -> Source:
    """Make a source of ``source``; of a path a :class:`MappedSource`, if ``memory_map``.

    Raises:
        OSError: the file cannot be opened.
        ValueError: a binary file that cannot seek: use :func:`carv2.iter_blocks` on its chunks.
        TypeError: nothing that holds bytes.
    """
    if isinstance(source, (str, os.PathLike)):
        return MappedSource(source) if memory_map else FileSource.open(source)
    if isinstance(source, bytes):
        return BytesSource(source)
    if isinstance(source, (bytearray, memoryview)):
        return BytesSource(bytes(source))
    if all(hasattr(source, name) for name in ("fs", "path", "size")):
        return RemoteSource(source)
    if isinstance(source, Source):
        return source
    if hasattr(source, "read_at") and hasattr(source, "size"):
        return PositionalSource(source)
    if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
        hint = "; call its open() first" if hasattr(source, "open") else ""
        raise TypeError(f"expected a path, bytes or a binary file, got {type(source).__name__}{hint}")
    if not source.seekable():
        raise ValueError("the file cannot seek: read it with carv2.iter_blocks")
    return _source_of_file(source)


def _source_of_file(file: BinaryIO) -> Source:
    if isinstance(file, io.BytesIO):
        return BytesSource(file.getvalue())
    if type(file) in {io.BufferedReader, io.FileIO, io.BufferedRandom} and hasattr(os, "pread"):
        if isinstance(file, io.BufferedRandom):
            file.flush()  # what it still holds is not in the file that pread sees
        return FileSource(os.dup(file.fileno()))  # whatever becomes of the caller's
    return FileObjectSource(file)
