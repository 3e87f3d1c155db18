"""Archives of folders: byte for byte, whole or not at all."""

from __future__ import annotations

import dataclasses
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.errors import LimitError
from carv2.index import CAR_INDEX_SORTED
from carv2.units import Limits
from carv2.unixfs import PROFILES, ImportProfile, pack
from unixfs_import.decoding import Archive
from unixfs_import.inputs import write_tree

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = """
3aa265726f6f747381d82a582500 01701220f8da9199004c27e2758a930b784549e163536b3b550ae18d872fe7bf7fea9ea9
6776657273696f6e01 2f 01551220b3a2e2edbaa3c798b4fc267792b1641b94793de02d870124e5cbe663750b4cfc
666f6f20636f6e74656e74 5b 01701220f8da9199004c27e2758a930b784549e163536b3b550ae18d872fe7bf7fea9ea9
12310a2401551220b3a2e2edbaa3c798b4fc267792b1641b94793de02d870124e5cbe663750b4cfc1207666f6f2e747874180b0a020801
"""  # go-car 2.17: car create --version 1 -f out.car d/foo.txt
SMALL = ImportProfile(name="small", chunk_size=100, file_links=5)
TREE: dict[str, object] = {
    "a": bytes(range(200)) * 3,
    "same": bytes(range(200)) * 3,
    "sub": {"b": b"fish", "to a": "../a"},
    "zeros": bytes(1000),
}


def packed(folder: Path, **options: Any) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    report = pack(folder, sink, **options)
    return sink.getvalue(), report


def content(data: bytes) -> object:
    with carv2.open(data) as car:
        (root,) = car.roots
        return Archive(dict(car.blocks())).content(bytes(root))


def test_an_archive_of_car_create(tmp_path: Path) -> None:
    write_tree(tmp_path / "d", {"foo.txt": b"foo content"})
    report = pack(tmp_path / "d/foo.txt", tmp_path / "o.car", profile="go-car", version=1)
    assert (tmp_path / "o.car").read_bytes() == bytes.fromhex(GOLDEN)
    assert (report.block_count, report.size, report.dag_size) == (2, 11, 66)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", [*PROFILES, "small"])
def test_what_is_packed_is_verified_and_comes_out_again(tmp_path: Path, name: str, version: int) -> None:
    write_tree(tmp_path / "top", TREE)
    profile = PROFILES.get(name, SMALL)
    data, report = packed(tmp_path / "top", profile=profile, version=version)
    checked = carv2.verify(data)
    assert checked.version == version
    assert checked.block_count == report.block_count
    with carv2.open(data) as car:
        assert list(car.roots) == [report.root]
        assert (car.index is None) == (version == 1)
        for section in car.sections():
            if version == 2:
                assert car.get(section.cid)
    tree = {os.fsencode(key): value for key, value in TREE.items()}
    tree[b"sub"] = {b"b": b"fish", b"to a": ("symlink to", b"../a")}
    if profile.symlinks == "skip":
        tree[b"sub"] = {b"b": b"fish"}
    assert content(data) == {b"top": tree}


def test_a_path_and_a_file_get_the_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    write_tree(tmp_path / "top", TREE | {"large": bytes(range(256)) * 2000})
    profile = dataclasses.replace(SMALL, chunk_size=64 << 10)
    data, report = packed(tmp_path / "top", profile=profile, workers=1)
    assert pack(tmp_path / "top", tmp_path / "o.car", profile=profile, workers=3) == report
    assert (tmp_path / "o.car").read_bytes() == data


@pytest.mark.parametrize(("duplicates", "expected"), [("once-by-cid", (5, 23)), ("again", (28, 0))])
def test_blocks_are_written_as_often_as_the_profile_says(
    tmp_path: Path, duplicates: Any, expected: tuple[int, int]
) -> None:
    # two files of ten equal chunks with two nodes over them and a root each; a small file; the folder
    write_tree(tmp_path / "t", {"a": bytes(1000), "b": bytes(1000), "c": b"fish"})
    data, report = packed(tmp_path / "t", profile=dataclasses.replace(SMALL, duplicates=duplicates), wrap=False)
    assert (report.block_count, report.duplicate_count) == expected
    assert carv2.inspect(data).block_count == report.block_count


