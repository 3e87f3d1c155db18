"""Figures to tables and a chart."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    role: str = ""
    """See plan.Contender."""
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
        """The peak over what was in use at the start; 0 of a program that does not tell."""
        start = self._median("start_rss_kib") * 1024
        return self.peak - start if start else 0

    def _median(self, name: str) -> float:
        return statistics.median(float(measured.get(name, 0)) for measured in self.measurements)


@dataclass(frozen=True)
class Pair:
    """carv2 and go-car at the same work on the same file."""

    ours: Result
    theirs: Result

    @property
    def ratio(self) -> float:
        return self.theirs.nanoseconds / self.ours.nanoseconds

    @property
    def memory_ratio(self) -> float:
        """Ours to theirs, of what each took over its own start."""
        return max(self.ours.growth, 1) / max(self.theirs.growth, 1)


LEAST, MEAN, MEMORY, OPEN_SECONDS = 1.0, 2.5, 0.25, 0.005
GOALS = {
    ("iterate", "small"): 3.0,
    ("iterate-verified", "small"): 2.0,
    ("iterate-verified", "large"): 2.0,
    ("index", "small"): 4.0,
    ("wrap", "small"): 4.0,
    ("put", "small"): 3.0,
    ("resume", "small"): 2.0,
    ("resume-unfinished", "small"): 2.0,
}
"""How many times as fast as go-car, where it is to be more than on every row."""


def pairs_of(results: Iterable[Result]) -> list[Pair]:
    rows = dict[tuple[str, str], list[Result]]()
    for result in results:
        if not result.error:
            rows.setdefault((result.operation, result.file), []).append(result)
    return [
        Pair(found[0], result)
        for found in rows.values()
        for result in found
        if result.role == "reference" and found[0].label.startswith("carv2")
    ]


def geometric_mean(values: Sequence[float]) -> float:
    """
    >>> geometric_mean([2.0, 8.0])
    4.0
    """
    return round(math.exp(statistics.fmean(math.log(value) for value in values)), 9)


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
    pairs = [
        {
            "operation": pair.ours.operation,
            "file": pair.ours.file,
            "ratio": pair.ratio,
            "memory": pair.memory_ratio,
        }
        for pair in pairs_of(results)
    ]
    found = {
        "machine": machine,
        "load_at_the_end": os.getloadavg()[0],
        "results": [asdict(result) for result in results],
        "beside_go_car": pairs,
        "index_memory": memory,
    }
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
    pairs = pairs_of(results)
    if pairs:
        indexed = {operation.name for operation in operations if operation.builds_index}
        parts += ["## Beside go-car, at equal work", *_summary(pairs, indexed)]
    tuned = []
    for operation in operations:
        rows = [result for result in results if result.operation == operation.name]
        plain = [row for row in rows if row.role != "tuned"]
        if plain:
            parts.append(_section(operation, plain))
        if len(plain) < len(rows):
            files = {row.file for row in rows if row.role == "tuned"}
            first = {row.file: row for row in reversed(plain) if row.file in files}
            tuned.append((operation, [row for row in rows if row.role == "tuned" or row is first.get(row.file)]))
    if tuned:
        parts.append(_TUNED)
        parts.extend(_section(operation, rows, "###", notes=False) for operation, rows in tuned)
    if memory is not None:
        parts.append(
            f"Memory while an index of {memory['entries']:,} entries is built and written:"
            f" {memory['bytes_per_entry']:.1f} bytes an entry (40 of them are the entry itself; goal: at most 64)."
        )
    return "\n\n".join(parts) + "\n"


_TUNED = """## Tuned by the caller

