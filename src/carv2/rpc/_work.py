"""Calls that block, awaited: in threads of which there are so many, and one call for all who ask the same."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from carv2.dagstore._jobs import Job, JobThreads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Shared", "Work", "within"]

_Result = TypeVar("_Result")


class Work:
    """Runs calls in up to ``threads`` threads; the others wait their turn.

    >>> asyncio.run(Work(1).run(lambda: 6 * 7))
    42
    """

    def __init__(self, threads: int) -> None:
        self._threads = JobThreads(threads)

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """What ``call`` comes to. If this is cancelled, it is not begun any more; once begun, it ends unheard."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        is_wanted = True

        def if_wanted() -> _Result | None:
            return call() if is_wanted else None

        job = self._threads.start(Job("call", if_wanted))
        job.afterwards(partial(_tell, loop, done))
        try:
            await done.wait()
        finally:
            is_wanted = False
        return job.wait(0)  # type: ignore[return-value]  # None is for nobody


async def within(seconds: float, work: Awaitable[_Result]) -> _Result:
    """What ``work`` comes to; asyncio.TimeoutError, and it is cancelled, if that takes longer.

    ``asyncio.wait_for`` of Python before 3.12 forgets that it was cancelled if ``work`` ends at that moment.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # who was cancelled at that moment does not hear of it, and asyncio need not complain


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(done.set)


class Shared(Generic[_Result]):
    """One run for all who ask before it begins; who asks while it goes on gets the next one.

    So everybody sees what was so after they asked, and a thousand who ask at once cost two runs.
    """

    def __init__(self, run: Callable[[], Awaitable[_Result]]) -> None:
        self._run = run
        self._now: asyncio.Task[_Result] | None = None
        self._next: asyncio.Task[_Result] | None = None

    async def get(self) -> _Result:
        """What a run comes to that begins after this was called; raises what it fails with."""
        if self._next is None or self._next.done():  # done: it was cancelled with its event loop
            self._next = asyncio.ensure_future(self._after(self._now))
            self._next.add_done_callback(_look_at)
        return await asyncio.shield(self._next)

    async def _after(self, earlier: asyncio.Task[_Result] | None) -> _Result:
        if earlier is not None and not earlier.done():
            await asyncio.wait({earlier})
        self._now, self._next = self._next, None
        return await self._run()


def _look_at(task: asyncio.Task[_Result]) -> None:
    """Nobody may be left to hear of its error."""
    if not task.cancelled():
        task.exception()
