"""Indexing elsewhere: on an executor of the caller's, which may break, be shut down, or never answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.dagstore.indexing import run_index_task
from carv2.errors import ClosedError, StateError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future
    from threading import Event

    from carv2.dagstore.indexing import IndexResult, IndexTask

_GLANCE = 0.2
"""Seconds between two looks whether the store is being closed."""


class ExecutorError(StateError):
    """The executor does not do what it is given. That is no fault of the shard, which stays as it was."""


def run_on(executor: Executor, task: IndexTask, closing: Event) -> IndexResult:
    """What :func:`run_index_task` comes to on ``executor``.

    Raises:
        ExecutorError: it takes no work, or threw this away.
        ClosedError: ``closing`` was set meanwhile; what was begun may go on there.
        Exception: what it says became of the task, such as that the process that had it died.
    """
    if closing.is_set():
        raise ClosedError("the store was closed")
    try:
        future = executor.submit(run_index_task, task)
    except Exception as error:  # each executor has its own for being shut down, or broken by an earlier task
        raise ExecutorError(f"the executor takes no work: {_text(error)}") from error
    return _result_of(future, closing)


def _result_of(future: Future[IndexResult], closing: Event) -> IndexResult:
    from concurrent import futures  # noqa: PLC0415  (loaded long since by who has an executor)

    while True:
        try:
            return future.result(timeout=_GLANCE)
        except futures.CancelledError as error:
            raise ExecutorError("the executor was shut down, and the work with it") from error
        except futures.TimeoutError:
            if future.done():  # it is what the work ended with
                raise
        if closing.is_set():
            future.cancel()
            raise ClosedError("the store was closed")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
