"""Looking over a store: what is lost, damaged, left over or stuck, and mending what can be mended."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from carv2.dagstore._opening import StaleError, facts_of, has_local_copy, version_of
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.states import Operation
from carv2.errors import CarError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from carv2.dagstore._core import Core
    from carv2.dagstore.catalogue import ShardRow

__all__ = ["Finding", "Problem"]


class Problem(enum.Enum):
    """What may be wrong with a store."""

    ERRORED = "errored"
    """A shard's last attempt failed; recovering it may help."""
    INDEX_MISSING = "index missing"
    INDEX_DAMAGED = "index damaged"
    INDEX_OF_NOBODY = "index of nobody"
    """An index file without a shard."""
    INDEX_OF_ANOTHER_STORE = "index of another store"
    """The same, in a folder that this store did not begin: it is never removed here."""
    NOT_SEARCHABLE = "not searchable"
    """A shard whose multihashes are not in the inverted index."""
    MOUNT_UNKNOWN = "mount unknown"
    """No mount is registered for the shard's URL."""
    MOUNT_GONE = "mount gone"
    """There is nothing behind the mount, or it does not answer."""
    MOUNT_CHANGED = "mount changed"
    """What is behind it is not what was indexed."""
    LOCAL_COPY_GONE = "local copy gone"
    """A caller's file that is not there any more; the mount is read instead."""
    LOCAL_COPY_CHANGED = "local copy changed"
    """A caller's file that is not what was indexed; the mount is read instead."""
    TRANSIENT_DAMAGED = "transient damaged"
    """The store's own copy of its bytes is no sound archive."""


_TAKE_OVER = "take it over with import-go, or remove it yourself"


def _is_of_mount(row: ShardRow) -> bool:
    """Whether the shard is errored because of its mount, which was said already."""
    return row.state is DurableState.ERRORED and row.error_type in {"MountError", "UnknownMountError"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong."""

    key: str
    problem: Problem
    detail: str = ""
    remedy: str = ""
    """What mends it."""
    is_mended: bool = False
    error: str = ""
    """Why it could not be mended, where that was tried."""


class Doctor:
    """Goes through a store once.

    Args:
        core: of the store.
        repair: mend what can be mended without asking anybody.
        thorough: read index files whole, against their digests.
        mounts: ask the mounts, too.
        stop: once it is set, no further shard is looked at; None for nobody will.
    """

    def __init__(
        self, core: Core, *, repair: bool, thorough: bool, mounts: bool, stop: threading.Event | None
    ) -> None:
        self._core, self._repair, self._thorough, self._mounts = core, repair, thorough, mounts
        self._stop = stop

    def findings(self) -> Iterator[Finding]:
        """All that is wrong, shard by shard, and then what belongs to none."""
        for row in self._core.catalogue.rows():
            if self._is_over():
                return
            yield from self._look_at(row)
        yield from self._left_over()

    def _is_over(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _look_at(self, row: ShardRow) -> Iterator[Finding]:
        if row.state is DurableState.ERRORED:
            found = Finding(row.key, Problem.ERRORED, row.error, "recover it")
            yield self._mended(found, lambda: self._again(row, Operation.RECOVER))
        elif row.state is DurableState.AVAILABLE:
            yield from self._look_at_index(row)
        if self._repair and (now := self._core.catalogue.get(row.key)) is not None:
            row = now  # it may have been mended
        yield from self._look_at_files(row)
        if self._mounts and not _is_of_mount(row):
            yield from self._look_at_mount(row)

    def _look_at_index(self, row: ShardRow) -> Iterator[Finding]:
        indices = self._core.indices
        try:
            indices.open(row.key, facts_of(row), check="whole" if self._thorough else "usual").close()
        except FileNotFoundError:
            found = Finding(row.key, Problem.INDEX_MISSING, "", "index it anew")
        except (CarError, OSError) as error:
            found = Finding(row.key, Problem.INDEX_DAMAGED, str(error), "index it anew")
        else:
            if not row.inverted:
                missing = Finding(row.key, Problem.NOT_SEARCHABLE, "", "enter its multihashes")
                yield self._mended(missing, lambda: self._again(row, Operation.INITIALIZE))
            return
        if not self._is_at_work(row):
            yield self._mended(found, lambda: self._again(row, Operation.INITIALIZE))

    def _is_at_work(self, row: ShardRow) -> bool:
        """Whether somebody changes the shard just now, or did, so that what was found says nothing."""
        catalogue = self._core.catalogue
        if self._core.leases.is_held(row.key):
            return True
        now = catalogue.get(row.key)
        return now is None or (now.state, version_of(now)) != (row.state, version_of(row))

    def _look_at_files(self, row: ShardRow) -> Iterator[Finding]:
        core = self._core
        if row.local_copy and not has_local_copy(row):
            is_there = os.path.isfile(row.local_copy)
            problem = Problem.LOCAL_COPY_CHANGED if is_there else Problem.LOCAL_COPY_GONE
            found = Finding(row.key, problem, row.local_copy, "forget it and read the mount")
            yield self._mended(found, lambda: core.catalogue.set_local_copy(row.key, ""))
        if self._thorough and core.transients.path_of(row.key) is not None:
            checked = core.transients.verify(row.key)
            if not checked.ok:
                found = Finding(row.key, Problem.TRANSIENT_DAMAGED, "", "fetch it again when it is needed")
                yield self._mended(found, lambda: core.transients.drop(row.key))

    def _look_at_mount(self, row: ShardRow) -> Iterator[Finding]:
        try:
            mount = self._core.opener.mount_of(row.url)
        except (CarError, ValueError) as error:
            yield Finding(row.key, Problem.MOUNT_UNKNOWN, str(error), "register its kind, or destroy the shard")
            return
        try:
            self._core.opener.check(row, mount)
        except CarError as error:
            problem = Problem.MOUNT_CHANGED if isinstance(error, StaleError) else Problem.MOUNT_GONE
            yield Finding(row.key, problem, str(error), "put its bytes back, or destroy the shard")

    def _left_over(self) -> Iterator[Finding]:
        indices = self._core.indices
        is_ours = self._core.ownership.is_ours()
        for name in indices.strays(row.key for row in self._core.catalogue.rows()):
            if self._is_over():
                return
            if not is_ours:
                yield Finding(name, Problem.INDEX_OF_ANOTHER_STORE, "", _TAKE_OVER)
                continue
            found = Finding(name, Problem.INDEX_OF_NOBODY, "", "remove it")
            yield self._mended(found, partial(indices.drop_stray, name))

    # -- mending --------------------------------------------------------------------------------------------

    def _mended(self, found: Finding, remedy: Callable[[], object]) -> Finding:
        if not self._repair:
            return found
        try:
            remedy()
        except (CarError, OSError) as error:
            return replace(found, error=str(error))
        return replace(found, is_mended=True)

    def _again(self, row: ShardRow, operation: Operation) -> None:
        self._core.index_again(row, operation)
