"""Imports by reference: what pack makes, but for the leaves, which stay where they are."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import _tree
from carv2.cid import CID
from carv2.errors import ChangedError, LimitError
from carv2.filestore import FileReference, import_by_reference
from carv2.filestore.record import decode
from carv2.units import Limits
from carv2.unixfs import PROFILES, pack
from filestore.writing import SMALL, TREE, packed, references_in, sections
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.unixfs import ImportProfile


def imported(path: Path, **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = import_by_reference(path, sink, **options)
    return sink.getvalue(), report


def distinct(size: int) -> bytes:
    """Bytes of which no two chunks are equal."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


PROFILES_BY_NAME = {**PROFILES, "small": SMALL}


@pytest.mark.parametrize("variant", "ABCD")
@pytest.mark.parametrize("name", PROFILES_BY_NAME)
def test_an_import_is_what_pack_makes_with_records_for_leaves(tmp_path: Path, name: str, variant: str) -> None:
    profile = PROFILES_BY_NAME[name]
    write_tree(tmp_path / "top", TREE)
    data, report = imported(tmp_path / "top", profile=profile, variant=variant, wrap=True)
    sink = io.BytesIO()
    expected = pack(tmp_path / "top", sink, profile=profile)
    found = references_in(data, sink.getvalue(), variant)
    with carv2.open(data) as car:
        assert car.roots == (expected.root,)
    known = {field.name: getattr(report, field.name) for field in dataclasses.fields(expected)}
    assert known == {field.name: getattr(expected, field.name) for field in dataclasses.fields(expected)}
    assert (report.reference_count, report.archive_size) == (len(found), len(data))
    raw = [cid for cid, _ in sections(sink.getvalue()) if cid.codec_name == "raw"]
    assert [cid for cid, _ in found] == raw


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(
    "size", [0, 1, 126, 127, (1 << 20), (1 << 20) + 1, (1 << 20) + 60, (2 << 20), (2 << 20) + 1]
)
def test_sizes_at_which_roots_and_leaves_go_into_their_cids(tmp_path: Path, size: int, wrap: bool) -> None:
    (tmp_path / "file").write_bytes(distinct(size))
    data, report = imported(tmp_path / "file", wrap=wrap)
    found = references_in(data, packed(tmp_path / "file", profile="lotus", wrap=wrap))
    assert [(at.offset, at.size) for _, at in found] == [
        (at, part) for at in range(0, size, 1 << 20) if (part := min(1 << 20, size - at)) > 126
    ]
    with carv2.open(data) as car:
        assert car.roots == (report.root,)
        assert car.index is not None
        for section in car.sections():
            assert section.offset in car.index.offsets_of(section.cid)


def test_the_records_name_the_absolute_path_with_its_symlinks(tmp_path: Path, monkeypatch: Any) -> None:
    write_tree(tmp_path / "real", {"sub": {"f": distinct(200)}})
    (tmp_path / "link").symlink_to("real/sub")
    monkeypatch.chdir(tmp_path)

    def path_for(path: str, root: str = "/") -> str:
        return decode(sections(imported(path, root=root)[0])[0][1]).full_path(root)  # type: ignore[arg-type]

    assert path_for("real/sub/f") == f"{tmp_path}/real/sub/f"
    assert path_for("./real//sub/./f") == f"{tmp_path}/real/sub/f"
    assert path_for("link/f") == path_for("link/") == f"{tmp_path}/link/f"
    real = os.path.realpath(tmp_path)
    assert path_for("link/../sub/f") == f"{real}/real/sub/f"  # not tmp_path/sub/f, which there is not
    assert path_for("link/f", root=str(tmp_path)) == f"{tmp_path}/link/f"
    data = sections(imported("link/f", root=str(tmp_path))[0])[0][1]  # type: ignore[arg-type]
    assert decode(data).path == "link/f"
    with pytest.raises(ValueError, match="not below"):
        imported("link/f", root=str(tmp_path / "real"))  # type: ignore[arg-type]


def test_names_need_not_be_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/f\xff"
    os.mkdir(folder)
    with open(folder + b"/\xe9.bin", "wb") as file:
        file.write(distinct(300))
    data, report = imported(os.fsdecode(folder))  # type: ignore[arg-type]
    assert report.reference_count == 1
    (_, reference), *_ = references_in(data, packed(os.fsdecode(folder), profile="lotus", wrap=False))  # type: ignore[arg-type]
    assert os.fsencode(reference.path).endswith(b"/f\xff/\xe9.bin")
    assert os.fsencode(reference.path) in sections(data)[0][1]


