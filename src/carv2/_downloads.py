"""Files that come in piece by piece and may be gone on with: partial downloads, in a folder that processes share.

A download has three files: ``NAME.copy`` once it is whole, ``NAME.copy.part`` before, and ``NAME.copy.note``,
which says what it is of. Only such names are ever removed, and only in a folder with a marker of ours.
Locks of the kernel keep processes (and objects in one process) apart: who writes a part has it alone, who reads
a copy shares it, and whoever changes what there is holds the marker meanwhile. They end with their holder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from carv2._atomic import create_in, make_folder, publish, sync_folder, unlink
from carv2._locks import lock, unlock
from carv2._source import FileSource
from carv2.errors import LockedError, StateError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

MARKER = ".carv2-transients"
VERSION = b"1\n"

_COPY, _NOTE, _DRAFT = ".copy", ".copy.note", ".copy.note.part"
_OURS = re.compile(r"(.+)(\.copy(?:\.part|\.note|\.note\.part)?)", re.DOTALL)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_MAX_NOTE = 1 << 20
_DRAFT_NAME = re.compile(r"\.carv2-[0-9a-f]{16}\.part")
_LOCK_TIMEOUT = 30.0  # seconds for others to list a folder and remove some files
_YOUNG = 60.0  # seconds in which a draft may be there that is not locked yet


class Download(NamedTuple):
    """What there is of one download."""

    name: str
    copy_size: int | None
    """Bytes of the whole copy; None if there is none."""
    part_size: int | None
    """Bytes of the part; None if there is none."""
    used: float
    """Seconds since 1970 when it was last used, or written to."""


class HeldCopy:
    """A whole copy that nobody removes as long as it is held."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd, self.path = fd, path

    @property
    def stamp(self) -> tuple[int, int]:
        """Its bytes, and when they were last changed, in nanoseconds since 1970."""
        return _stamp(self._fd)

    def touch(self) -> None:
        """It was used now: kept as its time of access, also where file systems do not note that themselves."""
        with contextlib.suppress(OSError):  # it only matters for which goes first
            os.utime(self._fd, ns=(time.time_ns(), self.stamp[1]))

    @property
    def is_in_place(self) -> bool:
        """Whether this is what its path leads to."""
        return _is_at(self._fd, self.path)

    def close(self) -> None:
        """Let go of it."""
        _let_go(self._fd)


class Part:
    """The part of a download that is there, for its only writer."""

    def __init__(self, folder: DownloadFolder, name: str, fd: int) -> None:
        self._folder, self._name, self._fd = folder, name, fd
        self.path = folder.path_of(name) + ".part"

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return os.fstat(self._fd).st_size

    @property
    def modified(self) -> int:
        """When they were last changed, in nanoseconds since 1970."""
        return _stamp(self._fd)[1]

    def truncate(self, size: int) -> None:
        """Forget what is behind the first ``size`` bytes."""
        os.ftruncate(self._fd, size)

    def write_at(self, position: int, data: bytes) -> None:
        """Write all of ``data`` at ``position``; on an OSError some of it may be there."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, position)
                position, view = position + written, view[written:]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from error

    def sync(self) -> None:
        """Make everything that was written durable."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from error

    def finish(self) -> HeldCopy:
        """Make the part the copy, durably, and hold that."""
        self.sync()
        path = self._folder.path_of(self._name)
        with self._folder.locked():  # else the copy could be removed before it is held
            os.replace(self.path, path)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
        sync_folder(self._folder.path)
        held, self._fd = HeldCopy(self._fd, path), -1
        return held

    def discard(self) -> None:
        """Remove it with its note."""
        if self._fd >= 0:
            self._folder.remove_note(self._name)  # first: once the part is gone, the next note is not ours
            unlink(self.path)

    def close(self) -> None:
        """Let go of it; what was written stays."""
        if self._fd >= 0:
            _let_go(self._fd)
            self._fd = -1


