"""Archives behind a filesystem of fsspec: http, s3, and what else has one."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carv2._source import BytesSource, Source
from carv2.dagstore.mounts import _http
from carv2.dagstore.mounts._calling import calling, front_to_back_only, mount_error, within
from carv2.dagstore.mounts._reading import CheckedSource, by_ranges, whole
from carv2.dagstore.mounts._urls import check_no_secret, rest_of, scheme_of, shown
from carv2.dagstore.mounts.protocol import Mount, MountStat
from carv2.errors import MountChangedError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

__all__ = ["FsspecMount", "FsspecMounts"]

DOWNLOAD_SIZE = 8 << 20
"""Bytes of a request where all of them are wanted."""

TIMEOUT = 60.0
"""Seconds that an origin may take to answer a request."""

_SUMS = (
    "ETag",
    "etag",
    "Content-MD5",
    "content_md5",
    "Digest",
    "md5",
    "md5Hash",
    "checksum",
    "VersionId",
    "generation",
)
"""Under which names filesystems tell what changes with the bytes."""

_TIMES = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modified", "modify")
"""The same of what changes with the file."""


@dataclass(frozen=True, slots=True)
class FsspecMount(Mount):
    """A file of one of fsspec's filesystems, read by ranges where that works.

    Its URL is the one given, as it is. Needs fsspec (``carv2[remote]``) and what the protocol needs.

    Whether a web server honours ranges can only be found out by asking: :attr:`random_access` of an ``http`` or
    ``https`` URL sends it two small requests, once in a process. Other filesystems are taken to read anywhere.

    Args:
        location: the URL. A password or a token in it is refused.
        options: of the filesystem, credentials among them. They are no part of the URL, nor of the mount's
            identity, nor of its ``repr``; a pickle holds them.
        timeout: seconds without an answer before a request fails. Filesystems that are not asynchronous (ftp,
            sftp) have limits of their own, among their options; for these it counts for :meth:`stat` only.
        ranges: whether the file can be read anywhere; None to find out.

    Raises:
        MountError: a URL with a secret or with control characters in it.

    >>> FsspecMount("s3://bucket/deal 7.car", {"anon": True}).url
    's3://bucket/deal 7.car'
    """

    location: str
    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False, compare=False)
    timeout: float = field(default=TIMEOUT, repr=False, compare=False)
    ranges: bool | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        scheme = scheme_of(check_no_secret(self.location))
        object.__setattr__(self, "location", f"{scheme}://{rest_of(self.location, scheme)}")
        object.__setattr__(self, "options", dict(self.options))

    @property
    def url(self) -> str:
        """As it was given, its scheme in small letters."""
        return self.location

    def check_installed(self) -> None:
        """Refuse where fsspec is not installed, or what it needs for the protocol."""
        with calling(self.location):
            self._kind()

    @property
    def random_access(self) -> bool:
        """Ranges work, as far as is known; a web server is asked, once in a process."""
        if self.ranges is not None:
            return self.ranges
        if not self._is_http:
            return True
        known = _http.known_ranges(self.location)
        if known is None:
            with calling(self.location):
                known = within(self.timeout, self._ask_for_ranges, self.location)
        return known

    def _ask_for_ranges(self) -> bool:
        fs = self._filesystem()
        info = self._info(fs)
        if info is None:
            raise mount_error("there is nothing", self.location)
        return _http.ask_for_ranges(fs, self.location, info, self.timeout)

    @property
    def _is_http(self) -> bool:
        return self.scheme in {"http", "https"}

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """Size, and as the tag an ETag, a checksum, a generation or a time of modification, where there is one."""
        with calling(self.location):
            return within(self.timeout if timeout is None else timeout, self._stat, self.location)

    def _stat(self) -> MountStat:
        fs = self._filesystem()
        info = self._info(fs)
        if info is None:
            return MountStat.missing()
        if info.get("type") == "directory":
            raise mount_error("a folder", self.location)
        size = info.get("size")
        return MountStat(exists=True, size=None if size is None else int(size), tag=self._tag(fs, info))

    def _filesystem(self) -> Any:
        """The filesystem, which fsspec keeps: one for each thread, unless threads may share it."""
        kind = self._kind()
        options = {**self.options, **kind._get_kwargs_from_urls(self.location)}  # noqa: SLF001  (as fsspec's own open)
        return kind(**(_http.with_limits(options, self.timeout) if self._is_http else options))

    def _kind(self) -> Any:
        try:
            import fsspec  # noqa: PLC0415  (optional)
        except ImportError as error:
            raise mount_error("it needs fsspec: pip install 'carv2[remote]'", self.location) from error
        return fsspec.get_filesystem_class(self.scheme)  # pyright: ignore[reportUnknownMemberType]

    def _path(self, fs: Any) -> str:
        return str(fs._strip_protocol(self.location))  # noqa: SLF001  (documented for callers)

    def _info(self, fs: Any) -> dict[str, Any] | None:
        """What the filesystem says now, not what it said before; None if there is no such file."""
        path = self._path(fs)
        fs.invalidate_cache(path)
        try:
            return dict(fs.info(path))
        except FileNotFoundError as error:
            if self._is_http and not _http.says_missing(error):
                raise mount_error(_http.reason(error), self.location) from error
            return None

    def _tag(self, fs: Any, info: dict[str, Any]) -> str:
        found = _named(info, _SUMS) or _named(info, _TIMES)
        if not found:
            with contextlib.suppress(NotImplementedError):  # most filesystems have no such call
                found = [("modified", str(fs.modified(self._path(fs)))), *_named(info, ("created",))]
        return _digest(found) if found else ""

    def open(self) -> Source:
        """The file, each read a request of its own. Reads that give another number of bytes are an error."""
        return self._open(self.stat())

    def _open(self, stat: MountStat) -> CheckedSource | BytesSource:
        if not stat.exists:
            raise mount_error("there is nothing", self.location)
        if not self.random_access:
            raise front_to_back_only("its server ignores ranges", self.location)
        if stat.size is None:
            raise front_to_back_only("nobody knows its size", self.location)
        if not stat.size:
            return BytesSource(b"")
        with calling(self.location):
            ranges = self._ranges(self._filesystem(), stat.size)
            return CheckedSource(ranges, self.location, size=stat.size)

    def _ranges(self, fs: Any, size: int) -> _http.HttpRanges | _FileRanges:
        if self._is_http:
            return _http.HttpRanges(fs, self.location, size, self.timeout)
        return _FileRanges(self, fs)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The file's bytes from ``start`` on; MountChangedError where size or tag are others at the end."""
        self.check_start(start)
        before = self.stat()
        if not before.exists:
            raise mount_error("there is nothing", self.location)
        ranges = self.random_access and before.size is not None
        with (
            calling(self.location),
            contextlib.closing(self._by_ranges(before, start) if ranges else self._stream()) as parts,
        ):
            yield from whole(parts, self.location, start=start, size=before.size)
        after = self.stat()
        if (after.exists, after.size, after.tag) != (before.exists, before.size, before.tag):
            raise MountChangedError("the file was changed while it was read", url=shown(self.location))

    def _by_ranges(self, stat: MountStat, start: int) -> Generator[bytes]:
        source = self._open(stat)
        try:
            yield from by_ranges(source, start, DOWNLOAD_SIZE)
        finally:
            source.close()

    def _stream(self) -> Generator[bytes]:
        fs = self._filesystem()
        if self._is_http:
            yield from _http.stream(fs, self.location, self.timeout)
            return
        with fs.open(self._path(fs), "rb", cache_type="none") as file:
            while chunk := file.read(1 << 20):
                yield bytes(chunk)


