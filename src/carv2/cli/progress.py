"""How far a long command has come: one line on standard error, only at a terminal, only after half a second.

No thread draws it: a tick does, now and then, so a command that hangs shows that it hangs. Where ``rich`` is
installed it draws the bar; without it the line is plain text, rewritten in place.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from carv2.cli import color

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from carv2._source import Source

_DELAY = 0.5
"""Seconds before anything is shown: what is done by then needs no bar."""
_EVERY = 0.1
_BAR = 24
_JUMP = 32 << 20
"""Bytes from which on a gap between two reads is a jump to elsewhere, not a block that was passed over."""


class Tick(Protocol):
    """Says that so many more bytes, blocks or files are done; costs next to nothing."""

    def __call__(self, count: int, /) -> None: ...


class _Switch:
    quiet = False
    shown: _Meter | None = None
    """The bar that there is now."""


def hush(quiet: bool) -> None:
    """Show no bars if ``quiet``, whatever standard error is: for ``--json``, which is read by programs."""
    _Switch.quiet = quiet
    if quiet and _Switch.shown is not None:
        _Switch.shown.close()


def make_room() -> None:
    """Take the bar away, if there is one, for a line that is printed now; a later tick brings it back."""
    if _Switch.shown is not None:
        _Switch.shown.hide()


def is_wanted() -> bool:
    """Whether bars are shown at all: standard error is a terminal that can rewrite a line."""
    if _Switch.quiet or sys.stderr is None or os.environ.get("TERM") == "dumb":  # pyright: ignore[reportUnnecessaryComparison]
        return False
    return sys.stderr.isatty()


@contextlib.contextmanager
def bar(label: str, total: int | None = None, unit: str = "B") -> Generator[Tick]:
    """A bar for what is done inside: it gives a tick, to be called with each number of bytes that is done.

    ``with progress.bar("packing", total=size) as tick: ...; tick(len(data))``

    It goes away at the end, also when an exception ends it, so that what is printed next stands on a clean line.
    Who prints to the terminal meanwhile calls :func:`make_room` first.

    Args:
        label: what is being done, as in "packing".
        total: how much there is to do; None where nobody knows, then there is a count and a rate.
        unit: what is counted: ``B`` for bytes, else a plural noun such as ``blocks`` or ``files``.
    """
    if not is_wanted():
        yield _ignore
        return
    meter = _Switch.shown = _Meter(label, total, unit)
    try:
        yield meter.tick
    finally:
        _Switch.shown = None
        meter.close()


def _ignore(count: int, /) -> None:
    """The tick of a bar that nobody sees."""


class _Meter:
    """Counts; draws at most ten times a second."""

    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._drawing = 0, threading.Lock()
        self._started = monotonic()
        self._next = self._started + _DELAY
        self._line: _Line | None = None

    def tick(self, count: int, /) -> None:
        self._done += count
        now = monotonic()
        if now < self._next or not self._drawing.acquire(blocking=False):
            return
        try:
            self._next = now + _EVERY
            if self._line is None:
                self._line = _rich_line(self._label) or _PlainLine(self._label)
            share = min(1.0, self._done / self._total) if self._total else None
            with contextlib.suppress(OSError):  # a terminal that went away is no reason to stop
                self._line.show(share, self.status(now - self._started))
        finally:
            self._drawing.release()

    def hide(self) -> None:
        """Take the line away, if there is one."""
        with self._drawing:
            self._clear()

    def close(self) -> None:
        """The same; later ticks change nothing."""
        with self._drawing:
            self._next = float("inf")
            self._clear()

    def _clear(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.clear()

    def status(self, elapsed: float) -> str:
        """How much is done after ``elapsed`` seconds, how fast, and how long it will take."""
        rate = self._done / elapsed if elapsed > 0 else 0.0
        done = amount(self._done, self._unit)
        if not self._total:
            return f"{done}, {amount(rate, self._unit)}/s"
        left = max(0, self._total - self._done) / rate if rate else 0.0
        share = min(1.0, self._done / self._total)
        return f"{share:4.0%}  {done}, {amount(rate, self._unit)}/s, {duration(left)} left"


def amount(count: float, unit: str) -> str:
    """A number with its unit: bytes in the powers of 1024 that they come to, other things with separators.

    >>> amount(1_300_000, "B"), amount(999, "B"), amount(12345, "blocks")
    ('1.2 MiB', '999 B', '12,345 blocks')
    """
    if unit != "B":
        return f"{count:,.0f} {unit}"
    for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
        if count < 1000 or prefix == "Ti":
            break
        count /= 1024
    return f"{count:.0f} B" if not prefix else f"{count:.1f} {prefix}B"


def duration(seconds: float) -> str:
    """Minutes and seconds, and hours where there are some.

    >>> duration(59.6), duration(3661)
    ('1:00', '1:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Line(Protocol):
    """What a bar is drawn on."""

    def show(self, share: float | None, status: str) -> None: ...
    def clear(self) -> None: ...


class _PlainLine:
    """One line, rewritten with a carriage return."""

    def __init__(self, label: str) -> None:
        self._label = label

    def show(self, share: float | None, status: str) -> None:
        full = round((share or 0.0) * _BAR)
        shown = "" if share is None else f"[{'#' * full}{'.' * (_BAR - full)}] "
        text = f"{self._label} {shown}{status}"
        sys.stderr.write(f"\r{text[: _columns() - 1]}\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


def _rich_line(label: str) -> _Line | None:
    """The same drawn by rich; None where that is not installed. Imported here: it takes 80 ms."""
    try:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415
    except ImportError:
        return None
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=_BAR),
        TextColumn("{task.fields[status]}", markup=False),
        console=Console(stderr=True, no_color=not color.is_on()),
        auto_refresh=False,  # no thread
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    return _RichLine(progress, label)


class _RichLine:
    def __init__(self, progress: Any, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None, status="")
        self._is_shown = False

    def show(self, share: float | None, status: str) -> None:
        completed = 0.0 if share is None else share
        total = None if share is None else 1.0
        self._progress.update(self._task, completed=completed, total=total, status=status, refresh=self._is_shown)
        if not self._is_shown:
            self._is_shown = True
            self._progress.start()

    def clear(self) -> None:
        self._is_shown = False
        self._progress.stop()


def watched(label: str) -> Callable[[Source], Source]:
    """What gives each source a bar, which is there until the source is closed."""
    return lambda source: _SourceWithBar(source, label)


class WatchedSource:
    """A source that tells a bar how far its reader has come.

    What counts is the way forward: bytes read, and the blocks between them that were passed over unread. Another
    pass over the file counts again; a jump (to an index at the end) does not.
    """

    def __init__(self, source: Source, tick: Callable[[int], object]) -> None:
        self._source, self._tick, self._at = source, tick, 0
        self.chunk_size = source.chunk_size

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self._source.size

    def read_at(self, position: int, size: int) -> bytes:
        """As the source's own."""
        data = self._source.read_at(position, size)
        self._advance(position, len(data))
        return data

    def read_exactly(self, position: int, size: int, field: str) -> bytes:
        """As the source's own."""
        data = self._source.read_exactly(position, size, field)
        self._advance(position, size)
        return data

    def close(self) -> None:
        """As the source's own."""
        self._source.close()

    def _advance(self, position: int, size: int) -> None:
        gap, self._at = position - self._at, position + size
        self._tick(size + gap if 0 < gap < _JUMP else size)


class _SourceWithBar(WatchedSource):
    def __init__(self, source: Source, label: str) -> None:
        self._held = contextlib.ExitStack()
        self._held.callback(source.close)
        super().__init__(source, self._held.enter_context(bar(label, source.size)))

    def close(self) -> None:
        self._held.close()
