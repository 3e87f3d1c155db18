"""Unsigned varints, fed whole, byte by byte and with bytes left over."""

from __future__ import annotations

import pytest
import varint as oracle
from hypothesis import example, given
from hypothesis import strategies as st

from carv2 import _varint
from carv2.errors import FormatError, TruncatedError

VALUES = st.integers(0, _varint.MAX_VALUE)

KNOWN = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (300, "ac02"),
    (16383, "ff7f"),
    (16384, "808001"),
    ((1 << 63) - 1, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("value", "raw"), KNOWN)
def test_known_values_have_known_bytes(value: int, raw: str) -> None:
    assert _varint.encode(value).hex() == raw
    assert _varint.decode(bytes.fromhex(raw), 0, len(raw) // 2, position=0) == (value, len(raw) // 2)


@given(VALUES)
def test_an_independent_encoder_agrees(value: int) -> None:
    assert _varint.encode(value) == oracle.encode(value)


@given(VALUES, st.binary(max_size=5), st.binary(max_size=5))
@example(0, b"", b"\xff")
def test_a_value_comes_back_from_between_other_bytes(value: int, before: bytes, behind: bytes) -> None:
    raw = _varint.encode(value)
    buffer = before + raw + behind
    assert _varint.decode(buffer, len(before), len(buffer), position=7) == (value, len(before) + len(raw))


@given(VALUES, st.integers(0, 1000))
def test_a_cut_varint_is_truncated_where_the_bytes_end(value: int, position: int) -> None:
    raw = _varint.encode(value)
    for cut in range(len(raw)):
        for buffer in (raw[:cut], raw):  # the end may come before the buffer's own
            with pytest.raises(TruncatedError) as caught:
                _varint.decode(buffer, 0, cut, position=position)
            assert (caught.value.position, caught.value.got) == (position + cut, cut)
            assert caught.value.wanted > cut


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        ("8000", 1),
        ("8a00", 1),
        ("ff8000", 2),
        ("808080808080808000", 8),
        ("ffffffffffffffffff01", 8),
        ("80" * 9, 8),
    ],
)
def test_what_is_not_shortest_or_too_long_is_refused_at_its_last_byte(raw: str, at: int) -> None:
    with pytest.raises(FormatError) as caught:
        _varint.decode(b"!!" + bytes.fromhex(raw) + b"\x01", 2, 99, position=40)
    assert caught.type is FormatError
    assert caught.value.position == 42 + at


@pytest.mark.parametrize("value", [-1, 1 << 63, 1 << 64])
def test_a_value_outside_of_63_bits_is_the_callers_mistake(value: int) -> None:
    with pytest.raises(ValueError, match="allowed 0 to"):
        _varint.encode(value)


def test_a_cut_varint_between_other_bytes_says_how_much_of_it_is_there() -> None:
    with pytest.raises(TruncatedError) as caught:
        _varint.decode(b"!!!\xff\xff\xff\xff", 3, 5, position=100)
    assert (caught.value.position, caught.value.got, caught.value.wanted) == (105, 2, 3)


def test_an_end_before_the_start_leaves_nothing_and_is_told_at_the_start() -> None:
    with pytest.raises(TruncatedError) as caught:
        _varint.decode(b"\x01\x01\x01", 2, 1, position=100)
    assert (caught.value.position, caught.value.got, caught.value.wanted) == (102, 0, 1)


def test_the_largest_value_is_the_largest_that_nine_bytes_hold() -> None:
    assert _varint.MAX_SIZE == len(_varint.encode(_varint.MAX_VALUE)) == 9
    assert _varint.MAX_VALUE == 9223372036854775807
