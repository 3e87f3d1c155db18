"""What salvage must save: each block whose bytes are untouched, whatever happened around it, and nothing else."""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2._scan import SectionScanner
from carv2._source import BytesSource
from carv2.operations import salvage as module
from helpers import archives
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from carv2._scan import Entry
    from carv2.operations.salvage import Salvage

Pair = tuple[bytes, bytes]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of archives are written here; that they are made durable is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


V1, V2 = archives.SMALL_V1, archives.SMALL_V2
BLOCKS = list(archives.SOME_BLOCKS)
V1_BOUNDS = archives.SMALL_BOUNDS
V2_BOUNDS = [(start + 58, stop + 58) for start, stop in V1_BOUNDS]
HEADER_SIZE = V1_BOUNDS[0][0]


def salvaged(source: bytes | Path, folder: Path, **options: Any) -> tuple[list[Pair], Salvage]:
    """The blocks of the new archive, which must be a good one, and the report, which must agree with it."""
    path = folder / "saved.car"
    report = carv2.salvage(source, path, **options)
    with carv2.open(path) as car:
        blocks = [(block.cid_bytes, block.data) for block in car.blocks(on_unverified=lambda _: None)]
        assert car.roots == report.roots
    found = carv2.verify(path, allow_unknown_hash=True)
    assert [problem.kind for problem in found.problems] == ["MissingRoot"] * len(set(report.missing_roots))
    assert (report.block_count, report.block_bytes) == (len(blocks), sum(len(data) for _, data in blocks))
    assert all(one.stop < other.start for one, other in zip(report.lost, report.lost[1:], strict=False))
    path.unlink()
    return blocks, report


def same_content(saved: Pair, block: Pair) -> bool:
    """A block whose damage no hash can show: its codec or CID version is not hashed."""
    return saved[1] == block[1] and carv2.CID(saved[0]).multihash == carv2.CID(block[0]).multihash


def check(damaged: bytes, untouched: list[int], folder: Path) -> Salvage:
    """All ``untouched`` blocks are saved, in order; besides them only such as differ in what is not hashed."""
    saved, report = salvaged(damaged, folder, version=1)
    rest = iter(saved)
    for number in untouched:
        assert BLOCKS[number] in rest, f"block {number} is lost"
    for block in saved:
        assert block in BLOCKS or any(same_content(block, one) for one in BLOCKS), block
    assert len(saved) <= len(BLOCKS)
    return report


@pytest.mark.parametrize(("archive", "bounds"), [(V1, V1_BOUNDS), (V2, V2_BOUNDS)], ids=["v1", "v2"])
def test_of_every_cut_all_whole_blocks_are_saved(
    tmp_path: Path, archive: bytes, bounds: list[tuple[int, int]]
) -> None:
    for cut in range(len(archive)):
        whole = [number for number, (_, stop) in enumerate(bounds) if stop <= cut]
        saved, report = salvaged(archive[:cut], tmp_path)
        assert saved == [BLOCKS[number] for number in whole], cut
        torn = [start for start, stop in bounds if start < cut < stop]
        assert [(lost.start, lost.stop) for lost in report.lost if lost.start >= bounds[0][0]] == [
            (start, cut) for start in torn
        ], cut


CHANGES = [0x01, 0x08, 0x20, 0x40, 0x80, 0xFF]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("archive", "bounds"), [(V1, V1_BOUNDS), (V2, V2_BOUNDS)], ids=["v1", "v2"])
def test_of_every_changed_byte_all_untouched_blocks_are_saved(
    tmp_path: Path, archive: bytes, bounds: list[tuple[int, int]], change: int
) -> None:
    for at in range(len(archive)):
        damaged = bytearray(archive)
        damaged[at] ^= change
        untouched = [number for number, (start, stop) in enumerate(bounds) if not start <= at < stop]
        try:
            check(bytes(damaged), untouched, tmp_path)
        except AssertionError as error:
            raise AssertionError(f"byte {at} changed to {damaged[at]:#x}: {error}") from error


@pytest.mark.parametrize(("archive", "bounds"), [(V1, V1_BOUNDS), (V2, V2_BOUNDS)], ids=["v1", "v2"])
def test_every_value_of_the_bytes_that_say_where_things_are(
    tmp_path: Path, archive: bytes, bounds: list[tuple[int, int]]
) -> None:
    places = [start for start, _ in bounds] + [start + 1 for start, _ in bounds]
    places += [0] if archive is V1 else [27, 28, 35, 36, 43, 44]
    for at in places:
        untouched = [number for number, (start, stop) in enumerate(bounds) if not start <= at < stop]
        for value in range(256):
            damaged = archive[:at] + bytes([value]) + archive[at + 1 :]
            try:
                check(damaged, untouched, tmp_path)
            except AssertionError as error:
                raise AssertionError(f"byte {at} changed to {value:#x}: {error}") from error


