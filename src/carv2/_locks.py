"""One writer a file: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from carv2.errors import LockedError

if TYPE_CHECKING:
    from typing import BinaryIO


def lock(fd: int, path: str | os.PathLike[str]) -> None:
    """Lock the open file for as long as ``fd`` is open.

    Raises:
        LockedError: another descriptor has it locked, in this process or in another one.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(os.fspath(path)) from error


def unlock(fd: int) -> None:
    """Let go of the lock at once, also where a forked child still has the file open."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def create_locked(path: str | os.PathLike[str]) -> BinaryIO:
    """A new, empty file that is locked until it is closed, for reading and writing.

    Raises:
        FileExistsError: there is something by that name.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        lock(fd, path)
        return os.fdopen(fd, "w+b")
    except BaseException:
        os.close(fd)
        os.unlink(path)
        raise


def make_durable(file: BinaryIO) -> None:
    """See to it that what was written to ``file`` outlives a crash of the machine."""
    file.flush()
    os.fsync(file.fileno())


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether somebody has the file at ``path`` locked now; not, if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
