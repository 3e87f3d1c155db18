"""Pieces that lie unsealed in a folder, by the names of their CIDs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.dagstore.mounts.file import FileMount
from carv2.dagstore.mounts.protocol import MountStat

if TYPE_CHECKING:
    from carv2._source import Source
    from carv2.cid import CID

__all__ = ["FolderPieces"]


@dataclass(frozen=True)
class FolderPieces:
    """A :class:`PieceResolver` over a folder that holds ``baga…`` or ``baga….car`` for each piece.

    >>> from carv2.cid import CID
    >>> FolderPieces("/nowhere").stat(CID.of_data(b"a piece")).exists
    False
    """

    folder: str

    random_access = True

    def _mount(self, piece_cid: CID) -> FileMount | None:
        for name in (str(piece_cid), f"{piece_cid}.car"):
            path = os.path.join(self.folder, name)
            if os.path.isfile(path):
                return FileMount(path)
        return None

    def stat(self, piece_cid: CID, /) -> MountStat:
        """What the file is like."""
        mount = self._mount(piece_cid)
        return MountStat.missing() if mount is None else mount.stat()

    def open(self, piece_cid: CID, /) -> Source:
        """The file."""
        mount = self._mount(piece_cid)
        if mount is None:
            raise FileNotFoundError(f"no {piece_cid} in {self.folder}")
        return mount.open()
