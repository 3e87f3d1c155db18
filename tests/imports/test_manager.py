"""Imports: what is recorded, what is served, and what is never deleted."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ChangedError,
    ClosedError,
    CorruptReferenceError,
    FormatError,
    ImportNotFoundError,
    LockedError,
    StateError,
)
from carv2.filestore import import_by_reference
from carv2.filestore.store import FileStore
from carv2.imports import ImportsManager
from carv2.unixfs import pack, profile_of, read, walk_entries
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FISH, LOBSTER = archives.FISH, archives.LOBSTER
BIG = bytes(range(256)) * (5 << 12)  # five chunks of Lotus' size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "repo" / "imports"


@pytest.fixture
def imports(folder: Path) -> Iterator[ImportsManager]:
    with ImportsManager(folder) as manager:
        yield manager


@pytest.fixture
def original(tmp_path: Path) -> Path:
    path = tmp_path / "input.bin"
    path.write_bytes(BIG)
    return path


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("catalogue.sqlite")}


def content(imports: ImportsManager, id_: int) -> bytes:
    with imports.open(id_) as store:
        return b"".join(read(store, store.roots[0]))


# -- importing --------------------------------------------------------------------------------------------------


def test_an_import_has_lotus_labels_and_serves_the_file(
    imports: ImportsManager, original: Path, folder: Path, tmp_path: Path
) -> None:
    added = imports.import_file(original)
    assert added.labels == {
        "source": "import",
        "root": str(pack(original, tmp_path / "dense.car", profile="lotus", wrap=False).root),
        "filename": str(original),
        "car_path": str(folder / f"{added.id}.car"),
        "car_owner": "importmgr",
    }
    assert imports.list() == [added]
    assert imports.info(added.id) == added
    assert added.root is not None
    assert imports.find(str(added.root)) == added
    assert content(imports, added.id) == BIG
    assert os.path.getsize(str(added.car_path)) < len(BIG) / 1000


def test_the_archive_is_that_of_import_by_reference(
    imports: ImportsManager, original: Path, tmp_path: Path
) -> None:
    for variant in "AD":
        added = imports.import_file(original, variant=variant, profile="unixfs-v1-2025")
        import_by_reference(original, tmp_path / "out", variant=variant, profile="unixfs-v1-2025")
        assert Path(str(added.car_path)).read_bytes() == (tmp_path / "out").read_bytes()


def test_paths_become_absolute_and_keep_their_symlinks(
    imports: ImportsManager, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(original)
    monkeypatch.chdir(tmp_path)
    added = imports.import_file("link")
    assert added.filename == str(tmp_path / "link")
    assert content(imports, added.id) == BIG
    with imports.open(added.id) as store:
        assert isinstance(store, FileStore)
        assert {reference.full_path() for _, reference in store.references()} == {str(tmp_path / "link")}


def test_a_symlink_to_a_folder_is_followed_and_those_in_it_are_kept(
    imports: ImportsManager, original: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "inner").symlink_to("../input.bin")
    (tmp_path / "photos" / "file").write_bytes(BIG)
    (tmp_path / "link").symlink_to("photos")
    direct, linked = imports.import_file(tmp_path / "photos"), imports.import_file(tmp_path / "link")
    assert linked.root == direct.root
    assert linked.filename == str(tmp_path / "link")
    with imports.open(linked.id) as store:
        assert [(entry.path, entry.kind) for entry in walk_entries(store, store.roots[0])] == [
            ("", "directory"),
            ("file", "file"),
            ("inner", "symlink"),
        ]
    assert imports.check(originals=True).ok


@pytest.mark.parametrize("data", [b"", b"x", b"y" * 126, b"z" * 127, b"two" * (1 << 19)])
def test_files_that_are_small_have_roots_of_all_kinds(
    data: bytes, imports: ImportsManager, tmp_path: Path
) -> None:
    (tmp_path / "small").write_bytes(data)
    added = imports.import_file(tmp_path / "small")
    assert content(imports, added.id) == data
    assert imports.check(originals=True).ok


def test_a_folder_is_imported_with_what_is_asked_for(imports: ImportsManager, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a").write_bytes(BIG)
    (tmp_path / "photos" / ".b").write_bytes(b"b" * 1000)
    os.mkfifo(tmp_path / "photos" / "pipe")
    with pytest.raises(OSError, match="pipe"):
        imports.import_file(tmp_path / "photos")
    counts: list[tuple[int, int]] = []
    seen: list[int] = []
    for hidden, wrap in ((None, False), (True, True)):
        imports.import_file(
            tmp_path / "photos",
            hidden=hidden,
            wrap=wrap,
            special="skip",
            on_progress=seen.append,
            on_report=lambda report: counts.append((report.file_count, report.directory_count)),
        )
    assert counts == [(1, 1), (2, 2)]
    assert sum(seen) == 2 * len(BIG) + 1000
    assert imports.check(originals=True).ok


def test_the_first_of_several_with_a_root_is_found(imports: ImportsManager, original: Path) -> None:
    first, second = imports.import_file(original), imports.import_file(original)
    assert first.id < second.id
    assert first.root == second.root
    assert first.root is not None
    assert imports.find(first.root) == first
    imports.remove(first.id)
    assert imports.find(first.root) == second
    assert imports.find(CID.of_data(b"never")) is None


def fail(_count: int) -> None:
    raise KeyboardInterrupt


def test_an_import_that_fails_leaves_nothing(imports: ImportsManager, original: Path, folder: Path) -> None:
    def grow(_count: int) -> None:
        with original.open("ab") as file:
            file.write(b"more")

    calls: list[tuple[type[BaseException], Callable[[], object]]] = [
        (FileNotFoundError, lambda: imports.import_file("missing")),
        (ValueError, lambda: imports.import_file(original, profile="none")),
        (ValueError, lambda: imports.import_file(original, variant="X")),
        (KeyboardInterrupt, lambda: imports.import_file(original, on_progress=fail)),
        (ChangedError, lambda: imports.import_file(original, on_progress=grow)),
        (OSError, lambda: imports.import_file(os.devnull)),
    ]
    for kind, call in calls:
        with pytest.raises(kind):
            call()
        assert imports.list() == [], kind
        assert left_in(folder) == set(), kind


FULL_DISK = """
import resource, signal, sys
sys.path[:0] = {path!r}
from dataclasses import replace
from carv2.imports import ImportsManager
from carv2.unixfs import profile_of
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with ImportsManager(sys.argv[1]) as imports:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        imports.import_file(sys.argv[2], profile=replace(profile_of("lotus"), chunk_size=1024, inline_limit=None))
    except OSError as error:
        print(type(error).__name__, imports.list())
"""


def test_a_disk_that_is_full_leaves_nothing(original: Path, folder: Path) -> None:
    assert resource.RLIMIT_FSIZE
    assert signal.SIGXFSZ
    data = b"".join(number.to_bytes(1024, "big") for number in range(5000))
    original.write_bytes(data)
    script = FULL_DISK.format(path=[entry for entry in sys.path if entry])
    ran = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(original)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "OSError []\n"
    assert left_in(folder) == set()


def test_the_folder_of_the_imports_is_not_imported(imports: ImportsManager, folder: Path, tmp_path: Path) -> None:
    for path in (folder, folder.parent, tmp_path):
        with pytest.raises(ValueError, match="the imports are kept in it"):
            imports.import_file(path)
    assert imports.list() == []
    (tmp_path / "home" / ".carv2").mkdir(parents=True)
    with ImportsManager(tmp_path / "home" / ".carv2" / "imports") as others:
        assert others.import_file(tmp_path / "home")
        with pytest.raises(ValueError, match="the imports are kept in it"):
            others.import_file(tmp_path / "home", hidden=True)


# -- records by hand --------------------------------------------------------------------------------------------


def test_who_makes_archives_by_hand_gets_a_place_for_them(imports: ImportsManager, folder: Path) -> None:
    id_ = imports.create()
    assert imports.info(id_).labels == {"source": "unknown"}
    path = imports.allocate_car(id_)
    assert path == str(folder / f"{id_}.car")
    assert Path(path).read_bytes() == b""
    assert imports.info(id_).labels == {"source": "unknown", "car_path": path, "car_owner": "importmgr"}
    with pytest.raises(StateError, match=f"^import CAR already exists at {path}$"):
        imports.allocate_car(id_)
    Path(path).write_bytes(archives.v1([FISH[0]], [FISH]))
    imports.add_label(id_, "root", str(CID(FISH[0])))
    imports.add_label(id_, "colour", "red")
    assert imports.info(id_).labels["colour"] == "red"
    assert imports.check().ok
    imports.remove(id_)
    assert left_in(folder) == set()


def test_an_archive_is_not_allocated_over_a_file(imports: ImportsManager, folder: Path) -> None:
    id_ = imports.create()
    (folder / f"{id_}.car").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        imports.allocate_car(id_)
    assert (folder / f"{id_}.car").read_bytes() == b"somebody's"
    assert imports.info(id_).labels == {"source": "unknown"}
    imports.remove(id_)
    assert (folder / f"{id_}.car").exists()


def test_an_empty_label_is_no_archive(imports: ImportsManager) -> None:
    id_ = imports.create()
    imports.add_label(id_, "car_path", "")
    assert imports.info(id_).car_path == ""
    assert Path(imports.allocate_car(id_)).exists()


@pytest.mark.parametrize("call", ["info", "remove", "allocate_car", "open"])
def test_an_import_that_is_not_there(call: str, imports: ImportsManager, folder: Path) -> None:
    with pytest.raises(ImportNotFoundError, match="there is no import 7"):
        getattr(imports, call)(7)
    with pytest.raises(ImportNotFoundError):
        imports.add_label(7, "a", "b")
    assert left_in(folder) == set()


def test_a_closed_manager_says_so(imports: ImportsManager, original: Path) -> None:
    imports.close()
    imports.close()
    for call in (imports.list, imports.create, lambda: imports.import_file(original)):
        with pytest.raises(ClosedError):
            call()


# -- archives of the user's -------------------------------------------------------------------------------------

ONE = archives.v1([FISH[0]], [LOBSTER, FISH])
SOUND = {
    "v1": ONE,
    "v2": archives.v2(ONE),
    "v2 with an index": archives.v2(
        ONE, archives.index_multihash_sorted(archives.records_of(archives.header([FISH[0]]), [LOBSTER, FISH]))
    ),
}


@pytest.mark.parametrize("form", SOUND)
def test_an_archive_is_taken_in_where_it_is(form: str, imports: ImportsManager, tmp_path: Path) -> None:
    path = tmp_path / "mine.car"
    path.write_bytes(SOUND[form])
    added = imports.add_car(path)
    assert added.labels == {
        "source": "import",
        "root": str(CID(FISH[0])),
        "filename": str(path),
        "car_path": str(path),
        "car_owner": "user",
    }
    with imports.open(added.id) as store:
        assert isinstance(store, ReadOnlyBlockstore)
        assert store[CID(LOBSTER[0])] == LOBSTER[1]
    assert imports.check(originals=True).ok
    imports.remove(added.id)
    assert path.read_bytes() == SOUND[form]


TWO_ROOTS = archives.v1([FISH[0], LOBSTER[0]], [FISH, LOBSTER])
UNSOUND: dict[str, tuple[bytes, type[Exception], str]] = {
    "no roots": (archives.v1([], [FISH]), FormatError, "one and only one root, found 0"),
    "two roots": (TWO_ROOTS, FormatError, "one and only one root, found 2"),
    "two roots in v2": (archives.v2(TWO_ROOTS), FormatError, "one and only one root, found 2"),
    "nothing": (b"", FormatError, "CAR header"),
    "no archive": (b"hello", FormatError, "."),
    "cut": (ONE[:-1], FormatError, "section"),
    "unfinished": (archives.PRAGMA + bytes(40) + ONE, FormatError, "."),
    "without its root": (archives.v1([FISH[0]], [LOBSTER]), BlockNotFoundError, "."),
    "with a damaged root": (ONE[:-1] + b"?", CarError, "."),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNSOUND)
def test_an_archive_that_would_not_work_is_refused(fault: str, imports: ImportsManager, tmp_path: Path) -> None:
    data, kind, text = UNSOUND[fault]
    (tmp_path / "mine.car").write_bytes(data)
    with pytest.raises(kind, match=text):
        imports.add_car(tmp_path / "mine.car")
    assert imports.list() == []


def test_what_is_no_file_is_refused(imports: ImportsManager, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", os.devnull):
        with pytest.raises(OSError, match=r"regular file|No such file"):
            imports.add_car(path)
    assert imports.list() == []


def test_references_in_the_users_archive_are_not_followed(
    imports: ImportsManager, original: Path, tmp_path: Path
) -> None:
    import_by_reference(original, tmp_path / "mine.car")
    with pytest.raises(StateError, match="import the original itself"):
        imports.add_car(tmp_path / "mine.car")
    assert imports.list() == []
    id_ = imports.create()  # as a record of somebody else's may have it
    root = import_by_reference(original, tmp_path / "mine.car").root
    for key, value in {"root": str(root), "car_path": str(tmp_path / "mine.car"), "car_owner": "user"}.items():
        imports.add_label(id_, key, value)
    with pytest.raises(BlockNotFoundError):
        content(imports, id_)
    (problem,) = imports.check().problems
    assert "ref-CAR" in problem.reason


def test_an_archive_of_ours_leads_to_its_original_alone(
    imports: ImportsManager, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(BIG)
    added = imports.import_file(original)
    import_by_reference(secret, str(added.car_path))
    with pytest.raises(CorruptReferenceError, match="not allowed"):
        content(imports, added.id)
    imports.add_label(added.id, "filename", "secret")  # relative to anything
    with pytest.raises(CorruptReferenceError, match="not allowed"):
        content(imports, added.id)


def test_an_original_that_is_gone_is_told_by_its_status(imports: ImportsManager, original: Path) -> None:
    added = imports.import_file(original)
    original.unlink()
    with imports.open(added.id) as store:
        assert isinstance(store, FileStore)
        with pytest.raises(CorruptReferenceError) as caught:
            list(read(store, store.roots[0]))
    assert str(caught.value.status) == "no-file"


# -- removing ---------------------------------------------------------------------------------------------------

ELSEWHERE: dict[str, Callable[[Path, int, Path], str]] = {
    "the victim": lambda folder, id_, victim: str(victim),
    "another import's": lambda folder, id_, victim: str(folder / "1.car"),
    "the catalogue": lambda folder, id_, victim: str(folder / "catalogue.sqlite"),
    "below the folder": lambda folder, id_, victim: str(folder / "sub" / f"{id_}.car"),
    "up and away": lambda folder, id_, victim: str(folder / ".." / "out" / f"{id_}.car"),
    "through a symlink": lambda folder, id_, victim: str(folder / "link" / f"{id_}.car"),
    "relative": lambda folder, id_, victim: f"{id_}.car",
    "nothing": lambda folder, id_, victim: "",
    "a folder": lambda folder, id_, victim: str(folder) + "/",
    "a zero byte": lambda folder, id_, victim: f"\0/{id_}.car",
    "no path at all": lambda folder, id_, victim: f"\ud800/{id_}.car",
    "an endless path": lambda folder, id_, victim: "x/" * 5000 + f"{id_}.car",
}


def everything_below(path: Path) -> set[str]:
    names = {str(found.relative_to(path)) for found in path.rglob("*")}
    return {name for name in names if "catalogue.sqlite-" not in name}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_label_never_makes_us_delete_what_is_not_ours(
    where: str, imports: ImportsManager, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = imports.create()
    for place in (folder, folder / "sub", folder.parent / "out", tmp_path):
        place.mkdir(exist_ok=True)
        (place / f"{id_}.car").write_bytes(b"theirs")
    (folder / "link").symlink_to(folder.parent / "out")
    (folder / "1.car").write_bytes(b"of another import")
    (tmp_path / "victim").write_bytes(b"theirs")
    monkeypatch.chdir(tmp_path)
    imports.add_label(id_, "car_owner", "importmgr")
    imports.add_label(id_, "car_path", ELSEWHERE[where](folder, id_, tmp_path / "victim"))
    before = everything_below(tmp_path)
    assert not imports.check().ok
    imports.remove(id_)
    assert imports.list() == []
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("owner", ["user", None, "", "ImportMgr"])
def test_only_what_is_labelled_ours_is_deleted(owner: str | None, imports: ImportsManager, folder: Path) -> None:
    id_ = imports.create()
    (folder / f"{id_}.car").write_bytes(b"theirs")
    imports.add_label(id_, "car_path", str(folder / f"{id_}.car"))
    if owner is not None:
        imports.add_label(id_, "car_owner", owner)
    imports.remove(id_)
    assert (folder / f"{id_}.car").read_bytes() == b"theirs"


def test_a_symlink_in_the_place_of_our_archive_goes_and_what_it_leads_to_stays(
    imports: ImportsManager, original: Path, folder: Path
) -> None:
    added = imports.import_file(original)
    moved = original.parent / "moved.car"
    Path(str(added.car_path)).rename(moved)
    Path(str(added.car_path)).symlink_to(moved)
    assert content(imports, added.id) == BIG
    imports.remove(added.id)
    assert moved.exists()
    assert left_in(folder) == set()


def test_a_folder_that_is_reached_through_a_symlink_is_ours(
    imports: ImportsManager, original: Path, folder: Path, tmp_path: Path
) -> None:
    added = imports.import_file(original)
    (tmp_path / "link").symlink_to(folder)
    with ImportsManager(tmp_path / "link") as again:
        again.remove(added.id)
        second = again.import_file(original)
    assert left_in(folder) == {f"{second.id}.car"}
    imports.remove(second.id)
    assert left_in(folder) == set()


def test_an_archive_that_cannot_be_deleted_keeps_its_import(
    imports: ImportsManager, original: Path, folder: Path
) -> None:
    added = imports.import_file(original)
    Path(str(added.car_path)).unlink()
    Path(str(added.car_path)).mkdir()
    with pytest.raises(OSError, match="car"):
        imports.remove(added.id)
    assert imports.info(added.id) == added
    Path(str(added.car_path)).rmdir()
    imports.remove(added.id)  # an archive that is gone is none to delete
    assert imports.list() == []


def test_an_import_under_way_cannot_be_removed(imports: ImportsManager, original: Path) -> None:
    caught: list[BaseException] = []

    def remove(_count: int) -> None:
        try:
            imports.remove(imports.list()[0].id)
        except LockedError as error:
            caught.append(error)

    added = imports.import_file(original, on_progress=remove)
    assert len(caught) == 5
    assert content(imports, added.id) == BIG


# -- Lotus' records ---------------------------------------------------------------------------------------------


def test_records_go_from_one_catalogue_to_another(imports: ImportsManager, original: Path, tmp_path: Path) -> None:
    added = [imports.import_file(original), imports.import_file(original, profile="go-car")]
    text = "".join(f"{line}\n" for line in imports.export_records())
    (tmp_path / "records").write_text(text)
    with ImportsManager(tmp_path / "other") as others, (tmp_path / "records").open("rb") as file:
        assert others.load_records(file, trust=True) == (2, 0)
        file.seek(0)
        assert others.load_records(file, trust=True) == (0, 2)
        assert others.list() == added
        assert content(others, added[0].id) == BIG
        assert others.create() > added[1].id
        others.remove(added[0].id)
    assert Path(str(added[0].car_path)).exists()  # it is the first manager's


def test_records_of_strangers_lead_nowhere_and_own_nothing(imports: ImportsManager, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"nobody allowed this " * 100)
    report = import_by_reference(tmp_path / "secret", tmp_path / "evil.car")
    foreign = Path(imports.folder) / "77.car"
    foreign.write_bytes(b"somebody else's")
    labels = {"source": "import", "root": str(report.root), "filename": "/", "car_owner": "importmgr"}
    lines = [
        json.dumps({"id": "9", "Labels": {**labels, "car_path": str(tmp_path / "evil.car")}}),
        json.dumps({"id": "77", "Labels": {**labels, "car_path": str(foreign)}}),
    ]
    assert imports.load_records(lines) == (2, 0)
    assert imports.load_records(lines) == (0, 2)
    with imports.open(9) as store, pytest.raises(BlockNotFoundError):
        _ = store[report.root]
    assert imports.check(originals=True).broken == 2
    imports.remove(77)
    assert foreign.read_bytes() == b"somebody else's"


def test_records_are_taken_in_all_or_none(imports: ImportsManager, tmp_path: Path) -> None:
    known = imports.create()
    bad = [f'{{"id":{known},"Labels":{{}}}}', "fish", f'{{"id":{10**19 - 1},"Labels":{{}}}}']
    for line in bad:
        (tmp_path / "records").write_text(f'{{"id":7,"Labels":{{}}}}\n{line}\n')
        with (tmp_path / "records").open("rb") as file, pytest.raises((CarError, ValueError)):
            imports.load_records(file)
        assert [entry.id for entry in imports.list()] == [known]


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with ImportsManager(tmp_path / "a" / "b" / "c") as imports:
        assert imports.sanity is not None
        assert imports.sanity.total == 0
    with ImportsManager(tmp_path / "d", check=None) as imports:
        assert imports.sanity is None


def test_a_profile_may_be_an_object(imports: ImportsManager, original: Path) -> None:
    added = imports.import_file(original, profile=replace(profile_of("lotus"), chunk_size=1 << 18))
    assert content(imports, added.id) == BIG
