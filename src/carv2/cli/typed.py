"""Command lines that a person is told to type: quoted for sh, bash, zsh and fish alike."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def quoted(word: str) -> str:
    r"""One word, as it is typed.

    Within single quotes fish takes a backslash before a quote for an escape, sh does not: so it stands outside.

    >>> print(quoted("sea.car"), quoted("a fish"), quoted("a\\'b"))
    sea.car 'a fish' 'a'"\\"''"'"'b'
    """
    if "\\" not in word:
        return shlex.quote(word)
    return "'" + re.sub(r"['\\]", _outside, word) + "'"


def _outside(found: re.Match[str]) -> str:
    return "'\"'\"'" if found[0] == "'" else "'\"\\\\\"'"


def line_of(words: Iterable[str]) -> str:
    """A command with its arguments."""
    return " ".join(map(quoted, words))
