"""Figures of archives: those that go-car and the specification publish, and those of small ones made by hand."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import errors
from carv2._scan import Batch, Entries
from carv2.operations import _tally
from carv2.operations._tally import Counting
from helpers import archives
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

RAW, DAG_PB, DAG_CBOR = 0x55, 0x70, 0x71
IDENTITY, SHA2_256, BLAKE2B_256 = 0, 0x12, 0xB220
ZEROS = bytes(16)

SAMPLE = {  # car-format.md 5: the payload that most of go-car's fixtures hold
    "block_count": 1049,
    "codecs": {RAW: 6, DAG_CBOR: 1043},
    "hashes": {IDENTITY: 6, BLAKE2B_256: 1043},
    "min_block_size": 1,
    "average_block_size": 417,
    "max_block_size": 1342,
    "min_cid_size": 14,
    "average_cid_size": 37,
    "max_cid_size": 38,
    "roots": ["bafy2bzaced4ueelaegfs5fqu4tzsh6ywbbpfk3cxppupmxfdhbpbhzawfw5oy"],
    "roots_present": True,
    "header_is_canonical": True,
}
FIGURES: dict[str, dict[str, Any]] = {
    "go-car/sample-v1.car": {"version": 1, "header": None, "index_codec": None, **SAMPLE},
    "go-car/sample-v1-with-zero-len-section.car": {"version": 1, **SAMPLE},
    "go-car/sample-v1-noidentity.car": {
        "version": 1,
        "block_count": 1043,
        "codecs": {DAG_CBOR: 1043},
        "hashes": {BLAKE2B_256: 1043},
        "min_cid_size": 38,
        "max_cid_size": 38,
    },
    "go-car/sample-v1-with-zero-len-section2.car": {
        "roots": ["bafykbzaceapvx4wxbe3bfc5neit43wl22pruy2ysk7wv763iuyyxcffj3te56"],
        "codecs": {RAW: 19, DAG_PB: 1},
        "hashes": {BLAKE2B_256: 20},
    },
    "go-car/sample-wrapped-v2.car": {
        "version": 2,
        "header": (51, 479907, 479958, 0),
        "index_codec": 0x0401,
        **SAMPLE,
    },
    "go-car/sample-v2-indexless.car": {"version": 2, "header": (51, 479907, 0, 0), "index_codec": None, **SAMPLE},
    "go-car/sample-rw-bs-v2.car": {
        "header": (1464, 273, 1737, 0),
        "index_codec": 0x0401,
        "block_count": 3,
        "min_block_size": 4,
        "average_block_size": 6,
        "max_block_size": 9,
        "min_cid_size": 36,
        "average_cid_size": 36,
        "max_cid_size": 36,
        "roots_present": True,
    },
    "go-car/sample-unixfs-v2.car": {
        "header": (51, 284, 335, 0),
        "index_codec": 0x0401,
        "block_count": 3,
        "roots": ["bafybeiakgrehdxxgy5kca72znt6jllrj2sqkehtqeojfuxlbeuqg3vfkwq"],
    },
    "go-car-cli/simple-unixfs.car": {
        "codecs": {DAG_PB: 22},
        "hashes": {SHA2_256: 22},
        "max_cid_size": 34,
        "roots": ["QmPLPpnptHc1DMhJAWNYMTqBTqqRQNy5WsY7F9pZgsBfMT"],
    },
    "go-car-cli/simple-unixfs-missing-blocks.car": {"block_count": 17},
    "spec/carv1-basic.car": {"version": 1, "codecs": {RAW: 3, DAG_PB: 3, DAG_CBOR: 2}},
    "spec/carv2-basic.car": {
        "header": (51, 448, 499, 0),
        "roots": ["QmfEoLyB5NndqeKieExd1rtJzTduQUPEV8TwAYcUiy3H5Z"],
        "codecs": {RAW: 2, DAG_PB: 3},
        "index_codec": 0x0400,
        "index_is_headless": True,
    },
}


def figures_of(report: object, names: dict[str, Any]) -> dict[str, Any]:
    found = {name: getattr(report, name) for name in names}
    if "roots" in found:
        found["roots"] = [str(root) for root in found["roots"]]
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_of_published_archives_are_those_published(name: str) -> None:
    path = shared_fixture(name)
    assert figures_of(carv2.inspect(path, full=True), FIGURES[name]) == FIGURES[name]


BAD: dict[str, tuple[type[errors.CarError], int, str]] = {
    "go-car/sample-v1-tailing-corrupt-section.car": (errors.TruncatedError, 479894, "section"),
    "go-car/sample-v2-corrupt-data-and-index.car": (errors.FormatError, 27, "18446744073709550254"),
    "go-car/sample-corrupt-pragma.car": (errors.TruncatedError, 16, "wanted 18 bytes, got 15"),
    "go-car/sample-rootless-v42.car": (errors.VersionError, 0, "42"),
    "go-car-cli/badheaderlength.car": (errors.LimitError, 0, "limit 33554432"),
    "go-car-cli/badsectionlength.car": (errors.LimitError, 18, "limit 8388608"),
}


@pytest.mark.parametrize("name", BAD)
def test_published_wrecks_are_refused_with_what_was_found_and_where(name: str) -> None:
    kind, position, text = BAD[name]
    with pytest.raises(kind) as caught:
        carv2.inspect(shared_fixture(name))
    assert type(caught.value) is kind
    assert isinstance(caught.value, errors.FormatError)
    assert caught.value.position == position
    assert text in str(caught.value)


def test_averages_are_cut_to_whole_bytes() -> None:
    cids = [archives.FISH, archives.LOBSTER, (archives.identity(b"ab"), b"ab")]
    report = carv2.inspect(archives.v1([], cids))
    assert (report.min_block_size, report.average_block_size, report.max_block_size) == (2, 4, 7)  # 13 / 3 = 4.3
    assert (report.min_cid_size, report.average_cid_size, report.max_cid_size) == (6, 26, 36)  # 78 / 3
    two = carv2.inspect(archives.v1([], cids[1:]))
    assert (two.average_block_size, two.average_cid_size) == (4, 21)  # 9 / 2 = 4.5


@pytest.mark.parametrize(
    "archive", [archives.EMPTY_HEADER, archives.v2(archives.EMPTY_HEADER, b"\x81\x08" + bytes(4))]
)
def test_an_archive_without_blocks_has_figures_of_zero_and_lacks_no_root(archive: bytes) -> None:
    report = carv2.inspect(archive, full=True)
    assert report.roots_present
    assert (report.block_count, dict(report.codecs), dict(report.hashes)) == (0, {}, {})
    sizes = [
        getattr(report, f"{which}_{what}_size") for which in ("min", "average", "max") for what in ("block", "cid")
    ]
    assert sizes == [0] * 6


def test_each_root_must_be_a_block_by_its_whole_cid_and_duplicates_are_kept() -> None:
    fish, lobster = archives.FISH[0], archives.LOBSTER[0]
    doubled = carv2.inspect(archives.v1([fish, fish], [archives.FISH]))
    assert (len(doubled.roots), doubled.roots_present) == (2, True)
    assert not carv2.inspect(archives.v1([fish, fish, lobster], [archives.FISH])).roots_present
    same_hash = archives.cid_v1(b"fish", codec=DAG_CBOR)
    assert not carv2.inspect(archives.v1([same_hash], [archives.FISH])).roots_present


def test_an_identity_root_is_present_without_a_section() -> None:
    assert carv2.inspect(archives.v1([archives.identity(b"id")], [])).roots_present


@pytest.mark.parametrize("codec", [0x00, 0x31, 0x55, 0x300003, (1 << 63) - 1])
def test_an_index_of_an_unknown_codec_is_named_not_refused(codec: int) -> None:
    archive = archives.v2(archives.v1([], [archives.FISH]), archives.varint(codec) + b"whatever")
    report = carv2.inspect(archive)
    assert (report.index_codec, report.index_is_headless, report.block_count) == (codec, False, 1)


@pytest.mark.parametrize("beyond", [0, 1, 1 << 40])
def test_an_index_offset_at_or_behind_the_end_of_the_file_is_a_truncated_index(beyond: int) -> None:
    payload = archives.v1([], [archives.FISH])
    end = 51 + len(payload)
    archive = archives.PRAGMA + ZEROS + struct.pack("<QQQ", 51, len(payload), end + beyond) + payload
    with pytest.raises(errors.TruncatedError) as caught:
        carv2.inspect(archive)
    assert (caught.value.field, caught.value.position) == ("index", end)


def test_an_index_that_is_cut_short_is_truncated_not_described() -> None:
    archive = archives.v2(archives.v1([], [archives.FISH]), bytes.fromhex("8108010000001200"))
    with pytest.raises(errors.TruncatedError) as caught:
        carv2.inspect(archive)
    assert caught.value.position == len(archive)


def test_an_index_without_its_codec_is_told_from_one_with_it() -> None:
    records = archives.records_of(archives.header(), [archives.FISH])
    payload = archives.v1([], [archives.FISH])
    headless = carv2.inspect(archives.v2(payload, archives.index_body(records)))
    usual = carv2.inspect(archives.v2(payload, archives.index_sorted(records)))
    assert (headless.index_codec, headless.index_is_headless) == (0x0400, True)
    assert (usual.index_codec, usual.index_is_headless) == (0x0400, False)


def test_characteristics_and_padding_are_reported_as_they_stand_in_the_file() -> None:
    bits = bytes.fromhex("e903000000000000ea03000000000000")
    archive = archives.v2(
        archives.v1([], []), b"\x81\x08" + bytes(4), data_padding=1413, index_padding=9, characteristics=bits
    )
    report = carv2.inspect(archive)
    assert report.header == (1464, 18, 1491, int.from_bytes(bits, "big"))


@pytest.mark.parametrize(
    "header",
    [
        "11a26776657273696f6e0165726f6f747380",  # the keys the other way round
        "11a265726f6f7473f66776657273696f6e01",  # null for no roots
        "0aa16776657273696f6e01",  # no roots at all
    ],
)
def test_a_header_that_go_car_would_not_write_is_read_and_named(header: str) -> None:
    report = carv2.inspect(bytes.fromhex(header) + archives.section(*archives.FISH))
    assert (report.block_count, report.header_is_canonical) == (1, False)


def test_hashes_are_checked_only_when_asked() -> None:
    archive = archives.v1([], [archives.FISH])[:-1] + b"!"
    assert carv2.inspect(archive).hashes_verified is False
    with pytest.raises(errors.IntegrityError) as caught:
        carv2.inspect(archive, full=True)
    assert caught.value.position == len(archive) - 4


def test_a_hash_function_that_is_not_known_is_an_error_only_when_hashes_are_checked() -> None:
    unknown = archives.cid_v1(b"", code=0x9999, digest=bytes(32))
    archive = archives.v1([], [archives.FISH, (unknown, b"data")])
    assert dict(carv2.inspect(archive).hashes) == {0x12: 1, 0x9999: 1}
    with pytest.raises(errors.UnknownHashError) as caught:
        carv2.inspect(archive, full=True)
    assert (caught.value.hash_code, caught.value.cid) == (0x9999, carv2.CID(unknown))
    assert caught.value.position == len(archive) - len(b"data")


def test_null_padding_ends_the_payload_unless_it_is_refused() -> None:
    archive = archives.v1([], [archives.FISH]) + bytes(100)
    assert carv2.inspect(archive).block_count == 1
    with pytest.raises(errors.FormatError, match="zero-length section"):
        carv2.inspect(archive, null_padding=False)


def test_a_payload_that_is_itself_a_carv2_is_refused() -> None:
    with pytest.raises(errors.VersionError) as caught:
        carv2.inspect(archives.v2(archives.v2(archives.v1([], []))))
    assert (caught.value.found, caught.value.position, caught.value.supported) == (2, 51, (1,))


def many(count: int, size: int) -> list[tuple[bytes, bytes]]:
    blocks = [number.to_bytes(8, "little") * (size // 8) for number in range(count)]
    return [(archives.cid_v1(data), data) for data in blocks]


@pytest.fixture(autouse=True)
def _sharing_is_always_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "WORTH_SHARING", 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_block_of_the_file_is_the_one_reported(tmp_path: Path, workers: int) -> None:
    blocks = many(6000, 200)  # 23 chunks of the file
    for bad in (5990, 4000, 1400, 1000):
        blocks[bad] = (blocks[bad][0], b"not it" + blocks[bad][1][6:])
    path = tmp_path / "bad.car"
    path.write_bytes(archives.v1([], blocks))
    with pytest.raises(errors.IntegrityError) as caught:
        carv2.inspect(path, full=True, workers=workers)
    assert bytes(caught.value.cid) == blocks[1000][0]


def test_workers_give_the_same_figures(tmp_path: Path) -> None:
    path = tmp_path / "many.car"
    path.write_bytes(archives.v1([], many(5000, 64)))
    assert carv2.inspect(path, full=True, workers=2) == carv2.inspect(path, full=True)


def test_short_cids_of_different_kinds_are_told_apart_from_batch_to_batch() -> None:
    counting = Counting([])
    for data, codec in ((b"ab", 0x55), (b"abc", 0x55), (b"ab", 0x71)):
        counting.count(Batch(b"", 0, 0, Entries([archives.identity(data, codec=codec)], [0], [len(data)])))
    assert counting.tally.kinds == {(0x55, 0, 6): 1, (0x55, 0, 7): 1, (0x71, 0, 6): 1}


def test_counting_long_digests_goes_over_each_batch_a_few_times_only() -> None:
    """Each sha2-512 CID has a front of its own; counting must not search the batch for each."""
    passes = 0

    class Passes(list[Any]):
        def __iter__(self) -> Any:
            nonlocal passes
            passes += 1
            return super().__iter__()

    digests = (hashlib.sha512(n.to_bytes(2, "big")).digest() for n in range(2000))
    entries = Entries(
        [archives.cid_v1(b"", code=0x13, digest=digest) for digest in digests], [0] * 2000, [1] * 2000
    )
    entries.cids = Passes(entries.cids)
    counting = Counting([])
    counting.count(Batch(b"", 0, 0, entries))
    assert counting.tally.kinds == {(0x55, 0x13, 68): 2000}
    assert passes < 10
