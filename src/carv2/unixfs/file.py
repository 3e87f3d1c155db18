"""Reading files: all of the payload or a range of it, from a raw block or a tree of any depth.

Only blocks of which the range has a byte are read. What a node declares is checked against what is there: as many
block sizes as links, a ``filesize`` that is their sum, and children that are as large as their parent says.

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, RAW
from carv2.errors import BudgetError
from carv2.unixfs._node import codec_of, key_of, parse
from carv2.unixfs._walk import Want, finish, run
from carv2.unixfs.data import DIRECTORY, HAMT, SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import NoReturn

    from carv2.cid import CIDLike
    from carv2.unixfs._node import Node
    from carv2.unixfs._walk import Store, Walk

    from _typeshed import WriteableBuffer  # isort: skip

__all__ = ["open_file", "read"]

MAX_DEPTH = 64
"""Nodes above a leaf. A tree that grows by two at each level holds 2**64 leaves then; deeper ones are chains."""

MAX_SIZE = (1 << 63) - 1
"""Bytes of payload: what positions in files are counted with, here and elsewhere, goes no further."""

_NAMES = {DIRECTORY: "a directory", HAMT: "a directory", SYMLINK: "a symlink"}

_LEAF = 2 << 20
"""Bytes of payload below a node that may be a leaf: blocks are at most that large on public networks."""

_AHEAD = 8 << 20
"""Bytes of payload that are asked for at once."""


def read(store: Store, cid: CIDLike, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    r"""The payload of the file ``cid`` from byte ``start`` up to, not including, ``stop``, piece by piece.

    Both are taken as in a slice: negative ones count from the end, and there is nothing wrong with a range that
    reaches over it. Pieces are as large as the blocks that hold them. Memory: some megabytes, whatever the size.

    Raises:
        BlockNotFoundError: a block of the range is missing; pieces before it were given.
        UnixFSError: it is no file, its parts are not as large as they are declared, or it declares 2**63 bytes
            or more.
        BudgetError: the tree is deeper than 64 nodes.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> cid = CID.of_data(b"lobster")
    >>> list(read(MemoryBlockstore([(cid, b"lobster")]), cid, 3, -1))
    [b'ste']
    """
    return run(store, walk_file(bytes(CID.of(cid)), start, stop))


def open_file(store: Store, cid: CIDLike) -> io.BufferedReader:
    r"""The file ``cid`` as a binary file that can seek. Closing it leaves the store open.

    Raises:
        BlockNotFoundError: its root block is missing; others are noticed when they are read.
        UnixFSError: it is no file, or declares 2**63 bytes or more.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> cid = CID.of_data(b"lobster")
    >>> with open_file(MemoryBlockstore([(cid, b"lobster")]), cid) as file:
    ...     file.seek(3), file.read(2)
    (3, b'st')
    """
    return io.BufferedReader(_Reader(store, bytes(CID.of(cid))))


# -- the walk -----------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A child of a node, and which bytes of the file it should hold."""

    cid: bytes
    start: int
    size: int
    ahead: Sequence[bytes]
    """Its neighbours, as far as they will be wanted right after it."""


def walk_file(cid_bytes: bytes, start: int = 0, stop: int | None = None) -> Walk[bytes, None]:
    """The pieces of a file's payload, from ``start`` to ``stop`` as in a slice."""
    node = parse(cid_bytes, (yield Want(cid_bytes)))
    yield from walk_payload(node, start, stop)


def walk_payload(
    node: Node, start: int = 0, stop: int | None = None, *, path: str = "", depth: int = 0, once: bool = False
) -> Walk[bytes, None]:
    """The pieces of the payload of the file that ``node`` is the root of.

    Args:
        node: the file's root.
        start: of the range, as in a slice.
        stop: the same.
        path: of the file, for the wants.
        depth: links from the walk's root to the file's.
        once: pass over what was gone through before, so that each block is wanted once; only those above the ends
            of the range may be wanted again. The pieces are then no file.
    """
    size = size_of(node)
    start, stop, _ = slice(start, stop).indices(size)
    seen: set[tuple[bytes, int]] = set()
    stack: list[Iterator[_Part]] = []
    part: _Part | None = _Part(node.cid_bytes, 0, size, ())
    while part is not None:
        if piece := _cut(node.data.data or b"", part.start, start, stop):
            yield piece
        if node.links:
            if len(stack) == MAX_DEPTH:
                raise BudgetError("nodes above each other in a file", allowed=MAX_DEPTH)
            stack.append(_parts_of(node, part.start, start, stop))
        if once and (not node.links or (start <= part.start and part.start + part.size <= stop)):
            seen.add((key_of(part.cid), part.size))
        part = _next_part(stack, seen)
        if part is not None:
            node = parse(part.cid, (yield Want(part.cid, path, depth + len(stack), part.ahead)))
            if size_of(node) != part.size:
                raise node.broken(f"{part.size} bytes of payload declared, {size_of(node)} found")


