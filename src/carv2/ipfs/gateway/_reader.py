"""The body of an archive, batch by batch, and the threads in which that is read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from carv2 import _varint
from carv2.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future

    from carv2.unixfs import RequestedBlock

Answer = TypeVar("Answer")

BATCH = 1 << 20
"""Bytes of an archive that are read and sent at a time, or a block if that is more."""


LARGE = 1 << 19
"""Bytes of a block that is sent by itself: to copy it costs more than to send one piece more."""


class Batch(NamedTuple):
    """Whole sections of an archive."""

    pieces: list[bytes]
    """To be sent one after the other."""
    is_last: bool
    error: Exception | None = None
    """What went wrong behind them."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.pieces))


class Sections:
    """Blocks as the bytes of an archive.

    Args:
        head: what comes first.
        blocks: of the archive; closed when it is over.
        on_block: called for each block; None for nothing.
        max_bytes: of the archive; None for any number.
    """

    def __init__(
        self,
        head: bytes,
        blocks: Iterator[RequestedBlock],
        on_block: Callable[[], object] | None,
        max_bytes: int | None,
    ) -> None:
        self._held, self._size = [head], len(head)
        self._pieces: list[bytes] = []
        self._blocks, self._on_block = blocks, on_block
        self._left = max_bytes
        self._max_bytes = max_bytes

    def take(self) -> Batch:
        """The next batch. Blocks that came before an error are in it."""
        error: Exception | None = None
        try:
            for cid, data, _, _ in self._blocks:
                if self._on_block is not None:
                    self._on_block()
                section = len(cid) + len(data)
                head = _varint.encode(section) + cid
                self._pay(len(head) + len(data))
                self._hold(head, data)
                if self._size >= BATCH:
                    return self._batch(is_last=False)
        except Exception as fault:  # noqa: BLE001  (told to whoever sends the batch)
            error = fault
        return self._batch(is_last=True, error=error)

    def _hold(self, head: bytes, data: bytes) -> None:
        self._size += len(head) + len(data)
        self._held.append(head)
        if len(data) < LARGE:
            self._held.append(data)
        else:
            self._pieces += (b"".join(self._held), data)
            self._held = []

    def _pay(self, size: int) -> None:
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise BudgetError("bytes of an answer", allowed=self._max_bytes or 0)

    def _batch(self, *, is_last: bool, error: Exception | None = None) -> Batch:
        pieces = [*self._pieces, b"".join(self._held)] if self._held else self._pieces
        self._held, self._pieces, self._size = [], [], 0
        return Batch(pieces, is_last, error)


class Worker:
    """Calls in the threads of ``executor``, one at a time.

    Args:
        executor: where they run.
        timeout: seconds to wait for one.
    """

    def __init__(self, executor: Executor, timeout: float) -> None:
        self._executor, self._timeout = executor, timeout
        self._future: Future[Any] | None = None

    def begin(self, call: Callable[[], object]) -> None:
        """Have ``call`` run from now on."""
        self._future = self._executor.submit(call)

    async def result(self) -> Any:
        """What the call that was begun last comes to.

        Raises:
            TimeoutError: nothing in time. Its thread goes on for as long as its storage does.
        """
        assert self._future is not None  # the caller began it
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._future), self._timeout)
        except asyncio.TimeoutError:
            if self._future.done() and not self._future.cancelled():
                raise  # the storage's own
            raise TimeoutError("no block in time") from None  # another class before Python 3.11

    async def call(self, call: Callable[[], Answer]) -> Answer:
        """What ``call`` comes to."""
        self.begin(call)
        return cast("Answer", await self.result())

    def close(self, afterwards: Callable[[], object]) -> None:
        """Call nothing more; ``afterwards`` is called when no thread is at work any longer."""
        if self._future is None:
            afterwards()
            return
        self._future.cancel()
        self._future.add_done_callback(lambda _: afterwards())
