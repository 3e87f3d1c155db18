"""The limits that go for whoever says nothing: go-car's."""

from __future__ import annotations

from carv2.units import DEFAULT_LIMITS, FilePosition, Limits, PayloadOffset


def test_the_limits_are_those_of_go_car() -> None:
    assert DEFAULT_LIMITS == Limits() == (33_554_432, 8_388_608, 2_048)
    assert DEFAULT_LIMITS._asdict() == {"header": 32 << 20, "section": 8 << 20, "cid": 2 << 10}


def test_positions_are_plain_numbers() -> None:
    assert (FilePosition(51), PayloadOffset(0)) == (51, 0)
