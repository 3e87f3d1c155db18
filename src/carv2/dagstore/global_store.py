"""One blockstore over all shards of a DAG store: for serving from."""

from __future__ import annotations

from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID
from carv2.dagstore._held import HeldShards
from carv2.dagstore._missing import MissingBlocks
from carv2.dagstore.states import ShardState
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ClosedError,
    FormatError,
    IndexFormatError,
    IntegrityError,
    MountChangedError,
    ReadOnlyError,
    ShardNotFoundError,
)
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import NoReturn, TypeAlias, TypeVar

    from carv2.cid import CIDLike
    from carv2.dagstore.shard import AcquiredShard
    from carv2.dagstore.store import DagStore

    Selector: TypeAlias = "Callable[[CID, Sequence[str]], str | None]"
    _Answer = TypeVar("_Answer")

__all__ = ["GlobalBlockstore"]

_BATCH = 1000  # CIDs that are looked up at once
_OF_ONE_BLOCK = (BlockNotFoundError, IntegrityError, FormatError)
"""What may be wrong with one block of a shard, and not with others."""
_ACQUIRE_AGAIN = (IndexFormatError, MountChangedError)
"""What a shard says that is another once it is acquired again."""


class GlobalBlockstore(ReadsOneByOne):
    """The blocks of all shards, each looked up in the inverted index, read from one shard that has it and checked.

    Shards stay acquired after a read, so that the next one costs no more than in the shard itself; the one not
    read for longest goes when there are too many, and any that nobody reads goes when it is to be destroyed,
    recovered or collected. Where a shard cannot be acquired or read, the next that has the block is tried.
    Threads may share it.

    Args:
        store: the shards. It is not closed with this.
        select: of the keys of the shards that have a block, which to read; None for none, as if the block were not
            there. It is asked for every block, whatever is open, and again with those that are left if that shard
            fails. Without it, those that are open come first.
        max_open: shards that stay acquired.
        timeout: seconds to wait for a shard, which may have to be fetched and indexed first; None for as long
            as it takes.
        remember_missing: seconds for which a block that no shard has is taken to be missing; a shard that becomes
            available in this process ends that at once. 0 asks each time.

    Identity CIDs are answered from themselves, and never listed.

    Raises:
        ValueError: ``max_open`` is below 1, or ``remember_missing`` below 0.

    >>> import carv2, tempfile
    >>> from carv2.dagstore import BytesMount, DagStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> fish = carv2.CID.of_data(b"fish")
    >>> with DagStore(folder.name) as store, GlobalBlockstore(store) as blocks:
    ...     archive = b"".join(carv2.iter_car([fish], [(fish, b"fish")]))
    ...     _ = store.register("piece-1", BytesMount(archive))
    ...     blocks[fish], carv2.CID.of_data(b"crab") in blocks
    (b'fish', False)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        store: DagStore,
        *,
        select: Selector | None = None,
        max_open: int = 16,
        timeout: float | None = None,
        remember_missing: float = 5.0,
    ) -> None:
        if max_open < 1:
            raise ValueError(f"max_open of {max_open}; at least one shard is read from")
        if not remember_missing >= 0:
            raise ValueError(f"remember_missing of {remember_missing} seconds")
        self._store, self._select = store, select
        self._held = HeldShards(lambda key: store.acquire(key, timeout=timeout), max_open)
        self._missing = MissingBlocks(remember_missing, lambda: store.round)
        self._is_closed = False
        store.add_keeper(self._held)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the blockstore was closed")

    # -- one block ------------------------------------------------------------------------------------------

    def _keys_of(self, wanted: CID) -> Sequence[str]:
        """The shards that have it, all of them; empty if none does."""
        self._check_open()
        multihash = wanted.multihash
        if self._missing.has(multihash):
            return ()
        round_ = self._store.round
        keys = self._store.shards_with(multihash)
        if not keys:
            self._missing.add(multihash, round_)
        return keys

    def _choose(self, wanted: CID, keys: Sequence[str], at_best: str | None = None) -> str | None:
        """Of ``keys``, which is not empty, the one to read."""
        if self._select is None:
            return at_best if at_best in keys else next(filter(self._held.has, keys), keys[0])
        key = self._select(wanted, keys)
        if key is not None and key not in keys:
            raise ValueError(f"{key!r} was selected, and is none of the shards that have {wanted.short()}")
        return key

    def _ask(self, wanted: CID, keys: Iterable[str], ask: Callable[[AcquiredShard], _Answer]) -> _Answer:
        """What the first of the shards says that can say something."""
        left, failure = list(keys), None
        while left and (key := self._choose(wanted, tuple(left))) is not None:
            left.remove(key)
            try:
                return self._ask_one(key, ask)
            except (BlockNotFoundError, ShardNotFoundError):
                pass  # the inverted index was ahead of it, or behind
            except (CarError, OSError) as error:
                failure = failure or error
            self._check_open()
        raise failure or BlockNotFoundError(wanted)

    def _ask_one(self, key: str, ask: Callable[[AcquiredShard], _Answer]) -> _Answer:
        """What a shard says. One that was held and cannot is acquired anew: it may be another by now."""
        was_held = self._held.has(key)
        try:
            with self._held.borrowed(key) as shard:
                return ask(shard)
        except (CarError, OSError) as error:
            if not was_held and not isinstance(error, _ACQUIRE_AGAIN):
                raise
        self._check_open()
        self._held.forget(key)
        with self._held.borrowed(key) as shard:
            return ask(shard)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        if wanted.is_identity:
            return wanted.digest
        return self._ask(wanted, self._keys_of(wanted), lambda shard: shard[wanted])

    def __contains__(self, cid: object, /) -> bool:
        """Whether a shard has it that may be read from; no shard is opened for that."""
        if not isinstance(cid, (CID, str, bytes)):
            return False
        wanted = CID.of(cid)
        if wanted.is_identity:
            return True
        keys = self._keys_of(wanted)
        return bool(keys) and self._choose(wanted, keys) is not None

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block; its data are not read."""
        wanted = CID.of(cid)
        if wanted.is_identity:
            return len(wanted.digest)
        return self._ask(wanted, self._keys_of(wanted), lambda shard: shard.size_of(wanted))

    # -- many blocks ----------------------------------------------------------------------------------------

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; a thousand are looked up at a time.

        Those that follow each other and are read from one shard are asked of it at once.

        Raises:
            BlockNotFoundError: no shard has one of them; those before it were yielded.
        """
        wanted = map(CID.of, cids)
        while group := list(islice(wanted, _BATCH)):
            self._check_open()
            found = self._store.shards_with_many(cid for cid in group if not cid.is_identity)
            for key, run in groupby(self._choices(group, found), key=itemgetter(1)):
                yield from self._run(key, [cid for cid, _ in run], found)

    def _choices(self, group: Iterable[CID], found: dict[bytes, list[str]]) -> Iterator[tuple[CID, str | None]]:
        """Each CID with the shard to read it from, the one before it if that has it too; None for none."""
        last: str | None = None
        for cid in group:
            keys = () if cid.is_identity else found.get(cid.multihash, ())
            last = self._choose(cid, keys, last) if keys else None
            yield cid, last

    def _run(self, key: str | None, run: list[CID], found: dict[bytes, list[str]]) -> Iterator[Block]:
        """The blocks of ``run``, which are to be read from one shard; from others where that fails."""
        at = 0
        while key is not None and at < len(run):
            try:
                with self._held.borrowed(key) as shard:
                    for block in shard.get_many(run[at:]):
                        at += 1
                        yield block
                        self._check_open()
                return
            except _OF_ONE_BLOCK:
                avoid = None
            except (CarError, OSError):
                avoid = key
            self._check_open()
            for cid in run[at:] if avoid else run[at : at + 1]:
                at += 1
                yield Block(cid, self._read(cid, found[cid.multihash], avoid))
                self._check_open()
        for cid in run[at:]:
            if not cid.is_identity:
                raise BlockNotFoundError(cid)
            yield Block(cid, cid.digest)

    def _read(self, wanted: CID, keys: list[str], avoid: str | None) -> bytes:
        others = [key for key in keys if key != avoid]
        return self._ask(wanted, others or keys, lambda shard: shard[wanted])

    def __iter__(self) -> Iterator[CID]:
        """The CIDs of all shards that are indexed and can be read, shard by shard; what several have, once."""
        given: set[str] = set()
        for info in self._store.list():
            self._check_open()
            if info.state not in {ShardState.AVAILABLE, ShardState.SERVING}:
                continue
            try:
                with self._held.borrowed(info.key) as shard:
                    yield from self._own(shard, given)
            except (CarError, OSError):
                self._check_open()
            else:
                given.add(info.key)

    def _own(self, shard: AcquiredShard, given: set[str]) -> Iterator[CID]:
        """The CIDs of a shard that may be read from it, but for those that a shard of ``given`` has."""
        cids = (cid for cid in shard if not cid.is_identity)
        while group := list(islice(cids, _BATCH)):
            found = self._store.shards_with_many(group)
            for cid in group:
                keys = found.get(cid.multihash, [shard.key])
                if given.isdisjoint(keys) and self._choose(cid, keys, shard.key) is not None:
                    yield cid
                    self._check_open()

    def __len__(self) -> int:
        """How many CIDs there are: they are counted."""
        return sum(1 for _ in self)

    def put(self, _cid: CIDLike, _data: bytes, /) -> NoReturn:
        """Always raises :class:`carv2.errors.ReadOnlyError`."""
        raise ReadOnlyError("the shards are for reading only")

    def put_many(self, _blocks: Iterable[tuple[CIDLike, bytes]], /) -> NoReturn:
        """Always raises :class:`carv2.errors.ReadOnlyError`."""
        raise ReadOnlyError("the shards are for reading only")

    def close(self) -> None:
        """Let go of all shards, those that are read from once that is done; may be called twice."""
        self._is_closed = True
        self._held.close()