@pytest.mark.parametrize("seed", range(40))
def test_junk_in_the_middle_costs_only_the_block_that_it_is_in(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    at = source.randrange(len(V2) + 1)
    junk = source.randbytes(source.randrange(1, 300))
    untouched = [number for number, (start, stop) in enumerate(V2_BOUNDS) if not start < at < stop]
    check(V2[:at] + junk + V2[at:], untouched, tmp_path)


def sections_of(blocks: list[Pair]) -> bytes:
    return b"".join(archives.section(cid, data) for cid, data in blocks)


def test_a_whole_archive_is_saved_whole_and_nothing_is_lost(tmp_path: Path) -> None:
    for archive in (V1, V2, archives.v2(V1), archives.EMPTY_HEADER):
        saved, report = salvaged(archive, tmp_path)
        assert report.lost == ()
        assert saved == ([] if archive is archives.EMPTY_HEADER else BLOCKS)
        assert report.missing_roots == ()


def test_a_lost_block_is_reported_by_where_its_section_starts_and_ends(tmp_path: Path) -> None:
    damaged = bytearray(V2)
    start, stop = V2_BOUNDS[3]
    damaged[stop - 1] ^= 1
    saved, report = salvaged(bytes(damaged), tmp_path)
    assert saved == BLOCKS[:3] + BLOCKS[4:]
    assert [(lost.start, lost.stop) for lost in report.lost] == [(start, stop)]
    assert report.lost_bytes == stop - start
    assert "not those of" in report.lost[0].reason


def test_neighbouring_losses_are_one(tmp_path: Path) -> None:
    damaged = bytearray(V1)
    for number in (1, 3):
        damaged[V1_BOUNDS[number][1] - 1] ^= 1
    _, report = salvaged(bytes(damaged), tmp_path)
    assert [(lost.start, lost.stop) for lost in report.lost] == [V1_BOUNDS[1], V1_BOUNDS[3]]
    damaged[V1_BOUNDS[2][1] - 1] ^= 1
    _, report = salvaged(bytes(damaged), tmp_path)
    assert [(lost.start, lost.stop) for lost in report.lost] == [(V1_BOUNDS[1][0], V1_BOUNDS[3][1])]


def test_roots_whose_blocks_are_lost_are_named(tmp_path: Path) -> None:
    damaged = bytearray(V1)
    damaged[V1_BOUNDS[1][1] - 1] ^= 1
    _, report = salvaged(bytes(damaged), tmp_path)
    assert [bytes(root) for root in report.missing_roots] == [archives.PB_NODE[0]]
    assert [bytes(root) for root in report.roots] == [archives.FISH[0], archives.PB_NODE[0]]


def test_a_destroyed_header_costs_the_roots_and_no_block(tmp_path: Path) -> None:
    for archive, start in ((V1, 0), (V2, 58)):
        damaged = archive[:start] + b"\xff" * HEADER_SIZE + archive[start + HEADER_SIZE :]
        saved, report = salvaged(damaged, tmp_path)
        assert (saved, report.roots, report.has_header) == (BLOCKS, (), False)
        assert [(lost.start, lost.stop) for lost in report.lost] == [(51 if start else 0, start + HEADER_SIZE)]


@pytest.mark.parametrize("pragma", [bytes(11), b"\xff" * 11, archives.PRAGMA[:3] + b"?" + archives.PRAGMA[4:]])
def test_a_destroyed_pragma_costs_no_roots(tmp_path: Path, pragma: bytes) -> None:
    wrapped = archives.v2(V1)
    saved, report = salvaged(pragma + wrapped[11:], tmp_path)
    assert (saved, report.has_header) == (BLOCKS, True)
    assert [bytes(root) for root in report.roots] == [archives.FISH[0], archives.PB_NODE[0]]
    assert [(lost.start, lost.stop) for lost in report.lost] == [(0, 51)]


def test_sections_without_anything_in_front_are_saved(tmp_path: Path) -> None:
    saved, report = salvaged(sections_of(BLOCKS), tmp_path)
    assert (saved, report.lost) == (BLOCKS, ())


@pytest.mark.parametrize("padding", [0, 1, 1413])
def test_a_file_that_its_writer_never_finished_gives_blocks_and_roots(tmp_path: Path, padding: int) -> None:
    unfinished = archives.PRAGMA + bytes(40 + padding) + V1
    for archive, count in ((unfinished, len(BLOCKS)), (unfinished[:-1], len(BLOCKS) - 1)):
        saved, report = salvaged(archive, tmp_path)
        assert saved == BLOCKS[:count]
        assert [bytes(root) for root in report.roots] == [archives.FISH[0], archives.PB_NODE[0]]
        assert (report.lost[0].start, report.lost[0].stop) == (11, 51)
        assert "did not finish" in report.lost[0].reason


@pytest.mark.parametrize("offset", [52, 100, 1 << 40])
def test_a_header_that_points_elsewhere_is_lost_and_costs_nothing_more(tmp_path: Path, offset: int) -> None:
    archive = archives.PRAGMA + archives.v2_header(offset, len(V1)) + V1
    saved, report = salvaged(archive, tmp_path)
    assert saved == BLOCKS
    assert len(report.roots) == 2
    assert [(lost.start, lost.stop) for lost in report.lost] == [(11, 51)]


def test_a_tail_of_zeros_is_no_block(tmp_path: Path) -> None:
    unfinished = archives.PRAGMA + bytes(40) + V1[:-3] + bytes(4096)
    saved, _ = salvaged(unfinished, tmp_path)
    assert saved == BLOCKS[:-1]


def test_an_index_is_never_taken_for_blocks_and_is_no_loss(tmp_path: Path) -> None:
    damaged = bytearray(V2)
    damaged[V2_BOUNDS[-1][1] - 1] ^= 1
    saved, report = salvaged(bytes(damaged), tmp_path)
    assert saved == BLOCKS[:-1]
    assert [(lost.start, lost.stop) for lost in report.lost] == [V2_BOUNDS[-1]]


def test_sections_that_a_wrong_length_took_in_are_saved(tmp_path: Path) -> None:
    """The damaged length makes the section end just where a later one starts."""
    blocks = [archives.FISH] + [(archives.cid_v1(data), data) for data in (b"a" * 20, b"b" * 20, b"c" * 20)]
    archive = bytearray(archives.v1([], blocks))
    at = archive.index(archives.section(*blocks[1]))
    size = len(archives.section(*blocks[1]))
    archive[at] += size  # two sections as one; it takes no second byte
    assert archive[at] < 128
    saved, report = salvaged(bytes(archive), tmp_path)
    assert saved == [blocks[0], *blocks[2:]]
    assert [(lost.start, lost.stop) for lost in report.lost] == [(at, at + size)]


def test_an_archive_within_a_damaged_block_is_not_mistaken_for_blocks(tmp_path: Path) -> None:
    inner = archives.v1([], [archives.LOBSTER]) + b" and more"
    blocks = [archives.FISH, (archives.cid_v1(inner), inner), archives.BARRELEYE]
    archive = bytearray(archives.v1([], blocks))
    archive[archive.index(b" and more")] ^= 1
    saved, _ = salvaged(bytes(archive), tmp_path)
    assert saved == [archives.FISH, archives.BARRELEYE]


def test_junk_that_reads_as_a_block_of_an_unknown_hash_takes_no_blocks_with_it(tmp_path: Path) -> None:
    rest = sections_of(BLOCKS[:4])
    junk = archives.varint(len(rest) - 3) + b"\x01\x55\x99\xb3\x02\x01!"
    saved, report = salvaged(V1[: V1_BOUNDS[-1][1]] + junk + rest, tmp_path)
    assert saved == BLOCKS + BLOCKS[:4]
    assert report.unverified_count == 0


def test_blocks_of_an_unknown_hash_are_left_behind_unless_asked_for(tmp_path: Path) -> None:
    unknown = [(archives.cid_v1(b"", code=0x15, digest=bytes([n]) * 32)[:2] + b"\x99\x13\x20" + bytes([n]) * 32,
                b"data") for n in range(3)]  # fmt: skip
    blocks = [archives.FISH, *unknown, archives.LOBSTER, unknown[0]]
    archive = archives.v1([], blocks)
    saved, report = salvaged(archive, tmp_path)
    assert (saved, report.unverified_count) == ([archives.FISH, archives.LOBSTER], 4)
    bounds = archives.section_bounds(archives.header(), blocks)
    assert [(lost.start, lost.stop) for lost in report.lost] == [(bounds[1][0], bounds[3][1]), bounds[5]]
    saved, report = salvaged(archive, tmp_path, unverified=True)
    assert (saved, report.unverified_count, report.lost) == (blocks, 4, ())


@pytest.mark.parametrize("size", [0, 1, 4, 7])
def test_a_digest_of_a_few_bytes_proves_nothing(tmp_path: Path, size: int) -> None:
    digest = hashlib.sha256(b"anything").digest()[:size]
    hollow = (archives.cid_v1(b"", digest=digest), b"anything")
    saved, report = salvaged(archives.v1([], [archives.FISH, hollow, archives.LOBSTER]), tmp_path)
    assert saved == [archives.FISH, archives.LOBSTER]
    assert [(lost.start, lost.stop) for lost in report.lost] == [(59, 59 + 1 + 4 + size + 8)]


def test_a_cid_too_large_for_the_index_does_not_end_the_salvage(tmp_path: Path) -> None:
    large = (b"\x01\x55\x99\x13\x99\x13" + bytes(0x99 - 0x80 + (0x13 << 7)), b"data")
    archive = archives.v1([], [archives.FISH, large, archives.LOBSTER])
    saved, _ = salvaged(archive, tmp_path, unverified=True)
    assert saved == [archives.FISH, archives.LOBSTER]


KINDS = [  # of CIDs: each must be found behind junk, without a good section in front of it
    archives.cid_v1(b"needle"),
    archives.cid_v0(b"needle"),
    archives.identity(b"needle needle needle"),
    bytes(carv2.CID.of_data(b"needle", codec="dag-json")),
    bytes(carv2.CID.of_data(b"needle", codec=0x300000)),
    *(
        bytes(carv2.CID.of_data(b"needle", hash=name))
        for name in (
            "sha1",
            "sha2-512",
            "sha3-384",
            "blake2b-256",
            "blake2s-128",
            "dbl-sha2-256",
            "sha2-384",
            "md5",
        )
    ),
]


@pytest.mark.parametrize("cid", KINDS, ids=lambda cid: f"{carv2.CID(cid).codec_name} {carv2.CID(cid).hash_name}")
@pytest.mark.parametrize("size", [6, 100, 300, 20_000])
def test_a_block_of_any_kind_is_found_behind_junk(tmp_path: Path, cid: bytes, size: int) -> None:
    found = carv2.CID(cid)
    data = (b"needle" * size)[:size] if not found.is_identity else found.digest
    if found.version == 0:
        block = (archives.cid_v0(data), data)
    elif found.is_identity:
        block = (cid, data)
    else:
        block = (bytes(carv2.CID.of_data(data, codec=found.codec, hash=found.hash_code)), data)
    for junk in (b"\xff" * 50, b"\x01" * 9, b"\x01\x12" * 20, b"\x12\x20" * 30):
        damaged = archives.v1([], [archives.FISH]) + junk + archives.section(*block)
        saved, _ = salvaged(damaged, tmp_path)
        assert saved == [archives.FISH, block]


@pytest.mark.parametrize("distance", [4090, 4096, 4100, 20_480, 1 << 20])
def test_a_section_is_found_wherever_the_search_windows_are_cut(tmp_path: Path, distance: int) -> None:
    data = bytes(200)
    block = (archives.cid_v1(data), data)
    for more in range(-24, 4):
        damaged = archives.EMPTY_HEADER + b"\xff" * (distance + more) + archives.section(*block)
        saved, _ = salvaged(damaged, tmp_path)
        assert saved == [block], distance + more


def test_an_identity_cid_of_a_few_bytes_is_not_found_in_noise(tmp_path: Path) -> None:
    """A list of small numbers reads as the empty block of the empty identity CID."""
    numbers = b"".join(number.to_bytes(4, "little") for number in (260, 0, 1, 260, 260, 0)) * 50
    saved, _ = salvaged(archives.v1([], [archives.FISH]) + b"\xff" + numbers, tmp_path)
    assert saved == [archives.FISH]


def work_of(source: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Pair], int, int]:
    """What is saved, how many bytes were read for it, and how many times it was looked for a section."""
    read = looked = 0

    class Counting(BytesSource):
        def read_at(self, position: int, size: int) -> bytes:
            nonlocal read
            data = super().read_at(position, size)
            read += len(data)
            return data

    locate = SectionScanner.locate

    def counted(self: Any, buffer: bytes, offset: int, *, position: int) -> Entry | None:
        nonlocal looked
        looked += 1
        return locate(self, buffer, offset, position=position)

    monkeypatch.setattr(SectionScanner, "locate", counted)
    path = folder / "saved.car"
    carv2.salvage(Counting(source), path)
    with carv2.open(path) as car:
        return [(block.cid_bytes, block.data) for block in car], read, looked


