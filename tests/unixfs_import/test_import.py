"""Trees in, blocks out: by an independent decoder, for all presets."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2.blockstore import MemoryBlockstore
from carv2.unixfs import PROFILES, ImportProfile, ImportReport, SkippedFile, import_file, import_tree
from unixfs_import.decoding import Archive, Node
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = ImportProfile(
    name="small", chunk_size=10, file_links=3, hamt_rule="entries", hamt_threshold=3, hamt_fanout=8
)
TREE: dict[str, object] = {
    "b": b"fish",
    "a": {"deep": {"file": bytes(range(100)), ".hidden": b"h"}, "to b": "../b"},
    ".git": {"config": b"c"},
    "empty": {},
    "hollow": {"hollow": {}, ".only hidden": b""},
    "nothing": b"",
}


def run(paths: Any, profile: Any = SMALL, **options: Any) -> tuple[ImportReport, Archive, list[bytes]]:
    order: list[bytes] = []
    blocks: dict[bytes, bytes] = {}

    def put(cid: object, data: bytes) -> None:
        raw = bytes(cid)  # type: ignore[call-overload]
        order.append(raw)
        blocks[raw] = data

    return import_tree(paths, put, profile=profile, **options), Archive(blocks), order


def expected(tree: Any, profile: ImportProfile, *, hidden: bool) -> object:
    """What the profile keeps of a tree, as the decoder gives it; None for a folder that is dropped."""
    if isinstance(tree, bytes):
        return tree
    if isinstance(tree, str):
        return ("symlink to", tree.encode()) if profile.symlinks == "keep" else None
    found = {}
    for name, content in tree.items():
        kept = expected(content, profile, hidden=hidden)
        if kept is not None and (hidden or not name.startswith(".")):
            found[os.fsencode(name)] = kept
    return found if found or profile.empty_directories else None


@pytest.mark.parametrize("hidden", [None, True, False])
@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("name", [*PROFILES, "small"])
def test_a_tree_comes_out_as_it_went_in(tmp_path: Path, name: str, wrap: bool, hidden: bool | None) -> None:
    profile = PROFILES.get(name, SMALL)
    write_tree(tmp_path / "top", TREE)
    report, archive, order = run(tmp_path / "top", profile, wrap=wrap, hidden=hidden)
    tree = expected(TREE, profile, hidden=profile.hidden if hidden is None else hidden)
    root = bytes(report.root)
    assert archive.content(root) == ({b"top": tree} if wrap else tree)
    assert archive.tsize(root) == report.dag_size
    assert archive.asked == set(archive.blocks)
    assert not order or order[-1] == root or root[2] == 0
    assert report.block_count == len(order)


@pytest.mark.parametrize("name", [*PROFILES, "small"])
def test_children_come_before_what_links_to_them(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path / "top", TREE)
    _, archive, order = run(tmp_path / "top", PROFILES.get(name, SMALL))
    done: set[bytes] = set()
    for cid in order:
        if cid[:2] != b"\x01\x55":
            links = [link for _, link, _ in Node(archive.blocks[cid]).links]
            assert all(link in done or link[2] == 0 for link in links)
        done.add(cid)


def test_the_counts_are_those_of_the_tree(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", TREE)
    report, _, _ = run(tmp_path / "top", hidden=True)
    assert (report.file_count, report.directory_count, report.symlink_count) == (6, 8, 1)
    assert report.size == 4 + 100 + 1 + 1
    seen: list[int] = []
    run(tmp_path / "top", hidden=True, on_progress=seen.append)
    assert sum(seen) == report.size


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, 47} & set(name) and name not in {b".", b".."}
)
CONTENTS = st.binary(max_size=50) | st.integers(0, 300).map(
    lambda size: bytes(number % 251 for number in range(size))
)
TREES: st.SearchStrategy[Any] = st.recursive(
    CONTENTS | NAMES.map(lambda target: ("symlink to", target)),
    lambda inner: st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=25,
)


def make(path: bytes, tree: Any) -> None:
    if isinstance(tree, dict):
        os.mkdir(path)
        for name, content in tree.items():
            make(path + b"/" + name, content)
    elif isinstance(tree, tuple):
        os.symlink(tree[1], path)
    else:
        Path(os.fsdecode(path)).write_bytes(tree)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=TREES,
    leaves=st.sampled_from(["raw", "file"]),
    version=st.sampled_from([0, 1]),
    inline=st.sampled_from([None, 30]),
)
def test_any_tree_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, tree: Any, leaves: Any, version: Any, inline: int | None
) -> None:
    path = os.fsencode(tmp_path_factory.mktemp("any")) + b"/top"
    make(path, tree)
    profile = dataclasses.replace(SMALL, leaves=leaves, cid_version=version, hidden=True, inline_limit=inline)
    report, archive, order = run(path, profile, wrap=False)
    assert archive.content(bytes(report.root)) == tree
    assert archive.tsize(bytes(report.root)) == report.dag_size
    again = run(path, profile, wrap=False, workers=3)
    assert (again[0], again[2]) == (report, order)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\xc3", b"new\nline", b"\x1b[2J", b"a\\b", b"-rf", b" ", b"..."])
def test_a_name_is_kept_byte_by_byte(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    make(path, b"fish")
    for paths, expected_tree in (
        (tmp_path, {os.fsencode(tmp_path.name): {name: b"fish"}}),
        (path, {name: b"fish"}),
    ):
        report, archive, _ = run(paths, dataclasses.replace(SMALL, hidden=True))
        assert archive.content(bytes(report.root)) == expected_tree


def test_paths_stand_side_by_side_under_their_own_names(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"z": b"1", "a": {"x": b"2"}, ".h": b"3"})
    paths = [tmp_path / "t/z", str(tmp_path / "t/a/"), os.fsencode(tmp_path / "t/.h"), tmp_path / "t/a/../a/x"]
    report, archive, _ = run(paths)
    assert archive.content(bytes(report.root)) == {b"z": b"1", b"a": {b"x": b"2"}, b".h": b"3", b"x": b"2"}
    assert report.directory_count == 2


def test_paths_need_no_order(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"b": b"1", "a": b"2"})
    one, other = (run([tmp_path / "t" / name for name in order], SMALL)[0].root for order in ("ab", "ba"))
    assert one == other


@pytest.mark.parametrize("name", PROFILES)
def test_a_symlink_that_is_named_itself(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path / "t", {"file": b"fish", "folder": {"x": b"1"}, "to file": "file", "to folder": "folder"})
    for link, target in (("file", b"fish"), ("folder", {b"x": b"1"})):
        report, archive, _ = run(tmp_path / "t" / f"to {link}", PROFILES[name], wrap=False)
        kept = PROFILES[name].symlinks == "keep"
        assert archive.content(bytes(report.root)) == (("symlink to", link.encode()) if kept else target)


def test_a_folder_by_a_dot_has_its_own_name(tmp_path: Path, monkeypatch: Any) -> None:
    write_tree(tmp_path / "here", {"x": b"1"})
    monkeypatch.chdir(tmp_path / "here")
    report, archive, _ = run(".")
    assert archive.content(bytes(report.root)) == {b"here": {b"x": b"1"}}


def no_paths() -> Iterator[str]:
    yield from ()


@pytest.mark.parametrize(
    ("paths", "wrap", "why"),
    [
        ([], True, "no path to import"),
        (no_paths(), True, "no path to import"),
        ("/", True, "/ has no name"),
        (["a", "b"], False, "2 paths need a folder around them"),
        (["a", "b", "c/a"], True, "2 paths are named a"),
    ],
)
def test_paths_that_cannot_be(paths: Any, wrap: bool, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        run(paths, wrap=wrap)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_an_error_or_left_out(tmp_path: Path, kind: str) -> None:
    write_tree(tmp_path / "t", {"a": b"1", "sub": {}})
    special = tmp_path / "t/sub/special"
    if kind == "pipe":
        os.mkfifo(special)
        what = "a named pipe"
    else:
        try:
            os.mknod(special, 0o20666, os.makedev(1, 3))
        except (OSError, AttributeError):
            pytest.skip("no right to make a device here")
        what = "a character device"
    with pytest.raises(OSError, match=f"{what} cannot be imported") as error:
        run(tmp_path / "t")
    assert error.value.filename == str(special)
    report, archive, _ = run(tmp_path / "t", special="skip", wrap=False)
    assert report.skipped == (SkippedFile(str(special), what),)
    assert archive.content(bytes(report.root)) == {b"a": b"1", b"sub": {}}
    with pytest.raises(OSError, match="cannot be imported"):  # there is nothing but it
        run(special, special="skip")


@pytest.mark.parametrize("size", [5, 10, 33, 100_000, 300_000])
@pytest.mark.parametrize("change", ["append", "truncate", "rewrite"])
def test_a_file_that_changes_meanwhile_is_named_and_what_was_read_is_sound(
    tmp_path: Path, change: str, size: int, monkeypatch: Any
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    os.utime(path, (1, 1))
    real_open = os.open

    def opening(name: Any, *args: Any, **options: Any) -> int:
        fd = real_open(name, *args, **options)
        if os.fsencode(name).endswith(b"file"):
            monkeypatch.setattr(os, "fstat", changing)
        return fd

    real_fstat = os.fstat

    def changing(number: int) -> os.stat_result:
        monkeypatch.setattr(os, "fstat", real_fstat)
        before = real_fstat(number)
        if change == "append":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "truncate":
            os.truncate(path, size // 2)
        else:
            path.write_bytes(b"\x01" * size)
        return before

    monkeypatch.setattr(os, "open", opening)
    report, archive, _ = run(path, dataclasses.replace(SMALL, chunk_size=50_000), wrap=False)
    assert (
        archive.content(bytes(report.root))
        in {
            "append": [bytes(size) + b"more", bytes(size)],
            "truncate": [bytes(size // 2)],
            "rewrite": [b"\x01" * size],
        }[change]
    )
    seen_whole = change == "append" and report.size == size  # it had not grown as far as anybody can see
    may_pass = change == "rewrite" and size <= 50_000  # read at once, as it was at one moment
    assert report.changed == (() if seen_whole or may_pass else (str(path),))


def test_a_file_without_a_size_is_read_to_its_end() -> None:
    if not Path("/proc/self/limits").exists():
        pytest.skip("no /proc here")
    report, archive, _ = run("/proc/self/limits", PROFILES["unixfs-v1-2025"], wrap=False)
    assert archive.content(bytes(report.root)) == Path("/proc/self/limits").read_bytes()
    assert not report.changed


@pytest.mark.parametrize("name", PROFILES)
def test_a_tree_and_a_file_agree(tmp_path: Path, name: str) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(200_000))
    for size in (0, 1, 32 << 10, (32 << 10) + 1, 256 << 10, len(data)):
        (tmp_path / "file").write_bytes(data[:size])
        one = import_tree(tmp_path / "file", lambda _cid, _data: None, profile=name, wrap=False).root
        assert one == import_file(tmp_path / "file", lambda _cid, _data: None, profile=name)
        assert one == import_file(data[:size], lambda _cid, _data: None, profile=name)


def test_a_blockstore_takes_the_blocks(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", TREE)
    store = MemoryBlockstore()
    report = import_tree(tmp_path / "t", store.put)
    assert report.root in store
    assert len(store) == len({bytes(cid) for cid in store})


def test_many_small_files_and_large_ones_keep_their_order(tmp_path: Path) -> None:
    tree: dict[str, object] = {f"s{number}": b"%d" % number for number in range(600)}
    tree |= {f"s{number}-large": number.to_bytes(4, "big") * 30_000 for number in range(0, 600, 100)}
    write_tree(tmp_path / "t", tree)
    profile = dataclasses.replace(PROFILES["kubo-legacy-v1"], chunk_size=40_000)
    for leaves in ("raw", "file"):
        chosen = dataclasses.replace(profile, leaves=leaves)
        alone = run(tmp_path / "t", chosen, workers=1)
        together = run(tmp_path / "t", chosen, workers=3)
        assert (together[0], together[2]) == (alone[0], alone[2])
        assert together[1].content(bytes(together[0].root)) == {b"t": expected(tree, chosen, hidden=False)}
