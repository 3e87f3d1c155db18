"""Where ports of go-car's stores go wrong: traps 39 to 67 of the format reference, one test or more for each.

What carv2 does otherwise on purpose is said where it does. In other files are trap 57 (test_damage.py), 61
(test_faults.py), 62 and 63 (tests/operations). 64 is about traversals, which carv2 has no writer for yet; 65 and
66 about go-car's deferred writer and storage interface, of which carv2 has none: a store is opened when it is
wanted, and its keys are anything that CID.of takes.
"""

from __future__ import annotations

import io
import json
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.blockstore import PLACEHOLDER_ROOT, ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    ClosedError,
    FinalizedError,
    IndexMismatchError,
    IntegrityError,
    LimitError,
    ReadOnlyError,
    ResumeError,
    UnfinalizedError,
)
from carv2.units import Limits
from faults.disk import Disks, assert_valid
from helpers import archives
from helpers.archives import PRAGMA, Record, header, v1, v2
from helpers.binary import assert_bytes_equal
from helpers.shared import own_fixture, shared_fixture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FISH, LOBSTER, BARRELEYE = archives.FISH, archives.LOBSTER, archives.BARRELEYE
ROOTS = [FISH[0]]
HELD = archives.identity(b"held"), b"held"
STRANGER = archives.identity(b"never stored")
WITH_IDENTITY = [FISH, HELD, LOBSTER]


def store_of(path: Path, blocks: Sequence[tuple[bytes, bytes]], **options: Any) -> bytes:
    """The bytes of the archive that a store makes of these blocks."""
    roots = options.pop("roots", ROOTS)
    with ReadWriteBlockstore.create(path, roots, **options) as store:
        store.put_many(blocks)
    return path.read_bytes()


# -- the read-only store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store_identity", [False, True])
@pytest.mark.parametrize("kind", ["CARv1", "indexed without identity"])
def test_39_an_identity_cid_is_answered_from_itself_or_looked_up_as_the_option_says(
    kind: str, store_identity: bool
) -> None:
    payload = v1(ROOTS, WITH_IDENTITY)
    records = [record for record in archives.records_of(header(ROOTS), WITH_IDENTITY) if record.code]
    data = payload if kind == "CARv1" else v2(payload, archives.index_multihash_sorted(records))
    store = ReadOnlyBlockstore(data, store_identity=store_identity)
    there = kind == "CARv1" or not store_identity  # the index does not have what the payload does
    assert (HELD[0] in store) is there
    assert (STRANGER in store) is not store_identity
    if there:
        assert store[HELD[0]] == b"held"
        assert store.size_of(HELD[0]) == 4
    else:  # go-car's GetSize answers from the CID all the same; here all look-ups agree
        for look_up in (store.__getitem__, store.size_of):
            with pytest.raises(BlockNotFoundError):
                look_up(HELD[0])


def test_40_a_block_comes_under_the_cid_that_was_asked_for_unless_whole_cids_count() -> None:
    data, other = v1(ROOTS, [FISH]), CID(archives.cid_v1(b"fish", codec=archives.DAG_CBOR))
    store = ReadOnlyBlockstore(data)
    assert store[other] == b"fish"
    assert next(store.get_many([other])).cid == other
    strict = ReadOnlyBlockstore(data, whole_cids=True)
    assert other not in strict
    with pytest.raises(BlockNotFoundError):
        _ = strict[other]
    several = [(archives.cid_v1(b"fish", codec=codec), b"fish") for codec in (0x55, 0x70, 0x71)]
    strict = ReadOnlyBlockstore(v1(ROOTS, several), whole_cids=True)
    assert all(cid in strict for cid, _ in several)  # each candidate is tried
    assert archives.cid_v0(b"fish") not in strict


