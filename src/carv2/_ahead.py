"""Large blocks hashed by threads before their turn comes, in reading and in writing."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from carv2 import multihash
from carv2.cid import CID
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future, ThreadPoolExecutor

    from carv2.cid import CIDLike

_S = TypeVar("_S")
_T = TypeVar("_T")

WORTH_A_THREAD = 32 << 10
"""Bytes of a block from which on hashing it in a thread of its own pays: hashlib lets go of the interpreter."""
UNASKED = 8 << 20
"""Bytes of large blocks before threads that nobody asked for: to begin some takes as long as hashing these."""
_HELD = 8 << 20
"""Bytes of blocks that are held ahead."""


def default_workers() -> int:
    """Threads that are worth it here: one for each processor of this process, four at most."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(4, os.cpu_count() or 1 if affinity is None else len(affinity(0)))


class Job(NamedTuple):
    """What a thread may do."""

    size: int
    """Bytes that it holds."""
    do: Callable[[], Any]


def in_order(
    found: Iterator[_S], job_of: Callable[[_S], Job | None], now: Callable[[_S], Iterable[_T]], threads: int
) -> Generator[Iterable[_T]]:
    """What comes of all that are found, in parts: of each the result of its job, or ``now`` of those without one.

    Some are asked for ahead, by this thread. Where that fails, what comes of those before is given first.
    """
    fault: Exception | None = None
    ahead = _Ahead[_T](threads)
    try:
        while True:
            try:
                each = next(found)
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001  (raised below)
                fault = error
                break
            job = job_of(each)
            if job is None:
                yield from ahead.rest()
                yield now(each)
                continue
            ahead.add(job)
            while ahead.is_full():
                yield (ahead.take(),)
        yield from ahead.rest()
    finally:
        ahead.close()
    if fault is not None:
        raise fault


class _Ahead(Generic[_T]):
    """Jobs for threads, the results of which are taken in the order of the jobs.

    No thread does the first, as there may be no second; nor those of a parent in its fork, where its threads are
    not; nor any when there are no more threads. Whoever takes them does.
    """

    def __init__(self, threads: int) -> None:
        self._threads, self._process = threads, os.getpid()
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Job, Future[_T] | None]] = deque()
        self._held = 0

    def add(self, job: Job) -> None:
        """Have it done."""
        has_others = self._pool is not None or bool(self._waiting)
        self._waiting.append((job, self._submit(job.do) if has_others else None))
        self._held += job.size

    def _submit(self, do: Callable[[], _T]) -> Future[_T] | None:
        if self._is_of_another_process():
            return None
        try:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (15 ms, for large blocks only)

                self._pool = ThreadPoolExecutor(self._threads)
            return self._pool.submit(do)
        except RuntimeError:  # no more threads, or the interpreter is about to end
            return None

    def is_full(self) -> bool:
        """Whether one is to be taken before the next is added."""
        return len(self._waiting) > 2 * self._threads or (self._held > _HELD and len(self._waiting) > 1)

    def _is_of_another_process(self) -> bool:
        return self._process != os.getpid()

    def take(self) -> _T:
        """The first result; what the job raised is raised here."""
        job, result = self._waiting.popleft()
        self._held -= job.size
        if result is None or self._is_of_another_process():
            done: _T = job.do()
            return done
        return result.result()

    def rest(self) -> Iterator[tuple[_T]]:
        """The results of all that are left."""
        while self._waiting:
            yield (self.take(),)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None and not self._is_of_another_process():
            self._pool.shutdown(cancel_futures=True)


class RightAhead:
    """Has large blocks that are about to be written hashed ahead, in a thread for each processor.

    Not one that is small, nor any while there is one processor, or before the eighth megabyte, or where nothing is
    to be verified.
    """

    def __init__(self, *, verify: bool) -> None:
        self._unasked = UNASKED if verify else math.inf

    def each(
        self, do: Callable[[CIDLike, bytes, bool], _T], blocks: Iterable[tuple[CIDLike, bytes]]
    ) -> Generator[_T]:
        """What ``do`` gives of each pair, called with it and whether its data are known to be those of its CID.

        Large ones are asked for some ahead, but not where the data may change when the next are asked for, as a
        view's do.
        """
        found = iter(blocks)
        for cid, data in found:
            if len(data) >= WORTH_A_THREAD and self._is_time(len(data)):
                yield from self._each_large(do, chain(((cid, data),), found))
            else:
                yield do(cid, data, False)

    def _is_time(self, size: int) -> bool:
        self._unasked -= size
        return self._unasked < 0 and default_workers() > 1

    def _each_large(
        self, do: Callable[[CIDLike, bytes, bool], _T], blocks: Iterator[tuple[CIDLike, bytes]]
    ) -> Generator[_T]:
        with contextlib.closing(in_order(blocks, _job_of, _unknown, default_workers())) as parts:
            for cid, data, is_right in chain.from_iterable(parts):
                yield do(cid, data, is_right)


def _job_of(block: tuple[CIDLike, bytes]) -> Job | None:
    cid, data = block
    size = len(data)
    if size < WORTH_A_THREAD or type(data) is not bytes or not isinstance(cid, (CID, bytes, str)):
        return None
    return Job(size, lambda: (cid, data, _is_right(cid, data)))


def _unknown(block: tuple[CIDLike, bytes]) -> tuple[tuple[CIDLike, bytes, bool]]:
    cid, data = block
    return ((cid, data, False),)


def _is_right(cid: CIDLike, data: bytes) -> bool:
    """Whether ``data`` are known to be those of ``cid``; if not, writing them tells why."""
    try:
        wanted = CID.of(cid)
    except (CarError, ValueError):
        return False
    make = multihash.constructor(wanted.hash_code, 32) if len(wanted.digest) == 32 else None
    return make is not None and make(data).digest() == wanted.digest
