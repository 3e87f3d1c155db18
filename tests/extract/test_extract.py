"""Extraction of trees that are as they should be, and of those that lack something."""

from __future__ import annotations

import io
import stat
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID, unixfs
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore
from carv2.errors import BlockNotFoundError, IntegrityError, PathNotFoundError, UnixFSError
from extract.trees import snapshot
from helpers import archives
from helpers.shared import shared_fixture
from helpers.unixfs import FILE, Dag, Made, identity, number, text
from helpers.unixfs import unixfs as message

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.unixfs import Skipped


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "into"


def small() -> tuple[Dag, Made]:
    dag = Dag()
    parts = [dag.raw(b"fish\n"), dag.raw(b"lobster\n")]
    docs = dag.directory({"copy.txt": parts[0], "read me.txt": dag.leaf(b"read me\n", v0=True)})
    root = dag.directory(
        {"big.bin": dag.file(parts), "docs": docs, "docs-again": docs, "empty": dag.directory({})}
    )
    return dag, root


SMALL: dict[str, bytes | str] = {
    "big.bin": b"fish\nlobster\n",
    "docs": "directory",
    "docs/copy.txt": b"fish\n",
    "docs/read me.txt": b"read me\n",
    "docs-again": "directory",
    "docs-again/copy.txt": b"fish\n",
    "docs-again/read me.txt": b"read me\n",
    "empty": "directory",
}


# -- what comes out -----------------------------------------------------------------------------------------


def test_a_tree_comes_out_as_it_is(into: Path) -> None:
    dag, root = small()
    report = unixfs.extract(dag.archive(root), into)
    assert snapshot(into) == SMALL
    size = sum(len(data) for data in SMALL.values() if isinstance(data, bytes))
    assert report == unixfs.ExtractReport(files=5, directories=3, bytes=size)


@pytest.mark.parametrize("kind", ["bytes", "path", "file", "store", "memory"])
def test_the_source_may_be_an_archive_or_a_store(tmp_path: Path, into: Path, kind: str) -> None:
    dag, root = small()
    data = dag.archive(root)
    (tmp_path / "f.car").write_bytes(data)
    sources: dict[str, Any] = {
        "bytes": data,
        "path": tmp_path / "f.car",
        "file": io.BytesIO(data),
        "store": ReadOnlyBlockstore(data),
        "memory": MemoryBlockstore(dag.blocks.items()),
    }
    assert unixfs.extract(sources[kind], into, roots=[root.cid] if kind == "memory" else None).files == 5
    assert snapshot(into) == SMALL
    if kind == "file":
        assert not sources["file"].closed


def test_a_store_without_roots_needs_some(into: Path) -> None:
    with pytest.raises(ValueError, match="no roots"):
        unixfs.extract(MemoryBlockstore(), into)


def test_a_sharded_directory_comes_out_like_a_plain_one(into: Path) -> None:
    dag = Dag()
    names = [f"{at}.txt" for at in range(60)]
    root = dag.hamt({name: dag.raw(name.encode()) for name in names}, fanout=8)
    assert unixfs.extract(dag.archive(root), into).files == 60
    assert snapshot(into) == {name: name.encode() for name in names}


def test_files_of_all_shapes(into: Path) -> None:
    dag = Dag()
    leaves = [dag.leaf(bytes([at]) * 1000) for at in range(7)]
    nested = dag.file([dag.file(leaves[:4]), dag.file(leaves[4:])], inline=b"first")
    root = dag.directory(
        {
            "empty raw": dag.raw(b""),
            "empty": dag.leaf(b""),
            "nested": nested,
            "type raw": dag.leaf(b"old", kind=0),
            "identity": identity(b"inside", codec=archives.RAW),
            "identity pb": identity(text(1, message(FILE, b"deep inside", size=11))),
        }
    )
    unixfs.extract(dag.archive(root), into)
    whole = b"first" + b"".join(bytes([at]) * 1000 for at in range(7))
    assert snapshot(into) == {
        "empty raw": b"",
        "empty": b"",
        "nested": whole,
        "type raw": b"old",
        "identity": b"inside",
        "identity pb": b"deep inside",
    }


def test_a_large_file_comes_out_whole(into: Path) -> None:
    dag = Dag()
    leaves = [dag.raw(bytes([at]) * (1 << 20)) for at in range(12)]
    ticks: list[int] = []
    report = unixfs.extract(dag.archive(dag.file(leaves)), into, on_bytes=ticks.append)
    assert (into / "unknown").read_bytes() == b"".join(bytes([at]) * (1 << 20) for at in range(12))
    assert report.bytes == sum(ticks) == 12 << 20


def test_modes_and_times_are_kept(into: Path) -> None:
    dag = Dag()
    tail = number(7, 0o104750) + text(8, number(1, 1_600_000_000) + b"\x15" + (7).to_bytes(4, "little"))
    data = message(FILE, b"x", size=1, tail=tail)
    file = dag.node([], data, size=1)
    folder = dag.node([(b"f", file)], message(1, tail=number(7, 0o40500) + text(8, number(1, 1_500_000_000))))
    unixfs.extract(dag.archive(dag.directory({"d": folder})), into)
    status = (into / "d" / "f").stat()
    assert oct(stat.S_IMODE(status.st_mode)) == oct(0o750)
    assert status.st_mtime_ns == 1_600_000_000_000_000_007
    assert stat.S_IMODE((into / "d").stat().st_mode) == 0o500
    assert (into / "d").stat().st_mtime_ns == 1_500_000_000_000_000_000


# -- roots --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["raw", "leaf", "file"])
def test_a_root_that_is_a_file_is_called_unknown_or_as_asked(tmp_path: Path, shape: str) -> None:
    dag = Dag()
    root = {"raw": dag.raw(b"fish"), "leaf": dag.leaf(b"fish"), "file": dag.file([dag.raw(b"fish")])}[shape]
    assert unixfs.extract(dag.archive(root), tmp_path / "a").files == 1
    unixfs.extract(dag.archive(root), tmp_path / "b", root_file="fish.txt")
    assert snapshot(tmp_path / "a") == {"unknown": b"fish"}
    assert snapshot(tmp_path / "b") == {"fish.txt": b"fish"}


def test_several_roots_that_are_files_do_not_take_each_others_place(into: Path) -> None:
    dag = Dag()
    roots = [dag.raw(b"1"), dag.raw(b"2"), dag.raw(b"1"), dag.leaf(b"3")]
    assert unixfs.extract(dag.archive(*roots), into).files == 3
    second, third = CID.of(roots[1].cid), CID.of(roots[3].cid)
    assert snapshot(into) == {"unknown": b"1", str(second): b"2", str(third): b"3"}


def test_of_two_roots_with_the_same_path_the_first_counts(into: Path) -> None:
    dag = Dag()
    first = dag.directory({"a": dag.raw(b"1"), "d": dag.directory({"x": dag.raw(b"x")})})
    second = dag.directory({"a": dag.raw(b"2"), "b": dag.raw(b"3"), "d": dag.directory({"y": dag.raw(b"y")})})
    report = unixfs.extract(dag.archive(first, second), into)
    assert snapshot(into) == {"a": b"1", "b": b"3", "d": "directory", "d/x": b"x", "d/y": b"y"}
    assert [(skipped.path, skipped.reason) for skipped in report.skipped] == [("/a", "exists")]
    assert report.files == 4


def test_with_replace_the_last_root_counts(into: Path) -> None:
    dag = Dag()
    roots = [dag.directory({"a": dag.raw(data)}) for data in (b"1", b"2")]
    unixfs.extract(dag.archive(*roots), into, existing="replace")
    assert snapshot(into) == {"a": b"2"}


def test_what_is_no_unixfs_is_passed_over_and_reported(into: Path) -> None:
    dag = Dag()
    cbor = dag.put(b"\xa0", codec=archives.DAG_CBOR)
    odd = dag.node([], b"\xff\xff", size=0)
    root = dag.directory({"cbor": cbor, "odd": odd, "ok": dag.raw(b"ok")})
    report = unixfs.extract(dag.archive(root, cbor), into)
    assert snapshot(into) == {"ok": b"ok"}
    assert {skipped.reason for skipped in report.skipped} == {"not UnixFS"}
    assert sorted(skipped.path for skipped in report.skipped) == ["/", "/cbor", "/odd"]


# -- paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        (["docs"], ["docs/copy.txt", "docs/read me.txt"]),
        (["/docs/"], ["docs/copy.txt", "docs/read me.txt"]),
        (["docs/copy.txt"], ["docs/copy.txt"]),
        (["docs/copy.txt", "docs", "docs"], ["docs/copy.txt", "docs/read me.txt"]),
        (["big.bin", "docs-again/copy.txt"], ["big.bin", "docs-again/copy.txt"]),
        (["empty"], []),
        (["/"], ["big.bin", "docs-again/copy.txt", "docs-again/read me.txt", "docs/copy.txt", "docs/read me.txt"]),
    ],
)
def test_paths_say_what_comes_out_and_keep_their_directories(
    into: Path, paths: list[str], files: list[str]
) -> None:
    dag, root = small()
    report = unixfs.extract(dag.archive(root), into, paths=paths)
    found = snapshot(into)
    assert sorted(path for path, data in found.items() if isinstance(data, bytes)) == files
    assert all(SMALL[path] == data for path, data in found.items())
    assert report.files == len(files)


