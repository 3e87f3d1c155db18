"""What somebody may have meant who mistyped a word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIKENESS = 0.7
"""As ``difflib`` has it, up to 1; from 0.6, its default, ``--version`` is like ``--json``."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of an error about ``word``, which is none of ``names``: the nearest; nothing where none is near.

    >>> did_you_mean("verfy", ["stat", "verify"]), did_you_mean("x", ["y"])
    ('; did you mean verify?', '')
    >>> did_you_mean("--nul", ["--null-padding"]), did_you_mean("gc", ["dagstore gc"])
    ('; did you mean --null-padding?', '; did you mean dagstore gc?')
    """
    import difflib  # noqa: PLC0415  (1 ms, for those who mistyped)

    known = list(names)
    begun = sorted(name for name in known if len(word) > len("--") and name.startswith(word))
    within = [name for name in known if name.endswith(f" {word}")]
    near = begun or within or difflib.get_close_matches(word, known, n=1, cutoff=_LIKENESS)
    return f"; did you mean {near[0]}?" if near else ""


def among_known(message: str) -> str:
    """The same for a message that says itself what is unknown, and lists what is known.

    >>> among_known("unknown import profile lotos; known are: go-car, lotus")
    '; did you mean lotus?'
    """
    found = re.search(r"\bunknown [a-z ]+ (\S+); known are: (.+)$", message)
    return did_you_mean(found[1], found[2].split(", ")) if found else ""
