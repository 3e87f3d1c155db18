"""The local files and folders that an import reads, in a fixed order.

A folder is read through descriptors, each opened below the one before it and none through a symlink, so that what
is moved about meanwhile leads nowhere else; the depth is bounded by memory alone. Names are bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import TypeAlias

    Inode: TypeAlias = "tuple[int, int]"
    """Device and inode number: what identifies a file."""
    Symlinks: TypeAlias = Literal["keep", "follow", "skip"]

ENTER, LEAVE, FILE, SYMLINK, SPECIAL = range(5)
"""What :func:`walk` meets: a folder and its end, a regular file, a symlink, and what is none of them."""

_OWN_DESCRIPTOR_DEPTH = 64  # folders down to here have a descriptor of their own
_LONGEST_WAY = 2000  # bytes of a way below a descriptor: the kernel takes twice that

_SPECIAL_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class LocalFile:
    """A regular file that is read once, front to back. Errors name its whole path."""

    __slots__ = ("_before", "_fd", "_folder", "_got", "_name")

    def __init__(self, fd: int, folder: Folder, name: bytes) -> None:
        self._fd, self._folder, self._name, self._got = fd, folder, name, 0
        try:
            self._before = os.fstat(fd)
            if not stat.S_ISREG(self._before.st_mode):
                raise OSError(errno.EINVAL, "not a regular file any more")
        except OSError as error:
            self.close()
            raise _naming(error, self.path) from None

    @property
    def path(self) -> str:
        """The whole path, for people."""
        return self._folder.path_of(self._name)

    @property
    def size(self) -> int:
        """Bytes that it had when it was opened; 0 also where nobody knows, as in ``/proc``."""
        return self._before.st_size

    def read(self, size: int) -> bytes:
        """The next bytes, up to ``size``; fewer only at the end of the file."""
        try:
            data = os.read(self._fd, size)
            if self._got + len(data) != self.size:  # else it has all that was there when it was opened
                while 0 < len(data) < size and (more := os.read(self._fd, size - len(data))):
                    data += more
        except OSError as error:
            raise _naming(error, self.path) from None
        self._got += len(data)
        return data

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` with the next bytes; return how many there were, fewer only at the end of the file."""
        filled = 0
        try:
            while filled < len(buffer) and (got := os.readv(self._fd, [buffer[filled:]])):
                filled += got
        except OSError as error:
            raise _naming(error, self.path) from None
        self._got += filled
        return filled

    def has_changed(self) -> bool:
        """Whether it was written to since it was opened, as far as size and time of modification tell."""
        before, now = self._before, os.fstat(self._fd)
        if before.st_size not in {0, self._got}:
            return True
        return (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)

    def close(self) -> None:
        """Close it; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> LocalFile:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Folder:
    """A folder that is being walked: a descriptor, and the way from it to the folder."""

    __slots__ = ("_fd", "_owns", "_parent", "_way", "at", "depth", "entries", "inode", "name")

    def __init__(self, parent: Folder | None, name: bytes, fd: int | None, way: bytes) -> None:
        self._parent, self.name, self._fd, self._way = parent, name, fd, way
        self._owns = False
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.entries: list[tuple[bytes, int]] = []
        self.at = 0
        self.inode: Inode = (0, 0)

    def path_of(self, name: bytes) -> str:
        """The whole path of an entry, for people."""
        names = [name]
        folder: Folder = self
        while folder._parent is not None:
            names.append(folder.name)
            folder = folder._parent
        return os.fsdecode(b"/".join(reversed(names)))

    def open(self, name: bytes, *, follow: bool = False) -> LocalFile:
        """Open a regular file; OSError, with its whole path, if it is none."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # a named pipe would wait for its writer
        return LocalFile(self._open(name, flags if follow else flags | os.O_NOFOLLOW), self, name)

    def read_link(self, name: bytes) -> bytes:
        """What the symlink ``name`` says."""
        try:
            return os.readlink(self._way + name, dir_fd=self._fd)
        except OSError as error:
            raise _naming(error, self.path_of(name)) from None

    def describe(self, name: bytes) -> str:
        """What an entry that is neither file nor folder nor symlink is, in words."""
        mode = self._stat(name, follow=True).st_mode
        return _SPECIAL_KINDS.get(stat.S_IFMT(mode), "no file, folder or symlink")

    def kind_of(self, name: bytes, *, follow: bool) -> int:
        """What an entry is."""
        mode = self._stat(name, follow=follow).st_mode
        if stat.S_ISREG(mode):
            return FILE
        if stat.S_ISDIR(mode):
            return ENTER
        return SYMLINK if stat.S_ISLNK(mode) else SPECIAL

    def enter(self, name: bytes, choice: Choice, *, follow: bool) -> Folder:
        """The folder ``name``, its entries listed; :meth:`close` it afterwards."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        fd = self._open(name, flags if follow else flags | os.O_NOFOLLOW)
        child = Folder(self, name, fd, b"")
        child._owns = True
        try:
            status = os.fstat(fd)
            child.inode = status.st_dev, status.st_ino
            child._list(choice)
        except BaseException:
            child.close()
            raise
        way = self._way + name + b"/"
        if child.depth > _OWN_DESCRIPTOR_DEPTH and len(way) < _LONGEST_WAY:
            child.close()
            child._fd, child._way = self._fd, way
        return child

    def close(self) -> None:
        """Let go of the descriptor, if it has one of its own."""
        if self._owns and self._fd is not None:
            os.close(self._fd)
        self._owns = False

    def _list(self, choice: Choice) -> None:
        hidden, symlinks, skip, left_out = choice
        numbers = {number for _, number in skip}
        entries = self.entries
        with os.scandir(self._fd) as found:  # its errors are of the descriptor just opened: there are none
            for entry in found:
                name = os.fsencode(entry.name)
                if entry.inode() in numbers and self.inode_of(name) in skip:
                    continue
                if name.startswith(b".") and not hidden:
                    left_out[HIDDEN] = left_out.get(HIDDEN, 0) + 1
                    continue
                if entry.is_file(follow_symlinks=False):
                    kind = FILE
                elif entry.is_dir(follow_symlinks=False):
                    kind = ENTER
                elif not entry.is_symlink():
                    kind = SPECIAL
                elif symlinks == "skip":
                    left_out[SYMLINKS] = left_out.get(SYMLINKS, 0) + 1
                    continue
                else:
                    kind = SYMLINK if symlinks == "keep" else self.kind_of(name, follow=True)
                entries.append((name, kind))
        entries.sort()

    def inode_of(self, name: bytes, *, follow: bool = False) -> Inode:
        """What identifies an entry."""
        status = self._stat(name, follow=follow)
        return status.st_dev, status.st_ino

    def _stat(self, name: bytes, *, follow: bool) -> os.stat_result:
        try:
            return os.stat(self._way + name, dir_fd=self._fd, follow_symlinks=follow)
        except OSError as error:
            raise _naming(error, self.path_of(name)) from None

    def _open(self, name: bytes, flags: int) -> int:
        try:
            return os.open(self._way + name, flags, dir_fd=self._fd)
        except OSError as error:
            raise _naming(error, self.path_of(name)) from None


HIDDEN, SYMLINKS = "hidden entries", "symlinks"
"""What a walk may leave out."""


class Choice(NamedTuple):
    """What of the folders is taken."""

    hidden: bool
    symlinks: Symlinks
    skip: Collection[Inode]
    left_out: dict[str, int]


class Item(NamedTuple):
    """Something that :func:`walk` met: an entry of ``folder``."""

    kind: int
    name: bytes
    """Of what the walk started from, the whole path as it was given."""
    folder: Folder


def walk(
    path: str | bytes | os.PathLike[str],
    *,
    hidden: bool = True,
    symlinks: Symlinks = "keep",
    skip: Collection[Inode] = (),
    left_out: dict[str, int] | None = None,
) -> Iterator[Item]:
    """Walk the file or folder at ``path``: entries in the order of their names' bytes, each folder around its own.

    Args:
        path: where to start; it is taken whatever its name is.
        hidden: take entries whose names begin with a dot.
        symlinks: ``keep`` gives them as they are; ``follow`` what they lead to; ``skip`` leaves out those in
            folders and follows ``path``.
        skip: files to leave out; they are not counted.
        left_out: counts what is, by :data:`HIDDEN` and :data:`SYMLINKS`; what is below a hidden folder is not.

    Raises:
        OSError: something cannot be read, with its whole path; or a symlink that is followed leads back up.
    """
    start = os.fsencode(path)
    choice = Choice(hidden, symlinks, skip, {} if left_out is None else left_out)
    follow = symlinks == "follow"
    folder = Folder(None, b"", None, b"")
    first = folder.kind_of(start, follow=symlinks != "keep")
    folder.entries = [(start, first)]
    stack = [folder]
    try:
        while stack:
            folder = stack[-1]
            if folder.at == len(folder.entries):
                stack.pop().close()
                folder.entries = []  # a large folder is about to take memory for its links
                if stack:
                    yield Item(LEAVE, folder.name, stack[-1])
                continue
            name, kind = folder.entries[folder.at]
            folder.at += 1
            yield Item(kind, name, folder)
            if kind == ENTER:
                through = follow or (len(stack) == 1 and symlinks == "skip")
                child = folder.enter(name, choice, follow=through)
                stack.append(child)
                if follow and any(child.inode == above.inode for above in stack[:-1]):
                    raise OSError(errno.ELOOP, "a symlink leads back to a folder around it", folder.path_of(name))
    finally:
        for folder in stack:
            folder.close()


def open_file(path: str | os.PathLike[str]) -> LocalFile:
    """The regular file at ``path``, through symlinks."""
    return Folder(None, b"", None, b"").open(os.fsencode(path), follow=True)


def name_in(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    inode: Inode,
    *,
    hidden: bool = True,
    symlinks: Symlinks = "keep",
) -> str | None:
    """The whole path of a file that is ``inode``, among those that :func:`walk` would meet; None if it is none."""
    for kind, name, folder in walk(os.fsencode(path), hidden=hidden, symlinks=symlinks):
        if kind == FILE and folder.inode_of(name, follow=symlinks != "keep") == inode:
            return folder.path_of(name)
    return None


def inode_of(target: object) -> Inode | None:
    """Device and inode number of a path, a descriptor or a file object; None where there is none."""
    try:
        number = getattr(target, "fileno", None)
        status = os.stat(number() if number is not None else target)  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _naming(error: OSError, path: str) -> OSError:
    """The same error with the whole path in it."""
    return OSError(error.errno, error.strerror, path)
