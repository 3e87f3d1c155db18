"""Resuming a finished archive goes on from its index if that is proven right, and from the sections if not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.cid import CID
from carv2.header import PRAGMA, SIZE, CarV2Header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCKS = [(CID.of_data(b"%d" % number), b"%d" % number) for number in range(40)]
BLOCKS += [(CID.of_data(b"%d" % n, hash="sha1"), b"%d" % n) for n in range(6)]  # shorter, for the filter
BLOCKS += [(CID.of_data(b"%d" % n, hash="sha2-512"), b"%d" % n) for n in range(5)]
IDENTITY = CID.of_data(b"inlined", hash="identity")
MORE = (CID.of_data(b"more"), b"more")
RECORD = 40
COUNTED = 20  # codec, hash codes, code, buckets, width and size of the bucket of sha2-256 are before its records


def finished(path: Path, *, identity: bool = False, **settings: object) -> int:
    """Write an archive; the position of its index."""
    with ReadWriteBlockstore.create(path, [BLOCKS[0][0]], store_identity=identity, **settings) as store:  # type: ignore[arg-type]
        store.put_many([*BLOCKS, (IDENTITY, b"inlined")])
    return CarV2Header.from_bytes(path.read_bytes()[len(PRAGMA) : len(PRAGMA) + SIZE]).index_offset


def is_whole(path: Path, blocks: list[tuple[CID, bytes]]) -> None:
    """Whether ``path`` has ``blocks``, and an index that lists just those."""
    assert carv2.verify(path).problems == ()
    with ReadOnlyBlockstore(path) as store:
        assert [(cid, store[cid]) for cid in store] == blocks


def test_an_index_that_is_right_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path)
    before = path.read_bytes()
    with ReadWriteBlockstore.resume(path) as store:
        assert store.recovery is not None
        assert store.recovery.index_kept
        assert not store._written.recent  # nothing of what was there is held
        assert (len(store), store.recovery.block_count) == (len(BLOCKS), len(BLOCKS))
        assert store.put_many(BLOCKS) == 0
        assert [store[cid] for cid, _ in BLOCKS] == [data for _, data in BLOCKS]
        assert MORE[0] not in store
    assert path.read_bytes() == before
    with ReadWriteBlockstore.resume(path) as store:
        assert store.put(*MORE)
    is_whole(path, [*BLOCKS, MORE])


@pytest.mark.parametrize("deduplicate", ["multihash", "cid", None])
def test_an_archive_with_copies_goes_on_as_it_did(tmp_path: Path, deduplicate: str | None) -> None:
    path = tmp_path / "a.car"
    finished(path, deduplicate=None)
    other = CID.of_data(BLOCKS[3][1], codec="dag-cbor"), BLOCKS[3][1]
    with ReadWriteBlockstore.resume(path, deduplicate=deduplicate) as store:  # type: ignore[arg-type]
        assert store.recovery is not None
        assert store.recovery.index_kept
        assert store.put(*BLOCKS[3]) is (deduplicate is None)
        assert store.put(*other) is (deduplicate != "multihash")
    assert carv2.verify(path).problems == ()


def test_an_index_of_the_older_format_is_kept_for_one_of_the_same_format(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path, index_codec=0x0400)
    before = path.read_bytes()
    for codec, kept in ((None, True), (0x0400, True), (0x0401, False)):
        path.write_bytes(before)
        with ReadWriteBlockstore.resume(path, index_codec=codec) as store:
            assert store.recovery is not None
            assert store.recovery.index_kept is kept
            assert store.put_many([*BLOCKS, MORE]) == 1
        is_whole(path, [*BLOCKS, MORE])
        with carv2.open(path) as car:
            assert car.index is not None
            assert car.index.codec == (codec or 0x0400)
            assert car.index.to_bytes() == b"".join(carv2.build_index(path, codec=car.index.codec).chunks())


def test_equal_digests_of_two_hash_functions_are_told_apart_in_the_older_format(tmp_path: Path) -> None:
    """Format 0x0400 keeps digests alone, so what is there already has to be looked at."""
    path = tmp_path / "a.car"
    double = CID.of_multihash(b"\x56\x20" + BLOCKS[0][0].digest)  # dbl-sha2-256, by its name
    with ReadWriteBlockstore.create(path, index_codec=0x0400, verify=False) as store:
        store.put(*BLOCKS[0])
    with ReadWriteBlockstore.resume(path, verify=False) as store:
        assert store.recovery is not None
        assert store.recovery.index_kept
        assert double not in store
        assert store.put(double, b"x") is True
        assert store.put(*BLOCKS[0]) is False


def test_settings_are_gone_on_with_as_the_file_has_them(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path, identity=True, index_codec=0x0400, index_padding=64)
    before = path.read_bytes()
    with ReadWriteBlockstore.resume(path):
        pass
    assert path.read_bytes() == before
    with ReadWriteBlockstore.resume(path) as store:
        store.put(*MORE)
    with carv2.open(path) as car:
        assert car.header is not None
        assert car.index is not None
        assert (car.index.codec, car.header.is_fully_indexed) == (0x0400, True)
        assert car.header.index_offset - car.header.data_end == 64
        assert IDENTITY in car.index


@pytest.mark.parametrize("leave", ["discard", "close", "exception"])
def test_a_finished_archive_that_nothing_is_put_into_stays_as_it_is(tmp_path: Path, leave: str) -> None:
    path = tmp_path / "a.car"
    finished(path)
    before = path.read_bytes()
    store = ReadWriteBlockstore.resume(path)
    assert store.put(*BLOCKS[0]) is False
    store.flush()
    if leave == "exception":
        with pytest.raises(ZeroDivisionError), store:
            _ = 1 / 0
    else:
        getattr(store, leave)()
    assert path.read_bytes() == before


def test_a_finished_archive_can_be_given_other_roots_and_another_index(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path)
    with ReadWriteBlockstore.resume(path) as store:
        store.finalize([BLOCKS[1][0]])
    with carv2.open(path) as car:
        assert car.roots == (BLOCKS[1][0],)
    is_whole(path, BLOCKS)
    with ReadWriteBlockstore.resume(path, index_padding=7):
        pass
    with carv2.open(path) as car:
        assert car.header is not None
        assert car.header.index_offset - car.header.data_end == 7
    is_whole(path, BLOCKS)


def test_identity_cids_come_into_the_index_where_it_lacks_them(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path, identity=True)
    carv2.reindex(path, path, identity=False)
    for wanted in (False, True):
        with ReadWriteBlockstore.resume(path, store_identity=wanted) as store:
            assert store.recovery is not None
            assert store.recovery.index_kept is not wanted
            assert len(store) == len(BLOCKS) + 1
        with carv2.open(path) as car:
            assert car.index is not None
            assert (IDENTITY in car.index) is wanted


def shift_an_offset(index: bytearray) -> None:
    at = len(index) - 8
    index[at : at + 8] = struct.pack("<Q", struct.unpack_from("<Q", index, at)[0] + 1)


def flip_a_digest(index: bytearray) -> None:
    index[-9] ^= 1


def swap_two_offsets(index: bytearray) -> None:
    """Each digest and each offset is there; only who is where is wrong."""
    one, other = len(index) - 8, len(index) - 8 - 72
    index[one:], index[other : other + 8] = bytes(index[other : other + 8]), bytes(index[one:])


def first_records(index: bytearray) -> int:
    """Where the records of the sha2-256 bucket start."""
    return len(index) - 5 * 72 - (8 + 4 + 12) - 40 * RECORD  # sha2-256 stands between sha1 and sha2-512


def swap_two_records(index: bytearray) -> None:
    """All is said, in the wrong order: a binary search would miss it."""
    at = first_records(index)
    one, other = slice(at, at + RECORD), slice(at + RECORD, at + 2 * RECORD)
    index[one], index[other] = bytes(index[other]), bytes(index[one])


def drop_a_record(index: bytearray) -> None:
    at = first_records(index)
    index[at - 8 : at] = struct.pack("<Q", 39 * RECORD)
    del index[at : at + RECORD]


def say_one_twice(index: bytearray) -> None:
    at = first_records(index)
    index[at - 8 : at] = struct.pack("<Q", 41 * RECORD)
    index[at:at] = index[at : at + RECORD]


def name_another_hash(index: bytearray) -> None:
    at = first_records(index) - 12 - 4 - 8
    assert index[at] == 0x12
    index[at] = 0x16


def cut_it_off(index: bytearray) -> None:
    del index[-1:]


LIES = [
    shift_an_offset,
    flip_a_digest,
    swap_two_offsets,
    swap_two_records,
    drop_a_record,
    say_one_twice,
    name_another_hash,
    cut_it_off,
]


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_lies_is_not_kept_and_nothing_is_lost(
    tmp_path: Path, lie: Callable[[bytearray], None]
) -> None:
    path = tmp_path / "a.car"
    at = finished(path)
    data = path.read_bytes()
    index = bytearray(data[at:])
    lie(index)
    assert index != data[at:]
    path.write_bytes(data[:at] + index)
    with ReadWriteBlockstore.resume(path) as store:
        assert store.recovery is not None
        assert not store.recovery.index_kept
        assert store.put_many([*BLOCKS, MORE]) == 1
    is_whole(path, [*BLOCKS, MORE])


@pytest.mark.parametrize("bit", range(8))
def test_no_flip_in_an_index_is_kept(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "a.car"
    at = finished(path)
    data = path.read_bytes()
    for position in range(at + bit * 7, len(data), 61):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])
        with ReadWriteBlockstore.resume(path) as store:
            assert store.recovery is not None
            assert not store.recovery.index_kept
        assert path.read_bytes() == data


def test_the_tail_behind_an_index_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.car"
    finished(path)
    before = path.read_bytes()
    path.write_bytes(before + b"something else")
    with ReadWriteBlockstore.resume(path) as store:
        assert store.recovery is not None
        assert store.recovery.index_kept
    assert path.read_bytes() == before
