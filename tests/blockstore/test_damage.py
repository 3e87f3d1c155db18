"""Every cut and every flipped byte of a small archive, in each state of its life; and what resuming refuses."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2._storefile import StoreFile
from carv2.blockstore import ReadWriteBlockstore
from carv2.blockstore._recovery import examine
from carv2.errors import (
    CarError,
    FormatError,
    IntegrityError,
    LimitError,
    ResumeError,
    TruncatedError,
    UnknownHashError,
    VersionError,
)
from carv2.units import Limits
from faults.disk import Disks, assert_valid
from helpers import archives
from helpers.archives import PRAGMA, header, v1, v2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOTS = [archives.FISH[0]]
BLOCKS = [archives.FISH, archives.PB_NODE, archives.LOBSTER, (archives.cid_v1(b""), b""), archives.BARRELEYE]
LATE = (archives.cid_v1(b"late"), b"late")
STAGES = ("open", "puts", "flush", "flush and puts", "finalize")
LAYOUTS: dict[str, dict[str, Any]] = {
    "CARv2": {},
    "padded, older index": {"data_padding": 9, "index_padding": 6, "index_codec": 0x0400},
    "CARv1": {"version": 1},
}


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks.installed(monkeypatch)


def stage(disks: Disks, name: str, layout: dict[str, Any]) -> tuple[bytes, int]:
    """The file at this stage of its life, and how many blocks were acknowledged."""
    store = ReadWriteBlockstore.create("made", ROOTS, **layout)
    promised = 0
    if name != "open":
        store.put_many(BLOCKS[:3])
    if name.startswith("flush"):
        store.flush()
        promised = 3
    if name.endswith("puts"):
        store.put_many(BLOCKS[3:])
    if name == "finalize":
        store.put_many(BLOCKS[3:])
        store.finalize()
        promised = 5
    list(store)  # brings all that was put to the file
    store.discard()
    data = disks["made"].data
    del disks._disks["made"]
    return data, promised


def layout_of(layout: dict[str, Any]) -> tuple[int, list[int]]:
    """Where the payload starts, and where each section ends."""
    start = 0 if layout.get("version") == 1 else 51 + layout.get("data_padding", 0)
    return start, [start + end for _, end in archives.section_bounds(header(ROOTS), BLOCKS)]


def resumed(disks: Disks, data: bytes, **options: Any) -> ReadWriteBlockstore | CarError:
    """The store over these bytes, or why there is none; then the bytes and the lock are as before."""
    disk = disks.put("x", data)
    try:
        return ReadWriteBlockstore.resume("x", ROOTS, **options)
    except CarError as error:
        assert disk.data == data
        assert not disk.locked
        assert not disk.log
        return error


def finish(disks: Disks, store: ReadWriteBlockstore) -> list[bytes]:
    """Put one more block and finalize; the CIDs of the archive then."""
    store.put(*LATE)
    store.finalize()
    store.close()
    data = disks["x"].data
    assert_valid(data)
    return [block.cid_bytes for block in carv2.open(data)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", STAGES)
def test_of_every_cut_file_all_whole_blocks_are_kept_or_it_is_left_alone(
    disks: Disks, name: str, layout: str
) -> None:
    data, promised = stage(disks, name, LAYOUTS[layout])
    start, ends = layout_of(LAYOUTS[layout])
    is_v1 = layout == "CARv1"
    promise = start + len(header(ROOTS)) if not promised or is_v1 else ends[promised - 1]
    for cut in range(len(data) + 1):
        store = resumed(disks, data[:cut])
        if isinstance(store, CarError):
            assert cut < promise
            continue
        assert cut >= promise
        whole = [cid for (cid, _), end in zip(BLOCKS, ends, strict=True) if end <= cut and end <= len(data)]
        assert [bytes(cid) for cid in store] == whole
        assert [store[cid] for cid in whole] == [held for _, held in BLOCKS[: len(whole)]]
        assert store.recovery is not None
        assert store.recovery.kept_end == (ends[len(whole) - 1] if whole else start + len(header(ROOTS)))
        assert store.recovery.block_count == len(whole)
        assert finish(disks, store) == [*whole, LATE[0]]
    print("cuts", len(data) + 1)


def test_a_finished_archive_without_its_index_is_valid_again_once_it_was_resumed(disks: Disks) -> None:
    """The header names an index that is not there: closing without a put must not leave it so."""
    data, _ = stage(disks, "finalize", {})
    _, ends = layout_of({})
    for size in (ends[-1], ends[-1] + 1, len(data) - 1):
        store = resumed(disks, data[:size])
        assert isinstance(store, ReadWriteBlockstore)
        store.close()
        assert_valid(disks["x"].data)
        store = ReadWriteBlockstore.resume("x", ROOTS)
        assert len(store) == len(BLOCKS)
        store.discard()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", STAGES)
def test_of_every_flipped_file_no_other_block_is_lost_and_no_wrong_one_is_given(
    disks: Disks, name: str, layout: str
) -> None:
    data, promised = stage(disks, name, LAYOUTS[layout])
    _, ends = layout_of(LAYOUTS[layout])
    good = {carv2.CID(cid).multihash: held for cid, held in BLOCKS}  # no hash covers a CID's codec
    for at in range(len(data)):
        for mask in (0x01, 0x10, 0x80, 0xFF):
            flipped = bytearray(data)
            flipped[at] ^= mask
            store = resumed(disks, bytes(flipped))
            if isinstance(store, CarError):
                continue
            damaged = next((number for number, end in enumerate(ends) if at < end), len(BLOCKS))
            safe = BLOCKS[:promised] if layout != "CARv1" else BLOCKS[: min(promised, damaged)]
            for number, (cid, held) in enumerate(safe):
                if number != damaged:
                    assert store[cid] == held, (at, mask)
            for named in store:
                try:
                    assert store[named] == good[named.multihash]
                except (IntegrityError, FormatError):
                    assert at < ends[-1]
            store.discard()
    print("flips", 4 * len(data))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_if_what_was_promised_is_hashed_every_flip_in_it_is_refused(disks: Disks, layout: str) -> None:
    data, _ = stage(disks, "finalize", LAYOUTS[layout])
    start, ends = layout_of(LAYOUTS[layout])
    starts = [start + len(header(ROOTS)), *ends]
    codecs = {first + 2 for first, (cid, _) in zip(starts, BLOCKS, strict=False) if len(cid) == 36}
    for at in set(range(starts[0], ends[-1])) - codecs:  # no hash covers those
        flipped = bytearray(data)
        flipped[at] ^= 0x04
        store = resumed(disks, bytes(flipped), check_promised=True)
        if layout == "CARv1":  # promises nothing: what comes before is kept
            assert isinstance(store, (ReadWriteBlockstore, ResumeError))
            assert isinstance(store, ResumeError) or list(map(bytes, store)) == [
                cid for (cid, _), end in zip(BLOCKS, ends, strict=True) if end <= at
            ]
        else:
            assert isinstance(store, (FormatError, IntegrityError)), at


# -- go-car's crash matrix (car-format.md 2.9) --------------------------------------------------------------------

MATRIX = v1(ROOTS, BLOCKS)
INDEX_RECORDS = archives.records_of(header(ROOTS), BLOCKS)
GO_CAR_UNFINISHED = PRAGMA + bytes(40) + MATRIX


def test_of_go_cars_unfinished_file_cut_anywhere_all_whole_blocks_are_kept(disks: Disks) -> None:
    _, ends = layout_of({})
    for cut in range(51 + len(header(ROOTS)), len(GO_CAR_UNFINISHED) + 1):
        for tail in (b"", bytes(5), bytes(2000)):
            store = resumed(disks, GO_CAR_UNFINISHED[:cut] + tail)
            assert isinstance(store, ReadWriteBlockstore)
            whole = [cid for (cid, _), end in zip(BLOCKS, ends, strict=True) if end <= cut]
            assert [bytes(cid) for cid in store] == whole
            assert store.recovery is not None
            assert store.recovery.state == ("unfinished" if cut in {79 + 31, *ends} and not tail else "torn")
            assert store.recovery.cut_bytes == cut + len(tail) - store.recovery.kept_end
            assert finish(disks, store) == [*whole, LATE[0]]


@pytest.mark.parametrize("make", [archives.index_sorted, archives.index_multihash_sorted])
@pytest.mark.parametrize("padding", [0, 1, 1314])
@pytest.mark.parametrize("many", [5, 200])
def test_an_index_whose_header_was_not_written_is_never_taken_for_blocks(
    disks: Disks, make: Callable[..., bytes], padding: int, many: int
) -> None:
    """go-car resumes this and keeps the old index as a junk block of 1 KiB."""
    blocks = [*BLOCKS, *((archives.cid_v1(bytes([at])), bytes([at])) for at in range(many - 5))]
    payload = v1(ROOTS, blocks)
    index = make(archives.records_of(header(ROOTS), blocks))
    for cut in {1, 2, 3, 6, 7, 50, len(index) // 2, len(index) - 1, len(index)}:
        store = resumed(disks, PRAGMA + bytes(40) + payload + bytes(padding) + index[:cut])
        assert isinstance(store, ReadWriteBlockstore)
        assert list(map(bytes, store)) == [cid for cid, _ in blocks]
        assert store.recovery is not None
        assert (store.recovery.state, store.recovery.kept_end) == ("torn", 51 + len(payload))
        assert finish(disks, store)[-2:] == [blocks[-1][0], LATE[0]]


def test_in_an_index_of_many_hash_functions_no_block_is_found_either(disks: Disks) -> None:
    """0x0401 goes on with a count, which stands where a CID would: none of them makes one that holds."""
    payload = v1(ROOTS, BLOCKS)
    for count in range(1, 300):
        records = [archives.Record(code, bytes(32), 18) for code in range(1, count + 1)]
        index = archives.index_multihash_sorted(records)
        store = resumed(disks, PRAGMA + bytes(40) + payload + index)
        if isinstance(store, ReadWriteBlockstore):
            assert len(store) == len(BLOCKS), count
            store.discard()
        else:
            assert isinstance(store, ResumeError), count


# -- refusals: each has its class, and leaves the file and the lock as they were ----------------------------------

UNKNOWN = (archives.cid_v1(b"", code=0x9999, digest=bytes(32)), b"who knows")
FINISHED = v2(MATRIX, archives.index_multihash_sorted(INDEX_RECORDS), data_padding=7)
LARGE = (archives.cid_v1(bytes(5000)), bytes(5000))


def words(data_offset: int, data_size: int, index_offset: int = 0) -> bytes:
    return PRAGMA + bytes(16) + struct.pack("<QQQ", data_offset, data_size, index_offset)


REFUSED: dict[str, tuple[bytes, dict[str, Any], type[Exception]]] = {
    "other roots": (FINISHED, {"roots": [archives.LOBSTER[0]]}, ResumeError),
    "one root more": (FINISHED, {"roots": [*ROOTS, *ROOTS]}, ResumeError),
    "no roots": (FINISHED, {"roots": []}, ResumeError),
    "other padding": (FINISHED, {"data_padding": 8}, ResumeError),
    "a CARv2 as CARv1": (FINISHED, {"version": 1}, ResumeError),
    "a CARv1 as CARv2": (MATRIX, {"version": 2}, ResumeError),
    "version 42": (bytes.fromhex("0ba16776657273696f6e182a"), {"roots": None}, VersionError),
    "empty": (b"", {}, TruncatedError),
    "text": (b"This is no archive, it is a sentence of some length.", {}, FormatError),
    "one byte of pragma": (PRAGMA[:1], {}, TruncatedError),
    "half a pragma": (PRAGMA[:5], {}, TruncatedError),
    "only a pragma": (PRAGMA, {}, TruncatedError),
    "only a pragma and zeros": (PRAGMA + bytes(40), {}, TruncatedError),
    "only zeros behind": (PRAGMA + bytes(4000), {}, TruncatedError),
    "only zeros, and many": (PRAGMA + bytes(17 << 20), {}, FormatError),
    "a payload far behind zeros": (PRAGMA + bytes(17 << 20) + MATRIX, {}, FormatError),
    "half a payload header": (PRAGMA + bytes(40) + MATRIX[:20], {}, TruncatedError),
    "payload behind the end": (words(5000, 100) + MATRIX, {}, FormatError),
    "payload far behind the end": (words((1 << 63) - 1, 100) + MATRIX, {}, FormatError),
    "payload in the header": (words(50, 100) + MATRIX, {}, FormatError),
    "more promised than there is": (words(51, len(MATRIX) + 1) + MATRIX, {}, FormatError),
    "far more promised": (words(51, (1 << 63) - 1) + MATRIX, {}, FormatError),
    "less promised than a header": (words(51, 5) + MATRIX, {}, FormatError),
    "a promise that ends in a section": (words(51, len(MATRIX) - 3) + MATRIX, {}, FormatError),
    "a promise that is no section": (words(51, len(MATRIX) + 90) + MATRIX + bytes(90), {}, FormatError),
    "a promise whose hash is wrong": (
        words(51, len(MATRIX)) + MATRIX[:-1] + b"?",
        {"check_promised": True},
        IntegrityError,
    ),
    "an unknown hash among the promised": (
        v2(v1(ROOTS, [*BLOCKS, UNKNOWN])),
        {"check_promised": True},
        UnknownHashError,
    ),
    "an unknown hash in the tail": (PRAGMA + bytes(40) + v1(ROOTS, [*BLOCKS, UNKNOWN]), {}, ResumeError),
    "an unknown hash in a CARv1": (v1(ROOTS, [UNKNOWN, *BLOCKS]), {}, ResumeError),
    "a header above the limit": (FINISHED, {"limits": Limits(header=20)}, LimitError),
    "a section above the limit": (v2(v1(ROOTS, [*BLOCKS, LARGE])), {"limits": Limits(section=1000)}, LimitError),
    "a whole section above the limit in the tail": (
        PRAGMA + bytes(40) + v1(ROOTS, [LARGE, *BLOCKS]),
        {"limits": Limits(section=1000)},
        ResumeError,
    ),
    "the same in a CARv1": (v1(ROOTS, [LARGE, *BLOCKS]), {"limits": Limits(section=1000)}, ResumeError),
    "zero-length sections among the promised": (v2(MATRIX + bytes(100)), {}, FormatError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_has_its_own_class_and_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    data, options, kind = REFUSED[name]
    path = tmp_path / "x.car"
    path.write_bytes(data)
    before = path.stat()
    with pytest.raises(kind) as caught:
        ReadWriteBlockstore.resume(path, **{"roots": ROOTS, **options})
    assert isinstance(caught.value, CarError)
    assert path.read_bytes() == data
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    StoreFile.resume(path).close()  # the lock is free


def test_a_refusal_says_what_was_expected_and_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(FINISHED)
    cases: list[tuple[dict[str, Any], object, object, str]] = [
        ({"data_padding": 8}, 8, 7, "data padding of 7 bytes, not 8"),
        ({"version": 1}, 1, 2, "the file is a CARv2, not a CARv1"),
        ({"roots": []}, (), (carv2.CID(ROOTS[0]),), "the roots of the file"),
    ]
    for options, expected, found, text in cases:
        with pytest.raises(ResumeError, match=text) as caught:
            ReadWriteBlockstore.resume(path, **options)
        assert (caught.value.expected, caught.value.found) == (expected, found)


def test_there_must_be_something_to_resume_and_nothing_to_create(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ReadWriteBlockstore.resume(tmp_path / "x.car")
    (tmp_path / "x.car").write_bytes(b"")
    with pytest.raises(FileExistsError):
        ReadWriteBlockstore.create(tmp_path / "x.car")
    assert (tmp_path / "x.car").read_bytes() == b""


def test_roots_in_another_order_are_the_same_roots_and_keep_the_order_of_the_file(tmp_path: Path) -> None:
    roots = [archives.FISH[0], archives.LOBSTER[0], archives.PB_NODE[0]]
    path = tmp_path / "x.car"
    path.write_bytes(v2(v1(roots, BLOCKS)))
    with ReadWriteBlockstore.resume(path, roots[::-1]) as store:
        assert [bytes(root) for root in store.roots] == roots
    with carv2.open(path) as car:
        assert [bytes(root) for root in car.roots] == roots


def test_looking_a_file_over_changes_nothing(disks: Disks) -> None:
    """What ``recover`` without ``--apply`` does."""
    for name in STAGES:
        data, _ = stage(disks, name, {})
        for cut in range(110, len(data), 7):
            disk = disks.put("x", data[:cut])
            file = disks.resume("x")
            with contextlib.suppress(CarError):
                examine(file, Limits())
            file.close()
            assert not disk.log


def test_null_padding_that_a_header_promises_is_cut_only_behind_a_new_header(disks: Disks) -> None:
    """Truncated first, the file would be shorter than its header says, and refused the next time."""
    data = v2(MATRIX + bytes(300))
    store = resumed(disks, data, null_padding=True)
    assert isinstance(store, ReadWriteBlockstore)
    assert list(map(bytes, store)) == [cid for cid, _ in BLOCKS]
    store.discard()
    assert_valid(disks["x"].data)
    again = ReadWriteBlockstore.resume("x", ROOTS)
    assert len(again) == len(BLOCKS)
    again.discard()


@pytest.mark.parametrize("front", [b"", PRAGMA + bytes(40)], ids=["CARv1", "CARv2"])
def test_who_puts_without_checks_goes_on_without_them(tmp_path: Path, front: bytes) -> None:
    """A block of an unknown hash can only have been put with ``verify=False``; that resumes it too."""
    path = tmp_path / "x.car"
    path.write_bytes(front + v1(ROOTS, [*BLOCKS, UNKNOWN]))
    with ReadWriteBlockstore.resume(path, ROOTS, verify=False) as store:
        assert [cid.raw for cid in store] == [bytes(cid) for cid, _ in [*BLOCKS, UNKNOWN]]
        assert store[UNKNOWN[0]] == UNKNOWN[1]
    damaged = front + v1(ROOTS, [*BLOCKS, UNKNOWN, BLOCKS[0]])
    path.write_bytes(damaged[:-1] + b"?")
    with ReadWriteBlockstore.resume(path, ROOTS, verify=False) as store:
        assert len(store) == len(BLOCKS) + 1  # what can be checked is
