"""One download: from a mount into a part, whatever goes wrong on the way, and checked before it counts."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from carv2._downloads import is_disk_full
from carv2.dagstore._copy_note import CopyNote
from carv2.errors import CarError, ClosedError, LockedError, MountChangedError, MountError
from carv2.reader import CarReader

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from carv2._downloads import DownloadFolder, HeldCopy, Part
    from carv2.dagstore._quota import Quota
    from carv2.dagstore.mounts.protocol import Mount, MountStat

__all__ = ["Fetching"]

_CHECKPOINT = 64 << 20
"""Bytes between two moments in which what came is made durable: what a power cut costs of a download."""

_STRIDE = 64 << 20
"""Bytes that are reserved at a time where the mount does not know its size."""

_STARTS = 3
"""How often a download is begun if its bytes change meanwhile."""

_RESUMES = 3
"""How often one that breaks off is gone on with before it counts as failed, if each time some bytes came."""

_PAUSE = 0.1  # seconds before it is gone on with; twice as many each further time
_POLL = 0.02  # seconds between two looks at what another process is doing


class _UselessError(MountError):
    """What came is not what was promised: there is nothing to go on with."""


class Slots:
    """So many downloads at once; None is no limit."""

    def __init__(self, most: int | None) -> None:
        self._slots = None if most is None else threading.Semaphore(most)

    @contextlib.contextmanager
    def taken(self, stop: threading.Event) -> Generator[None]:
        """Wait for a slot, and have it; ClosedError once ``stop`` is set."""
        if self._slots is None:
            yield
            return
        while not self._slots.acquire(timeout=_POLL):
            check_going_on(stop)
        try:
            yield
        finally:
            self._slots.release()


def check_going_on(stop: threading.Event) -> None:
    """Raise ClosedError if the download is not to go on."""
    if stop.is_set():
        raise ClosedError("the download was stopped: local copies were closed, or this one was dropped")


class Fetching:
    """Brings one mount's bytes into a folder; :meth:`run` does it all, in the thread that calls it.

    Args:
        folder: where to.
        quota: of that folder.
        slots: one is taken while bytes come, and none while an origin that is not ready works.
        name: of the download.
        key: of the shard.
        mount: where from.
        size: bytes that there must be; None if that is not known.
        tag: what the mount must be tagged with; ``""`` if that is not known.
    """

    def __init__(
        self,
        folder: DownloadFolder,
        quota: Quota,
        slots: Slots,
        *,
        name: str,
        key: str,
        mount: Mount,
        size: int | None,
        tag: str,
    ) -> None:
        self._folder, self._quota, self._slots = folder, quota, slots
        self._name, self._key, self._mount = name, key, mount
        self._size, self._tag = size, tag
        self._note = CopyNote(key, size, tag, resumable=False, reserved=0)
        self.stop = threading.Event()
        """Set it, and the download ends at its next chunk."""
        self.is_doomed = False
        """Whether nothing of it is wanted any more, once it was stopped."""

    @property
    def url(self) -> str:
        """Where from."""
        return self._mount.url

    def run(self) -> HeldCopy:
        """Bring the bytes, unless the copy is there already (another process may have made it).

        Raises:
            MountError: they cannot be had, or are not what they should be.
            QuotaError: there is no room for them.
            OSError: of the folder's disk.
            ClosedError: it was stopped.
        """
        part = self._own_part()
        try:
            held = self._instead_of(part) or self._fetch(part)
        except _UselessError:
            part.discard()
            raise
        except BaseException:
            self._leave(part)
            raise
        finally:
            part.close()
        return held

    # -- before and after ---------------------------------------------------------------------------------

    def _own_part(self) -> Part:
        while True:
            try:
                return self._folder.begin(self._name)
            except LockedError:  # another process downloads it, or looks whether somebody does
                check_going_on(self.stop)
                self.stop.wait(_POLL)

    def _instead_of(self, part: Part) -> HeldCopy | None:
        """The copy, if it is the one that is wanted: then the part goes."""
        held = self._copy_at_hand()
        if held is not None:
            with contextlib.ExitStack() as undo:
                undo.callback(held.close)
                part.discard()
                undo.pop_all()
        return held

    def _copy_at_hand(self) -> HeldCopy | None:
        """The copy, if it is the one that is wanted; another one is out of the way afterwards."""
        with self._folder.locked(), contextlib.ExitStack() as undo:
            held = self._folder.hold(self._name)
            if held is not None:
                undo.callback(held.close)
                note = CopyNote.of(self._folder.note_of(self._name))
                if note is not None and note.is_of(held.stamp, self._size, self._tag):
                    undo.pop_all()
                    return held
            self._folder.take_away(self._name)
        return None

    def _leave(self, part: Part) -> None:
        """Keep what came, if it can be gone on with."""
        if not self._note.resumable or self.is_doomed or not part.size:
            part.discard()
            return
        with contextlib.suppress(OSError):  # the error that brought us here is the one to report
            part.sync()
            self._write_note(durable=part.size)

    def _write_note(self, *, durable: int) -> None:
        self._note = replace(self._note, durable=durable)
        self._quota.write_note(self._name, self._note)

    # -- the download -------------------------------------------------------------------------------------

    def _fetch(self, part: Part) -> HeldCopy:
        for _ in range(_STARTS):
            stat = self._stat()
            self._begin(part, stat)
            if self._fill(part, stat):
                after = self._stat()
                if (after.size, after.tag) == (stat.size, stat.tag):
                    return self._finish(part)
            part.truncate(0)
        part.discard()
        why = f"its bytes changed while they were copied, {_STARTS} times"
        raise MountChangedError(why, url=self._mount.url)

    def _stat(self) -> MountStat:
        with self._mount_errors():
            stat = self._mount.stat()
        if not stat.exists:
            raise MountError("underlying mount no longer exists", url=self._mount.url)
        if self._size is not None and stat.size not in {None, self._size}:
            raise MountChangedError(f"it has {stat.size} bytes, expected {self._size}", url=self._mount.url)
        if self._tag and stat.tag != self._tag:
            raise MountChangedError("it is not what it was when it was indexed", url=self._mount.url)
        return stat

    @contextlib.contextmanager
    def _mount_errors(self) -> Generator[None]:
        """Whatever a mount raises is a MountError: an OSError of ours would be about the disk here."""
        try:
            yield
        except MountError:
            raise
        except Exception as error:
            raise MountError(f"{type(error).__name__}: {error}", url=self._mount.url) from error

    def _begin(self, part: Part, stat: MountStat) -> None:
        """Cut the part to what can be gone on with, and reserve room for all of it."""
        old = CopyNote.of(self._folder.note_of(self._name))
        resumable = self._mount.resumable and bool(stat.tag)  # else nothing tells whether bytes changed
        is_same = old is not None and (old.key, old.size, old.tag) == (self._key, stat.size, stat.tag)
        kept = min(old.durable, part.size) if old is not None and is_same and resumable else 0
        if stat.size is not None and kept > stat.size:
            kept = 0
        part.truncate(kept)
        note = CopyNote(self._key, stat.size, stat.tag, resumable=resumable, reserved=0, durable=kept)
        self._note = note
        self._note = self._quota.reserve(self._name, note, kept + _STRIDE if stat.size is None else stat.size)

    def _fill(self, part: Part, stat: MountStat) -> bool:
        """Bring the missing bytes, going on a few times where it breaks off; False if they changed on the way."""
        for again in range(_RESUMES + 1):
            before = part.size
            if before == stat.size:
                break
            try:
                self._bring(part, stat)
                break
            except MountChangedError:
                return False
            except _UselessError:
                raise
            except MountError:
                if not self._note.resumable or again == _RESUMES or part.size == before:
                    raise
            self.stop.wait(_PAUSE * 2**again)
        return True

    def _bring(self, part: Part, stat: MountStat) -> None:
        position = part.size
        with contextlib.closing(self._chunks(position, ready=stat.ready)) as chunks:
            for chunk in chunks:
                check_going_on(self.stop)
                if stat.size is not None and position + len(chunk) > stat.size:
                    raise _UselessError(f"more than the {stat.size} bytes that it said", url=self._mount.url)
                self._write(part, position, chunk)
                position += len(chunk)
                if position - self._note.durable >= _CHECKPOINT:
                    part.sync()
                    self._write_note(durable=position)
        if stat.size is not None and position < stat.size:
            raise MountError(f"it ended after {position} of {stat.size} bytes", url=self._mount.url)

    def _chunks(self, start: int, *, ready: bool) -> Generator[bytes]:
        """The mount's bytes from ``start`` on; a slot is held from when they flow."""
        with self._mount_errors():
            chunks = iter(self._mount.chunks(start))
        try:
            first = b"" if ready else self._next(chunks)
            if first is None:
                return
            with self._slots.taken(self.stop):
                chunk: bytes | None = first
                while chunk is not None:
                    yield chunk
                    chunk = self._next(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _next(self, chunks: Iterator[bytes]) -> bytes | None:
        with self._mount_errors():
            return next(chunks, None)

    def _write(self, part: Part, position: int, chunk: bytes) -> None:
        end = position + len(chunk)
        if end > self._note.reserved:  # of unknown size
            self._note = self._quota.reserve(self._name, self._note, end + _STRIDE)
        try:
            part.write_at(position, chunk)
        except OSError as error:
            if not is_disk_full(error) or not self._quota.make_room(self._name, self._note.reserved - position):
                raise
            part.write_at(position, chunk)

    def _finish(self, part: Part) -> HeldCopy:
        self._check_archive(part)
        check_going_on(self.stop)
        self._note = replace(self._note, size=part.size, reserved=part.size, modified=part.modified)
        self._write_note(durable=part.size)
        return part.finish()

    def _check_archive(self, part: Part) -> None:
        """Refuse what is no archive, or the front of one. Its blocks are checked when they are read."""
        try:
            with CarReader(part.path, null_padding=True) as car:
                _ = car.payload_header
                is_whole = car.payload_end <= car.source.size
        except CarError as error:
            raise _UselessError(f"what it gives is not an archive: {error}", url=self._mount.url) from error
        if not is_whole:
            raise _UselessError("what it gives is the front of an archive only", url=self._mount.url)
