"""In and out again: what was packed comes out as it was, and packs to the same archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carv2 import unixfs
from extract.trees import snapshot

if TYPE_CHECKING:
    from pathlib import Path

NAME = st.text("abcAB.-_ é日\x1b", min_size=1, max_size=8).filter(lambda name: name not in {".", ".."})
CONTENT = st.binary(max_size=300) | st.integers(0, 3).map(lambda count: b"x" * (count << 18))
TREE = st.recursive(CONTENT, lambda below: st.dictionaries(NAME, below, max_size=5), max_leaves=15).filter(
    lambda tree: isinstance(tree, dict)
)


def lay(folder: Path, tree: object) -> None:
    if isinstance(tree, bytes):
        folder.write_bytes(tree)
    elif isinstance(tree, dict):
        folder.mkdir()
        for name, below in tree.items():
            lay(folder / name, below)


@settings(max_examples=15)
@given(tree=TREE, profile=st.sampled_from(["unixfs-v1-2025", "unixfs-v0-2015", "go-car"]))
def test_a_folder_that_was_packed_comes_out_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tree: object, profile: str
) -> None:
    top = tmp_path_factory.mktemp("top")
    lay(top / "in", tree)
    unixfs.pack([top / "in"], top / "a.car", profile=profile, wrap=False, hidden=True)
    unixfs.extract(top / "a.car", top / "out", portable=False)
    assert snapshot(top / "out") == snapshot(top / "in")
    unixfs.pack([top / "out"], top / "b.car", profile=profile, wrap=False, hidden=True)
    assert (top / "b.car").read_bytes() == (top / "a.car").read_bytes()


@pytest.mark.parametrize("version", [1, 2])
def test_create_extract_create_gives_the_same_bytes(tmp_path: Path, version: int) -> None:
    """As in go-car's script test of the same name."""
    (tmp_path / "foo.txt").write_bytes(b"foo content\n")
    (tmp_path / "bar.txt").write_bytes(b"bar content\n")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    files = [tmp_path / "foo.txt", tmp_path / "bar.txt"]
    unixfs.pack(files, tmp_path / "one" / "out.car", profile="go-car", version=version)
    assert unixfs.extract(tmp_path / "one" / "out.car", tmp_path / "out").files == 2
    again = [tmp_path / "out" / file.name for file in files]
    unixfs.pack(again, tmp_path / "two" / "out.car", profile="go-car", version=version)
    assert (tmp_path / "two" / "out.car").read_bytes() == (tmp_path / "one" / "out.car").read_bytes()


def test_a_thousand_files_in_a_sharded_directory(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for at in range(1000):
        (tmp_path / "in" / f"{at:04}{'n' * 200}").write_bytes(b"%d" % at)
    (tmp_path / "in" / "link").symlink_to("0000" + "n" * 200)
    unixfs.pack([tmp_path / "in"], tmp_path / "a.car", profile="go-car", wrap=False)
    report = unixfs.extract(tmp_path / "a.car", tmp_path / "out", symlinks="safe")
    assert (report.files, report.symlinks) == (1000, 1)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "in")