def test_by_multihash_a_file_may_stand_for_a_directory(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a file": bytes.fromhex("0a020801"), "empty": {}})
    counts = {
        duplicates: packed(tmp_path / "t", profile=dataclasses.replace(SMALL, duplicates=duplicates))[
            1
        ].block_count
        for duplicates in ("once-by-cid", "once-by-multihash", "again")
    }
    assert counts == {"once-by-cid": 4, "once-by-multihash": 3, "again": 4}


@pytest.mark.parametrize("codec", [None, CAR_INDEX_SORTED])
def test_the_index_may_be_another_one(tmp_path: Path, codec: int | None) -> None:
    write_tree(tmp_path / "t", TREE)
    data, _ = packed(tmp_path / "t", index_codec=codec)
    inspected = carv2.inspect(data)
    assert inspected.index_codec == codec


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("size", [0, 11, 126, (1 << 20) + 1, (1 << 20) + 127, (2 << 20) + 1])
def test_a_root_of_another_size_moves_the_blocks(tmp_path: Path, size: int, version: int) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(600_000))[:size]
    (tmp_path / "file").write_bytes(data)
    report = pack(tmp_path / "file", tmp_path / "o.car", profile="lotus", version=version, wrap=False)
    raw = (tmp_path / "o.car").read_bytes()
    assert content(raw) == data
    assert carv2.inspect(raw, full=True).block_count == report.block_count
    if version == 2:
        with carv2.open(raw) as car:
            for section in car.sections():
                assert car.get(section.cid)
        assert carv2.reindex(raw, io.BytesIO())


def test_the_archive_is_not_packed_into_itself(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": b"1"})
    out = tmp_path / "t" / "out.car"
    first = pack(tmp_path / "t", out, hidden=True)
    data = out.read_bytes()
    assert pack(tmp_path / "t", out, hidden=True) == first
    assert out.read_bytes() == data
    with (tmp_path / "t" / "other.car").open("w+b") as file:
        assert pack(tmp_path / "t", file, hidden=True).file_count == 2
    assert sorted(os.listdir(tmp_path / "t")) == ["a", "other.car", "out.car"]


def test_its_own_temporary_file_is_no_hidden_entry_left_out(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": b"1"})
    out = tmp_path / "t" / "out.car"
    assert pack(tmp_path / "t", out).left_out == {}
    (tmp_path / "t" / ".hidden").touch()
    assert pack(tmp_path / "t", out).left_out == {"hidden entries": 1}
    out.rename(tmp_path / "t" / ".out.car")
    report = pack(tmp_path / "t", tmp_path / "t" / ".out.car")  # what is replaced is no entry either
    assert (report.file_count, report.left_out) == (1, {"hidden entries": 1})


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write_tree(tmp_path / "t", {"a": b"1", "to nothing": "nothing"})
    out = tmp_path / "out.car"
    following = dataclasses.replace(SMALL, symlinks="follow")
    for before in (None, b"before"):
        if before is not None:
            out.write_bytes(before)
        with pytest.raises(FileNotFoundError, match="to nothing"):
            pack(tmp_path / "t", out, profile=following)
        assert (out.read_bytes() if out.exists() else None) == before
        assert [name for name in os.listdir(tmp_path) if name.startswith(".carv2")] == []


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_that_cannot_seek_takes_no_archive(tmp_path: Path, version: int) -> None:
    (tmp_path / "file").write_bytes(b"1")
    sink = Pipe()
    with pytest.raises(ValueError, match="can seek"):
        pack(tmp_path / "file", sink, version=version)
    assert sink.getvalue() == b""
    behind = io.BytesIO(b"1234")
    behind.seek(4)
    with pytest.raises(ValueError, match="at its beginning"):
        pack(tmp_path / "file", behind, version=version)
    assert behind.getvalue() == b"1234"


def test_blocks_that_nobody_could_read_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    with pytest.raises(LimitError):
        pack(tmp_path / "file", tmp_path / "o.car", limits=Limits(section=500))
    assert not (tmp_path / "o.car").exists()


def test_no_version_three(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CAR version 3"):
        pack(tmp_path, tmp_path / "o.car", version=3)
    assert not (tmp_path / "o.car").exists()


@pytest.mark.parametrize("sync", [True, False])
def test_the_disk_is_waited_for_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    (tmp_path / "file").write_bytes(b"fish")
    pack(tmp_path / "file", tmp_path / "out.car", sync=sync)
    assert len(synced) == (2 if sync else 0)  # the file and its folder
