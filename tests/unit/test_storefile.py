"""The file under a store that is written: it appears whole and locked, and belongs to one process."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from carv2 import _storefile
from carv2._atomic import create_in
from carv2._locks import is_locked, lock
from carv2._storefile import StoreFile, WritableSource, in_few_pieces
from carv2.errors import LockedError, StateError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.car"


@pytest.fixture
def file(path: Path) -> Iterator[StoreFile]:
    made = StoreFile.create(path, b"front")
    yield made
    made.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was made durable, and when the file got its name."""
    done = list[str]()
    fsync, link = os.fsync, os.link

    def watched_fsync(fd: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def watched_link(source: str, target: str) -> None:
        done.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "link", watched_link)
    return done


def in_child(call: Callable[[], object]) -> str:
    """The name of what ``call`` raises in a fork of this process, empty if nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  (it is told)
            os.write(writing, type(error).__name__.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read().decode()
    os.waitpid(child, 0)
    return said


# -- making one ---------------------------------------------------------------------------------------------------


def test_it_appears_with_its_front_and_locked(path: Path, file: StoreFile) -> None:
    assert isinstance(file, WritableSource)
    assert path.read_bytes() == b"front"
    assert is_locked(path)
    assert os.listdir(path.parent) == ["x.car"]
    with pytest.raises(LockedError) as caught:
        StoreFile.resume(path)
    assert caught.value.path == str(path)


def test_its_bytes_are_durable_before_its_name_is(path: Path, synced: list[str]) -> None:
    StoreFile.create(path, b"front").close()
    assert synced == ["file", "name", "folder"]


def test_nothing_is_waited_for_where_nobody_asks_for_it(path: Path, synced: list[str]) -> None:
    StoreFile.create(path, b"front", sync=False).close()
    assert synced == ["name"]


def test_it_may_be_named_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    StoreFile.create("x.car", b"front").close()
    assert os.listdir(tmp_path) == ["x.car"]


@pytest.mark.parametrize("what", ["file", "link to nothing"])
def test_what_is_there_stays(path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "file":
        path.write_bytes(b"old")
    else:
        path.symlink_to("nowhere")
    monkeypatch.setattr(_storefile, "create_in", lambda *_: pytest.fail("it began to write one"))
    with pytest.raises(FileExistsError) as caught:
        StoreFile.create(path, b"front")
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, str(path))
    assert caught.value.strerror == os.strerror(errno.EEXIST)
    assert os.listdir(path.parent) == ["x.car"]


def test_one_that_cannot_be_made_is_named(tmp_path: Path, file: StoreFile) -> None:
    wanted = tmp_path / "nowhere" / "x.car"
    for make in (lambda: StoreFile.create(wanted, b"front"), lambda: file.copy_beside(wanted)):
        with pytest.raises(FileNotFoundError) as caught:
            make()
        assert caught.value.filename == str(wanted)


def test_who_was_faster_is_told_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(folder: str, wanted: Path) -> tuple[int, str]:
        path.write_bytes(b"another")
        return create_in(folder, wanted)

    monkeypatch.setattr(_storefile, "create_in", meanwhile)
    with pytest.raises(FileExistsError):
        StoreFile.create(path, b"front")
    assert os.listdir(path.parent) == ["x.car"]
    assert path.read_bytes() == b"another"


def test_one_that_cannot_be_locked_is_not_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(_: int, named: object) -> None:
        raise OSError(errno.ENOLCK, str(named))

    monkeypatch.setattr(_storefile, "lock", no_lock)
    with pytest.raises(OSError, match=str(path)):
        StoreFile.create(path, b"front")
    assert os.listdir(path.parent) == []


# -- going on with one --------------------------------------------------------------------------------------------


def test_it_is_gone_on_with_for_reading_and_writing(path: Path) -> None:
    path.write_bytes(b"front")
    file = StoreFile.resume(path)
    assert is_locked(path)
    file.write_at(5, b" and more")
    assert file.read_at(0, 100) == b"front and more"
    file.close()
    assert not is_locked(path)


def test_only_a_regular_file_is_gone_on_with(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file") as caught:
        StoreFile.resume(tmp_path / "pipe")
    assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, str(tmp_path / "pipe"))
    with pytest.raises(FileNotFoundError):
        StoreFile.resume(tmp_path / "nothing")


def test_one_that_is_replaced_before_it_is_locked_is_not_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"old")
    closed, close = list[int](), StoreFile.close

    def late(fd: int, named: Path) -> None:
        lock(fd, named)
        if path.read_bytes() == b"old":
            other = path.with_name("other")
            other.write_bytes(b"new")
            other.rename(path)

    def noted(file: StoreFile) -> None:
        closed.append(file.fileno())
        close(file)

    monkeypatch.setattr(_storefile, "lock", late)
    monkeypatch.setattr(StoreFile, "close", noted)
    file = StoreFile.resume(path)
    assert len(closed) == 1
    assert file.read_at(0, 9) == b"new"
    file.close()


def test_one_that_cannot_be_locked_is_closed(path: Path, file: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, close = list[int](), StoreFile.close

    def noted(resumed: StoreFile) -> None:
        closed.append(resumed.fileno())
        close(resumed)

    with monkeypatch.context() as patch:
        patch.setattr(StoreFile, "close", noted)
        with pytest.raises(LockedError):
            StoreFile.resume(path)
    assert len(closed) == 1
    assert closed != [file.fileno()]


# -- copies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, (1 << 20) - 1, 1 << 20, (2 << 20) + 3])
def test_a_copy_has_its_bytes_and_the_mode_of_the_other(tmp_path: Path, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    file = StoreFile.create(tmp_path / "x.car", data[:size])
    other = tmp_path / "folder" / "other"
    other.parent.mkdir()
    other.write_bytes(b"")
    other.chmod(0o640)
    draft = file.copy_beside(other)
    assert os.path.dirname(draft) == str(other.parent)
    with open(draft, "rb") as copied:
        assert copied.read() == data[:size]
    assert stat.S_IMODE(os.stat(draft).st_mode) == 0o640
    file.close()


def test_it_is_copied_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StoreFile.create(path, bytes((2 << 20) + 3))
    asked, read = list[tuple[int, int, str]](), StoreFile.read_exactly

    def noted(source: StoreFile, position: int, size: int, field: str) -> bytes:
        asked.append((position, size, field))
        return read(source, position, size, field)

    monkeypatch.setattr(StoreFile, "read_exactly", noted)
    file.copy_beside(path)
    assert asked == [(0, 1 << 20, "archive"), (1 << 20, 1 << 20, "archive"), (2 << 20, 3, "archive")]
    file.close()


def test_a_copy_that_cannot_be_made_is_not_left_behind(
    path: Path, file: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreFile, "size", 9)  # it was made shorter meanwhile
    with pytest.raises(TruncatedError):
        file.copy_beside(path)
    assert os.listdir(path.parent) == ["x.car"]


def test_a_copy_may_be_made_beside_what_has_no_folder_in_its_name(
    path: Path, file: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    draft = file.copy_beside("x.car")
    assert os.path.dirname(draft) == str(path.parent)


# -- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 100])
def test_a_kernel_that_takes_less_is_asked_again(
    path: Path, file: StoreFile, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, asked = os.pwrite, list[tuple[int, int]]()

    def short(fd: int, data: bytes, position: int) -> int:
        asked.append((position, len(data)))
        return pwrite(fd, data[:most], position)

    monkeypatch.setattr(os, "pwrite", short)
    file.write_at(3, b"fish!")
    assert path.read_bytes() == b"frofish!"
    assert asked == [(3 + at, 5 - at) for at in range(0, 5, most)]


def test_it_is_cut_and_filled(path: Path, file: StoreFile) -> None:
    file.truncate(2)
    assert path.read_bytes() == b"fr"
    file.truncate(4)
    assert path.read_bytes() == b"fr\0\0"


def test_a_file_that_was_removed_is_not_made_durable(path: Path, file: StoreFile) -> None:
    file.sync()
    path.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        file.sync()
    assert caught.value.errno == errno.ENOENT


def test_a_sync_reaches_the_disk(file: StoreFile, synced: list[str]) -> None:
    file.sync()
    assert synced == ["file"]


# -- forks, and the end -------------------------------------------------------------------------------------------


def test_a_fork_may_read_it_and_not_write(path: Path, file: StoreFile) -> None:
    assert in_child(lambda: file.read_exactly(0, 5, "front")) == ""
    for call in (lambda: file.write_at(0, b"x"), lambda: file.truncate(0), file.sync):
        assert in_child(call) == StateError.__name__
    assert path.read_bytes() == b"front"


def test_a_fork_that_closes_it_does_not_let_go_of_the_lock(path: Path, file: StoreFile) -> None:
    assert in_child(file.close) == ""
    assert is_locked(path)


def test_closing_lets_go_of_the_lock_also_where_a_fork_has_it_open(path: Path, file: StoreFile) -> None:
    held_by_child = os.dup(file.fileno())
    file.close()
    assert not is_locked(path)
    os.close(held_by_child)


def test_it_may_be_closed_twice(path: Path, file: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.close()
    other = StoreFile.resume(path)
    monkeypatch.setattr(_storefile, "unlock", lambda _: pytest.fail("that of another file now"))
    file.close()
    assert is_locked(path)
    monkeypatch.undo()
    other.close()


def test_a_lock_that_cannot_be_let_go_of_ends_with_the_file(
    path: Path, file: StoreFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(_storefile, "unlock", fail)
        file.close()
    assert not is_locked(path)


# -- pieces -------------------------------------------------------------------------------------------------------

LARGE = bytes(64 << 10)
BELOW = LARGE[1:]


@pytest.mark.parametrize(
    ("parts", "pieces"),
    [
        ([], []),
        ([b""], [b""]),
        ([b"a"], [b"a"]),
        ([b"a", b"b", b"c"], [b"abc"]),
        ([LARGE], [LARGE]),
        ([LARGE, LARGE], [LARGE, LARGE]),
        ([b"a", LARGE], [b"a", LARGE]),
        ([LARGE, b"a", b"b"], [LARGE, b"ab"]),
        ([b"a", b"b", LARGE, b"c", LARGE, b"d", b"e"], [b"ab", LARGE, b"c", LARGE, b"de"]),
        ([BELOW, b"a"], [BELOW + b"a"]),
        ([LARGE + b"a", b"b"], [LARGE + b"a", b"b"]),
    ],
    ids=lambda parts: ",".join(str(len(part)) for part in parts),
)
def test_small_parts_are_joined_and_large_ones_are_not_copied(parts: list[bytes], pieces: list[bytes]) -> None:
    found = list(in_few_pieces(parts))
    assert found == pieces
    large = [piece for piece in found if len(piece) >= len(LARGE) and piece in parts]
    assert all(any(piece is part for part in parts) for piece in large)
