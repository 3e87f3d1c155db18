"""When a read of an open shard fails: finding out whether its index and its bytes are still the right ones."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from carv2.dagstore._opening import StaleError, has_local_copy, version_of
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.states import Operation
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ChangedError,
    FormatError,
    IndexFormatError,
    IntegrityError,
    MountChangedError,
    ShardErroredError,
)

if TYPE_CHECKING:
    from carv2.dagstore._core import Core
    from carv2.dagstore._live import LiveShard
    from carv2.dagstore._opening import OpenShard

_OF_THE_BYTES = (ChangedError, FormatError, IntegrityError)


class Doubts:
    """What was found out about one open shard, each thing once."""

    def __init__(self, core: Core, shard: LiveShard, opened: OpenShard) -> None:
        self._core, self._shard, self._opened = core, shard, opened
        self._lock = threading.Lock()
        self._is_index_right: bool | None = None
        self._change: str | None = None
        """What happened to the bytes; empty if nothing is known of that."""

    def about(self, error: Exception) -> CarError | None:
        """The cause of ``error``, which is seen to; None if there is none but itself."""
        if not isinstance(error, BlockNotFoundError):
            self._shard.close_soon(self._opened)  # it may be of what was opened, and not of what is there
        with self._lock:
            return self._of_the_index() or (self._of_the_bytes() if isinstance(error, _OF_THE_BYTES) else None)

    def _of_the_index(self) -> CarError | None:
        if self._is_index_right is None:
            with contextlib.suppress(CarError, OSError):  # closed, or the disk fails: nobody knows
                self._is_index_right = self._opened.has_right_index()
            if self._is_index_right is False:
                self._make_anew()
        if self._is_index_right is not False:
            return None
        why = f"{self._shard.key}: its index file was damaged and is made anew; acquire the shard again"
        return IndexFormatError(why, position=0)

    def _make_anew(self) -> None:
        core, opened = self._core, self._opened
        self._shard.close_soon(opened)
        core.counters.add("rebuilt")
        with contextlib.suppress(CarError, OSError), core.live.entered(self._shard.key) as shard:
            row, version = core.seen(shard)
            if row.state is DurableState.AVAILABLE and version_of(row) == opened.version:
                core.begin(shard, row, version, Operation.INITIALIZE)

    def _of_the_bytes(self) -> CarError | None:
        if self._change is None:
            self._change = self._change_of_copy() if self._opened.is_of_copy else self._change_of_mount()
        row = self._opened.row
        if not self._change:
            return None
        if self._opened.is_of_copy:
            return MountChangedError(self._change, url="")
        return ShardErroredError(row.key, cause=self._change, error_type="MountError")

    def _change_of_copy(self) -> str:
        """Of the caller's own file, in place of which the mount is read from now on."""
        row = self._opened.row
        if has_local_copy(row):
            return ""
        return f"{row.key}: {row.local_copy} changed since it was indexed; acquire the shard again"

    def _change_of_mount(self) -> str:
        core, row = self._core, self._opened.row
        try:
            core.opener.check(row, core.mounts.instantiate(row.url))
        except StaleError as error:
            core.fail(self._shard, row, error)
            return str(error)
        except (CarError, OSError, ValueError):  # it cannot be told now
            pass
        return ""


def cause_of(core: Core, shard: LiveShard, opened: OpenShard, error: Exception) -> CarError | None:
    """What to raise in place of ``error``, with which a read of an open shard failed; None for that itself."""
    with shard.lock:
        doubts = opened.doubts
        if doubts is None:
            doubts = opened.doubts = Doubts(core, shard, opened)
    return doubts.about(error)
