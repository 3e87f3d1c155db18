"""Many archives as one: the first store that has a block gives it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.blockstore._written import Written
from carv2.blockstore.read_only import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, CarError, ClosedError, ReadOnlyError
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    from carv2.blockstore.protocols import Blockstore
    from carv2.cid import CIDLike

__all__ = ["UnionBlockstore"]

_AT_ONCE = 512
"""Blocks that are dealt out to the stores before any is read."""

_Answer = TypeVar("_Answer")


class UnionBlockstore(ReadsOneByOne):
    """The blocks of many stores, read-only. Threads may share it, and add and remove stores while others read.

    Stores are asked in their order, and the first that has a block gives it. One that cannot (its index lies, its
    file is damaged at that block or cannot be read) is passed over; only if no other store has the block is its
    error raised, the name of the store in front of the text and as the attribute ``store``.

    Args:
        stores: what to begin with: stores, which are called "store 1", "store 2" and so on, or a mapping from
            the names that errors are to give them.
        close_stores: they belong to the union: closing it closes them, removing one closes it.
        max_memory: bytes that an iteration, or ``len``, may take to tell which blocks it has had, some 160 each;
            beyond half of it goes to temporary files.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> fish, cow = CID.of_data(b"fish"), CID.of_data(b"cow")
    >>> sea, land = MemoryBlockstore([(fish, b"fish")]), MemoryBlockstore([(fish, b"fish"), (cow, b"cow")])
    >>> store = UnionBlockstore({"sea": sea, "land": land})
    >>> store[cow], len(store)
    (b'cow', 2)
    >>> store.remove(land)
    >>> cow in store
    False
    """

    def __init__(
        self,
        stores: Mapping[str, Blockstore] | Iterable[Blockstore] = (),
        *,
        close_stores: bool = False,
        max_memory: int = 64 << 20,
    ) -> None:
        self._close_stores, self._max_memory = close_stores, max_memory
        self._lock = threading.Lock()  # for changes; readers take the tuple as it is
        self._stores: tuple[tuple[str, Blockstore], ...] = ()
        self._added = 0
        self._closed = False
        if isinstance(stores, Mapping):
            for name, store in cast("Mapping[str, Blockstore]", stores).items():
                self.add(store, name=name)
        else:
            for store in stores:
                self.add(store)

    @property
    def stores(self) -> tuple[Blockstore, ...]:
        """The stores, in the order that they are asked in."""
        return tuple(store for _, store in self._stores)

    def add(self, store: Blockstore, *, name: str | None = None, first: bool = False) -> None:
        """Ask ``store`` too: last, or before all others if ``first``.

        Raises:
            ValueError: it is one of the stores already.
            ClosedError: the union was closed; ``store`` stays open.
        """
        with self._lock:
            self._check_open()
            if any(store is other for other in self.stores):
                raise ValueError("the store is part of the union already")
            self._added += 1
            named = (name or f"store {self._added}", store)
            self._stores = (named, *self._stores) if first else (*self._stores, named)

    def remove(self, store: Blockstore) -> None:
        """No longer ask ``store``; close it, if stores belong to the union.

        Who is reading from it at that moment gets the block from another store, or it is not found.

        Raises:
            ValueError: it is none of the stores.
        """
        with self._lock:
            left = tuple(pair for pair in self._stores if pair[1] is not store)
            if len(left) == len(self._stores):
                raise ValueError("the store is not part of the union")
            self._stores = left
        if self._close_stores:
            store.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the blockstore was closed")

    def _has(self, store: Blockstore) -> bool:
        return any(store is other for other in self.stores)

    def _first(self, wanted: CID, ask: Callable[[Blockstore], _Answer]) -> _Answer:
        """The answer of the first store that has one; else the first error that is more than "not here"."""
        self._check_open()
        failed: CarError | OSError | None = None
        for name, store in self._stores:
            try:
                return ask(store)
            except BlockNotFoundError:
                continue
            except (CarError, OSError) as error:
                if failed is None and self._has(store):  # else it was removed meanwhile
                    failed = _named(error, name)
        self._check_open()
        raise failed or BlockNotFoundError(wanted)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        return self._first(wanted, lambda store: store[wanted])

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block."""
        wanted = CID.of(cid)
        return self._first(wanted, lambda store: store.size_of(wanted))

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order.

        Some hundred at a time are dealt out to the stores, each of which is handed its share at once, so that
        its reads merge. Who has what is asked of the indexes alone; what turns out otherwise is looked for in
        all stores, block by block. Each store that has a share may hold what it has read ahead.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
        """
        pending = map(CID.of, cids)
        while group := list(islice(pending, _AT_ONCE)):
            self._check_open()
            yield from self._deal(group)

    def _deal(self, group: list[CID]) -> Iterator[Block]:
        stores = self.stores
        owners = [next((at for at, store in enumerate(stores) if _may_have(store, cid)), -1) for cid in group]
        shares = {
            at: _share(stores[at], [cid for cid, owner in zip(group, owners, strict=True) if owner == at])
            for at in set(owners) - {-1}
        }
        for cid, owner in zip(group, owners, strict=True):
            block = None
            try:
                block = next(shares.get(owner, _NOTHING), None)
            except (CarError, OSError):  # the rest of its share, too, is looked for block by block
                del shares[owner]
            yield Block(cid, self[cid]) if block is None else block

    def __iter__(self) -> Iterator[CID]:
        """The CIDs in the order of the stores and of each store, one for each multihash.

        A store that is damaged ends the iteration with its error, which names it. Stores that are added
        meanwhile do not come; one that is removed ends where it is.
        """
        self._check_open()
        seen = Written(whole_cids=False, max_memory=self._max_memory)
        try:
            for name, store in self._stores:
                for cid in self._cids_of(store, name):
                    key = seen.key_of(bytes(cid))
                    if seen.find(key) is None:
                        seen.make_room()
                        seen.add(key, seen.count)
                        yield cid
        finally:
            seen.close()

    def _cids_of(self, store: Blockstore, name: str) -> Iterator[CID]:
        cids = iter(store)
        while True:
            try:
                cid = next(cids, None)
            except (CarError, OSError) as error:
                self._check_open()
                if self._has(store):
                    raise _named(error, name) from None
                return
            if cid is None:
                return
            yield cid
            self._check_open()

    def __len__(self) -> int:
        """How many blocks an iteration gives: it takes one to know (and ``list(store)`` asks, before its own)."""
        return sum(1 for _ in self)

    def put(self, _cid: CIDLike, _data: bytes, /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("a union of blockstores is for reading only")

    def put_many(self, _blocks: Iterable[tuple[CIDLike, bytes]], /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("a union of blockstores is for reading only")

    def close(self) -> None:
        """Let go of the stores, and close them, all of them, if they belong to the union; may be called twice."""
        with self._lock:
            self._closed = True
            stores, self._stores = self.stores, ()
        failed: Exception | None = None
        for store in stores if self._close_stores else ():
            try:
                store.close()
            except Exception as error:  # noqa: BLE001  (raised below, once the others are closed)
                failed = failed or error
        if failed is not None:
            raise failed


_NOTHING: Iterator[Block] = iter(())


def _share(store: Blockstore, cids: list[CID]) -> Iterator[Block]:
    """The blocks of ``cids``; nothing is asked before the first is wanted, as a store may be closed by then."""
    yield from store.get_many(cids)


def _may_have(store: Blockstore, cid: CID) -> bool:
    """Whether ``store`` is to be asked for ``cid``; where an index can say so, without reading the section."""
    try:
        if isinstance(store, ReadOnlyBlockstore):
            return cid.is_identity or cid in store.index
        if isinstance(store, UnionBlockstore):
            return any(_may_have(inner, cid) for inner in store.stores)
        return cid in store
    except (CarError, OSError):  # asking for the block itself says why
        return False


def _named(error: CarError | OSError, name: str) -> CarError | OSError:
    """The same error, saying which store it is about."""
    if isinstance(error, CarError):
        error.args = (": ".join([name, *map(str, error.args[:1])]), *error.args[1:])
    elif error.filename is None:
        error.filename = name
    error.store = name  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
    return error
