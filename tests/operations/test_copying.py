"""Bytes from one file to another: through memory that is used again where both are files."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from carv2 import _source
from carv2._source import BytesSource, FileSource
from carv2.errors import ClosedError, TruncatedError
from carv2.operations.wrap import _REUSED_SIZE, copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = os.urandom(3 * _REUSED_SIZE + 77)


@pytest.fixture(params=[True, False], ids=["preadv", "pread"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileSource]:
    if not request.param:
        monkeypatch.setattr(_source, "_HAS_PREADV", False)
    path = tmp_path / "source"
    path.write_bytes(DATA)
    source = FileSource.open(path)
    yield source
    source.close()


@pytest.mark.parametrize("start", [0, 1, _REUSED_SIZE])
@pytest.mark.parametrize("size", [0, 1, _REUSED_SIZE - 1, _REUSED_SIZE, 2 * _REUSED_SIZE + 5])
def test_a_part_of_a_file_goes_behind_what_was_written(
    tmp_path: Path, source: FileSource, start: int, size: int
) -> None:
    with (tmp_path / "copy").open("w+b") as file:
        file.write(b"before")
        copy(source, start, start + size, file.write)
        file.write(b"behind")
    assert (tmp_path / "copy").read_bytes() == b"before" + DATA[start : start + size] + b"behind"


def test_a_sink_of_the_callers_gets_bytes_that_it_may_keep(source: FileSource) -> None:
    kept: list[bytes] = []
    copy(source, 5, len(DATA), kept.append)
    assert all(type(part) is bytes for part in kept)
    assert b"".join(kept) == DATA[5:]


class _Keeping(io.BufferedRandom):
    """A file that somebody derived from Python's own, and that writes later."""

    kept: list[bytes]

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.kept.append(data)
        return len(data)


def test_so_does_one_that_is_derived_from_a_file_of_pythons(tmp_path: Path, source: FileSource) -> None:
    with _Keeping(io.FileIO(tmp_path / "copy", "w+")) as file:
        file.kept = []
        copy(source, 0, len(DATA), file.write)
        assert b"".join(file.kept) == DATA


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_source_that_ends_before_is_an_error_with_its_place(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(DATA[:1000])
    source = FileSource.open(path) if kind == "file" else BytesSource(DATA[:1000])
    with (tmp_path / "copy").open("w+b") as file, pytest.raises(TruncatedError, match="payload") as caught:
        copy(source, 10, 2000, file.write)
    assert caught.value.position == 1000
    source.close()


def test_a_source_that_was_closed_is_not_taken_for_an_empty_one(tmp_path: Path, source: FileSource) -> None:
    source.close()
    with (tmp_path / "copy").open("w+b") as file, pytest.raises(ClosedError):
        copy(source, 0, 10, file.write)
