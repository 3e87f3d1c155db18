"""The job of indexing a shard: what go-car would write, or the archive's own index if it is sound, or an error."""

from __future__ import annotations

import gc
import os
import pickle
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import carv2
from carv2.cid import CID
from carv2.dagstore._own_index import _spread, fault_of
from carv2.dagstore.indexing import IndexResult, IndexTask, run_index_task
from carv2.dagstore.indices import IndexFolder, multihashes_of
from carv2.dagstore.mounts import BytesMount, FileMount, Mount, MountStat
from carv2.testing.faulty_mount import Faults, FaultyMount
from carv2.units import Limits
from helpers import archives
from helpers.archives import Record
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = [archives.FISH[0]]
IDENTITY = (archives.identity(b"id"), b"id")
BLOCKS = [(archives.cid_v1(data), data) for data in (f"block {at} ".encode() * (at % 40) for at in range(1, 200))]
V1 = archives.v1(ROOTS, BLOCKS)
RECORDS = archives.records_of(archives.header(ROOTS), BLOCKS)
INDEX = archives.index_multihash_sorted(RECORDS)
V2 = archives.v2(V1, INDEX)


def bytes_of(result: IndexResult, folder: Path) -> bytes:
    assert result.error == "", result
    assert result.facts is not None
    index_folder = IndexFolder(folder)
    if os.path.exists(index_folder.folder + "/" + result.draft):  # it may be asked for twice
        index_folder.publish(result.key, result.draft)
    index_folder.verify(result.key, result.facts)
    return Path(index_folder.path_of(result.key)).read_bytes()


def index(folder: Path, data: bytes, **options: Any) -> IndexResult:
    """Index ``data`` in each of the ways that bytes come, which must not differ; by default as one's own."""
    options = {"own_index": "spot", **options}
    path = folder / "x.car"
    path.write_bytes(data)
    task = IndexTask("baga", str(folder / "index"), mount=BytesMount(data), **options)
    result = run_index_task(task)
    for other in (replace(task, mount=None, path=str(path)), replace(task, mount=FileMount(path))):
        found = run_index_task(other)
        assert (found.facts, found.adopted, found.not_adopted) == (
            result.facts,
            result.adopted,
            result.not_adopted,
        )
        assert (found.error_type, found.source_size) == (result.error_type, result.source_size)
    assert pickle.loads(pickle.dumps(result)) == result
    return result


# -- what is generated --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 5000])
def test_a_carv1_is_gone_through_also_with_zeros_behind_it(tmp_path: Path, padding: int) -> None:
    result = index(tmp_path, V1 + bytes(padding))
    assert_bytes_equal(bytes_of(result, tmp_path / "index"), INDEX)
    assert (result.adopted, result.not_adopted) == (False, "")
    assert result.source_size == len(V1) + padding
    assert result.facts is not None
    assert result.facts.block_count == len(BLOCKS)


def test_zeros_behind_are_an_error_where_they_are_not_allowed(tmp_path: Path) -> None:
    result = index(tmp_path, V1 + bytes(5), null_padding=False)
    assert result.error_type == "FormatError"
    assert result.facts is None
    assert not result.ok


def test_identity_cids_are_listed_unless_told_otherwise(tmp_path: Path) -> None:
    blocks = [IDENTITY, *BLOCKS, IDENTITY]
    data = archives.v1(ROOTS, blocks)
    records = archives.records_of(archives.header(ROOTS), blocks)
    expected = archives.index_multihash_sorted(records)
    assert_bytes_equal(bytes_of(index(tmp_path, data), tmp_path / "index"), expected)
    without = archives.index_multihash_sorted([record for record in records if record.code])
    assert_bytes_equal(bytes_of(index(tmp_path, data, identity=False), tmp_path / "index"), without)


@pytest.mark.parametrize("data", [archives.header(), archives.v2(archives.header())])
def test_an_archive_of_no_blocks_has_an_index_of_none(tmp_path: Path, data: bytes) -> None:
    result = index(tmp_path, data)
    assert bytes_of(result, tmp_path / "index") == bytes.fromhex("810800000000")


