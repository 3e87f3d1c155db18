"""Opening an available shard: its bytes, wherever they are, joined with the index that the store keeps."""

from __future__ import annotations

import contextlib
import os
import threading
from stat import S_ISREG
from typing import TYPE_CHECKING

from carv2._source import FileSource
from carv2.blockstore.read_only import ReadOnlyBlockstore
from carv2.dagstore.catalogue import IndexFacts
from carv2.dagstore.mounts._calling import SequentialOnlyError, calling
from carv2.dagstore.mounts._patient import as_ready, patient
from carv2.errors import ChangedError, FormatError, IntegrityError, MountError, QuotaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2._source import Source
    from carv2.dagstore._doubts import Doubts
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.indices import IndexFolder, OpenIndex
    from carv2.dagstore.mounts import Mount, MountRegistry, MountStat
    from carv2.dagstore.throttles import Throttles
    from carv2.dagstore.transients import Transients


_COPY_TAG = "local copy "


class IndexLostError(Exception):
    """The index file is not there, or not the one that the catalogue knows; it can be made again."""


class StaleError(MountError):
    """The bytes behind a mount are not those that were indexed."""


class OpenShard:
    """An open shard, which all its readers share. It is closed when it is retired and the last of them left."""

    def __init__(
        self,
        row: ShardRow,
        store: ReadOnlyBlockstore,
        index: OpenIndex,
        source: Source,
        let_go: Callable[[], object],
        *,
        is_of_copy: bool,
    ) -> None:
        self.version, self.blockstore = version_of(row), store
        """Of what it is: the shard's number and generation."""
        self.row, self.is_of_copy = row, is_of_copy
        """As the shard was when it was opened, and whether the bytes are the caller's own file."""
        self.doubts: Doubts | None = None
        """What was found when something was missing or wrong in it."""
        self._index, self._source, self._let_go = index, source, let_go
        self._lock = threading.Lock()
        self._readers = 0
        self._is_retired = self._is_closed = False
        self._afterwards: Callable[[], object] = _nothing

    def has_right_index(self) -> bool:
        """Whether the index file, as it is open, is the one that was written; it is read from end to end."""
        return self._index.is_of(facts_of(self.row))

    def enter(self) -> bool:
        """One reader more; False if it is too late for that."""
        with self._lock:
            if self._is_retired:
                return False
            self._readers += 1
            return True

    def leave(self) -> None:
        """One reader less."""
        with self._lock:
            self._readers -= 1
            is_over = self._is_retired and not self._readers
        if is_over:
            self.close()

    def retire(self) -> None:
        """Take no more readers."""
        with self._lock:
            self._is_retired = True
            is_over = not self._readers
        if is_over:
            self.close()

    def afterwards(self, call: Callable[[], object]) -> None:
        """Have ``call`` called once it is closed."""
        self._afterwards = call

    def close(self) -> None:
        """Let go of files and of the local copy; reads end with ClosedError. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = self._is_retired = True
        with contextlib.ExitStack() as all_of_it:
            all_of_it.callback(self._afterwards)
            all_of_it.callback(self._let_go)
            all_of_it.callback(self._index.close)
            all_of_it.callback(self._source.close)
            all_of_it.callback(self.blockstore.close)


class Opener:
    """Finds the bytes of shards and opens them."""

    def __init__(
        self,
        mounts: MountRegistry,
        transients: Transients,
        indices: IndexFolder,
        throttles: Throttles,
        make_room: Callable[[], object],
        *,
        mount_timeout: float,
    ) -> None:
        self._mounts, self._transients, self._indices, self._throttles = mounts, transients, indices, throttles
        self._make_room, self._mount_timeout = make_room, mount_timeout

    def mount_of(self, url: str) -> Mount:
        """The mount of ``url``, whose answers are not waited for without end."""
        return patient(self._mounts.instantiate(url), self._mount_timeout)

    def open(self, row: ShardRow) -> OpenShard:
        """The shard of ``row``, which is available.

        Raises:
            IndexLostError: its index has to be made again.
            StaleError: its bytes changed since they were indexed.
            MountError: its bytes cannot be had now.
        """
        index = self._open_index(row)
        with contextlib.ExitStack() as undo:  # all of it, also where a mount's source cannot be closed
            undo.callback(index.close)
            is_of_copy = has_local_copy(row)
            source, let_go = self.source_of(row)
            undo.callback(let_go)
            undo.callback(source.close)
            try:
                store = ReadOnlyBlockstore(source, index=index.index, null_padding=True)
            except (FormatError, IntegrityError) as error:
                raise StaleError(f"its bytes are no archive any more: {error}", url=row.url) from error
            undo.pop_all()
        return OpenShard(row, store, index, source, let_go, is_of_copy=is_of_copy)

    def _open_index(self, row: ShardRow) -> OpenIndex:
        try:
            return self._indices.open(row.key, facts_of(row))
        except (FileNotFoundError, FormatError, IntegrityError, ChangedError) as error:
            raise IndexLostError(str(error)) from error

    def source_of(self, row: ShardRow) -> tuple[Source, Callable[[], object]]:
        """The bytes of a shard, and what to call when they are needed no more."""
        if has_local_copy(row):
            return FileSource.open(row.local_copy), _nothing
        mount = self.mount_of(row.url)
        stat = self.check(row, mount)
        slots = self._throttles.of(mount)
        with slots.fetching(ready=stat.ready):
            if self.has_random_access(mount):
                with contextlib.suppress(SequentialOnlyError), slots.storage_calls, calling(mount.url):
                    return as_ready(mount, stat.ready).open(), _nothing
            path = self.fetch(row, mount, stat)
        try:
            source = FileSource.open(path)
        except BaseException:
            self._transients.unpin(row.key)
            raise
        return source, lambda: self._transients.unpin(row.key)

    def fetch(self, row: ShardRow, mount: Mount, stat: MountStat) -> str:
        """A local copy, pinned; what is open and unused is closed if there is no room for it otherwise."""
        with contextlib.suppress(QuotaError):
            return self._transients.fetch(row.key, mount, size=stat.size, tag=stat.tag)
        self._make_room()
        return self._transients.fetch(row.key, mount, size=stat.size, tag=stat.tag)

    def has_random_access(self, mount: Mount) -> bool:
        """Whether its bytes can be read anywhere, for which its origin may have to be asked."""
        with self._throttles.of(mount).storage_calls, calling(mount.url):
            return mount.random_access

    def stat(self, mount: Mount) -> MountStat:
        """What the mount says of its bytes, which must be there."""
        with self._throttles.of(mount).storage_calls, calling(mount.url):
            stat = mount.stat(timeout=self._mount_timeout or None)
        if not stat.exists:
            raise MountError("underlying mount no longer exists", url=mount.url)
        return stat

    def check(self, row: ShardRow, mount: Mount) -> MountStat:
        """What the mount says of its bytes, which must be there, and be those that were indexed."""
        stat = self.stat(mount)
        if row.source_size is not None and stat.size is not None and stat.size != row.source_size:
            why = f"it has {stat.size} bytes, and had {row.source_size} when it was indexed"
            raise StaleError(why, url=row.url)
        was = "" if is_copy_tag(row.source_tag) else row.source_tag
        if was and stat.tag and stat.tag != was:
            raise StaleError("it was written to since it was indexed", url=row.url)
        return stat


def version_of(row: ShardRow) -> tuple[int, int]:
    """What tells a shard's bytes and index from those before, and from those of another shard of its key."""
    return row.id, row.generation


def has_local_copy(row: ShardRow) -> bool:
    """Whether the caller's own file with the shard's bytes is there, and is the one that was indexed."""
    if not row.local_copy:
        return False
    tag = copy_tag(row.local_copy)
    if not row.source_tag:
        return bool(tag) and row.source_size is None  # nothing was indexed yet
    return tag == row.source_tag


def copy_tag(path: str) -> str:
    """What tells a local copy of the caller's from others of its path; empty if there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{_COPY_TAG}{found.st_size} {found.st_mtime_ns} {found.st_ino}" if S_ISREG(found.st_mode) else ""


def is_copy_tag(tag: str) -> bool:
    """Whether a shard's source tag is that of a local copy of the caller's."""
    return tag.startswith(_COPY_TAG)


def facts_of(row: ShardRow) -> IndexFacts:
    """What the catalogue knows of the shard's index file."""
    return IndexFacts(
        size=row.index_size, digest=row.index_digest, codec=row.index_codec, block_count=row.block_count
    )


def _nothing() -> None:
    """Nothing to let go of."""
