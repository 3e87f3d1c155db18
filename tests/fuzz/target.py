"""What a fuzz target is: one parser, what must be so whatever it reads, and proof that this is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from helpers.shared import own_fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

REFUSED = "refused"
"""The outcome of an input that the parser does not take: only ever with an error of its own kinds."""


class Question(NamedTuple):
    """What Go is asked about an input that was accepted here, and what it has to say."""

    kind: str
    data: bytes
    expected: str | None
    """None where it is only wanted that Go accepts it too."""

    def is_answered_by(self, said: str) -> bool:
        """Whether Go agrees."""
        return said == self.expected if self.expected is not None else said.startswith("ok")


class Sabotage(NamedTuple):
    """A fault to put into the code under test: the seeds of the target have to find it."""

    module: Any
    """What holds the function: a module or class."""
    name: str
    replacement: Any


@dataclass(frozen=True)
class Target:
    """One parser under test.

    ``check`` takes any bytes, returns the outcome (a word of ``outcomes``), and raises whatever else: an
    ``AssertionError`` where an invariant does not hold, anything where the parser lets it through.
    """

    name: str
    check: Callable[[bytes], str]
    outcomes: frozenset[str]
    """All there are; the seeds must show each of them, or an invariant is there that nothing gets to."""
    sabotage: Mapping[str, Sabotage]
    """Faults by their names, each of which some seed must find."""
    ask: Callable[[bytes], Question | None] | None = None
    """What Go is asked about an input; None of the function where it is asked nothing."""
    max_size: int = 2048
    """Bytes of the inputs."""
    words: tuple[bytes, ...] = ()
    """What inputs are made of, for the fuzzer's dictionary."""

    @property
    def folder(self) -> Path:
        """Where its seeds are, and inputs that once were crashes (``crash-*``)."""
        return own_fixture("fuzz") / self.name

    def seeds(self) -> list[Path]:
        """In the order of their names."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())