@pytest.mark.parametrize(
    "name", ["sample-v1.car", "sample-v2-indexless.car", "sample-unixfs-v2.car", "sample-wrapped-v2.car"]
)
def test_what_go_car_wrote_gets_the_index_that_go_car_would_make(tmp_path: Path, name: str) -> None:
    path = shared_fixture(f"go-car/{name}")
    result = run_index_task(IndexTask("go", str(tmp_path), mount=FileMount(path), own_index="never"))
    expected = carv2.build_index(path, identity=True, null_padding=True).to_bytes()
    assert_bytes_equal(bytes_of(result, tmp_path), expected)


@pytest.mark.parametrize("name", ["sample-rw-bs-v2.car", "sample-unixfs-v2.car"])
def test_go_cars_own_index_is_taken_over_byte_for_byte(tmp_path: Path, name: str) -> None:
    path = shared_fixture(f"go-car/{name}")
    for how in ("spot", "whole"):
        result = run_index_task(IndexTask("go", str(tmp_path), mount=FileMount(path), own_index=how))
        assert result.adopted, result
        with carv2.open(path) as car:
            assert car.header is not None
            assert_bytes_equal(bytes_of(result, tmp_path), path.read_bytes()[car.header.index_offset :])


# -- an archive's own index ---------------------------------------------------------------------------------------


def test_a_sound_index_is_taken_over_without_going_through_the_payload(tmp_path: Path) -> None:
    result = index(tmp_path, V2)
    assert (result.adopted, result.not_adopted) == (True, "")
    assert_bytes_equal(bytes_of(result, tmp_path / "index"), INDEX)
    large = archives.v1([], [(archives.cid_v1(data), data) for data in (bytes([at]) * 70_000 for at in range(99))])
    (tmp_path / "large.car").write_bytes(large)
    carv2.wrap(tmp_path / "large.car", tmp_path / "large2.car")
    mount = FaultyMount(FileMount(tmp_path / "large2.car"), Faults())
    result = run_index_task(IndexTask("large", str(tmp_path / "index"), mount=mount, own_index="spot"))
    assert result.adopted
    assert mount.faults.counts.bytes < 200_000
    assert mount.faults.counts.open_now == 0


@pytest.mark.parametrize("padding", [0, 999])
def test_what_need_not_be_in_an_index_is_no_reason_to_refuse_it(tmp_path: Path, padding: int) -> None:
    """Identity CIDs that are not listed, anywhere, and zeros behind the sections."""
    blocks = [IDENTITY, IDENTITY, BLOCKS[0], IDENTITY, *BLOCKS[1:50], IDENTITY]
    records = archives.records_of(archives.header(ROOTS), blocks)
    listed = archives.index_multihash_sorted([record for record in records if record.code])
    payload = archives.v1(ROOTS, blocks) + bytes(padding)
    for own in (archives.index_multihash_sorted(records), listed):
        result = index(tmp_path, archives.v2(payload, own, data_padding=9, index_padding=3))
        assert result.adopted, result.not_adopted
        assert_bytes_equal(bytes_of(result, tmp_path / "index"), own)


def test_duplicates_and_an_empty_payload_are_no_reason_either(tmp_path: Path) -> None:
    blocks = [BLOCKS[0], BLOCKS[1], BLOCKS[0]]
    records = archives.records_of(archives.header(ROOTS), blocks)
    for payload, own in (
        (archives.v1(ROOTS, blocks), archives.index_multihash_sorted(records)),
        (archives.header(), bytes.fromhex("810800000000")),
    ):
        result = index(tmp_path, archives.v2(payload, own))
        assert result.adopted, result.not_adopted


def changed(at: int, **fields: Any) -> list[Record]:
    return [record._replace(**fields) if number == at else record for number, record in enumerate(RECORDS)]


def unsorted(data: bytes) -> bytes:
    """An index whose first two records are the other way round; each is 40 bytes, behind 30."""
    front = 2 + 4 + 8 + 4 + 12
    return data[:front] + data[front + 40 : front + 80] + data[front : front + 40] + data[front + 80 :]


