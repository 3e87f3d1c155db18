"""Blocks of a slow store, kept in memory for the next who asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID
from carv2.errors import ClosedError, ReadOnlyError, UnknownHashError
from carv2.section import Block, BlockChecker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from carv2.blockstore.protocols import Blockstore, WritableBlockstore
    from carv2.cid import CIDLike

__all__ = ["CachingBlockstore"]

_AT_ONCE = 512
"""Blocks that are looked for in memory before the store is asked for the rest."""

_ENTRY = 176
"""Measured: bytes that a block takes in memory besides its data and its CID."""


class CachingBlockstore(ReadsOneByOne):
    """A store with the blocks that were asked for last kept in memory. Threads may share it.

    What is kept was checked against its hash, whatever the store does; a block whose hash function is not
    available is passed on and not kept. A block is kept under the CID that it was asked for by. Identity CIDs
    are left to the store. Two threads that miss the same block at once both read it.

    What was kept is given also when the store has lost it since. Around a :class:`UnionBlockstore` rather than
    inside one, it leaves the union its way of merging reads.

    Args:
        store: where blocks come from, and go to; closed with this one.
        max_bytes: memory that kept blocks may take, with some 176 bytes each for what keeping takes; a block
            that is larger is not kept.
        verify: check each block before it is kept; False saves hashing twice where the store does that already,
            as carv2's own do unless told not to.

    Raises:
        ValueError: ``max_bytes`` is negative.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> cid = CID.of_data(b"fish")
    >>> store = CachingBlockstore(MemoryBlockstore([(cid, b"fish")]), max_bytes=1 << 20)
    >>> store[cid], store[cid], store.hits, store.misses
    (b'fish', b'fish', 1, 1)
    """

    def __init__(self, store: Blockstore, *, max_bytes: int = 64 << 20, verify: bool = True) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be >= 0, got {max_bytes}")
        self.store = store
        """What is cached."""
        self.hits = 0
        """Blocks that were given from memory."""
        self.misses = 0
        """Blocks that the store was asked for."""
        self.kept_bytes = 0
        """Memory that kept blocks take."""
        self._max_bytes = max_bytes
        self._checker = BlockChecker() if verify else None
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._closed = False

    def _open_store(self) -> Blockstore:
        if self._closed:
            raise ClosedError("the blockstore was closed")
        return self.store

    def _kept_data(self, cid: CID) -> bytes | None:
        with self._lock:
            self._open_store()
            data = self._kept.get(bytes(cid))
            if data is None:
                self.misses += 1
                return None
            self._kept.move_to_end(bytes(cid))
            self.hits += 1
            return data

    def _keep(self, cid: CID, data: bytes) -> bytes:
        """``data``, checked, and kept if they can be."""
        cost = _cost(bytes(cid), data)
        if cid.is_identity or cost > self._max_bytes or not self._is_checked(cid, data):
            return data
        with self._lock:
            if self._closed or bytes(cid) in self._kept:
                return data
            self._kept[bytes(cid)] = data
            self.kept_bytes += cost
            while self.kept_bytes > self._max_bytes:
                self.kept_bytes -= _cost(*self._kept.popitem(last=False))
        return data

    def _is_checked(self, cid: CID, data: bytes) -> bool:
        if self._checker is not None:
            try:
                self._checker.check(bytes(cid), data, position=0)
            except UnknownHashError:
                return False
        return True

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        data = self._kept_data(wanted)
        return self._keep(wanted, self.store[wanted]) if data is None else data

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block; neither a hit nor a miss."""
        wanted = CID.of(cid)
        with self._lock:
            data = self._kept.get(bytes(wanted))
        return self._open_store().size_of(wanted) if data is None else len(data)

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; the store is asked at once for all of some hundred it misses.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
        """
        pending = map(CID.of, cids)
        while group := list(islice(pending, _AT_ONCE)):
            held = [self._kept_data(cid) for cid in group]
            missed = self.store.get_many([cid for cid, data in zip(group, held, strict=True) if data is None])
            for cid, data in zip(group, held, strict=True):
                yield Block(cid, self._keep(cid, next(missed).data) if data is None else data)

    def __iter__(self) -> Iterator[CID]:
        return iter(self._open_store())

    def __len__(self) -> int:
        return len(self._open_store())

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Put into the store itself; whether it was new. It is kept in memory when it is asked for.

        Raises:
            ReadOnlyError: the store takes nothing.
        """
        return self._writable().put(cid, data)

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]], /) -> int:
        """The same for many; how many were new."""
        return self._writable().put_many(blocks)

    def _writable(self) -> WritableBlockstore:
        if not hasattr(self._open_store(), "put"):
            raise ReadOnlyError("the blockstore is for reading only")
        return cast("WritableBlockstore", self.store)

    def flush(self) -> None:
        """That of the store, if it has one."""
        getattr(self._open_store(), "flush", _nothing)()

    def finalize(self, *args: Any, **options: Any) -> None:
        """That of the store, if it has one."""
        getattr(self._open_store(), "finalize", _nothing)(*args, **options)

    def discard(self) -> None:
        """That of the store; one without is closed."""
        self._forget()
        getattr(self.store, "discard", self.store.close)()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the store as its own ``with`` would: a read-write one is finalized on success."""
        self._forget()
        leave = getattr(self.store, "__exit__", None)
        if leave is None:
            self.store.close()
        else:
            leave(kind, error, trace)

    def close(self) -> None:
        """Forget what is kept and close the store; may be called twice."""
        self._forget()
        self.store.close()

    def _forget(self) -> None:
        with self._lock:
            self._closed = True
            self._kept.clear()
            self.kept_bytes = 0


def _nothing(*_args: object, **_options: object) -> None:
    """What a store without states does to make them."""


def _cost(cid: bytes, data: bytes) -> int:
    return _ENTRY + len(cid) + len(data)
