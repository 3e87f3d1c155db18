"""Reading with threads gives what reading without does: the same blocks, in the same order, up to a fault."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

import carv2
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


def outcome(path: Path, workers: int) -> tuple[list[tuple[bytes, bytes]], str]:
    found: list[tuple[bytes, bytes]] = []
    try:
        with carv2.open(path) as car:
            found.extend((cid, data) for cid, data in car.blocks(workers=workers))
    except carv2.CarError as error:
        return found, f"{type(error).__name__} {error}"
    return found, ""


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
