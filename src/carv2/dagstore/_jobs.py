"""Work that outlives whoever asked for it: in threads that never keep the interpreter from ending."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Generic, TypeVar

from carv2.errors import ClosedError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")

_IDLE_SECONDS = 5.0  # a thread without work ends after that


class Job(Generic[_Result]):
    """One piece of work, which any number may wait for."""

    def __init__(self, what: str, work: Callable[[], _Result], *, then: Callable[[], object]) -> None:
        self.what = what
        self._work, self._then = work, then
        self._future: Future[_Result] = Future()

    @property
    def is_done(self) -> bool:
        """Whether it ended, well or not."""
        return self._future.done()

    def run(self) -> None:
        """Do it; whoever waits is told of the end, and then ``then`` is called."""
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
        finally:
            self._then()

    def abandon(self) -> None:
        """It will not be done: the store was closed."""
        self._future.set_exception(ClosedError("the store was closed"))
        self._then()

    def wait(self, timeout: float | None = None) -> _Result:
        """What it came to.

        Raises:
            WaitTimeoutError: it is still going on after ``timeout`` seconds; it goes on.
            Exception: what it failed with.
        """
        try:
            return self._future.result(timeout)
        except FutureTimeoutError:
            if self._future.done():
                raise
            raise WaitTimeoutError(self.what, seconds=timeout or 0) from None


class JobThreads:
    """Runs jobs in up to ``most`` threads, which are started when they are needed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: deque[Job[object]] = deque()
        self._threads = self._idle = 0
        self._is_closed = False

    def start(self, job: Job[_Result]) -> Job[_Result]:
        """Have ``job`` run as soon as there is a thread for it."""
        with self._changed:
            if self._is_closed:
                raise ClosedError("the store was closed")
            self._waiting.append(job)  # type: ignore[arg-type]
            if self._idle >= len(self._waiting) or self._threads == self._most:
                self._changed.notify()
            else:
                self._threads += 1
                threading.Thread(target=self._work, name="carv2-dagstore", daemon=True).start()
        return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            del job  # what it holds should go while this thread waits

    def _next(self) -> Job[object] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._is_closed, _IDLE_SECONDS)
            self._idle -= 1
            if self._waiting and not self._is_closed:
                return self._waiting.popleft()
            self._threads -= 1
            self._changed.notify_all()
            return None

    def close(self, timeout: float) -> bool:
        """Start no more, and wait up to ``timeout`` seconds for what is going on; whether it ended."""
        with self._changed:
            self._is_closed = True
            for job in self._waiting:
                job.abandon()
            self._waiting.clear()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._threads, timeout)


class Deadline:
    """A point in time that several waits share; None for never."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds to it, not below 0."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
