"""Which import profile gives this CID for this file or folder: the question behind "why is my CID different"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carv2 import _tree
from carv2._ahead import default_workers
from carv2.cid import CID
from carv2.unixfs._blocks import BlockMaker
from carv2.unixfs._building import TreeBuilder
from carv2.unixfs.importing import named_paths
from carv2.unixfs.layout import BalancedLayout
from carv2.unixfs.profiles import PROFILES, ImportProfile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from carv2._tree import LocalFile
    from carv2.cid import CIDLike
    from carv2.unixfs._blocks import Data, Link

__all__ = ["Guess", "guess_profile"]

_READ_SIZE = 1 << 20
_FILE_FIELDS = (  # of a profile, that matter within a file
    "cid_version",
    "hash",
    "chunk_size",
    "file_links",
    "leaves",
    "single_chunk",
    "last_link",
    "empty_names",
    "tsize",
    "inline_limit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What one way of importing gives."""

    profile: ImportProfile
    wrap: bool
    """With a folder around the path."""
    root: CID
    matches: bool
    """It is the CID that was asked about; one of version 0 and its version 1 are taken for the same."""


def guess_profile(
    path: str | os.PathLike[str],
    cid: CIDLike,
    *,
    profiles: Iterable[ImportProfile] = (),
    on_progress: Callable[[int], object] | None = None,
) -> list[Guess]:
    """Import a file or folder by all profiles, with and without a folder around it, and say which gives ``cid``.

    Nothing is stored. A file is read once for all profiles; so is a folder for those that read the same part of it
    (hidden files, symlinks).

    Args:
        path: the file or folder.
        cid: the CID that it should have.
        profiles: those to try; none given, all presets.
        on_progress: called with each number of bytes that were read.

    Returns:
        What each way gives, those that match first, otherwise in the order of the profiles.

    >>> from carv2.unixfs import import_file
    >>> root = import_file(__file__, lambda cid, data: None)
    >>> guess = guess_profile(__file__, root)[0]
    >>> guess.matches, guess.profile.name, guess.wrap
    (True, 'unixfs-v1-2025', False)
    """
    wanted = CID.of(cid).to_v1()
    ((_, name),) = named_paths(path, wrap=True)
    tried = tuple(profiles) or tuple(PROFILES.values())
    found: dict[int, TreeBuilder] = {}
    for group in _groups(tried):
        found |= {id(tree.maker.profile): tree for tree in _import_all(path, name, group, on_progress)}
    guesses: list[Guess] = []
    for profile in tried:
        for wrap in (False, True):
            root = CID.trusted(found[id(profile)].finish(wrap=wrap).cid)
            guesses.append(Guess(profile=profile, wrap=wrap, root=root, matches=root.to_v1() == wanted))
    return sorted(guesses, key=lambda guess: not guess.matches)


def _groups(profiles: Sequence[ImportProfile]) -> list[list[ImportProfile]]:
    """The profiles, those together that read the same part of a folder."""
    groups: dict[object, list[ImportProfile]] = {}
    for profile in profiles:
        groups.setdefault((profile.hidden, profile.symlinks), []).append(profile)
    return list(groups.values())


def _import_all(
    path: str | os.PathLike[str],
    name: bytes,
    profiles: Sequence[ImportProfile],
    on_progress: Callable[[int], object] | None,
) -> list[TreeBuilder]:
    """Walk ``path`` once for all profiles, which read the same part of it."""
    trees = [TreeBuilder(BlockMaker(profile, _drop)) for profile in profiles]
    symlinks, depth = profiles[0].symlinks, 0
    with _Fan(trees, on_progress) as fan:
        for kind, own_name, folder in _tree.walk(path, hidden=profiles[0].hidden, symlinks=symlinks):
            shown = own_name if depth else name
            if kind == _tree.FILE:
                with folder.open(own_name, follow=symlinks == "follow" or not depth) as file:
                    fan.add(file, shown)
                continue
            if kind == _tree.LEAVE:
                depth -= 1
                shown = own_name if depth else name
            for tree in trees:
                if kind == _tree.ENTER:
                    tree.enter()
                elif kind == _tree.LEAVE:
                    tree.leave(shown)
                elif kind == _tree.SYMLINK:
                    tree.add_symlink(shown, folder.read_link(own_name))
            depth += kind == _tree.ENTER
    return trees


def _drop(_cid: bytes, _data: Data) -> None:
    """Nobody wants the blocks."""


class _Fan:
    """Gives each file to all trees, made once for those that make the same of it."""

    def __init__(self, trees: Sequence[TreeBuilder], on_progress: Callable[[int], object] | None) -> None:
        self._on_progress = on_progress
        self._by_form: dict[object, list[TreeBuilder]] = {}
        for tree in trees:
            form = tuple(getattr(tree.maker.profile, field) for field in _FILE_FIELDS)
            self._by_form.setdefault(form, []).append(tree)
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._pool: Any = None

    def add(self, file: LocalFile, name: bytes) -> None:
        """Read a file, which is one more entry of every tree."""
        feeds = [_Feed(trees[0].maker) for trees in self._by_form.values()]
        size = _READ_SIZE
        while size == _READ_SIZE:
            size = file.read_into(self._buffer)
            self._feed(feeds, self._buffer[:size])
            if self._on_progress is not None:
                self._on_progress(size)
        for feed, trees in zip(feeds, self._by_form.values(), strict=True):
            link = feed.finish()
            for tree in trees:
                tree.add_file(name, link)

    def _feed(self, feeds: Sequence[_Feed], data: memoryview) -> None:
        if len(data) < _READ_SIZE or len(feeds) == 1:
            for feed in feeds:
                feed.add(data)
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (15 ms, for large files only)

            self._pool = ThreadPoolExecutor(default_workers())
        for done in [self._pool.submit(feed.add, data) for feed in feeds]:
            done.result()

    def __enter__(self) -> _Fan:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()


class _Feed:
    """One file by one profile, from pieces of any size."""

    def __init__(self, maker: BlockMaker) -> None:
        self._maker, self._size = maker, maker.profile.chunk_size
        self._layout = BalancedLayout(maker)
        self._held = bytearray()
        self._is_empty = True

    def add(self, data: memoryview) -> None:
        """The next piece."""
        at = 0
        if self._held:
            at = min(len(data), self._size - len(self._held))
            self._held += data[:at]
            if len(self._held) == self._size:
                self._add_leaf(self._held)
                self._held = bytearray()
        while len(data) - at >= self._size:
            self._add_leaf(data[at : at + self._size])
            at += self._size
        self._held += data[at:]

    def finish(self) -> Link:
        """The link of the file."""
        if self._held or self._is_empty:
            self._add_leaf(self._held)
        return self._layout.finish()

    def _add_leaf(self, payload: bytearray | memoryview) -> None:
        self._is_empty = False
        maker = self._maker
        head, tail = maker.leaf_frame(len(payload))
        block: Data = b"".join((head, payload, tail)) if head else memoryview(payload)
        self._layout.add(maker.put_leaf(block, maker.digest(block), len(payload)))
