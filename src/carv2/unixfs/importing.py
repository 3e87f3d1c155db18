"""From local files and folders to blocks: each file read once, the DAG built while it is read.

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/); what it leaves open is in the profiles, see
:mod:`carv2.unixfs.profiles`.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from carv2 import _tree
from carv2._ahead import default_workers
from carv2.cid import CID
from carv2.unixfs._blocks import BlockMaker, Place
from carv2.unixfs._building import TreeBuilder
from carv2.unixfs._hashing import HashLine
from carv2.unixfs._reading import reader_of
from carv2.unixfs.layout import BalancedLayout
from carv2.unixfs.profiles import DEFAULT_PROFILE, ImportProfile, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import BinaryIO, TypeAlias

    from carv2._tree import Folder, Inode, LocalFile
    from carv2.unixfs._blocks import Data, Link, Put, Refer
    from carv2.unixfs._reading import Reader

    PathLike: TypeAlias = "str | bytes | os.PathLike[str]"
    Paths: TypeAlias = "PathLike | Iterable[PathLike]"
    Special: TypeAlias = Literal["raise", "skip"]

__all__ = ["ImportReport", "SkippedFile", "import_file", "import_tree"]

_SMALL = 32 << 10  # bytes of a file that is read in one go


EMPTY = "empty folders"


class SkippedFile(NamedTuple):
    """Something in a folder that has no place in a DAG."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import took in, and what it made of it."""

    root: CID
    size: int
    """Bytes of payload, of the files in all; what is there twice counts twice."""
    dag_size: int
    """The root's Tsize: bytes of all blocks, counted as often as they are linked to."""
    file_count: int
    directory_count: int
    """The one around the paths, if there is one, included."""
    symlink_count: int
    block_count: int
    """Blocks that were handed out, or written; identity CIDs have none."""
    duplicate_count: int = 0
    """Blocks that came again and were not written again."""
    skipped: tuple[SkippedFile, ...] = ()
    """Devices, sockets and named pipes."""
    left_out: dict[str, int] = field(default_factory=dict[str, int])
    """What the profile or ``hidden`` leaves out, and how much of it: hidden entries, symlinks, empty folders."""
    changed: tuple[str, ...] = ()
    """Files that were written to while they were read: what is in the DAG is what was read."""