The same work with means that the caller brings along: go-car behind a `bufio.Reader` of 64 KiB, or on a file that
is mapped into memory; carv2 with many keys at a time, or as the push parser. Held to carv2 as it is when nobody
tunes it. None of these count in the figures above. A look-up in a mapped file, which both programs offer, does: it
is a row of its own, beside the same of the other."""


def _machine_text(machine: dict[str, Any], rounds: int) -> str:
    versions = ", ".join(dict.fromkeys(machine["programs"].values()))
    text = (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores (load {machine['load']:.1f} at the start,"
        f" {os.getloadavg()[0]:.1f} at the end, the benchmarks' own in it), {machine['system']},"
        f" {machine['python']}. {versions}. Median of {rounds} round{'s' if rounds > 1 else ''}."
    )
    if machine["missing"]:
        text += " Left out: " + ", ".join(f"{name} ({why})" for name, why in machine["missing"].items()) + "."
    return text


def _summary(pairs: Sequence[Pair], indexed: set[str]) -> Iterator[str]:
    ratios = [pair.ratio for pair in pairs]
    lowest = min(pairs, key=lambda pair: pair.ratio)
    mean, below = geometric_mean(ratios), sum(ratio < LEAST for ratio in ratios)
    fast, found = f"goal {MEAN:g}x: {_met(mean >= MEAN)}", f"{lowest.ours.operation}, {lowest.ours.file}"
    least = f"goal {LEAST:g}x on every row: {_met(not below)}; {below} below it"
    lines = [
        f"- Geometric mean of {len(pairs)} rows: **{mean:.2f}x** go-car's speed ({fast}).",
        f"- Lowest row: {found}: **{lowest.ratio:.2f}x** ({least}).",
    ]
    memory = [pair for pair in pairs if pair.ours.operation in indexed and pair.theirs.growth]
    if memory:
        small = [pair.memory_ratio for pair in memory if pair.ours.file == "small"]
        if small:
            lines.append(
                f"- Memory where an index is involved, over each process's own start, *small*:"
                f" {geometric_mean(small):.2f} of go-car's in the geometric mean, {max(small):.2f} at most"
                f" (goal {MEMORY:g}: {_met(max(small) <= MEMORY)})."
            )
    yield "\n".join(lines)
    yield "\n".join(_pair_table(pairs, indexed))


def _pair_table(pairs: Sequence[Pair], indexed: set[str]) -> Iterator[str]:
    yield "| operation | file | carv2 | go-car | times as fast | goal | | carv2's MB | go-car's | share |"
    yield "|---|---|--:|--:|--:|--:|---|--:|--:|--:|"
    for pair in pairs:
        ours, theirs = pair.ours, pair.theirs
        goal = GOALS.get((ours.operation, ours.file), LEAST)
        memory = " | | |"
        if theirs.growth:
            share = f"{pair.memory_ratio:.2f}" if ours.operation in indexed else ""
            memory = f" {ours.growth / 1e6:,.1f} | {theirs.growth / 1e6:,.1f} | {share} |"
        yield (
            f"| {ours.operation} | {ours.file} | {_each(ours)} | {_each(theirs)} | {pair.ratio:.2f} | {goal:g} |"
            f" {_met(pair.ratio >= goal)} |{memory}"
        )


def _each(row: Result) -> str:
    """Time of a block, or of the whole where that is one."""
    value = row.nanoseconds
    if value >= 1e6:
        return f"{value / 1e6:,.2f} ms"
    return f"{value / 1e3:,.2f} us" if value >= 1e3 else f"{value:,.0f} ns"


def _section(operation: Operation, rows: Sequence[Result], level: str = "##", *, notes: bool = True) -> str:
    lines = [f"{level} {operation.title}", "", *_table(rows)]
    if operation.note and notes:
        lines += ["", operation.note]
    return "\n".join(lines)


def _table(rows: Sequence[Result]) -> Iterator[str]:
    yield "| file | program | a block | MB/s | time / carv2's | peak MB | over its start |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for row in rows:
        if row.error:
            yield f"| {row.file} | {row.label} | failed: {row.error} | | | | |"
            continue
        ours = next(one for one in rows if one.file == row.file)
        speed = "" if row.blocks == 1 else f"{row.size / row.seconds / 1e6:,.0f}"
        ratio = "" if ours.error else f"{row.nanoseconds / ours.nanoseconds:.2f}"
        growth = f"{row.growth / 1e6:,.1f}" if row.growth else ""
        yield f"| {row.file} | {row.label} | {_each(row)} | {speed} | {ratio} | {_peak_text(row)} | {growth} |"


def _peak_text(row: Result) -> str:
    text = f"{row.peak / 1e6:,.0f}"
    return f"{text} + {row.worker_peak / 1e6:,.0f} a worker" if row.worker_peak else text


def _met(reached: bool) -> str:
    return "yes" if reached else "**no**"


def to_chart(results: Sequence[Result], machine: dict[str, Any]) -> str | None:
    """How many times as fast as go-car, row by row; None without go-car."""
    pairs = pairs_of(results)
    if not pairs:
        return None
    names = {"small": "small: 120 B", "medium": "medium: 4 KiB", "large": "large: 1 MiB"}
    shown = [
        chart.Bar(
            f"{pair.ours.operation}", names.get(pair.ours.file, pair.ours.file), pair.ratio, f"{pair.ratio:.2f}x"
        )
        for pair in pairs
    ]
    mean = geometric_mean([pair.ratio for pair in pairs])
    title = "How many times as fast as go-car, at equal work"
    about = f"geometric mean {mean:.2f}x; {machine['programs']['go-car']}, {machine['python']}, {machine['date']}"
    return chart.bars(title, about, shown)
