"""Room on the disk is asked for ahead, where that does good, and what was not used is given back."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import _room
from carv2._room import WORTH_IT, RoomAhead
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1 << 20
BLOCK = bytes(MEBIBYTE)
CID_OF_BLOCK = CID.of_data(BLOCK)


def is_ext4(path: Path) -> bool:
    """By what Linux says of the mount that the path is on."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(line.split()[2] == number and " - ext4 " in line for line in mounts.splitlines())


class Asked:
    """In place of the system: what it was asked for, each as position and size; it grants so many of these."""

    def __init__(self, grants: float = float("inf")) -> None:
        self.calls = list[tuple[int, int]]()
        self.grants = grants

    def __call__(self, fd: int, position: int, size: int) -> bool:
        assert os.fstat(fd)
        self.calls.append((position, size))
        return len(self.calls) <= self.grants


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(_room, "_allocator", lambda: asked)
    return asked


@pytest.fixture
def file(tmp_path: Path) -> Iterator[io.BufferedRandom]:
    with (tmp_path / "file").open("w+b") as file:
        yield file


def test_what_is_known_is_asked_for_at_once_and_nothing_more(file: io.BufferedRandom, asked: Asked) -> None:
    file.write(b"front")
    room = RoomAhead(file)
    room.expect(WORTH_IT)
    room.make(3 * WORTH_IT)
    assert asked.calls == [(5, WORTH_IT)]
    RoomAhead(file).expect(WORTH_IT - 1)  # too little to ask for
    assert len(asked.calls) == 1


def test_what_is_not_known_is_asked_for_step_by_step(file: io.BufferedRandom, asked: Asked) -> None:
    room = RoomAhead(file)
    for _ in range(40):
        room.make(MEBIBYTE)
        file.write(BLOCK)
    step = MEBIBYTE + WORTH_IT
    assert asked.calls == [(16 * MEBIBYTE, step), (33 * MEBIBYTE, step)]
    ends = [position + size for position, size in asked.calls]
    assert ends == [33 * MEBIBYTE, 50 * MEBIBYTE]  # each time when the last is used up


def test_one_that_is_larger_than_a_step_is_granted_whole(file: io.BufferedRandom, asked: Asked) -> None:
    room = RoomAhead(file)
    room.make(WORTH_IT)
    assert asked.calls == []
    file.write(bytes(WORTH_IT))
    room.make(3 * WORTH_IT)
    assert asked.calls == [(WORTH_IT, 4 * WORTH_IT)]


def test_who_is_refused_does_not_ask_again(file: io.BufferedRandom, asked: Asked) -> None:
    asked.grants = 0
    room = RoomAhead(file)
    for _ in range(100):
        room.make(MEBIBYTE)
    room.give_back()
    assert len(asked.calls) == 1


@pytest.mark.parametrize("sink", [io.BytesIO(), None, object()])
def test_only_files_get_room(sink: object, asked: Asked) -> None:
    room = RoomAhead(sink)
    room.expect(WORTH_IT)
    room = RoomAhead(sink)
    room.make(2 * WORTH_IT)
    room.give_back()
    assert asked.calls == []


@pytest.mark.parametrize("missing", ["platform", "maxsize", "library"])
def test_where_the_system_has_no_such_call_nothing_is_asked_for(
    file: io.BufferedRandom, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    import ctypes

    if missing == "library":
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    else:
        monkeypatch.setattr(sys, missing, "darwin" if missing == "platform" else (1 << 31) - 1)
    assert _room._allocator.__wrapped__() is None
    monkeypatch.setattr(_room, "_allocator", lambda: None)
    room = RoomAhead(file)
    room.make(2 * WORTH_IT)
    room.give_back()


def test_the_kernel_grants_room_without_making_the_file_longer(file: io.BufferedRandom) -> None:
    if not is_ext4(Path(file.name)):
        pytest.skip("the temporary folder is not on ext4")
    room = RoomAhead(file)
    room.expect(2 * WORTH_IT)
    found = os.fstat(file.fileno())
    assert found.st_size == 0
    assert found.st_blocks * 512 >= 2 * WORTH_IT
    file.write(b"used")  # and still held back by Python
    room.give_back()
    file.flush()
    found = os.fstat(file.fileno())
    assert found.st_size == 4
    assert found.st_blocks * 512 < 1 << 16
    file.seek(0)
    assert file.read() == b"used"


def test_no_room_is_asked_for_on_another_file_system() -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or is_ext4(shared):
        pytest.skip("there is no /dev/shm that is not ext4")
    allocate = _room._allocator()
    if allocate is None:
        pytest.skip("the system has no fallocate")
    fd = os.open(shared, os.O_TMPFILE | os.O_RDWR)
    try:
        assert not allocate(fd, 0, WORTH_IT)
        assert os.fstat(fd).st_blocks == 0
    finally:
        os.close(fd)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [MEBIBYTE, 100_000])
