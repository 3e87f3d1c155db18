"""How much work a file may make: bounded, whatever it says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import carv2
from carv2 import _varint, index
from carv2.operations import salvage as module

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LARGE = (8 << 20) - 5
HEAD = _varint.encode(LARGE) + b"\x01\x55\x12\x20"


def test_heads_of_sections_that_are_none_do_not_keep_a_search_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = carv2.CarV1Header().to_bytes() + b"\xff" * (400 << 10) + HEAD * 2000 + bytes(9 << 20)
    tried: list[int] = []
    section_end = module._Search._section_end

    def counted(self: module._Search, position: int) -> int | None:
        tried.append(position)
        return section_end(self, position)

    monkeypatch.setattr(module._Search, "_section_end", counted)
    monkeypatch.setattr(module, "_PATIENCE", 1)
    assert carv2.salvage(data, tmp_path / "saved.car").block_count == 0
    assert 0 < len(tried) < 100
    tried.clear()
    assert module.next_section(carv2.CarReader(data).source, 18, len(data), limits=carv2.Limits()) == len(data)
    assert 0 < len(tried) < 100


class CountedBuffer(bytes):
    """Notes how much of it is looked at."""

    seen = 0

    def __getitem__(self, key: slice) -> bytes:  # type: ignore[override]
        found = bytes.__getitem__(self, key)
        CountedBuffer.seen += len(found)
        return found


def test_an_index_out_of_order_is_not_read_from_end_to_end() -> None:
    records = (b"\xff" * 32 + bytes(8) + (bytes(32) + bytes(8)) * 63) * 3125
    head = b"\x81\x08" + struct.pack("<iQi", 1, 0x12, 1) + struct.pack("<IQ", 40, len(records))
    found = index.parse(CountedBuffer(head + records))
    wanted = carv2.CID.of_data(b"fish")
    for _ in range(40):
        list(found.offsets_of(wanted))
    CountedBuffer.seen = 0
    assert list(found.offsets_of(wanted)) == []
    assert CountedBuffer.seen < 100 * 40 * 64
