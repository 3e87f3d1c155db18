"""Work that is shared among processes: what comes of it where one of them, or all, are ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.operations import _tally
from carv2.operations._processes import calling, leave_if_alone
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def double(number: int) -> int:
    return 2 * number


def kill_myself(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def interrupt_myself(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)  # as a terminal tells all of a group
    return number


def fail(number: int) -> int:
    raise OSError(number, "no such luck")


def hang(path: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(0.01)
        leave_if_alone()


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def soon(condition: Callable[[], bool]) -> bool:
    return any(condition() or time.sleep(0.02) for _ in range(1000))  # type: ignore[func-returns-value]


def number_in(path: Path) -> int:
    assert soon(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def test_answers_come_in_the_order_of_the_calls() -> None:
    with calling(double, [(1,), (2,), (3,)]) as answers:
        assert answers() == [2, 4, 6]


def test_without_one_answer_there_is_none() -> None:
    with calling(kill_myself, [(1,), (2,), (3,)]) as answers:
        assert answers() is None


def test_interrupting_is_left_to_the_one_that_asked() -> None:
    with calling(interrupt_myself, [(1,), (2,)]) as answers:
        assert answers() == [1, 2]


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(OSError, match="luck"), calling(fail, [(5,)]) as answers:
        answers()


def test_an_error_ends_all_processes(tmp_path: Path) -> None:
    processes: list[int] = []

    def interrupted() -> None:
        with calling(hang, [(str(tmp_path / "1"),), (str(tmp_path / "2"),)]):
            processes.extend([number_in(tmp_path / "1"), number_in(tmp_path / "2")])
            assert all(is_there(process) for process in processes)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(processes) == 2
    assert not any(is_there(process) for process in processes)


def test_nobody_stays_behind_where_the_one_that_asked_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {[os.path.dirname(os.path.dirname(__file__))]!r}
from operations.test_processes import calling, hang
with calling(hang, [({str(tmp_path / "1")!r},)]) as answers:
    answers()
"""
    asking = subprocess.Popen([sys.executable, "-c", code])
    process = number_in(tmp_path / "1")
    asking.kill()
    asking.wait()
    assert soon(lambda: not is_there(process))


def archive(path: Path) -> Path:
    data = [number.to_bytes(4, "big") * 1000 for number in range(1500)]
    path.write_bytes(archives.v1([], [(archives.cid_v1(each), each) for each in data]))
    return path


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the worker knows nothing of this test")
def test_a_worker_that_is_killed_costs_time_but_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.car")
    alone = carv2.verify(path), carv2.inspect(path, full=True)
    ours, take_range = os.getpid(), _tally.take_range
    ranges: list[tuple[int, int]] = []

    def short_lived(car: carv2.CarReader, start: int, stop: int, **how: Any) -> object:
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        ranges.append((start, stop))
        return take_range(car, start, stop, **how)

    monkeypatch.setattr(_tally, "take_range", short_lived)
    assert (carv2.verify(path, workers=3), carv2.inspect(path, full=True, workers=3)) == alone
    assert len(ranges) == 4  # its own third, then the whole; twice