class Importer:
    """One import: reads what it is given and hands the blocks, children first, to ``put``.

    With ``refer``, raw leaves of the files in folders, and of files that are named, go there instead.
    """

    def __init__(
        self,
        profile: ImportProfile,
        put: Put,
        *,
        refer: Refer | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        self.profile = profile
        self.maker = BlockMaker(profile, put, refer)
        self._refers = self.maker.refers
        self.tree = TreeBuilder(self.maker)
        self.skipped: list[SkippedFile] = []
        self.changed: list[str] = []
        self._left_out: dict[str, int] = {}
        self._on_progress = on_progress
        self._follow = profile.symlinks == "follow"
        self._head, self._tail = self.maker.leaf_frame(profile.chunk_size)
        self.line = HashLine(
            self.maker.digest,
            workers=default_workers() if workers is None else workers,
            buffer_size=len(self._head) + profile.chunk_size + len(self._tail),
        )

    def add_paths(
        self,
        paths: Paths,
        *,
        wrap: bool,
        hidden: bool | None = None,
        special: Special = "raise",
        skip: Collection[Inode] = (),
    ) -> Link:
        """Take in all of ``paths``; return the link of the root."""
        taken = self.profile.hidden if hidden is None else hidden
        named = named_paths(paths, wrap=wrap)
        with self.line:
            for path, name in named:
                self._add_path(path, name, hidden=taken, special=special, skip=skip)
            self.line.drain()
        return self.tree.finish(wrap=wrap)

    def report(self, root: Link, *, block_count: int, duplicate_count: int = 0) -> ImportReport:
        """What was done."""
        return ImportReport(
            root=CID.trusted(root.cid),
            size=root.size,
            dag_size=root.tsize,
            file_count=self.tree.file_count,
            directory_count=self.tree.directory_count,
            symlink_count=self.tree.symlink_count,
            block_count=block_count,
            duplicate_count=duplicate_count,
            skipped=tuple(self.skipped),
            left_out={**self._left_out, **({EMPTY: self.tree.empty_count} if self.tree.empty_count else {})},
            changed=tuple(self.changed),
        )

    def _add_path(
        self, path: PathLike, name: bytes, *, hidden: bool, special: Special, skip: Collection[Inode]
    ) -> None:
        """Take in the file or folder at ``path``, under ``name``."""
        tree, call = self.tree, self.line.call
        depth = 0
        symlinks, left_out = self.profile.symlinks, self._left_out
        walk = _tree.walk(path, hidden=hidden, symlinks=symlinks, skip=skip, left_out=left_out)
        for kind, own_name, folder in walk:
            shown = own_name if depth else name
            if kind == _tree.FILE:
                with folder.open(own_name, follow=self._follow or not depth) as file:
                    self._add_file(file, shown)
            elif kind == _tree.ENTER:
                depth += 1
                call(tree.enter)
            elif kind == _tree.LEAVE:
                depth -= 1
                call(partial(tree.leave, own_name if depth else name))
            elif kind == _tree.SYMLINK:
                call(partial(tree.add_symlink, shown, folder.read_link(own_name)))
            else:
                self._meet_special(folder, own_name, may_skip=special == "skip" and depth > 0)

    def _meet_special(self, folder: Folder, name: bytes, *, may_skip: bool) -> None:
        path, what = folder.path_of(name), folder.describe(name)
        if not may_skip:
            raise OSError(errno.EINVAL, f"{what} cannot be imported", path)
        self.skipped.append(SkippedFile(path, what))

    def _add_file(self, file: LocalFile, name: bytes) -> None:
        add = partial(self.tree.add_file, name)
        path = file.path if self._refers else None
        size, data = file.size, b""
        if size <= min(_SMALL, self.profile.chunk_size):
            data = file.read(size + 1)
            if len(data) <= size:
                self._progress(len(data))
                self._add_leaf(data, add, path)
                if len(data) < size:
                    self._note_change(file)
                return
        self.add_stream(file, add, front=data, path=path)
        self._note_change(file)

    def _note_change(self, file: LocalFile) -> None:
        if file.has_changed():
            self.changed.append(file.path)

    def _add_leaf(self, data: bytes, add: Callable[[Link], object], path: str | None) -> None:
        """A file of one small chunk."""
        place = None if path is None else Place(path, 0)
        if self.profile.single_chunk == "node":
            layout = BalancedLayout(self.maker)
            self.line.hash(self.maker.leaf_block(data), partial(self._put_leaf, layout.add, len(data), place))
            self.line.call(lambda: add(layout.finish()))
        else:
            self.line.hash(self.maker.leaf_block(data), partial(self._put_leaf, add, len(data), place))

    def _put_leaf(
        self, add: Callable[[Link], object], size: int, place: Place | None, block: Data, digest: bytes
    ) -> None:
        add(self.maker.put_leaf(block, digest, size, place))

    def add_stream(
        self, reader: Reader, add: Callable[[Link], object], *, front: bytes = b"", path: str | None = None
    ) -> None:
        """Take in ``front`` and all that ``reader`` gives as one file; ``add`` gets its link.

        With ``path``, from which ``reader`` reads, its leaves know their place.
        """
        layout = BalancedLayout(self.maker)
        start, chunk_size = len(self._head), self.profile.chunk_size
        at, size = 0, chunk_size
        while size == chunk_size:
            buffer = self.line.buffer()
            room = memoryview(buffer)[start : start + chunk_size]
            held = front[at : at + chunk_size]
            room[: len(held)] = held
            size = len(held) + reader.read_into(room[len(held) :])
            if size == 0 and at:
                self.line.release(buffer)
                break
            self._progress(size)
            self._add_chunk(buffer, size, layout, None if path is None else Place(path, at))
            at += size
        self.line.call(lambda: add(layout.finish()))

    def _add_chunk(self, buffer: bytearray, size: int, layout: BalancedLayout, place: Place | None) -> None:
        """Hash the leaf of ``size`` bytes of payload in ``buffer``, whose frame is put around them there.

        The frame of a file's last leaf has smaller numbers than the others', so it takes no more room.
        """
        start, is_full = len(self._head), size == self.profile.chunk_size
        head, tail = (self._head, self._tail) if is_full else self.maker.leaf_frame(size)
        begin, end = start - len(head), start + size + len(tail)
        buffer[begin:start] = head
        buffer[start + size : end] = tail
        then = partial(self._put_leaf, layout.add, size, place)
        self.line.hash(memoryview(buffer)[begin:end], then, buffer)

    def _progress(self, size: int) -> None:
        if self._on_progress is not None:
            self._on_progress(size)


def import_tree(
    paths: Paths,
    put: Callable[[CID, bytes], object],
    *,
    profile: str | ImportProfile = DEFAULT_PROFILE,
    wrap: bool = True,
    hidden: bool | None = None,
    special: Special = "raise",
    workers: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> ImportReport:
    """Import files and folders, and hand each block to ``put``: children first, the root last.

    Each file is read once. Folders are read in the order of their names' bytes, so the same tree gives the same
    blocks in the same order. What is held in memory is a few chunks and the entries of the folders that are open.

    Args:
        paths: a file or folder, or several.
        put: takes each block, such as the ``put`` of a blockstore. A block that comes again is handed out again.
        profile: the name of a preset, or a profile.
        wrap: make a folder around the paths, in which they have their own names; without, there can be only one.
        hidden: take entries of folders whose names begin with a dot; None is as the profile says.
        special: what to do about a device, a socket or a named pipe in a folder: ``raise``, or ``skip`` it and
            say so in the report.
        workers: threads that hash; None for what suits the machine.
        on_progress: called with each number of bytes that were read.

    Raises:
        OSError: something cannot be read or has no place in a DAG; with its path.
        ValueError: no path, several without ``wrap``, or two of the same name.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> store = MemoryBlockstore()
    >>> import_tree(__file__, store.put).file_count
    1
    """
    importer = Importer(
        profile_of(profile),
        lambda cid, data: put(CID.trusted(cid), bytes(data)),
        workers=workers,
        on_progress=on_progress,
    )
    root = importer.add_paths(paths, wrap=wrap, hidden=hidden, special=special)
    return importer.report(root, block_count=importer.maker.block_count)


def import_file(
    file: str | os.PathLike[str] | bytes | BinaryIO | Iterable[bytes],
    put: Callable[[CID, bytes], object],
    *,
    profile: str | ImportProfile = DEFAULT_PROFILE,
    workers: int | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> CID:
    """Import one file, from wherever its bytes come, and hand each block to ``put``; return the root.

    Args:
        file: a path, the payload itself, a binary file (read from where it stands), or chunks of any sizes.
        put: takes each block.
        profile: the name of a preset, or a profile.
        workers: threads that hash; None for what suits the machine.
        on_progress: called with each number of bytes that were read.

    >>> str(import_file(b"hello world", lambda cid, data: None))
    'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'
    """
    importer = Importer(
        profile_of(profile),
        lambda cid, data: put(CID.trusted(cid), bytes(data)),
        workers=workers,
        on_progress=on_progress,
    )
    found: list[Link] = []
    with importer.line, reader_of(file) as reader:
        importer.add_stream(reader, found.append)
        importer.line.drain()
    return CID.trusted(found[0].cid)


def named_paths(paths: Paths, *, wrap: bool) -> list[tuple[PathLike, bytes]]:
    """Each path and the name that it gets in the folder around it."""
    given: list[PathLike] = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
    if not given:
        raise ValueError("no path to import")
    if not wrap:
        if len(given) > 1:
            raise ValueError(f"{len(given)} paths need a folder around them; without it there can be only one")
        return [(given[0], b"")]
    names = [os.path.basename(os.path.abspath(os.fsencode(path))) for path in given]
    if b"" in names:
        raise ValueError(
            f"{os.fsdecode(given[names.index(b'')])} has no name to stand under in the folder around it"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} paths are named {os.fsdecode(name)}: they cannot stand in one folder")
    return list(zip(given, names, strict=True))
