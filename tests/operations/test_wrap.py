"""CARv1 into CARv2 and back, and indexes put in and taken out: byte for byte what go-car makes."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import errors
from carv2.operations.wrap import payload_of
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = archives.SOME_BLOCKS
PAYLOAD = archives.SMALL_V1
PLAIN_RECORDS = [record for record in archives.SMALL_RECORDS if record.code != archives.IDENTITY]


def wrapped(source: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    carv2.wrap(source, sink, **options)
    return sink.getvalue()


def unwrapped(source: Any) -> bytes:
    sink = io.BytesIO()
    size = carv2.unwrap(source, sink)
    assert size == len(sink.getvalue())
    return sink.getvalue()


def test_wrapping_go_cars_sample_gives_go_cars_own_file() -> None:
    expected = shared_fixture("go-car/sample-wrapped-v2.car").read_bytes()
    assert_bytes_equal(wrapped(shared_fixture("go-car/sample-v1.car")), expected)


def test_wrapping_without_an_index_gives_go_cars_own_file() -> None:
    expected = shared_fixture("go-car/sample-v2-indexless.car").read_bytes()
    assert_bytes_equal(wrapped(shared_fixture("go-car/sample-v1.car"), index_codec=None), expected)


@pytest.mark.parametrize(
    "name", ["sample-wrapped-v2", "sample-v2-indexless", "sample-rw-bs-v2", "sample-unixfs-v2"]
)
def test_what_was_unwrapped_is_the_payload(name: str) -> None:
    path = shared_fixture(f"go-car/{name}.car")
    with carv2.open(path) as car:
        payload = path.read_bytes()[car.payload_position : car.payload_end]
    assert_bytes_equal(unwrapped(path), payload)


def test_wrapping_writes_header_payload_and_an_index_without_identity_cids() -> None:
    assert_bytes_equal(wrapped(PAYLOAD), archives.v2(PAYLOAD, archives.index_multihash_sorted(PLAIN_RECORDS)))


def test_wrapping_with_identity_cids_lists_them_and_says_so() -> None:
    index = archives.index_multihash_sorted(archives.SMALL_RECORDS)
    expected = archives.v2(PAYLOAD, index, characteristics=archives.FULLY_INDEXED)
    assert_bytes_equal(wrapped(PAYLOAD, identity=True), expected)


def test_a_carv2_without_an_index_does_not_say_that_all_is_in_it() -> None:
    assert_bytes_equal(wrapped(PAYLOAD, index_codec=None, identity=True), archives.v2(PAYLOAD))


def test_the_older_index_format_is_there_for_the_asking() -> None:
    expected = archives.v2(PAYLOAD, archives.index_sorted(PLAIN_RECORDS))
    assert_bytes_equal(wrapped(PAYLOAD, index_codec=0x0400), expected)


def test_padding_goes_where_it_was_asked_for_and_is_zeros() -> None:
    index = archives.index_multihash_sorted(PLAIN_RECORDS)
    expected = archives.v2(PAYLOAD, index, data_padding=1413, index_padding=1314)
    assert_bytes_equal(wrapped(PAYLOAD, data_padding=1413, index_padding=1314), expected)
    assert_bytes_equal(unwrapped(expected), PAYLOAD)


def test_the_header_written_is_the_header_returned() -> None:
    sink = io.BytesIO()
    header = carv2.wrap(PAYLOAD, sink, data_padding=3)
    assert header == carv2.CarV2Header.from_bytes(sink.getvalue()[11:])


def test_an_empty_archive_goes_there_and_back() -> None:
    there = wrapped(archives.EMPTY_HEADER)
    assert_bytes_equal(there, archives.v2(archives.EMPTY_HEADER, bytes.fromhex("810800000000")))
    assert_bytes_equal(unwrapped(there), archives.EMPTY_HEADER)


def test_null_padding_stays_in_the_payload_and_is_refused_unless_asked_for() -> None:
    padded = PAYLOAD + bytes(2048)
    with pytest.raises(errors.FormatError, match="zero-length section"):
        wrapped(padded)
    there = wrapped(padded, null_padding=True)
    assert_bytes_equal(there, archives.v2(padded, archives.index_multihash_sorted(PLAIN_RECORDS)))
    assert_bytes_equal(unwrapped(there), padded)
    without = wrapped(padded, null_padding=True, index_codec=None)
    assert_bytes_equal(without, archives.v2(padded))


def test_a_header_that_is_not_canonical_is_kept_and_offsets_count_from_it() -> None:
    header = bytes.fromhex("0aa16776657273696f6e01")  # no roots key: 11 bytes, not 18
    payload = header + archives.section(*archives.FISH)
    records = archives.records_of(header, [archives.FISH])
    assert_bytes_equal(wrapped(payload), archives.v2(payload, archives.index_multihash_sorted(records)))


def test_a_file_may_be_wrapped_and_unwrapped_in_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "same.car"
    path.write_bytes(PAYLOAD)
    carv2.wrap(path, path)
    assert_bytes_equal(path.read_bytes(), wrapped(PAYLOAD))
    carv2.unwrap(path, path)
    assert_bytes_equal(path.read_bytes(), PAYLOAD)
    assert os.listdir(tmp_path) == ["same.car"]


def test_a_longer_file_in_the_way_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.car"
    path.write_bytes(bytes(100_000))
    path.chmod(0o640)
    carv2.unwrap(wrapped(PAYLOAD), path)
    assert_bytes_equal(path.read_bytes(), PAYLOAD)
    assert path.stat().st_mode & 0o777 == 0o640


def refused_with(kind: type[errors.CarError], function: Any, source: Any, folder: Path, **options: Any) -> Any:
    """The error; and no destination came to be, nor did an old one change, nor was anything left beside it."""
    fresh, old = folder / "fresh.car", folder / "old.car"
    old.write_bytes(b"old")
    with pytest.raises(kind) as caught:
        function(source, fresh, **options)
    with pytest.raises(kind):
        function(source, old, **options)
    assert old.read_bytes() == b"old"
    assert sorted(os.listdir(folder)) == ["old.car"]
    return caught.value


def test_wrapping_a_carv2_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    error = refused_with(errors.VersionError, carv2.wrap, archives.SMALL_V2, tmp_path)
    assert (error.found, error.supported) == (2, (1,))


def test_unwrapping_a_carv1_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    error = refused_with(errors.VersionError, carv2.unwrap, PAYLOAD, tmp_path)
    assert (error.found, error.supported) == (1, (2,))


def test_unwrapping_a_carv2_in_a_carv2_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    error = refused_with(errors.VersionError, carv2.unwrap, archives.v2(archives.SMALL_V2), tmp_path)
    assert (error.found, error.position) == (2, 51)


def test_unwrapping_what_its_writer_did_not_finish_is_refused_and_creates_nothing(tmp_path: Path) -> None:
    refused_with(errors.UnfinalizedError, carv2.unwrap, archives.PRAGMA + bytes(40) + PAYLOAD, tmp_path)


@pytest.mark.parametrize("codec", [0x0401, None])
def test_a_truncated_source_is_not_wrapped_and_the_destination_stays(tmp_path: Path, codec: int | None) -> None:
    error = refused_with(errors.TruncatedError, carv2.wrap, PAYLOAD[:-1], tmp_path, index_codec=codec)
    assert error.position == len(PAYLOAD) - 1


def test_a_truncated_source_is_not_unwrapped_and_the_destination_stays(tmp_path: Path) -> None:
    cut = archives.v2(PAYLOAD)[:-1]
    error = refused_with(errors.TruncatedError, carv2.unwrap, cut, tmp_path)
    assert (error.position, error.field) == (len(cut), "payload")


@pytest.mark.parametrize("operation", [carv2.unwrap, carv2.wrap, payload_of, carv2.reindex])
def test_of_a_truncated_source_a_sink_gets_nothing_at_all(operation: Any) -> None:
    data = bytes(3 << 20)  # more than is copied at a time
    payload = archives.v1([], [(archives.cid_v1(data), data)])
    cut = payload[:-1] if operation is carv2.wrap else archives.v2(payload)[:-1]
    sink = io.BytesIO()
    with pytest.raises(errors.TruncatedError):
        operation(cut, sink)
    assert sink.getvalue() == b""


def test_a_source_in_the_place_of_its_destination_survives_a_truncation(tmp_path: Path) -> None:
    path = tmp_path / "cut.car"
    cut = archives.v2(PAYLOAD)[:-1]
    path.write_bytes(cut)
    with pytest.raises(errors.TruncatedError):
        carv2.unwrap(path, path)
    assert path.read_bytes() == cut


def test_a_large_payload_is_copied_whole(tmp_path: Path) -> None:
    blocks = [(archives.cid_v1(data), data) for data in (bytes([n]) * 700_000 for n in range(5))]
    payload = archives.v1([], blocks)
    source, there, back = tmp_path / "1.car", tmp_path / "2.car", tmp_path / "3.car"
    source.write_bytes(payload)
    carv2.wrap(source, there)
    carv2.unwrap(there, back)
    assert back.read_bytes() == payload


def test_a_sink_that_takes_a_little_at_a_time_gets_everything() -> None:
    """A raw file may write less than it is given; what it left must follow."""

    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.taken = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.taken += bytes(data[:1000])
            return min(1000, len(data))

    sink = Slow()
    data = bytes(50_000)
    payload = archives.v1([], [(archives.cid_v1(data), data)])
    carv2.wrap(payload, sink)  # type: ignore[arg-type]
    assert_bytes_equal(sink.taken, wrapped(payload))
    assert not sink.closed


def test_reindexing_makes_the_index_anew_whatever_stood_there() -> None:
    sink = io.BytesIO()
    carv2.reindex(archives.v2(PAYLOAD, b"nonsense", data_padding=100), sink)
    assert_bytes_equal(sink.getvalue(), wrapped(PAYLOAD))
    sink = io.BytesIO()
    carv2.reindex(PAYLOAD, sink, codec=0x0400, identity=True)
    expected = archives.v2(
        PAYLOAD, archives.index_sorted(archives.SMALL_RECORDS), characteristics=archives.FULLY_INDEXED
    )
    assert_bytes_equal(sink.getvalue(), expected)
    sink = io.BytesIO()
    carv2.reindex(archives.SMALL_V2, sink, codec=None)
    assert_bytes_equal(sink.getvalue(), archives.v2(PAYLOAD))


def test_reindexing_a_damaged_archive_leaves_the_destination_alone(tmp_path: Path) -> None:
    damaged = archives.v2(PAYLOAD[:-1])
    for codec in (0x0401, None):
        error = refused_with(errors.FormatError, carv2.reindex, damaged, tmp_path, codec=codec)
        assert type(error) is errors.TruncatedError


def test_a_cid_too_large_for_an_index_is_refused_where_the_file_has_it() -> None:
    large = (archives.identity(bytes(3000)), bytes(3000))
    archive = archives.v2(archives.v1([], [archives.FISH, large]), data_padding=10)
    sink = io.BytesIO()
    with pytest.raises(errors.LimitError) as caught:
        carv2.reindex(archive, sink, identity=True)
    assert (caught.value.limit, caught.value.found, caught.value.allowed) == ("cid", 3005, 2048)
    assert caught.value.position == 61 + 18 + 41
    assert sink.getvalue() == b""
    carv2.reindex(archive, sink)  # without identity CIDs it is no matter


def test_the_payload_of_either_version_is_the_same_bytes() -> None:
    for archive in (PAYLOAD, archives.SMALL_V2):
        sink = io.BytesIO()
        assert payload_of(archive, sink) == len(PAYLOAD)
        assert_bytes_equal(sink.getvalue(), PAYLOAD)


def test_an_index_codec_that_is_none_is_a_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="supported") as caught:
        carv2.wrap(PAYLOAD, tmp_path / "x.car", index_codec=0x55)
    assert not isinstance(caught.value, errors.CarError)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("sync", [True, False])
def test_paths_are_synced_unless_told_otherwise_and_the_bytes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    count, fsync = 0, os.fsync

    def counted(fd: int) -> None:
        nonlocal count
        count += 1
        fsync(fd)

    monkeypatch.setattr(os, "fsync", counted)
    wrapped_path, plain, made = tmp_path / "wrapped", tmp_path / "plain", tmp_path / "made"
    carv2.wrap(PAYLOAD, wrapped_path, sync=sync)
    carv2.unwrap(wrapped_path, plain, sync=sync)
    with carv2.create(made, sync=sync) as car:
        car.write(*archives.FISH)
    assert count == (6 if sync else 0)  # each file and its folder
    assert wrapped_path.read_bytes() == wrapped(PAYLOAD)
    assert plain.read_bytes() == PAYLOAD
    assert carv2.verify(made).ok
