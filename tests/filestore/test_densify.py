"""Archives of references made whole again: byte for byte what pack makes."""

from __future__ import annotations

import dataclasses
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.errors import BlockNotFoundError, CarError, CorruptReferenceError, IntegrityError
from carv2.filestore import FileReference, ReferenceWriter, Status, densify, import_by_reference, key_cid
from carv2.filestore.record import encode
from carv2.unixfs import PROFILES
from filestore.writing import SMALL, TREE, packed
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PROFILES_BY_NAME = {**PROFILES, "small": SMALL, "again": dataclasses.replace(SMALL, duplicates="again")}


def references_to(path: Path, **options: Any) -> bytes:
    sink = io.BytesIO()
    import_by_reference(path, sink, **options)
    return sink.getvalue()


def dense(archive: bytes, *allow: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    densify(archive, sink, allow=allow, **options)
    return sink.getvalue()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("name", PROFILES_BY_NAME)
def test_a_dense_import_is_what_pack_makes(tmp_path: Path, name: str, wrap: bool, version: int) -> None:
    write_tree(tmp_path / "top", TREE)
    profile = PROFILES_BY_NAME[name]
    archive = references_to(tmp_path / "top", profile=profile, wrap=wrap)
    expected = packed(tmp_path / "top", profile=profile, wrap=wrap, version=version)
    assert dense(archive, tmp_path, version=version) == expected


@pytest.mark.parametrize("variant", "ABCD")
@pytest.mark.parametrize("size", [0, 10, 126, 127, (1 << 20) + 1, (1 << 20) + 60, (2 << 20), (3 << 20) + 5])
def test_sizes_at_which_roots_go_into_their_cids(tmp_path: Path, size: int, variant: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size])
    archive = references_to(path, variant=variant)
    assert dense(archive, path) == packed(path, profile="lotus", wrap=False)


def test_the_report_and_progress(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", {"a": bytes(range(250)), "b": b"1"})
    archive = references_to(tmp_path / "top", profile=SMALL)
    seen: list[int] = []
    report = densify(archive, tmp_path / "o.car", allow=[tmp_path], on_progress=seen.append)
    assert (report.block_count, report.reference_count, report.size, report.orphan_count) == (6, 4, 251, 0)
    assert seen == [100, 100, 50, 1]
    with carv2.open(tmp_path / "o.car") as car:
        assert (report.roots, report.block_count) == (car.roots, len(list(car)))


def test_paths_may_be_relative_to_a_root(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", TREE)
    archive = references_to(tmp_path / "top", root=tmp_path)
    os.rename(tmp_path / "top", tmp_path / "other")
    os.mkdir(tmp_path / "new")
    os.rename(tmp_path / "other", tmp_path / "new" / "top")
    expected = packed(tmp_path / "new" / "top", profile="lotus", wrap=False)
    assert dense(archive, tmp_path, root=tmp_path / "new") == expected


@pytest.mark.parametrize(
    ("change", "status"),
    [("remove", Status.FILE_NOT_FOUND), ("cut", Status.FILE_CHANGED), ("rewrite", Status.FILE_CHANGED)],
)
def test_a_reference_that_is_broken_leaves_no_archive(tmp_path: Path, change: str, status: Status) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(250)))
    archive = references_to(path, profile=SMALL)
    (tmp_path / "o.car").write_bytes(b"before")
    if change == "remove":
        path.unlink()
    elif change == "cut":
        os.truncate(path, 240)
    else:
        path.write_bytes(bytes(range(249)) + b"x")
    with pytest.raises(CorruptReferenceError) as caught:
        densify(archive, tmp_path / "o.car", allow=[path])
    error = caught.value
    offset, size = (0, 100) if change == "remove" else (200, 50)
    reference = FileReference.of_path(path, offset, size)
    assert (error.status, error.reference) == (status, reference)
    assert error.position == archive.index(encode(reference))
    assert error.cid == CID.of_data(bytes(range(250))[offset : offset + size])
    assert (tmp_path / "o.car").read_bytes() == b"before"


