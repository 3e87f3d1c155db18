"""What fails, is short, or loses power, wherever it does: nothing acknowledged is lost, and nothing is left over.

In a test run each scenario gets some of the calls, by chance; ``python tests/faults/run.py`` tries them all.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carv2 import _atomic
from carv2.imports import manager
from faults.scenarios import ALL, Scenario, check_replaced, prepare_file
from faults.trying import FAULTS, Trial

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")

TRIES = 4
"""Calls that fail, of each scenario and fault."""

DURABLE = [name for name, scenario in ALL.items() if scenario.is_durable]
each = pytest.mark.parametrize("name", ALL)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scenario], Trial]:
    return lambda scenario: Trial(scenario, tmp_path, monkeypatch)


@each
@pytest.mark.parametrize("kind", FAULTS)
def test_a_call_that_fails_costs_nothing_that_was_acknowledged(
    trial: Callable[[Scenario], Trial], name: str, kind: str
) -> None:
    it, rng = trial(ALL[name]), random.Random()
    count = it.calls()
    numbers = rng.sample(range(1, count + 1), min(count, TRIES if "store" not in name else TRIES // 2))
    for number in numbers:
        try:
            it.fail(kind, number)
        except BaseException as error:
            raise AssertionError(f"{kind} at call {number} of {count}") from error


@each
def test_reads_and_writes_may_move_less_than_asked_for(trial: Callable[[Scenario], Trial], name: str) -> None:
    trial(ALL[name]).in_halves()


@each
def test_signals_interrupt_nothing(trial: Callable[[Scenario], Trial], name: str) -> None:
    """Each system call may end with EINTR, and is made again."""
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        trial(ALL[name]).calls()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert heard


@pytest.mark.parametrize("name", DURABLE)
def test_a_power_cut_costs_nothing_that_was_acknowledged(trial: Callable[[Scenario], Trial], name: str) -> None:
    assert trial(ALL[name]).cut_power(random.randrange(1 << 30), subsets=3, most=25) > 5


# -- each kind of check can fail ----------------------------------------------------------------------------------


def test_a_name_that_is_not_synced_is_found(
    trial: Callable[[Scenario], Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "sync_folder", lambda _: None)
    with pytest.raises(AssertionError, match="an import is lost"):
        trial(ALL["imports"]).cut_power(1, subsets=3)


def test_bytes_that_are_not_synced_are_found(
    trial: Callable[[Scenario], Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, fsync = trial(ALL["a replaced file"]), os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None if os.path.isfile(f"/proc/self/fd/{fd}") else fsync(fd))
        patch.setattr(_atomic, "os", _WithoutSync())
        with pytest.raises(AssertionError):
            it.cut_power(1, subsets=3)


class _WithoutSync:
    """The module ``os``, with syncs of nothing."""

    def __getattr__(self, name: str) -> object:
        return (lambda _: None) if name == "fsync" else getattr(os, name)


def half_way(folder: Path, say: Callable[[str], None]) -> None:
    """Write in place, which is what nobody should do."""
    fd = os.open(folder / "x", os.O_WRONLY)
    try:
        os.write(fd, b"ne")
    finally:
        os.close(fd)
    say("new")


def test_a_file_that_is_torn_is_found(trial: Callable[[Scenario], Trial]) -> None:
    it = trial(Scenario(prepare_file, half_way, check_replaced))
    with pytest.raises(AssertionError):
        it.cut_power(1, subsets=3)
    with pytest.raises(AssertionError):
        it.fail("ENOSPC once", 2)


LEFT: list[int] = []


def forgetful(folder: Path, say: Callable[[str], None]) -> None:
    """Leave a file open when something fails."""
    fd = os.open(folder / "x", os.O_RDONLY)
    LEFT[:] = [fd]
    os.read(fd, 10)
    os.close(fd)
    say("new")


def test_a_file_that_is_left_open_is_found(trial: Callable[[Scenario], Trial]) -> None:
    it = trial(Scenario(prepare_file, forgetful, check_replaced, is_durable=False))
    with pytest.raises(AssertionError, match="left open"):
        it.fail("EIO", 2)
    os.close(LEFT.pop())
