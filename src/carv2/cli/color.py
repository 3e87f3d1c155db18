"""One switch for colour, set on the way down the command line; what prints asks it and takes no argument.

Rule (Lotus' cascade, plus NO_COLOR): colour starts on only without ``NO_COLOR``, at a terminal or where
``GOLOG_LOG_FMT=color``; then each level's own flag, where it is given, overrides what came before; an absent one
changes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys

_STYLES = {
    "error": "1;31",
    "good": "32",
    "dim": "2",
    "name": "36",
    "bad": "31",
    "blue": "34",
    "yellow": "33",
    "count": "100",
}
_TRUE, _FALSE = {"", "1", "t", "true", "yes", "on", "always"}, {"0", "f", "false", "no", "off", "never"}


class _Switch:
    on = False


def start() -> None:
    """Set the switch as the surroundings have it."""
    is_wanted = os.environ.get("GOLOG_LOG_FMT") == "color"
    is_terminal = os.environ.get("TERM") != "dumb" and sys.stdout.isatty()
    _Switch.on = not os.environ.get("NO_COLOR") and (is_wanted or is_terminal)


def apply(explicit: bool | None) -> None:
    """Let a level's own flag have its say; None is an absent one."""
    if explicit is not None:
        _Switch.on = explicit


def is_on() -> bool:
    """Whether what is printed is in colour."""
    return _Switch.on


def parse_flag(text: str) -> bool:
    """The value of ``--color=text``; an error for one that means neither yes nor no."""
    value = text.lower()
    if value not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"--color takes true or false, not {text}")
    return value in _TRUE


def printable(text: str) -> str:
    """``text`` without what a terminal would act on: names and messages in archives are anybody's."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def words_of(error: BaseException, *, about: str = "") -> str:
    """What an error says; of a failed call of the system the names first and no number, as shells have it.

    A file called ``about`` is not named, as it was already.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    named = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return f"{' -> '.join(named)}: {error.strerror}" if named not in ([], [about]) else error.strerror


def paint(text: str, style: str) -> str:
    """``text``, in colour if that is on."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if _Switch.on and text else text
