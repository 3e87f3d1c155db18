"""How time and memory grow with the number of blocks.

    python benchmarks/scaling.py --docs          10^4 to 10^7.3 blocks, the figures of docs/performance.md
    python benchmarks/scaling.py [--least N] [--most N] [--rounds N] [--only OP,...] [--data DIR]
                                 [--json OUT] [--markdown OUT] [--chart OUT]

carv2 must be importable. Archives of dag-cbor blocks of 120 bytes (archives.py) are made in --data when they are
wanted; those of 20,000,000 blocks take 7.2 GB, and 4 GB more while one is copied or written. Each measurement is
a process of its own; the figures are the least of the rounds, since all else that the machine does adds to them.

Between one size and the next the exponent of growth is ``log(cost ratio) / log(size ratio)``: 1 is linear, 0 none
at all. *get* is one block's share of 20,000 random ones in an archive that is open, each of which was got once
before the clock started, since a large file does not stay in memory as a whole on every system; *open* an
archive and one block out of it, of a file that was read right before: neither may grow faster than the logarithm.
All others are the whole work; *pack* imports a file that has so many leaves of 120 bytes. Memory is what a process
grew by over its start. An exponent is left out where the smaller of the two took less than 20 ms, of which the
start of things is too large a part.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import archives
import chart
import measure
import plan
import report
import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 20_000_000)
GETS = 20_000
LOOK_UPS = 2
"""Rounds of those that look blocks up, for each round of the others."""
ENOUGH = 0.02
"""Seconds below which the start of things is most of it."""
ROOM, STEP = 1.15, 1.5
"""Exponents up to this one are linear; and the logarithm's growth times this is logarithmic: caches end."""


class Work(NamedTuple):
    """One line of the chart."""

    op: str
    kind: str
    """Linear, or logarithmic: how it may grow."""
    version: int = 2
    writes: bool = False
    copies: bool = False
    """Whether it goes on with a copy of the archive."""
    program: str = "ours.py"


WORKS = {
    "index": Work("index", "linear", 1, writes=True),
    "verify": Work("verify", "linear"),
    "open": Work("open", "logarithmic"),
    "get": Work("get-again", "logarithmic"),
    "put": Work("put", "linear", 1, writes=True),
    "resume": Work("resume", "linear", writes=True, copies=True),
    "pack": Work("pack", "linear", 1, writes=True, program="scaling_pack.py"),
}


class Point(NamedTuple):
    blocks: int
    seconds: float
    """Of the whole; of one block for get."""
    memory: float
    """Bytes over the start."""


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    names = given.only or list(WORKS)
    found: dict[str, list[Point]] = {name: [] for name in names}
    machine = report.describe_machine({"carv2": plan.find_programs(None, None)[0]["carv2"]}, {})
    sizes = [size for size in SIZES if given.least <= size <= given.most]
    for size in sizes:
        recipe = archives.Recipe("small", size, 120, archives.DAG_CBOR)
        archive = archives.prepare_recipe(recipe, given.data)
        with tempfile.TemporaryDirectory(prefix="out-", dir=given.data) as folder:
            for name in names:
                found[name].append(_measure(WORKS[name], archive, Path(folder), given.rounds))
                print(f"{name}, {size:,}: {found[name][-1].seconds:.3g} s", file=sys.stderr, flush=True)
        if given.clean and size > archives.RECIPES["small"].blocks:
            archive.v1.unlink()
            archive.v2.unlink()
    _write_down(given, found, machine)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("--least", type=int, default=SIZES[0], help="blocks")
    add("--most", type=int, default=SIZES[-1], help="blocks")
    add("--rounds", type=int, default=2)
    add("--only", type=run.names_of(WORKS), help="operations, separated by commas")
    add("--data", type=Path, default=Path(tempfile.gettempdir(), "carv2-bench"), help="where the archives are")
    add("--clean", action="store_true", help="remove archives of more than 2,000,000 blocks when they were used")
    add("--json", type=Path)
    add("--markdown", type=Path)
    add("--chart", type=Path)
    add("--docs", type=Path, nargs="?", const=run.ROOT / "docs", help="all of it goes into this folder (docs)")
    return parser.parse_args(arguments)


def _measure(work: Work, archive: archives.Archive, folder: Path, rounds: int) -> Point:
    source, out = archive.v1 if work.version == 1 else archive.v2, folder / "out"
    command = [sys.executable, str(plan.HERE / work.program), work.op, str(source)]
    if work.writes:
        command += [str(out), "--count", str(archive.blocks)]
    elif work.op.startswith("get"):
        command += ["--count", str(GETS)]
    measured = []
    if work.kind == "logarithmic":
        measure.warm(source)
        rounds *= LOOK_UPS
    for _ in range(rounds):
        if work.copies:
            shutil.copyfile(source, out)
        elif work.writes:
            run.use_memory(out, source.stat().st_size)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured.append(json.loads(done.stdout))
        run.remove(out)
    share = GETS if work.op.startswith("get") else 1
    memory = statistics.median(one["peak_rss_kib"] - one["start_rss_kib"] for one in measured)
    return Point(archive.blocks, min(one["seconds"] for one in measured) / share, memory * 1024)


