"""What a store lacks of a request, found out by walking over what it has.

Both walks here go on while the store is filled: whoever is told of a block sees to it that it is there before the
next one is asked for. So what is under way takes the memory of the links along one path of the DAG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from carv2.cid import CID, DAG_PB, RAW
from carv2.codec import links_of
from carv2.dag.walking import MAX_DEPTH
from carv2.errors import BudgetError, UnixFSError
from carv2.ipfs._ask import Ask
from carv2.unixfs._node import codec_of, key_of, parse
from carv2.unixfs._request import walk_request
from carv2.unixfs._walk import Want, inline
from carv2.unixfs.path import walk_path

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from carv2.cid import CIDLike
    from carv2.unixfs._walk import Walk
    from carv2.unixfs.path import Target


class Store(Protocol):
    """Where blocks are put: what a fetch needs of :class:`carv2.blockstore.WritableBlockstore`."""

    def __getitem__(self, cid: CIDLike, /) -> bytes: ...

    def __contains__(self, cid: object, /) -> bool: ...

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block; whether it was new."""
        ...


def questions(request: Ask, store: Store, *, as_cars: bool) -> Iterator[Ask]:
    """What has to be asked for still, one question after the other; none if all is there.

    A request of which nothing is there is one question. Otherwise the DAGs below missing blocks are asked for,
    where all below them is wanted, and single blocks elsewhere, or if ``as_cars`` is not set.

    Raises:
        PathNotFoundError: the blocks that are there prove that there is nothing at the path.
        CodecError, UnknownCodecError, BudgetError: the DAG cannot be followed.
    """
    if not as_cars:
        yield from _single_blocks(request, store)
    elif not _has(store, bytes(request.root)):
        yield request
    else:
        target = yield from _along_path(request, store)
        if request.scope == "all" or _is_whole_file(request, store, target):
            yield from _dags(target.cid_bytes, store)
        else:
            yield from _single_blocks(request, store)


def wanted(request: Ask, store: Store) -> Iterator[tuple[bytes, bool]]:
    """The binary CID of each block of a request, in the order of the walk, and whether it is there.

    Identity CIDs are no blocks. A block above the ends of a byte range may come again.
    """
    names, payload_matters = request.names, request.scope != "all" or bool(request.names)
    walk = walk_request(bytes(request.root), names, request.scope, request.span, once=True)
    for want in _wants(walk):
        cid = want.item.cid
        data = inline(cid)
        if data is None:
            yield cid, CID.trusted(cid) in store
            # leaves have no links: reading all of them is spared where nothing looks into them
            data = store[CID.trusted(cid)] if payload_matters or codec_of(cid) != RAW else b""
        want.answer = data


class _Asked:
    """A want of a walk, to be answered before the next one is taken."""

    def __init__(self, item: Want) -> None:
        self.item, self.answer = item, b""


def _wants(walk: Walk[Any, Any]) -> Iterator[_Asked]:
    try:
        item = next(walk)
        while True:
            if isinstance(item, Want):
                asked = _Asked(item)
                yield asked
                item = walk.send(asked.answer)
            else:
                item = next(walk)
    except StopIteration:
        return


def _single_blocks(request: Ask, store: Store) -> Iterator[Ask]:
    for cid, is_there in wanted(request, store):
        if not is_there:
            yield Ask(CID.trusted(cid), scope="block")


def _along_path(request: Ask, store: Store) -> Generator[Ask, None, Target]:
    """Ask for what is missing of the way to the path's end, and for its first block; return that end."""
    walk = walk_path(bytes(request.root), request.names)
    try:
        want: Want = next(walk)
        while True:
            want = walk.send((yield from _one(want.cid, store)))
    except StopIteration as end:
        target: Target = end.value
    if request.scope != "all":
        yield from _one(target.cid_bytes, store)
    return target


def _one(cid: bytes, store: Store) -> Generator[Ask, None, bytes]:
    """A block, which is asked for first if it is missing."""
    data = inline(cid)
    if data is not None:
        return data
    if CID.trusted(cid) not in store:
        yield Ask(CID.trusted(cid), scope="block")
    return store[CID.trusted(cid)]


def _is_whole_file(request: Ask, store: Store, target: Target) -> bool:
    """Whether the request is for all of a UnixFS file, of which each block below is wanted."""
    if request.scope != "entity" or request.byte_range is not None or target.block is not None:
        return False
    if codec_of(target.cid_bytes) != DAG_PB:
        return False
    inlined = inline(target.cid_bytes)
    data = store[CID.trusted(target.cid_bytes)] if inlined is None else inlined
    try:
        node = parse(target.cid_bytes, data)
    except UnixFSError:
        return False
    return node.is_file and not node.data.data and all(node.data.blocksizes)


def _dags(top: bytes, store: Store) -> Iterator[Ask]:
    """The missing blocks below which all is wanted, from ``top`` down, depth-first."""
    seen: set[bytes] = set()
    levels = [[top]]
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        cid = levels[-1].pop()
        if key_of(cid) in seen:
            continue
        seen.add(key_of(cid))
        if not _has(store, cid):
            yield Ask(CID.trusted(cid))  # with all that is below it
        elif codec_of(cid) != RAW:
            if len(levels) > MAX_DEPTH:
                raise BudgetError("blocks below each other", allowed=MAX_DEPTH)
            data = inline(cid)
            levels.append(links_of(cid, store[CID.trusted(cid)] if data is None else data)[::-1])


def _has(store: Store, cid: bytes) -> bool:
    return inline(cid) is not None or CID.trusted(cid) in store
