"""How many processes share the work where nobody says."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

import pytest

from carv2.cli import main, progress, workers
from carv2.operations import _tally
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A large file, to be read where eight processors are free and no bar is shown."""
    path = tmp_path / "large.car"
    path.touch()
    os.truncate(path, workers.LARGE)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 8, 8), raising=False)
    monkeypatch.setattr(progress, "is_wanted", lambda: False)
    return str(path)


def number(name: str, *, said: int | None = None) -> int:
    return workers.number_of(argparse.Namespace(workers=said), name)


def test_a_large_file_has_several_workers(large: str) -> None:
    assert number(large) == 4


def test_what_is_said_counts(large: str, tmp_path: Path) -> None:
    assert (number(large, said=1), number(str(tmp_path), said=7)) == (1, 7)


@pytest.mark.parametrize(("load", "expected"), [(0.4, 4), (5.6, 2), (6.9, 1), (40.0, 1)])
def test_processors_that_are_busy_do_not_count(
    large: str, monkeypatch: pytest.MonkeyPatch, load: float, expected: int
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0), raising=False)
    assert number(large) == expected


def test_without_load_averages_all_processors_count(large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 5}, raising=False)
    assert number(large) == 3


def test_small_files_folders_and_what_is_not_there_have_one_worker(large: str, tmp_path: Path) -> None:
    os.truncate(large, workers.LARGE - 1)
    assert {number(large), number(str(tmp_path)), number("-"), number("no\0name")} == {1}


def test_a_bar_is_for_one_worker(large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_wanted", lambda: True)
    assert number(large) == 1


@pytest.mark.parametrize("command", [["verify"], ["inspect", "--full"]])
@pytest.mark.parametrize(("more", "expected"), [([], 3), (["--workers", "2"], 2)])
def test_commands_pass_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], more: list[str], expected: int
) -> None:
    path = tmp_path / "a.car"
    data = b"fish"
    path.write_bytes(archives.v1([archives.cid_v1(data)], [(archives.cid_v1(data), data)]))
    asked: list[int] = []

    def ranges(_: object, start: int, stop: int, count: int) -> list[tuple[int, int]]:
        asked.append(count)
        return [(start, stop)]

    monkeypatch.setattr(_tally, "_ranges", ranges)
    monkeypatch.setattr(workers, "_is_large", lambda _: True)
    monkeypatch.setattr(workers, "_free_processors", lambda: 3)
    assert main.main([*command, *more, str(path)]) == 0
    assert asked == [expected]


def test_without_hashes_there_is_nothing_to_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], [(archives.cid_v1(b"fish"), b"fish")]))
    monkeypatch.setattr(_tally, "_ranges", None)
    assert main.main(["inspect", "--workers", "2", str(path)]) == 0
