"""Every kind of problem that an archive can have is found, named and placed; good archives have none."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.operations import _tally
from carv2.operations.verify import Verification, verify
from helpers import archives
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER = archives.FISH, archives.LOBSTER
UNKNOWN = (archives.cid_v1(b"", codec=0x55, digest=bytes(32)).replace(b"\x12\x20", b"\x99\x13\x20"), b"data")
BLOCKS = [FISH, LOBSTER, archives.BARRELEYE]
PAYLOAD = archives.v1([FISH[0]], BLOCKS)
BOUNDS = archives.section_bounds(archives.header([FISH[0]]), BLOCKS)
RECORDS = archives.records_of(archives.header([FISH[0]]), BLOCKS)
INDEX = archives.index_multihash_sorted(RECORDS)
DATA_END = 51 + len(PAYLOAD)


def found_in(archive: Any, **options: Any) -> list[tuple[str, int | None]]:
    """Kind and position of each problem."""
    report = verify(archive, **options)
    assert report.ok is (report.problem_count == 0)
    assert report.problem_count == len(report.problems)
    return [(problem.kind, problem.position) for problem in report.problems]


GOOD = {
    "go-car/sample-v1.car": 1049,
    "go-car/sample-v1-noidentity.car": 1043,
    "go-car/sample-wrapped-v2.car": 1049,
    "go-car/sample-v2-indexless.car": 1049,
    "go-car/sample-rw-bs-v2.car": 3,
    "go-car/sample-unixfs-v2.car": 3,
    "go-car-cli/simple-unixfs.car": 22,
    "spec/carv2-basic.car": 5,
}


@pytest.mark.parametrize("name", GOOD)
def test_published_archives_have_no_problem(name: str) -> None:
    report = verify(shared_fixture(name))
    assert report.problems == ()
    assert (report.block_count, report.verified_count, dict(report.unverified)) == (GOOD[name], GOOD[name], {})


def test_null_padding_of_published_archives_is_a_problem_unless_allowed() -> None:
    path = shared_fixture("go-car/sample-v1-with-zero-len-section.car")
    assert found_in(path) == [("FormatError", 479907)]
    assert found_in(path, null_padding=True) == []


BAD = {
    "go-car/sample-v1-tailing-corrupt-section.car": ("TruncatedError", 479894),
    "go-car/sample-v2-corrupt-data-and-index.car": ("FormatError", 27),
    "go-car/sample-corrupt-pragma.car": ("TruncatedError", 16),
    "go-car/sample-rootless-v42.car": ("VersionError", 0),
    "go-car-cli/badheaderlength.car": ("LimitError", 0),
    "go-car-cli/badsectionlength.car": ("LimitError", 18),
}


@pytest.mark.parametrize("name", BAD)
def test_published_wrecks_have_the_problem_that_makes_them_one(name: str) -> None:
    assert found_in(shared_fixture(name))[-1] == BAD[name]


@pytest.mark.parametrize(
    "archive",
    [
        PAYLOAD,
        archives.v2(PAYLOAD),
        archives.v2(PAYLOAD, INDEX),
        archives.v2(PAYLOAD, INDEX, data_padding=1413, index_padding=99),
        archives.v2(PAYLOAD, archives.index_sorted(RECORDS)),
        archives.v2(PAYLOAD, archives.index_body(RECORDS)),
        archives.v2(PAYLOAD, INDEX + b"go-car leaves what follows an index unread"),
        archives.v1([], BLOCKS),
        archives.EMPTY_HEADER,
        archives.v2(archives.EMPTY_HEADER, b"\x81\x08" + bytes(4)),
        archives.SMALL_V2,
        archives.v1([archives.identity(b"root")], BLOCKS),
        archives.v1([FISH[0], FISH[0]], [FISH, FISH]),
    ],
)
def test_what_is_legal_is_no_problem(archive: bytes) -> None:
    assert found_in(archive) == []


def test_an_index_may_list_identity_cids_or_not_unless_the_header_promises_them() -> None:
    without = archives.index_multihash_sorted([r for r in archives.SMALL_RECORDS if r.code])
    with_them = archives.index_multihash_sorted(archives.SMALL_RECORDS)
    full = archives.FULLY_INDEXED
    assert found_in(archives.v2(archives.SMALL_V1, without)) == []
    assert found_in(archives.v2(archives.SMALL_V1, with_them)) == []
    assert found_in(archives.v2(archives.SMALL_V1, with_them, characteristics=full)) == []
    at = 51 + archives.SMALL_BOUNDS[2][0]
    assert found_in(archives.v2(archives.SMALL_V1, without, characteristics=full)) == [("IndexMismatchError", at)]


def damaged(archive: bytes, *places: int) -> bytes:
    copy = bytearray(archive)
    for at in places:
        copy[at] ^= 1
    return bytes(copy)


def test_each_block_with_a_wrong_hash_is_a_problem_at_its_data() -> None:
    report = verify(damaged(PAYLOAD, BOUNDS[0][1] - 1, BOUNDS[2][1] - 1))
    assert [(problem.kind, problem.position) for problem in report.problems] == [
        ("IntegrityError", BOUNDS[0][1] - 4),
        ("IntegrityError", BOUNDS[2][1] - 9),
    ]
    assert [bytes(problem.cid) for problem in report.problems if problem.cid] == [FISH[0], BLOCKS[2][0]]
    assert (report.block_count, report.verified_count) == (3, 1)


def test_each_missing_root_is_a_problem_and_a_root_of_equal_hash_does_not_make_up_for_it() -> None:
    missing = archives.cid_v1(b"fish", codec=0x71)
    report = verify(archives.v1([LOBSTER[0], missing, missing], BLOCKS))
    assert [(problem.kind, problem.cid) for problem in report.problems] == [
        ("MissingRoot", carv2.CID(missing))
    ] * 2


def changed(at: int, **values: Any) -> bytes:
    return archives.index_multihash_sorted(
        [record._replace(**values) if number == at else record for number, record in enumerate(RECORDS)]
    )


FISH_AT, LOBSTER_AT, BARRELEYE_AT = (start for start, _ in BOUNDS)
INDEXES = {
    "a record is missing": (archives.index_multihash_sorted(RECORDS[1:]), [FISH_AT]),
    "all records are missing": (b"\x81\x08" + bytes(4), [FISH_AT, LOBSTER_AT, BARRELEYE_AT]),
    "a record of no block": (
        archives.index_multihash_sorted([*RECORDS, archives.Record(0x12, bytes(32), LOBSTER_AT)]),
        [LOBSTER_AT],
    ),
    "a record twice, once elsewhere": (
        archives.index_multihash_sorted([*RECORDS, RECORDS[0]._replace(offset=BARRELEYE_AT)]),
        [BARRELEYE_AT],
    ),
    "a record at another block": (changed(0, offset=LOBSTER_AT), [FISH_AT, LOBSTER_AT]),
    "a record within a block": (changed(0, offset=FISH_AT + 38), [FISH_AT, FISH_AT + 38]),
    "a record in the header": (changed(0, offset=0), [FISH_AT, 0]),
    "a record behind the payload": (changed(0, offset=len(PAYLOAD)), [FISH_AT, len(PAYLOAD)]),
    "a record far away": (changed(0, offset=2**64 - 1), [FISH_AT, 2**64 - 1]),
    "a record of another hash": (changed(0, code=0x13), [FISH_AT, FISH_AT]),
    "a digest of another size": (changed(0, digest=FISH[0][4:-1]), [FISH_AT, FISH_AT]),
}


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize("padding", [0, 1000])
def test_an_index_that_says_what_is_not_so_is_a_problem_where_it_points(case: str, padding: int) -> None:
    index, offsets = INDEXES[case]
    archive = archives.v2(PAYLOAD, index, data_padding=padding)
    assert found_in(archive) == [("IndexMismatchError", 51 + padding + offset) for offset in offsets]
    assert verify(archive).index_checked


def test_records_out_of_order_are_one_problem() -> None:
    body = INDEX[:-120] + INDEX[-40:] + INDEX[-80:-40] + INDEX[-120:-80]
    assert body != INDEX
    assert found_in(archives.v2(PAYLOAD, body)) == [("IndexFormatError", DATA_END)]


def test_what_a_look_up_misses_for_the_order_of_the_records_is_no_problem_of_its_own() -> None:
    blocks = [(archives.cid_v1(data), data) for data in (number.to_bytes(2, "big") for number in range(500))]
    records = sorted(
        archives.records_of(archives.header(), blocks), key=lambda record: record.digest, reverse=True
    )
    body = b"".join(record.digest + struct.pack("<Q", record.offset) for record in records)
    index = b"\x81\x08" + struct.pack("<iQiIQ", 1, 0x12, 1, 40, len(body)) + body
    archive = archives.v2(archives.v1([], blocks), index)
    assert [kind for kind, _ in found_in(archive)] == ["IndexFormatError"]


def test_a_hash_code_that_no_cid_can_have_is_a_problem() -> None:
    index = b"\x81\x08" + struct.pack("<iQ", 1, 2**64 - 1) + archives.index_body(RECORDS[:1])
    kinds = [kind for kind, _ in found_in(archives.v2(PAYLOAD, index))]
    assert kinds == ["IndexMismatchError"] * 3 + ["IndexFormatError"]


def test_bytes_behind_the_payload_that_no_index_offset_names_are_a_problem() -> None:
    assert found_in(archives.v2(PAYLOAD) + b"!") == [("FormatError", DATA_END)]


@pytest.mark.parametrize("offset", [1, 43, 51, DATA_END - 1])
def test_an_index_that_overlaps_what_is_in_front_of_it_is_a_problem(offset: int) -> None:
    archive = archives.PRAGMA + archives.v2_header(51, len(PAYLOAD), offset) + PAYLOAD
    assert found_in(archive)[0] == ("FormatError", 43)


def test_a_file_that_ends_before_its_payload_is_truncated_there() -> None:
    for archive in (PAYLOAD, archives.v2(PAYLOAD)):
        assert found_in(archive[:-1]) == [("TruncatedError", len(archive) - 1)]


def test_a_file_that_ends_between_two_sections_of_its_payload_is_truncated_too() -> None:
    cut = archives.v2(PAYLOAD)[: 51 + BOUNDS[1][1]]
    report = verify(cut)
    assert [(problem.kind, problem.position) for problem in report.problems] == [("TruncatedError", len(cut))]
    assert (report.block_count, report.verified_count) == (2, 2)


def test_what_was_verified_before_a_fault_is_counted() -> None:
    report = verify(damaged(PAYLOAD, BOUNDS[0][1] - 1)[:-1])
    assert [problem.kind for problem in report.problems] == ["IntegrityError", "TruncatedError"]
    assert (report.block_count, report.verified_count, report.index_checked) == (2, 1, False)


def test_an_index_that_a_truncation_took_with_it_is_no_problem_of_its_own() -> None:
    cut = archives.v2(PAYLOAD, INDEX)[: DATA_END - 5]
    assert found_in(cut) == [("TruncatedError", len(cut))]


def test_a_truncated_index_is_a_problem_at_the_end_of_the_file() -> None:
    for size in range(2, len(INDEX)):
        archive = archives.v2(PAYLOAD, INDEX[:size])
        assert found_in(archive) == [("TruncatedError", len(archive))], size
    archive = archives.PRAGMA + archives.v2_header(51, len(PAYLOAD), DATA_END) + PAYLOAD
    assert found_in(archive) == [("TruncatedError", DATA_END)]


def test_an_index_of_a_codec_that_is_none_is_a_problem() -> None:
    assert found_in(archives.v2(PAYLOAD, b"\x55 no index")) == [("IndexFormatError", DATA_END)]


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        (b"", ("TruncatedError", 0)),
        (archives.PRAGMA, ("TruncatedError", 11)),
        (archives.PRAGMA + bytes(40), ("UnfinalizedError", 11)),
        (archives.PRAGMA + bytes(40) + PAYLOAD, ("UnfinalizedError", 11)),
        (archives.v2(archives.v2(PAYLOAD)), ("VersionError", 51)),
        (archives.v2(b"\x00" + PAYLOAD), ("FormatError", 51)),
        (PAYLOAD + b"\x00", ("FormatError", len(PAYLOAD))),
        (PAYLOAD + b"\x80", ("TruncatedError", len(PAYLOAD) + 1)),
        (PAYLOAD + b"\x28", ("TruncatedError", len(PAYLOAD) + 1)),
        (PAYLOAD + b"\x03abc", ("FormatError", len(PAYLOAD) + 1)),
        (PAYLOAD + b"\xff\xff\xff\xff\x0f", ("LimitError", len(PAYLOAD))),
    ],
)
def test_structure_that_is_broken_is_one_problem(archive: bytes, problem: tuple[str, int]) -> None:
    assert found_in(archive) == [problem]


def test_a_payload_that_its_size_cuts_within_a_section_is_a_problem() -> None:
    cut = archives.PRAGMA + archives.v2_header(51, len(PAYLOAD) - 1, DATA_END) + PAYLOAD + INDEX
    assert found_in(cut) == [("FormatError", 51 + BARRELEYE_AT)]


def test_an_unknown_hash_is_a_problem_unless_allowed_and_never_counted_as_verified() -> None:
    archive = archives.v1([], [FISH, UNKNOWN, UNKNOWN])
    report = verify(archive)
    assert [problem.kind for problem in report.problems] == ["UnknownHashError"]
    assert "2 blocks" in str(report.problems[0])
    assert (report.block_count, report.verified_count, dict(report.unverified)) == (3, 1, {0x999: 2})
    report = verify(archive, allow_unknown_hash=True)
    assert report.ok
    assert (report.verified_count, dict(report.unverified)) == (1, {0x999: 2})


def test_an_archive_that_cannot_be_opened_is_an_os_error_not_a_problem(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "missing.car")


MARK = b"\n\n[Gateway Error: gave up]"


def test_a_stream_that_a_gateway_ended_says_so() -> None:
    report = verify(PAYLOAD[: BOUNDS[1][1]] + MARK)
    assert [problem.kind for problem in report.problems] == ["GatewayTruncatedError"]
    assert "gave up" in str(report.problems[0])


def test_only_so_many_problems_are_listed_but_all_are_counted() -> None:
    blocks = [(archives.cid_v1(bytes([n % 256, n // 256])), b"wrong") for n in range(_tally.MAX_LISTED + 7)]
    report = verify(archives.v1([], blocks))
    assert (len(report.problems), report.problem_count) == (_tally.MAX_LISTED, _tally.MAX_LISTED + 7)
    assert report.problems[0].position == 18 + 1 + 36


# -- several processes ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _sharing_is_always_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tally, "WORTH_SHARING", 0)


def many_blocks() -> list[tuple[bytes, bytes]]:
    """Enough for a dozen batches, with large blocks and kinds of hash in between."""
    source = random.Random(5)
    sizes = [40] * 3000 + [3000] * 60 + [200_000] * 3 + [40] * 3000 + [70_000] * 4 + [500] * 300
    blocks = [(archives.cid_v1(data), data) for data in map(source.randbytes, sizes)]
    for at in range(10, len(blocks), 500):
        blocks[at] = (archives.identity(blocks[at][1][:20]), blocks[at][1][:20])
    for at in range(20, len(blocks), 700):
        blocks[at] = (UNKNOWN[0], blocks[at][1])
    return blocks


def same(path: Path, **options: Any) -> Verification:
    """The report, which is the same with one process and with several."""
    alone = verify(path, **options)
    for workers in (2, 3):
        assert verify(path, workers=workers, **options) == alone
    return alone


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many.car"
    blocks = many_blocks()
    payload = archives.v1([blocks[0][0]], blocks)
    path.write_bytes(archives.v2(payload, carv2.build_index(payload).to_bytes()))
    with carv2.open(path) as car:
        assert len(list(car.batches(bodies=False))) > 10
        ranges = _tally._ranges(car, car.payload_position + car.first_section, car.payload_end, 3)
        assert len(ranges) in {1, 3}  # 1, if files of this size are not worth sharing
    return path


def test_workers_find_nothing_where_there_is_nothing(many: Path) -> None:
    assert same(many, allow_unknown_hash=True).ok
    assert [problem.kind for problem in same(many).problems] == ["UnknownHashError"]


@pytest.mark.parametrize("seed", range(3))
def test_workers_find_what_one_process_finds(many: Path, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    with carv2.open(many) as car:
        ends = [section.data_position + section.size - 1 for section in car.sections() if section.size]
    path = tmp_path / "damaged.car"
    path.write_bytes(damaged(many.read_bytes(), *source.sample(ends, 40)))
    report = same(path, allow_unknown_hash=True)
    assert 30 < report.problem_count <= 40
    positions = [problem.position or 0 for problem in report.problems]
    assert positions == sorted(positions)


def test_workers_agree_on_a_file_that_ends_too_early(many: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.car"
    data = many.read_bytes()
    for cut in (200_000, 700_000, 1_500_000):
        path.write_bytes(damaged(data[:cut], 100_000 - 1))
        report = same(path, allow_unknown_hash=True)
        assert report.problems[-1].kind == "TruncatedError"
        assert report.verified_count > 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_bad_block_with_a_gateways_words_in_it_hides_nothing(tmp_path: Path, workers: int) -> None:
    """Whichever process comes upon it."""
    source = random.Random(1)
    blocks = [(archives.cid_v1(data), data) for data in (source.randbytes(200) for _ in range(2000))]
    path = tmp_path / "marked.car"
    for at in (100, 400, 700, 1000, 1900):
        marked = list(blocks)
        marked[at] = (blocks[at][0], blocks[at][1][: -len(MARK)] + MARK)
        marked[1950] = (blocks[1950][0], bytes(200))
        path.write_bytes(archives.v1([], marked))
        report = verify(path, workers=workers)
        assert [problem.kind for problem in report.problems] == ["GatewayTruncatedError", "IntegrityError"], at
        assert report.verified_count == 1998


def test_work_is_shared_where_sections_start(many: Path) -> None:
    with carv2.open(many) as car:
        starts = {section.position for section in car.sections()}
        first, last = car.payload_position + car.first_section, car.payload_end
        ranges = _tally._ranges(car, first, last, 5)
    assert len(ranges) == 5
    assert {start for start, _ in ranges} <= starts
    assert [ranges[0][0], *(stop for _, stop in ranges)] == [*(start for start, _ in ranges), last]


def test_workers_are_not_led_astray_by_archives_within_blocks(tmp_path: Path) -> None:
    """The places where the work is cut are looked for by their hashes: there may be sections inside a block."""
    inner = archives.v1([], [(archives.cid_v1(data), data) for data in (bytes([n]) * 900 for n in range(200))])
    blocks = [(archives.cid_v1(data), data) for data in (inner + bytes([n]) for n in range(5))]
    path = tmp_path / "nested.car"
    for damage in (None, 100_000, 300_000):
        archive = archives.v1([], blocks)
        index = carv2.build_index(archive).to_bytes()
        path.write_bytes(archives.v2(archive if damage is None else damaged(archive, damage), index))
        report = same(path)
        assert report.index_checked
        assert (report.block_count, report.problem_count) == (5, 0 if damage is None else 1)


def test_workers_agree_on_null_padding(many: Path, tmp_path: Path) -> None:
    path = tmp_path / "padded.car"
    with carv2.open(many) as car:
        payload = many.read_bytes()[car.payload_position : car.payload_end]
    for size in (1, 3_000_000):
        path.write_bytes(payload + bytes(size))
        assert same(path, null_padding=True, allow_unknown_hash=True).ok
        assert [problem.kind for problem in same(path, allow_unknown_hash=True).problems] == ["FormatError"]


def test_workers_agree_on_an_index_that_is_wrong_and_one_that_cannot_be_checked(tmp_path: Path) -> None:
    blocks = [(archives.cid_v1(data), data) for data in (number.to_bytes(100, "big") for number in range(2000))]
    payload = archives.v1([], blocks)
    records = archives.records_of(archives.header(), blocks)
    path = tmp_path / "wrong.car"
    path.write_bytes(archives.v2(payload, archives.index_multihash_sorted(records[:-1])))
    assert [problem.kind for problem in same(path).problems] == ["IndexMismatchError"]
    large = (archives.identity(bytes(3000)), bytes(3000))
    payload = archives.v1([], [*blocks[:1000], large, *blocks[1000:]])
    index = archives.index_multihash_sorted(records)
    path.write_bytes(archives.v2(payload, index, characteristics=archives.FULLY_INDEXED))
    report = same(path)
    assert [problem.kind for problem in report.problems] == ["LimitError"]
    assert (report.verified_count, report.index_checked) == (2001, False)


def test_workers_do_nothing_more_for_bytes_in_memory(many: Path) -> None:
    data = many.read_bytes()
    assert verify(data, workers=2, allow_unknown_hash=True) == verify(many, allow_unknown_hash=True)


def test_workers_list_the_same_problems_where_there_are_too_many(tmp_path: Path) -> None:
    blocks = [(archives.cid_v1(n.to_bytes(4, "big")), bytes(200)) for n in range(2 * _tally.MAX_LISTED)]
    path = tmp_path / "all-wrong.car"
    path.write_bytes(archives.v1([], blocks))
    report = same(path)
    assert (len(report.problems), report.problem_count) == (_tally.MAX_LISTED, 2 * _tally.MAX_LISTED)