FAULTS: dict[str, bytes] = {
    "the old format": archives.index_sorted(RECORDS),
    "without a codec": archives.index_sorted(RECORDS)[2:],
    "the first block is missing": archives.index_multihash_sorted(RECORDS[1:]),
    "the last block is missing": archives.index_multihash_sorted(RECORDS[:-1]),
    "all but one are missing": archives.index_multihash_sorted(RECORDS[7:8]),
    "all are missing": bytes.fromhex("810800000000"),
    "half are missing": archives.index_multihash_sorted(RECORDS[::2]),
    "all are one byte late": archives.index_multihash_sorted([r._replace(offset=r.offset + 1) for r in RECORDS]),
    "the first is in the header": archives.index_multihash_sorted(changed(0, offset=3)),
    "the last is behind the end": archives.index_multihash_sorted(changed(198, offset=len(V1))),
    "the last is far behind the end": archives.index_multihash_sorted(changed(198, offset=1 << 63)),
    "another hash function": archives.index_multihash_sorted([r._replace(code=0x16) for r in RECORDS]),
    "other digests": archives.index_multihash_sorted([r._replace(digest=bytes(31) + b"1") for r in RECORDS]),
    "an offset twice": archives.index_multihash_sorted([*RECORDS, RECORDS[9]]),
    "not sorted": unsorted(INDEX),
    "cut": INDEX[:-1],
    "cut in the front": INDEX[:9],
    "junk": b"\x81\x08" + bytes(range(250, 256)) * 9,
    "of another archive": archives.index_multihash_sorted(archives.records_of(archives.header(), BLOCKS[::-1])),
}


