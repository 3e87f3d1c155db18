"""Inputs tried one by one, without a fuzzer: ``python -m fuzz.replay TARGET FILE...``.

For each file a line of JSON says what went wrong: {"file", "failure"}, or nothing did: null. ``--shrink`` writes
the smallest input with the same failure that is found in half a minute to ``FILE.small``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fuzz import bounds
from fuzz.go import GoPeer
from fuzz.targets import TARGETS
from fuzz.worker import put_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz.target import Target

PATIENCE = 20
"""Seconds for one input."""

_SHRINKING = 30
_OURS = ("carv2", "fuzz")


class HangError(BaseException):
    """An input took too long; no parser catches this."""


def main() -> None:
    """Try the files of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--shrink", action="store_true")
    parser.add_argument("--cost", action="store_true", help="also count lines and memory")
    parser.add_argument("--with-fault", default="")
    asked = parser.parse_args()
    put_in(asked.with_fault, TARGETS)
    target, program = TARGETS[asked.target], os.environ.get("CARV2_GO_PEER")
    go = GoPeer(program) if program and target.ask is not None else None
    bounds.fence()
    for path in asked.files:
        failure = _tried(path, lambda data: failure_of(target, data, go, cost=asked.cost), shrink=asked.shrink)
        print(json.dumps({"file": str(path), "failure": failure}), flush=True)


def _tried(path: Path, fails: Callable[[bytes], str | None], *, shrink: bool) -> str | None:
    data = path.read_bytes()
    failure = fails(data)
    if failure is not None and shrink:
        small = shrunk(data, lambda data: fails(data) == failure)
        path.with_name(f"{path.name}.small").write_bytes(small)
    return failure


def failure_of(target: Target, data: bytes, go: GoPeer | None = None, *, cost: bool = False) -> str | None:
    """What goes wrong with an input, and where; None if nothing does."""
    before = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(PATIENCE)
    try:
        _try(target, data, go, cost=cost)
    except (Exception, HangError) as error:  # noqa: BLE001  (whatever it is, it is a find)
        return _told(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def _try(target: Target, data: bytes, go: GoPeer | None, *, cost: bool) -> None:
    outcome = target.check(data)
    assert outcome in target.outcomes, outcome
    if cost:
        bounds.cost_of(target.check, data).check(len(data))
    question = target.ask(data) if target.ask is not None else None
    if question is not None and go is not None:
        go.check(question)


def _hang(*_: object) -> NoReturn:
    raise HangError


def _told(error: BaseException) -> str:
    """The error's class, and the innermost line of ours that it came through."""
    kind = type(error).__name__
    if isinstance(error, HangError):
        return f"{kind}: more than {PATIENCE} s"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if set(_OURS) & set(Path(frame.filename).parts)]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "elsewhere"
    return f"{kind} at {where}"


def shrunk(data: bytes, fails: Callable[[bytes], bool], *, seconds: float = _SHRINKING) -> bytes:
    """The smallest input that still fails: without pieces, then with plainer bytes."""
    end = time.monotonic() + seconds
    size = len(data) // 2 or 1
    while size and time.monotonic() < end:
        at, before = 0, len(data)
        while at < len(data) and time.monotonic() < end:
            without = data[:at] + data[at + size :]
            if fails(without):
                data = without
            else:
                at += size
        size = size if len(data) < before else size // 2
    for at in range(len(data)):
        plain = data[:at] + b"\x00" + data[at + 1 :]
        if data[at] and time.monotonic() < end and fails(plain):
            data = plain
    return data


if __name__ == "__main__":
    main()