@pytest.mark.parametrize("path", ["nothing", "docs/nothing", "big.bin/x", "docs/copy.txt/x"])
def test_a_path_that_leads_nowhere_is_an_error_and_makes_nothing(into: Path, path: str) -> None:
    dag, root = small()
    with pytest.raises(PathNotFoundError, match=path):
        unixfs.extract(dag.archive(root), into, paths=[path])
    assert snapshot(into) == {}


def test_a_path_out_of_the_root_is_refused(into: Path) -> None:
    dag, root = small()
    with pytest.raises(ValueError, match="leads out"):
        unixfs.extract(dag.archive(root), into, paths=["../x"])
    assert not into.exists()


def test_a_path_need_not_be_in_all_roots(into: Path) -> None:
    dag = Dag()
    roots = [dag.directory({"a": dag.raw(b"1")}), dag.directory({"b": dag.raw(b"2")}), dag.raw(b"3")]
    unixfs.extract(dag.archive(*roots), into, paths=["b"])
    assert snapshot(into) == {"b": b"2"}
    with pytest.raises(PathNotFoundError):
        unixfs.extract(dag.archive(*roots), into, paths=["c"])


# -- what is there already ----------------------------------------------------------------------------------


def test_a_second_time_is_an_error_or_keeps_or_replaces(into: Path) -> None:
    dag, root = small()
    unixfs.extract(dag.archive(root), into)
    (into / "big.bin").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"big\.bin"):
        unixfs.extract(dag.archive(root), into)
    report = unixfs.extract(dag.archive(root), into, existing="keep")
    assert (report.files, {skipped.reason for skipped in report.skipped}) == (0, {"exists"})
    assert (into / "big.bin").read_bytes() == b"mine"
    assert unixfs.extract(dag.archive(root), into, existing="replace").files == 5
    assert snapshot(into) == SMALL


# -- what is missing ----------------------------------------------------------------------------------------


def test_what_is_missing_is_left_out_and_reported_at_once(into: Path) -> None:
    dag, root = small()
    lobster = archives.cid_v1(b"lobster\n")
    said: list[Skipped] = []
    report = unixfs.extract(dag.archive(root, without=[lobster]), into, on_skip=said.append)
    assert snapshot(into) == {path: data for path, data in SMALL.items() if path != "big.bin"}
    assert said == list(report.skipped) == [unixfs.Skipped("/big.bin", "missing", detail=str(CID.of(lobster)))]
    with pytest.raises(BlockNotFoundError):
        unixfs.extract(dag.archive(root, without=[lobster]), into / "strict", on_missing="raise")


def test_a_large_file_with_a_gap_is_not_there(into: Path) -> None:
    dag = Dag()
    leaves = [dag.raw(bytes([at]) * (1 << 20)) for at in range(12)]
    root = dag.directory({"large": dag.file(leaves), "small": dag.raw(b"x")})
    report = unixfs.extract(dag.archive(root, without=[leaves[10].cid]), into)
    assert snapshot(into) == {"small": b"x"}
    assert [skipped.path for skipped in report.skipped] == ["/large"]


def test_missing_roots_and_directories(into: Path) -> None:
    dag, root = small()
    report = unixfs.extract(dag.archive(root, without=[root.cid]), into)
    assert (report.files, [skipped.path for skipped in report.skipped]) == (0, ["/"])
    docs = next(cid for cid, data in dag.blocks.items() if b"read me.txt" in data)
    report = unixfs.extract(dag.archive(root, without=[docs]), into)
    assert [skipped.path for skipped in report.skipped] == ["/docs", "/docs-again"]
    assert snapshot(into) == {"big.bin": SMALL["big.bin"], "empty": "directory"}


def test_missing_shards_are_counted_for_their_directory(into: Path) -> None:
    dag = Dag()
    shards = dag.hamt({f"{at}": dag.raw(b"%d" % at) for at in range(40)}, fanout=8)
    root = dag.directory({"a": dag.directory({"sharded": shards}), "z": dag.raw(b"z")})
    gone = [cid for cid, data in dag.blocks.items() if message(5)[:2] in data and cid != shards.cid][:2]
    report = unixfs.extract(dag.archive(root, without=gone), into)
    assert [skipped for skipped in report.skipped if skipped.shard] == [
        unixfs.Skipped("/a/sharded", "missing", count=2, shard=True)
    ]
    assert 0 < report.files < 41
    with pytest.raises(BlockNotFoundError):
        unixfs.extract(dag.archive(root, without=gone), into / "strict", on_missing="raise")


