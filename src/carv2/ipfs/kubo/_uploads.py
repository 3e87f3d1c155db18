"""Archives to be sent, piece by piece."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from carv2._source import Source, open_source

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import BinaryIO, TypeAlias

    from carv2._source import SourceLike

    Archive: TypeAlias = "SourceLike | Iterable[bytes]"

_PIECE = 256 << 10


@contextlib.contextmanager
def pieces_of(archive: Archive) -> Generator[Iterator[bytes]]:
    """The bytes of ``archive``; what was opened here is closed at the end."""
    if _is_stream(archive):
        yield _read(cast("BinaryIO", archive))
    elif _is_source(archive):
        source = open_source(cast("SourceLike", archive))
        try:
            yield (source.read_at(at, _PIECE) for at in range(0, source.size, _PIECE))
        finally:
            source.close()
    else:
        yield (bytes(piece) for piece in cast("Iterable[bytes]", archive))


def _is_source(archive: object) -> bool:
    if isinstance(archive, (str, os.PathLike, bytes, bytearray, memoryview, Source)) or hasattr(archive, "read"):
        return True
    if isinstance(archive, Iterable):
        return False
    raise TypeError(f"expected a path, bytes, a file or chunks of bytes, got {type(archive).__name__}")


def _is_stream(archive: object) -> bool:
    """Whether it is a file that is read front to back only."""
    seekable = getattr(archive, "seekable", None)
    return hasattr(archive, "read") and seekable is not None and not seekable()


def _read(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece
