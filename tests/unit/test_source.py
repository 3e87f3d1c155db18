"""Every kind of source gives the same bytes, the same archive, and the same errors."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from carv2._source import (
    BytesSource,
    FileObjectSource,
    FileSource,
    RemoteSource,
    SliceView,
    Source,
    open_source,
)
from carv2.errors import ClosedError, TruncatedError
from carv2.header import PRAGMA
from carv2.reader import CarReader
from helpers.archives import (
    FISH,
    SMALL_V2,
    SOME_BLOCKS,
    cid_v1,
    header,
    index_multihash_sorted,
    records_of,
    section,
    v1,
    v2,
    v2_header,
)
from helpers.feeding import by_reader, by_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE_BLOCK = (cid_v1(b"large" * 30_000), b"large" * 30_000)
BLOCKS = [*SOME_BLOCKS, LARGE_BLOCK, FISH]
PAYLOAD = v1([FISH[0]], BLOCKS)
HUNDRED = v1([], [FISH, FISH])  # a payload of 100 bytes
ARCHIVE = v2(PAYLOAD, index_multihash_sorted(records_of(header([FISH[0]]), BLOCKS)), data_padding=9)


class Dribble(io.RawIOBase):
    """A seekable file that never gives more than seven bytes at once."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, 7) if size >= 0 else 7)


def _memory_file(data: bytes) -> Any:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/carv2-test/archive.car", data)
    return fs.open("/carv2-test/archive.car", "rb")


MAKERS: dict[str, tuple[Callable[[Path], Any], type]] = {
    "path": (lambda path: path, FileSource),
    "text path": (str, FileSource),
    "bytes": (Path.read_bytes, BytesSource),
    "bytearray": (lambda path: bytearray(path.read_bytes()), BytesSource),
    "memoryview": (lambda path: memoryview(path.read_bytes()), BytesSource),
    "BytesIO": (lambda path: io.BytesIO(path.read_bytes()), BytesSource),
    "buffered file": (lambda path: path.open("rb"), FileSource),
    "unbuffered file": (lambda path: path.open("rb", buffering=0), FileSource),
    "file open for both": (lambda path: path.open("r+b"), FileSource),
    "file object that dribbles": (lambda path: Dribble(path.read_bytes()), FileObjectSource),
    "fsspec in memory": (lambda path: _memory_file(path.read_bytes()), RemoteSource),
    "fsspec local": (lambda path: fsspec.open(str(path), "rb").open(), RemoteSource),
    "source": (lambda path: BytesSource(path.read_bytes()), BytesSource),
}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, type]]:
    path = tmp_path / "archive.car"
    path.write_bytes(ARCHIVE)
    make, kind = MAKERS[request.param]
    thing = make(path)
    yield thing, kind
    if hasattr(thing, "close"):
        thing.close()


def test_each_thing_becomes_the_source_made_for_it(made: tuple[Any, type]) -> None:
    thing, kind = made
    source = open_source(thing)
    assert type(source) is kind
    assert isinstance(source, Source)
    assert source.size == len(ARCHIVE)
    source.close()


def test_positional_reads_give_what_there_is(made: tuple[Any, type]) -> None:
    source = open_source(made[0])
    size = len(ARCHIVE)
    for position, length in [(0, 11), (5, 100), (size - 3, 3), (size - 3, 99), (size, 1), (size + 9, 9), (7, 0)]:
        assert source.read_at(position, length) == ARCHIVE[position : position + length]
    assert source.read_at((1 << 63) - 1, 10) == b""
    assert source.read_at((1 << 64) - 1, 10) == b""
    assert source.read_exactly(3, 20, "header") == ARCHIVE[3:23]
    source.close()


def test_a_short_read_is_never_taken_for_data(made: tuple[Any, type]) -> None:
    source = open_source(made[0])
    with pytest.raises(TruncatedError) as caught:
        source.read_exactly(len(ARCHIVE) - 3, 10, "section")
    error = caught.value
    assert (error.field, error.wanted, error.got, error.position) == ("section", 10, 3, len(ARCHIVE))
    for position, length in [(-1, 3), (0, -1)]:
        with pytest.raises(ValueError, match="must be >= 0"):
            source.read_exactly(position, length, "section")
    source.close()


def test_each_source_gives_the_same_archive(made: tuple[Any, type]) -> None:
    with CarReader(made[0]) as car:
        assert [tuple(block) for block in car] == BLOCKS
        assert [tuple(block) for block in car.blocks(verify=False)] == BLOCKS
        assert list(car.sections()) == by_sections(ARCHIVE).items
        assert car.index is not None
        assert len(car.index) == len(BLOCKS)
        assert car.get(LARGE_BLOCK[0]) == LARGE_BLOCK[1]
        for each in car.sections():
            assert each.offset in list(car.index.offsets_of(each.cid))


