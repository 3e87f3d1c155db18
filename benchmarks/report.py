"""Figures to tables."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from plan import Operation, Program


@dataclass
class Result:
    """One row of a table: a program's figures, round by round."""

    operation: str
    file: str
    label: str
    blocks: int
    size: int
    """Bytes in those blocks."""
    measurements: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def seconds(self) -> float:
        return self._median("seconds")

    @property
    def nanoseconds(self) -> float:
        """Of one block."""
        return self.seconds * 1e9 / self.blocks

    @property
    def peak(self) -> float:
        """Memory of the process in bytes."""
        return self._median("peak_rss_kib") * 1024

    @property
    def worker_peak(self) -> float:
        return self._median("worker_peak_rss_kib") * 1024

    @property
    def growth(self) -> float:
        """The peak over what was in use when the clock started; only carv2 tells."""
        return self.peak - self._median("start_rss_kib") * 1024

    def _median(self, name: str) -> float:
        return statistics.median(float(measured.get(name, 0)) for measured in self.measurements)


@dataclass(frozen=True)
class Goal:
    """What carv2 sets out to reach: to take so many times less of something than go-car."""

    operation: str
    file: str
    label: str
    factor: float
    what: Literal["nanoseconds", "peak"] = "nanoseconds"


GOALS = (
    Goal("iterate", "small", "carv2", 3),
    Goal("iterate-verified", "small", "carv2", 2),
    Goal("iterate-verified", "large", "carv2", 2),
    Goal("iterate-verified", "large", "carv2, 2 workers", 2),
    Goal("inspect-full", "small", "carv2", 1),
    Goal("inspect-full", "small", "carv2, 2 workers", 1.5),
    Goal("index", "small", "carv2", 4),
    Goal("index", "small", "carv2", 5, "peak"),
    Goal("wrap", "small", "carv2", 4),
    Goal("get", "small", "carv2", 1),
    Goal("put", "small", "carv2, not checked", 3),
    Goal("resume", "small", "carv2", 2),
    Goal("resume-unfinished", "small", "carv2", 2),
)


def describe_machine(programs: Mapping[str, Program], missing: Mapping[str, str]) -> dict[str, Any]:
    return {
        "date": dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "programs": {name: program.version for name, program in programs.items()},
        "missing": dict(missing),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def to_json(results: Sequence[Result], machine: dict[str, Any], memory: dict[str, float] | None) -> str:
    found = {"machine": machine, "results": [asdict(result) for result in results], "index_memory": memory}
    return json.dumps(found, indent=1) + "\n"


def to_markdown(
    operations: Sequence[Operation],
    results: Sequence[Result],
    machine: dict[str, Any],
    memory: dict[str, float] | None,
    *,
    rounds: int,
) -> str:
    parts = [_machine_text(machine, rounds)]
    for operation in operations:
        rows = [result for result in results if result.operation == operation.name]
        parts.append("\n".join(_table(operation, rows)))
    goals = list(_goals(results))
    if goals:
        head = [
            "## Goals",
            "",
            "| operation | file | program | go-car, called as | goal | found | |",
            "|---|---|---|---|--:|--:|---|",
        ]
        parts.append("\n".join(head + goals))
    if memory is not None:
        parts.append(
            f"Memory while an index of {memory['entries']:,} entries is built and written:"
            f" {memory['bytes_per_entry']:.1f} bytes an entry (40 of them are the entry itself; goal: at most 64)."
        )
    return "\n\n".join(parts) + "\n"


def _machine_text(machine: dict[str, Any], rounds: int) -> str:
    versions = ", ".join(machine["programs"].values())
    text = (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores (load {machine['load']:.1f} at the start),"
        f" {machine['system']}, {machine['python']}. {versions}."
        f" Median of {rounds} round{'s' if rounds > 1 else ''}."
    )
    if machine["missing"]:
        text += " Left out: " + ", ".join(f"{name} ({why})" for name, why in machine["missing"].items()) + "."
    return text


def _table(operation: Operation, rows: Sequence[Result]) -> Iterator[str]:
    yield f"## {operation.title}"
    yield ""
    each = "ms" if operation.name == "open" else "ns/block"
    yield f"| file | program | {each} | MB/s | time / carv2's | peak MB |"
    yield "|---|---|--:|--:|--:|--:|"
    for row in rows:
        if row.error:
            yield f"| {row.file} | {row.label} | failed: {row.error} | | | |"
            continue
        ours = next(one for one in rows if one.file == row.file)
        time = f"{row.seconds * 1e3:,.2f}" if operation.name == "open" else f"{row.nanoseconds:,.0f}"
        speed = "" if operation.name == "open" else f"{row.size / row.seconds / 1e6:,.0f}"
        ratio = "" if ours.error else f"{row.nanoseconds / ours.nanoseconds:.2f}"
        yield f"| {row.file} | {row.label} | {time} | {speed} | {ratio} | {_peak_text(row)} |"
    if operation.note:
        yield ""
        yield operation.note


def _peak_text(row: Result) -> str:
    text = f"{row.peak / 1e6:,.0f}"
    return f"{text} + {row.worker_peak / 1e6:,.0f} a worker" if row.worker_peak else text


def _goals(results: Sequence[Result]) -> Iterator[str]:
    done = [result for result in results if not result.error]
    for goal in GOALS:
        rows = [row for row in done if (row.operation, row.file) == (goal.operation, goal.file)]
        for ours in rows:
            if ours.label == goal.label:
                for peer in rows:
                    if peer.label.startswith("go-car"):
                        yield _goal_text(goal, peer, ours)
    for row in done:
        if (row.operation, row.file, row.label) == ("open", "small", "carv2"):
            met = _met(row.seconds < 0.005 and row.growth < 5e6)
            found = f"{row.seconds * 1e3:.1f} ms, {row.growth / 1e6:.1f} MB"
            yield f"| open | small | carv2 | | under 5 ms, 5 MB | {found} | {met} |"


def _goal_text(goal: Goal, peer: Result, ours: Result) -> str:
    ratio = getattr(peer, goal.what) / getattr(ours, goal.what)
    name = goal.operation if goal.what == "nanoseconds" else f"{goal.operation}, memory"
    start = f"| {name} | {goal.file} | {goal.label} | {peer.label.removeprefix('go-car ')} |"
    return f"{start} {goal.factor:g}x | {ratio:.2f}x | {_met(ratio >= goal.factor)} |"


def _met(reached: bool) -> str:
    return "yes" if reached else "**no**"
