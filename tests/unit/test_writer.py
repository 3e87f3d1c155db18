"""Writing archives: what lands in the sink, what is refused before it does."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from carv2.cid import CID
from carv2.errors import ClosedError, FormatError, IntegrityError, LimitError, UnfinalizedError, UnknownHashError
from carv2.reader import CarReader
from carv2.section import Block
from carv2.units import Limits
from carv2.writer import CarWriter, create, iter_car
from helpers.archives import (
    FISH,
    FULLY_INDEXED,
    LOBSTER,
    SMALL_RECORDS,
    SMALL_V1,
    SMALL_V2,
    SOME_BLOCKS,
    cid_v1,
    header,
    identity,
    index_multihash_sorted,
    index_sorted,
    section,
    v1,
    v2,
)
from helpers.binary import assert_bytes_equal

if TYPE_CHECKING:
    from pathlib import Path

ROOTS = [SOME_BLOCKS[0][0], SOME_BLOCKS[1][0]]
LISTED = [record for record in SMALL_RECORDS if record.code]


def written(roots: Any = ROOTS, blocks: Any = SOME_BLOCKS, **options: Any) -> bytes:
    sink = io.BytesIO()
    with CarWriter(sink, roots, **options) as car:
        car.write_all(blocks)
    return sink.getvalue()


class OnlyWrite:
    """A sink like a socket."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def test_a_carv1_goes_to_anything_that_takes_bytes() -> None:
    sink = OnlyWrite()
    with CarWriter(sink, ROOTS) as car:
        car.write_all(SOME_BLOCKS)
    assert_bytes_equal(sink.data, SMALL_V1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, v2(SMALL_V1, index_multihash_sorted(LISTED))),
        ({"index_codec": 0x0400}, v2(SMALL_V1, index_sorted(LISTED))),
        ({"index_codec": None}, v2(SMALL_V1)),
        ({"index_codec": None, "identity": True}, v2(SMALL_V1)),
        ({"identity": True, "data_padding": 7, "index_padding": 5}, SMALL_V2),
        (
            {"identity": True, "index_codec": 0x0400},
            v2(SMALL_V1, index_sorted(SMALL_RECORDS), characteristics=FULLY_INDEXED),
        ),
        (
            {"data_padding": 1413, "index_padding": 1314},
            v2(SMALL_V1, index_multihash_sorted(LISTED), data_padding=1413, index_padding=1314),
        ),
        ({"verify": False}, v2(SMALL_V1, index_multihash_sorted(LISTED))),
    ],
    ids=str,
)
def test_a_carv2_is_the_one_that_the_options_describe(options: dict[str, Any], expected: bytes) -> None:
    assert_bytes_equal(written(version=2, **options), expected)


def test_cids_may_come_in_any_form() -> None:
    fish = CID(FISH[0])
    for cid in (fish, str(fish), bytes(fish), bytearray(bytes(fish))):
        assert_bytes_equal(written([cid], [(cid, b"fish")]), v1([FISH[0]], [FISH]))
    assert_bytes_equal(written([], [Block(fish, b"fish")]), v1([], [FISH]))


def test_no_roots_and_no_blocks_make_an_empty_archive() -> None:
    assert written([], []) == header()
    assert_bytes_equal(written([], [], version=2), v2(header(), bytes.fromhex("810800000000")))


# -- refusals: nothing is written ------------------------------------------------------------------------------


def refused(error: type[Exception], cid: Any, data: bytes, **options: Any) -> Exception:
    """What writing one block after a good one raises; the archive must be as if it had not been tried."""
    sink = io.BytesIO()
    writer = CarWriter(sink, version=2, **options)
    writer.write(*FISH)
    with pytest.raises(error) as caught:
        writer.write(cid, data)
    writer.write(*LOBSTER)
    writer.finish()
    plain = {key: value for key, value in options.items() if key != "limits"}
    assert_bytes_equal(sink.getvalue(), written([], [FISH, LOBSTER], version=2, **plain))
    return caught.value


def test_data_that_are_not_the_cids_are_refused() -> None:
    error = refused(IntegrityError, FISH[0], b"fisH")
    assert isinstance(error, IntegrityError)
    assert error.cid == CID(FISH[0])


def test_a_hash_that_is_not_here_is_refused_unless_nobody_asks() -> None:
    cid = cid_v1(b"x", code=0x9999, digest=b"\x01" * 32)
    error = refused(UnknownHashError, cid, b"x")
    assert isinstance(error, UnknownHashError)
    assert error.hash_code == 0x9999
    assert written([], [(cid, b"x")], verify=False) == v1([], [(cid, b"x")])


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("bad", [b"", b"\x01", b"nonsense", FISH[0][:-1], FISH[0] + b"!", b"\x02" + FISH[0][1:]])
def test_bytes_that_are_no_cid_are_refused_verified_or_not(bad: bytes, verify: bool) -> None:
    refused(FormatError, bad, b"fish", verify=verify)


def test_text_that_is_no_cid_is_refused() -> None:
    refused(ValueError, "nope", b"fish")
    refused(TypeError, 5, b"fish")


def test_a_section_over_the_limit_is_refused_so_that_it_can_be_read_back() -> None:
    limits = Limits(section=44)
    error = refused(LimitError, cid_v1(b"ninechars"), b"ninechars", limits=limits)
    assert isinstance(error, LimitError)
    assert (error.limit, error.found, error.allowed) == ("section", 45, 44)
    assert error.position == 51 + len(header()) + len(section(*FISH))
    archive = written([], [(cid_v1(b"eight ch"), b"eight ch")], limits=limits)
    assert len(list(CarReader(archive, limits=limits))) == 1


