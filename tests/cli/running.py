"""Running the command line: in this process where that will do, through a shell where a pipe is wanted."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import carv2
from carv2.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SOURCE = Path(carv2.__file__).resolve().parent.parent
SURROUNDINGS = {"COLUMNS": "100", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
"""What a command sees of the environment, besides PATH and what it sets itself."""
MEASURED = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS")}
"""By which the commands of a measured test are measured."""


class Ran(NamedTuple):
    """What came of a command."""

    out: bytes
    err: str
    code: int


def told(process: subprocess.Popen[bytes], number: int) -> tuple[bytes, bytes]:
    """Send a process a signal that ends it, and return what it wrote.

    Python overlooks a signal that comes right before a system call that waits, until another one comes.
    """
    while True:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)


@contextlib.contextmanager
def standard_files(folder: Path, stdin: Path | None, stdout: IO[str] | None) -> Iterator[tuple[Path, Path]]:
    """Real files in the place of the three standard streams: commands ask them for their descriptors."""
    out, err = folder / ".stdout", folder / ".stderr"
    saved = sys.stdin, sys.stdout, sys.stderr
    with (
        open(stdin or os.devnull, encoding="utf-8") as file_in,
        open(out, "w+", encoding="utf-8") as file_out,
        open(err, "w+", encoding="utf-8") as file_err,
    ):
        sys.stdin, sys.stdout, sys.stderr = file_in, stdout or file_out, file_err
        try:
            yield out, err
        finally:
            sys.stdin, sys.stdout, sys.stderr = saved


@contextlib.contextmanager
def surroundings(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Another working directory and environment for a while."""
    before, here = dict(os.environ), Path.cwd()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({"PATH": before.get("PATH", os.defpath), **SURROUNDINGS, **MEASURED, **environment})
    try:
        yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


def run(
    folder: Path,
    argv: Sequence[str],
    *,
    stdin: Path | None = None,
    stdout: IO[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    """``carv2 ARGV`` in this process."""
    with surroundings(folder, environment or {}), standard_files(folder, stdin, stdout) as (out, err):
        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        ran = Ran(out.read_bytes(), err.read_text(encoding="utf-8"), code)
    out.unlink()
    err.unlink()
    return ran


def run_shell(folder: Path, command: str) -> Ran:
    """A command line with pipes or redirections, in a shell that has ``carv2`` on its path."""
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    script = tools / "carv2"
    if not script.exists():
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m carv2 "$@"\n')
        script.chmod(0o755)
    environment = {
        **SURROUNDINGS,
        **MEASURED,
        "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(SOURCE),
        "HOME": str(folder),
    }
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, check=False
    )
    return Ran(done.stdout, done.stderr.decode(), done.returncode)


def run_line(folder: Path, line: str) -> Ran:
    """A line as a person types it: by :func:`run` if it is one command with arguments and maybe ``< file``."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>()")
    lexer.whitespace_split = True
    words = list(lexer)
    environment: dict[str, str] = {}
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    stdin = None
    if len(words) > 2 and words[-2] == "<":
        stdin = folder / words[-1]
        words = words[:-2]
    if words[0] != "carv2" or set("".join(words)) & set("|;&<>$*"):
        return run_shell(folder, line)
    return run(folder, words[1:], stdin=stdin, environment=environment)
