"""Where the time goes: the functions that each operation spends it in.

``python benchmarks/profiles.py --docs`` looks once a millisecond, while the clock of an operation runs, which
function of carv2 or of the standard library is at work; what it has C do (hashing, reading, sorting) is its own.
Each operation is in a process of its own, on the files of ``run.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import archives
import ours
import plan
import report
from measure import Measurement, Run
from run import insert, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

INTERVAL = 0.001
SHOWN = 4


class Sampled(Run):
    """A run that is looked at while its clock runs."""

    seen: Counter[str]

    @contextlib.contextmanager
    def clocked(self) -> Iterator[None]:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            with super().clocked():
                yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        if frame is not None:
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # since Python 3.11
            self.seen[f"{_module(frame)}.{name}"] += 1


def _module(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__", "?"))
    return "benchmark" if name in {"ours", "measure", "__main__"} else name.removeprefix("carv2.")


def profile(operation: str, path: Path, out: Path, count: int) -> Counter[str]:
    """How many samples each function got."""
    run = Sampled(path, out, count, Measurement(operation))
    run.seen = Counter()
    ours.load()
    ours.OPERATIONS[operation](run)
    return run.seen


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", help="operations, separated by commas")
    parser.add_argument("--files", default="small,medium,graph")
    parser.add_argument("--scale", type=int, default=1, help="1 in SCALE of the blocks")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir(), "carv2-bench"))
    parser.add_argument("--docs", type=Path, nargs="?", const=Path("docs"), help="put the table into this folder")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        operation, path, out, count = given.one
        print(json.dumps(profile(operation, Path(path), Path(out), int(count))))
        return
    wanted = set(given.only.split(",")) if given.only else None
    operations = [one for one in plan.OPERATIONS if wanted is None or one.name in wanted]
    rows = list(_rows(operations, given.files.split(","), given.data, given.scale))
    text = to_markdown(rows, report.describe_machine({}, {}))
    print(text)
    if given.docs is not None:
        insert(given.docs / "performance.md", "profiles.py", text)


def _rows(
    operations: Sequence[plan.Operation], files: Sequence[str], data: Path, scale: int
) -> Iterator[tuple[str, str, Counter[str]]]:
    stored = {name: archives.prepare(name, scale, data) for name in files}
    for operation in operations:
        ours_first = operation.contenders[0]
        for name in operation.files:
            if name in stored and ours_first.program == "carv2" and operation.version != "folder":
                yield operation.name, name, _sampled(operation, ours_first.op, stored[name])


def _sampled(operation: plan.Operation, op: str, archive: archives.Archive) -> Counter[str]:
    with tempfile.TemporaryDirectory(dir=archive.v1.parent) as folder:
        out = Path(folder, "out")
        lay_out(archive, operation, out)
        source = archive.v1 if operation.version == 1 else archive.v2
        count = operation.counts.get(archive.name, archive.blocks)
        command = [sys.executable, __file__, "--one", op, str(source), str(out), str(count)]
        return Counter(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def to_markdown(rows: Sequence[tuple[str, str, Counter[str]]], machine: dict[str, Any]) -> str:
    lines = [f"{machine['date']}, {machine['cpu']}, {machine['python']}.", ""]
    lines += ["| operation | file | functions at work, with what they have C do |", "|---|---|---|"]
    for operation, name, seen in rows:
        total = sum(seen.values()) or 1
        parts = [f"`{function}` {count / total:.0%}" for function, count in seen.most_common(SHOWN)]
        lines.append(f"| {operation} | {name} | {', '.join(parts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
