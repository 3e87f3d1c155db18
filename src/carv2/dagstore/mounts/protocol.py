"""What a mount is.

Source: ``mount.Mount`` of Lotus' DAG store (https://github.com/filecoin-project/dagstore).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.dagstore.mounts._calling import calling, front_to_back_only, mount_error
from carv2.dagstore.mounts._urls import scheme_of
from carv2.errors import MountChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._source import Source

__all__ = ["Mount", "MountStat"]


@dataclass(frozen=True, slots=True)
class MountStat:
    """What a mount says of its bytes."""

    exists: bool
    """They can be had. Where that cannot be found out, there is a MountError instead."""
    size: int | None = None
    """How many there are; None where nobody knows before they were read."""
    ready: bool = True
    """They can be read at once; otherwise their origin must work first (unseal a sector, thaw an object)."""
    tag: str = ""
    """Another one when the bytes are others (inode and time of modification, ETag); ``""`` where there is none."""

    @classmethod
    def missing(cls) -> MountStat:
        """There are no bytes."""
        return cls(exists=False)


class Mount(abc.ABC):
    r"""Says how the bytes of an archive are had. Base class of all mounts.

    A mount is a value: immutable, hashable, picklable, cheap, equal to another of the same URL. It opens nothing
    until it is asked. It needs :attr:`url`, :meth:`stat`, and :meth:`open` or :meth:`chunks` or both:

    * bytes that can be read anywhere, as in a file: :meth:`open`, and :meth:`chunks` follows from it;
    * bytes that come front to back only: :meth:`chunks`. The store makes a local copy of them.

    Whatever goes wrong is a :class:`carv2.errors.MountError`. :class:`carv2.testing.MountTests` checks mounts of
    your own.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Zeros(Mount):
    ...     count: int
    ...
    ...     @property
    ...     def url(self):
    ...         return f"zeros:///{self.count}"
    ...
    ...     def stat(self, *, timeout=None):
    ...         return MountStat(exists=True, size=self.count)
    ...
    ...     def chunks(self, start=0):
    ...         self.check_start(start)
    ...         yield bytes(self.count)
    >>> b"".join(Zeros(3).chunks())
    b'\x00\x00\x00'
    """

    __slots__ = ()

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """``scheme://…``: what its registry makes the same mount of. There are never secrets in it."""

    @property
    def scheme(self) -> str:
        """The part of the URL in front of ``://``."""
        return scheme_of(self.url)

    @property
    def random_access(self) -> bool:
        """Its bytes can be read anywhere, through :meth:`open`: by default, if there is one.

        To find that out the origin may be asked, once; MountError if it does not answer.
        """
        return type(self).open is not Mount.open

    @property
    def resumable(self) -> bool:
        """:meth:`chunks` can begin anywhere."""
        return self.random_access

    def check_installed(self) -> None:
        """Refuse where packages that reading takes are not installed; by default it takes none.

        A store calls it before it registers a shard. Nobody is asked.

        Raises:
            MountError: which they are, and how to have them.
        """
        return

    @abc.abstractmethod
    def stat(self, *, timeout: float | None = None) -> MountStat:
        """What there is; asked of the origin each time.

        Args:
            timeout: seconds to wait for the origin; None for as long as the mount finds right.

        Raises:
            MountError: that cannot be found out (now), or it is no file.
        """

    def open(self) -> Source:
        """The bytes, to be read anywhere by any number of threads; ``close()`` it afterwards.

        Its size stays as it was when it was opened.

        Raises:
            MountError: there are none, or they cannot be read anywhere.
        """
        raise front_to_back_only("it has no open()", self.url)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from ``start`` on, in pieces of any size, all of them or an error. To be closed if left early.

        Raises:
            MountError: there are none, they end early, or, unless it is :attr:`resumable`, ``start`` is not 0.
            MountChangedError: they changed on the way.
        """
        self.check_start(start)
        source = self.open()
        try:
            with calling(self.url):
                yield from _stream(source, start, self.url)
        finally:
            source.close()

    def check_start(self, start: int) -> None:
        """Refuse to begin at byte ``start`` where that cannot be; for :meth:`chunks`.

        Raises:
            ValueError: it is negative.
            MountError: the mount gives its bytes from the first one on only.
        """
        if start < 0:
            raise ValueError(f"start must be >= 0, got {start}")
        if start and not self.resumable:
            raise mount_error("the mount can be read from its first byte only", self.url)


def _stream(source: Source, start: int, url: str) -> Iterator[bytes]:
    size = source.size
    if start > size:
        raise MountChangedError(f"there is no byte {start}: {size} in all", url=url)
    while start < size:
        wanted = min(source.chunk_size, size - start)
        data = source.read_at(start, wanted)
        if len(data) < wanted:
            raise MountChangedError(f"ended after {start + len(data)} of {size} bytes", url=url)
        yield data
        start += wanted