def test_folders_and_symlinks_as_pack_takes_them(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": {"f": distinct(500)}, "to": "a/f", ".hidden": distinct(700)[::-1]})
    for symlinks in ("keep", "follow", "skip"):
        profile = dataclasses.replace(SMALL, symlinks=symlinks)
        data, report = imported(tmp_path / "t", profile=profile, hidden=True)
        found = references_in(data, packed(tmp_path / "t", profile=profile, wrap=False, hidden=True))
        assert report.symlink_count == (symlinks == "keep")
        assert {at.path.rsplit("/", 1)[-1] for _, at in found} == {"f", ".hidden"}


def test_an_equal_leaf_is_referred_to_where_it_came_first(tmp_path: Path) -> None:
    chunk, other = distinct(100), bytes(100)
    write_tree(tmp_path / "t", {"a": other + chunk + other, "b": chunk})
    expected = {"once-by-cid": [("a", 0), ("a", 100)], "again": [("a", 0), ("a", 100), ("a", 200), ("b", 0)]}
    for duplicates, places in expected.items():
        profile: ImportProfile = dataclasses.replace(SMALL, duplicates=duplicates)  # type: ignore[arg-type]
        data, report = imported(tmp_path / "t", profile=profile)
        found = references_in(data, packed(tmp_path / "t", profile=profile, wrap=False))
        assert [(at.path[-1], at.offset) for _, at in found] == places
        assert report.duplicate_count == 4 - len(places)


def test_the_same_files_give_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", TREE | {"large": distinct(700_000)})
    profile = dataclasses.replace(SMALL, chunk_size=64 << 10)
    first, report = imported(tmp_path / "t", profile=profile, workers=1)
    assert imported(tmp_path / "t", profile=profile, workers=3) == (first, report)
    assert import_by_reference(tmp_path / "t", tmp_path / "o.car", profile=profile) == report
    assert (tmp_path / "o.car").read_bytes() == first


def test_originals_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(distinct(3000))
    path.chmod(0o400)
    before = path.stat()
    import_by_reference(path, tmp_path / "o.car", profile=SMALL)
    after = path.stat()
    assert path.read_bytes() == distinct(3000)
    for field in ("st_mtime_ns", "st_ctime_ns", "st_ino", "st_mode", "st_size"):
        assert getattr(before, field) == getattr(after, field)


@pytest.mark.parametrize("change", ["grow", "cut", "rewrite"])
def test_a_file_that_changes_meanwhile_leaves_no_archive(tmp_path: Path, monkeypatch: Any, change: str) -> None:
    write_tree(tmp_path / "t", {"a": distinct(100_000), "b": b"1"})
    path = tmp_path / "t" / "a"
    (tmp_path / "o.car").write_bytes(b"before")
    real = _tree.LocalFile.read_into

    def read_into(self: Any, buffer: memoryview) -> int:
        size = real(self, buffer)
        if self._got == 50_000:
            if change == "grow":
                with path.open("ab") as file:
                    file.write(b"more")
            elif change == "cut":
                os.truncate(path, 60_000)
            else:
                with path.open("r+b") as file:
                    file.write(b"other")
                os.utime(path, (1, 1))
        return size

    monkeypatch.setattr(_tree.LocalFile, "read_into", read_into)
    with pytest.raises(ChangedError, match="t/a was written to"):
        import_by_reference(tmp_path / "t", tmp_path / "o.car", profile=SMALL)
    assert (tmp_path / "o.car").read_bytes() == b"before"
    assert sorted(os.listdir(tmp_path)) == ["o.car", "t"]


def test_the_archive_is_never_written_over_an_original(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(distinct(3000))
    (tmp_path / "link").symlink_to("file")
    os.link(path, tmp_path / "other name")
    for out in ("file", "link", "other name"):
        with pytest.raises(ValueError, match="one of the originals"):
            import_by_reference(path, tmp_path / out)
    with path.open("r+b") as file, pytest.raises(ValueError, match="one of the originals"):
        import_by_reference([path], file)
    assert path.read_bytes() == distinct(3000)


@pytest.mark.parametrize("way", ["path", "symlink", "hard link", "open file", "hidden", "deep"])
def test_the_archive_is_never_written_over_a_file_in_an_imported_folder(tmp_path: Path, way: str) -> None:
    write_tree(tmp_path / "t", {"a": distinct(300), "b": distinct(200), ".c": b"fish", "d": {"e": {"f": b"is"}}})
    name = {"hidden": ".c", "deep": "d/e/f"}.get(way, "b")
    original = tmp_path / "t" / name
    before = original.read_bytes()
    out: Any = original
    with contextlib.ExitStack() as closing:
        if way == "symlink":
            out = tmp_path / "link"
            out.symlink_to(original)
        elif way == "hard link":
            out = tmp_path / "other name"
            out.hardlink_to(original)
        elif way == "open file":
            out = closing.enter_context(original.open("r+b"))
        for paths in (tmp_path / "t", [tmp_path / "t" / "a", tmp_path / "t"]):
            with pytest.raises(ValueError, match="one of the originals: it is not written over"):
                import_by_reference(paths, out, wrap=True, hidden=True, profile=SMALL)
    assert original.read_bytes() == before
    assert sorted(os.listdir(tmp_path / "t")) == [".c", "a", "b", "d"]


def test_files_that_symlinks_lead_to_are_originals_if_they_are_followed(tmp_path: Path) -> None:
    write_tree(tmp_path, {"t": {"a": distinct(300), "link": "../out"}, "out": b"fish"})
    followed = dataclasses.replace(SMALL, symlinks="follow")
    with pytest.raises(ValueError, match="one of the originals"):
        import_by_reference(tmp_path / "t", tmp_path / "out", profile=followed)
    assert (tmp_path / "out").read_bytes() == b"fish"
    assert import_by_reference(tmp_path / "t", tmp_path / "out", profile=SMALL).symlink_count == 1


def test_a_new_archive_in_an_imported_folder_is_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": distinct(300)})
    out = tmp_path / "t" / "out.car"
    report = import_by_reference(tmp_path / "t", out, hidden=True)
    data = out.read_bytes()
    assert report.file_count == 1
    with pytest.raises(ValueError, match="one of the originals"):
        import_by_reference(tmp_path / "t", out)
    assert out.read_bytes() == data
    import_by_reference(tmp_path / "t", tmp_path / "t" / ".out.car", profile=SMALL, hidden=False)
    out.unlink()
    again = import_by_reference(tmp_path / "t", tmp_path / "t" / ".out.car", hidden=False)
    assert again.file_count == 1


def test_leaves_that_nobody_could_read_are_not_referred_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(distinct(1000))
    profile = dataclasses.replace(SMALL, chunk_size=1000)
    with pytest.raises(LimitError):
        import_by_reference(tmp_path / "file", tmp_path / "o.car", profile=profile, limits=Limits(section=1035))
    assert not (tmp_path / "o.car").exists()
    assert imported(tmp_path / "file", profile=profile, limits=Limits(section=1036))[1].reference_count == 1


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe cannot be imported"):
        import_by_reference(tmp_path, tmp_path / "o.car")
    report = import_by_reference(tmp_path, io.BytesIO(), special="skip")
    assert [skipped.reason for skipped in report.skipped] == ["a named pipe"]
    with pytest.raises(FileNotFoundError):
        import_by_reference(tmp_path / "nothing", tmp_path / "o.car")
    with pytest.raises(ValueError, match="no path"):
        import_by_reference([], tmp_path / "o.car")
    with pytest.raises(ValueError, match="unknown import profile"):
        import_by_reference(tmp_path, tmp_path / "o.car", profile="kubo")
    assert not (tmp_path / "o.car").exists()


def test_a_reference_of_lotus_own_importer(tmp_path: Path) -> None:
    """The second MiB of a file has the record that section 6.5 of the format's description gives."""
    path = tmp_path / "input.bin"
    path.write_bytes(distinct(2 << 20))
    data, _ = imported(path, root=str(tmp_path))
    expected = "0a09696e7075742e62696e" + "10808040" + "18808040"
    assert sections(data)[1][1].hex() == expected
    leaf = CID.of_data(distinct(2 << 20)[1 << 20 :], hash="blake2b-256")
    assert references_in(imported(path)[0], packed(path, profile="lotus", wrap=False))[1] == (
        leaf,
        FileReference.of_path(path, 1 << 20, 1 << 20),
    )
