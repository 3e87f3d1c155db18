"""The fuzzing process, which the runner starts: ``python -m fuzz.worker [FAULT]``.

It imports carv2 once, with coverage, and then, for each line of JSON that it reads, has a child of its own fuzz
one target: {"target", "folder", "arguments" of libFuzzer}. When the child has ended, it says with which status.
The folder gets ``log``, and ``counts``: two numbers of eight bytes, inputs tried and answers of Go, which are
right however the child ends.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import mmap
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzz import bounds
from fuzz.go import GoPeer

if TYPE_CHECKING:
    from fuzz.target import Question, Target

DISAGREED = 99
"""Status of a child that ended because Go says something else; the input is written down as a crash."""

_AT_ONCE = 100
_COUNTS = 16


class Trial:
    """What is done with each input."""

    def __init__(self, target: Target, folder: Path, go: GoPeer | None) -> None:
        self._target, self._folder, self._go = target, folder, go
        self._waiting: list[tuple[bytes, Question]] = []
        self._count = self._answered = 0
        place = folder / "counts"
        place.write_bytes(bytes(_COUNTS))
        with place.open("r+b") as file:
            self._counts = mmap.mmap(file.fileno(), _COUNTS)

    def __call__(self, data: bytes) -> None:
        self._count += 1
        self._counts[:8] = self._count.to_bytes(8, "little")
        target = self._target
        outcome = target.check(data)
        assert outcome in target.outcomes, outcome
        if self._go is not None and target.ask is not None:
            question = target.ask(data)
            if question is not None:
                self._waiting.append((data, question))
            if len(self._waiting) == _AT_ONCE:
                self._ask_go(self._go)

    def _ask_go(self, go: GoPeer) -> None:
        waiting, self._waiting = self._waiting, []
        said = go.answers([question for _, question in waiting])
        self._answered += len(said)
        self._counts[8:] = self._answered.to_bytes(8, "little")
        for (data, question), answer in zip(waiting, said, strict=True):
            if not question.is_answered_by(answer):
                (self._folder / f"crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
                os._exit(DISAGREED)  # libFuzzer would write down the input of now


def instrumented(fault: str = "") -> dict[str, Target]:
    """All targets, with coverage of all of carv2, and of ``fault`` if there is to be one."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["carv2"], enable_loader_override=False):
        targets: dict[str, Target] = importlib.import_module("fuzz.targets").TARGETS
        for target in targets.values():  # what is imported only when it is needed
            for path in target.seeds():
                target.check(path.read_bytes())
    put_in(fault, targets)
    return targets


def put_in(fault: str, targets: dict[str, Target]) -> None:
    """Put a fault, ``TARGET: NAME``, into the code under test; nothing for no text."""
    if fault:
        target, _, name = fault.partition(": ")
        module, attribute, replacement = targets[target].sabotage[name]
        setattr(module, attribute, replacement)


def fuzz(target: Target, folder: Path, arguments: list[str]) -> None:
    """Fuzz in this process, whose end it is."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    program = os.environ.get("CARV2_GO_PEER")
    go = GoPeer(program) if program and target.ask is not None else None
    trial = Trial(target, folder, go)
    bounds.fence()
    atheris: Any = importlib.import_module("atheris")
    atheris.Setup([target.name, *arguments], trial)
    atheris.Fuzz()
    os._exit(0)


def main() -> None:
    """Do what the lines say that come in."""
    targets = instrumented(*sys.argv[1:])
    print("{}", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            fuzz(targets[job["target"]], Path(job["folder"]), job["arguments"])
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
