"""Archives made to do harm. Whatever they say: nothing outside of the folder, bounded work, errors of carv2."""

from __future__ import annotations

import os
import resource
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carv2 import CID, _folder, unixfs
from carv2.errors import BudgetError, CarError, UnixFSError, UnsafePathError
from carv2.unixfs import _safe_walk
from extract.trees import snapshot
from helpers import archives
from helpers.unixfs import FILE, HAMT, Dag, Made, identity, text
from helpers.unixfs import unixfs as message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.unixfs._safe_walk import Symlinks

OUTSIDE: dict[str, bytes | str] = {"into": "directory", "outside": "directory", "outside/secret": b"secret"}


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Path]:
    """The folder to extract to. Beside it nothing may be made, changed or removed."""
    folder = tmp_path / "into"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    yield folder
    found = {path: data for path, data in snapshot(tmp_path).items() if not path.startswith("into/")}
    assert found == OUTSIDE


def under(name: str | bytes) -> bytes:
    """An archive with something by that name, among other things."""
    dag = Dag()
    entries: dict[str | bytes, Made] = {
        "aa": dag.raw(b"before"),
        name: dag.raw(b"hostile"),
        "zz": dag.raw(b"after"),
    }
    return dag.archive(dag.directory(entries))


# -- names --------------------------------------------------------------------------------------------------