class DownloadFolder:
    """A folder of downloads, made if it is not there. Strangers' files in it are left alone.

    Raises:
        StateError: a newer program has been there, or it holds files of such names, and none of ours made them.
        OSError: it cannot be made or read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not os.fspath(path):
            raise ValueError("a folder for local copies must be named")
        self.path = os.path.abspath(path)
        make_folder(self.path)
        self._marker = os.path.join(self.path, MARKER)
        has_names = any(True for _ in self._names())  # looked at first: the marker is made before them
        found = _contents(self._marker, len(VERSION) + 1)
        if found is None and has_names:
            raise StateError(f"{self.path} has files named like local copies, and no marker that they are")
        if found is None:
            self._make_marker()
        elif found != VERSION:
            raise StateError(f"a newer carv2 keeps its local copies in {self.path}: version {found!r}")

    def _make_marker(self) -> None:
        """Make it once, whoever is first: it is never replaced, for processes lock it."""
        fd, draft = create_in(self.path, self._marker)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(VERSION)
                file.flush()
                os.fsync(fd)
            with contextlib.suppress(FileExistsError):
                publish(draft, self._marker)
        finally:
            unlink(draft)

    def path_of(self, name: str) -> str:
        """The path of the whole copy ``name``, whether there is one or not."""
        return os.path.join(self.path, name + _COPY)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Nobody else reserves, finishes or removes anything in the folder meanwhile.

        Raises:
            LockedError: somebody else does not let go of it.
        """
        fd = os.open(self._marker, os.O_RDONLY | _CLOEXEC)
        try:
            _lock_patiently(fd, self.path)
            yield
        finally:
            _let_go(fd)

    # -- what is there ------------------------------------------------------------------------------------

    def _names(self) -> Iterator[tuple[str, str]]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                found = _OURS.fullmatch(entry.name)
                if found is not None and entry.is_file(follow_symlinks=False):
                    yield found[1], found[2]

    def downloads(self) -> list[Download]:
        """All that is there, the one not used for longest first."""
        kinds: dict[str, set[str]] = {}
        for name, kind in self._names():
            kinds.setdefault(name, set()).add(kind)
        found = [self._download(name) for name in kinds]
        return sorted(found, key=lambda download: (download.used, download.name))

    def _download(self, name: str) -> Download:
        copy, part = _stat(self.path_of(name)), _stat(self.path_of(name) + ".part")
        used = max((max(stat.st_atime, stat.st_mtime) for stat in (copy, part) if stat), default=0.0)
        return Download(name, copy and copy.st_size, part and part.st_size, used)

    def note_of(self, name: str) -> bytes | None:
        """What was noted about a download."""
        return _contents(os.path.join(self.path, name + _NOTE), _MAX_NOTE)

    def stamp_of(self, name: str) -> tuple[int, int] | None:
        """As :attr:`HeldCopy.stamp`, of a copy that nobody holds; None if there is none."""
        stat = _stat(self.path_of(name))
        return None if stat is None else (stat.st_size, stat.st_mtime_ns)

    def is_idle(self, name: str) -> bool:
        """Whether nobody is at the download or holds its copy; to be asked while the folder is locked."""
        return _is_free(self.path_of(name)) and _is_free(self.path_of(name) + ".part")

    def is_being_written(self, name: str) -> bool:
        """Whether somebody is at it now; to be asked while the folder is locked."""
        return not _is_free(self.path_of(name) + ".part")

    # -- downloads ----------------------------------------------------------------------------------------

    def begin(self, name: str) -> Part:
        """Take the part of a download, which is empty if it is new.

        Raises:
            LockedError: somebody else has it.
        """
        path = self.path_of(name) + ".part"
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                lock(fd, path)
                if _is_at(fd, path):
                    return Part(self, name, fd)
            except BaseException:
                os.close(fd)
                raise
            _let_go(fd)  # it was finished or removed before it was locked

    def write_note(self, name: str, note: bytes) -> None:
        """Replace the note; for whoever has the part. It need not be durable: without it a copy is made anew."""
        draft = os.path.join(self.path, name + _DRAFT)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(note)
        except OSError as error:
            raise OSError(error.errno, error.strerror, draft) from error
        os.replace(draft, os.path.join(self.path, name + _NOTE))

    def remove_note(self, name: str) -> None:
        """Remove the note, unless a whole copy needs it."""
        if not os.path.lexists(self.path_of(name)):
            unlink(os.path.join(self.path, name + _DRAFT))
            unlink(os.path.join(self.path, name + _NOTE))

    def hold(self, name: str) -> HeldCopy | None:
        """Hold the whole copy; None if there is none, or if it is being removed."""
        path = self.path_of(name)
        try:
            fd = os.open(path, os.O_RDONLY | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except (FileNotFoundError, NotADirectoryError):
            return None
        held = HeldCopy(fd, path)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if held.is_in_place:
                return held
        except BlockingIOError:
            pass
        except BaseException:
            held.close()
            raise
        held.close()
        return None

    def take_away(self, name: str) -> None:
        """Remove the whole copy, whoever holds it: those who have it open go on reading. For an unfit one."""
        unlink(self.path_of(name))

    def remove(self, name: str) -> int | None:
        """Remove everything of a download; bytes that were freed, None if somebody is at it or holds the copy."""
        with self.locked():
            return self.remove_locked(name)

    def remove_locked(self, name: str) -> int | None:
        """The same, where the folder is locked already."""
        with contextlib.ExitStack() as held:
            copy = held.enter_context(_alone_with(self.path_of(name)))
            part = held.enter_context(_alone_with(self.path_of(name) + ".part"))
            if copy.is_busy or part.is_busy:
                return None
            freed = copy.unlink() + part.unlink()
            self.remove_note(name)
        return freed


def lock_draft(fd: int) -> None:
    """Tell :func:`remove_abandoned_drafts` that the file, which has no name of its own yet, is being written."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def remove_abandoned_drafts(folder: str) -> list[str]:
    """Remove what a killed process left behind of files that it was about to replace; their names."""
    removed: list[str] = []
    for name in sorted(filter(_DRAFT_NAME.fullmatch, os.listdir(folder))):
        path = os.path.join(folder, name)
        stat = _stat(path)
        if stat is None or time.time() - stat.st_mtime < _YOUNG:
            continue
        with _alone_with(path) as found:
            if not found.is_busy and found.fd is not None:
                found.unlink()
                removed.append(name)
    return removed


def is_disk_full(error: OSError) -> bool:
    """Whether it failed for want of room, which may be made."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def is_out_of_room(error: OSError) -> bool:
    """The same, or because a file may not be so large."""
    return is_disk_full(error) or error.errno == errno.EFBIG


def _contents(path: str, most: int) -> bytes | None:
    try:
        source = FileSource.open(path)
    except FileNotFoundError:
        return None
    try:
        return source.read_at(0, most)
    finally:
        source.close()


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _stamp(fd: int) -> tuple[int, int]:
    stat = os.fstat(fd)
    return stat.st_size, stat.st_mtime_ns


def _is_at(fd: int, path: str) -> bool:
    found = _stat(path)
    return found is not None and os.path.samestat(os.fstat(fd), found)


def _lock_patiently(fd: int, path: str) -> None:
    """Lock the file as soon as its holder lets go of it, which is soon, unless that process was stopped."""
    deadline, pause = time.monotonic() + _LOCK_TIMEOUT, 0.0005
    while True:
        try:
            return lock(fd, path)
        except LockedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


class _Alone(NamedTuple):
    """A file that nobody else has locked or can lock; or none at all, or one that is busy."""

    path: str
    fd: int | None
    is_busy: bool = False

    def unlink(self) -> int:
        """Remove it; bytes that were freed. What came to its path meanwhile, where there was none, stays."""
        if self.fd is None:
            return 0
        size = os.fstat(self.fd).st_size
        unlink(self.path)
        return size


@contextlib.contextmanager
def _alone_with(path: str) -> Generator[_Alone]:
    """Lock the file, if there is one and nobody has it locked."""
    try:
        fd = os.open(path, os.O_RDONLY | _CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        yield _Alone(path, None)
        return
    try:
        try:
            lock(fd, path)
            is_busy = not _is_at(fd, path)  # then somebody else was at it, and may be still
        except LockedError:
            is_busy = True
        yield _Alone(path, fd, is_busy)
    finally:
        _let_go(fd)


def _is_free(path: str) -> bool:
    with _alone_with(path) as found:
        return not found.is_busy


def _let_go(fd: int) -> None:
    """Close a descriptor, and its lock also where a forked child still has the file open."""
    with contextlib.suppress(OSError):  # closing lets go of it, too, unless such a child is there
        unlock(fd)
    os.close(fd)
