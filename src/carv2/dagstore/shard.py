"""A shard that somebody holds: its blocks, as long as he does."""

from __future__ import annotations

import contextlib
import threading
import warnings
from typing import TYPE_CHECKING

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.errors import (
    BlockNotFoundError,
    ChangedError,
    ClosedError,
    FormatError,
    IntegrityError,
    MountError,
    ReadOnlyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import NoReturn

    from carv2.blockstore.read_only import ReadOnlyBlockstore
    from carv2.cid import CID, CIDLike
    from carv2.section import Block

__all__ = ["AcquiredShard"]

_TO_DOUBT = (BlockNotFoundError, MountError, OSError, ChangedError, FormatError, IntegrityError)


class AcquiredShard(ReadsOneByOne):
    """The blocks of one shard, for reading, each checked against its hash; :meth:`carv2.dagstore.DagStore.acquire`
    makes it.

    Threads may share it. Once it is closed, what was read through it raises :class:`carv2.errors.ClosedError`.
    When a block is missing or wrong it is found out whether the shard is still what was indexed:

    * its index file was damaged: :class:`carv2.errors.IndexFormatError`; it is made anew, so acquire it again;
    * the bytes behind its mount changed: :class:`carv2.errors.ShardErroredError`, which it is from then on;
    * the caller's own copy of them did: :class:`carv2.errors.MountChangedError`; the next one reads the mount.

    >>> import carv2, tempfile
    >>> from carv2.dagstore import BytesMount, DagStore
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> with tempfile.TemporaryDirectory() as folder, DagStore(folder) as store:
    ...     _ = store.register("sea", BytesMount(archive))
    ...     with store.acquire("sea") as shard:
    ...         shard.key, shard[cid]
    ('sea', b'fish')
    """

    def __init__(
        self,
        key: str,
        store: ReadOnlyBlockstore,
        *,
        release: Callable[[], object],
        abandon: Callable[[], object],
        doubt: Callable[[Exception], Exception | None],
    ) -> None:
        self.key = key
        """Of the shard."""
        self._store, self._release, self._abandon, self._doubt = store, release, abandon, doubt
        self._is_closed, self._closing = False, threading.Lock()

    @property
    def _open(self) -> ReadOnlyBlockstore:
        if self._is_closed:
            raise ClosedError(f"{self.key}: the shard was released")
        return self._store

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots that its archive claims."""
        return self._open.roots

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        try:
            return self._open[cid]
        except _TO_DOUBT as error:
            self._raise_cause(error)
            raise

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block; its data are not read."""
        with self._reading() as store:
            return store.size_of(cid)

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; sections that lie near each other are read as one range."""
        with self._reading() as store:
            for block in store.get_many(cids):
                yield block
                self._open  # noqa: B018  (raises once it is closed)

    def __iter__(self) -> Iterator[CID]:
        """The CIDs in the order of the archive."""
        with self._reading() as store:
            for cid in store:
                yield cid
                self._open  # noqa: B018

    def __len__(self) -> int:
        """Sections of the archive."""
        with self._reading() as store:
            return len(store)

    @contextlib.contextmanager
    def _reading(self) -> Generator[ReadOnlyBlockstore]:
        """An error that may be of what was opened, and not of what is there, is not for the next reader too."""
        try:
            yield self._open
        except _TO_DOUBT as error:
            self._raise_cause(error)
            raise

    def _raise_cause(self, error: Exception) -> None:
        """Raise what is behind an error, such as an index file that was damaged, if there is something."""
        cause = self._doubt(error)
        if cause is not None:
            raise cause from error

    def put(self, _cid: CIDLike, _data: bytes, /) -> NoReturn:
        """Always raises :class:`carv2.errors.ReadOnlyError`."""
        raise ReadOnlyError("a shard is for reading only")

    def put_many(self, _blocks: Iterable[tuple[CIDLike, bytes]], /) -> NoReturn:
        """Always raises :class:`carv2.errors.ReadOnlyError`."""
        raise ReadOnlyError("a shard is for reading only")

    def close(self) -> None:
        """Let go of the shard; may be called twice."""
        if self._closing.acquire(blocking=False):  # once, whoever comes
            self._is_closed = True
            self._release()

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            self._is_closed = True
            self._abandon()
            warnings.warn(f"{self.key}: a shard was never released", ResourceWarning, stacklevel=2, source=self)
