"""Several requests at a time, their answers in order."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from carv2.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class AtOnce:
    """Threads that ask, as many as there are to be connections; made when first needed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def map(self, ask: Callable[[_Asked], _Answer], items: Iterable[_Asked]) -> Iterator[_Answer]:
        """What ``ask`` gives for each item, in order; some items ahead of what was taken are asked for."""
        ahead: deque[Future[_Answer]] = deque()
        try:
            for item in items:
                ahead.append(self._start(ask, item))
                if len(ahead) >= 2 * self._count:
                    yield _wait_for(ahead.popleft())
            while ahead:
                yield _wait_for(ahead.popleft())
        finally:
            for future in ahead:
                future.cancel()

    def _start(self, ask: Callable[[_Asked], _Answer], item: _Asked) -> Future[_Answer]:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="carv2-kubo")
            return self._pool.submit(ask, item)

    def close(self) -> None:
        """Start nothing more; what is under way ends with its connections."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._pool.shutdown(wait=False, cancel_futures=True)


def _wait_for(future: Future[_Answer]) -> _Answer:
    try:
        return future.result()
    except CancelledError:
        raise _closed() from None


def _closed() -> ClosedError:
    return ClosedError("the connection to the node was closed")