def test_41_iterating_gives_file_order_and_the_cids_as_they_are_stored(tmp_path: Path) -> None:
    """go-car's writable store goes by digest, and both flatten to CIDv1 raw: carv2 does neither."""
    blocks = [LOBSTER, HELD, FISH, (archives.cid_v0(b"fish"), b"fish"), FISH]
    expected = [cid for cid, _ in blocks]
    assert [bytes(cid) for cid in ReadOnlyBlockstore(v1(ROOTS, blocks))] == expected
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS, deduplicate=None, store_identity=True) as store:
        store.put_many(blocks)
        assert [bytes(cid) for cid in store] == expected
        assert len(store) == 5


def test_42_a_missing_block_is_a_key_error_with_the_cid_and_says_so(tmp_path: Path) -> None:
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as writable:
        for store in (ReadOnlyBlockstore(v1(ROOTS, [FISH])), writable):
            with pytest.raises(KeyError) as caught:
                _ = store[LOBSTER[0]]
            assert isinstance(caught.value, BlockNotFoundError)
            assert bytes(caught.value.cid) == LOBSTER[0]
            assert str(caught.value) == f"could not find {CID(LOBSTER[0]).short()}"
    assert list(ReadOnlyBlockstore(v1(ROOTS, [FISH])).index.offsets_of(LOBSTER[0])) == []


def test_43_an_index_that_points_at_another_section_gives_an_error_and_not_that_block() -> None:
    """go-car says "not there", which is not true either."""
    payload = v1(ROOTS, [FISH, LOBSTER])
    fish, lobster = archives.records_of(header(ROOTS), [FISH, LOBSTER])
    for offset in (lobster.offset, len(payload), 1 << 40):
        lie = archives.index_multihash_sorted([Record(fish.code, fish.digest, offset), lobster])
        store = ReadOnlyBlockstore(v2(payload, lie))
        for look_up in (store.__getitem__, store.__contains__, store.size_of):
            with pytest.raises(IndexMismatchError):
                look_up(FISH[0])
        assert store[LOBSTER[0]] == b"lobster"


def test_44_a_store_that_is_closed_while_it_is_iterated_ends_the_iteration(tmp_path: Path) -> None:
    """go-car's Close waits for whoever does not finish."""
    (tmp_path / "x.car").write_bytes(v1(ROOTS, [FISH, LOBSTER]))
    for store in (ReadOnlyBlockstore(tmp_path / "x.car"), ReadWriteBlockstore.resume(tmp_path / "x.car", ROOTS)):
        walk = iter(store)
        assert next(walk) == CID(FISH[0])
        store.close()
        with pytest.raises(ClosedError):
            list(walk)
        with pytest.raises(ClosedError):
            next(iter(store))


def test_45_a_read_only_store_takes_nothing_and_no_archive_forgets_anything(tmp_path: Path) -> None:
    store: Any = ReadOnlyBlockstore(v1(ROOTS, [FISH]))
    with pytest.raises(ReadOnlyError):
        store.put(*LOBSTER)
    with pytest.raises(ReadOnlyError):
        store.put_many([LOBSTER])
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as writable:
        for each in (store, writable):
            assert not hasattr(each, "__delitem__")


# -- the read-write store -----------------------------------------------------------------------------------------


def vector(name: str) -> tuple[bytes, list[tuple[CID, bytes]]]:
    """A file of go-car's, with an empty list for Go's nil as roots (carv2 never writes null), and its blocks."""
    found = json.loads(own_fixture(f"carv2/{name}.json").read_text())
    data = bytes.fromhex("".join(found["parts"].values()))
    if found.get("null_roots"):
        data = data.replace(b"\x65roots\xf6", b"\x65roots\x80")
    return data, [(CID.of(block["cid"]), bytes.fromhex(block["data"])) for block in found["blocks"]]


GOLDEN: dict[str, dict[str, Any]] = {
    "g2": {},
    "g3": {},
    "g4": {"data_padding": 5, "index_padding": 3},
    "g5": {"index_codec": 0x0400},
    "g6": {"store_identity": True},
}


