"""Bars: on a real terminal (a pseudo-terminal), and nowhere else."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from carv2._source import BytesSource
from carv2.cli import progress
from carv2.errors import TruncatedError
from cli.files import lay_out
from cli.running import SOURCE, SURROUNDINGS, run_line
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

PRELUDE = """
import sys
from carv2.cli import progress
class Clock:
    now = 0.0
    def __call__(self):
        Clock.now += {step}
        return Clock.now
progress.monotonic = Clock()
"""
"""Each look at the clock takes some time, so that tests need not wait for it."""

WITHOUT_RICH = "import sys; sys.modules['rich'] = None\n"
KINDS = pytest.mark.parametrize("first", ["", WITHOUT_RICH], ids=["rich", "plain"])


class Shown:
    """What a terminal was sent, and what stands on it at the end."""

    def __init__(self, raw: str, code: int) -> None:
        self.raw, self.code = raw, code

    @property
    def frames(self) -> list[str]:
        """Each state of the line, without its control sequences."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw)
        return [frame.strip() for frame in re.split(r"[\r\n]+", plain) if frame.strip()]

    @property
    def left(self) -> list[str]:
        """The lines that are on the screen when all is done, by the few sequences that are used here."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.raw):
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                lines += [""] * (row == len(lines))
            elif part.endswith("A"):
                row = max(0, row - int(part[2:-1] or 1))
            elif part == "\x1b[2K":
                lines[row] = ""
            elif part == "\x1b[K":
                lines[row] = lines[row][:column]
            elif not part.startswith("\x1b"):
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
        return [line for line in lines if line]


def on_a_terminal(code: str, *, folder: Path | None = None, columns: int = 100, **environment: str) -> Shown:
    """Run Python code whose three streams are a terminal."""
    surroundings = {**os.environ, **SURROUNDINGS, "PYTHONPATH": str(SOURCE), **environment}
    surroundings.pop("COLUMNS", None)
    surroundings.pop("NO_COLOR", None)
    main, terminal = pty.openpty()
    os.set_inheritable(terminal, True)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=surroundings, cwd=folder
    ) as process:
        os.close(terminal)
        parts: list[bytes] = []
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(main, 1 << 16):
                parts.append(part)
        os.close(main)
    return Shown(b"".join(parts).decode(), process.returncode)


def work(step: float = 0.05, *, total: int | None = 100 << 20, unit: str = "B", then: str = "") -> str:
    """Code that ticks a hundred times."""
    return f"""{PRELUDE.format(step=step)}