FAKES = {
    "heads of CIDv0": b"\x21\x12\x20" * 40_000,
    "heads of CIDv1": b"\x30\x01\x55\x12\x20" * 24_000,
    "heads of large sections": b"\xff\xff\x03\x01\x55\x12\x20" * 17_000,
    "identity blocks and heads of large sections": (b"\x04\x01\x55\x00\x00" + b"\xff\xff\x03\x01\x55\x12\x20")
    * 10_000,
    "heads of large identity blocks": (b"\x04\x01\x55\x00\x00" + b"\xff\xff\x03\x01\x55\x00\xf9\xff\x03") * 8_500,
    "damage after every block": (archives.section(*archives.FISH) + b"\xff" * 9) * 2_400,
    "empty identity blocks": b"\x04\x01\x55\x00\x00" * 24_000 + b"\xff",
    "gaps between identity blocks": (b"\x04\x01\x55\x00\x00" * 20 + b"\xff") * 1200,
}


@pytest.mark.parametrize("junk", FAKES.values(), ids=FAKES)
def test_a_file_made_to_keep_salvage_busy_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, junk: bytes
) -> None:
    """What is read is bounded by a multiple of the file's size, not by its square (1.4e10 here)."""
    archive = archives.v1([], [archives.FISH]) + junk + archives.section(*archives.LOBSTER)
    _, read, looked = work_of(archive, tmp_path, monkeypatch)
    budget = module._PATIENCE * len(archive) + (64 << 20)
    assert read <= 4 * budget
    assert looked <= 2 * budget // module._LOOK + 10 * len(archive)