NAMES: list[str | bytes] = ["", ".", "..", "../outside/new", "/outside", "/etc/x", "a/b", "..\\x", "a\\b", "a\0b"]
NAMES += ["n" * 256, b"\xff/..", "../" * 20 + "tmp/carv2-was-here", "into/../../outside/new"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_a_files_stops_it_or_is_passed_over(into: Path, name: str | bytes) -> None:
    with pytest.raises(UnsafePathError):
        unixfs.extract(under(name), into)
    assert snapshot(into) == {"aa": b"before"}
    report = unixfs.extract(under(name), into, on_unsafe="skip", existing="keep")
    assert snapshot(into) == {"aa": b"before", "zz": b"after"}
    assert [skipped.reason for skipped in report.skipped] == ["exists", "unsafe name"]


@pytest.mark.parametrize("name", NAMES)
def test_so_do_directories_and_symlinks_and_what_is_below_them(into: Path, name: str | bytes) -> None:
    dag = Dag()
    inside = dag.directory({"new": dag.raw(b"x"), "deep": dag.directory({"new": dag.raw(b"y")})})
    for what in (inside, dag.symlink(b"zz")):
        archive = dag.archive(dag.directory({name: what, "zz": dag.raw(b"z"), "new": dag.raw(b"n")}))
        with pytest.raises(UnsafePathError):
            unixfs.extract(archive, into, symlinks="safe")
        unixfs.extract(archive, into, on_unsafe="skip", symlinks="safe", existing="replace")
        assert snapshot(into) == {"zz": b"z", "new": b"n"}
        for path in ("zz", "new"):
            (into / path).unlink()


def test_the_name_in_a_path_is_looked_at_like_any_other(into: Path) -> None:
    dag = Dag()
    archive = dag.archive(dag.directory({"a\\b": dag.directory({"x": dag.raw(b"x")})}))
    with pytest.raises(UnsafePathError):
        unixfs.extract(archive, into, paths=["a\\b/x"])
    assert snapshot(into) == {}


@pytest.mark.parametrize("name", ["../outside/new", "/etc/x", "", "a/b"])
def test_the_name_for_a_root_that_is_a_file_is_too(into: Path, name: str) -> None:
    dag = Dag()
    with pytest.raises(UnsafePathError):
        unixfs.extract(dag.archive(dag.raw(b"x")), into, root_file=name)
    assert snapshot(into) == {}


def test_names_in_a_sharded_directory_too(into: Path) -> None:
    dag = Dag()
    archive = dag.archive(dag.hamt({"../outside/new": dag.raw(b"x"), "ok": dag.raw(b"ok"), "..": dag.raw(b"y")}))
    with pytest.raises(UnsafePathError):
        unixfs.extract(archive, into)
    report = unixfs.extract(archive, into, on_unsafe="skip", existing="replace")
    assert (snapshot(into), report.files) == ({"ok": b"ok"}, 1)


def test_of_two_entries_of_one_name_the_first_counts(into: Path) -> None:
    dag = Dag()
    root = dag.directory(
        [(b"a", dag.raw(b"1")), (b"a", dag.raw(b"2")), (b"a", dag.directory({"x": dag.raw(b"x")}))]
    )
    assert unixfs.extract(dag.archive(root), into).files == 1
    assert snapshot(into) == {"a": b"1"}


def test_names_that_differ_by_case_are_reported_and_written_where_the_disk_can(into: Path) -> None:
    dag = Dag()
    names = ["README", "readme", "\u00e9", "e\u0301", "other"]
    root = dag.directory({"d": dag.directory({name: dag.raw(name.encode()) for name in names})})
    report = unixfs.extract(dag.archive(root), into)
    assert report.collisions == ("/d/readme", "/d/e\u0301")
    assert report.files + len(report.skipped) == 5
    portable = unixfs.extract(dag.archive(root), into / "portable", portable=True)
    assert sorted(os.listdir(into / "portable" / "d")) == ["README", "other", "\u00e9"]
    assert [(skipped.reason, skipped.detail) for skipped in portable.skipped] == [
        ("collision", "README"),
        ("collision", "\u00e9"),
    ]


@pytest.mark.parametrize("existing", ["error", "replace"])
def test_on_a_disk_that_takes_them_for_one_the_first_stays(
    into: Path, existing: _folder.Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_folder.Folder, "inode", lambda _self, name: (1, len(name)))
    dag = Dag()
    below = dag.directory({"x": dag.raw(b"x")})
    root = dag.directory({"A": dag.raw(b"A"), "B": below, "a": dag.raw(b"a"), "b": below, "c": dag.raw(b"c")})
    report = unixfs.extract(dag.archive(root), into, existing=existing)
    assert snapshot(into) == {"A": b"A", "B": "directory", "B/x": b"x", "c": b"c"}
    assert [skipped.path for skipped in report.skipped] == ["/a", "/b"]


# -- symlinks -----------------------------------------------------------------------------------------------

TARGETS = [
    b"/etc",
    b"../outside",
    b"../outside/secret",
    b"a/../../outside",
    b"d/../../outside",
    b"",
    b"..",
    b"x\0y",
]
TARGETS += [b"t" * 5000, b"./..//../outside", b"../into/d/../../outside"]


@pytest.mark.parametrize("target", TARGETS)
def test_symlinks_are_not_made_and_those_that_lead_outside_never(into: Path, target: bytes) -> None:
    dag = Dag()
    root = dag.directory({"link": dag.symlink(target), "z": dag.raw(b"z")})
    assert [skipped.reason for skipped in unixfs.extract(dag.archive(root), into).skipped] == ["symlink"]
    report = unixfs.extract(dag.archive(root), into, symlinks="safe", existing="replace")
    assert [skipped.reason for skipped in report.skipped] == ["unsafe symlink"]
    assert snapshot(into) == {"z": b"z"}


def test_safe_symlinks_are_made(into: Path) -> None:
    dag = Dag()
    deep = dag.directory({"up": dag.symlink(b"../a"), "loop": dag.symlink(b"loop"), "self": dag.symlink(b".")})
    root = dag.directory(
        {"a": dag.raw(b"a"), "d": deep, "gone": dag.symlink(b"not/there"), "to a": dag.symlink(b"a")}
    )
    report = unixfs.extract(dag.archive(root), into, symlinks="safe")
    assert snapshot(into) == {
        "a": b"a",
        "d": "directory",
        "d/up": "-> ../a",
        "d/loop": "-> loop",
        "d/self": "-> .",
        "gone": "-> not/there",
        "to a": "-> a",
    }
    assert (report.files, report.symlinks, report.skipped) == (1, 5, ())
    again = unixfs.extract(dag.archive(root), into, symlinks="safe", existing="keep")
    assert (again.symlinks, len(again.skipped)) == (0, 6)
    with pytest.raises(FileExistsError):
        unixfs.extract(dag.archive(root), into, symlinks="safe", paths=["to a"])
    assert unixfs.extract(dag.archive(root), into, symlinks="safe", existing="replace").symlinks == 5


def test_nothing_is_written_through_a_symlink_of_the_same_name(into: Path) -> None:
    """As in go-car's issue 264: a symlink, then a file or a directory by its name."""
    dag = Dag()
    inside = dag.directory({"secret": dag.raw(b"hostile")})
    for second in (dag.raw(b"hostile"), inside):
        root = dag.directory([(b"x", dag.symlink(b"../outside")), (b"x", second), (b"y", dag.symlink(b"x"))])
        unixfs.extract(dag.archive(root), into, symlinks="safe", existing="replace")
    assert snapshot(into) == {"y": "-> x"}


def test_nor_through_one_that_an_earlier_root_made(into: Path) -> None:
    dag = Dag()
    first = dag.directory({"x": dag.symlink(b"d"), "d": dag.directory({})})
    second = dag.directory({"x": dag.directory({"f": dag.raw(b"f")})})
    with pytest.raises(NotADirectoryError):
        unixfs.extract(dag.archive(first, second), into, symlinks="safe")
    assert snapshot(into) == {"x": "-> d", "d": "directory"}


@pytest.mark.parametrize("existing", ["error", "keep", "replace"])
def test_nor_through_one_that_was_there_before(into: Path, existing: _folder.Existing) -> None:
    (into / "d").symlink_to("../outside")
    dag = Dag()
    archive = dag.archive(dag.directory({"d": dag.directory({"secret": dag.raw(b"hostile")})}))
    with pytest.raises(NotADirectoryError):
        unixfs.extract(archive, into, existing=existing)
    assert snapshot(into) == {"d": "-> ../outside"}


def test_nor_while_somebody_swaps_directories_for_symlinks(into: Path) -> None:
    """A race, for real: whatever comes of it, it comes of it inside."""
    dag = Dag()
    files: dict[str | bytes, Made] = {f"f{at}": dag.raw(b"%d" % at) for at in range(30)}
    archive = dag.archive(dag.directory({f"d{at}": dag.directory(files) for at in range(30)}))
    is_over = threading.Event()

    def swap() -> None:
        at = 0
        while not is_over.is_set():
            at += 1
            for path in into.glob("d*"):
                try:
                    path.rename(into / f"moved{at}-{path.name}")
                    path.symlink_to("../outside")
                except OSError:
                    continue

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for _ in range(10):
            try:
                unixfs.extract(archive, into, existing="replace")
            except OSError:
                continue
    finally:
        is_over.set()
        racer.join()


# -- more than there is room for ----------------------------------------------------------------------------


def bomb(dag: Dag, levels: int, leaf: Made, width: int = 64) -> Made:
    """``width`` links to the same thing, ``levels`` times over."""
    names = [f"{at:02}".encode() for at in range(width)]
    for _ in range(levels):
        leaf = dag.directory([(name, leaf._replace(total=1)) for name in names])
    return leaf


def test_a_tiny_archive_with_a_huge_tree_is_stopped(into: Path) -> None:
    dag = Dag()
    archive = dag.archive(bomb(dag, 10, dag.raw(b"x" * 10_000)))
    assert len(archive) < 60_000
    before = time.process_time()
    with pytest.raises(BudgetError):
        unixfs.extract(archive, into)
    assert time.process_time() - before < 60
    assert sum(len(data) for data in snapshot(into).values() if isinstance(data, bytes)) <= 1000 * len(archive)


def test_so_is_one_of_empty_directories_and_one_of_nothing_that_is_written(into: Path) -> None:
    for leaf in (Dag.directory, Dag.symlink):
        dag = Dag()
        made = leaf(dag, {}) if leaf is Dag.directory else dag.symlink(b"x")
        with pytest.raises(BudgetError, match="entries"):
            unixfs.extract(dag.archive(bomb(dag, 6, made)), into, existing="replace", max_entries=3000)
    assert len(snapshot(into)) <= 2 * 3000


def test_so_is_a_file_that_repeats_itself(into: Path) -> None:
    dag = Dag()
    made = dag.raw(b"x" * 1000)
    for _ in range(6):
        made = dag.file([made] * 64)
    archive = dag.archive(made)
    with pytest.raises(BudgetError, match="1,000 times the archive"):
        unixfs.extract(archive, into)
    assert snapshot(into) == {}


@pytest.mark.parametrize("size", [99, 100])
def test_the_budget_for_bytes_counts_each_byte(into: Path, size: int) -> None:
    dag = Dag()
    root = dag.directory({str(at): dag.raw(bytes([at]) * 25) for at in range(4)})
    if size == 100:
        assert unixfs.extract(dag.archive(root), into, max_bytes=size).bytes == 100
    else:
        with pytest.raises(BudgetError, match="more than 99 bytes of files; allow more with max_bytes"):
            unixfs.extract(dag.archive(root), into, max_bytes=size)
        assert len(snapshot(into)) == 3


@pytest.mark.parametrize("allowed", [4, 5])
def test_the_budget_for_entries_counts_roots_and_what_is_missing(into: Path, allowed: int) -> None:
    dag = Dag()
    lost = dag.raw(b"lost")
    root = dag.directory({"a": dag.directory({"b": dag.raw(b"b")}), "lost": lost, "link": dag.symlink(b"a")})
    archive = dag.archive(root, without=[lost.cid])
    if allowed == 5:
        assert unixfs.extract(archive, into, max_entries=5).files == 1
    else:
        with pytest.raises(BudgetError, match="more than 4 entries"):
            unixfs.extract(archive, into, max_entries=4)


def test_paths_share_a_budget(into: Path) -> None:
    dag = Dag()
    root = dag.directory({"a": dag.raw(b"12345"), "b": dag.raw(b"67890")})
    with pytest.raises(BudgetError):
        unixfs.extract(dag.archive(root), into, paths=["a", "b"], max_bytes=9)


def test_work_without_result_is_bounded(into: Path) -> None:
    """Large directories of which nothing comes out: they cost reading all the same."""
    dag = Dag()
    empty = dag.node([], message(1, tail=text(15, bytes(1 << 20))))
    root = dag.directory({f"{at:04}": empty for at in range(4000)})
    archive = dag.archive(root)
    other = dag.archive(dag.directory({f"{at:04}": dag.directory({"x": empty}) for at in range(1000)}))
    for data in (archive, other):
        with pytest.raises(BudgetError, match="bytes read"):
            unixfs.extract(data, into, max_bytes=1 << 20, existing="replace")


def chain(depth: int) -> bytes:
    """An archive of that many directories inside each other, and a file in the innermost."""
    dag = Dag()
    made = dag.raw(b"deep")
    for _ in range(depth):
        made = dag.directory({"d": made})
    return dag.archive(made)


@pytest.mark.parametrize("allowed", [4, 1024])
def test_directories_inside_each_other_are_bounded(into: Path, allowed: int) -> None:
    extract = unixfs.extract if allowed == 1024 else partial(unixfs.extract, max_depth=allowed)
    try:
        assert extract(chain(allowed), into).directories == allowed - 1
        with pytest.raises(BudgetError, match=f"{allowed} directories inside each other"):
            extract(chain(allowed + 1), into / "more")
    finally:
        remove_deep(into / "more")
        remove_deep(into)


def remove_deep(folder: Path) -> None:
    """Take a chain of directories called d away from its upper end: shutil would go down by recursion."""
    while (folder / "d").is_dir():
        (folder / "d").rename(folder / "top")
        if (folder / "top" / "d").exists():
            (folder / "top" / "d").rename(folder / "d")
        (folder / "top").rmdir()
    (folder / "d").unlink(missing_ok=True)


def test_a_full_disk_leaves_no_half_a_file(into: Path) -> None:
    dag = Dag()
    root = dag.directory({"a": dag.raw(b"a" * 500), "b": dag.file([dag.raw(b"b" * 800), dag.raw(b"c" * 800)])})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="into/b"):
            unixfs.extract(MemoryStoreOf(dag), into, roots=[root.cid])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert snapshot(into) == {"a": b"a" * 500}