def test_46_right_after_open_the_file_is_pragma_zeros_and_header(tmp_path: Path) -> None:
    expected, _ = vector("g1")
    store = ReadWriteBlockstore.create(tmp_path / "x.car")
    assert_bytes_equal((tmp_path / "x.car").read_bytes(), expected)
    with pytest.raises(UnfinalizedError):
        carv2.open(tmp_path / "x.car")
    store.discard()
    assert_bytes_equal((tmp_path / "x.car").read_bytes(), expected)
    with ReadWriteBlockstore.resume(tmp_path / "x.car", []) as store:
        assert len(store) == 0


def test_46_until_the_first_flush_sections_are_added_behind_a_header_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS)
    expected = PRAGMA + bytes(40) + header(ROOTS)
    for cid, data in (FISH, LOBSTER, BARRELEYE):
        store.put(cid, data)
        assert store[cid] == data  # what is read is written before
        expected += archives.section(cid, data)
        assert_bytes_equal(path.read_bytes(), expected)
    store.discard()
    with ReadWriteBlockstore.resume(path, ROOTS) as store:
        assert store.recovery is not None
        assert (store.recovery.state, store.recovery.block_count) == ("unfinished", 3)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("max_memory", [None, 1])
def test_47_a_store_makes_the_golden_files_byte_for_byte(
    tmp_path: Path, name: str, max_memory: int | None
) -> None:
    expected, blocks = vector(name)
    path = tmp_path / "x.car"
    with ReadWriteBlockstore.create(path, max_memory=max_memory, **GOLDEN[name]) as store:
        store.put_many(blocks)
    assert_bytes_equal(path.read_bytes(), expected)


@pytest.mark.parametrize("max_memory", [None, 20_000])
def test_47_put_of_the_sample_gives_go_cars_bytes_without_identity_and_with(
    tmp_path: Path, max_memory: int | None
) -> None:
    sample = shared_fixture("go-car/sample-v1.car").read_bytes()
    without = shared_fixture("go-car/sample-v1-noidentity.car").read_bytes()
    with carv2.open(sample) as car:
        roots, blocks = car.roots, [(block.cid_bytes, block.data) for block in car]
    for identity, payload in ((False, without), (True, sample)):
        options: dict[str, Any] = {"roots": roots, "store_identity": identity, "max_memory": max_memory}
        made = store_of(tmp_path / f"{identity}-v1.car", blocks, version=1, **options)
        assert_bytes_equal(made, payload)
        made = store_of(tmp_path / f"{identity}-v2.car", blocks, **options)
        flag = archives.FULLY_INDEXED if identity else bytes(16)
        front = PRAGMA + archives.v2_header(51, len(payload), 51 + len(payload), flag)
        index = carv2.build_index(payload, identity=identity).to_bytes()
        assert_bytes_equal(made, front + payload + index)
        assert_valid(made)


A, B = b"data of A", b"data of B"
MATRIX = [
    (archives.cid_v0(A), A),
    (archives.cid_v1(A, codec=archives.DAG_PB), A),
    (archives.cid_v1(A, codec=archives.DAG_CBOR), A),
    (archives.cid_v1(A, codec=archives.DAG_CBOR), A),
    (archives.cid_v0(B), B),
    (archives.cid_v1(B, codec=archives.DAG_PB), B),
    (archives.cid_v1(B, codec=archives.DAG_PB), B),
    (archives.cid_v1(B, codec=archives.DAG_CBOR), B),
]


