"""Hashing by threads, with what follows from each hash done in the order of the calls."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from carv2._ahead import WORTH_A_THREAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    from carv2.unixfs._blocks import Data

_MAX_WAITING = 256  # small blocks that wait behind a large one


class _Waiting(NamedTuple):
    digest: Future[bytes] | None
    data: Data
    """Empty where there is only something to do."""
    buffer: bytearray | None
    then: Callable[[Data, bytes], object]


class HashLine:
    """Hashes blocks; each ``then(data, digest)`` is called in the order of the calls, in the caller's thread.

    Small blocks with nothing before them are done at once. Use as a context manager: it ends the threads.

    Args:
        digest: the hash function.
        workers: threads; 1 for none.
        buffer_size: bytes of each buffer that :meth:`buffer` gives.
    """

    def __init__(self, digest: Callable[[Data], bytes], *, workers: int, buffer_size: int) -> None:
        self._digest, self._workers, self._buffer_size = digest, workers, buffer_size
        self._waiting: deque[_Waiting] = deque()
        self._free: list[bytearray] = []
        self._buffers_left = 2 * workers + 2 if workers > 1 else 1
        self._pool: ThreadPoolExecutor | None = None

    def buffer(self) -> bytearray:
        """A buffer for a block; :meth:`hash` takes it back, as does :meth:`release`."""
        while not self._free:
            if self._buffers_left:
                self._buffers_left -= 1
                return bytearray(self._buffer_size)
            self._step()
        return self._free.pop()

    def release(self, buffer: bytearray) -> None:
        """Take back a buffer that was not needed."""
        self._free.append(buffer)

    def hash(self, data: Data, then: Callable[[Data, bytes], object], buffer: bytearray | None = None) -> None:
        """Hash ``data``, which may lie in ``buffer``, then call ``then``."""
        if len(data) >= WORTH_A_THREAD and self._workers > 1:
            self._append(_Waiting(self._submit(data), data, buffer, then))
        elif self._waiting:
            self._append(_Waiting(None, data, buffer, then))
        else:
            then(data, self._digest(data))
            if buffer is not None:
                self._free.append(buffer)

    def call(self, action: Callable[[], object]) -> None:
        """Call ``action`` when everything before it is done."""
        if self._waiting:

            def then(_data: Data, _digest: bytes) -> None:
                action()

            self._append(_Waiting(None, b"", None, then))
        else:
            action()

    def drain(self) -> None:
        """Do what is left."""
        while self._waiting:
            self._step()

    def _append(self, item: _Waiting) -> None:
        self._waiting.append(item)
        if len(self._waiting) > _MAX_WAITING:
            self._step()

    def _submit(self, data: Data) -> Future[bytes]:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (15 ms, for large files only)

            self._pool = ThreadPoolExecutor(self._workers)
        return self._pool.submit(self._digest, data)

    def _step(self) -> None:
        digest, data, buffer, then = self._waiting.popleft()
        then(data, self._digest(data) if digest is None else digest.result())
        if buffer is not None:
            self._free.append(buffer)

    def __enter__(self) -> HashLine:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
