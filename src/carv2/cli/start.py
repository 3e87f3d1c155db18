"""Where the process of a command begins and ends: Ctrl-C there is no error of Python's.

It imports next to nothing itself, so that little of the start is left in which Python has its own way.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as in carv2/__init__.py: `typing` is imported later

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

_INTERRUPTED = 128 + signal.SIGINT


def entry() -> NoReturn:
    """Run the command of this process and leave with its code; with 130 after Ctrl-C, at any moment."""
    is_wanted = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # in the background it may be ignored
    if is_wanted:
        signal.signal(signal.SIGINT, _leave)
    from carv2.cli import main  # noqa: PLC0415  (what takes long)

    try:
        if is_wanted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main.entry()
    except KeyboardInterrupt:  # before the command, or when it was done
        sys.exit(_INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to clean up: Python's end is silent too


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """End without an exception: raised in the import system, one may be printed and lost. Nothing is begun yet."""
    os._exit(_INTERRUPTED)