@pytest.mark.parametrize("max_memory", [None, 1])
@pytest.mark.parametrize(("deduplicate", "kept"), [("multihash", 2), ("cid", 6), (None, 8)])
def test_48_duplicates_are_told_by_multihash_by_cid_or_not_at_all(
    tmp_path: Path, deduplicate: Any, kept: int, max_memory: int | None
) -> None:
    path = tmp_path / "x.car"
    with ReadWriteBlockstore.create(path, ROOTS, deduplicate=deduplicate, max_memory=max_memory) as store:
        assert sum(store.put(*block) for block in MATRIX) == kept == len(store)
        assert all((cid in store) and store[cid] == data for cid, data in MATRIX)
    assert carv2.verify(path).block_count == kept
    with ReadWriteBlockstore.resume(path, ROOTS, deduplicate=deduplicate, max_memory=max_memory) as store:
        assert store.put_many(MATRIX) == (8 if deduplicate is None else 0)
    assert_valid(path)


@pytest.mark.parametrize("deduplicate", ["multihash", "cid"])
def test_48_an_equal_digest_of_another_hash_function_is_no_duplicate(tmp_path: Path, deduplicate: Any) -> None:
    """go-car drops the second block, and then does not find it: "compare whole multihashes"."""
    digest = CID(FISH[0]).digest
    same_digest = archives.identity(digest), digest
    for first, second in ((FISH, same_digest), (same_digest, FISH)):
        path = tmp_path / f"{len(os.listdir(tmp_path))}.car"
        with ReadWriteBlockstore.create(path, ROOTS, deduplicate=deduplicate, store_identity=True) as store:
            assert [store.put(*first), store.put(*second)] == [True, True]
            assert store[first[0]] == first[1]
            assert store[second[0]] == second[1]
        assert_valid(path)


def test_49_put_verifies_unless_told_not_to(tmp_path: Path) -> None:
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as store:
        with pytest.raises(IntegrityError):
            store.put(FISH[0], b"no fish")
        assert len(store) == 0
    with ReadWriteBlockstore.create(tmp_path / "y.car", ROOTS, verify=False) as store:
        assert store.put(FISH[0], b"no fish")
        assert store[FISH[0]] == b"no fish"
    assert not carv2.verify(tmp_path / "y.car").ok


def test_49_a_cid_that_is_too_large_is_refused_also_where_it_is_a_duplicate(tmp_path: Path) -> None:
    large = archives.identity(bytes(3000)), bytes(3000)
    path = tmp_path / "x.car"
    path.write_bytes(v1(ROOTS, [FISH, large]))
    with ReadWriteBlockstore.resume(path, ROOTS, store_identity=True) as store:
        with pytest.raises(LimitError) as caught:
            store.put(*large)
        assert (caught.value.limit, caught.value.found, caught.value.allowed) == ("cid", 3005, 2048)
    with ReadWriteBlockstore.resume(path, ROOTS) as store:  # not to be stored: no matter how large
        assert store.put(*large) is False


def test_50_put_many_stops_at_the_first_error_and_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS)
    with pytest.raises(IntegrityError):
        store.put_many([FISH, LOBSTER, (BARRELEYE[0], b"?"), archives.PB_NODE])
    assert [bytes(cid) for cid in store] == [FISH[0], LOBSTER[0]]
    store.finalize()
    store.close()
    with ReadOnlyBlockstore(path) as reader:
        assert len(reader.index) == 2
        assert reader[LOBSTER[0]] == b"lobster"


def test_51_finalizing_twice_is_an_error_and_closing_twice_is_not(tmp_path: Path) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    store.finalize()
    with pytest.raises(FinalizedError):
        store.finalize()
    store.close()
    store.close()
    store.discard()
    with pytest.raises(ClosedError):
        store.finalize()
    # what go-car refuses, a Close without Finalize, is a checkpoint here
    store = ReadWriteBlockstore.create(tmp_path / "y.car", ROOTS)
    store.put(*FISH)
    store.close()
    assert_valid(tmp_path / "y.car")
    assert carv2.verify(tmp_path / "y.car").block_count == 1


