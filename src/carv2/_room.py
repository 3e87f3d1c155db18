"""Room on the disk for what is about to be written, asked for at once: on ext4 the writing takes less time then.

A file system that hears of a file's bytes a piece at a time keeps account of every page until it is on the disk.
fallocate(2) tells it in one call. Python has that as ``os.posix_fallocate`` only, which makes the file longer, and
writes to every page where the file system has no such call. On Btrfs, what room was asked for is not compressed.
So it is asked for only where it was seen to do good, and never for a file that is not large.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import sys
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, TypeAlias

    _Allocate: TypeAlias = Callable[[int, int, int], bool]

_EXT4 = 0xEF53  # EXT4_SUPER_MAGIC
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE: the file does not get longer
WORTH_IT = 16 << 20
"""Bytes of a file from which on room is asked for, and how much at a time where nobody knows how many come."""


class RoomAhead:
    """Keeps room ahead of a file that is written front to back. Does nothing for a sink of another kind.

    A file that is written by position is named by its descriptor, so that who owns it can own this as well.
    """

    def __init__(self, sink: object) -> None:
        is_file = isinstance(sink, (io.BufferedRandom, io.BufferedWriter, io.FileIO, int))
        self._file = cast("BinaryIO | int", sink) if is_file else None
        self._left: float = WORTH_IT  # bytes until more is asked for
        self._end = 0  # in the file, of what was granted

    def make(self, size: int, position: int | None = None) -> None:
        """So many bytes are written next, where the file stands or at ``position``, and maybe more after them."""
        self._left -= size
        if self._left < 0:  # once refused, it is not asked again
            self._left = WORTH_IT if self._is_granted(size + WORTH_IT, position) else math.inf

    def expect(self, size: int) -> None:
        """So many bytes are written next, and then nothing."""
        self._left = math.inf
        if size >= WORTH_IT:
            self._is_granted(size)

    def _is_granted(self, size: int, position: int | None = None) -> bool:
        """Ask for so much. Writing tells if anything is the matter."""
        file, allocate = self._file, _allocator()
        if file is None or allocate is None:
            return False
        if isinstance(file, int):
            fd = file
        else:
            fd, position = file.fileno(), file.tell()
        if position is None or not allocate(fd, position, size):
            return False
        self._end = position + size
        return True

    def give_back(self) -> None:
        """Nothing more is written, but for what the file holds back: the rest of the room is free again."""
        if self._file is not None and self._end:
            with contextlib.suppress(OSError, ValueError):  # nothing is lost; and it may be closed
                fd = self._file if isinstance(self._file, int) else self._file.fileno()
                size = os.fstat(fd).st_size
                if size < self._end:
                    os.ftruncate(fd, size)
        self.forget()

    def forget(self) -> None:
        """The file was cut, and the room behind its end with that."""
        self._end = 0


@functools.cache
def _allocator() -> _Allocate | None:
    """What asks for bytes of a file from a position on, and says whether they are granted; None if nothing can."""
    if sys.platform != "linux" or sys.maxsize < 1 << 32:  # offsets of 32 bits
        return None
    try:
        import ctypes  # noqa: PLC0415  (it takes milliseconds)

        library = ctypes.CDLL(None)
        fallocate, fstatfs = library.fallocate, library.fstatfs
    except (ImportError, OSError, AttributeError):
        return None
    fallocate.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64

    def allocate(fd: int, position: int, size: int) -> bool:
        about = ctypes.create_string_buffer(512)  # struct statfs, which takes 120 bytes and begins with the type
        if fstatfs(fd, about) or int.from_bytes(about.raw[:8], sys.byteorder) != _EXT4:
            return False
        return not fallocate(fd, _KEEP_SIZE, position, size)

    return allocate
