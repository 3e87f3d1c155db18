"""Indexes of ref-CARs that are made anew list the keys of the records, whichever hash those have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2 import CID, iter_car
from carv2.blockstore import ReadWriteBlockstore, examine_file
from carv2.filestore import VARIANTS, FileStore, import_by_reference, key_cid
from carv2.index import CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED, IndexBuilder, parse
from carv2.index.merge import merged_chunks
from carv2.operations.indexing import attach_index, build_index, detach_index, reindex, usual_codec
from carv2.unixfs import ImportProfile

if TYPE_CHECKING:
    from pathlib import Path

EACH = pytest.mark.parametrize("variant", VARIANTS)
LEAF = CID.of_data(b"0123456789")


def inlined(data: bytes) -> CID:
    return CID.of_data(data, hash="identity")


SMALL = ImportProfile(name="small", chunk_size=200)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(bytes(n * n % 251 for n in range(3000)))
    return path


def made(original: Path, variant: str) -> Path:
    archive = original.parent / "ref.car"
    import_by_reference(original, archive, variant=variant, profile=SMALL)
    return archive


@EACH
def test_an_archive_that_is_indexed_anew_is_the_same(variant: str, original: Path) -> None:
    archive = made(original, variant)
    again = archive.with_name("again.car")
    codec = usual_codec(archive)
    assert codec == VARIANTS[variant].index_codec
    reindex(archive, again, codec=codec)
    assert again.read_bytes() == archive.read_bytes()


@EACH
def test_an_index_that_is_taken_out_can_be_put_in_again(variant: str, original: Path) -> None:
    archive = made(original, variant)
    index, again = archive.with_name("index"), archive.with_name("again.car")
    detach_index(archive, index)
    attach_index(archive, index, again)
    assert again.read_bytes() == archive.read_bytes()


@EACH
@pytest.mark.parametrize("cut", [1, 30, 200])
def test_an_index_that_was_cut_is_recovered_as_it_was(variant: str, cut: int, original: Path) -> None:
    archive = made(original, variant)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-cut])
    assert not examine_file(archive).index_kept
    with ReadWriteBlockstore.resume(archive) as store:
        assert store.recovery is not None
        assert not store.recovery.index_kept
    assert archive.read_bytes() == whole
    assert examine_file(archive).index_kept


@EACH
def test_a_store_that_goes_on_keeps_what_it_found(variant: str, original: Path) -> None:
    archive = made(original, variant)
    with ReadWriteBlockstore.resume(archive) as store:
        assert store.recovery is not None
        assert store.recovery.index_kept
        store.put(LEAF, b"0123456789")
    with FileStore(archive, allow=[original]) as found:
        assert len(list(found.references())) == 15
        assert found[LEAF] == b"0123456789"


def test_ordinary_identity_cids_are_left_out_as_ever() -> None:
    key, plain, other = key_cid(LEAF, "A"), inlined(b"/filestores"), inlined(b"fish" * 8)
    same_size = inlined(b"/filestore/" + b"A" * 21)
    archive = b"".join(iter_car([], [(cid, cid.digest) for cid in (plain, same_size, other, key)], verify=False))
    for codec in (CAR_INDEX_SORTED, CAR_MULTIHASH_INDEX_SORTED):
        builder = build_index(archive, codec=codec)
        assert builder.left_out_count == 2
        listed = {entry.digest for entry in builder.to_index()}
        assert listed == {key.digest, same_size.digest}
    everything = build_index(archive, identity=True)
    assert (len(everything), everything.left_out_count) == (4, 0)
    merged = b"".join(merged_chunks([everything.to_index()], CAR_MULTIHASH_INDEX_SORTED, identity=False))
    assert merged == build_index(archive).to_bytes()


def test_an_index_without_the_keys_is_not_that_of_the_sections(original: Path) -> None:
    archive = made(original, "B")
    with_keys, index = archive.read_bytes(), archive.with_name("index")
    without = IndexBuilder()
    for entry in build_index(archive).to_index():
        if entry.hash_code:
            without.add_record(entry.hash_code, entry.digest, entry.offset)
    index.write_bytes(without.to_bytes())
    attach_index(archive, index, archive, verify=False)
    assert not examine_file(archive).index_kept
    with pytest.raises(Exception, match="the index does not have"):
        attach_index(archive, index, archive.with_name("again.car"))
    with ReadWriteBlockstore.resume(archive):
        pass
    assert archive.read_bytes() == with_keys


def test_what_says_that_it_is_fully_indexed_goes_on_saying_so_while_it_is(tmp_path: Path) -> None:
    inline = inlined(b"fish")
    archive, again = tmp_path / "whole.car", tmp_path / "again.car"
    sections = b"".join(iter_car([], [(LEAF, b"0123456789"), (inline, b"fish")]))
    assert reindex(sections, archive, identity=True).is_fully_indexed
    assert not reindex(archive, again).is_fully_indexed
    assert not reindex(sections, again).is_fully_indexed
    alone = b"".join(iter_car([], [(LEAF, b"0123456789")]))
    assert reindex(alone, archive, identity=True).is_fully_indexed
    assert reindex(archive, again).is_fully_indexed
    assert parse(build_index(again).to_bytes()).codec == CAR_MULTIHASH_INDEX_SORTED
