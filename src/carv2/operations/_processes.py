"""Work shared among processes: each makes one call, sends what came of it, and is gone.

No process outlives the work: whatever ends it (an error, Ctrl-C, a process that was killed), the others are ended
too; and where the one that asked is killed itself, those that it started notice.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from multiprocessing import Process
    from multiprocessing.connection import Connection
    from typing import Any

T = TypeVar("T")


@contextlib.contextmanager
def calling(function: Callable[..., T], calls: Iterable[Sequence[Any]]) -> Generator[Callable[[], list[T] | None]]:
    """Make the ``calls`` of ``function``, each given by its arguments, in a process each, while the block runs.

    What the block gets waits for the answers: in the order of the calls, or None if a process ended without one.
    It raises what a call raised.
    """
    import multiprocessing  # noqa: PLC0415  (10 ms, for those who ask for it)

    started: list[tuple[Process, Connection]] = []
    try:
        for call in calls:
            receiving, sending = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(target=_answer, args=(sending, function, call), daemon=True)
            process.start()
            sending.close()  # so that the end of the process is the end of the pipe
            started.append((process, receiving))
        yield lambda: _answers([receiving for _, receiving in started])
    finally:
        for process, receiving in started:
            receiving.close()
            process.terminate()
        for process, _ in started:
            process.join()


def _answers(pipes: Iterable[Connection]) -> list[Any] | None:
    found: list[Any] = []
    for pipe in pipes:
        try:
            answer, error = pipe.recv()
        except (EOFError, OSError):  # it was killed
            return None
        if error is not None:
            raise error
        found.append(answer)
    return found


def _answer(pipe: Connection, function: Callable[..., object], call: Sequence[Any]) -> None:
    """What a process does. Who started it is told of Ctrl-C too, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    answer: tuple[object, Exception | None]
    try:
        answer = function(*call), None
    except Exception as error:  # noqa: BLE001  (raised again in the other process)
        answer = None, error
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more
        pipe.send(answer)


def leave_if_alone() -> None:
    """End this process if the one that started it is no more."""
    import multiprocessing  # noqa: PLC0415

    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit
