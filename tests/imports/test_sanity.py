"""The check on opening: its messages to the letter, what it finds, and that one broken import stops no other."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carv2.cid import CID
from carv2.errors import ImportNotFoundError
from carv2.filestore import FileReference, import_by_reference
from carv2.filestore._following import Follower
from carv2.imports import Import, ImportsManager, _archives
from carv2.imports.sanity import FIELDS, check_imports
from carv2.unixfs import pack
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FISH, LOBSTER = archives.FISH, archives.LOBSTER
BIG = b"".join(bytes([number]) * (1 << 20) for number in range(5))

STARTED: tuple[str, str, dict[str, Any]] = ("INFO", "sanity checking imports", {})
NO_PATH = "import lacks carv2 path; import will not work; please reimport"
BROKEN = "import has missing/broken carv2; please reimport"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "carv2.imports")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "imports"


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "input.bin"
    path.write_bytes(BIG)
    return path


@pytest.fixture
def imports(folder: Path) -> Iterator[ImportsManager]:
    with ImportsManager(folder, check=None) as manager:
        yield manager


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, dict[str, Any]]]:
    """Level, text and fields of what was logged since this was called last."""
    found = []
    for record in caplog.records:
        assert record.name == "carv2.imports"
        fields = {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        found.append((record.levelname, record.getMessage(), fields))
    caplog.clear()
    return found


def test_where_all_is_well_it_says_so(
    imports: ImportsManager, original: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    added = imports.import_file(original)
    with ImportsManager(folder) as again:
        report = again.sanity
    assert report is not None
    assert report.ok
    assert (report.total, report.broken, report.problems) == (1, 0, ())
    context = {"import_id": added.id, "source": "import", "root": str(added.root), "original": str(original)}
    size = os.path.getsize(str(added.car_path))
    assert logged(caplog) == [
        STARTED,
        ("INFO", "import ok", {**context, "size": size}),
        ("INFO", "sanity check completed", {"total": 1, "broken": 0}),
    ]


def test_without_imports_it_says_little(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ImportsManager(folder).close()
    assert logged(caplog) == [STARTED, ("INFO", "sanity check completed", {"total": 0, "broken": 0})]


def test_each_fault_has_its_message_and_stops_no_other(
    imports: ImportsManager, original: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lacking, empty_path = imports.create(), imports.create()
    imports.add_label(empty_path, "car_path", "")
    gone, damaged, fine = (imports.import_file(original) for _ in range(3))
    Path(str(gone.car_path)).unlink()
    with sqlite3.connect(folder / "catalogue.sqlite") as database:
        database.execute("UPDATE imports SET labels = '[' WHERE id = ?", [damaged.id])
    database.close()
    with ImportsManager(folder) as again:
        report = again.sanity
    lines = logged(caplog)
    assert [(level, text, fields.get("import_id")) for level, text, fields in lines] == [
        ("INFO", "sanity checking imports", None),
        ("WARNING", NO_PATH, lacking),
        ("WARNING", BROKEN, empty_path),
        ("WARNING", BROKEN, gone.id),
        ("WARNING", "failed to query metadata for import; skipping", damaged.id),
        ("INFO", "import ok", fine.id),
        ("INFO", "sanity check completed", None),
    ]
    assert lines[-1][2] == {"total": 5, "broken": 3}
    assert lines[1][2]["source"] == "unknown"
    assert "No such file" in lines[3][2]["reason"]
    assert "no JSON" in lines[4][2]["error"]
    assert report is not None
    assert not report.ok
    assert (report.total, report.broken, report.skipped, report.under_way) == (5, 3, 1, 0)
    assert [(each.id, each.message) for each in report.problems] == [
        (fields["import_id"], text) for _, text, fields in lines if _ == "WARNING"
    ]
    assert [entry.id for entry in imports.list()] == [lacking, empty_path, gone.id, damaged.id, fine.id]
    assert [bool(entry.error) for entry in imports.list()] == [False, False, False, True, False]
    imports.remove(damaged.id)


def test_imports_that_cannot_be_listed_end_it(
    imports: ImportsManager, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    imports.create()
    with sqlite3.connect(folder / "catalogue.sqlite") as database:
        database.execute("DROP TABLE imports")
    database.close()
    with ImportsManager(folder) as again:
        report = again.sanity
    assert report is not None
    assert not report.ok
    found = logged(caplog)
    assert found[0] == STARTED
    assert found[1][:2] == ("WARNING", "failed to enumerate imports on initialization")
    assert "no such table" in found[1][2]["error"]
    assert len(found) == 2


ONE = archives.v1([FISH[0]], [LOBSTER, FISH])


def in_its_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something else where a file is."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def edited(path: Path, edit: Callable[[bytes], bytes]) -> None:
    before = path.read_bytes()
    after = edit(before)
    assert after != before
    path.write_bytes(after)


FAULTS: dict[str, Callable[[Path], object]] = {
    "is empty": lambda path: path.write_bytes(b""),
    "is something else": lambda path: path.write_bytes(b"something else altogether"),
    "is zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "is a folder": in_its_place(Path.mkdir),
    "is a named pipe": in_its_place(os.mkfifo),
    "is a device": in_its_place(lambda path: path.symlink_to(os.devnull)),
    "is a loop": in_its_place(lambda path: path.symlink_to(path)),
    "is another archive": lambda path: path.write_bytes(archives.v2(ONE)),
    "has no roots": lambda path: path.write_bytes(archives.v1([], [FISH])),
    "was never finished": lambda path: edited(path, lambda data: data[:11] + bytes(40) + data[51:]),
    "has no index": lambda path: edited(path, lambda data: data[:-1]),
    "has an index of another archive": lambda path: edited(path, with_other_index),
    "has a damaged root": lambda path: edited(path, lambda data: data.replace(b"\x08\x02\x18", b"\x08\x02\x19")),
}


def with_other_index(data: bytes) -> bytes:
    index_at = int.from_bytes(data[43:51], "little")
    return data[:index_at] + archives.index_multihash_sorted(
        archives.records_of(archives.header([FISH[0]]), [LOBSTER, FISH])
    )


def broken_reason(imports: ImportsManager) -> str:
    report = imports.check()
    assert report.total == 2
    assert report.broken == 1, report
    assert [each.message for each in report.problems] == [BROKEN]
    return report.problems[0].reason


@pytest.mark.parametrize("fault", FAULTS)
def test_an_archive_that_does_not_work_is_broken(fault: str, imports: ImportsManager, original: Path) -> None:
    added, _ = imports.import_file(original), imports.import_file(original)
    FAULTS[fault](Path(str(added.car_path)))
    assert broken_reason(imports)


def test_an_archive_that_is_cut_anywhere_is_broken(imports: ImportsManager, original: Path) -> None:
    added, _ = imports.import_file(original), imports.import_file(original)
    path = Path(str(added.car_path))
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        assert broken_reason(imports), size


@pytest.mark.parametrize("form", ["v1", "v2", "v2 with an index"])
def test_an_archive_of_the_users_that_is_cut_anywhere_is_broken(
    form: str, imports: ImportsManager, tmp_path: Path
) -> None:
    index = archives.index_multihash_sorted(archives.records_of(archives.header([FISH[0]]), [LOBSTER, FISH]))
    data = {"v1": ONE, "v2": archives.v2(ONE), "v2 with an index": archives.v2(ONE, index)}[form]
    path = tmp_path / "mine.car"
    path.write_bytes(data)
    (tmp_path / "fine.car").write_bytes(data)
    imports.add_car(path)
    imports.add_car(tmp_path / "fine.car")
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert broken_reason(imports), size


@pytest.mark.parametrize("form", [archives.v2, bytes])
def test_a_large_archive_without_an_index_is_gone_through_on_request(
    form: Callable[[bytes], bytes], imports: ImportsManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.car").write_bytes(form(ONE))
    imports.add_car(tmp_path / "mine.car")
    damaged = form(ONE.replace(LOBSTER[0], b"\xff" * len(LOBSTER[0])))
    (tmp_path / "mine.car").write_bytes(damaged)
    assert not imports.check().ok
    monkeypatch.setattr(_archives, "SCAN_LIMIT", len(damaged) - 1)
    assert imports.check().ok
    assert not imports.check(originals=True).ok
    (tmp_path / "mine.car").write_bytes(archives.v2(ONE)[:-1] + b"")
    assert not imports.check().ok


@pytest.mark.parametrize("root", ["", "no CID", str(CID(LOBSTER[0]))])
def test_a_root_that_is_not_the_archives_is_broken(root: str, imports: ImportsManager, original: Path) -> None:
    added, _ = imports.import_file(original), imports.import_file(original)
    imports.add_label(added.id, "root", root)
    assert "root" in broken_reason(imports)


def test_an_archive_without_a_root_label_is_broken(imports: ImportsManager, original: Path) -> None:
    imports.import_file(original)
    id_ = imports.create()
    import_by_reference(original, imports.allocate_car(id_))
    assert broken_reason(imports) == "the import was not finished: it has no root"


def test_a_repo_that_was_moved_is_broken_and_originals_are_not_missed(
    imports: ImportsManager, original: Path, folder: Path, tmp_path: Path
) -> None:
    imports.import_file(original)
    imports.close()
    shutil.move(folder, tmp_path / "moved")
    with ImportsManager(tmp_path / "moved") as moved:
        assert moved.sanity is not None
        assert moved.sanity.broken == 1
        moved.remove(moved.list()[0].id)


# -- originals --------------------------------------------------------------------------------------------------


LOST: dict[str, tuple[str, Callable[[Path], object]]] = {
    "gone": ("no-file", Path.unlink),
    "shorter by a byte": ("changed", lambda path: os.truncate(path, len(BIG) - 1)),
    "other at the front": ("changed", lambda path: path.write_bytes(b"x" + BIG[1:])),
    "other at the end": ("changed", lambda path: path.write_bytes(BIG[:-1] + b"x")),
    "a folder now": ("error", in_its_place(Path.mkdir)),
    "a named pipe now": ("error", in_its_place(os.mkfifo)),
    "elsewhere": ("no-file", lambda path: path.rename(path.with_name("elsewhere"))),
}


@pytest.mark.parametrize("what", LOST)
def test_originals_are_looked_at_on_request(
    what: str, imports: ImportsManager, original: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    imports.import_file(original)
    status, change = LOST[what]
    change(original)
    with ImportsManager(folder) as again:
        assert again.sanity is not None
        assert again.sanity.ok
    caplog.clear()
    with ImportsManager(folder, check="originals") as again:
        assert again.sanity is not None
        assert again.sanity.broken == 1
    level, text, fields = logged(caplog)[1]
    assert (level, text, fields["status"]) == ("WARNING", BROKEN, status)
    assert fields["reason"]


def test_leaves_are_drawn_from_everywhere(imports: ImportsManager, original: Path) -> None:
    imports.import_file(original)
    original.write_bytes(BIG[: 1 << 20] + bytes(3 << 20)[:-1] + b"!" + BIG[4 << 20 :])  # ends as they were
    assert imports.check(originals=True, samples=2).ok
    assert not imports.check(originals=True, samples=200).ok


def test_the_number_of_leaves_that_are_read_is_bounded(
    imports: ImportsManager, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports.import_file(original)
    reads: list[FileReference] = []
    whole = Follower.read

    def noted(self: Follower, reference: FileReference) -> bytes:
        reads.append(reference)
        return whole(self, reference)

    monkeypatch.setattr(Follower, "read", noted)
    assert imports.check(originals=True, samples=3).ok
    assert 2 <= len(reads) <= 3
    assert {reference.offset for reference in reads} >= {0, 4 << 20}
    reads.clear()
    assert imports.check(originals=True, samples=500).ok
    assert len(reads) == 5  # each leaf once
    reads.clear()
    assert imports.check().ok
    assert reads == []


def test_a_folder_of_originals_is_sampled_too(imports: ImportsManager, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.raw").write_bytes(bytes([number]) * 3_000_000)
    imports.import_file(tmp_path / "photos")
    assert imports.check(originals=True).ok
    (tmp_path / "photos" / "2.raw").unlink()
    assert not imports.check(originals=True).ok


def test_a_dense_archive_of_ours_has_no_originals(imports: ImportsManager, original: Path) -> None:
    id_ = imports.create()
    root = pack(original, imports.allocate_car(id_), wrap=False).root
    imports.add_label(id_, "root", str(root))
    original.unlink()
    assert imports.check(originals=True).ok


@pytest.mark.parametrize("size", [0, 1, 127])
def test_an_original_of_one_leaf_or_none_is_sampled(size: int, imports: ImportsManager, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(size))
    imports.import_file(tmp_path / "small")
    assert imports.check(originals=True).ok
    (tmp_path / "small").write_bytes(b"x" * size)
    assert imports.check(originals=True).ok is (size < 127)  # the others are within their CIDs


class Meanwhile:
    """Imports of which one is another each time that it is looked at."""

    def __init__(self, imports: ImportsManager, *states: Import | None) -> None:
        self.ids, self._states = imports.ids, iter(states)

    def info(self, id_: int) -> Import:
        found = next(self._states)
        if found is None:
            raise ImportNotFoundError(id_)
        return found

    def is_under_way(self, entry: Import) -> bool:
        return False

    def strays(self) -> list[str]:
        return []


def test_an_import_that_is_removed_meanwhile_is_not_broken(imports: ImportsManager, original: Path) -> None:
    added = imports.import_file(original)
    Path(str(added.car_path)).unlink()
    assert check_imports(Meanwhile(imports, None)).ok
    assert check_imports(Meanwhile(imports, added, None)).ok
    assert not check_imports(Meanwhile(imports, added, added)).ok


def test_an_import_that_is_finished_meanwhile_is_not_broken(imports: ImportsManager, original: Path) -> None:
    added = imports.import_file(original)
    begun = Import.of(added.id, {"source": "unknown", "car_path": str(added.car_path), "car_owner": "importmgr"})
    assert check_imports(Meanwhile(imports, begun, added)).ok
    assert not check_imports(Meanwhile(imports, begun, begun, begun)).ok
