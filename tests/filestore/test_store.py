"""FileStore as a blockstore: what it finds, by which name, and where."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
from typing import TYPE_CHECKING

import pytest

from carv2 import CID, Limits
from carv2.blockstore import Blockstore, ReadOnlyBlockstore
from carv2.errors import (
    BlockNotFoundError,
    ChangedError,
    ClosedError,
    CorruptReferenceError,
    IntegrityError,
    ReadOnlyError,
    UnknownHashError,
)
from carv2.filestore import FileReference, FileStore, Status, import_by_reference, is_ref_car
from carv2.testing import BlockstoreTests
from carv2.unixfs import ImportProfile, extract, open_file, pack, profile_of, read
from filestore.reading import LETTERS, Leaf, archive_of, archive_with, key_of, leaves_in, record_for, record_of
from helpers import archives
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SMALL = ImportProfile(name="small", chunk_size=100, file_links=5)


class TestFileStoreOfRecordsAlone(BlockstoreTests):
    """All blocks by reference to one original; a reference answers for any codec."""

    variant = "D"

    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        original = self.folder / "original"
        original.write_bytes(b"".join(data for _, data in blocks))
        sections, offset = [], 0
        for cid, data in blocks:
            sections.append(Leaf(bytes(cid), data, original, offset).section(self.variant))
            offset += len(data)
        return FileStore(archive_with([bytes(cid) for cid, _ in blocks], sections), allow=[self.folder])


class TestFileStoreOfTheFirstVariant(TestFileStoreOfRecordsAlone):
    variant = "A"


class TestFileStoreOfAnOrdinaryArchive(BlockstoreTests):
    whole_cids = True

    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        pairs = [(bytes(cid), data) for cid, data in blocks]
        return FileStore(archive_with([cid for cid, _ in pairs], pairs), allow=[])


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "original"
    path.parent.mkdir()
    path.write_bytes(bytes(range(95)))
    return path


@pytest.mark.parametrize("variant", LETTERS)
@pytest.mark.parametrize("with_index", [True, False])
def test_leaves_come_from_the_original_and_nodes_from_the_archive(
    original: Path, variant: str, with_index: bool
) -> None:
    leaves = leaves_in(original)
    with FileStore(archive_of(leaves, variant=variant, with_index=with_index), allow=[original]) as store:
        assert [store[leaf.cid] for leaf in leaves] == [leaf.data for leaf in leaves]
        assert list(store) == [store.roots[0], *(CID(leaf.cid) for leaf in leaves)]
        assert len(store) == 11
        assert [(bytes(cid), each.full_path(), each.offset, each.size) for cid, each in store.references()] == [
            (leaf.cid, str(original), leaf.offset, len(leaf.data)) for leaf in leaves
        ]
        root = store.roots[0]
        assert root.matches(store[root])
        assert store.reference_of(root) is None
        assert store.reference_of(leaves[9].cid) == FileReference(str(original)[1:], 90, 5)


def test_the_worked_example_is_read(tmp_path: Path) -> None:
    example = json.loads(shared_fixture("refcar/one-reference.json").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "input.bin").write_bytes(b"0123456789")
    archive = bytes.fromhex(example["file_hex"])
    assert is_ref_car(archive)
    with FileStore(archive, allow=[tmp_path], root=tmp_path) as store:
        assert [str(cid) for cid in store] == [example["leaf_cid"]]
        assert store[example["leaf_cid"]] == b"0123456789"
        assert example["key_cid"] not in store


@pytest.mark.parametrize("variant", LETTERS)
def test_the_cid_of_a_record_is_not_found(original: Path, variant: str) -> None:
    leaf = leaves_in(original)[0]
    key = CID(key_of(leaf.cid, variant))
    with FileStore(archive_of([leaf], variant=variant), allow=[original]) as store:
        if variant == "A":  # an identity CID, which answers from itself
            assert store[key] == key.digest
            return
        assert key not in store
        assert store.get(key) is None
        assert store.reference_of(key) is None
        for look_up in (store.__getitem__, store.size_of, lambda cid: list(store.get_many([cid]))):
            with pytest.raises(BlockNotFoundError):
                look_up(key)


@pytest.mark.parametrize("variant", LETTERS)
def test_an_honest_block_that_goes_by_a_keys_cid_is_a_block_and_no_record(original: Path, variant: str) -> None:
    leaf = leaves_in(original)[0]
    key = CID(key_of(leaf.cid, variant))
    honest = CID(key_of(leaf.cid, "A")).digest  # the text of the key
    with FileStore(archive_with([leaf.cid], [(bytes(key), honest)]), allow=[original]) as store:
        assert store[key] == honest
        assert leaf.cid not in store
        with pytest.raises(BlockNotFoundError):
            _ = store[leaf.cid]


def test_a_leaf_in_full_is_preferred_to_its_record(original: Path) -> None:
    leaf = leaves_in(original)[0]
    archive = archive_of([leaf], (leaf.cid, leaf.data))
    with FileStore(archive, allow=[]) as store:
        assert store[leaf.cid] == leaf.data
        assert store.reference_of(leaf.cid) is None
        assert list(store.references()) == []


def test_the_newer_key_is_preferred_to_the_older(original: Path) -> None:
    first, second = leaves_in(original)[:2]
    old = key_of(first.cid, "A"), second.section()[1]
    with FileStore(archive_of([first], old), allow=[original]) as store:
        assert store[first.cid] == first.data


def test_a_damaged_node_is_an_integrity_error_and_no_missing_block(original: Path) -> None:
    leaf = leaves_in(original)[0]
    in_full = archives.cid_v1(b"in full"), b"in fool"
    with FileStore(archive_of([leaf], in_full), allow=[original]) as store:
        with pytest.raises(IntegrityError, match="not those of"):
            _ = store[in_full[0]]
        assert in_full[0] in store
        assert store.size_of(in_full[0]) == 7
        assert store.size_of(leaf.cid) == 10


def test_sizes_come_from_the_records_when_the_files_are_gone(original: Path) -> None:
    leaves = leaves_in(original)
    archive = archive_of(leaves)
    original.unlink()
    with FileStore(archive, allow=[original]) as store:
        assert [store.size_of(leaf.cid) for leaf in leaves] == [10] * 9 + [5]
        assert all(leaf.cid in store for leaf in leaves)
        assert len(store) == 11


def test_a_damaged_record_is_in_the_store_and_says_what_is_wrong(original: Path) -> None:
    leaf = leaves_in(original)[0]
    with FileStore(record_for(leaf.cid, b"\x0a\x63/x"), allow=[original]) as store:
        assert leaf.cid in store
        for look_up in (store.__getitem__, store.size_of, store.reference_of):
            with pytest.raises(
                CorruptReferenceError, match=r"the record of .* is damaged: record: a field ends"
            ) as caught:
                look_up(leaf.cid)
            assert caught.value.status is Status.OTHER_ERROR
            assert caught.value.reference is None
        status = store.status_of(leaf.cid)
        assert (status.status, status.reference) == (Status.OTHER_ERROR, None)


def test_an_error_carries_what_it_is_about_and_survives_pickling(original: Path) -> None:
    leaf = leaves_in(original)[1]
    archive = archive_of([leaf])
    original.unlink()
    with FileStore(archive, allow=[original]) as store, pytest.raises(CorruptReferenceError) as caught:
        _ = store[leaf.cid]
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.cid == CID(leaf.cid)
    assert error.status is Status.FILE_NOT_FOUND
    assert error.reference == FileReference(str(original)[1:], 10, 10)
    assert archive[error.position :].startswith(record_of(original, 10, 10))
    assert str(error).endswith(
        f"'{str(original)[1:]}', 10 bytes at 10: the file is gone (at byte {error.position})"
    )


def test_a_leaf_whose_hash_nobody_knows_says_so(original: Path) -> None:
    cid = archives.cid_v1(b"", code=0x7FFF, digest=bytes(32))
    with FileStore(record_for(cid, record_of(original, 0, 10)), allow=[original]) as store:
        for look_up in (store.__getitem__, lambda cid: list(store.get_many([cid]))):
            with pytest.raises(UnknownHashError):
                look_up(cid)
        status = store.status_of(cid)
    assert status.status is Status.OTHER_ERROR
    assert "no hash function" in status.detail


def test_a_record_may_not_ask_for_more_than_the_limit(original: Path) -> None:
    leaf = leaves_in(original, 50)[0]
    with FileStore(archive_of([leaf]), allow=[original], limits=Limits(section=200)) as store:
        assert store[leaf.cid] == leaf.data
    huge = record_for(leaf.cid, record_of(original, 0, (1 << 64) - 1))
    with FileStore(huge, allow=[original]) as store:
        assert store.size_of(leaf.cid) == (1 << 64) - 1
        with pytest.raises(
            CorruptReferenceError, match="asks for 18446744073709551615 bytes, limit 8388608"
        ) as caught:
            _ = store[leaf.cid]
    assert caught.value.status is Status.OTHER_ERROR


def test_many_are_read_as_one_range_whatever_their_order(original: Path) -> None:
    leaves = leaves_in(original)
    wanted = [leaves[at].cid for at in (3, 4, 5, 0, 9, 8, 8, 1, 2)]
    with FileStore(archive_of(leaves), allow=[original]) as store:
        root = store.roots[0]
        found = list(store.get_many([root, *wanted, root]))
    assert [block.cid_bytes for block in found] == [bytes(root), *wanted, bytes(root)]
    assert all(block.cid.matches(block.data) for block in found)


@pytest.mark.parametrize(
    ("pieces", "reads"),
    [
        ([(0, 10), (10, 10), (20, 10)], [(0, 30)]),
        ([(0, 10), (15, 10)], [(0, 25)]),  # a small gap
        ([(0, 10), (5000, 10)], [(0, 10), (5000, 10)]),
        ([(0, 10), (5, 10)], [(0, 10), (5, 10)]),  # they overlap
        ([(20, 10), (10, 10)], [(20, 10), (10, 10)]),
        ([(0, 70_000), (70_000, 10)], [(0, 70_000), (70_000, 10)]),
        ([(0, 10)], [(0, 10)]),
    ],
)
def test_near_ranges_are_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    leaves: list[Leaf] = []
    for path in (tmp_path / "a", tmp_path / "b"):  # two files are never one read
        payload = random.Random(path.name).randbytes(80_000)
        path.write_bytes(payload)
        parts = [(at, payload[at : at + size]) for at, size in pieces]
        leaves += [Leaf(archives.cid_v1(part), part, path, at) for at, part in parts]
    found: list[tuple[int, int]] = []
    real = os.pread

    def noting(fd: int, size: int, offset: int) -> bytes:
        found.append((offset, size))
        return real(fd, size, offset)

    with FileStore(archive_of(leaves), allow=[tmp_path]) as store:
        monkeypatch.setattr(os, "pread", noting)
        assert [block.data for block in store.get_many(leaf.cid for leaf in leaves)] == [
            leaf.data for leaf in leaves
        ]
    assert found == reads * 2


def test_what_comes_before_a_bad_leaf_is_given_by_get_many(original: Path) -> None:
    leaves = leaves_in(original)
    archive = archive_of(leaves)
    data = bytearray(original.read_bytes())
    data[35] ^= 1
    original.write_bytes(data)
    found: list[bytes] = []
    with FileStore(archive, allow=[original]) as store:
        with pytest.raises(CorruptReferenceError) as caught:
            found.extend(block.data for block in store.get_many(leaf.cid for leaf in leaves))
        assert caught.value.cid == CID(leaves[3].cid)
        assert found == [leaf.data for leaf in leaves[:3]]
        assert store[leaves[4].cid] == leaves[4].data


def test_unixfs_reads_through_references(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    payload = bytes(range(256)) * 20
    (tree / "sub" / "large").write_bytes(payload)
    (tree / "empty").write_bytes(b"")
    (tree / "tiny").write_bytes(b"fish")
    for profile in (SMALL, dataclasses.replace(SMALL, name="blake", hash="blake2b-256")):
        import_by_reference(tree, tmp_path / "ref.car", profile=profile)
        with FileStore(tmp_path / "ref.car", allow=[tree]) as store:
            extract(store, tmp_path / f"out-{profile.name}", roots=store.roots)
            assert (tmp_path / f"out-{profile.name}" / "sub" / "large").read_bytes() == payload
            assert (tmp_path / f"out-{profile.name}" / "tiny").read_bytes() == b"fish"
        import_by_reference(tree / "sub" / "large", tmp_path / "one.car", profile=profile)
        with FileStore(tmp_path / "one.car", allow=[tree]) as store:
            root = store.roots[0]
            assert b"".join(read(store, root)) == payload
            assert b"".join(read(store, root, 95, 1234)) == payload[95:1234]
            with open_file(store, root) as file:
                file.seek(-77, 2)
                assert file.read() == payload[-77:]


def test_all_that_a_dense_archive_has_is_served(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(bytes(range(256)) * 30)
    pack(source, tmp_path / "dense.car", profile=SMALL, wrap=False)
    import_by_reference(source, tmp_path / "ref.car", profile=SMALL, variant="A")
    with (
        FileStore(tmp_path / "ref.car", allow=[tmp_path]) as references,
        ReadOnlyBlockstore(tmp_path / "dense.car") as dense,
    ):
        assert sorted(references) == sorted(dense)
        assert {cid: references[cid] for cid in references} == {cid: dense[cid] for cid in dense}


def test_an_identity_root_and_a_file_below_the_inline_limit_are_served(tmp_path: Path) -> None:
    for size in (0, 100, 127, (1 << 20) + 1000):
        source = tmp_path / f"file-{size}"
        source.write_bytes(bytes(size))
        import_by_reference(source, tmp_path / "x.car", profile=profile_of("lotus"))
        with FileStore(tmp_path / "x.car", allow=[source]) as store:
            assert b"".join(read(store, store.roots[0])) == bytes(size)


def test_it_is_for_reading_only(original: Path) -> None:
    leaf = leaves_in(original)[0]
    with FileStore(archive_of([leaf]), allow=[original]) as store:
        with pytest.raises(ReadOnlyError):
            store.put(leaf.cid, leaf.data)
        with pytest.raises(ReadOnlyError):
            store.put_many([(leaf.cid, leaf.data)])


def test_a_closed_store_closes_the_originals_and_leaves_the_callers_source_open(original: Path) -> None:
    leaves = leaves_in(original)
    archive = original.parent / "x.car"
    archive.write_bytes(archive_of(leaves))
    with open(archive, "rb") as file:
        store = FileStore(file, allow=[original])
        pending = store.get_many(leaf.cid for leaf in leaves)
        next(pending)
        walk = store.references()
        next(walk)
        store.close()
        for use in (
            lambda: next(pending),
            lambda: next(walk),
            lambda: store.roots,
            lambda: store.status_of(leaves[0].cid),
        ):
            with pytest.raises(ClosedError):
                use()
        assert file.read(1) == archive.read_bytes()[:1]


def test_an_archive_that_was_replaced_in_place_says_so(original: Path) -> None:
    leaves = leaves_in(original)
    archive = original.parent / "x.car"
    archive.write_bytes(archive_of(leaves))
    with FileStore(archive, allow=[original]) as store:
        archive.write_bytes(archive_of([leaves[0]]))
        with pytest.raises(ChangedError):
            _ = store[leaves[5].cid]


def test_allow_takes_a_list(original: Path) -> None:
    with pytest.raises(TypeError, match="allow takes a list"):
        FileStore(archive_of(leaves_in(original)), allow=str(original))
    with pytest.raises(TypeError, match="allow_urls takes a list"):
        FileStore(archive_of(leaves_in(original)), allow=[], allow_urls="https://example.org")


@pytest.mark.parametrize("variant", LETTERS)
def test_a_ref_car_is_told_from_an_ordinary_archive(original: Path, variant: str) -> None:
    leaves = leaves_in(original)
    assert is_ref_car(archive_of(leaves, variant=variant))
    assert is_ref_car(archive_of(leaves, variant=variant, with_index=False))
    pairs = [(leaf.cid, leaf.data) for leaf in leaves]
    assert not is_ref_car(archive_with([], [*pairs, (archives.identity(b"/filestore"), b"/filestore")]))
    assert not is_ref_car(archive_with([], [(leaves[0].cid, b"\x0a\xff other bytes")]))  # damaged, but no record
    assert not is_ref_car(archives.SMALL_V1)
