"""What commands do where standard input or output is a terminal: say that they wait, write no archives to it."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cli.files import lay_out
from cli.running import MEASURED, SOURCE, SURROUNDINGS

if TYPE_CHECKING:
    from pathlib import Path

FISH = "bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu"
ENVIRONMENT = {**SURROUNDINGS, **MEASURED, "PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
WAITING = b"waiting for standard input: a terminal; Ctrl-D ends it, Ctrl-C this command\n"
REFUSED = "what is no text is not for a terminal: name a file, or put a pipe behind it"


def with_input(line: str, typed: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a command whose standard input is a terminal, at which something is typed, and Ctrl-D."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "carv2", *shlex.split(line)]
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        os.close(theirs)
        os.write(ours, typed + b"\x04")
        out, err = process.communicate(timeout=60)
        os.close(ours)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def with_output(line: str, folder: Path) -> tuple[bytes, str, int]:
    """Run a command whose standard output is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "carv2", *shlex.split(line)]
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=theirs, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=60)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # Linux: the other side is closed
            pass
        os.close(ours)
    return shown, err, process.returncode


def test_who_waits_at_a_terminal_says_so(tmp_path: Path) -> None:
    lay_out(tmp_path)
    ran = with_input("put-block new.car", b"fish\n", tmp_path)
    assert ran.stderr == WAITING + b"Created new CAR file: new.car\n"
    assert ran.returncode == 0
    ran = with_input("list", b"", tmp_path)
    assert ran.stderr.startswith(WAITING)
    assert b"empty" in ran.stderr
    assert ran.returncode == 1


@pytest.mark.parametrize(
    "line",
    [
        "wrap fish.car -",
        "unwrap wrapped.car -",
        "index create fish.car -",
        "concat --version 1 fish.car fish.car",
        "filter --inverse --version 1 --cid-file /dev/null fish.car -",
        "get-dag --version 1 dag.car -",
        "create --version 1 -o - text",
    ],
)
def test_no_archive_goes_to_a_terminal(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    shown, err, code = with_output(line, tmp_path)
    assert (shown, code) == (b"", 2)
    name = "index create" if "index" in line else line.split(maxsplit=1)[0]
    assert f"carv2 {name}: {REFUSED}" in err.splitlines()


@pytest.mark.parametrize(
    ("line", "shown"),
    [(f"get-block fish.car {FISH}", b"fish"), ("dot fish.car", b"digraph"), ("map fish.car", b"<svg")],
)
def test_what_may_be_text_does(line: str, shown: bytes, tmp_path: Path) -> None:
    lay_out(tmp_path)
    found, err, code = with_output(line, tmp_path)
    assert found.startswith(shown)
    assert (err, code) == ("", 0)
