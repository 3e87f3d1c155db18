"""What a benchmarked Python process does around its work: arguments in, one JSON object out.

The object is that of the peers under tests/interop: ``{"op", "seconds", "blocks", "bytes", "peak_rss_kib"}``, and
three more: ``import_seconds`` (not part of ``seconds``), ``start_rss_kib`` (memory when the clock started) and
``worker_peak_rss_kib`` (of the largest worker process, 0 without any; an upper bound).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass
class Measurement:
    op: str
    seconds: float = 0.0
    blocks: int = 0
    bytes: int = 0
    peak_rss_kib: int = 0
    import_seconds: float = 0.0
    start_rss_kib: int = 0
    worker_peak_rss_kib: int = 0


@dataclass
class Run:
    """One operation under way: what it works on, and what it measures."""

    path: Path
    out: Path | None
    count: int
    """How many blocks at most, where the operation does not take them all."""
    found: Measurement

    def mark(self) -> None:
        """Note the memory in use, from where its growth counts; :meth:`timed` does it unless it was done."""
        with contextlib.suppress(OSError), Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
            file.write("5")  # the peak begins anew
        self.found.start_rss_kib = memory_kib("VmRSS")

    @contextlib.contextmanager
    def clocked(self) -> Iterator[None]:
        """Add the time of what is done within."""
        start = time.perf_counter()
        yield
        self.found.seconds += time.perf_counter() - start

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of what is done within, and the peak of memory; what was in use before is in it too."""
        if not self.found.start_rss_kib:
            self.mark()
        with self.clocked():
            yield
        self.note_peak()

    def note_peak(self) -> None:
        self.found.peak_rss_kib = memory_kib("VmHWM")
        self.found.worker_peak_rss_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss

    def needed_out(self) -> Path:
        if self.out is None:
            raise SystemExit(f"{self.found.op} needs OUT")
        return self.out


def warm(source: Path) -> None:
    """Read a file, or all files of a folder, so that nobody waits for the disk who comes first."""
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def memory_kib(field: str) -> int:
    """A line of /proc/self/status; 0 where there is no such file.

    Not getrusage: its figure starts at the size of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":")), 0)


def main(
    operations: Mapping[str, Callable[[Run], None]],
    load: Callable[[], object],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run the operation that the command line names; ``load`` imports what it needs, on a clock of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("op", choices=operations)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument(
        "--count", type=int, default=100_000, help="of blocks to get; -1 for all to be put or written"
    )
    given = parser.parse_args(arguments)
    run = Run(given.file, given.out, given.count, Measurement(given.op, bytes=given.file.stat().st_size))
    start = time.perf_counter()
    load()
    run.found.import_seconds = time.perf_counter() - start
    operations[given.op](run)
    print(json.dumps(asdict(run.found)))
