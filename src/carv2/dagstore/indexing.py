"""The job of indexing one shard: a function and what goes in and out, for any executor.

:func:`run_index_task` may run in another thread, another process or, where the folders are shared, on another
machine: task and result are plain values, and an error is a value too.

>>> import tempfile
>>> import carv2
>>> from carv2.dagstore.mounts import BytesMount
>>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")]))
>>> held = tempfile.TemporaryDirectory()
>>> folder = IndexFolder(held.name)
>>> result = run_index_task(IndexTask("baga", folder.folder, mount=BytesMount(archive)))
>>> result.ok, result.facts.block_count, result.source_size
(True, 1, 59)
>>> folder.publish("baga", result.draft)
>>> held.cleanup()
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carv2._downloads import is_out_of_room
from carv2._source import FileSource, Source
from carv2.dagstore._own_index import fault_of
from carv2.dagstore.indices import IndexFacts, IndexFolder
from carv2.dagstore.keys import check_key
from carv2.errors import MountChangedError, MountError, TruncatedError
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2.dagstore.mounts.protocol import Mount, MountStat

__all__ = ["IndexResult", "IndexTask", "run_index_task"]


@dataclass(frozen=True, slots=True)
class IndexTask:
    """What to index, and where the index goes."""

    key: str
    index_folder: str
    mount: Mount | None = None
    """Where the bytes are; it must have random access, unless there is a ``path``."""
    path: str = ""
    """A local file to read instead: a transient, or a copy of the caller's."""
    source_tag: str = ""
    """What the mount was tagged with when the local file was made; of a copy of the caller's what tells it."""
    own_index: Literal["spot", "whole", "never"] = "never"
    """A CARv2's own index is taken over after spot checks, after a check against every section, or not at all.

    Spot checks are for those who wrote it themselves: one that is made to deceive can pass them, and hide blocks.
    """
    null_padding: bool = True
    """Zeros behind the last section are its end: pieces are padded."""
    identity: bool = True
    """A generated index lists identity CIDs."""
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What became of a task: ``facts`` of the index, which is in a draft, or an error."""

    key: str
    draft: str = ""
    """Name of a file in the index folder: see :meth:`carv2.dagstore.indices.IndexFolder.publish`."""
    facts: IndexFacts | None = None
    source_size: int | None = None
    """Bytes that were indexed."""
    source_tag: str = ""
    adopted: bool = False
    """The index is the archive's own."""
    not_adopted: str = ""
    """Why it is not, of a CARv2 that has one."""
    error_type: str = ""
    """Name of the class of the error; empty if there was none."""
    error: str = ""
    no_room: tuple[int, str] | None = None
    """``errno`` and name of the file, if the disk that the index goes to is full."""

    @property
    def ok(self) -> bool:
        """Whether there is an index."""
        return self.facts is not None


def run_index_task(task: IndexTask, *, watch: Callable[[Source], Source] | None = None) -> IndexResult:
    """Index a shard. Whatever goes wrong is in the result, and the index file that was there stays as it was.

    So it does if all goes well: the index is written to a file of the task's own. Whoever gave out the task
    publishes that, if he may still work on the shard; this may come late, long after somebody else did.

    The archive is read once, front to back, without the data of large blocks; nothing is hashed. Of a CARv2 whose
    own index is taken over after spot checks only that is read. Memory: 40 bytes a block, and 16 of such an index.

    ``watch`` gets the source of its bytes, and gives what is read instead.
    """
    try:
        return _index(task, watch)
    except OSError as error:
        no_room = (error.errno or 0, str(error.filename or "")) if is_out_of_room(error) else None
        return IndexResult(task.key, error_type=type(error).__name__, error=str(error), no_room=no_room)
    except Exception as error:  # noqa: BLE001  (nothing says that what a mount raises can be pickled)
        return IndexResult(task.key, error_type=type(error).__name__, error=str(error))


def _index(task: IndexTask, watch: Callable[[Source], Source] | None) -> IndexResult:
    check_key(task.key)
    before = _Stamp.of(task)
    source = _open(task) if watch is None else watch(_open(task))
    try:
        with CarReader(source, limits=task.limits, null_padding=task.null_padding) as car:
            _check_size(car, before)
            fault = _fault_of_own(car, task)
            chunks = _generated(car, task) if fault or car.index is None else car.index.chunks()
            folder, size = IndexFolder(task.index_folder), source.size  # behind the draft nothing may fail
            draft, facts = folder.draft(_unless_changed(chunks, task, before))
            return IndexResult(
                task.key,
                draft=draft,
                facts=facts,
                source_size=size,
                source_tag=task.source_tag or before.tag,
                adopted=not fault,
                not_adopted=fault if car.header is not None and car.header.has_index else "",
            )
    finally:
        source.close()


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells whether bytes are still the same."""

    size: int | None
    tag: str
    file: tuple[int, int, int] | None = None
    """Device, inode and time of modification, of a local file."""

    @classmethod
    def of(cls, task: IndexTask) -> _Stamp:
        if task.path:
            stat = os.stat(task.path)
            return cls(stat.st_size, "", (stat.st_dev, stat.st_ino, stat.st_mtime_ns))
        return cls._of_mount(_mount_of(task).stat(), _mount_of(task).url)

    @classmethod
    def _of_mount(cls, stat: MountStat, url: str) -> _Stamp:
        if not stat.exists:
            raise MountError("underlying mount no longer exists", url=url)
        return cls(stat.size, stat.tag)


def _mount_of(task: IndexTask) -> Mount:
    if task.mount is None:
        raise ValueError("a task needs a mount or a path")
    return task.mount


def _url_of(task: IndexTask) -> str:
    return task.path if task.mount is None else task.mount.url


def _open(task: IndexTask) -> Source:
    return FileSource.open(task.path) if task.path else _mount_of(task).open()


def _check_size(car: CarReader, before: _Stamp) -> None:
    size = car.source.size
    if before.size is not None and size != before.size:
        raise MountChangedError(f"it has {size} bytes, and its mount says {before.size}", url="")
    if size < car.payload_end:
        start = car.payload_position
        raise TruncatedError("payload", wanted=car.payload_end - start, got=max(0, size - start), position=size)


def _fault_of_own(car: CarReader, task: IndexTask) -> str:
    """Why the archive's own index is not taken over."""
    if car.header is None or not car.header.has_index:
        return "there is none"
    if task.own_index == "never":
        return "no index of an archive is to be"
    return fault_of(car, whole=task.own_index == "whole")


def _generated(car: CarReader, task: IndexTask) -> Iterable[bytes]:
    return car.build_index(identity=task.identity).chunks()


def _unless_changed(chunks: Iterable[bytes], task: IndexTask, before: _Stamp) -> Iterator[bytes]:
    """The chunks, and an error behind them if the archive is another one now: so that nothing is written."""
    yield from chunks
    if _Stamp.of(task) != before:
        raise MountChangedError("it changed while it was being indexed", url=_url_of(task))