def test_an_archive_takes_no_more_of_the_disk_than_its_bytes(tmp_path: Path, version: int, size: int) -> None:
    path = tmp_path / "x.car"
    data = BLOCK[:size]
    with path.open("wb") as sink:
        with carv2.CarWriter(sink, version=version) as car:
            car.write_all([(CID.of_data(data), data)] * (24 * MEBIBYTE // size))
        written = os.fstat(sink.fileno())
        assert written.st_size > 23 * MEBIBYTE
        assert written.st_blocks * 512 < written.st_size + (1 << 18)
    assert carv2.verify(path).ok


def test_what_was_not_used_is_given_back_though_writing_failed(tmp_path: Path) -> None:
    if not is_ext4(tmp_path):
        pytest.skip("the temporary folder is not on ext4")
    with (tmp_path / "x.car").open("wb") as sink:
        with pytest.raises(ZeroDivisionError), carv2.CarWriter(sink) as car:  # noqa: PT012
            car.write_all([(CID_OF_BLOCK, BLOCK)] * 20)
            assert os.fstat(sink.fileno()).st_blocks * 512 > 30 * MEBIBYTE
            _ = 1 / 0
        left = os.fstat(sink.fileno())
        assert left.st_blocks * 512 < left.st_size + (1 << 18)


def test_a_file_that_was_closed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    with path.open("wb") as sink:
        car = carv2.CarWriter(sink)
        car.write_all([(CID_OF_BLOCK, BLOCK)] * 20)
        car.flush()
    car.finish()
    assert carv2.verify(path).ok


def test_a_longer_file_that_is_written_over_keeps_its_tail(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    with path.open("w+b") as sink:
        sink.seek(60 * MEBIBYTE)
        sink.write(b"the end")
        sink.seek(0)
        with carv2.CarWriter(sink) as car:
            car.write_all([(CID_OF_BLOCK, BLOCK)] * 20)
        sink.seek(60 * MEBIBYTE)
        assert sink.read() == b"the end"


def test_copies_are_written_into_room_of_just_their_size(tmp_path: Path, asked: Asked) -> None:
    path, wrapped, back = tmp_path / "x.car", tmp_path / "x.v2.car", tmp_path / "y.car"
    with carv2.create(path, version=1) as car:
        car.write_all([(CID_OF_BLOCK, BLOCK)] * 20)
    size = path.stat().st_size
    asked.calls.clear()
    carv2.wrap(path, wrapped)
    carv2.unwrap(wrapped, back)
    assert asked.calls == [(51, size), (0, size)]
    assert back.read_bytes() == path.read_bytes()


def fill(store: ReadWriteBlockstore, count: int) -> None:
    """Put so many mebibytes, and have them written."""
    for number in range(count):
        data = number.to_bytes(4, "big") * (MEBIBYTE // 4)
        store.put(CID.of_data(data), data)
    store.flush()


def beyond(path: Path) -> int:
    """Bytes of the disk that a file takes and has no use for, but for what the file system itself needs."""
    found = path.stat()
    return found.st_blocks * 512 - found.st_size


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("how", ["close", "discard", "finalize", "an exception", "cut"])
def test_a_store_gives_its_room_back_with_the_file(tmp_path: Path, version: int, how: str) -> None:
    if not is_ext4(tmp_path):
        pytest.skip("the temporary folder is not on ext4")
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, version=version, verify=False)
    fill(store, 20)
    assert beyond(path) > 10 * MEBIBYTE
    if how == "cut":
        store._file.truncate(path.stat().st_size)
        assert beyond(path) < 1 << 18
        store.discard()
    elif how == "an exception":
        with pytest.raises(ZeroDivisionError), store:
            _ = 1 / 0
    else:
        getattr(store, how)()
        store.close()
    assert beyond(path) < 1 << 18
    with ReadWriteBlockstore.resume(path) as again:
        assert len(again) == 20
    assert carv2.verify(path).ok


def test_closing_a_finalized_archive_does_not_touch_it(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, verify=False)
    fill(store, 20)
    store.finalize()
    os.utime(path, (1, 1))  # else one may not see it
    store.close()
    assert path.stat().st_mtime == 1


def test_a_store_asks_for_room_where_it_writes(tmp_path: Path, asked: Asked) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, verify=False)
    fill(store, 40)
    assert [size // MEBIBYTE for _, size in asked.calls] == [17, 17]
    assert [position // MEBIBYTE for position, _ in asked.calls] == [15, 31]
    store.discard()
    asked.calls.clear()
    with ReadWriteBlockstore.resume(path) as again:
        before = again._end
        fill(again, 60)  # of which there are 40
    assert [position > before for position, _ in asked.calls] == [True]


def test_a_fork_gives_nothing_back(tmp_path: Path) -> None:
    if not is_ext4(tmp_path):
        pytest.skip("the temporary folder is not on ext4")
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, verify=False)
    fill(store, 20)
    child = os.fork()
    if not child:
        store.discard()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert beyond(path) > 10 * MEBIBYTE
    store.close()
    assert beyond(path) < 1 << 18
