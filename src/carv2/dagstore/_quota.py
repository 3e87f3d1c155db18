"""How much room local copies may take, and which of them go to make some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carv2._downloads import is_disk_full
from carv2.dagstore._copy_note import CopyNote
from carv2.errors import QuotaError

if TYPE_CHECKING:
    from carv2._downloads import Download, DownloadFolder

__all__ = ["Quota"]

_SOME = 1 << 20
"""Bytes to free on a full disk for a note, which takes a few hundred."""


class Quota:
    """The quota of a folder, which all processes that share it keep; None is none.

    What counts is what is there, so nothing gets out of step: copies and parts by their sizes, and what is coming
    in by what was reserved for it. A reservation ends with the lock of whoever made it.
    """

    def __init__(self, folder: DownloadFolder, most: int | None) -> None:
        if most is not None and most < 0:
            raise ValueError(f"quota of {most} bytes; None is none")
        self._folder, self._most = folder, most

    def used(self) -> dict[str, int]:
        """Bytes of each download, the one not used for longest first."""
        return {download.name: self._size(download) for download in self._folder.downloads()}

    def _size(self, download: Download) -> int:
        whole, part, name = download.copy_size or 0, download.part_size or 0, download.name
        if not whole and download.part_size is not None and self._folder.is_being_written(name):
            note = CopyNote.of(self._folder.note_of(name))
            part = max(part, note.reserved if note else 0)
        return whole + part

    def reserve(self, name: str, note: CopyNote, size: int) -> CopyNote:
        """Set ``size`` bytes aside for the download ``name``, whose part is the caller's; its new note.

        What nobody uses goes to make room, the copy not used for longest first; nothing goes if that is not
        enough.

        Raises:
            QuotaError: there is not enough room.
        """
        with self._folder.locked():
            if self._most is not None:
                used = self.used()
                used.pop(name, None)
                missing = size + sum(used.values()) - self._most
                if missing > 0 and not self._evict(used, missing):
                    raise QuotaError(wanted=size, quota=self._most)
            note = replace(note, reserved=size)
            self._write_note(name, note, size)
        return note

    def write_note(self, name: str, note: CopyNote) -> None:
        """Replace the note of a download, whose part is the caller's."""
        with self._folder.locked():
            self._write_note(name, note, _SOME)

    def _write_note(self, name: str, note: CopyNote, wanted: int) -> None:
        try:
            self._folder.write_note(name, note.to_bytes())
        except OSError as error:
            if not is_disk_full(error) or not self._make_room(name, wanted):
                raise
            self._folder.write_note(name, note.to_bytes())

    def make_room(self, name: str, wanted: int) -> bool:
        """Remove what nobody uses, other than ``name``, because the disk is full; whether that freed some."""
        with self._folder.locked():
            return self._make_room(name, wanted)

    def _make_room(self, name: str, wanted: int) -> bool:
        used = self.used()
        used.pop(name, None)
        freed = 0
        for each in used:
            if freed < wanted:
                freed += self._folder.remove_locked(each) or 0
        return freed > 0

    def _evict(self, used: dict[str, int], missing: int) -> bool:
        """Free ``missing`` bytes of what nobody uses, in that order; nothing, if there is not that much."""
        idle = [name for name, size in used.items() if size and self._folder.is_idle(name)]
        if sum(used[name] for name in idle) < missing:
            return False
        for name in idle:
            if missing > 0 and self._folder.remove_locked(name) is not None:  # else a reader was faster
                missing -= used[name]
        return missing <= 0