@pytest.mark.parametrize("padding", [0, 100])
def test_a_cid_over_the_limit_is_refused_where_it_would_stand(padding: int) -> None:
    long = cid_v1(b"x", code=0x9999, digest=bytes(2050))
    error = refused(LimitError, long, b"x", verify=False, data_padding=padding)
    assert isinstance(error, LimitError)
    assert (error.limit, error.found) == ("cid", 2057)
    assert error.position == 51 + padding + len(header()) + len(section(*FISH))


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_over_the_limit_is_refused_so_that_it_can_be_read_back(version: int) -> None:
    roots = [FISH[0]] * 5  # 222 bytes of CBOR
    sink = io.BytesIO()
    with pytest.raises(LimitError) as caught:
        CarWriter(sink, roots, version=version, limits=Limits(header=221))
    assert (caught.value.limit, caught.value.found, sink.getvalue()) == ("header", 222, b"")
    archive = written(roots, [], version=version, limits=Limits(header=222))
    assert len(CarReader(archive, limits=Limits(header=222)).roots) == 5


def test_a_carv2_needs_a_sink_that_seeks_and_stands_at_its_beginning() -> None:
    sink = OnlyWrite()
    with pytest.raises(ValueError, match="can seek"):
        CarWriter(sink, version=2)
    assert sink.data == b""
    used = io.BytesIO()
    used.write(b"x")
    with pytest.raises(ValueError, match="beginning"):
        CarWriter(used, version=2)
    assert used.getvalue() == b"x"


@pytest.mark.parametrize("options", [{"version": 3}, {"version": 0}, {"version": 2, "index_codec": 0x0402}])
def test_options_that_make_no_sense_are_the_callers_mistake(options: dict[str, int]) -> None:
    sink = io.BytesIO()
    with pytest.raises(ValueError, match="supported"):
        CarWriter(sink, **options)  # type: ignore[arg-type]
    assert sink.getvalue() == b""


# -- life cycle ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_finishing_twice_changes_nothing_and_writing_afterwards_raises(version: int) -> None:
    sink = io.BytesIO()
    writer = CarWriter(sink, version=version)
    writer.write(*FISH)
    writer.finish()
    done = sink.getvalue()
    writer.finish()
    with pytest.raises(ClosedError):
        writer.write(*FISH)
    assert sink.getvalue() == done
    assert not sink.closed


def test_an_exception_leaves_a_carv2_that_every_reader_names_unfinished() -> None:
    sink = io.BytesIO()
    with pytest.raises(ZeroDivisionError), CarWriter(sink, version=2) as writer:  # noqa: PT012
        writer.write(*FISH)
        writer.flush()
        _ = 1 // 0
    with pytest.raises(UnfinalizedError):
        CarReader(sink.getvalue())


def test_what_was_flushed_is_in_the_sink_before_the_end() -> None:
    sink = io.BytesIO()
    writer = CarWriter(sink)
    writer.write(*FISH)
    writer.flush()
    assert sink.getvalue() == v1([], [FISH])
    big = (cid_v1(bytes(300_000)), bytes(300_000))
    writer.write(*big)
    assert sink.getvalue() == v1([], [FISH, big])


def test_chunks_come_while_the_blocks_do() -> None:
    big = (cid_v1(bytes(100_000)), bytes(100_000))
    taken = 0

    def blocks() -> Any:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield big

    chunks = iter_car([FISH[0]], blocks())
    first = next(chunks)
    assert 1 <= taken < 20
    assert_bytes_equal(first + b"".join(chunks), v1([FISH[0]], [big] * 20))


def test_create_makes_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new.car"
    with create(path, ROOTS, identity=True, data_padding=7, index_padding=5) as car:
        car.write_all(SOME_BLOCKS)
        assert not path.exists()
    assert_bytes_equal(path.read_bytes(), SMALL_V2)
    with pytest.raises(FileExistsError), create(path):
        pass
    assert_bytes_equal(path.read_bytes(), SMALL_V2)
    with pytest.raises(IntegrityError), create(tmp_path / "never.car") as car:
        car.write(FISH[0], b"no fish")
    with create(tmp_path / "one.car", ROOTS, version=1) as car:
        car.write_all(SOME_BLOCKS)
    assert_bytes_equal((tmp_path / "one.car").read_bytes(), SMALL_V1)
    assert sorted(os.listdir(tmp_path)) == ["new.car", "one.car"]


def test_create_follows_no_dangling_link(tmp_path: Path) -> None:
    link = tmp_path / "link.car"
    link.symlink_to(tmp_path / "target.car")
    with pytest.raises(FileExistsError), create(link):
        pass
    assert os.listdir(tmp_path) == ["link.car"]


def test_identity_blocks_are_indexed_only_if_asked_for_and_written_in_any_case() -> None:
    block = (identity(b"id"), b"id")
    for wanted in (False, True):
        car = CarReader(written([], [block], version=2, identity=wanted))
        assert [tuple(each) for each in car] == [block]
        assert car.index is not None
        assert len(car.index) == int(wanted)
        assert car.header is not None
        assert car.header.is_fully_indexed == wanted
