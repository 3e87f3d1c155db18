"""A folder that is written to, and nothing outside of it.

A path is never handed to the operating system: every name is used on its own, relative to the descriptor of the
directory that it is made in, and no symlink is followed, whoever made it and whenever. So a hostile name can at
most be an error, and a process that swaps directories for symlinks meanwhile gains nothing. POSIX only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Literal

from carv2.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Existing = Literal["error", "keep", "replace"]
"""What becomes of a file that is there already, where one of that name is to be written."""

_MAX_OPEN = 32
"""Descriptors of directories that are held at once; in a deeper tree the outer ones are opened again when it is
their turn."""

_PERMISSIONS, _OWN = 0o777, 0o700
_NEW_FILE, _NEW_FOLDER = 0o666, 0o777  # less the process's umask

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_AS_TOP = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
_AS_FOLDER = _AS_TOP | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_AS_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _CLOEXEC


class _Level:
    """A directory on the way from the top to where we are."""

    __slots__ = ("fd", "identity", "is_new", "mode", "mtime", "name")

    def __init__(self, name: bytes, fd: int, *, is_new: bool) -> None:
        self.name, self.is_new = name, is_new
        self.fd: int | None = fd
        self.identity: tuple[int, int] | None = None  # of a directory whose descriptor was shut for a while
        self.mode: int | None = None
        self.mtime: tuple[int, int] | None = None


class Folder:
    """A directory, and a place in the tree below it where files are made.

    :meth:`enter` and :meth:`leave` move the place, :meth:`move_to` does both; :meth:`write` and :meth:`symlink`
    make something in it. Names are bytes without a slash; ``.`` and ``..`` are none. Nothing is made durable.

    Args:
        path: of the directory, which may be a symlink to one; made, with its parents, where there is none.
        existing: what becomes of files that are there already. Directories may always be: they are written into.

    Raises:
        OSError: it cannot be made or opened; from other methods: the system refuses, or something is in the way.
    """

    def __init__(self, path: str | os.PathLike[str], *, existing: Existing = "error") -> None:
        os.makedirs(path, exist_ok=True)
        self._path = os.fsencode(path)
        self._existing = existing
        top = os.open(path, _AS_TOP)
        try:
            self._levels = [_Level(b"", top, is_new=_is_empty(top))]
        except BaseException:
            os.close(top)
            raise
        self._open = 1
        self._draft = _draft_name()

    def __enter__(self) -> Folder:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def depth(self) -> int:
        """How many directories the place is below the top."""
        return len(self._levels) - 1

    def close(self) -> None:
        """Let go of all descriptors, without giving directories the mode and time that they are still due."""
        with contextlib.ExitStack() as levels:  # all of them, also where one fails
            for level in self._levels:
                levels.callback(self._shut, level)

    def enter(self, name: bytes, *, mode: int | None = None, mtime: tuple[int, int] | None = None) -> None:
        """Go into the directory ``name``, making it if it is not there.

        Args:
            mode: permissions that it gets when it is left, if it was made here; the umask is taken off.
            mtime: seconds and nanoseconds since 1970, which it gets at the same time.
        """
        _require_name(name)
        here = self._here()
        try:
            os.mkdir(name, _NEW_FOLDER if mode is None else (mode | _OWN) & _PERMISSIONS, dir_fd=here)
            is_new = True
        except FileExistsError:
            is_new = False
        level = _Level(name, self._open_folder(name, here), is_new=is_new)
        level.mode, level.mtime = mode, mtime
        self._levels.append(level)
        self._open += 1
        self._shut_outermost()

    def leave(self) -> None:
        """Go back to the directory that the present one is in."""
        if len(self._levels) == 1:
            raise ValueError("the top of the folder cannot be left")
        self._settle(self._levels[-1])
        self._shut(self._levels.pop())

    def move_to(self, names: Sequence[bytes]) -> None:
        """Leave and enter until the place is the directory at ``names``, counted from the top."""
        common = 0
        for name, level in zip(names, self._levels[1:], strict=False):
            if name != level.name:
                break
            common += 1
        while self.depth > common:
            self.leave()
        for name in names[common:]:
            self.enter(name)

    def write(
        self,
        name: bytes,
        pieces: Iterable[bytes],
        *,
        mode: int | None = None,
        mtime: tuple[int, int] | None = None,
    ) -> bool:
        """Make the file ``name`` here: whole, or not at all if an exception comes out of ``pieces``.

        It is written under another name and gets its own at the end. Whatever is there already by that name, a
        symlink also, is replaced, not written to; or it stays: see ``existing``.

        Args:
            pieces: the content, front to back.
            mode: permissions; the umask is taken off, and bits beyond 0o777 are not given.
            mtime: seconds and nanoseconds since 1970.

        Returns:
            Whether it was written: not, if one was there and is to be kept.
        """
        _require_name(name)
        here = self._here()
        if self._existing != "replace" and _is_there(name, here):
            return self._refuse(name)
        fd = self._open_draft(here, _NEW_FILE if mode is None else mode & _PERMISSIONS)
        try:
            try:
                self._fill(fd, pieces, name)
                _set_time(fd, mtime)
            finally:
                os.close(fd)
            return self._publish(name, here)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(self._draft, dir_fd=here)
            raise

    def _fill(self, fd: int, pieces: Iterable[bytes], name: bytes) -> None:
        for piece in pieces:
            try:
                write_all(fd, piece)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path_of(name)) from None

    def symlink(self, name: bytes, target: bytes) -> bool:
        """Make the symlink ``name`` here, as it is: what it points to is the caller's affair. As :meth:`write`."""
        _require_name(name)
        here = self._here()
        if self._existing != "replace":
            try:
                os.symlink(target, name, dir_fd=here)
            except FileExistsError:
                return self._refuse(name)
            return True
        self._draft = _draft_name()
        os.symlink(target, self._draft, dir_fd=here)
        try:
            os.rename(self._draft, name, src_dir_fd=here, dst_dir_fd=here)
        except BaseException:
            os.unlink(self._draft, dir_fd=here)
            raise
        return True

    def inode(self, name: bytes) -> tuple[int, int] | None:
        """What tells the thing by that name from others; None if there is none."""
        try:
            found = os.stat(name, dir_fd=self._here(), follow_symlinks=False)
        except OSError:
            return None
        return _identity(found)

    def path_of(self, name: bytes = b"") -> str:
        """The whole path of ``name`` here, for people to read."""
        return self._path_at(None, name)

    def _path_at(self, depth: int | None, name: bytes) -> str:
        names = [self._path, *(level.name for level in self._levels[1:depth]), name]
        return os.fsdecode(b"/".join(filter(None, names)))

    def _here(self) -> int:
        fd = self._levels[-1].fd
        return self._reopen() if fd is None else fd

    def _open_folder(self, name: bytes, parent: int, depth: int | None = None) -> int:
        try:
            return os.open(name, _AS_FOLDER, dir_fd=parent)
        except OSError as error:
            path = self._path_at(depth, name)
            if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                why = "something that is no directory is in the way, and symlinks are not followed"
                raise NotADirectoryError(errno.ENOTDIR, why, path) from None
            raise OSError(error.errno, error.strerror, path) from None

    def _shut_outermost(self) -> None:
        """Hold no more descriptors than agreed; the top's is always held, because the way back starts there."""
        at = 1
        while self._open > _MAX_OPEN:
            self._shut(self._levels[at])
            at += 1

    def _shut(self, level: _Level) -> None:
        if level.fd is None:
            return
        try:
            level.identity = _identity(os.fstat(level.fd))
        finally:
            os.close(level.fd)
            level.fd = None
            self._open -= 1

    def _reopen(self) -> int:
        """Open the way to the present directory again, and keep the innermost part of it open."""
        fd = self._top()
        for depth, level in enumerate(self._levels[1:], start=1):
            if level.fd is None:
                level.fd = self._open_folder(level.name, fd, depth)
                self._open += 1
                if level.identity != _identity(os.fstat(level.fd)):
                    path = self._path_at(depth, level.name)
                    raise OSError(errno.ESTALE, "another directory has taken the place of the one made here", path)
            fd = level.fd
            if depth > 1 and depth + _MAX_OPEN // 2 < len(self._levels):
                self._shut(self._levels[depth - 1])
        return fd

    def _top(self) -> int:
        fd = self._levels[0].fd
        if fd is None:
            raise ClosedError("the folder was closed")
        return fd

    def _open_draft(self, here: int, mode: int) -> int:
        while True:
            try:
                return os.open(self._draft, _AS_DRAFT, mode, dir_fd=here)
            except FileExistsError:  # left by somebody else; nobody can guess the next
                self._draft = _draft_name()
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path_of()) from None

    def _publish(self, name: bytes, here: int) -> bool:
        """Give the draft its name. In a directory that was there before us somebody else may be at work."""
        if self._existing == "replace" or self._levels[-1].is_new:
            try:
                os.rename(self._draft, name, src_dir_fd=here, dst_dir_fd=here)
            except IsADirectoryError:
                raise IsADirectoryError(errno.EISDIR, "a directory is in the way", self.path_of(name)) from None
            return True
        try:
            os.link(self._draft, name, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
        except FileExistsError:
            os.unlink(self._draft, dir_fd=here)
            return self._refuse(name)
        except OSError:  # a file system without links: a moment is left between the look before and this
            os.rename(self._draft, name, src_dir_fd=here, dst_dir_fd=here)
            return True
        os.unlink(self._draft, dir_fd=here)
        return True

    def _refuse(self, name: bytes) -> bool:
        if self._existing == "keep":
            return False
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.path_of(name))

    def _settle(self, level: _Level) -> None:
        """Give a directory that was made here its mode and time, now that nothing more is made in it."""
        if not level.is_new or (level.mode is None and level.mtime is None):
            return
        fd = self._here()
        _set_time(fd, level.mtime)
        if level.mode is not None:
            os.fchmod(fd, level.mode & stat.S_IMODE(os.fstat(fd).st_mode) & _PERMISSIONS)


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data``; OSError if the file system takes no more."""
    written = os.write(fd, data)
    if written == len(data):
        return
    left = memoryview(data)[written:]
    while left:
        left = left[os.write(fd, left) :]


def _draft_name() -> bytes:
    return b".carv2-" + os.urandom(8).hex().encode() + b".part"


def _require_name(name: bytes) -> None:
    if name in {b"", b".", b".."} or b"/" in name or b"\0" in name:
        raise ValueError(f"{name!r} cannot be the name of a file")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_empty(folder: int) -> bool:
    """Whether nobody else has anything in a directory: then it is as good as made here."""
    with os.scandir(folder) as found:
        return next(found, None) is None


def _is_there(name: bytes, here: int) -> bool:
    try:
        os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _set_time(fd: int, mtime: tuple[int, int] | None) -> None:
    """Set the time of change where it is one that the file system knows."""
    if mtime is not None:
        nanoseconds = mtime[0] * 1_000_000_000 + mtime[1]
        with contextlib.suppress(OSError, OverflowError):
            os.utime(fd, ns=(nanoseconds, nanoseconds))
