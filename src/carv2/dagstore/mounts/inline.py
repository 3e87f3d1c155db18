"""Archives that are so small that their URL holds them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from carv2._source import BytesSource, Source
from carv2.dagstore.mounts._calling import mount_error
from carv2.dagstore.mounts._urls import rest_of
from carv2.dagstore.mounts.protocol import Mount, MountStat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BytesMount"]


@dataclass(frozen=True, slots=True, repr=False)
class BytesMount(Mount):
    """Bytes that are in the URL itself, as unpadded base64url: for tests, and for archives of a few kilobytes.

    >>> BytesMount(b"fish").url
    'bytes:///ZmlzaA'
    """

    data: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", bytes(self.data))

    def __repr__(self) -> str:
        return f"BytesMount({len(self.data)} bytes)"

    @classmethod
    def of_url(cls, url: str) -> BytesMount:
        """The mount of ``url``; the Go dagstore's ``bytes://`` and plain base64, escaped or not, is taken too."""
        text = unquote(rest_of(url, "bytes").removeprefix("/")).rstrip("=").replace("+", "-").replace("/", "_")
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise mount_error("not base64", url) from error
        return cls(data)

    @property
    def url(self) -> str:
        """``bytes:///`` and the data in base64url."""
        return "bytes:///" + base64.urlsafe_b64encode(self.data).rstrip(b"=").decode()

    def stat(self, *, timeout: float | None = None) -> MountStat:
        """Their number, and a hash as the tag."""
        del timeout
        return MountStat(exists=True, size=len(self.data), tag=hashlib.sha256(self.data).hexdigest()[:32])

    def open(self) -> Source:
        """The bytes."""
        return BytesSource(self.data)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from ``start`` on."""
        self.check_start(start)
        if start > len(self.data):
            raise mount_error(f"there is no byte {start}: {len(self.data)} in all", self.url)
        if start < len(self.data):
            yield self.data[start:]
