"""Reading with threads gives what reading without does: the same blocks, in the same order, up to a fault."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import _ahead, _blocks
from carv2._ahead import default_workers
from carv2._source import FileSource
from carv2.errors import IntegrityError, TruncatedError, UnknownHashError
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [10, 100_000, 40_000, 33_000, 5, 0, 300, 200_000, 70_000, 32_768, 32_767, 60_000, 500_000, 1, 150_000]


def blocks() -> list[tuple[bytes, bytes]]:
    chance = random.Random(7)
    data = [chance.randbytes(size) for size in SIZES * 3]
    return [(archives.cid_v1(each), each) for each in data]


def outcome(path: Path, workers: int | None) -> tuple[list[tuple[bytes, bytes]], str]:
    found: list[tuple[bytes, bytes]] = []
    try:
        with carv2.open(path) as car:
            found.extend((cid, data) for cid, data in car.blocks(workers=workers))
    except carv2.CarError as error:
        return found, f"{type(error).__name__} {error}"
    return found, ""


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors, and threads from the first large block on."""
    monkeypatch.setattr(_blocks, "default_workers", lambda: 2)
    monkeypatch.setattr(_blocks, "UNASKED", 0)


@pytest.mark.parametrize("chunk", [64 << 10, 1 << 20])
@pytest.mark.parametrize("workers", [2, 3])
def test_threads_give_the_same_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, chunk: int
) -> None:
    monkeypatch.setattr(FileSource, "chunk_size", chunk)
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], blocks()))
    assert outcome(path, workers) == (blocks(), "")


@pytest.mark.parametrize("bad", [0, 1, 2, 7, 12, 22, 44])
def test_blocks_before_a_wrong_one_are_given(tmp_path: Path, bad: int) -> None:
    found = blocks()
    found[bad] = found[bad][0], found[bad][1] + b"!"
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], found))
    assert outcome(path, 2) == outcome(path, 1)
    assert outcome(path, 2)[0] == found[:bad]
    assert outcome(path, 2)[1].startswith(IntegrityError.__name__)


@pytest.mark.parametrize("lost", [1, 100_000, 160_000, 700_000])
def test_blocks_before_the_end_of_a_cut_file_are_given(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], blocks())[:-lost])
    found, error = outcome(path, 2)
    assert (found, error) == outcome(path, 1)
    assert error.startswith(TruncatedError.__name__)


def test_blocks_before_a_failing_read_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], blocks()))
    read = FileSource.read_exactly

    def failing(self: FileSource, position: int, size: int, field: str) -> bytes:
        if position > 1_000_000:
            raise OSError(5, "no such luck")
        return read(self, position, size, field)

    monkeypatch.setattr(FileSource, "read_exactly", failing)
    seen: list[list[carv2.Block]] = [[], []]
    for workers in (1, 2):
        with carv2.open(path) as car, pytest.raises(OSError, match="luck"):
            seen[workers - 1].extend(car.blocks(workers=workers))
    assert seen[0] == seen[1]
    assert len(seen[0]) > 5


def test_large_blocks_are_hashed_by_threads_unless_told_otherwise(tmp_path: Path) -> None:
    data = [bytes([at]) * (1 << 20) for at in range(14)]
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], [(archives.cid_v1(each), each) for each in data]))

    def most_threads(workers: int | None) -> int:
        before, most = threading.active_count(), 0
        with carv2.open(path) as car:
            for at, block in enumerate(car.blocks(workers=workers)):
                assert block.data == data[at]
                most = max(most, threading.active_count() - before)
        assert threading.active_count() == before
        return most

    assert (most_threads(1), most_threads(2)) == (0, 2)
    assert most_threads(None) == (default_workers() if default_workers() > 1 else 0)
    path.write_bytes(archives.v1([], [(archives.cid_v1(each), each) for each in data[:7]]))
    assert most_threads(None) == 0  # so few are hashed before threads have begun


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("taken", [0, 1, 3, 20])
def test_threads_end_with_an_iteration_that_is_left(tmp_path: Path, taken: int) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], blocks()))
    before = threading.active_count()
    with carv2.open(path) as car:
        found = iter(car)
        assert [tuple(block) for block in itertools.islice(found, taken)] == blocks()[:taken]
        del found
        assert threading.active_count() == before


@pytest.mark.usefixtures("eager")
def test_what_is_held_ahead_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ahead, "_HELD", 100_000)
    data = [bytes([at]) * 60_000 for at in range(20)]
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], [(archives.cid_v1(each), each) for each in data]))
    most, add = 0, _ahead._Ahead.add

    def counted(self: Any, job: Any) -> None:
        nonlocal most
        add(self, job)
        most = max(most, self._held)

    monkeypatch.setattr(_ahead._Ahead, "add", counted)
    assert outcome(path, None)[0] == [(archives.cid_v1(each), each) for each in data]
    assert most == 120_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 on, where there are threads
def test_a_fork_goes_on_where_its_parent_was(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], blocks()))
    with carv2.open(path) as car:
        found = iter(car)
        assert [tuple(next(found)) for _ in range(3)] == blocks()[:3]
        child = os.fork()
        if not child:
            signal.alarm(60)  # for one who waits for a thread that is not there
            os._exit([tuple(block) for block in found] != blocks()[3:])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [tuple(block) for block in found] == blocks()[3:]


def test_hashes_that_nobody_knows_are_told_of(tmp_path: Path) -> None:
    data = bytes(50_000)
    cid = archives.cid_v1(data, code=0x9999, digest=bytes(32))
    path = tmp_path / "a.car"
    path.write_bytes(archives.v1([], [(cid, data)]))
    heard: list[carv2.CID] = []
    with carv2.open(path) as car:
        assert list(car.blocks(workers=2, on_unverified=heard.append)) == [(cid, data)]
        with pytest.raises(UnknownHashError):
            list(car.blocks(workers=2))
    assert [bytes(each) for each in heard] == [cid]
