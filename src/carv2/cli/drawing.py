"""A DAG drawn as a tree: one row for each entry of a directory, and for each link of other blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2 import codec
from carv2.cli import color, folders, progress
from carv2.errors import BlockNotFoundError, CarError, CodecError, IndexMismatchError, UnknownCodecError
from carv2.unixfs import Link, list_links, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from carv2.blockstore.protocols import Blockstore
    from carv2.cid import CID
    from carv2.unixfs import Entry, Missing

    Found: TypeAlias = Link | int | CarError
    """What a block leads to; how many shards of a directory are missing; why the rest cannot be told."""


class Marks(NamedTuple):
    """What branches and states look like."""

    fork: str
    last: str
    line: str
    gap: str
    again: str
    missing: str
    damaged: str
    more: str


UNICODE = Marks("├── ", "└── ", "│   ", "    ", "↺", "✗ missing", "⚠", "…")
ASCII = Marks("|-- ", "`-- ", "|   ", "    ", "(again)", "(missing)", "(damaged)", "...")

MAX_DEPTH = 1024


class Row(NamedTuple):
    """One line of the drawing."""

    text: str
    path: str
    cid: CID | None = None
    kind: str = ""
    """Of the entry; or ``missing``, ``damaged``, ``more``."""
    size: int | None = None
    repeated: bool = False

    def fields(self) -> dict[str, object]:
        """What of it programs want to know."""
        return {name: value for name, value in self._asdict().items() if name != "text"}


class _Level:
    """A directory that is being drawn: what is left of it, and what its rows begin with."""

    def __init__(self, links: Iterator[Found], indent: str, path: str) -> None:
        self.links, self.indent, self.path = links, indent, path
        self.shown = 0
        self.next = next(links, None)

    def take(self) -> Found | None:
        """The next link; what comes behind it is known already, so that the last branch can be drawn as such."""
        link = self.next
        if link is not None:
            self.next = next(self.links, None)
            self.shown += 1
        return link

    def count(self) -> tuple[int, int]:
        """How many links there are still, and missing shards; they are gone then."""
        many = shards = 0
        while self.next is not None:
            many += isinstance(self.next, Link)
            shards += self.next if isinstance(self.next, int) else 0
            self.next = next(self.links, None)
        return many, shards


class Drawing:
    """Draws what can be reached; a block that was drawn before is marked, and what it holds is not drawn again.

    Args:
        store: where blocks come from.
        marks: ``UNICODE`` or ``ASCII``.
        depth: levels to draw, None for all.
        limit: entries of a directory to draw.
    """

    def __init__(self, store: Blockstore, marks: Marks, *, depth: int | None, limit: int) -> None:
        self._store, self._marks, self._limit = store, marks, limit
        self._depth = MAX_DEPTH if depth is None else min(depth, MAX_DEPTH)
        self._drawn: set[CID] = set()
        self.damaged = False
        """Whether a block was not what its CID or its codec demands."""
        self.lacks_blocks = False
        """Whether one was not there, or not where the index has it."""

    def rows(self, root: CID, entry: Entry) -> Iterator[Row]:
        """The rows for ``entry``, below ``root``, and everything below it."""
        label = f"{root}/{entry.path}" if entry.path else str(root)
        row, links = self._draw(label, entry.cid, entry.path)
        yield row
        stack = [_Level(links, "", entry.path)]
        while stack:
            level = stack[-1]
            if level.shown == self._limit and level.next is not None:
                yield self._folded(level)
            link = level.take()
            if link is None:
                stack.pop()
                continue
            is_last = level.next is None
            row, links = self._row_of(link, level.path)
            yield row._replace(text=f"{level.indent}{self._marks.last if is_last else self._marks.fork}{row.text}")
            if len(stack) < self._depth:
                indent = level.indent + (self._marks.gap if is_last else self._marks.line)
                stack.append(_Level(links, indent, row.path))

    def _folded(self, level: _Level) -> Row:
        many, shards = level.count()
        text = f"{self._marks.more} {many:,} more" + (f", {_parts(shards)} missing" if shards else "")
        return Row(level.indent + self._marks.last + color.paint(text, "dim"), level.path, kind="more", size=many)

    def _row_of(self, link: Found, base: str) -> tuple[Row, Iterator[Found]]:
        if isinstance(link, CarError):
            return self._damaged("", link, None, base), iter(())
        if isinstance(link, int):
            return self._missing(
                f"{link:,} {'part' if link == 1 else 'parts'} of the directory", None, base
            ), iter(())
        return self._draw(link.name, link.cid, f"{base}/{link.name}" if base else link.name)

    def _draw(self, name: str, cid: CID, path: str) -> tuple[Row, Iterator[Found]]:
        try:
            entry, size, links = self._look_at(cid)
        except BlockNotFoundError:
            return self._missing(name, cid, path), iter(())
        except CarError as error:
            return self._damaged(f"{name}  ", error, cid, path), iter(())
        again = cid in self._drawn
        self._drawn.add(cid)
        row = Row(self._text(name, entry, size, again=again), path, cid, entry.kind, size, again)
        return row, iter(()) if again else links

    def _missing(self, name: str, cid: CID | None, path: str) -> Row:
        self.lacks_blocks = True
        text = f"{folders.shown(name)}  {color.paint(self._marks.missing, 'error')}"
        return Row(text, path, cid, "missing")

    def _damaged(self, name: str, error: CarError, cid: CID | None, path: str) -> Row:
        self.damaged = True
        self.lacks_blocks |= isinstance(error, IndexMismatchError)
        why = f"{self._marks.damaged} {folders.shown(str(error))}"
        return Row(folders.shown(name) + color.paint(why, "error"), path, cid, "damaged")

    def _text(self, name: str, entry: Entry, size: int | None, *, again: bool) -> str:
        text = folders.shown(name)
        if entry.kind == "directory":
            text = color.paint(f"{text}/", "name")
        elif entry.target is not None:
            text += f" -> {folders.shown(entry.target)}"
        about = [] if size is None else [progress.amount(size, "B")]
        about += [entry.cid.codec_name, self._marks.again] if again else [entry.cid.codec_name]
        return f"{text}  {color.paint('  '.join(about), 'dim')}"

    def _look_at(self, cid: CID) -> tuple[Entry, int | None, Iterator[Found]]:
        """What the block is, how large, and what it leads to."""
        entry = resolve(self._store, cid)
        if entry.kind == "directory":
            return entry, None, _links_of_directory(self._store, cid)
        if entry.kind == "unknown":
            block = self._store[cid]
            return entry, len(block), _links_of_block(cid, block)
        if entry.kind == "file" and entry.size is None:
            return entry, self._store.size_of(cid), iter(())
        return entry, entry.size, iter(())


def _parts(count: int) -> str:
    return "1 part of the directory" if count == 1 else f"{count:,} parts of the directory"


def _links_of_directory(store: Blockstore, cid: CID) -> Iterator[Found]:
    missing = 0

    def on_missing(_: Missing) -> None:
        nonlocal missing
        missing += 1

    try:
        yield from list_links(store, cid, on_missing=on_missing)
    except CarError as error:
        yield error
    if missing:
        yield missing


def _links_of_block(cid: CID, block: bytes) -> Iterator[Found]:
    """The links of a block that is no UnixFS, by their CIDs."""
    try:
        found = codec.links(cid, block)
    except UnknownCodecError:
        return
    except CodecError as error:
        yield error
        return
    for link in found:
        yield Link(str(link), link, None)
