"""Which stores are open, and for whom: one for each transfer, shared by all who work on it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from carv2.blockstore._recovery import named
from carv2.blockstore.read_only import ReadOnlyBlockstore
from carv2.blockstore.read_write import ReadWriteBlockstore
from carv2.cid import CID
from carv2.errors import ClosedError, FinalizedError, LockedError, ResumeError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from carv2._source import SourceLike
    from carv2.cid import CIDLike

    Tracked: TypeAlias = "ReadWriteBlockstore | ReadOnlyBlockstore"

__all__ = ["StoreTracker"]

_Store = TypeVar("_Store", ReadWriteBlockstore, ReadOnlyBlockstore)

_ONLY_ON_RESUME = ("null_padding", "check_promised")


class _Entry:
    """A key that is in use. While its store is None, somebody is opening or closing it."""

    def __init__(self, what: object, path: str | None) -> None:
        self.what = what
        """The real path of a file, or the object that is read."""
        self.path = path
        """The real path that is written to."""
        self.store: Tracked | None = None
        self.holders = 0


class StoreTracker:
    """Stores by key: opened for the first who asks, shared with the next, closed for the last who lets go.

    A key is anything hashable: a transfer, a deal, a path. Stores for writing and for reading have their keys in
    common. Opening, finalizing and closing may take long; meanwhile only those who want the same key wait. An
    opening that fails leaves nothing behind, and whoever waited for it tries for himself.

    Threads may share a tracker. Release a store rather than closing it. As a context manager it closes all stores.

    >>> import os, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "deal-7.car")
    >>> fish = CID.of_data(b"fish")
    >>> with StoreTracker() as tracker:
    ...     store = tracker.get_or_create(7, path, [fish])
    ...     same = tracker.get_or_create(7, path, [fish]) is store
    ...     stored = store.put(fish, b"fish")
    ...     same, stored, tracker.release(7), tracker.release(7)
    (True, True, False, True)
    >>> with StoreTracker() as tracker:
    ...     tracker.get_or_open("read", path)[fish]
    b'fish'
    >>> folder.cleanup()
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: dict[Hashable, _Entry] = {}
        self._written: set[str] = set()  # real paths

    def __contains__(self, key: object) -> bool:
        """Whether somebody holds ``key``."""
        with self._changed:
            return key in self._entries

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries)

    def get_or_create(
        self,
        key: Hashable,
        path: str | os.PathLike[str],
        roots: Iterable[CIDLike] | None = None,
        **options: Any,
    ) -> ReadWriteBlockstore:
        """The store of ``key``, with one holder more.

        The first holder has it made: the archive at ``path`` is resumed, or created if there is none.

        Args:
            key: what the store is for.
            path: its file, the same for each holder.
            roots: for a new archive (None: none yet); those that an old one must have (None: any).
            options: as for :meth:`ReadWriteBlockstore.resume`, those of the first holder. Lotus' stores have
                ``deduplicate="cid"``.

        Raises:
            LockedError: another key, or another process, writes to the file.
            ResumeError: its roots are others; it was not touched.
            ValueError: ``key`` is in use for another file, or for reading.
        """
        expected = None if roots is None else tuple(map(CID.of, roots))
        store = self._acquire(
            key,
            os.path.realpath(path),
            lambda: _resume_or_create(path, expected, options),
            ReadWriteBlockstore,
        )
        if expected is not None and sorted(expected) != sorted(store.roots):
            self.release(key, finalize=False)
            why = f"the roots of the store are {named(store.roots)}, not {named(expected)}"
            raise ResumeError(why, expected=expected, found=store.roots)
        return store

    def get_or_open(self, key: Hashable, source: SourceLike, **options: Any) -> ReadOnlyBlockstore:
        """The store of ``key`` for reading, with one holder more; opened for the first one.

        Any number of keys may read the same file. Once a finished archive is written to again, stores that read it
        raise :class:`ChangedError` for what they do not find.

        Args:
            key: what the store is for.
            source: the archive, the same for each holder.
            options: as for :class:`ReadOnlyBlockstore`, those of the first holder.

        Raises:
            ValueError: ``key`` is in use for another archive, or for writing.
        """
        what = os.path.realpath(source) if isinstance(source, (str, os.PathLike)) else source
        return self._acquire(key, what, lambda: ReadOnlyBlockstore(source, **options), ReadOnlyBlockstore)

    def get(self, key: Hashable) -> Tracked:
        """The store of ``key``, for somebody who knows that it is held: no holder more.

        Raises:
            KeyError: nobody holds it.
        """
        with self._changed:
            store = self._settled(key).store
        return cast("Tracked", store)

    def release(self, key: Hashable, *, finalize: bool = True, roots: Iterable[CIDLike] | None = None) -> bool:
        """One holder of ``key`` less; whether it was the last. That one's ``finalize`` decides, and it waits.

        Args:
            key: what was got before.
            finalize: finish the archive; False leaves a file, flushed, that can be resumed. Nothing of that
                concerns a store for reading.
            roots: for the archive's header, where it is finished now (:meth:`ReadWriteBlockstore.finalize`).

        Raises:
            KeyError: nobody holds it.
            OSError: the archive could not be finished. The store is closed and its key free all the same; what
                was promised is in the file, which can be resumed.
        """
        with self._changed:
            entry = self._settled(key)
            entry.holders -= 1
            if entry.holders:
                return False
            store, entry.store = entry.store, None
        named = None if roots is None else tuple(map(CID.of, roots))
        self._close(key, entry, cast("Tracked", store), finalize=finalize, roots=named)
        return True

    @contextlib.contextmanager
    def holding(
        self,
        key: Hashable,
        path: str | os.PathLike[str],
        roots: Iterable[CIDLike] | None = None,
        **options: Any,
    ) -> Generator[ReadWriteBlockstore]:
        """:meth:`get_or_create`, then :meth:`release`: finalizing on success, resumable after an exception."""
        store = self.get_or_create(key, path, roots, **options)
        try:
            yield store
        except BaseException:
            with contextlib.suppress(KeyError):  # all were closed meanwhile
                self.release(key, finalize=False)
            raise
        self.release(key)

    def close_all(self, *, finalize: bool = False) -> None:
        """Close every store, however many hold it; by default they are left flushed and resumable.

        All are closed even if one fails; the first error is raised then. The tracker can be used again.
        """
        with self._changed:
            keys = list(self._entries)
        failed: Exception | None = None
        for key in keys:
            try:
                self._close_now(key, finalize=finalize)
            except Exception as error:  # noqa: BLE001  (raised below, once the others are closed)
                failed = failed or error
        if failed is not None:
            raise failed

    def __enter__(self) -> StoreTracker:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_all()

    # -- one key at a time --------------------------------------------------------------------------------------

    def _acquire(self, key: Hashable, what: object, make: Callable[[], _Store], kind: type[_Store]) -> _Store:
        with self._changed:
            with contextlib.suppress(KeyError):
                return self._join(key, what, kind)
            entry = self._reserve(key, what, kind)
        try:
            store = make()
        except BaseException:
            self._forget(key, entry)
            raise
        with self._changed:
            entry.store, entry.holders = store, 1
            self._changed.notify_all()
        return store

    def _settled(self, key: Hashable) -> _Entry:
        """The entry of ``key``, once nobody is opening or closing it; KeyError if there is none then."""
        while (entry := self._entries[key]).store is None:
            self._changed.wait()
        return entry

    def _join(self, key: Hashable, what: object, kind: type[_Store]) -> _Store:
        entry = self._settled(key)
        if not isinstance(entry.store, kind) or entry.what != what:
            which = entry.what if isinstance(entry.what, str) else type(entry.what).__name__
            raise ValueError(f"{key!r} is in use for a {type(entry.store).__name__} over {which}")
        entry.holders += 1
        return entry.store

    def _reserve(self, key: Hashable, what: object, kind: type[object]) -> _Entry:
        path = str(what) if kind is ReadWriteBlockstore else None
        if path is not None:
            if path in self._written:
                raise LockedError(path)
            self._written.add(path)
        entry = self._entries[key] = _Entry(what, path)
        return entry

    def _forget(self, key: Hashable, entry: _Entry) -> None:
        with self._changed:
            del self._entries[key]
            self._written.discard(entry.path or "")
            self._changed.notify_all()

    def _close_now(self, key: Hashable, *, finalize: bool) -> None:
        with self._changed:
            try:
                entry = self._settled(key)
            except KeyError:  # it is closed already, or was never opened
                return
            store, entry.store = entry.store, None
        self._close(key, entry, cast("Tracked", store), finalize=finalize)

    def _close(
        self,
        key: Hashable,
        entry: _Entry,
        store: Tracked,
        *,
        finalize: bool,
        roots: tuple[CID, ...] | None = None,
    ) -> None:
        try:
            if finalize and isinstance(store, ReadWriteBlockstore):
                with contextlib.suppress(FinalizedError, ClosedError):  # a holder did that
                    store.finalize(roots)
            store.close()
        finally:
            if isinstance(store, ReadWriteBlockstore):
                store.discard()  # also what cannot be flushed lets go of its file
            self._forget(key, entry)


def _resume_or_create(
    path: str | os.PathLike[str], roots: tuple[CID, ...] | None, options: dict[str, Any]
) -> ReadWriteBlockstore:
    new = {name: value for name, value in options.items() if name not in _ONLY_ON_RESUME}
    with contextlib.suppress(FileNotFoundError):
        return ReadWriteBlockstore.resume(path, roots, **options)
    with contextlib.suppress(FileExistsError):
        return ReadWriteBlockstore.create(path, roots or (), **new)
    return ReadWriteBlockstore.resume(path, roots, **options)  # somebody was faster
