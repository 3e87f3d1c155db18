"""Roots that are known when the blocks are written."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2 import CID, CarWriter
from carv2.errors import ClosedError, LimitError
from carv2.units import Limits

CIDS = st.binary(max_size=300).map(lambda data: CID.of_data(data, hash="identity")) | st.binary().map(CID.of_data)
ROOTS = st.lists(CIDS, max_size=4)


@settings(deadline=None)
@given(
    before=ROOTS,
    after=ROOTS,
    sizes=st.lists(st.integers(0, 3000) | st.just(70_000), max_size=6),
    options=st.just({"version": 1})
    | st.fixed_dictionaries(
        {
            "version": st.just(2),
            "index_codec": st.sampled_from([0x400, 0x401, None]),
            "data_padding": st.integers(0, 20),
            "identity": st.booleans(),
        }
    ),
    late=st.integers(0, 6),
)
def test_an_archive_with_new_roots_is_as_if_it_had_begun_with_them(
    before: Any, after: Any, sizes: list[int], options: Any, late: int
) -> None:
    blocks = [(CID.of_data(data), data) for data in (bytes([at]) * size for at, size in enumerate(sizes))]
    blocks += [(CID.of_data(b"abc", hash="identity"), b"abc")]
    wanted, changed = io.BytesIO(), io.BytesIO()
    with CarWriter(wanted, after, **options) as car:
        car.write_all(blocks)
    with CarWriter(changed, before, **options) as car:
        car.write_all(blocks[:late])
        car.set_roots(after)
        car.write_all(blocks[late:])
    assert changed.getvalue() == wanted.getvalue()


@pytest.mark.parametrize("size", [0, 1, 36, 37, 300])
def test_large_payloads_are_moved_whole(size: int) -> None:
    blocks = [(CID.of_data(data), data) for data in (number.to_bytes(4, "big") * 100_000 for number in range(8))]
    sink = io.BytesIO()
    with CarWriter(sink, [CID.of_data(b"x")], version=2) as car:
        car.write_all(blocks)
        car.set_roots([CID.of_data(bytes(size), hash="identity")])
    with carv2.open(sink) as archive:
        assert [bytes(cid) for cid in archive.roots] == [bytes(CID.of_data(bytes(size), hash="identity"))]
        for cid, data in blocks:
            assert archive.get(cid) == data
    assert carv2.inspect(sink, full=True).block_count == 8


class Forward(io.BytesIO):
    def seekable(self) -> bool:
        return False


class WriteOnly(io.BytesIO):
    def readable(self) -> bool:
        return False


def test_a_sink_must_be_able_to() -> None:
    fish = CID.of_data(b"fish")
    car = CarWriter(Forward(), [fish])
    with pytest.raises(ValueError, match="can seek"):
        car.set_roots([CID.of_data(b"x")])
    sink = WriteOnly()
    car = CarWriter(sink, [fish])
    car.set_roots([CID.of_data(b"x")])
    before = sink.getvalue()
    with pytest.raises(ValueError, match="can be read"):
        car.set_roots([])
    assert sink.getvalue() == before
    car.finish()
    with pytest.raises(ClosedError):
        car.set_roots([fish])


def test_roots_meet_the_limit() -> None:
    car = CarWriter(io.BytesIO(), limits=Limits(header=100))
    car.set_roots([CID.of_data(b"x")])
    with pytest.raises(LimitError):
        car.set_roots([CID.of_data(b"x")] * 3)


def test_a_view_is_taken_before_write_returns() -> None:
    for size in (10, 100_000):
        sink = io.BytesIO()
        buffer = bytearray(size)
        cid = CID.of_data(bytes(buffer))
        with CarWriter(sink, [cid]) as car:
            car.write(cid, memoryview(buffer))
            buffer[:] = b"\xff" * size
        with carv2.open(sink) as archive:
            assert archive.get(cid) == bytes(size)
