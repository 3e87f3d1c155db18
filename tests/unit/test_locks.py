"""One writer a file, and nothing left of a lock once its holder is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

import pytest

from carv2._locks import create_locked, is_locked, lock, make_durable, unlock
from carv2.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "x"
    made.write_bytes(b"x")
    return made


@pytest.fixture
def two(path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors of one file, each with a lock of its own."""
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield first, second
    os.close(first)
    os.close(second)


def no_lock(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_locked_file_is_refused_by_its_path(two: tuple[int, int], path: Path) -> None:
    lock(two[0], path)
    with pytest.raises(LockedError) as caught:
        lock(two[1], path)
    assert caught.value.path == str(path)
    assert isinstance(caught.value.__cause__, BlockingIOError)


def test_a_shared_lock_keeps_writers_out_too(two: tuple[int, int], path: Path) -> None:
    fcntl.flock(two[0], fcntl.LOCK_SH)
    with pytest.raises(LockedError):
        lock(two[1], path)


def test_a_lock_lasts_until_it_is_let_go_of(two: tuple[int, int], path: Path) -> None:
    lock(two[0], path)
    unlock(two[0])
    lock(two[1], path)


def test_a_lock_is_let_go_of_also_where_a_child_has_the_file_open(two: tuple[int, int], path: Path) -> None:
    held_by_child = os.dup(two[0])  # as after a fork: closing one of them lets go of nothing
    try:
        lock(two[0], path)
        unlock(two[0])
        lock(two[1], path)
    finally:
        os.close(held_by_child)


def test_a_lock_that_cannot_be_had_for_another_reason_is_no_locked_file(
    two: tuple[int, int], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_lock)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        lock(two[0], path)


def test_a_new_file_is_locked_from_when_it_is_there_until_it_is_closed(tmp_path: Path) -> None:
    path, usual = tmp_path / "new", tmp_path / "usual"
    usual.touch()
    with create_locked(path) as file:
        assert is_locked(path)
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
        assert not os.get_inheritable(file.fileno())
        file.write(b"fish")
        file.seek(0)
        assert file.read() == b"fish"
    assert not is_locked(path)
    assert path.read_bytes() == b"fish"


def test_no_file_is_made_in_the_place_of_another(path: Path) -> None:
    with pytest.raises(FileExistsError):
        create_locked(path)
    assert path.read_bytes() == b"x"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files are counted in /proc")
def test_a_new_file_that_cannot_be_locked_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", no_lock)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        create_locked(tmp_path / "new")
    assert os.listdir(tmp_path) == []
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_new_file_that_somebody_else_locks_at_once_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", taken)
    with pytest.raises(LockedError) as caught:
        create_locked(tmp_path / "new")
    assert caught.value.path == str(tmp_path / "new")


def test_what_is_made_durable_is_in_the_file_before_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[tuple[int, bytes]]()
    path = tmp_path / "new"
    with create_locked(path) as file:
        file.write(b"fish")
        monkeypatch.setattr(os, "fsync", lambda fd: synced.append((fd, path.read_bytes())))
        make_durable(file)
        assert synced == [(file.fileno(), b"fish")]


def test_a_file_that_nobody_has_locked_is_not_locked_by_looking(two: tuple[int, int], path: Path) -> None:
    assert not is_locked(path)
    lock(two[0], path)
    assert is_locked(path)
    assert is_locked(path)
    unlock(two[0])
    assert not is_locked(path)
    lock(two[1], path)


def test_who_only_reads_together_with_others_locks_nobody_out(two: tuple[int, int], path: Path) -> None:
    fcntl.flock(two[0], fcntl.LOCK_SH)
    assert not is_locked(path)


def test_what_is_not_there_or_no_file_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nothing")
    assert not is_locked(tmp_path / "nothing" / "in it")
    os.mkfifo(tmp_path / "pipe")
    assert not is_locked(tmp_path / "pipe")  # and nobody waits for its writer


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files are counted in /proc")
def test_a_file_whose_lock_cannot_be_looked_at_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", no_lock)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        is_locked(path)
    assert sorted(os.listdir("/proc/self/fd")) == before
