"""One blockstore over all shards of a DAG store: for serving from."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, CarError, ClosedError, ReadOnlyError
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from typing import NoReturn, TypeAlias, TypeVar

    from carv2.cid import CIDLike
    from carv2.dagstore.shard import AcquiredShard
    from carv2.dagstore.store import DagStore

    Selector: TypeAlias = "Callable[[CID, Sequence[str]], str | None]"
    _Answer = TypeVar("_Answer")

__all__ = ["GlobalBlockstore"]

_BATCH = 1000  # CIDs that are looked up at once
_MOST_MISSING = 1 << 16  # multihashes that are remembered as missing


class GlobalBlockstore(ReadsOneByOne):
    """The blocks of all shards, each looked up in the inverted index, read from one shard that has it and checked.

    Shards stay acquired after a read, so that the next one costs no more than in the shard itself; the one not
    read for longest goes when there are too many. Where a shard cannot be acquired or read, the next that has the
    block is tried. Threads may share it.

    Args:
        store: the shards. It is not closed with this.
        select: of the keys of the shards that have a block, which to read; None for none, as if the block were not
            there. It is asked for every block, whatever is open. Without it, those that are open come first.
        max_open: shards that stay acquired.
        timeout: seconds to wait for a shard, which may have to be fetched and indexed first; None for as long
            as it takes.
        remember_missing: seconds for which a block that no shard has is taken to be missing; a shard that becomes
            available in this process ends that at once. 0 asks each time.

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
        self._store, self._select = store, select
        self._held = _HeldShards(store, max_open, timeout)
        self._missing = _Missing(store, remember_missing)
        self._is_closed = False

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

    def _choose(self, wanted: CID, keys: Sequence[str]) -> str | None:
        if self._select is not None:
            return self._select(wanted, keys)
        return next(filter(self._held.has, keys), keys[0])

    def _ask(self, wanted: CID, keys: Sequence[str], ask: Callable[[AcquiredShard], _Answer]) -> _Answer:
        """What the first of the shards says that can say something."""
        left, last = list(keys), None
        while left and (key := self._choose(wanted, left)) is not None:
            if key not in left:
                raise ValueError(f"{key!r} was selected, and is none of the shards that have {wanted.short()}")
            left.remove(key)
            try:
                with self._held.borrowed(key) as shard:
                    return ask(shard)
            except (CarError, OSError) as error:
                last = error
                self._check_open()
        if last is not None and not isinstance(last, BlockNotFoundError):
            raise last
        raise BlockNotFoundError(wanted)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        if wanted.is_identity:
            return wanted.digest
        return self._read(wanted, self._keys_of(wanted))

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
        """
        wanted = map(CID.of, cids)
        while group := list(islice(wanted, _BATCH)):
            self._check_open()
            found = self._store.shards_with_many(cid for cid in group if not cid.is_identity)
            chosen = (None if cid.is_identity else self._chosen(cid, found) for cid in group)
            for key, run in groupby(zip(group, chosen, strict=True), key=itemgetter(1)):
                yield from self._run(key, [cid for cid, _ in run], found)

    def _chosen(self, wanted: CID, found: dict[bytes, list[str]]) -> str | None:
        keys = found.get(wanted.multihash)
        return self._choose(wanted, keys) if keys else None

    def _run(self, key: str | None, run: list[CID], found: dict[bytes, list[str]]) -> Iterator[Block]:
        """The blocks of ``run``, which are to be read from one shard; one by one from others where that fails."""
        done = 0
        if key is not None:
            with contextlib.suppress(CarError, OSError), self._held.borrowed(key) as shard:
                for block in shard.get_many(run):
                    done += 1
                    yield block
        for cid in run[done:]:
            yield Block(cid, cid.digest if cid.is_identity else self._read(cid, found.get(cid.multihash, ())))

    def _read(self, wanted: CID, keys: Sequence[str]) -> bytes:
        return self._ask(wanted, keys, lambda shard: shard[wanted])

    def __iter__(self) -> Iterator[CID]:
        """The CIDs of all shards that can be read, shard by shard; what several have is given once."""
        for info in self._store.list():
            self._check_open()
            with contextlib.suppress(CarError, OSError), self._held.borrowed(info.key) as shard:
                yield from self._own(shard)

    def _own(self, shard: AcquiredShard) -> Iterator[CID]:
        """The CIDs of a shard, but for those that an earlier one has."""
        cids = iter(shard)
        while group := list(islice(cids, _BATCH)):
            found = self._store.shards_with_many(group)
            for cid in group:
                if found.get(cid.multihash, [shard.key])[0] == shard.key:
                    yield cid

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


class _Entry:
    """A shard that is held, and how many read from it."""

    def __init__(self, shard: AcquiredShard) -> None:
        self.shard, self.users = shard, 0


class _HeldShards:
    """Acquired shards, the ones used last; one that is read from is never let go of."""

    def __init__(self, store: DagStore, most: int, timeout: float | None) -> None:
        self._store, self._most, self._timeout = store, most, timeout
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._is_closed = False

    def has(self, key: str) -> bool:
        """Whether it is held."""
        return key in self._entries

    @contextlib.contextmanager
    def borrowed(self, key: str) -> Generator[AcquiredShard]:
        """The shard, held at least meanwhile."""
        entry = self._take(key) or self._keep(key, self._store.acquire(key, timeout=self._timeout))
        try:
            yield entry.shard
        except ClosedError:  # the store closed it, or somebody destroyed it by force
            self._forget(key, entry)
            raise
        finally:
            self._give_back(entry)

    def _take(self, key: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.users += 1
                self._entries.move_to_end(key)
            return entry

    def _keep(self, key: str, shard: AcquiredShard) -> _Entry:
        with self._lock:
            entry = self._entries.get(key)
            spare: list[AcquiredShard] = []
            if entry is None:
                entry = self._entries[key] = _Entry(shard)
            else:
                spare.append(shard)  # another thread was faster
            entry.users += 1
            spare += self._too_many()
        for one in spare:
            one.close()
        return entry

    def _too_many(self) -> list[AcquiredShard]:
        unused = [key for key, entry in self._entries.items() if not entry.users]
        most = 0 if self._is_closed else self._most
        return [self._entries.pop(key).shard for key in unused[: max(0, len(self._entries) - most)]]

    def _give_back(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            spare = self._too_many()
            if not entry.users and entry.shard.key not in self._entries:
                spare.append(entry.shard)
        for one in spare:
            one.close()

    def _forget(self, key: str, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]

    def close(self) -> None:
        """Hold none any more."""
        with self._lock:
            self._is_closed = True
            spare = self._too_many()
        for one in spare:
            one.close()


class _Missing:
    """Multihashes that no shard had, for a while, and until blocks come in."""

    def __init__(self, store: DagStore, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._round = store.round
        self._lock = threading.Lock()

    def has(self, multihash: bytes) -> bool:
        """Whether it was missing a moment ago."""
        if not self._seconds:
            return False
        with self._lock:
            self._forget_if_old(self._store.round)
            until = self._until.get(multihash)
            return until is not None and time.monotonic() < until

    def _forget_if_old(self, round_: int) -> None:
        if round_ != self._round:
            self._round = round_
            self._until.clear()

    def add(self, multihash: bytes, round_: int) -> None:
        """It was looked for in the store's round ``round_``, and missing."""
        if not self._seconds:
            return
        with self._lock:
            self._forget_if_old(self._store.round)
            if round_ == self._round:
                self._until[multihash] = time.monotonic() + self._seconds
                while len(self._until) > _MOST_MISSING:
                    self._until.popitem(last=False)