def test_nothing_is_read_that_was_not_allowed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"secret": b"secret" * 30, "allowed": {"to": "../secret"}})
    for path in (tmp_path / "secret", tmp_path / "allowed" / "to", "/dev/zero"):
        leaf = CID.of_data(b"secret" * 30 if path != "/dev/zero" else bytes(180))
        sink = io.BytesIO()
        with ReferenceWriter(sink, [leaf]) as car:
            car.put_reference(leaf, FileReference.of_path(path, 0, 180))
        with pytest.raises(CorruptReferenceError) as caught:
            densify(sink.getvalue(), tmp_path / "o.car", allow=[tmp_path / "allowed"])
        assert caught.value.status == Status.FILE_ERROR
        assert not (tmp_path / "o.car").exists()


def made(roots: Iterable[CID], blocks: Iterable[tuple[CID, bytes]]) -> bytes:
    return b"".join(carv2.iter_car(roots, blocks, verify=False))


def test_what_is_missing_or_damaged_is_an_error() -> None:
    leaf, node = CID.of_data(b"fish"), CID.of_data(b"\x0a\x00", codec="dag-pb")
    cases: list[tuple[bytes, type[CarError]]] = [
        (made([leaf], []), CorruptReferenceError),
        (made([node], []), BlockNotFoundError),
        (made([leaf], [(key_cid(leaf), b"\x0a\xff")]), CarError),
        (made([leaf], [(leaf, b"fish"), (CID.of_data(b"1", hash="blake2b-256"), b"2")]), IntegrityError),
        (made([leaf], [(leaf, b"fish"), (CID.of_data(b"1"), b"no record")]), IntegrityError),
    ]
    for archive, error in cases:
        with pytest.raises(error):
            dense(archive)
    with pytest.raises(CorruptReferenceError) as caught:
        dense(made([leaf], []))
    assert caught.value.status == Status.KEY_NOT_FOUND


def test_a_leaf_that_links_name_under_several_codecs_is_there_under_each(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"fish")
    leaf = CID.of_data(b"fish")
    others = [CID.trusted(b"\x01" + codec + leaf.multihash) for codec in (b"\x70", b"\x71", b"\x80\x80\xc0\x01")]
    reads: list[int] = []
    record = encode(FileReference.of_path(path, 0, 4))
    archive = made([*others, leaf], [(key_cid(leaf), record)])
    out = io.BytesIO()
    report = densify(archive, out, allow=[path], on_progress=reads.append)
    with carv2.open(out.getvalue()) as car:
        assert {(block.cid, block.data) for block in car} == {(cid, b"fish") for cid in (leaf, *others)}
    assert (report.block_count, report.reference_count, reads) == (4, 1, [4])


def test_a_leaf_of_a_hash_that_nobody_knows_is_not_called_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"fish")
    leaf = CID(b"\x01\x55\x99\x99\x02\x04abcd")
    with pytest.raises(CorruptReferenceError, match="no hash function") as caught:
        dense(made([leaf], [(key_cid(leaf), encode(FileReference.of_path(path, 0, 4)))]), path)
    assert caught.value.status == Status.OTHER_ERROR


@pytest.mark.parametrize("variant", ["A", "D"])
def test_records_that_nothing_links_to_are_left_out(tmp_path: Path, variant: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"fish")
    leaf, orphan = CID.of_data(b"fish"), CID.of_data(b"is")
    sink, out = io.BytesIO(), io.BytesIO()
    with ReferenceWriter(sink, [leaf], variant=variant) as car:
        car.put_reference(orphan, FileReference.of_path(path, 1, 2))
        car.put_reference(leaf, FileReference.of_path(path, 0, 4))
    report = densify(sink.getvalue(), out, allow=[path])
    assert (report.orphan_count, report.reference_count, report.block_count) == (1, 1, 1)
    with carv2.open(out.getvalue()) as car_out:
        assert [block.data for block in car_out] == [b"fish"]


def test_an_archive_without_references_comes_out_as_it_was(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", TREE)
    archive = packed(tmp_path / "top")
    assert dense(archive) == archive


def test_the_archive_is_never_written_over_an_original(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", {"a": bytes(200), "b": bytes(range(200))})
    archive = references_to(tmp_path / "top", profile=SMALL)
    with pytest.raises(ValueError, match="one of the originals"):
        densify(archive, tmp_path / "top" / "b", allow=[tmp_path])
    assert (tmp_path / "top" / "b").read_bytes() == bytes(range(200))
    (tmp_path / "o.car").write_bytes(archive)
    densify(tmp_path / "o.car", tmp_path / "o.car", allow=[tmp_path])
    assert (tmp_path / "o.car").read_bytes() == packed(tmp_path / "top", profile=SMALL, wrap=False)
