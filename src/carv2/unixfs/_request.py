"""What a trustless gateway sends in answer to a request, as a walk that wants block after block.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/): the blocks
along the path, then those of the scope at its end, depth-first in the order of links.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, DAG_PB, RAW
from carv2.codec import links_of
from carv2.codec.dag_pb import decode
from carv2.errors import BlockNotFoundError, BudgetError, CodecError, UnixFSError
from carv2.unixfs import data as unixfs_data
from carv2.unixfs._hamt_bits import bits_of, prefix_size
from carv2.unixfs._node import codec_of, key_of, parse
from carv2.unixfs._walk import Want
from carv2.unixfs.directory import walk_links
from carv2.unixfs.file import walk_payload
from carv2.unixfs.path import walk_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, NoReturn, TypeAlias

    from carv2.codec.dag_pb import PBNode
    from carv2.unixfs._walk import Walk
    from carv2.unixfs.path import Target

    Scope: TypeAlias = Literal["all", "entity", "block"]
    Span: TypeAlias = tuple[int, int | None]
    ByteRange: TypeAlias = tuple[int, int | None]

MAX_DEPTH = 1024
"""Links from the root. Source: boxo's limit for a gateway's walk."""

MAX_WAITING = 1 << 20
"""Links that are known and not gone to yet."""

_AHEAD, _AHEAD_BYTES = 64, 4 << 20
"""Raw blocks next to each other that are asked for at once, and bytes of them, by the word of their links."""

_USUAL = 256 << 10
"""Bytes of a raw block of which no link says how large it is."""


class _Child(NamedTuple):
    """A link of a block."""

    cid: bytes
    path: str
    """Of the file or directory that it is part of."""
    size: int = _USUAL
    """Tsize."""


def span_of(byte_range: ByteRange | None) -> Span:
    """First and last byte, as ``entity-bytes`` has them, as a slice.

    Raises:
        ValueError: the range ends before it starts.
    """
    if byte_range is None:
        return 0, None
    first, last = byte_range
    if last is not None and (first < 0) == (last < 0) and last < first:
        raise ValueError(f"the byte range {first}:{last} ends before it starts")
    return first, None if last is None or last == -1 else last + 1


def walk_request(
    root: bytes, names: tuple[str, ...], scope: Scope, span: Span, *, once: bool
) -> Walk[object, None]:
    """Want what the answer to a request consists of, in its order.

    Args:
        root: binary CID that the request names.
        names: of the path behind it.
        scope: the whole DAG at the path's end, or what it takes to read the file or list the directory there, or
            one block.
        span: of a file, as a slice; for the scope ``entity``.
        once: want each block once, as of an answer without duplicates.
    """
    target = yield from walk_path(root, names)
    path = "/".join(names)
    if target.block is not None and not once:
        yield from _maybe_again(target, path)
    if scope == "all":
        yield from _walk_all(target, path, once=once)
    elif target.block is None:
        block = yield Want(target.cid_bytes, path, target.depth)
        if scope == "entity":
            yield from _walk_entity(target, block, path, span, once=once)


def _maybe_again(target: Target, path: str) -> Walk[NoReturn, None]:
    """The block that a path ends in: boxo's gateway sends it for the path, and again for the scope."""
    with contextlib.suppress(BlockNotFoundError):
        yield Want(target.cid_bytes, path, target.depth, optional=True)


def _walk_entity(target: Target, block: bytes, path: str, span: Span, *, once: bool) -> Walk[object, None]:
    if codec_of(target.cid_bytes) != DAG_PB:
        return
    try:
        node = parse(target.cid_bytes, block)
    except UnixFSError:  # dag-pb without UnixFS is one block, as other codecs are
        return
    if node.is_file:
        yield from walk_payload(node, *span, path=path, depth=target.depth, once=once)
    elif node.is_directory:
        yield from walk_links(node, path=path, depth=target.depth)


def _walk_all(target: Target, path: str, *, once: bool) -> Walk[NoReturn, None]:
    seen: set[bytes] = set()
    start = (
        [_Child(target.cid_bytes, path)]
        if target.block is None
        else _children(target.cid_bytes, target.block, path)
    )
    stack = [_in_runs(start, seen)]
    depth = target.depth - (target.block is None)
    waiting = [len(start)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
            waiting.pop()
            continue
        (cid_bytes, path, _), ahead = child
        if once:
            if key_of(cid_bytes) in seen:
                continue
            seen.add(key_of(cid_bytes))
        block = yield Want(cid_bytes, path, depth + len(stack), ahead)
        if links := _children(cid_bytes, block, path):
            if depth + len(stack) >= MAX_DEPTH:
                raise BudgetError("blocks below each other", allowed=MAX_DEPTH)
            waiting.append(len(links))
            if sum(waiting) > MAX_WAITING:
                raise BudgetError("links that wait for their blocks", allowed=MAX_WAITING)
            stack.append(_in_runs(links, seen))


def _in_runs(children: list[_Child], seen: set[bytes]) -> Iterator[tuple[_Child, list[bytes]]]:
    """The children; the first of a run of raw blocks with its neighbours, but for those that are not wanted."""
    first = 0
    while first < len(children):
        end, room = first + 1, _AHEAD_BYTES - children[first].size
        if codec_of(children[first].cid) == RAW:
            while (
                end < len(children)
                and end - first < _AHEAD
                and codec_of(children[end].cid) == RAW
                and children[end].size <= room
            ):
                room -= children[end].size
                end += 1
        ahead = [child.cid for child in children[first + 1 : end]]
        if seen:  # of a walk that wants each block once
            ahead = [cid for cid in dict.fromkeys(ahead) if cid not in seen and cid != children[first].cid]
        yield children[first], ahead
        for child in children[first + 1 : end]:
            yield child, []
        first = end


def _children(cid_bytes: bytes, block: bytes, path: str) -> list[_Child]:
    """The links of a block, and the path that each of them stands for."""
    codec = codec_of(cid_bytes)
    if codec == RAW:
        return []
    if codec != DAG_PB:
        return [_Child(found, path) for found in links_of(cid_bytes, block)]
    try:
        node = decode(block)
    except CodecError as error:
        error.cid = error.cid or CID.trusted(cid_bytes)
        raise
    skipped = _prefix_size_in(node)
    return [
        _Child(link.cid, _joined(path, (link.name or "")[skipped:]), _USUAL if link.size is None else link.size)
        for link in node.links
    ]


def _prefix_size_in(node: PBNode) -> int:
    """Characters of a link's name that are no part of an entry's; nothing depends on it but what is shown."""
    try:
        data = unixfs_data.decode(node.data or b"")
    except UnixFSError:
        return 0
    bits = bits_of(data.fanout)
    return prefix_size(bits) if data.type == unixfs_data.HAMT and bits else 0


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name