@pytest.mark.parametrize("cut", [0, 5, 11, 30, 51, 55, 130, 300, 100_000, len(ARCHIVE) - 10])
def test_each_source_gives_the_same_error_for_a_file_cut_short(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.car"
    path.write_bytes(ARCHIVE[:cut])
    expected = by_reader(ARCHIVE[:cut]).summary
    for name, (make, _) in MAKERS.items():
        thing = make(path)
        assert by_reader(thing).summary == expected, name
        if hasattr(thing, "close"):
            thing.close()


@pytest.mark.parametrize("fields", [((1 << 63) - 1, 1, 0), (51, (1 << 63) - 1, 0), (51, 100, (1 << 63) - 1)])
def test_no_source_chokes_on_positions_that_only_a_hostile_header_names(
    fields: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.car"
    path.write_bytes(PRAGMA + v2_header(*fields) + HUNDRED)
    for make, _ in MAKERS.values():
        thing = make(path)
        with pytest.raises(TruncatedError):
            _read_everything(thing)
        if hasattr(thing, "close"):
            thing.close()


def _read_everything(thing: Any) -> None:
    car = CarReader(thing)
    list(car)
    _ = car.index


def test_what_was_written_to_a_file_and_not_flushed_is_read(tmp_path: Path) -> None:
    with (tmp_path / "fresh.car").open("w+b") as file:
        file.write(SMALL_V2)
        assert by_reader(file) == by_reader(SMALL_V2)


def test_what_the_caller_opened_stays_open_and_its_cursor_stays_put(tmp_path: Path) -> None:
    path = tmp_path / "archive.car"
    path.write_bytes(ARCHIVE)
    for mode in ("rb", "r+b"):
        with path.open(mode) as file:
            file.seek(5)
            CarReader(file).close()
            assert not file.closed
            if mode == "rb":
                assert file.tell() == 5


def test_a_closed_file_raises_instead_of_reading_another_one(tmp_path: Path) -> None:
    path = tmp_path / "archive.car"
    path.write_bytes(ARCHIVE)
    car = CarReader(path)
    blocks = iter(car)
    assert tuple(next(blocks)) == FISH
    index = car.index
    assert index is not None
    car.close()
    car.close()
    with pytest.raises(ClosedError):
        list(car)
    with pytest.raises(ClosedError):
        list(index.offsets_of(FISH[0]))


def test_opening_fails_with_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        open_source(tmp_path)


def test_a_file_that_is_no_archive_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "no.car"
    path.write_bytes(b"\x01\x80")
    by_reader(path)  # the first file of a process opens what all others share
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(3):
        assert by_reader(path).error is not None
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_things_that_hold_no_bytes_are_type_errors_and_pipes_value_errors() -> None:
    for value in (5, None, [b"x"]):
        with pytest.raises(TypeError, match="expected a path, bytes or a binary file"):
            open_source(value)  # type: ignore[arg-type]
    read_end, write_end = os.pipe()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe, pytest.raises(ValueError, match="cannot seek"):
        open_source(pipe)


def test_a_file_that_shrinks_while_it_is_read_raises_and_gives_the_blocks_before(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.car"
    block = (cid_v1(b"s" * 1000), b"s" * 1000)
    path.write_bytes(v1([], [block] * 1000))
    with CarReader(path) as car:
        blocks = iter(car)
        got = [tuple(next(blocks))]
        os.truncate(path, 300_500)
        with pytest.raises(TruncatedError) as caught:
            got.extend(map(tuple, blocks))
    assert caught.value.position == 300_500
    assert set(got) == {block}
    assert 200 < len(got) <= 300_500 // len(section(*block))


def test_an_index_in_a_file_that_shrinks_raises_too(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.car"
    path.write_bytes(SMALL_V2)
    with CarReader(path) as car:
        assert car.index is not None
        os.truncate(path, len(SMALL_V2) - 30)
        with pytest.raises(TruncatedError) as caught:
            list(car.index.offsets_of(FISH[0]))
        assert caught.value.position == len(SMALL_V2) - 30


def test_a_stretch_of_a_source_slices_like_bytes() -> None:
    view = SliceView(BytesSource(b"0123456789"), 2, 7)
    assert len(view) == 5
    for start in range(-7, 9):
        for stop in range(-7, 9):
            assert view[start:stop] == b"23456"[start:stop]
    assert len(SliceView(BytesSource(b"0123"), 2, 99)) == 2
    assert len(SliceView(BytesSource(b"0123"), 9, 99)) == 0


def test_a_file_that_cannot_be_looked_at_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    closed, close = list[int](), FileSource.close

    def fstat(_: int) -> None:
        raise OSError(5, "Input/output error")

    def noted(source: FileSource) -> None:
        closed.append(source.fileno())
        close(source)

    monkeypatch.setattr(FileSource, "close", noted)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        with pytest.raises(OSError, match="Input/output"):
            FileSource.open_regular(path)
    assert len(closed) == 1
