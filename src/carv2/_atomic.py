"""Whole or not at all: how carv2 replaces a file."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = True) -> Generator[BinaryIO]:
    """A new file that takes the place of ``path`` at the end, or leaves it untouched on an exception.

    The bytes are durable before the name is; a new file gets the mode that the old one had, or the usual one
    of a new file. A link at ``path`` keeps being one: what it points to is replaced. Without ``sync`` nothing is
    made durable: the name still changes at once and last, but a power cut may leave it with half the bytes.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    fd, temporary = create_in(folder, path)
    try:
        with os.fdopen(fd, "w+b") as file:
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(fd, os.stat(target).st_mode & 0o7777)
            yield file
            file.flush()
            if sync:
                os.fsync(fd)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if sync:
        sync_folder(folder)


@contextlib.contextmanager
def drafting(folder: str) -> Generator[tuple[BinaryIO, str]]:
    """A new file in ``folder`` and its path, to be renamed later; durable at the end, gone on an exception."""
    fd, temporary = create_in(folder, folder)
    try:
        with os.fdopen(fd, "w+b") as file:
            yield file, temporary
            file.flush()
            os.fsync(fd)
    except BaseException:
        unlink(temporary)
        raise


def replace(temporary: str, path: str | os.PathLike[str]) -> None:
    """Put the file at ``temporary`` in the place of ``path``, durably."""
    os.replace(temporary, path)
    sync_folder(os.path.dirname(os.path.abspath(path)))


def publish(temporary: str, path: str | os.PathLike[str], *, sync: bool = True) -> None:
    """Give the file at ``temporary`` the name ``path``, durably if ``sync``; FileExistsError if that is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: the one way left has a moment between look and rename
        if os.path.lexists(path):
            raise FileExistsError(17, os.strerror(17), os.fspath(path)) from None
        os.rename(temporary, path)
    else:
        with contextlib.suppress(OSError):  # it has its name, and a second one does no harm
            os.unlink(temporary)
    if sync:
        sync_folder(os.path.dirname(os.path.abspath(path)))


@contextlib.contextmanager
def writing(destination: str | os.PathLike[str] | BinaryIO, *, sync: bool = True) -> Generator[BinaryIO]:
    """A sink for ``destination``: a path is replaced whole or not at all, a binary file is written to as it is.

    ``sync`` is that of :func:`replacing`; a file that was opened by somebody else is synced by nobody.

    What stands at a path and is no regular file (a device, a named pipe) is written to as well.
    """
    if not isinstance(destination, (str, os.PathLike)):
        yield cast("BinaryIO", _Whole(destination)) if isinstance(destination, io.RawIOBase) else destination
    elif _is_special(destination):
        with open(destination, "wb") as file:
            yield file
    else:
        with replacing(destination, sync=sync) as file:
            yield file


class _Whole:
    """A raw file, which may take less at a time than it is given."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        left = memoryview(data)
        while left:
            taken = self._raw.write(left)
            if taken is None:
                raise BlockingIOError(11, "the file takes nothing more for now")
            left = left[taken:]
        return len(data)


def unlink(path: str | os.PathLike[str]) -> None:
    """Remove the file at ``path``, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make the directory at ``path`` with its parents, durably, unless it is there."""
    folder, missing = os.path.abspath(path), list[str]()
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    os.makedirs(path, exist_ok=True)
    for made in reversed(missing):
        with contextlib.suppress(PermissionError):  # names may be made in a folder that may not be read
            sync_folder(os.path.dirname(made))


def draft_name(folder: str) -> str:
    """A name in ``folder`` for a file that is to get another one."""
    return os.path.join(folder, f".carv2-{os.urandom(8).hex()}.part")


def create_in(folder: str, path: str | os.PathLike[str]) -> tuple[int, str]:
    """A new file in ``folder``, of the mode that new files have; errors name ``path``, which is to be replaced."""
    while True:
        temporary = draft_name(folder)
        try:
            return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), temporary
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _is_special(path: str | os.PathLike[str]) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False