@pytest.mark.parametrize("how", ["spot", "whole"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_index_with_a_fault_is_not_taken_over_but_made_anew(tmp_path: Path, fault: str, how: str) -> None:
    result = index(tmp_path, archives.v2(V1, FAULTS[fault]), own_index=how)
    assert not result.adopted
    assert result.not_adopted
    assert_bytes_equal(bytes_of(result, tmp_path / "index"), INDEX)


def test_an_index_that_ends_elsewhere_than_the_file_is_taken_over_without_what_follows(tmp_path: Path) -> None:
    result = index(tmp_path, V2 + b"what somebody put there")
    assert result.adopted
    assert_bytes_equal(bytes_of(result, tmp_path / "index"), INDEX)


def test_one_record_of_many_can_only_be_missed_by_a_whole_check(tmp_path: Path) -> None:
    """Spot checks are spot checks: this says where they end, and that the whole check goes further."""
    at = 101
    data = archives.v2(V1, archives.index_multihash_sorted(RECORDS[:at] + RECORDS[at + 1 :]))
    outcomes = {how: index(tmp_path, data, own_index=how).adopted for how in ("spot", "whole", "never")}
    assert outcomes == {"spot": True, "whole": False, "never": False}


def with_a_record_at(offset: int) -> bytes:
    """An index with one record more, which is none of those that are followed."""
    for at in range(1000):
        records = sorted(
            [*RECORDS, Record(0x12, at.to_bytes(32, "big")[::-1], offset)], key=lambda each: each.digest
        )
        if next(rank for rank, each in enumerate(records) if each.offset == offset) not in _spread(len(records)):
            return archives.index_multihash_sorted(records)
    raise AssertionError


@pytest.mark.parametrize(
    ("offset", "why"),
    [
        (RECORDS[0].offset + 3, "the next is at"),
        (RECORDS[-1].offset + 3, ""),
        (len(V1) + 500, "section"),
    ],
)
def test_an_offset_where_no_section_starts_is_seen_next_to_the_first_and_the_last(offset: int, why: str) -> None:
    with carv2.open(archives.v2(V1 + bytes(1000), with_a_record_at(offset)), null_padding=True) as car:
        assert why in fault_of(car) != ""


def test_a_gap_that_no_section_can_fill_is_seen_wherever_it_is() -> None:
    at = 101
    data = archives.v2(V1, archives.index_multihash_sorted(RECORDS[:at] + RECORDS[at + 6 :]))
    for section, fault in ((600, "nothing between"), (8 << 20, "")):
        with carv2.open(data, limits=Limits(section=section)) as car:
            assert fault in (found := fault_of(car))
            assert bool(fault) == bool(found)


@given(count=st.integers(1, 16), data=st.data())
def test_of_few_blocks_every_missing_or_misplaced_one_is_seen(count: int, data: st.DataObject) -> None:
    blocks = BLOCKS[:count]
    payload = archives.v1(ROOTS, blocks)
    records = archives.records_of(archives.header(ROOTS), blocks)
    at = data.draw(st.integers(0, count - 1))
    fault = data.draw(st.sampled_from(["missing", "offset", "digest"]))
    if fault == "missing":
        del records[at]
    elif fault == "offset":
        move = data.draw(st.integers(-30, 300).filter(bool))
        records[at] = records[at]._replace(offset=max(0, records[at].offset + move))
    else:
        records[at] = records[at]._replace(digest=data.draw(st.binary(min_size=32, max_size=32)))
    with carv2.open(archives.v2(payload, archives.index_multihash_sorted(records)) if records else V1) as car:
        assert fault_of(car) != ""


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        (b"", "TruncatedError"),
        (b"junk that is no archive" * 9, "FormatError"),
        (V1[:-1], "TruncatedError"),
        (V2[: len(V1) // 2], "TruncatedError"),
        (archives.v2(V1 + bytes(1000))[:-500], "TruncatedError"),
        (archives.PRAGMA + bytes(40) + V1, "UnfinalizedError"),
        (archives.v1([], [(b"\x01\x55\x00\x81\x20" + bytes(4097), b"")]), "LimitError"),
    ],
)
def test_a_damaged_archive_is_an_error_in_the_result(tmp_path: Path, data: bytes, error_type: str) -> None:
    result = index(tmp_path, data)
    assert result.error_type == error_type
    assert result.error
    assert not result.ok
    assert not list(IndexFolder(tmp_path / "index").keys())


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("a fault of the mount")
        self.held = open(os.devnull)  # noqa: SIM115  (so that it cannot be pickled)

    def __del__(self) -> None:
        self.held.close()


@pytest.mark.parametrize(
    ("faults", "error_type"),
    [
        ({"gone": True}, "MountError"),
        ({"fail_at": 3000}, "MountError"),
        ({"truncate_at": 3000}, "TruncatedError"),
        ({"size": 5}, "MountChangedError"),
        ({"fail_at": 3000, "error": UnpicklableError}, "UnpicklableError"),
        ({"fail_at": 3000, "error": lambda: OSError(5, "Input/output error")}, "OSError"),
        ({"random_access": False}, "SequentialOnlyError"),
    ],
)
def test_a_mount_that_fails_is_an_error_in_the_result_and_the_old_index_stays(
    tmp_path: Path, faults: dict[str, Any], error_type: str
) -> None:
    made = index(tmp_path, V1)
    before = made.facts
    assert before is not None
    bytes_of(made, tmp_path / "index")
    drafts = set(os.listdir(tmp_path / "index"))
    mount = FaultyMount(BytesMount(V1 + bytes(7)), Faults(**faults))
    result = run_index_task(IndexTask("baga", str(tmp_path / "index"), mount=mount))
    assert result.error_type == error_type
    assert pickle.loads(pickle.dumps(result)) == result
    IndexFolder(tmp_path / "index").verify("baga", before)
    assert set(os.listdir(tmp_path / "index")) == drafts
    assert mount.faults.counts.open_now == 0


class Changing(Mount):
    """Bytes that change when they were read for a while."""

    url, random_access = "changing:///", True

    def __init__(self, data: bytes, stats: list[MountStat]) -> None:
        self.data, self.stats = data, stats

    def stat(self, *, timeout: float | None = None) -> MountStat:
        return self.stats.pop(0)

    def open(self) -> Any:
        return BytesMount(self.data).open()


@pytest.mark.parametrize("data", [V1, V2])
@pytest.mark.parametrize(
    "after",
    [
        lambda size: MountStat(exists=True, size=size, tag="2"),
        lambda size: MountStat(exists=True, size=size + 1, tag="1"),
        lambda _: MountStat(exists=False),
    ],
)
def test_an_archive_that_changes_meanwhile_is_not_indexed(
    tmp_path: Path, data: bytes, after: Callable[[int], MountStat]
) -> None:
    stats = [MountStat(exists=True, size=len(data), tag="1"), after(len(data))]
    result = run_index_task(IndexTask("baga", str(tmp_path), mount=Changing(data, stats)))
    assert result.error_type in {"MountChangedError", "MountError"}
    assert os.listdir(tmp_path) in ([], [".version"])
    same = [MountStat(exists=True, size=len(data), tag="1")] * 2
    assert run_index_task(IndexTask("baga", str(tmp_path), mount=Changing(data, same))).source_tag == "1"


def test_a_local_file_that_changes_meanwhile_is_not_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(V1)
    build = carv2.CarReader.build_index

    def changing(car: carv2.CarReader, *args: Any, **named: Any) -> Any:
        path.write_bytes(V1[:-1] + b"?")
        os.utime(path, ns=(0, 0))
        return build(car, *args, **named)

    monkeypatch.setattr(carv2.CarReader, "build_index", changing)
    result = run_index_task(IndexTask("baga", str(tmp_path / "index"), path=str(path)))
    assert result.error_type == "MountChangedError"
    assert str(path) in result.error


def test_a_task_of_nothing_is_an_error_in_the_result(tmp_path: Path) -> None:
    result = run_index_task(IndexTask("baga", str(tmp_path)))
    assert result.error_type == "ValueError"
    result = run_index_task(IndexTask("", str(tmp_path), mount=BytesMount(V1)))
    assert (result.error_type, result.error) == ("ValueError", "a shard key cannot be empty")


def test_what_a_local_copy_was_made_of_is_said_in_the_result(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(V1)
    task = IndexTask("baga", str(tmp_path), path=str(tmp_path / "x.car"), source_tag="the origin's")
    result = run_index_task(task)
    assert (result.source_size, result.source_tag) == (len(V1), "the origin's")


def test_nothing_stays_open(tmp_path: Path) -> None:
    def run() -> int:
        for data in (V1, V2, b"junk", archives.v2(V1, FAULTS["cut"])):
            (tmp_path / "x.car").write_bytes(data)
            for mount in (None, FileMount(tmp_path / "x.car")):
                run_index_task(
                    IndexTask("k", str(tmp_path / "i"), path="" if mount else str(tmp_path / "x.car"), mount=mount)
                )
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    assert run() == run()


# -- on executors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_runs_it(tmp_path: Path, kind: str) -> None:
    tasks = []
    for at in range(12):
        blocks = BLOCKS[at : at + 9]
        mount = FaultyMount(BytesMount(archives.v1([], blocks)), Faults(gone=at == 5, error=None))
        tasks.append(IndexTask(f"k{at}", str(tmp_path), mount=mount))
    executor: Executor = (
        ThreadPoolExecutor(4) if kind == "threads" else ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    )
    with executor:
        results = list(executor.map(run_index_task, tasks))
    folder = IndexFolder(tmp_path)
    for at, result in enumerate(results):
        assert result.ok == (at != 5), result
        if result.facts is not None:
            assert not os.path.exists(folder.path_of(result.key))  # whoever gave out the task publishes it
            folder.publish(result.key, result.draft)
            with folder.open(result.key, result.facts) as opened:
                expected = {bytes(CID(raw).multihash) for raw, _ in BLOCKS[at : at + 9]}
                assert set(multihashes_of(opened.index)) == expected
    assert sorted(folder.keys()) == sorted(f"k{at}" for at in range(12) if at != 5)
