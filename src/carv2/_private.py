"""Files that nobody but their owner may read."""

from __future__ import annotations

import errno
import os
import stat

from carv2._atomic import draft_name, publish, unlink

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_MOST_BYTES = 4096
_OTHERS = 0o077


def create_private(path: str, data: bytes) -> None:
    """A new file at ``path`` with ``data``, whole or not at all; FileExistsError if there is something."""
    temporary = draft_name(os.path.dirname(os.path.abspath(path)))
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        publish(temporary, path)
    except BaseException:
        unlink(temporary)
        raise


def own_size(path: str) -> int | None:
    """Bytes of the file at ``path``, which is this user's own and nobody else writes to; None if there is nothing.

    In a folder where others may make files, but not remove those of this user, it stays so.

    Raises:
        PermissionError: it is a link, somebody else's, or others may write to it.
        OSError: it is no regular file, or cannot be looked at.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(errno.EACCES, "a link to another file, which is not followed: remove it", path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file: remove it", path)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EACCES, "somebody else's file: remove it", path)
    if found.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EACCES, "a file that others may write to: remove it", path)
    return found.st_size


def read_private(path: str) -> bytes:
    """What is in the file at ``path``, of up to 4 KiB.

    Raises:
        PermissionError: others may read or change it.
        OSError: it cannot be read, is no regular file, or too large.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):  # of a directory there is no file object
            raise OSError(errno.EINVAL, "not a regular file", path)
    except BaseException:
        os.close(fd)
        raise
    with os.fdopen(fd, "rb") as file:
        if found.st_mode & _OTHERS or found.st_uid not in {0, os.geteuid()}:
            raise PermissionError(
                errno.EACCES, "others may read it: give it to yourself, with mode 0600, or remove it", path
            )
        if found.st_size > _MOST_BYTES:
            raise OSError(errno.EFBIG, f"more than {_MOST_BYTES} bytes", path)
        return file.read(_MOST_BYTES)
