"""Imports that no longer work, and what puts them right: originals that moved, archives nobody knows, exports."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carv2._locks import create_locked
from carv2.errors import (
    CorruptReferenceError,
    FormatError,
    ImportNotFoundError,
    StateError,
)
from carv2.filestore import relocate
from carv2.imports import ImportsManager, Loaded, _moving, manager
from carv2.unixfs import pack, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.imports._export import Form

BIG = b"".join(bytes([number]) * (1 << 20) for number in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "repo" / "imports"


@pytest.fixture
def imports(folder: Path) -> Iterator[ImportsManager]:
    with ImportsManager(folder) as found:
        yield found


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "input.bin"
    path.parent.mkdir()
    path.write_bytes(BIG)
    return path


def content(imports: ImportsManager, id_: int) -> bytes:
    with imports.open(id_) as store:
        return b"".join(read(store, store.roots[0]))


def works(imports: ImportsManager, id_: int) -> bool:
    return imports.check(originals=True).ok and content(imports, id_) == BIG


# -- originals that moved ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_folder", [False, True])
def test_an_original_that_moved_is_followed(imports: ImportsManager, original: Path, as_folder: bool) -> None:
    added = imports.import_file(original)
    moved = original.parent.with_name("elsewhere")
    original.parent.rename(moved)
    (problem,) = imports.check(originals=True).problems
    assert problem.repair == f"carv2 imports relocate {added.id} {original}=NEW"
    moves = {str(original.parent): str(moved)} if as_folder else {str(original): str(moved / "input.bin")}
    after = imports.relocate(added.id, moves)
    assert after.filename == str(moved / "input.bin")
    assert {**after.labels, "filename": ""} == {**added.labels, "filename": ""}
    assert works(imports, added.id)
    assert not list(Path(imports.folder).glob(".carv2-*"))


def test_an_archive_that_was_relocated_without_the_label_is_told_and_repaired(
    imports: ImportsManager, original: Path
) -> None:
    added = imports.import_file(original)
    moved = original.with_name("moved.bin")
    original.rename(moved)
    relocate(str(added.car_path), str(added.car_path), {str(original): str(moved)})
    (problem,) = imports.check(originals=True).problems
    assert problem.repair.startswith(f"carv2 imports relocate {added.id} ")
    imports.relocate(added.id, {str(original): str(moved)})
    assert works(imports, added.id)


@pytest.mark.parametrize("where", ["the archive", "the record"])
def test_what_crashes_in_between_can_be_done_again(
    where: str, imports: ImportsManager, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = imports.import_file(original)
    moved = original.with_name("moved.bin")
    original.rename(moved)

    def crash(*_: object) -> None:
        raise OSError("the machine stops here")

    with monkeypatch.context() as patched:
        if where == "the archive":
            patched.setattr(manager, "replace_file", crash)
        else:
            patched.setattr(type(imports._catalogue), "set_labels", crash)
        with pytest.raises(OSError, match="stops here"):
            imports.relocate(added.id, {str(original): str(moved)})
    assert imports.info(added.id) == added
    assert not imports.check(originals=True).ok
    imports.relocate(added.id, {str(original): str(moved)})
    assert works(imports, added.id)


def test_nothing_changes_unless_the_bytes_are_there(
    imports: ImportsManager, original: Path, tmp_path: Path
) -> None:
    added = imports.import_file(original)
    before = Path(str(added.car_path)).read_bytes()
    (tmp_path / "other").write_bytes(BIG[::-1])
    with pytest.raises(CorruptReferenceError):
        imports.relocate(added.id, {str(original): str(tmp_path / "other")})
    with pytest.raises(CorruptReferenceError):
        imports.relocate(added.id, {str(original): str(tmp_path / "missing")})
    with pytest.raises(ValueError, match=f"it is of {original}"):
        imports.relocate(added.id, {"/no/such": str(tmp_path / "other")})
    with pytest.raises(ValueError, match="is at /no/such"):
        imports.relocate(added.id, {"/no/such": "/x", str(original): str(original)})
    with pytest.raises(ValueError, match="nothing of import"):
        imports.relocate(added.id, {})
    with pytest.raises(ImportNotFoundError):
        imports.relocate(1, {})
    assert imports.info(added.id) == added
    assert Path(str(added.car_path)).read_bytes() == before
    assert works(imports, added.id)


def test_a_label_alone_does_not_move_to_what_the_archive_does_not_mean(
    imports: ImportsManager, original: Path, tmp_path: Path
) -> None:
    added = imports.import_file(original)
    relocate(str(added.car_path), str(added.car_path), {str(original): "/gone"}, check="none")
    (tmp_path / "other").write_bytes(BIG)
    with pytest.raises(StateError, match="would not work"):
        imports.relocate(added.id, {str(original): str(tmp_path / "other")})
    assert imports.info(added.id) == added
    assert not list(Path(imports.folder).glob(".carv2-*"))


def test_a_part_of_a_folder_cannot_move_out_of_it(imports: ImportsManager, original: Path, tmp_path: Path) -> None:
    added = imports.import_file(original.parent)
    original.rename(tmp_path / "input.bin")
    with pytest.raises(ValueError, match="as a whole"):
        imports.relocate(added.id, {str(original): str(tmp_path / "input.bin")})
    (tmp_path / "input.bin").rename(original.with_name("renamed"))
    imports.relocate(added.id, {str(original): str(original.with_name("renamed"))})
    assert imports.check(originals=True).ok


def test_an_archive_of_the_users_that_moved(imports: ImportsManager, original: Path, tmp_path: Path) -> None:
    mine, moved = tmp_path / "mine.car", tmp_path / "moved.car"
    pack(original, mine, wrap=False)
    added = imports.add_car(mine)
    mine.rename(moved)
    (problem,) = imports.check().problems
    assert problem.repair == f"carv2 imports relocate {added.id} {mine}=NEW"
    after = imports.relocate(added.id, {str(mine): str(moved)})
    assert (after.car_path, after.filename, after.car_owner) == (str(moved), str(moved), "user")
    assert content(imports, added.id) == BIG
    with pytest.raises(ValueError, match="nothing of import"):
        imports.relocate(added.id, {str(mine): str(moved)})


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b/c", "/y/c"), ("/a/c", "/x/c"), ("/a", "/x"), ("/ab", "/ab"), ("/a/b", "/y")],
)
def test_the_longest_move_counts(path: str, expected: str) -> None:
    assert _moving.moved_path(path, {"/a": "/x", "/a/b": "/y"}) == expected


# -- archives that no import has ----------------------------------------------------------------------------------


def test_archives_of_a_lost_catalogue_are_told_and_can_be_removed(
    imports: ImportsManager, original: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "carv2.imports")
    numbers = [imports.import_file(original).id for _ in range(2)]
    imports.close()
    (folder / "catalogue.sqlite").unlink()
    (folder / "7.car").touch()
    (folder / "007.car").touch()  # no name of ours
    names = ["7.car", *(f"{number}.car" for number in numbers)]
    with ImportsManager(folder) as again:
        report = again.sanity
        assert report is not None
        assert (report.ok, report.total, sorted(report.strays)) == (False, 0, sorted(names))
        (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        fields: dict[str, Any] = told.__dict__
        assert (fields["count"], sorted(fields["names"])) == (3, sorted(names))
        with pytest.raises(ImportNotFoundError):
            again.remove(7, 8)
        assert (folder / "7.car").exists()
        again.remove(7, *numbers)
        assert again.check().ok
    assert not list(folder.glob("[1-9]*.car"))


def test_an_archive_that_a_record_leads_to_is_no_stray(
    imports: ImportsManager, original: Path, folder: Path
) -> None:
    pack(original, folder / "7.car", wrap=False)
    imports.add_car(folder / "7.car")
    assert imports.strays() == []
    with pytest.raises(ImportNotFoundError):
        imports.remove(7)
    assert (folder / "7.car").exists()


def test_an_import_under_way_is_no_stray(imports: ImportsManager, original: Path) -> None:
    seen: list[object] = []
    imports.import_file(
        original, on_progress=lambda _: seen.append((imports.strays(), imports.list()[0].filename))
    )
    assert set(map(str, seen)) == {str(([], str(original)))}
    with create_locked(Path(imports.folder) / "7.car"):  # before its record can be seen
        assert imports.strays() == []
    assert imports.strays() == ["7.car"]


def test_a_catalogue_that_is_junk_is_named_with_what_can_be_done(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "catalogue.sqlite").write_bytes(b"junk" * 1000)
    for read_only in (False, True):
        with pytest.raises(OSError, match=r"catalogue\.sqlite: file is not a database: move it away"):
            ImportsManager(folder, read_only=read_only)


# -- records ------------------------------------------------------------------------------------------------------


def test_records_go_round_in_python(imports: ImportsManager, original: Path, tmp_path: Path) -> None:
    imports.import_file(original)
    imports.create()
    with ImportsManager(tmp_path / "other") as other:
        assert other.load_records(imports.export_records(), trust=True) == Loaded(2, 0)
        lines = [line.encode() + b"\n" for line in imports.export_records()]
        assert other.load_records(lines, trust=True) == Loaded(0, 2)
        file = io.BytesIO("\n".join(imports.export_records()).encode())
        assert other.load_records(file, trust=True) == Loaded(0, 2)
        assert other.list() == imports.list()
        assert other.load_records([]) == Loaded(0, 0)
        with pytest.raises(TypeError, match="not one text"):
            other.load_records('{"id":"7","Labels":{}}')


def test_a_value_of_lotus_without_its_number_is_told_the_shape(imports: ImportsManager) -> None:
    with pytest.raises(FormatError, match=r'expected \{"id":"1629158672000000001","Labels":\{\.\.\.\}\} or'):
        imports.load_records(['{"Labels":{"source":"import"}}'])


# -- content ------------------------------------------------------------------------------------------------------


def test_an_import_comes_out_in_every_form(imports: ImportsManager, original: Path, tmp_path: Path) -> None:
    added = imports.import_file(original.parent)
    imports.export(added.id, tmp_path / "out")
    assert (tmp_path / "out" / "input.bin").read_bytes() == BIG
    imports.export(added.id, tmp_path / "file", path="input.bin")
    assert (tmp_path / "file").read_bytes() == BIG
    imports.export(added.id, tmp_path / "dense.car", form="car")
    with ImportsManager(tmp_path / "other") as other:
        assert other.add_car(tmp_path / "dense.car").root == added.root
    tar = io.BytesIO()
    imports.export(added.id, tar, form="tar")
    assert BIG in tar.getvalue()
    original.write_bytes(b"cut")
    with pytest.raises(CorruptReferenceError):
        imports.export(added.id, tmp_path / "again.car", form="car")
    with pytest.raises(ValueError, match="form"):
        imports.export(added.id, tmp_path / "again.car", form="zip")  # type: ignore[arg-type]


# -- reading alone ------------------------------------------------------------------------------------------------


def test_where_there_is_nothing_reading_makes_nothing(folder: Path, original: Path) -> None:
    with ImportsManager(folder, read_only=True) as found:
        assert found.list() == []
        with pytest.raises(OSError, match="readonly"):
            found.create()
    assert not folder.exists()
    with ImportsManager(folder) as imports:
        added = imports.import_file(original)
    with ImportsManager(folder, read_only=True) as found:
        assert found.list() == [added]
        with pytest.raises(OSError, match="readonly"):
            found.remove(added.id)
        assert content(found, added.id) == BIG
    assert sorted(os.listdir(folder)) == [f"{added.id}.car", "catalogue.sqlite"]


# -- what is read is not written over -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["car", "tar", "unixfs"])
def test_nothing_is_exported_over_what_it_comes_from(
    imports: ImportsManager, original: Path, tmp_path: Path, form: Form
) -> None:
    entry = imports.import_file(original)
    before = original.read_bytes()
    (tmp_path / "link").symlink_to(original)
    for out in (original, tmp_path / "link", entry.car_path, os.path.join(imports.folder, "new")):
        with pytest.raises(ValueError, match="which it comes from"):
            imports.export(entry.id, str(out), form=form, existing="replace")
    assert original.read_bytes() == before
    assert imports.check(originals=True).ok