def test_damage_after_every_block_is_gone_through_in_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each loss starts a search; that must not read ahead much more than the distance to what it finds."""
    blocks = [(archives.cid_v1(data), data) for data in (number.to_bytes(100, "big") for number in range(600))]
    archive = archives.EMPTY_HEADER + b"".join(archives.section(*block) + b"\xff\x07" for block in blocks)
    saved, read, _ = work_of(archive, tmp_path, monkeypatch)
    assert saved == blocks
    assert read < 60 * len(archive)


def test_published_wrecks_are_salvaged(tmp_path: Path) -> None:
    saved, report = salvaged(shared_fixture("go-car/sample-v1-tailing-corrupt-section.car"), tmp_path)
    assert len(saved) == 1048
    assert [(lost.start, lost.stop) for lost in report.lost] == [(479518, 479894)]
    saved, report = salvaged(shared_fixture("go-car/sample-v2-corrupt-data-and-index.car"), tmp_path)
    assert len(saved) == 1049
    assert [str(root) for root in report.roots] == [
        "bafy2bzaced4ueelaegfs5fqu4tzsh6ywbbpfk3cxppupmxfdhbpbhzawfw5oy"
    ]


def test_the_new_archive_may_be_of_either_version(tmp_path: Path) -> None:
    for version in (1, 2):
        path = tmp_path / f"{version}.car"
        carv2.salvage(V1[:-1], path, version=version)
        assert carv2.inspect(path).version == version


@pytest.mark.parametrize("source", [b"", b"\x0a", archives.PRAGMA, b"not an archive at all"])
def test_of_nothing_nothing_is_saved_into_a_good_empty_archive(tmp_path: Path, source: bytes) -> None:
    saved, report = salvaged(source, tmp_path)
    assert (saved, report.block_count, report.roots) == ([], 0, ())


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        carv2.salvage(V1, path)
    assert path.read_bytes() == b"mine"


def test_limits_hold_for_sections_that_are_searched_for_too(tmp_path: Path) -> None:
    data = bytes(500)
    archive = (
        archives.EMPTY_HEADER + b"\xff" + archives.section(archives.cid_v1(data), data) + sections_of(BLOCKS[:1])
    )
    saved, _ = salvaged(archive, tmp_path, limits=carv2.Limits(section=100))
    assert saved == BLOCKS[:1]


def test_the_source_of_a_caller_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "in.car"
    path.write_bytes(V1)
    with path.open("rb") as file:
        carv2.salvage(file, tmp_path / "out.car")
        assert file.read() == V1
    assert sorted(os.listdir(tmp_path)) == ["in.car", "out.car"]