def test_a_file_of_a_block_that_is_not_what_its_cid_says_is_left_out_or_ends_it(into: Path) -> None:
    dag, root = small()
    whole = unixfs.extract(dag.archive(root), into.with_name("whole"))
    dag.blocks[archives.cid_v1(b"lobster\n")] = b"lobs7er\n"
    report = unixfs.extract(dag.archive(root), into)
    damaged = [skipped for skipped in report.skipped if skipped.reason == "damaged"]
    assert damaged
    assert report.files == whole.files - len(damaged)
    assert not (into / damaged[0].path[1:]).exists()
    assert "lobs7er" not in str(snapshot(into))
    streamed = b"".join(unixfs.payload_stream(dag.archive(root)))
    assert b"lobs7er" not in streamed
    with pytest.raises(IntegrityError):
        unixfs.extract(dag.archive(root), into.with_name("strict"), on_missing="raise")


@pytest.mark.parametrize("paths", [["docs", "docs/nothing"], ["", "nothing"], "nothing"])
def test_each_path_that_is_asked_for_must_be_there(into: Path, paths: str | list[str]) -> None:
    dag, root = small()
    with pytest.raises(PathNotFoundError, match="nothing"):
        unixfs.extract(dag.archive(root), into, paths=paths)


def test_the_size_of_a_raw_file_is_a_guess_of_its_link_for_a_tar_file_too() -> None:
    dag = Dag()
    raw = dag.raw(b"fish")
    root = dag.directory({"small": raw._replace(total=1 << 30)})
    with tarfile.open(fileobj=io.BytesIO(b"".join(unixfs.tar_stream(dag.archive(root))))) as tar:
        (member,) = [member for member in tar.getmembers() if member.isfile()]
        assert member.size == 4


def test_one_path_may_be_a_text(into: Path) -> None:
    dag = Dag()
    root = dag.directory({"a": dag.directory({"b": dag.raw(b"1"), "c": dag.raw(b"2")})})
    assert unixfs.extract(dag.archive(root), into, paths="a/b").files == 1
    assert b"".join(unixfs.payload_stream(dag.archive(root), paths="a/c")) == b"2"


def test_sizes_that_lie_end_it_and_leave_no_file(into: Path) -> None:
    dag = Dag()
    root = dag.directory({"lies": dag.file([dag.raw(b"fish"), dag.raw(b"more")], sizes=[4, 5], size=9)})
    with pytest.raises(UnixFSError):
        unixfs.extract(dag.archive(root), into)
    assert snapshot(into) == {}


# -- what go-car's own tests say ----------------------------------------------------------------------------


def test_go_cars_archive_of_nine_files(into: Path) -> None:
    report = unixfs.extract(shared_fixture("go-car-cli/simple-unixfs.car"), into)
    letters = iter("ABCDEFGHI")
    tree = {"a": "123", "b": "456", "c": "789"}
    expected = {
        f"{top}/{at}/{(letter := next(letters))}.txt": f"{top}{at}{letter}\n".encode()
        for top, numbers in tree.items()
        for at in numbers
    }
    assert {path: data for path, data in snapshot(into).items() if isinstance(data, bytes)} == expected
    assert (report.files, report.skipped) == (9, ())


def test_go_cars_archive_with_missing_blocks(into: Path) -> None:
    report = unixfs.extract(shared_fixture("go-car-cli/simple-unixfs-missing-blocks.car"), into)
    assert report.files == 6
    assert [skipped.path for skipped in report.skipped] == ["/b/4", "/b/5/E.txt", "/b/6"]


def test_go_cars_archive_of_one_file_in_a_torn_shard(into: Path) -> None:
    report = unixfs.extract(shared_fixture("go-car-cli/wikipedia-cryptographic-hash-function.car"), into)
    assert report.files == 1
    assert [(skipped.path, skipped.count) for skipped in report.skipped if skipped.shard] == [("/wiki", 570)]
    assert (
        b"<title>Cryptographic hash function</title>" in (into / "wiki/Cryptographic_hash_function").read_bytes()
    )


@pytest.mark.parametrize(
    "name",
    ["dir_listing/fixtures.car", "path_gateway_unixfs/dir-with-files.car", "gateway-raw-block.car"],
)
def test_the_gateways_fixtures_come_out(into: Path, name: str) -> None:
    source = shared_fixture(f"gateway-conformance/{name}")
    report = unixfs.extract(source, into)
    with carv2.open(source) as car:
        assert report.files or not car.roots
    assert len([data for data in snapshot(into).values() if isinstance(data, bytes)]) == report.files
