"""Transcripts of terminal sessions: what is typed, and what must come back.

A file of ``transcripts/`` holds commands behind ``$ ``, then what they print; lines of standard error stand
behind ``! `` (``! ...`` alone: something is there, in the words of Python's own argparse); ``? N`` is the exit
code, if it is not 0. Text before the first command and after a blank line and ``#`` is for the reader.
``CARV2_UPDATE_TRANSCRIPTS=1 pytest tests/cli`` writes down what is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.files import lay_out
from cli.running import Ran, run_line

FOLDER = Path(__file__).parent / "transcripts"
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))
UPDATE = bool(os.environ.get("CARV2_UPDATE_TRANSCRIPTS"))
NO_NEWLINE = "(no newline at the end)"
EMPTY = "(an empty line)"
ANYTHING = "! ..."


class Step(NamedTuple):
    """One command of a transcript: what stands before it, its line, and what should come back."""

    before: list[str]
    line: str
    expected: list[str]


def parse(text: str) -> list[Step]:
    steps: list[Step] = []
    before: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(Step(before, line[2:], []))
            before = []
        elif not steps or before or line == "" or line.startswith("# "):
            before.append(line)
        else:
            steps[-1].expected.append(line)
    return steps


def shown(data: bytes) -> list[str]:
    """Lines, with what a terminal would act on spelled out as ``<1b>``: as nothing that is printed looks."""
    text = data.decode("utf-8", "backslashreplace")
    lines = text.removesuffix("\n").split("\n") if text else []
    lines = ["".join(c if c.isprintable() or c == "\t" else f"<{ord(c):02x}>" for c in line) for line in lines]
    lines = [line or EMPTY for line in lines]
    return lines + [NO_NEWLINE] * (bool(text) and not text.endswith("\n"))


def told(ran: Ran, expected: list[str]) -> list[str]:
    err = [f"! {line}" if line else "!" for line in shown(ran.err.encode())]
    if err and ANYTHING in expected:
        err = [ANYTHING]
    return shown(ran.out) + err + ([f"? {ran.code}"] if ran.code else [])


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=[path.stem for path in TRANSCRIPTS])
def test_a_session_goes_as_written_down(path: Path, tmp_path: Path) -> None:
    lay_out(tmp_path)
    if path.stem.startswith("shared") and not (tmp_path / "shared").exists():
        pytest.skip("the fixtures of other programs are missing: set CARV2_SHARED")
    steps = parse(path.read_text(encoding="utf-8"))
    found = [told(run_line(tmp_path, step.line), step.expected) for step in steps]
    if UPDATE:
        text = ["\n".join([*step.before, f"$ {step.line}", *out]) for step, out in zip(steps, found, strict=True)]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return
    for step, out in zip(steps, found, strict=True):
        assert out == step.expected, step.line
    assert len(steps) > 2


def test_each_command_has_a_transcript() -> None:
    from carv2.cli.registry import ALIASES, COMMANDS

    typed = {
        " ".join(word for word in step.line.split()[:3])
        for path in TRANSCRIPTS
        for step in parse(path.read_text(encoding="utf-8"))
    }
    for name in [*COMMANDS, *ALIASES]:
        assert any(f"{line} ".startswith(f"carv2 {name} ") for line in typed), name


def test_no_transcript_shows_a_traceback() -> None:
    for path in TRANSCRIPTS:
        assert "Traceback" not in path.read_text(encoding="utf-8"), path