with progress.bar("packing", {total}, {unit!r}) as tick:
    for _ in range(100):
        tick({(total or 100) // 100})
    {then}
print("done")
"""


@KINDS
def test_a_bar_shows_share_amount_rate_and_time_left_and_goes_away(first: str) -> None:
    shown = on_a_terminal(first + work())
    assert shown.left == ["done"]
    frames = [frame for frame in shown.frames if frame.startswith("packing")]
    assert len(frames) > 10
    parts = [re.fullmatch(r"packing .*?(\d+)%  ([\d.]+ .?i?B), ([\d.]+ MiB)/s, (\d:\d\d) left", f) for f in frames]
    shares = [int(part[1]) for part in parts if part is not None]
    assert len(shares) == len(frames), frames
    assert shares == sorted(shares)
    assert shares[0] < 20
    assert shares[-1] > 90
    assert len({part[2] for part in parts if part}) > 10
    assert parts[0] is not None
    assert parts[0].group(3, 4) == ("20.0 MiB", "0:04")


@KINDS
def test_the_bar_itself_grows(first: str) -> None:
    shown = on_a_terminal(first + work(), NO_COLOR="1")
    full = [frame.count("#") + frame.count("━") for frame in shown.frames if frame.startswith("packing")]
    assert max(full) > min(full)
    assert ("#" in shown.raw) == bool(first)


@KINDS
def test_without_a_total_there_are_a_count_and_a_rate(first: str) -> None:
    shown = on_a_terminal(first + work(total=None, unit="blocks"))
    assert shown.left == ["done"]
    frames = [frame for frame in shown.frames if frame.startswith("packing")]
    assert re.search(r"\d+ blocks, \d+ blocks/s$", frames[-1]), frames
    assert "%" not in shown.raw
    assert "left" not in shown.raw


@KINDS
def test_nothing_is_shown_before_half_a_second_has_passed(first: str) -> None:
    assert on_a_terminal(first + work(0.0049)).raw == "done\r\n"
    assert "packing" in on_a_terminal(first + work(0.0052)).raw


def test_it_is_drawn_at_most_ten_times_a_second() -> None:
    frames = on_a_terminal(WITHOUT_RICH + work(0.01)).frames
    assert 2 < sum(frame.startswith("packing") for frame in frames) <= 6


@KINDS
def test_an_exception_finds_a_clean_line(first: str) -> None:
    code = work(then="raise SystemExit('it failed')")
    shown = on_a_terminal(first + code)
    assert shown.left == ["it failed"]
    assert "packing" in shown.raw
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h"), "the cursor is back"


@KINDS
def test_a_line_that_is_printed_meanwhile_stands_above_the_bar(first: str) -> None:
    code = work().replace("tick(", "_ % 40 or (progress.make_room(), print(_, file=sys.stderr)); tick(")
    shown = on_a_terminal(first + code)
    assert shown.left == ["0", "40", "80", "done"]
    places = [at for at, frame in enumerate(shown.frames) if frame in {"0", "40", "80", "done"}]
    assert [two - one > 3 for one, two in itertools.pairwise(places)] == [True] * 3, shown.frames


def test_a_bar_that_is_hushed_is_gone() -> None:
    shown = on_a_terminal(WITHOUT_RICH + work(then="progress.hush(True); print('aborted'); tick(1)"))
    assert shown.left == ["aborted", "done"]
    assert [frame for frame in shown.frames if frame.startswith("packing")]


@KINDS
def test_a_narrow_terminal_gets_no_second_line(first: str) -> None:
    shown = on_a_terminal(first + work(), columns=30)
    assert shown.left == ["done"]
    if first:
        assert max(map(len, shown.frames)) < 30


@pytest.mark.parametrize(
    "change",
    [
        "progress.hush(True)",
        "sys.stderr = open('/dev/null', 'w')",
        "sys.stderr = None",
        "import os; os.environ['TERM'] = 'dumb'",
    ],
)
def test_it_is_silent_where_nobody_could_read_it(change: str) -> None:
    prelude, _, rest = work().partition("\nwith ")
    shown = on_a_terminal(f"{prelude}\n{change}\nwith {rest}")
    assert shown.raw == "done\r\n"


def test_no_thread_is_started_and_rich_is_not_loaded_before_it_is_needed() -> None:
    check = "print(threading.active_count(), 'rich' in sys.modules)"
    shown = on_a_terminal("import threading\n" + work(0.0049, then=check))
    assert shown.left == ["1 False", "done"]
    assert "1 True" in on_a_terminal("import threading\n" + work(then=check)).raw


def test_many_threads_may_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    class Line:
        drawing = most = 0

        def show(self, share: float | None, status: str) -> None:
            Line.drawing += 1
            Line.most = max(Line.most, Line.drawing)
            time.sleep(0.001)
            Line.drawing -= 1

        def clear(self) -> None:
            pass

    monkeypatch.setattr(progress, "_EVERY", 0.0)
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    monkeypatch.setattr(progress, "_rich_line", lambda label: Line())
    meter = progress._Meter("x", None, "files")

    def work() -> None:
        for _ in range(50):
            meter.tick(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.close()
    assert Line.most == 1


def test_a_terminal_that_goes_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def show(self, share: float | None, status: str) -> None:
            raise OSError(5, "Input/output error")

        def clear(self) -> None:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(progress, "_DELAY", 0.0)
    monkeypatch.setattr(progress, "_rich_line", lambda label: Gone())
    meter = progress._Meter("x", 10, "files")
    meter.tick(1)
    meter.close()


# -- the source that is watched ----------------------------------------------------------------------------


def test_what_counts_is_the_way_forward() -> None:
    ticks: list[int] = []
    data = bytes(1000)
    source = progress.WatchedSource(BytesSource(data), ticks.append)
    assert source.size == 1000
    assert source.read_exactly(0, 100, "x") == data[:100]
    assert source.read_at(300, 100) == data[:100]  # 200 were passed over
    assert source.read_at(0, 50) == data[:50]  # back to the start
    assert source.read_at(990, 50) == data[:10]
    with pytest.raises(TruncatedError):
        source.read_exactly(990, 50, "x")
    assert ticks == [100, 300, 50, 950]


def test_a_jump_does_not_count() -> None:
    class Large(BytesSource):
        def read_at(self, position: int, size: int) -> bytes:
            return bytes(size)

    ticks: list[int] = []
    source = progress.WatchedSource(Large(b""), ticks.append)
    source.read_at(1 << 30, 10)
    source.read_at(0, 10)
    assert ticks == [10, 10]


COMMANDS = [
    "verify large.car",
    "inspect --full large.car",
    "wrap large.car out.car",
    "index large.car out.car",
    "salvage large.car out.car",
    "unwrap wrapped.car out.car",
    "verify missing-root.car large.car",
    "filter --inverse --cid-file nothing large.car out.car",
    "concat large.car large.car -o out.car",
    "diff large.car large.car",
    "stat large.car",
    "dot large.car out.dot",
    "index create large.car out.carindex",
    "split --size 100MiB large.car part",
    "recover large.car",
    "recover --apply large-cut.car",
    "create -o packed.car large.car",
    "put-block appended-large.car",
    "dagstore --root store register-shard large large.car",
    "dagstore --root store initialize-shard large-lazy",
    "dagstore --root store recover-shard large-late",
]
RUN = """
from carv2.cli.main import main
import os, shlex
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
main(shlex.split({line!r}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("progress")
    lay_out(folder)
    blocks = [(archives.cid_v1(data), data) for data in (bytes([at]) * 90_000 for at in range(200))]
    (folder / "large.car").write_bytes(archives.v1([], blocks))
    (folder / "large-cut.car").write_bytes(archives.v1([], blocks)[:-1])
    (folder / "appended-large.car").write_bytes(archives.v1([], blocks))
    run_line(folder, "carv2 dagstore --root store register-shard --lazy large-lazy large.car")
    run_line(folder, "carv2 dagstore --root store register-shard large-late large-late.car")
    (folder / "large-late.car").symlink_to("large.car")
    return folder


@pytest.mark.parametrize("line", COMMANDS)
def test_long_commands_have_a_bar_that_ends_near_100_percent(line: str, folder: Path) -> None:
    (folder / "out.car").unlink(missing_ok=True)
    shown = on_a_terminal(WITHOUT_RICH + PRELUDE.format(step=0.2) + RUN.format(line=line), folder=folder)
    shares = [int(share) for share in re.findall(r"(\d+)%", shown.raw)]
    assert shares, shown.raw
    bars = 2 if "--apply" in line else 1
    assert sum(one > two for one, two in itertools.pairwise(shares)) < bars
    assert shares[-1] > (90 if "large" in line else 30), shown.raw
    assert not [left for left in shown.left if "%" in left]


def test_the_check_of_imports_counts_them_above_their_lines(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
        run_line(tmp_path, f"carv2 import --repo repo {name}")
    code = PRELUDE.format(step=0.6) + RUN.format(line="imports check --repo repo")
    shown = on_a_terminal(WITHOUT_RICH + code, folder=tmp_path)
    assert re.findall(r"(\d+)%  (\d) imports", shown.raw) == [("33", "1"), ("67", "2"), ("100", "3")]
    lines = ["sanity checking imports", *["import ok"] * 3, "sanity check completed"]
    assert [line.split("\t")[:2] for line in shown.left if line] == [["INFO", line] for line in lines]


def test_with_json_there_is_no_bar(folder: Path) -> None:
    code = PRELUDE.format(step=0.2) + RUN.format(line="inspect --full --json large.car")
    shown = on_a_terminal(WITHOUT_RICH + code, folder=folder)
    assert shown.raw.startswith('{"version": 1')
    assert shown.raw.count("\r") == 1


def test_the_message_of_an_error_stands_on_a_line_of_its_own(folder: Path) -> None:
    data: Any = (folder / "large.car").read_bytes()
    (folder / "cut.car").write_bytes(data[:-1])
    code = PRELUDE.format(step=0.2) + RUN.format(line="inspect --full cut.car")
    shown = on_a_terminal(code, folder=folder)
    assert len(shown.left) == 2
    assert shown.left[0].startswith("carv2: cut.car: section: wanted")
    assert shown.left[1] == "To save what is whole: carv2 salvage cut.car saved.car"
    assert "inspecting" in shown.raw
