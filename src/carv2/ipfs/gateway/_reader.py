"""The body of an archive, piece by piece, and the threads in which that is read."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from carv2 import _varint
from carv2.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future

    from carv2.unixfs import RequestedBlock

Answer = TypeVar("Answer")

PIECE = 1 << 19
"""Bytes of small sections that are sent at once. To copy a larger block costs more than to send it by itself."""

_AHEAD = 1 << 20
"""Bytes that are read before they are taken, or a block if that is more."""


def pieces_of(
    head: bytes,
    blocks: Iterator[RequestedBlock],
    on_block: Callable[[], object] | None,
    max_bytes: int,
) -> Iterator[bytes]:
    """Blocks as the bytes of an archive. Those that came before an error are given before it is raised.

    Args:
        head: what comes first.
        blocks: of the archive.
        on_block: called for each block; None for nothing.
        max_bytes: of the archive.

    Raises:
        BudgetError: the archive is larger.
        Exception: what ``blocks`` raises, and ``on_block``.
    """
    held, size, left = [head], len(head), max_bytes
    error: Exception | None = None
    try:
        for cid, data, _, _ in blocks:
            if on_block is not None:
                on_block()
            length = _varint.encode(len(cid) + len(data))
            section = len(length) + len(cid) + len(data)
            left -= section
            if left < 0:
                raise BudgetError("bytes of an answer", allowed=max_bytes)
            held += (length, cid)
            if len(data) >= PIECE:
                yield b"".join(held)
                yield data
                held, size = [], 0
                continue
            held.append(data)
            size += section
            if size >= PIECE:
                yield b"".join(held)
                held, size = [], 0
    except Exception as fault:  # noqa: BLE001  (raised below)
        error = fault
    if held:
        yield b"".join(held)
    if error is not None:
        raise error


class Worker:
    """Calls in the threads of ``executor``, one at a time.

    Args:
        executor: where they run.
        timeout: seconds to wait for one.
    """

    def __init__(self, executor: Executor, timeout: float) -> None:
        self._executor, self._timeout = executor, timeout
        self._future: Future[Any] | None = None
        self.is_closed = False
        """Whether what is read will not be taken."""

    def begin(self, call: Callable[[], object]) -> Future[Any]:
        """Have ``call`` run from now on; the one before it has ended, or is about to."""
        self._future = self._executor.submit(call)
        return self._future

    async def call(self, call: Callable[[], Answer]) -> Answer:
        """What ``call`` comes to.

        Raises:
            TimeoutError: nothing in time. Its thread goes on for as long as its storage does.
        """
        future = asyncio.wrap_future(self.begin(call))
        future.add_done_callback(_seen)
        await self.wait_for(future)
        return cast("Answer", future.result())

    async def wait_for(self, future: asyncio.Future[Any]) -> None:
        """Wait until ``future`` is done, whatever it comes to.

        Raises:
            TimeoutError: it is not in time, and was cancelled.
        """
        if not (await asyncio.wait({future}, timeout=self._timeout))[0]:
            future.cancel()
            raise TimeoutError("no block in time")

    def close(self, afterwards: Callable[[], object]) -> None:
        """Call nothing more; ``afterwards`` is called when no thread is at work any longer."""
        self.is_closed = True
        if self._future is None:
            afterwards()
            return
        self._future.cancel()
        self._future.add_done_callback(lambda _: afterwards())


class ReadAhead:
    """Pieces that a thread of ``worker`` reads while others are sent.

    The thread ends when enough is read and another is begun when some of it was taken: what a client does not take
    keeps no thread. To be made and used in an event loop.

    Args:
        pieces: to be read.
        worker: whose threads read.
        hold: told, in those threads, of how many bytes there are; what it raises is the end of the pieces.
    """

    def __init__(self, pieces: Iterator[bytes], worker: Worker, hold: Callable[[int], object]) -> None:
        self._pieces, self._worker, self._hold = pieces, worker, hold
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._ready: deque[bytes] = deque()
        self._size = self._taken = 0  # bytes that are ready, and of the piece that was taken last
        self._is_reading = True
        self._waiter: asyncio.Future[None] | None = None
        self.is_over = False
        """Whether all that will ever be is ready."""
        self.error: Exception | None = None
        """Why it is over, if that is not the end of the pieces."""

    async def begin(self) -> None:
        """Read the first megabyte, or all that there is.

        Raises:
            TimeoutError: it cannot be had in time.
        """
        await self._worker.call(self._read)

    def rest(self) -> bytes:
        """All that is ready."""
        return b"".join(self._ready)

    async def take(self) -> bytes | None:
        """The next piece; the one before it is no longer counted. None at the end.

        Raises:
            Exception: what the pieces raise.
            TimeoutError: none in time.
        """
        while (piece := self._next()) is None:
            if self._waiter is None:
                if self.error is not None:
                    raise self.error
                return None
            await self._worker.wait_for(self._waiter)
        return piece

    def _next(self) -> bytes | None:
        """The next piece if one is ready; else there is something to wait for, unless it is over."""
        with self._lock:
            piece = self._ready.popleft() if self._ready else None
            self._taken = len(piece or b"")
            self._size -= self._taken
            self._waiter = None if piece or self.is_over else self._loop.create_future()
            reads_on = not self.is_over and not self._is_reading and self._size < _AHEAD
            self._is_reading |= reads_on
        if reads_on:
            self._worker.begin(self._read)
        return piece

    def _read(self) -> None:
        """Read until there is enough, in a thread."""
        reads_on = True
        while reads_on:
            piece, error = None, None
            try:
                piece = next(self._pieces, None)
                self._hold(self._size + self._taken + len(piece or b""))
            except Exception as fault:  # noqa: BLE001  (raised where the pieces are taken)
                piece, error = None, fault
            reads_on = self._put(piece, error)

    def _put(self, piece: bytes | None, error: Exception | None) -> bool:
        """Make a piece ready, or end with ``error``; whether to read on. If not, another thread may do so now."""
        with self._lock:
            if piece is None:
                self.is_over, self.error = True, error
            else:
                self._ready.append(piece)
                self._size += len(piece)
            reads_on = not self.is_over and self._size < _AHEAD and not self._worker.is_closed
            self._is_reading = reads_on
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(_wake, waiter)
        return reads_on


def _seen(future: asyncio.Future[Any]) -> None:
    """Where nobody waits any longer, what ``future`` comes to is no news."""
    if not future.cancelled():
        future.exception()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
