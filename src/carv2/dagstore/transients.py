"""Local copies of what cannot be read in place: made once, kept as long as there is room, gone when nobody reads.

See :class:`Transients`.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from carv2._downloads import DownloadFolder
from carv2.dagstore._copy_note import CopyNote
from carv2.dagstore._fetching import Fetching, Slots
from carv2.dagstore._quota import Quota
from carv2.dagstore.keys import file_name, key_of
from carv2.errors import ClosedError, LockedError, MountChangedError, ShardInUseError, StateError, WaitTimeoutError

if TYPE_CHECKING:
    import os
    from collections.abc import Container

    from carv2._downloads import Download, HeldCopy
    from carv2.dagstore.mounts.protocol import Mount
    from carv2.operations.verify import Verification

__all__ = ["Collected", "Transients", "Usage"]


_DROP_SECONDS = 1.0  # that a dropped download has to end; one whose mount hangs removes what there is later


class Usage(NamedTuple):
    """What local copies take."""

    files: int
    """Copies, whole or not."""
    bytes: int
    """Bytes of them, with what is reserved for those that come in."""
    pinned: int
    """How many of them are read here now."""


class Collected(NamedTuple):
    """What a collection came to, by shard key. Shards without a copy are not in it."""

    freed: dict[str, int]
    """Bytes."""
    skipped: dict[str, str]
    """Why it stays."""


class _Pin:
    """A copy that is read here."""

    __slots__ = ("count", "held")

    def __init__(self, held: HeldCopy) -> None:
        self.held, self.count = held, 0


class _Flight:
    """A download that is under way, and those who wait for it."""

    __slots__ = ("copy", "done", "ended", "error", "fetching", "freed", "key", "name", "waiters")

    def __init__(self, name: str, key: str, fetching: Fetching) -> None:
        self.name, self.key, self.fetching = name, key, fetching
        self.done = threading.Event()
        """Those who wait have their answer."""
        self.ended = threading.Event()
        """The thread is at its end."""
        self.freed = 0
        """Bytes of the copy, if it was dropped in its last moment."""
        self.waiters = 0
        self.copy: HeldCopy | None = None
        self.error: Exception | None = None


class Transients:
    """Local copies of mounts' bytes, by shard key, in a folder that several processes may share.

    A copy is made by one download, however many wait for it; each waits as long as it likes, and the download goes
    on in a thread of its own. It is checked: the mount's size, that it is an archive, and that the mount has the
    same tag before and after. One that failed leaves nothing behind but what it can be gone on with, and the next
    caller tries again. A copy that somebody reads is pinned: it stays. The others go when there is no room, the
    one not used for longest first. Only files that were made here are ever removed.

    Args:
        folder: made if it is not there.
        quota: bytes that all copies together may take; None for no limit. Room for a download is reserved before
            it begins.
        max_downloads: how many may come in at once; None for no limit.

    Raises:
        StateError: a newer program has used the folder, or strangers' files there have names such as ours.
        OSError: the folder cannot be made or read.

    >>> import tempfile
    >>> held = tempfile.TemporaryDirectory()
    >>> transients = Transients(held.name, quota=1 << 30)
    >>> transients.usage()
    Usage(files=0, bytes=0, pinned=0)
    >>> transients.close()
    True
    >>> held.cleanup()
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, quota: int | None = None, max_downloads: int | None = None
    ) -> None:
        if max_downloads is not None and max_downloads < 1:
            raise ValueError(f"{max_downloads} downloads at once; None is no limit")
        self._quota_bytes = quota
        self._folder = DownloadFolder(folder)
        self._quota = Quota(self._folder, quota)
        self._slots = Slots(max_downloads)
        self._lock = threading.Lock()
        self._pins: dict[str, _Pin] = {}
        self._flights: dict[str, _Flight] = {}
        self._running: set[_Flight] = set()
        self._is_closed = False

    @property
    def folder(self) -> str:
        """The folder's path."""
        return self._folder.path

    # -- copies -------------------------------------------------------------------------------------------

    def fetch(
        self, key: str, mount: Mount, *, size: int | None = None, tag: str = "", timeout: float | None = None
    ) -> str:
        """The path of a copy of what ``mount`` gives, pinned: call :meth:`unpin` when it is closed.

        A copy that is there is taken without asking the mount, if it is whole and of that size and tag.

        Args:
            key: of the shard.
            mount: where the bytes are.
            size: bytes that there must be, if known.
            tag: what the mount must be tagged with, if known.
            timeout: seconds to wait; the download goes on afterwards.

        Raises:
            WaitTimeoutError: it is not there by then.
            MountError: the bytes cannot be had, or are not what they should be.
            QuotaError: there is no room for them.
            OSError: the disk here fails, or is full, also without what nobody reads.
            ClosedError: the copies were closed, or this one dropped meanwhile.
        """
        name = file_name(key)
        with self._lock:
            self._check_open()
            path = self._pin_present(name, size, tag)
            if path is not None:
                return path
            flight = self._flights.get(name) or self._launch(name, key, mount, size, tag)
            flight.waiters += 1
        try:
            flight.done.wait(timeout)
            return self._arrive(flight, size, tag, timeout)
        except BaseException:
            self._leave(flight)
            raise

    def _arrive(self, flight: _Flight, size: int | None, tag: str, timeout: float | None) -> str:
        with self._lock:
            if not flight.done.is_set():
                raise WaitTimeoutError(f"{flight.key}: local copy", seconds=timeout or 0)
        if flight.error is not None:
            raise copy.copy(flight.error) from flight.error  # each waiter its own: they get tracebacks
        if flight.copy is None or not self._is_of(flight.name, flight.copy, size, tag):
            raise MountChangedError("it is not what it was when it was indexed", url=flight.fetching.url)
        return flight.copy.path

    def _leave(self, flight: _Flight) -> None:
        """Wait no more; what was pinned meanwhile for whoever leaves is let go of."""
        with self._lock:
            if not flight.done.is_set():
                flight.waiters -= 1
            elif flight.copy is not None:
                self._unpin(flight.name)

    def _pin_present(self, name: str, size: int | None, tag: str) -> str | None:
        """Pin the copy that is there; None if it is not, or is another one."""
        pin = self._pins.get(name)
        held = pin.held if pin is not None else self._folder.hold(name)
        if held is None:
            return None
        with contextlib.ExitStack() as undo:
            if pin is None:
                undo.callback(held.close)
            if not held.is_in_place or not self._is_of(name, held, size, tag):
                return None
            self._pin(name, held, 1)
            undo.pop_all()
        held.touch()
        return held.path

    def _pin(self, name: str, held: HeldCopy, count: int) -> None:
        pin = self._pins.setdefault(name, _Pin(held))
        if pin.held is not held:  # those who have the old one open read on
            pin.held.close()
            pin.held = held
        pin.count += count

    def _is_of(self, name: str, held: HeldCopy, size: int | None, tag: str) -> bool:
        note = CopyNote.of(self._folder.note_of(name))
        return note is not None and note.is_of(held.stamp, size, tag)

    def unpin(self, key: str) -> None:
        """Let go of a copy, once for each :meth:`fetch` that gave it.

        Raises:
            StateError: it is not pinned.
        """
        with self._lock:
            if not self._is_closed:  # then nothing is pinned any more
                self._unpin(file_name(key))

    def _unpin(self, name: str) -> None:
        pin = self._pins.get(name)
        if pin is None:
            if self._is_closed:
                return
            raise StateError(f"the local copy {name} is not pinned")
        pin.count -= 1
        if pin.count == 0:
            del self._pins[name]
            pin.held.touch()
            pin.held.close()

    # -- downloads ----------------------------------------------------------------------------------------

    def _launch(self, name: str, key: str, mount: Mount, size: int | None, tag: str) -> _Flight:
        fetching = Fetching(
            self._folder, self._quota, self._slots, name=name, key=key, mount=mount, size=size, tag=tag
        )
        flight = _Flight(name, key, fetching)
        threading.Thread(target=self._fly, args=(flight,), name="carv2-download", daemon=True).start()
        self._flights[name] = flight
        self._running.add(flight)
        return flight

    def _fly(self, flight: _Flight) -> None:
        held: HeldCopy | None = None
        error: Exception | None = None
        try:
            held = flight.fetching.run()
        except Exception as failure:  # noqa: BLE001  (whatever it is, it is raised where somebody waits)
            error = failure
        finally:
            self._land(flight, held, error)

    def _land(self, flight: _Flight, held: HeldCopy | None, error: Exception | None) -> None:
        """Tell those who wait, and pin the copy for each of them."""
        with self._lock:
            self._running.discard(flight)
            if self._flights.get(flight.name) is flight:
                del self._flights[flight.name]
            is_late = flight.done.is_set()
            if held is not None and flight.waiters and not is_late:
                flight.copy = held
                self._pin(flight.name, held, flight.waiters)
            elif held is not None:
                held.close()
            if not is_late:
                flight.error = error
                flight.done.set()
        if held is not None and flight.fetching.is_doomed:
            with contextlib.suppress(OSError, LockedError):  # whoever drops it tries the same, and is told
                flight.freed = self._folder.remove(flight.name) or 0
        flight.ended.set()

    def _stop(self, flight: _Flight) -> None:
        """Have a download end, and tell those who wait for it now: its mount may hang."""
        flight.fetching.stop.set()
        if not flight.done.is_set():
            flight.error = ClosedError(
                "the download was stopped: local copies were closed, or this one was dropped"
            )
            flight.done.set()

    # -- what is there ------------------------------------------------------------------------------------

    def path_of(self, key: str) -> str | None:
        """The path of the whole copy of a shard, if there is one. It may go at any time, unless it is pinned."""
        name = file_name(key)
        return self._folder.path_of(name) if self._is_whole(name, self._folder.stamp_of(name)) else None

    def _is_whole(self, name: str, stamp: tuple[int, int] | None) -> bool:
        note = CopyNote.of(self._folder.note_of(name))
        return note is not None and stamp is not None and note.is_of(stamp, None, "")

    def usage(self) -> Usage:
        """What the copies take at the moment; those of all processes that share the folder."""
        with self._folder.locked():
            used = self._quota.used()
        return Usage(len(used), sum(used.values()), len(self._pins))

    def verify(self, key: str) -> Verification:
        """Check the whole copy of a shard, the hash of each block included; what is wrong is in the report.

        Raises:
            FileNotFoundError: there is none, or not a whole one.
        """
        from carv2.operations.verify import verify  # noqa: PLC0415  (for those who verify)

        name = file_name(key)
        held = self._folder.hold(name)
        try:
            if held is None or not self._is_whole(name, held.stamp):
                raise FileNotFoundError(2, "no local copy, or not a whole one", self._folder.path_of(name))
            return verify(held.path, null_padding=True)
        finally:
            if held is not None:
                held.close()

    # -- removal ------------------------------------------------------------------------------------------

    def drop(self, key: str) -> int:
        """Remove the copy of a shard, whole or not; bytes freed. A download that nobody waits for is stopped.

        Raises:
            ShardInUseError: somebody reads it, or waits for it.
        """
        name = file_name(key)
        with self._lock:
            pin, flight = self._pins.get(name), self._flights.get(name)
            references = (pin.count if pin else 0) + (flight.waiters if flight else 0)
            if references:
                raise ShardInUseError(key, references=references)
            if flight is not None:
                flight.fetching.is_doomed = True
                self._stop(flight)
                del self._flights[name]  # a new one waits for its end
        if flight is not None:
            flight.ended.wait(_DROP_SECONDS)
        freed = self._folder.remove(name)
        if freed is None and flight is None:
            raise ShardInUseError(key, references=1)  # of another process
        return (freed or 0) + (flight.freed if flight else 0)

    def collect(self, *, min_idle: float = 0.0, keep: Container[str] = ()) -> Collected:
        """Remove the copies that nobody reads.

        Args:
            min_idle: seconds for which a copy must not have been used.
            keep: keys of shards whose copies stay.
        """
        freed: dict[str, int] = {}
        skipped: dict[str, str] = {}
        for download in self._folder.downloads():
            key = self._key_of(download) or download.name
            if key in keep:
                skipped[key] = "to be kept"
            elif min_idle > 0 and time.time() - download.used < min_idle:
                skipped[key] = "used lately"
            else:
                size = self._folder.remove(download.name)
                if size is None:
                    skipped[key] = "in use"
                elif size:
                    freed[key] = size
        return Collected(freed, skipped)

    def sweep(self, known: Container[str]) -> list[str]:
        """Remove copies of shards that are not ``known``, and parts that cannot be gone on with.

        For the start of a store, which knows its keys. What another process is at stays, and so does everything
        that has no name of ours. Returns the keys (of a copy without a sound note: what its name says).
        """
        removed: list[str] = []
        for download in self._folder.downloads():
            key = self._key_of(download)
            is_wanted = key is not None and key in known and self._is_useful(download)
            if not is_wanted and self._folder.remove(download.name) is not None:
                removed.append(key or download.name)
        return removed

    def _key_of(self, download: Download) -> str | None:
        note = CopyNote.of(self._folder.note_of(download.name))
        return note.key if note is not None and file_name(note.key) == download.name else key_of(download.name)

    def _is_useful(self, download: Download) -> bool:
        if download.copy_size is not None:
            return self._is_whole(download.name, self._folder.stamp_of(download.name))
        note = CopyNote.of(self._folder.note_of(download.name))
        return note is not None and download.part_size is not None and note.resumable

    # -- life cycle ---------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("the local copies were closed")

    def close(self, *, timeout: float = 10.0) -> bool:
        """Stop all downloads, which can be gone on with later, and let go of all copies; may be called twice.

        Returns whether all downloads ended within ``timeout`` seconds: one whose mount hangs does not.
        """
        with self._lock:
            self._is_closed = True
            for flight in self._running:
                self._stop(flight)
            for pin in self._pins.values():
                pin.held.touch()
                pin.held.close()
            self._pins.clear()
        deadline = time.monotonic() + timeout
        while self._running and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self._running

    def __enter__(self) -> Transients:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
