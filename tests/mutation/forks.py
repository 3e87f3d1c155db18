"""Work in a forked process that a mutant may hang, kill or fill with what it likes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_MEMORY = 6 << 30
"""Bytes of address space that one mutant may take."""


def in_fork(work: Callable[[], Any], seconds: float) -> Any:
    """What ``work()`` returns (JSON), run in a child; ``"timeout"`` or ``"died"`` where no answer came.

    What the child and its own children have started is ended with it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    end = time.monotonic() + seconds
    answer = _read_until(reading, end)
    late = time.monotonic() >= end
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not answer:
        return "timeout" if late else "died"
    return json.loads(answer)


def _answer(work: Callable[[], Any], writing: int) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    try:
        answer = work()
    except BaseException:  # noqa: BLE001 - whatever a mutant broke is told, and the child ends here
        answer = {"error": traceback.format_exc()}
    with open(writing, "wb") as pipe:
        pipe.write(json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _read_until(reading: int, end: float) -> bytes:
    """One line: a grandchild that outlives the child may hold the pipe open."""
    answer = b""
    with open(reading, "rb", buffering=0) as pipe:
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            chunk = pipe.read(1 << 16) if ready else b""
            if not chunk:
                return b""
            answer += chunk
    return answer
