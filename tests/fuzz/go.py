"""Go as the other opinion: one process of the peer, asked about many inputs at a time."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fuzz.target import Question


_AT_ONCE = 16 << 10
"""Bytes of questions, or one more: pipes hold so much, and nobody waits for the other to read."""


class DisagreementError(AssertionError):
    """Carv2 accepts what Go refuses, or reads something else in it."""


class GoPeer:
    """The long-lived process; ``with`` ends it."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen([program, "answers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.asked = 0
        """Questions so far."""

    def answers(self, questions: Sequence[Question]) -> list[str]:
        """One for each."""
        found: list[str] = []
        waiting: list[bytes] = []
        for question in questions:
            waiting.append(f"{question.kind} {question.data.hex()}\n".encode())
            if sum(map(len, waiting)) > _AT_ONCE:
                found += self._ask(waiting)
                waiting = []
        return found + self._ask(waiting)

    def _ask(self, lines: list[bytes]) -> list[str]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(lines))
        process.stdin.flush()
        self.asked += len(lines)
        found = [process.stdout.readline().decode().strip() for _ in lines]
        if "" in found:
            raise OSError(f"the Go peer ended with {process.wait()}")
        return found

    def check(self, question: Question) -> None:
        """Raise :class:`DisagreementError` if Go does not agree."""
        (said,) = self.answers([question])
        if not question.is_answered_by(said):
            raise DisagreementError(
                f"{question.kind}: Go says {said!r}, carv2 {question.expected or 'accepts it'!r}"
            )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def __enter__(self) -> GoPeer:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
