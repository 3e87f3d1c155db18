"""A piece is read front to back whatever its opener gives: a path, bytes, a file, a source, or chunks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from carv2._source import BytesSource
from carv2.dagstore.mounts import piece

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize("size", [1000, 1 << 20])
@pytest.mark.parametrize("form", ["str", "path", "bytes", "file", "source", "chunks"])
def test_what_an_opener_gives_is_read_whole(
    form: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piece, "_READ_SIZE", size)
    path = tmp_path / "piece"
    path.write_bytes(DATA)
    forms: dict[str, Any] = {
        "str": str(path),
        "path": path,
        "bytes": DATA,
        "file": io.BytesIO(DATA),
        "source": BytesSource(DATA),
        "chunks": iter([DATA[:3], DATA[3:]]),
    }
    assert b"".join(piece._front_to_back(forms[form])) == DATA
