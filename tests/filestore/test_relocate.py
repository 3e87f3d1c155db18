"""Originals that moved: the records follow them, and nothing else changes."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID
from carv2.errors import CorruptReferenceError, LimitError
from carv2.filestore import FileReference, FileStore, ReferenceWriter, Status, import_by_reference, relocate
from carv2.filestore.record import decode, encode
from filestore.writing import SMALL, TREE, sections
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from pathlib import Path


def references_to(path: Path, **options: Any) -> bytes:
    sink = io.BytesIO()
    import_by_reference(path, sink, profile=SMALL, **options)
    return sink.getvalue()


def relocated(archive: bytes, moves: dict[Any, Any], **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = relocate(archive, sink, moves, **options)
    return sink.getvalue(), report


@pytest.mark.parametrize("check", ["hash", "size", "none"])
@pytest.mark.parametrize("variant", "ABCD")
def test_a_moved_folder(tmp_path: Path, variant: str, check: str) -> None:
    write_tree(tmp_path / "old", TREE)
    archive = references_to(tmp_path / "old", variant=variant)
    assert relocated(archive, {})[0] == archive
    (tmp_path / "old").rename(tmp_path / "a new name")
    moved, report = relocated(archive, {tmp_path / "old": tmp_path / "a new name"}, check=check)
    assert moved == references_to(tmp_path / "a new name", variant=variant)
    assert (report.moved_count, report.unchecked_count) == (report.reference_count, 0)
    assert report.paths[str(tmp_path / "old/sub/b")] == str(tmp_path / "a new name/sub/b")
    assert relocated(moved, {tmp_path / "a new name": tmp_path / "old"}, check="none")[0] == archive


def test_the_longest_of_several_moves_counts(tmp_path: Path) -> None:
    moves = {"/data": "/mnt", "/data/in/": "/in", "/data/in/x/f": "/file"}
    expected = {
        "data/f": "mnt/f",
        "data/in/f": "in/f",
        "data/in/x/f": "file",
        "data/in/x/f2": "in/x/f2",
        "data/inner/f": "mnt/inner/f",
        "other/f": "other/f",
        "https://example.org/data/f": "https://example.org/data/f",
    }
    sink = io.BytesIO()
    with ReferenceWriter(sink) as car:
        for number, path in enumerate(expected):
            car.put_reference(CID.of_data(b"%d" % number), FileReference(path, number, 1))
    moved, report = relocated(sink.getvalue(), moves, check="none")
    assert [decode(data) for _, data in sections(moved)] == [
        FileReference(path, number, 1) for number, path in enumerate(expected.values())
    ]
    assert (report.reference_count, report.moved_count) == (7, 5)
    assert report.paths["/data/in/x/f"] == "/file"
    everything, _ = relocated(sink.getvalue(), {"/": "/mnt"}, check="none")
    assert decode(sections(everything)[5][1]).path == "mnt/other/f"
    swapped, _ = relocated(sink.getvalue(), {"/data": "/other", "/other": "/data"}, check="none")
    assert [decode(data).path for _, data in sections(swapped)][::5] == ["other/f", "data/f"]


def test_other_bytes_at_the_new_place_are_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"f": bytes(range(250)), "other": bytes(250)})
    archive = references_to(tmp_path / "t" / "f")
    (tmp_path / "o.car").write_bytes(b"before")
    old, new = tmp_path / "t" / "f", tmp_path / "t" / "other"
    with pytest.raises(CorruptReferenceError) as caught:
        relocate(archive, tmp_path / "o.car", {str(old): str(new)})
    error = caught.value
    assert (error.status, error.reference) == (Status.FILE_CHANGED, FileReference.of_path(new, 0, 100))
    assert error.position == archive.index(encode(FileReference.of_path(old, 0, 100)))
    assert (tmp_path / "o.car").read_bytes() == b"before"
    assert relocated(archive, {old: new}, check="size")[1].moved_count == 3
    os.truncate(new, 249)
    with pytest.raises(CorruptReferenceError) as caught:
        relocated(archive, {old: new}, check="size")
    assert (caught.value.status, caught.value.reference) == (
        Status.FILE_CHANGED, FileReference.of_path(new, 200, 50),
    )  # fmt: skip
    with pytest.raises(CorruptReferenceError) as caught:
        relocated(archive, {old: tmp_path / "nothing"})
    assert caught.value.status == Status.FILE_NOT_FOUND


def test_only_what_moved_is_read_and_only_where_it_may_be(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": bytes(range(200)), "b": bytes(range(1, 201))})
    archive = references_to(tmp_path / "t")
    (tmp_path / "t" / "a").rename(tmp_path / "a")
    (tmp_path / "t" / "b").unlink()
    moves = {tmp_path / "t" / "a": tmp_path / "a"}
    moved, report = relocated(archive, moves)
    assert (report.moved_count, report.reference_count) == (2, 4)
    with FileStore(moved, allow=[tmp_path]) as store:
        assert store[CID.of_data(bytes(range(100)))] == bytes(range(100))
    for check in ("hash", "size"):
        with pytest.raises(CorruptReferenceError) as caught:
            relocated(archive, moves, allow=[tmp_path / "t"], check=check)
        assert caught.value.status == Status.FILE_ERROR


def test_records_that_nothing_links_to_move_unchecked(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"fish")
    for variant in ("A", "D"):
        sink = io.BytesIO()
        with ReferenceWriter(sink, variant=variant) as car:
            car.put_reference(CID.of_data(b"is"), FileReference("old/f", 1, 2))
        moved, report = relocated(sink.getvalue(), {"/old": tmp_path})
        assert (report.moved_count, report.unchecked_count) == (1, 1)
        assert decode(sections(moved)[0][1]) == FileReference.of_path(tmp_path / "f", 1, 2)


def test_an_archive_is_relocated_where_it_stands(tmp_path: Path) -> None:
    write_tree(tmp_path / "old", TREE)
    (tmp_path / "o.car").write_bytes(references_to(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    relocate(tmp_path / "o.car", tmp_path / "o.car", {str(tmp_path / "old"): str(tmp_path / "new")})
    assert (tmp_path / "o.car").read_bytes() == references_to(tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["new", "o.car"]


def test_paths_are_relative_to_the_root(tmp_path: Path) -> None:
    write_tree(tmp_path / "old", {"f": bytes(200)})
    archive = references_to(tmp_path / "old", root=tmp_path)
    (tmp_path / "old").rename(tmp_path / "new")
    moved, _ = relocated(archive, {tmp_path / "old": tmp_path / "new"}, root=tmp_path)
    assert moved == references_to(tmp_path / "new", root=tmp_path)
    with pytest.raises(ValueError, match="not below"):
        relocated(archive, {tmp_path / "old": "/elsewhere"}, root=tmp_path, check="none")


def test_an_archive_of_version_one_stays_one(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"f": bytes(200)})
    sink = io.BytesIO()
    carv2.unwrap(references_to(tmp_path / "t"), sink)
    (tmp_path / "t").rename(tmp_path / "new")
    moved, _ = relocated(sink.getvalue(), {tmp_path / "t": tmp_path / "new"})
    expected = io.BytesIO()
    carv2.unwrap(references_to(tmp_path / "new"), expected)
    assert moved == expected.getvalue()


def test_the_archive_is_never_written_over_a_file_that_a_record_names(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": bytes(range(200)), "b": b"fish", "c": bytes(300)})
    archive = references_to(tmp_path / "t")
    (tmp_path / "t" / "a").rename(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "t" / "b")
    moves = {str(tmp_path / "t" / "a"): str(tmp_path / "a")}
    for out in ("t/b", "t/c", "a", "link"):
        before = (tmp_path / out).read_bytes()
        for check in ("hash", "none"):
            with pytest.raises(ValueError, match="one of the originals"):
                relocate(archive, tmp_path / out, moves, check=check)
        with (tmp_path / out).open("r+b") as file, pytest.raises(ValueError, match="one of the originals"):
            relocate(archive, file, moves)
        assert (tmp_path / out).read_bytes() == before


def test_what_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": bytes(200), "b": bytes(200)})
    archive = references_to(tmp_path / "t" / "a")
    moves = {str(tmp_path / "t" / "a"): str(tmp_path / "t" / "b")}
    for out in ("a", "b"):
        with pytest.raises(ValueError, match="one of the originals"):
            relocate(archive, tmp_path / "t" / out, moves)
        assert (tmp_path / "t" / out).read_bytes() == bytes(200)
    with pytest.raises(ValueError, match="check 'all'"):
        relocated(archive, moves, check="all")


def test_a_path_that_no_file_can_have_stays(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with ReferenceWriter(sink) as car:
        car.put_reference(CID.of_data(b"1"), FileReference("old/a\0b", 0, 1))
        car.put_reference(CID.of_data(b"2"), FileReference("old/c", 0, 1))
    moved, report = relocated(sink.getvalue(), {"/old": "/new"}, check="none")
    assert [decode(data).path for _, data in sections(moved)] == ["old/a\0b", "new/c"]
    assert (report.moved_count, report.paths) == (1, {"/old/c": "/new/c"})
    with pytest.raises(ValueError, match="NUL"):
        relocated(sink.getvalue(), {"/old": "/n\0w"}, check="none")
    with pytest.raises(LimitError, match="path in a record of 4099 bytes, limit 4096"):
        relocated(sink.getvalue(), {"/old": "/" + "x/" * 2049}, check="none")
