"""How a growing archive is made to last: its sections first, then the header that promises them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.errors import ChangedError
from carv2.header import FULLY_INDEXED, PRAGMA, CarV2Header
from carv2.units import FilePosition

if TYPE_CHECKING:
    from carv2._storefile import WritableSource
    from carv2.blockstore._settings import Settings

_PIECE = 256 << 10


class Checkpoints:
    """The header of an archive, and what of the file is durable. Offsets count from the payload, in bytes."""

    def __init__(self, file: WritableSource, settings: Settings, *, payload: int) -> None:
        self._file, self._payload = file, payload
        self._is_durable = settings.durability != "none"
        self._characteristics = FULLY_INDEXED if settings.store_identity else 0
        self.promised = -1
        """Up to where a checkpoint has promised; -1: nothing that holds any more."""
        self.synced = 0
        """Up to where all is durable."""
        self._sync_failed = False

    def promise(self, end: int) -> None:
        """Make all up to ``end`` durable, then promise it; cut off what is behind.

        Raises:
            ChangedError: the file is not as long as that: somebody made it shorter.
        """
        self.sync(end)
        self.check_length(end)
        if self.promised != end:
            if self._payload:  # a CARv1 has no header to promise with
                self.write_header(end, 0)
            self.promised = end
        if self._file.size > self._payload + end:  # an index that could not be finished
            self._file.truncate(self._payload + end)

    def check_length(self, end: int) -> None:
        """Raise unless all up to ``end`` is there: what comes behind a gap is worth nothing."""
        size = self._file.size
        if size < self._payload + end:
            why = f"the file was made shorter while it was written: {self._payload + end} bytes, now {size}"
            raise ChangedError(why)

    def write_header(self, end: int, index_position: int) -> None:
        """Say in the file that the payload is ``end`` bytes, and where its index is; durably."""
        position = FilePosition(index_position)
        header = CarV2Header(FilePosition(self._payload), end, position, self._characteristics)
        self._file.write_at(len(PRAGMA), header.to_bytes())
        self.sync(end)

    def sync(self, end: int) -> None:
        """Make everything durable; ``end`` is where the sections end that were written."""
        if not self._is_durable:
            return
        if self._sync_failed:
            self._write_again()
        self._sync_failed = True
        self._file.sync()
        self._sync_failed, self.synced = False, end

    def _write_again(self) -> None:
        """A sync that failed may leave pages that are taken for clean and are not on the disk: make them dirty."""
        file = self._file
        front = min(file.size, self._payload + _PIECE)  # header and roots, and with them some sections
        for start, stop in ((0, front), (max(front, self._payload + self.synced), file.size)):
            for at in range(start, stop, _PIECE):
                data = file.read_exactly(at, min(_PIECE, stop - at), "section")
                file.write_at(at, data)
