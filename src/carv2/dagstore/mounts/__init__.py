"""Where the bytes of a shard come from.

A mount says how the bytes of an archive are had, and describes itself as a URL, of which a registry makes
it again. It holds nothing open and may be copied, compared, pickled and shared.

>>> from carv2.dagstore.mounts import BytesMount, default_registry
>>> mount = BytesMount(b"an archive")
>>> mount.url
'bytes:///YW4gYXJjaGl2ZQ'
>>> default_registry().instantiate(mount.url) == mount
True
>>> mount.stat().size
10
"""

from __future__ import annotations

from carv2.dagstore.mounts.file import FileMount
from carv2.dagstore.mounts.folder import FolderPieces
from carv2.dagstore.mounts.inline import BytesMount
from carv2.dagstore.mounts.piece import PieceMount, PieceMounts, PieceResolver
from carv2.dagstore.mounts.protocol import Mount, MountStat
from carv2.dagstore.mounts.registry import MountFactory, MountRegistry, default_registry
from carv2.dagstore.mounts.remote import FsspecMount, FsspecMounts

__all__ = [
    "BytesMount",
    "FileMount",
    "FolderPieces",
    "FsspecMount",
    "FsspecMounts",
    "Mount",
    "MountFactory",
    "MountRegistry",
    "MountStat",
    "PieceMount",
    "PieceMounts",
    "PieceResolver",
    "default_registry",
]
