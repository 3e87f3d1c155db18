"""How the walks over UnixFS ask for blocks: generators that do no I/O.

A walk yields a :class:`Want` and is sent that block's data, or has :class:`carv2.BlockNotFoundError` thrown in;
whatever else it yields is a result. So one walk reads from a store (:func:`run`) and checks a response block by
block while it arrives (``carv2.unixfs.stream``).

Source: the UnixFS specification (https://specs.ipfs.tech/unixfs/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from carv2.cid import CID
from carv2.errors import BlockNotFoundError, UnixFSError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import TypeAlias

    from carv2.cid import CIDLike

    Result = TypeVar("Result")
    Return = TypeVar("Return")

    Walk: TypeAlias = Generator["Want | Result", bytes, Return]
    """Yields wants and results, is sent data for each want, returns something at its end."""

MAX_IDENTITY = 128
"""Bytes that an identity CID may hold. Source: the UnixFS specification, IPIP-0512."""

_LOOK_AHEAD = 256
"""Blocks that a store is asked for at a time."""


class Store(Protocol):
    """What blocks are read from: a mapping that raises BlockNotFoundError, or just KeyError."""

    def __getitem__(self, cid: CIDLike, /) -> bytes: ...


class Want(NamedTuple):
    """A walk's wish for one block."""

    cid: bytes
    """Its binary CID."""
    path: str = ""
    """Of the file or directory that it is part of, from the root of the walk."""
    depth: int = 0
    """Links between the root of the walk and it."""
    ahead: Sequence[bytes] = ()
    """Binary CIDs that are certainly wanted next, if this block is there."""
    optional: bool = False
    """Whether the walk goes on as well without it."""


class Missing(NamedTuple):
    """A block that a walk went on without."""

    path: str
    """Of the file or directory that the block is part of."""
    cid: CID
    shard: bool
    """Whether it is a part of a sharded directory: unknown entries of ``path`` are missing."""


def inline(cid_bytes: bytes) -> bytes | None:
    """The data that an identity CID holds; None of any other CID.

    Raises:
        UnixFSError: it holds more than UnixFS allows.
    """
    if cid_bytes[2:3] != b"\x00" and cid_bytes[1] < 128:
        return None
    cid = CID.trusted(cid_bytes)
    if not cid.is_identity:
        return None
    if len(cid.digest) > MAX_IDENTITY:
        why = f"an identity CID of {len(cid.digest)} bytes, limit {MAX_IDENTITY}"
        raise UnixFSError(why, position=0, cid=cid)
    return cid.digest


class Fetcher:
    """Answers a walk's wants from a store; blocks that are wanted next are read with ``get_many``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._get_many = getattr(store, "get_many", None)
        self._ahead: Iterator[tuple[bytes, bytes]] = iter(())
        self._expected: Iterator[bytes] = iter(())

    def __call__(self, want: Want) -> bytes:
        """The block's data.

        Raises:
            BlockNotFoundError: the store has no such block.
        """
        data = inline(want.cid)
        if data is not None:
            return data
        if want.ahead and self._get_many is not None:
            self._look_ahead([want.cid, *want.ahead])
        if next(self._expected, None) == want.cid and (block := next(self._ahead, None)) is not None:
            return block[1]
        self._expected = iter(())
        return self._store[CID.trusted(want.cid)]

    def _look_ahead(self, cids: list[bytes]) -> None:
        assert self._get_many is not None  # the caller looked
        found = [cid for cid in cids[:_LOOK_AHEAD] if inline(cid) is None]
        self._ahead = self._get_many(map(CID.trusted, found))
        self._expected = iter(found)


def run(store: Store, walk: Walk[Result, object]) -> Iterator[Result]:
    """Read what ``walk`` wants from ``store``; yield its results.

    Raises:
        BlockNotFoundError: the walk cannot go on without a block that the store has not.
    """
    fetch = Fetcher(store)
    try:
        item = next(walk)
        while True:
            if isinstance(item, Want):
                item = _answer(fetch, walk, item)
            else:
                yield item
                item = next(walk)
    except StopIteration:
        return


def finish(store: Store, walk: Walk[Result, Return]) -> Return:
    """Read what ``walk`` wants from ``store``; what it returns. Its results are dropped."""
    fetch = Fetcher(store)
    try:
        item = next(walk)
        while True:
            item = _answer(fetch, walk, item) if isinstance(item, Want) else next(walk)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _answer(fetch: Fetcher, walk: Walk[Result, object], want: Want) -> Want | Result:
    try:
        data = fetch(want)
    except BlockNotFoundError as error:
        return walk.throw(error)
    except KeyError:  # of a dict
        return walk.throw(BlockNotFoundError(CID.trusted(want.cid)))
    return walk.send(data)