@dataclass(frozen=True, slots=True)
class FsspecMounts:
    """A factory of fsspec mounts, for a registry; the arguments are :class:`FsspecMount`'s.

    >>> from carv2.dagstore.mounts import MountRegistry
    >>> registry = MountRegistry()
    >>> headers = {"Authorization": "Bearer …"}
    >>> registry.register("https", FsspecMounts({"client_kwargs": {"headers": headers}}, timeout=5))
    >>> registry.instantiate("https://example.org/x.car")
    FsspecMount(location='https://example.org/x.car')
    """

    options: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    timeout: float = TIMEOUT
    ranges: bool | None = None

    def __call__(self, url: str) -> FsspecMount:
        return FsspecMount(url, self.options, self.timeout, self.ranges)


class _FileRanges:
    """Positional reads through ``cat_file``, past the read-ahead caches of fsspec's files."""

    def __init__(self, mount: FsspecMount, fs: Any) -> None:
        self._mount, self._fs, self._path = mount, fs, mount._path(fs)  # noqa: SLF001  (its own)

    def read_at(self, position: int, size: int) -> bytes:
        fs, end = self._fs, position + size
        if not fs.async_impl:  # then each thread has one of its own
            fs = self._mount._filesystem()  # noqa: SLF001  (its own)
        elif hasattr(fs.cat_file, "__wrapped__"):  # fsspec's own bridge to the coroutine, which takes a limit
            return bytes(fs.cat_file(self._path, start=position, end=end, timeout=self._mount.timeout))
        return bytes(fs.cat_file(self._path, start=position, end=end))

    def close(self) -> None:
        """There is nothing open: each read is a request."""


def _named(info: dict[str, Any], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, str(info[name])) for name in names if info.get(name)]


def _digest(found: list[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(found).encode()).hexdigest()[:32]
