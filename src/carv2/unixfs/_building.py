"""Folders as they are built, from the entries that a walk meets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.unixfs._import_directory import put_directory

if TYPE_CHECKING:
    from carv2.unixfs._blocks import BlockMaker, Link


class TreeBuilder:
    """Takes files, symlinks and folders in the order of a walk; counts them."""

    def __init__(self, maker: BlockMaker) -> None:
        self.maker = maker
        self.file_count = self.directory_count = self.symlink_count = self.empty_count = 0
        self._open: list[list[tuple[bytes, Link]]] = [
            []
        ]  # entries of the folders that are open; first, of the top

    def enter(self) -> None:
        """A folder begins."""
        self._open.append([])

    def leave(self, name: bytes) -> None:
        """The folder ``name`` ends."""
        entries = self._open.pop()
        if entries or self.maker.profile.empty_directories:
            self.directory_count += 1
            self._open[-1].append((name, put_directory(self.maker, entries)))
        else:
            self.empty_count += 1

    def add_file(self, name: bytes, link: Link) -> None:
        """A file whose blocks are handed out."""
        self.file_count += 1
        self._open[-1].append((name, link))

    def add_symlink(self, name: bytes, target: bytes) -> None:
        """A symlink."""
        self.symlink_count += 1
        self._open[-1].append((name, self.maker.put_symlink(target)))

    def finish(self, *, wrap: bool) -> Link:
        """The root: a folder of what stands at the top, or the one thing that does."""
        (top,) = self._open
        if top and not wrap:
            return top[0][1]
        self.directory_count += 1
        return put_directory(self.maker, sorted(top))