def exponents(work: Work, points: Sequence[Point]) -> list[tuple[int, int, float, bool]]:
    """From what size to what, the exponent, and whether that is within what it may be.

    >>> exponents(WORKS["index"], [Point(100_000, 1.0, 0), Point(1_000_000, 100.0, 0)])
    [(100000, 1000000, 2.0, False)]
    """
    found = []
    for one, two in itertools.pairwise(points):
        if work.kind == "linear" and one.seconds < ENOUGH:
            continue
        slope = math.log(two.seconds / one.seconds) / math.log(two.blocks / one.blocks)
        most = ROOM
        if work.kind == "logarithmic":
            growth = STEP * math.log(two.blocks) / math.log(one.blocks)
            most = math.log(growth) / math.log(two.blocks / one.blocks)
        found.append((one.blocks, two.blocks, round(slope, 3), slope <= most))
    return found


def to_markdown(found: Mapping[str, Sequence[Point]], machine: dict[str, Any], rounds: int) -> str:
    about = (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores (load {machine['load']:.1f} at the start),"
        f" {machine['system']}, {machine['python']}, {machine['programs']['carv2']}."
        f" Least of {rounds} round{'s' if rounds > 1 else ''}."
    )
    parts = [about, "\n".join(_figures(found)), "\n".join(_growth(found))]
    worse = [
        f"{name} from {chart.short(one)} to {chart.short(two)} blocks ({slope:.2f})"
        for name, points in found.items()
        for one, two, slope, within in exponents(WORKS[name], points)
        if not within
    ]
    parts.append(
        "Worse than linear, or than logarithmic for open and get: " + (", ".join(worse) if worse else "none") + "."
    )
    return "\n\n".join(parts) + "\n"


def _figures(found: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    yield "| operation | blocks | seconds | a block | memory over the start, MB | bytes a block |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, points in found.items():
        for point in points:
            whole, each = f"{point.seconds:,.3f}", point.seconds / point.blocks * 1e9
            if WORKS[name].kind == "logarithmic":
                whole, each = "", point.seconds * 1e9
            share = f"{point.memory / point.blocks:,.1f}"
            yield (
                f"| {name} | {point.blocks:,} | {whole} | {each:,.0f} ns | {point.memory / 1e6:,.1f} | {share} |"
            )


def _growth(found: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    yield "| operation | may grow | exponents of time, from size to size |"
    yield "|---|---|---|"
    for name, points in found.items():
        slopes = [
            f"{chart.short(one)} to {chart.short(two)}: {slope:.2f}{'' if within else ' (**worse**)'}"
            for one, two, slope, within in exponents(WORKS[name], points)
        ]
        yield f"| {name} | {WORKS[name].kind} | {', '.join(slopes) or 'too short to say'} |"


def to_chart(found: Mapping[str, Sequence[Point]], machine: dict[str, Any]) -> str:
    def lines(kind: str | None, value: str, factor: float) -> list[chart.Line]:
        return [
            chart.Line(name, [(point.blocks, getattr(point, value) * factor) for point in points], number)
            for number, (name, points) in enumerate(found.items())
            if kind in {None, WORKS[name].kind}
        ]

    drawn = [
        chart.Panel("Time for all blocks", "blocks in the archive", "seconds", lines("linear", "seconds", 1)),
        chart.Panel("Time for one block", "blocks in the archive", "µs", lines("logarithmic", "seconds", 1e6)),
        chart.Panel("Memory over the start", "blocks in the archive", "MB", lines(None, "memory", 1e-6)),
    ]
    about = f"{machine['programs']['carv2']}, {machine['python']}, {machine['date']}; blocks of 120 bytes"
    return chart.panels("How cost grows", about, [panel for panel in drawn if panel.lines])


def _write_down(given: argparse.Namespace, found: dict[str, list[Point]], machine: dict[str, Any]) -> None:
    text, drawn = to_markdown(found, machine, given.rounds), to_chart(found, machine)
    points = {name: [point._asdict() for point in line] for name, line in found.items()}
    growth = {name: exponents(WORKS[name], line) for name, line in found.items()}
    data = json.dumps({"machine": machine, "points": points, "exponents": growth}, indent=1) + "\n"
    print(text)
    for path, content in ((given.markdown, text), (given.json, data), (given.chart, drawn)):
        if path is not None:
            path.write_text(content, encoding="utf-8")
    if given.docs is not None:
        folder = given.docs / "performance"
        folder.mkdir(exist_ok=True)
        (folder / "scaling.json").write_text(data, encoding="utf-8")
        (folder / "scaling.svg").write_text(drawn, encoding="utf-8")
        run.insert(given.docs / "performance.md", "scaling.py", text)


if __name__ == "__main__":
    main()