class MemoryStoreOf:
    """A store that writes nothing anywhere, unlike one that makes an index."""

    def __init__(self, dag: Dag) -> None:
        self._blocks = dag.blocks

    def __getitem__(self, cid: object, /) -> bytes:
        return self._blocks[bytes(CID.of(cid))]  # type: ignore[arg-type]


# -- whatever else ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        message(HAMT, b"\x01", hash_type=0x22, fanout=7),
        message(HAMT, b"\x01", hash_type=0x22, fanout=1 << 40),
        message(HAMT, b"\xff" * 32, hash_type=0x22, fanout=256),
    ],
)
def test_a_broken_shard_is_an_error_of_carv2(into: Path, entry: bytes) -> None:
    dag = Dag()
    with pytest.raises(UnixFSError):
        unixfs.extract(dag.archive(dag.directory({"d": dag.node([], entry)})), into)


def test_directories_inside_their_own_names(into: Path) -> None:
    made = identity(text(1, message(FILE, b"x", size=1)))
    for _ in range(3):
        dag = Dag()
        node = dag.directory({"d": made})
        made = identity(dag.blocks[node.cid])
        if made.size > 128:
            break
    dag = Dag()
    report = unixfs.extract(dag.archive(dag.directory({"top": made})), into)
    assert report.files == 1


