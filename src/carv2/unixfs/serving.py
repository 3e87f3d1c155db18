"""What a trustless gateway sends: the blocks of a request, out of a store, in the order of the answer.

The other side of :mod:`carv2.unixfs.stream`, on the same walk: what :func:`request_blocks` gives is what
:func:`carv2.unixfs.verify_stream` demands.

Source: the Trustless Gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, RAW
from carv2.errors import BlockNotFoundError
from carv2.unixfs._node import codec_of, key_of
from carv2.unixfs._request import span_of, walk_request
from carv2.unixfs._walk import Fetcher, Want, inline
from carv2.unixfs.path import names_of, walk_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.cid import CIDLike
    from carv2.unixfs._request import ByteRange, Scope
    from carv2.unixfs._walk import Store, Walk

__all__ = ["RequestedBlock", "path_roots", "request_blocks"]


class RequestedBlock(NamedTuple):
    """A block of an answer."""

    cid_bytes: bytes
    """Its binary CID, as the DAG links to it."""
    data: bytes
    depth: int
    """Links between the root that was asked for and the block."""
    path: str
    """Of the file or directory that it is part of, from that root."""

    @property
    def cid(self) -> CID:
        """The CID as an object."""
        return CID.trusted(self.cid_bytes)


def request_blocks(
    store: Store,
    root: CIDLike,
    path: str = "",
    *,
    scope: Scope = "all",
    byte_range: ByteRange | None = None,
    dups: bool = False,
) -> Iterator[RequestedBlock]:
    """The blocks that answer a request to a trustless gateway, depth-first: along the path, then the scope's.

    Identity CIDs are no blocks of an answer. Memory: the links on the way to a block, and without ``dups`` around
    150 bytes for each block that was given. A block that is linked to by several codecs is a block of each.

    Args:
        store: where the blocks come from. It is trusted to give the right data, as those of carv2 do.
        root: the CID of the request.
        path: the path behind it, not percent-encoded.
        scope: everything below the end of the path (``"all"``); or what it takes to read the file or list the
            directory there (``"entity"``); or its one block (``"block"``).
        byte_range: of a file, for the scope ``"entity"``: first and last byte, negative ones counted from the end,
            None for the end. A range that has no byte of the file gives the file's root block.
        dups: give a block again wherever the walk finds it again. A small DAG can have a great many ways through
            it: take no more than you can afford.

    Raises:
        BlockNotFoundError: the store does not have a block; those before it were given.
        PathNotFoundError: there is nothing at the path; blocks that prove it were given.
        BudgetError: the DAG is deeper than 1024 links.
        CodecError, UnknownCodecError: a block, which was given, cannot be taken apart.
        ValueError: the path leads out of its root, or the range ends before it starts.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> fish = CID.of_data(b"fish")
    >>> [block.data for block in request_blocks(MemoryBlockstore([(fish, b"fish")]), fish)]
    [b'fish']
    """
    walk = walk_request(bytes(CID.of(root)), names_of(path), scope, span_of(byte_range), once=not dups)
    return _blocks(walk, Fetcher(store), again=dups or scope == "all")  # where each is wanted once, or as often


def _blocks(walk: Walk[object, None], fetch: Fetcher, *, again: bool) -> Iterator[RequestedBlock]:
    """The blocks that a walk wants; without ``again``, nodes that it comes back to are not given once more."""
    given: set[bytes] = set()
    answer: bytes | BlockNotFoundError | None = None
    while (want := _next_want(walk, answer)) is not None:
        if want.optional:
            answer = BlockNotFoundError(CID.trusted(want.cid))
            continue
        answer = fetched(fetch, want)
        if inline(want.cid) is not None:
            continue
        if not again and codec_of(want.cid) != RAW:
            key = key_of(want.cid)
            if key in given:
                continue
            given.add(key)
        yield RequestedBlock(want.cid, answer, want.depth, want.path)


def _next_want(walk: Walk[object, None], answer: bytes | BlockNotFoundError | None) -> Want | None:
    """What the walk wants when it is told ``answer``; None at its end."""
    try:
        if answer is None:
            item: object = next(walk)
        else:
            item = walk.send(answer) if isinstance(answer, bytes) else walk.throw(answer)
        while not isinstance(item, Want):
            item = next(walk)
    except StopIteration:
        return None
    return item


def fetched(fetch: Fetcher, want: Want) -> bytes:
    """The block that is wanted; a store that is a plain mapping may raise any KeyError."""
    try:
        return fetch(want)
    except BlockNotFoundError:
        raise
    except KeyError:  # of a dict
        raise BlockNotFoundError(CID.trusted(want.cid)) from None


def path_roots(store: Store, root: CIDLike, path: str = "") -> tuple[CID, ...]:
    """The CID of each thing along a path, ``root`` the first and what is at its end the last.

    Of a sharded directory that is its root, as a gateway's ``X-Ipfs-Roots`` has it. The block at the end is not
    read, and need not be there.

    Raises:
        BlockNotFoundError: a block on the way is missing.
        PathNotFoundError: there is nothing at the path.
        CodecError, UnknownCodecError: a block on the way cannot be taken apart.
        ValueError: the path leads out of its root.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> path_roots(MemoryBlockstore(), "bafkqaaa")
    (CID('bafkqaaa'),)
    """
    found: dict[str, bytes] = {}
    names = names_of(path)
    walk, fetch = walk_path(bytes(CID.of(root)), names), Fetcher(store)
    try:
        want: Want = next(walk)
        while True:
            found.setdefault(want.path, want.cid)
            want = walk.send(fetched(fetch, want))
    except StopIteration as end:
        found.setdefault("/".join(names), end.value.cid_bytes)
    return tuple(map(CID.trusted, dict.fromkeys(found.values())))
