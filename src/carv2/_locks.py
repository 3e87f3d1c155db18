"""One writer a file: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os

from carv2.errors import LockedError


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