NODES = st.recursive(
    st.sampled_from(["raw", "leaf", "symlink", "cbor", "gone", "broken"]),
    lambda below: st.lists(
        st.tuples(st.sampled_from(["a", "b", "A", "..", "", "a/b", "\x1b[2J", "nul"]), below), max_size=4
    ),
    max_leaves=12,
)


@given(tree=NODES, symlinks=st.sampled_from(["skip", "safe"]), portable=st.booleans())
def test_any_tree_comes_out_inside_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, tree: object, symlinks: Symlinks, portable: bool
) -> None:
    dag, gone = Dag(), []

    def build(node: object) -> Made:
        if isinstance(node, list):
            return dag.directory([(name.encode(), build(below)) for name, below in node])
        if node == "symlink":
            return dag.symlink(b"../outside")
        if node == "cbor":
            return dag.put(b"\xa0", codec=archives.DAG_CBOR)
        if node == "broken":
            return dag.put(b"\x0a\xff", codec=archives.DAG_PB)
        made = dag.leaf(b"leaf") if node == "leaf" else dag.raw(str(node).encode())
        if node == "gone":
            gone.append(made.cid)
        return made

    top = tmp_path_factory.mktemp("top")
    (top / "outside").mkdir()
    archive = dag.archive(build(tree), without=gone)
    try:
        report = unixfs.extract(archive, top / "into", symlinks=symlinks, portable=portable, on_unsafe="skip")
    except CarError:
        return
    found = snapshot(top)
    assert {path for path in found if not path.startswith("into/")} <= {"into", "outside"}
    assert sum(isinstance(data, bytes) for data in found.values()) == report.files
    assert sum(data == "directory" for path, data in found.items() if "/" in path) == report.directories


def test_a_report_of_what_was_skipped_takes_bounded_memory(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_safe_walk, "_MAX_TEXT", 1 << 18)
    dag = Dag()
    made = dag.directory({})
    for at in range(9):
        made = dag.directory({f"{at}" + "n" * 250: made, "link": dag.symlink(b"s" * 2000)})
    wide = dag.directory({f"{at:04}": made for at in range(50)})
    said: list[int] = []
    report = unixfs.extract(dag.archive(wide), into, on_skip=lambda skipped: said.append(len(skipped.detail)))
    assert said == [500] * 450
    assert 1 << 17 < sum(len(skipped.path) + len(skipped.detail) for skipped in report.skipped) <= 1 << 18
