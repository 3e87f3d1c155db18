"""Archives in local files.

Sources: ``mount.FileMount`` of Lotus' DAG store (https://github.com/filecoin-project/dagstore); RFC 8089 for its
URLs.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes

from carv2._source import FileSource, Source
from carv2.dagstore.mounts._calling import calling, mount_error, within
from carv2.dagstore.mounts._urls import rest_of
from carv2.dagstore.mounts.protocol import Mount, MountStat
from carv2.errors import MountChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileMount"]

_CHUNK_SIZE = 1 << 20
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True, init=False)
class FileMount(Mount):
    """A local file, read where it is.

    Its URL is ``file://`` and the absolute path, of which every byte that is no letter, digit or one of ``/._-~``
    is written as ``%XX``, so that names of any encoding come back as they were. Its tag changes with the device,
    the inode, the size and the time of modification.

    Args:
        path: the file; a relative path is taken from the current folder, now.

    Raises:
        ValueError: a path that no file can have: empty, or with a zero byte.

    >>> FileMount("/data/100% cod?.car").url
    'file:///data/100%25%20cod%3F.car'
    >>> FileMount.of_url("file:///data/100%25%20cod%3F.car")
    FileMount(path='/data/100% cod?.car')
    """

    path: str
    """Absolute; bytes that are not UTF-8 as :func:`os.fsdecode` has them."""

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        raw = os.fsencode(path)
        if not raw or b"\0" in raw:
            raise ValueError(f"no file has the path {os.fsdecode(path)!r}")
        object.__setattr__(self, "path", os.fsdecode(os.path.join(os.getcwdb(), raw)))

    @classmethod
    def of_url(cls, url: str) -> FileMount:
        """The mount of ``url``.

        ``file://localhost/…`` is taken too, and so is what the Go dagstore writes, the whole path in the place
        of the host: ``file://%2Fdata%2Fx.car``.

        Raises:
            MountError: a relative path, another host, a query or a fragment.
        """
        rest = rest_of(url, "file")
        if "?" in rest or "#" in rest:
            raise mount_error("a ? or # in a path is written as %3F or %23", url)
        if rest.startswith("localhost/"):
            rest = rest[len("localhost") :]
        path = unquote_to_bytes(rest)
        if not path.startswith(b"/") or b"\0" in path:
            raise mount_error("not a local absolute path: file:///data/x.car is one", url)
        return cls(path)

    @property
    def url(self) -> str:
        """``file://`` and the path, escaped."""
        return "file://" + quote_from_bytes(os.fsencode(self.path))

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """Size and tag; a symlink is followed. A folder, a pipe or a device is a MountError."""
        with calling(self.url):
            return within(timeout, self._stat, self.url)

    def _stat(self) -> MountStat:
        try:
            status = os.stat(self.path)
        except OSError as error:
            if error.errno in _GONE:
                return MountStat.missing()
            raise
        if not stat.S_ISREG(status.st_mode):
            raise mount_error("not a regular file", self.url)
        return MountStat(exists=True, size=status.st_size, tag=_tag(status))

    def open(self) -> Source:
        """The file. What its disk raises later passes as it is."""
        with calling(self.url):
            return FileSource.open_regular(self.path)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The file's bytes from ``start`` on; MountChangedError where it is written to meanwhile."""
        self.check_start(start)
        with calling(self.url):
            source = FileSource.open_regular(self.path)
            try:
                before = os.fstat(source.fileno())
                yield from self._read(source, start, before.st_size)
                if _tag(os.fstat(source.fileno())) != _tag(before):
                    raise MountChangedError("the file was written to while it was read", url=self.url)
            finally:
                source.close()

    def _read(self, source: FileSource, start: int, size: int) -> Iterator[bytes]:
        if start > size:
            raise MountChangedError(f"there is no byte {start}: {size} in all", url=self.url)
        while start < size:
            data = source.read_at(start, min(_CHUNK_SIZE, size - start))
            if not data:
                raise MountChangedError(f"ended after {start} of {size} bytes", url=self.url)
            yield data
            start += len(data)


def _tag(status: os.stat_result) -> str:
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
