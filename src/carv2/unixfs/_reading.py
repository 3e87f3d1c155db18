"""The payload of one file, wherever it comes from, read into buffers."""

from __future__ import annotations

import contextlib
import io
import os
from typing import TYPE_CHECKING, Protocol, cast

from carv2 import _tree

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import BinaryIO


class Reader(Protocol):
    """What gives the bytes of a file front to back."""

    def read_into(self, buffer: memoryview, /) -> int:
        """Fill ``buffer``; return how many bytes there were, fewer than asked for only at the end."""
        ...


@contextlib.contextmanager
def reader_of(file: str | os.PathLike[str] | bytes | BinaryIO | Iterable[bytes]) -> Generator[Reader]:
    """A reader of a path, of bytes, of a binary file or of chunks; only a path's file is closed at the end."""
    if isinstance(file, (str, os.PathLike)):
        with _tree.open_file(file) as local:
            yield local
    elif isinstance(file, (bytes, bytearray, memoryview)):
        yield _FileReader(io.BytesIO(file))
    elif hasattr(file, "read"):
        yield _FileReader(cast("BinaryIO", file))
    else:
        yield _ChunkReader(iter(file))


class _FileReader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read_into(self, buffer: memoryview, /) -> int:
        filled = 0
        while filled < len(buffer) and (data := self._file.read(len(buffer) - filled)):
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled


class _ChunkReader:
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, memoryview(b"")

    def read_into(self, buffer: memoryview, /) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._held:
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._held = memoryview(chunk)
                continue
            part = self._held[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            self._held = self._held[len(part) :]
            filled += len(part)
        return filled
