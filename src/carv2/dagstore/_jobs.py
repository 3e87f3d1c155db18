"""Work that outlives whoever asked for it: in threads that never keep the interpreter from ending."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from carv2.errors import ClosedError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")

_IDLE_SECONDS = 5.0  # a thread without work ends after that


class Job(Generic[_Result]):
    """One piece of work, which any number may wait for.

    Args:
        what: it is, for those who waited too long.
        work: is done, unless the store is closed first.
        unless: is called if it will never be done.
        then: is called at the end, once those who wait know.
        obstacle: what it waits for itself, for those who waited too long.
    """

    def __init__(
        self,
        what: str,
        work: Callable[[], _Result],
        *,
        unless: Callable[[], object] = lambda: None,
        then: Callable[[], object] = lambda: None,
        obstacle: Callable[[], str] = lambda: "",
    ) -> None:
        self.what, self.obstacle = what, obstacle
        self._work, self._unless, self._then = work, unless, [then]
        self._lock, self._done = threading.Lock(), threading.Event()
        self._result: _Result | None = None
        self._error: BaseException | None = None
        self._is_over = False

    @property
    def is_done(self) -> bool:
        """Whether those who wait for it have their answer."""
        return self._done.is_set()

    def run(self) -> None:
        """Do it; whoever waits is told of the end."""
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
            self._finish(None, error)
        else:
            self._finish(result, None)
        self._end()

    def drop(self) -> None:
        """It will not be done: the store was closed."""
        self._unless()
        self.give_up()
        self._end()

    def give_up(self) -> None:
        """Nobody waits for it any longer, though it may still be going on."""
        self._finish(None, ClosedError("the store was closed"))

    def _finish(self, result: _Result | None, error: BaseException | None) -> None:
        """The first end counts."""
        with self._lock:
            if not self._done.is_set():
                self._result, self._error = result, error
                self._done.set()

    def afterwards(self, call: Callable[[], object]) -> None:
        """Have ``call`` called at the end; at once, if that was already."""
        with self._lock:
            if not self._is_over:
                self._then.append(call)
                return
        call()

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
        for call in self._then:
            call()

    def wait(self, timeout: float | None = None) -> _Result:
        """What it came to.

        Raises:
            WaitTimeoutError: it is still going on after ``timeout`` seconds; it goes on.
            Exception: what it failed with.
        """
        if not self._done.wait(timeout):
            raise WaitTimeoutError(self.what, seconds=timeout or 0)
        if self._error is not None:
            raise self._error.with_traceback(None)  # else it grew with each who waits
        return cast("_Result", self._result)


class JobThreads:
    """Runs jobs in up to ``most`` threads, which are started when they are needed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._waiting: deque[Job[object]] = deque()
        self._running: set[Job[object]] = set()
        self._threads = self._idle = 0
        self._is_closed = False

    def start(self, job: Job[_Result]) -> Job[_Result]:
        """Have ``job`` run as soon as there is a thread for it.

        Raises:
            ClosedError: there will be none; nobody need wait for the job.
            RuntimeError: the system has no thread left for it; the same.
        """
        try:
            self._start(cast("Job[object]", job))
        except BaseException:
            job.drop()
            raise
        return job

    def _start(self, job: Job[object]) -> None:
        with self._changed:
            if self._is_closed:
                raise ClosedError("the store was closed")
            self._waiting.append(job)
            if self._idle >= len(self._waiting) or self._threads == self._most:
                self._changed.notify()
                return
            thread = threading.Thread(target=self._work, name="carv2-dagstore", daemon=True)
            self._threads += 1
            try:
                thread.start()
            except BaseException:
                self._threads -= 1
                if not self._threads:  # the others will come to it
                    self._waiting.remove(job)
                    raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                with contextlib.suppress(Exception):  # what is done after a job must not cost a thread
                    job.run()
            finally:
                with self._changed:
                    self._running.discard(job)
            del job  # what it holds should go while this thread waits

    def _next(self) -> Job[object] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._is_closed, _IDLE_SECONDS)
            self._idle -= 1
            if self._waiting and not self._is_closed:
                job = self._waiting.popleft()
                self._running.add(job)
                return job
            self._threads -= 1
            self._changed.notify_all()
            return None

    def close(self) -> None:
        """Start no more; jobs that wait for a thread are dropped."""
        with self._changed:
            self._is_closed = True
            dropped = [*self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        for job in dropped:
            job.drop()

    def join(self, timeout: float | None) -> bool:
        """Wait for what is going on, then let go of those who wait for it still; whether it ended."""
        with self._changed:
            is_over = self._changed.wait_for(lambda: not self._threads, timeout)
            hanging = [*self._running]
        for job in hanging:
            job.give_up()
        return bool(is_over)


class Deadline:
    """A point in time that several waits share; None for never."""

    def __init__(self, timeout: float | None) -> None:
        self.seconds = timeout or 0.0
        self._end = None if timeout is None else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds to it, not below 0."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