def test_52_after_finalize_the_file_is_whole_and_the_store_reads(tmp_path: Path) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    store.put(*FISH)
    store.finalize()
    assert_valid(tmp_path / "x.car")
    assert carv2.open(tmp_path / "x.car").index is not None
    assert (store[FISH[0]], FISH[0] in store, len(store)) == (b"fish", True, 1)
    with pytest.raises(FinalizedError):
        store.put(*LOBSTER)
    store.close()


@pytest.mark.parametrize("finalizing", [False, True])
@pytest.mark.parametrize("options", [{}, {"version": 1}, {"data_padding": 3, "index_padding": 70}], ids=str)
def test_53_a_store_that_was_resumed_after_any_block_makes_the_same_file(
    tmp_path: Path, options: dict[str, Any], finalizing: bool
) -> None:
    blocks = [FISH, archives.PB_NODE, HELD, LOBSTER, (archives.cid_v1(b""), b""), BARRELEYE]
    expected = store_of(tmp_path / "whole.car", blocks, **options)
    for at in range(len(blocks) + 1):
        path = tmp_path / f"{at}.car"
        store = ReadWriteBlockstore.create(path, ROOTS, **options)
        store.put_many(blocks[:at])
        if finalizing:
            store.finalize()
        store.close()
        with ReadWriteBlockstore.resume(path, ROOTS, **options) as store:
            store.put_many(blocks)
        assert_bytes_equal(path.read_bytes(), expected)
    if options.get("version") != 1:
        with carv2.open(expected) as car:
            assert car.index is not None
            assert car.index.to_bytes() == carv2.build_index(expected).to_bytes()


def test_54_roots_in_another_order_will_do_and_the_file_keeps_its_own(tmp_path: Path) -> None:
    """The refusals, which leave the file byte-identical, are in test_damage.py."""
    roots, path = [FISH[0], LOBSTER[0], BARRELEYE[0]], tmp_path / "x.car"
    store_of(path, [FISH], roots=roots)
    before = path.read_bytes()
    for asked in (roots[::-1], [*roots[1:], roots[0]], None):
        with ReadWriteBlockstore.resume(path, asked) as store:
            assert [bytes(root) for root in store.roots] == roots
        assert_bytes_equal(path.read_bytes(), before)


def test_55_the_first_put_takes_the_index_away_and_goes_back_to_a_checkpoint(tmp_path: Path) -> None:
    """go-car zeroes the header; here it goes on promising the payload, so that no crash can lose it."""
    path = tmp_path / "x.car"
    store_of(path, [FISH, LOBSTER], index_padding=20, data_padding=2)
    before = path.read_bytes()
    store = ReadWriteBlockstore.resume(path, ROOTS)
    assert_bytes_equal(path.read_bytes(), before)
    store.put(*BARRELEYE)
    store.flush()
    assert_bytes_equal(path.read_bytes(), v2(v1(ROOTS, [FISH, LOBSTER, BARRELEYE]), data_padding=2))
    store.discard()
    assert_valid(path)


@pytest.mark.parametrize("name", ["sample-v1-with-zero-len-section.car", "sample-v1-with-zero-len-section2.car"])
def test_56_null_padding_is_the_end_where_the_option_says_so_and_is_written_over(
    tmp_path: Path, name: str
) -> None:
    data = shared_fixture(f"go-car/{name}").read_bytes()
    with carv2.open(data, null_padding=True) as car:
        cids = [block.cid for block in car]
    end = len(data.rstrip(b"\x00"))
    for null_padding, state in ((True, "whole"), (False, "torn")):
        path = tmp_path / f"{null_padding}.car"
        path.write_bytes(data)
        with ReadWriteBlockstore.resume(path, version=1, null_padding=null_padding) as store:
            assert store.recovery is not None
            assert (store.recovery.state, store.recovery.kept_end) == (state, end)
            assert store.recovery.cut_bytes == (0 if null_padding else len(data) - end)
            assert list(store) == cids
            store.put(*FISH)
        assert_bytes_equal(path.read_bytes(), data[:end] + archives.section(*FISH))