def size_of(node: Node) -> int:
    """Bytes of payload of a file's node and all below it, as the node declares them.

    Raises:
        UnixFSError: it is no file, it contradicts itself, or says that there are 2**63 bytes or more.
    """
    data = node.data
    if not node.is_file:
        raise node.broken(f"{_NAMES.get(data.type, 'metadata')}, where a file is wanted")
    if len(data.blocksizes) != len(node.links):
        raise node.broken(f"{len(data.blocksizes)} block sizes for {len(node.links)} links")
    size = len(data.data or b"") + sum(data.blocksizes)
    if data.filesize is not None and data.filesize != size:
        raise node.broken(f"{data.filesize} bytes of payload declared, parts of {size}")
    if size > MAX_SIZE:
        raise node.broken(f"{size} bytes of payload declared, limit {MAX_SIZE}")
    return size


def _parts_of(node: Node, at: int, start: int, stop: int) -> Iterator[_Part]:
    """The children of which the range from ``start`` to ``stop`` has a byte; the node's own first is ``at``."""
    at += len(node.data.data or b"")
    parts: list[_Part] = []
    for link, size in zip(node.links, node.data.blocksizes, strict=True):
        if size and start < stop and at < stop and at + size > start:
            parts.append(_Part(link.cid, at, size, ()))
        at += size
    return _with_neighbours(parts)


def _with_neighbours(parts: list[_Part]) -> Iterator[_Part]:
    """The parts; those that may be leaves come in runs, of which the first one knows the others."""
    first = 0
    while first < len(parts):
        end, room = first + 1, _AHEAD - parts[first].size
        while end < len(parts) and _may_be_leaf(parts[end - 1]) and parts[end].size <= room:
            room -= parts[end].size
            end += 1
        yield parts[first]._replace(ahead=[part.cid for part in parts[first + 1 : end]])
        yield from parts[first + 1 : end]
        first = end


def _may_be_leaf(part: _Part) -> bool:
    return part.size <= _LEAF or codec_of(part.cid) == RAW


def _next_part(stack: list[Iterator[_Part]], seen: set[tuple[bytes, int]]) -> _Part | None:
    """The next part on the way through the tree that was not seen before."""
    while stack:
        part = next(stack[-1], None)
        if part is None:
            stack.pop()
        elif not seen or (key_of(part.cid), part.size) not in seen:
            return part
    return None


def _cut(data: bytes, at: int, start: int, stop: int) -> bytes:
    """What of ``data``, which stand at byte ``at`` of the file, is in the range."""
    if start <= at and at + len(data) <= stop:
        return data
    return data[max(start - at, 0) : max(stop - at, 0)]


# -- as a binary file ---------------------------------------------------------------------------------------


class _Reader(io.RawIOBase):
    """A cursor over :func:`walk_file`, which begins anew after each seek."""

    def __init__(self, store: Store, cid_bytes: bytes) -> None:
        self._store, self._cid = _NodeMemory(store), cid_bytes
        self._size = finish(self._store, _walk_size(cid_bytes))
        self._position = 0
        self._pieces: Iterator[bytes] | None = None
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence)
        if base is None:
            raise ValueError(f"whence {whence}, allowed: 0, 1, 2")
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        if base + offset != self._position:
            self._position, self._pieces, self._piece = base + offset, None, memoryview(b"")
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if not self._piece:
            if self._pieces is None:
                self._pieces = run(self._store, walk_file(self._cid, self._position))
            self._piece = memoryview(next(self._pieces, b""))
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._piece))
        target[:size], self._piece = self._piece[:size], self._piece[size:]
        self._position += size
        return size


def _walk_size(cid_bytes: bytes) -> Walk[NoReturn, int]:
    return size_of(parse(cid_bytes, (yield Want(cid_bytes))))


class _NodeMemory:
    """A store that remembers the last few blocks that are no payload: each seek goes down from the root."""

    _KEPT, _LARGEST = 16, 256 << 10

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nodes: dict[CID, bytes] = {}
        self._get_many = getattr(store, "get_many", None)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        data = self._nodes.pop(wanted, None)
        if data is None:
            data = self._store[wanted]
        if wanted.codec != RAW and len(data) <= self._LARGEST:
            self._nodes[wanted] = data
            if len(self._nodes) > self._KEPT:
                del self._nodes[next(iter(self._nodes))]
        return data

    def get_many(self, cids: Iterable[CID], /) -> Iterator[tuple[bytes, bytes]]:
        """The blocks of all ``cids``; payload is read ahead, nodes come one by one."""
        wanted = list(cids)
        if self._get_many is not None and all(cid.codec == RAW for cid in wanted):
            yield from self._get_many(wanted)
        else:
            for cid in wanted:
                yield bytes(cid), self[cid]
