"""The same files give the same root: Kubo's importer, go-unixfsnode's (that of `car create`), ipfs-car, and ours.

And where a peer packs, the whole archive is the same.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from carv2.unixfs import ImportProfile, import_tree, pack, profile_of
from interop.unixfs_trees import TREES, edge_sizes, make, make_threshold, payload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from interop.conftest import Peer

GO_PROFILES = ("unixfs-v1-2025", "unixfs-v0-2015", "kubo-legacy-v1", "lotus", "go-car")
IPFS_CAR = {
    "2": profile_of("ipfs-car-2"),
    "3": dataclasses.replace(profile_of("ipfs-car-2"), name="ipfs-car-3", chunk_size=1 << 20, file_links=1024),
}


def roots(paths: Sequence[Path], profile: str | ImportProfile, *, wrap: bool = False) -> list[str]:
    return [str(import_tree(path, lambda _cid, _data: None, profile=profile, wrap=wrap).root) for path in paths]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("trees")
    for name in TREES:
        make(name, folder / name)
    return [folder / name for name in TREES]


def edges(folder: Path, profile: ImportProfile) -> list[Path]:
    paths = []
    for size in edge_sizes(profile):
        paths.append(folder / f"{size}")
        paths[-1].write_bytes(payload(size))
    return paths


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("name", GO_PROFILES)
def test_trees_have_the_roots_of_go(go: Peer, trees: list[Path], name: str, wrap: bool) -> None:
    flags = ["--wrap"] if wrap else []
    theirs = go("unixfs-import", "--profile", name, *flags, *trees).split()
    assert roots(trees, name, wrap=wrap) == theirs


@pytest.mark.parametrize("name", GO_PROFILES)
def test_files_at_the_edges_have_the_roots_of_go(go: Peer, tmp_path: Path, name: str) -> None:
    paths = edges(tmp_path, profile_of(name))
    assert roots(paths, name) == go("unixfs-import", "--profile", name, *paths).split()


@pytest.mark.parametrize("file_links", [2, 3, 174, 1024])
@pytest.mark.parametrize("name", GO_PROFILES)
def test_deep_files_have_the_roots_of_go(go: Peer, tmp_path: Path, name: str, file_links: int) -> None:
    chunk = 8
    counts = {1, 2, 3, 4, 5, 7, 8, 9, 10, 27, 28, 65, 81, 82, 174, 175, 176, 1024, 1025, 2047, 2049}
    data = b"".join(number.to_bytes(8, "big") for number in range(max(counts)))
    paths = []
    for count in sorted(counts):
        paths.append(tmp_path / f"{count}")
        paths[-1].write_bytes(data[: count * chunk - count % 3])
    profile = dataclasses.replace(profile_of(name), chunk_size=chunk, file_links=file_links)
    flags = ["--profile", name, "--chunk-size", chunk, "--file-links", file_links]
    assert roots(paths, profile) == go("unixfs-import", *flags, *paths).split()


@pytest.mark.parametrize("name", [name for name in GO_PROFILES if name != "lotus"])  # lotus packs files only
def test_folders_become_hamts_where_go_makes_them_so(go: Peer, tmp_path: Path, name: str) -> None:
    paths = [tmp_path / "plain", tmp_path / "sharded"]
    make_threshold(profile_of(name), paths[0], above=False)
    make_threshold(profile_of(name), paths[1], above=True)
    counts = [import_tree(path, lambda _cid, _data: None, profile=name, wrap=False).block_count for path in paths]
    assert counts[0] == 2701 < counts[1]
    assert roots(paths, name) == go("unixfs-import", "--profile", name, *paths).split()


def test_hidden_files_are_those_of_kubo(go: Peer, tmp_path: Path) -> None:
    for name in (".hidden", ".folder/file", "folder/.hidden", "seen"):
        path = tmp_path / "t" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for hidden in (True, False):
        flags = ["--hidden"] if hidden else []
        ours = import_tree(tmp_path / "t", lambda _cid, _data: None, wrap=False, hidden=hidden).root
        assert str(ours) == go("unixfs-import", *flags, tmp_path / "t").strip()


def test_an_archive_is_the_one_of_go_byte_for_byte(go: Peer, tmp_path: Path) -> None:
    tree = tmp_path / "t"
    make("edges", tree)
    make("nested", tree / "nested")
    make("symlinks", tree / "symlinks")
    (tree / "same").write_bytes(payload(600_000))
    theirs = go("unixfs-import", "--profile", "go-car", "--wrap", "--car", tmp_path / "theirs.car", tree).strip()
    report = pack(tree, tmp_path / "ours.car", profile="go-car")
    assert str(report.root) == theirs
    assert report.duplicate_count > 1
    assert (tmp_path / "ours.car").read_bytes() == (tmp_path / "theirs.car").read_bytes()


@pytest.mark.parametrize("version", IPFS_CAR)
def test_trees_have_the_roots_of_ipfs_car(ipfs_car: Peer, trees: list[Path], tmp_path: Path, version: str) -> None:
    thresholds = [tmp_path / "plain", tmp_path / "sharded"]
    make_threshold(IPFS_CAR[version], thresholds[0], above=False)
    make_threshold(IPFS_CAR[version], thresholds[1], above=True)
    paths = [*trees, *thresholds]
    theirs = ipfs_car(version, tmp_path / "theirs.car", *paths).split()
    assert roots(paths, IPFS_CAR[version]) == theirs


@pytest.mark.parametrize("wrap", [True, False])
@pytest.mark.parametrize("version", IPFS_CAR)
def test_files_have_the_roots_of_ipfs_car(ipfs_car: Peer, tmp_path: Path, version: str, wrap: bool) -> None:
    paths = edges(tmp_path, IPFS_CAR[version])
    flags = [] if wrap else ["--no-wrap"]
    theirs = ipfs_car(version, tmp_path / "theirs.car", *flags, *paths).split()
    assert roots(paths, IPFS_CAR[version], wrap=wrap) == theirs