def test_58_paddings_are_zeros_and_where_the_header_says(tmp_path: Path) -> None:
    blocks = [FISH, LOBSTER, BARRELEYE]
    payload = v1(ROOTS, blocks)
    made = store_of(tmp_path / "x.car", blocks, data_padding=1413, index_padding=1314)
    with carv2.open(made) as car:
        assert car.header is not None
        assert (car.header.data_offset, car.header.data_size) == (51 + 1413, len(payload))
        assert car.header.index_offset == 51 + 1413 + len(payload) + 1314
    index = archives.index_multihash_sorted(archives.records_of(header(ROOTS), blocks))
    assert_bytes_equal(made, v2(payload, index, data_padding=1413, index_padding=1314))


def test_58_go_cars_padded_file_is_made_byte_for_byte(tmp_path: Path) -> None:
    expected = shared_fixture("go-car/sample-rw-bs-v2.car").read_bytes()
    with carv2.open(expected) as car:
        assert car.header is not None
        assert tuple(car.header[:3]) == (51 + 1413, 273, 51 + 1413 + 273)
        roots, blocks = car.roots, [(block.cid_bytes, block.data) for block in car]
    assert_bytes_equal(store_of(tmp_path / "x.car", blocks, roots=roots, data_padding=1413), expected)
    (tmp_path / "y.car").write_bytes(expected)
    with ReadWriteBlockstore.resume(tmp_path / "y.car", roots, data_padding=1413) as store:
        assert store.put_many(blocks) == 0
    assert_bytes_equal((tmp_path / "y.car").read_bytes(), expected)


def test_59_an_unknown_index_codec_is_refused_when_the_store_is_opened(tmp_path: Path) -> None:
    """go-car finds out when it finalizes."""
    path = tmp_path / "x.car"
    with pytest.raises(ValueError, match="index codec 1234, supported: 1025, 1024"):
        ReadWriteBlockstore.create(path, ROOTS, index_codec=1234)
    assert not path.exists()
    made = store_of(path, [FISH])
    with pytest.raises(ValueError, match="index codec"):
        ReadWriteBlockstore.resume(path, ROOTS, index_codec=1234)
    assert path.read_bytes() == made


def test_60_a_carv1_is_whole_all_the_time_and_finalizing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS, version=1)
    expected = header(ROOTS)
    for cid, data in (FISH, LOBSTER):
        assert_bytes_equal(path.read_bytes(), expected)
        store.put(cid, data)
        store.flush()
        expected += archives.section(cid, data)
    store.finalize()
    assert_bytes_equal(path.read_bytes(), expected)
    with pytest.raises(FinalizedError):
        store.put(*BARRELEYE)
    store.close()
    with pytest.raises(ResumeError):
        ReadWriteBlockstore.resume(path, ROOTS, version=2)
    with ReadWriteBlockstore.resume(path, ROOTS, version=1) as store:
        store.put(*BARRELEYE)
    assert_bytes_equal(path.read_bytes(), v1(ROOTS, [FISH, LOBSTER, BARRELEYE]))
    (tmp_path / "v2.car").write_bytes(v2(expected))
    with pytest.raises(ResumeError):
        ReadWriteBlockstore.resume(tmp_path / "v2.car", ROOTS, version=1)


