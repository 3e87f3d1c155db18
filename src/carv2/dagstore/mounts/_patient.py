"""Mounts that are not waited for without end, and where their bytes come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from carv2.dagstore.mounts._calling import within
from carv2.dagstore.mounts.file import FileMount
from carv2.dagstore.mounts.inline import BytesMount
from carv2.dagstore.mounts.protocol import Mount, MountStat
from carv2.dagstore.mounts.remote import FsspecMount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._source import Source

LOCAL = ""
"""The origin of what is here already."""


def origin_of(mount: Mount) -> str:
    """Who is asked for the bytes: one host, all that stands behind another kind of mount, or :data:`LOCAL`.

    >>> origin_of(FileMount("/data/x.car")), origin_of(FsspecMount("https://example.org/x.car"))
    ('', 'https://example.org')
    """
    inner = mount.mount if isinstance(mount, PatientMount) else mount
    if isinstance(inner, (FileMount, BytesMount)):
        return LOCAL
    if isinstance(inner, FsspecMount):
        return f"{inner.scheme}://{urlsplit(inner.url).netloc}"
    return inner.scheme


@dataclass(frozen=True, slots=True)
class PatientMount(Mount):
    """``mount``, of which an answer is waited for up to ``seconds``; then it is a MountError.

    The call that hangs goes on in a thread of its own, as nothing can end it. Opening what is not ready, and
    reading, are waited for as long as they take: an origin may have to unseal a sector first.
    """

    mount: Mount
    seconds: float
    is_ready: bool = True

    @property
    def url(self) -> str:
        """Of the mount."""
        return self.mount.url

    @property
    def random_access(self) -> bool:
        """Of the mount."""
        return within(self.seconds, lambda: self.mount.random_access, self.url)

    @property
    def resumable(self) -> bool:
        """Of the mount."""
        return within(self.seconds, lambda: self.mount.resumable, self.url)

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """What the mount says."""
        seconds = self.seconds if timeout is None else min(timeout, self.seconds)
        return within(seconds, lambda: self.mount.stat(timeout=seconds), self.url)

    def open(self) -> Source:
        """The mount's bytes."""
        seconds = self.seconds if self.is_ready else None
        return within(seconds, self.mount.open, self.url, unwanted=lambda late: late.close())

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The mount's bytes."""
        return self.mount.chunks(start)


def as_ready(mount: Mount, is_ready: bool) -> Mount:
    """``mount``, and whether its bytes can be had at once."""
    return replace(mount, is_ready=is_ready) if isinstance(mount, PatientMount) else mount


def patient(mount: Mount, seconds: float) -> Mount:
    """``mount``, with patience for so long; as it is where it is cheap to ask, or ``seconds`` is 0."""
    return PatientMount(mount, seconds) if seconds and origin_of(mount) != LOCAL else mount
