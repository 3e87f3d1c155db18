"""Reading what others provide: all of the bytes, or an error that names the mount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carv2._source import REMOTE_CHUNK_SIZE, _Exact
from carv2.dagstore.mounts._calling import describe, mount_error
from carv2.dagstore.mounts._urls import shown
from carv2.errors import CarError, ClosedError, MountChangedError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from carv2._source import Source


class Ranges(Protocol):
    """Whatever gives bytes by their positions."""

    def read_at(self, position: int, size: int) -> bytes:
        """The bytes from ``position`` on."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...


class CheckedSource(_Exact):
    """A source of a fixed size: fewer bytes, or more, than there should be are an error, and so is all else."""

    def __init__(self, ranges: Ranges, url: str, *, size: int, chunk_size: int = REMOTE_CHUNK_SIZE) -> None:
        self._ranges, self._url, self._size, self._closed = ranges, url, size, False
        self.chunk_size = chunk_size

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        if self._closed:
            raise ClosedError("the mount was closed")
        wanted = min(position + size, self._size) - position
        if wanted <= 0:
            return b""
        try:
            data = self._ranges.read_at(position, wanted)
        except CarError:
            raise
        except Exception as error:
            if self._closed:
                raise ClosedError("the mount was closed") from error
            raise mount_error(describe(error), self._url) from error
        if len(data) != wanted:
            message = f"wanted {wanted} bytes at byte {position}, got {len(data)}"
            raise MountChangedError(message, url=shown(self._url))
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._ranges.close()


def whole(chunks: Iterable[bytes], url: str, *, start: int, size: int | None) -> Generator[bytes]:
    """``chunks``, which must reach from ``start`` to ``size`` exactly, where that is known."""
    position = start
    if size is not None and start > size:
        raise MountChangedError(f"there is no byte {start}: {size} in all", url=shown(url))
    for chunk in chunks:
        position += len(chunk)
        if size is not None and position > size:
            raise MountChangedError(f"more than the {size} bytes that there were", url=shown(url))
        if chunk:
            yield chunk
    if size is not None and position < size:
        raise MountChangedError(f"ended after {position} of {size} bytes", url=shown(url))


def by_ranges(source: Source, start: int, step: int) -> Generator[bytes]:
    """The bytes of ``source`` from ``start`` on, ``step`` at a time."""
    for position in range(start, source.size, step):
        yield source.read_at(position, step)