class Pipe(io.RawIOBase):
    """Takes bytes and cannot seek."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.taken += bytes(data)
        return len(data)


def test_67_a_carv2_to_what_cannot_seek_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    pipe = Pipe()
    with pytest.raises(ValueError, match="seek"):
        carv2.CarWriter(pipe, ROOTS, version=2)
    assert pipe.taken == b""
    os.mkfifo(tmp_path / "x.car")  # a store is made at a path, and nothing may stand there
    with pytest.raises(FileExistsError):
        ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)


# -- what go-car does not have ------------------------------------------------------------------------------------


def test_roots_may_come_last_and_must_take_as_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, [PLACEHOLDER_ROOT])
    store.put_many([FISH, LOBSTER])
    for wrong in ([], [FISH[0], LOBSTER[0]], [archives.cid_v0(b"")]):
        with pytest.raises(ValueError, match="header size"):
            store.finalize(wrong)
    assert store.put(*BARRELEYE)
    store.finalize([LOBSTER[0]])
    assert [bytes(root) for root in store.roots] == [LOBSTER[0]]
    store.close()
    blocks = [FISH, LOBSTER, BARRELEYE]
    index = archives.index_multihash_sorted(archives.records_of(header(ROOTS), blocks))
    assert_bytes_equal(path.read_bytes(), v2(v1([LOBSTER[0]], blocks), index))


def test_identity_blocks_of_a_resumed_file_are_listed_only_if_identity_counts(
    tmp_path: Path,
) -> None:
    """With and without a bound on memory: what was moved to files must not be listed by another rule."""
    for identity in (False, True):
        made = []
        for max_memory in (None, 1):
            path = tmp_path / f"{identity}{max_memory}.car"
            path.write_bytes(v1(ROOTS, WITH_IDENTITY))
            carv2.wrap(path, path)
            options: dict[str, Any] = {"store_identity": identity, "max_memory": max_memory}
            with ReadWriteBlockstore.resume(path, ROOTS, **options) as store:
                assert store[HELD[0]] == b"held"
            made.append(path.read_bytes())
            with carv2.open(path) as car:
                assert car.index is not None
                assert car.header is not None
                assert len(car.index) == (3 if identity else 2)
                assert car.header.is_fully_indexed is identity
        assert_bytes_equal(made[1], made[0])


def test_a_header_that_is_not_canonical_keeps_its_size_when_resumed(tmp_path: Path) -> None:
    """go-car counts from the size of the header encoded anew, and loses its place (trap 54's neighbour)."""
    body = b"\xa2\x67version\x01\x65roots" + b"\x9f" + archives.link(FISH[0]) + b"\xff"
    payload = archives.varint(len(body)) + body + archives.section(*FISH)
    path = tmp_path / "x.car"
    path.write_bytes(PRAGMA + bytes(40) + payload)
    with ReadWriteBlockstore.resume(path, ROOTS) as store:
        store.put(*LOBSTER)
        assert [bytes(cid) for cid in store] == [FISH[0], LOBSTER[0]]
        assert [store[FISH[0]], store[LOBSTER[0]]] == [b"fish", b"lobster"]
    assert_valid(path)
    assert path.read_bytes()[51:].startswith(payload + archives.section(*LOBSTER))


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks.installed(monkeypatch)


def test_small_blocks_are_gathered_before_they_are_written(disks: Disks) -> None:
    """A store writes in pieces of some 256 KiB, not three times for each block as go-car does."""
    store = ReadWriteBlockstore.create("x", ROOTS, durability="none")
    data = [bytes([at]) * 20_000 for at in range(100)]
    for block in data:
        store.put(archives.cid_v1(block), block)
    writes: list[Any] = list(disks["x"].log)
    assert 5 <= len(writes) <= 9
    assert all(one.position + len(one.data) == other.position for one, other in pairwise(writes))
    store.discard()


def test_limits_of_reading_and_writing_are_the_same(tmp_path: Path) -> None:
    """go-car writes blocks that it does not read back (car-format.md 4.1, number 8)."""
    data = bytes(9 << 20)
    block = archives.cid_v1(data), data
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as store, pytest.raises(LimitError):
        store.put(*block)
    limits = Limits(section=10 << 20)
    with ReadWriteBlockstore.create(tmp_path / "y.car", ROOTS, limits=limits) as store:
        assert store.put(*block)
    with ReadOnlyBlockstore(tmp_path / "y.car", limits=limits) as reader:
        assert reader[block[0]] == data
