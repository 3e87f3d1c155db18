"""Files into a pipe, and tar files: what tar makes of them is what extraction makes."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from carv2 import CID, unixfs
from carv2.errors import BlockNotFoundError, BudgetError, PathNotFoundError, UnixFSError, UnsafePathError
from extract.trees import snapshot
from helpers import archives
from helpers.unixfs import FILE, Dag, Made, number, text
from helpers.unixfs import unixfs as message

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.unixfs import Skipped


def rich() -> tuple[Dag, Made]:
    """Names, sizes and kinds that tar programs have had trouble with."""
    dag = Dag()
    tail = number(7, 0o4754) + text(8, number(1, 1_600_000_000) + b"\x15" + (7).to_bytes(4, "little"))
    old = dag.node([], message(FILE, b"dated", size=5, tail=tail))
    deep = dag.raw(b"deep")
    for at in range(12):
        deep = dag.directory({f"level {at} " + "n" * 90: deep})
    files: dict[str | bytes, Made] = {
        "empty": dag.raw(b""),
        "512": dag.raw(b"x" * 512),
        "513": dag.leaf(b"x" * 513),
        "in parts": dag.file([dag.raw(b"fish"), dag.raw(b"lobster")]),
        "déjà vu": dag.raw(b"unicode"),
        b"no utf-8 \xff": dag.raw(b"bytes"),
        "-dash": dag.raw(b"-"),
        "new\nline": dag.raw(b"\n"),
        "n" * 255: dag.raw(b"long"),
        "dated": old,
    }
    folder = dag.directory(
        {**files, "deep": deep, "link": dag.symlink(b"d/" + b"t" * 200), "d": dag.directory({})}
    )
    return dag, dag.directory({"folder": folder, "top": dag.raw(b"top")})


def tar_of(*arguments: Any, **options: Any) -> bytes:
    return b"".join(unixfs.tar_stream(*arguments, **options))


def tarred(data: bytes, into: Path) -> dict[str, bytes | str]:
    """What the system's tar makes of it."""
    program = shutil.which("tar")
    if program is None:
        pytest.skip("tar is not installed")
    into.mkdir()
    subprocess.run([program, "-xf", "-", "-C", str(into)], input=data, check=True, capture_output=True)
    return snapshot(into)


def test_tar_makes_of_it_what_extraction_makes(tmp_path: Path) -> None:
    dag, root = rich()
    source = dag.archive(root)
    report = unixfs.extract(source, tmp_path / "ours", symlinks="safe")
    paths: list[str] = []
    data = tar_of(source, symlinks="safe", on_path=paths.append)
    assert tarred(data, tmp_path / "theirs") == snapshot(tmp_path / "ours")
    assert len(paths) == report.files + report.symlinks
    assert len(data) % 10240 == 0
    ours, theirs = ((tmp_path / name / "folder" / "dated").stat() for name in ("ours", "theirs"))
    assert (ours.st_mode, ours.st_mtime_ns) == (theirs.st_mode, theirs.st_mtime_ns)
    assert ours.st_mtime_ns == 1_600_000_000_000_000_007


def test_a_tar_file_says_nothing_of_who_made_it_and_when() -> None:
    dag, root = rich()
    data = tar_of(dag.archive(root), mtime=123)
    assert data == tar_of(dag.archive(root), mtime=123)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            if "dated" in member.name:
                assert member.mode == 0o754
            else:
                assert (member.mode, member.mtime) == (0o755 if member.isdir() else 0o644, 123)


def test_a_prefix_and_paths() -> None:
    dag, root = rich()
    with tarfile.open(
        fileobj=io.BytesIO(tar_of(dag.archive(root), paths=["folder/513", "top"], prefix="a/b"))
    ) as tar:
        assert tar.getnames() == ["a", "a/b", "a/b/folder", "a/b/folder/513", "a/b/top"]
        assert [member.isdir() for member in tar] == [True, True, True, False, False]
    with pytest.raises(PathNotFoundError):
        tar_of(dag.archive(root), paths=["nothing"])
    with pytest.raises(UnsafePathError):
        tar_of(dag.archive(root), prefix="a\\b")
    with pytest.raises(ValueError, match="leads out"):
        tar_of(dag.archive(root), prefix="../x")


def test_an_empty_tar_file(tmp_path: Path) -> None:
    dag = Dag()
    data = tar_of(dag.archive(dag.directory({})))
    assert data == bytes(10240)
    assert tarred(data, tmp_path / "theirs") == {}


@pytest.mark.parametrize("seconds", [-1_000, 1 << 33, 1 << 62, (1 << 64) - (1 << 62)])
def test_times_of_all_sizes(tmp_path: Path, seconds: int) -> None:
    dag = Dag()
    file = dag.node([], message(FILE, b"x", size=1, tail=text(8, number(1, seconds % (1 << 64)))))
    data = tar_of(dag.archive(dag.directory({"f": file})))
    assert tarred(data, tmp_path / "theirs") == {"f": b"x"}
    assert int((tmp_path / "theirs" / "f").stat().st_mtime) == (seconds if abs(seconds) < 1 << 40 else 0)


@pytest.mark.parametrize("name", ["..", "../x", "/x", "a\\b"])
def test_unsafe_names_stop_a_tar_file_or_are_passed_over(name: str) -> None:
    dag = Dag()
    source = dag.archive(dag.directory({name: dag.raw(b"hostile"), "ok": dag.raw(b"ok")}))
    with pytest.raises(UnsafePathError):
        tar_of(source)
    with tarfile.open(fileobj=io.BytesIO(tar_of(source, on_unsafe="skip"))) as tar:
        assert tar.getnames() == ["ok"]


def test_in_a_tar_file_each_path_is_there_once() -> None:
    dag = Dag()
    first = dag.directory({"a": dag.raw(b"1"), "d": dag.directory({"x": dag.raw(b"x")}), "f": dag.raw(b"f")})
    second = dag.directory(
        {"a": dag.raw(b"2"), "d": dag.directory({"y": dag.raw(b"y")}), "f": dag.directory({"z": dag.raw(b"z")})}
    )
    said: list[Skipped] = []
    data = tar_of(dag.archive(first, second, dag.raw(b"3")), on_skip=said.append)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["a", "d", "d/x", "f", "d/y", "unknown"]
    assert [(skipped.path, skipped.reason) for skipped in said] == [("/a", "exists"), ("/f", "exists")]


def large(dag: Dag) -> tuple[Made, list[Made]]:
    leaves = [dag.raw(bytes([at]) * (1 << 20)) for at in range(12)]
    return dag.file(leaves), leaves


@pytest.mark.parametrize("stream", [unixfs.payload_stream, unixfs.tar_stream])
def test_what_is_missing_is_left_out_of_streams(stream: Any) -> None:
    dag = Dag()
    gone = dag.raw(b"gone")
    root = dag.directory({"gap": dag.file([dag.raw(b"fish"), gone]), "gone": gone, "ok": dag.raw(b"here")})
    said: list[Skipped] = []
    data = b"".join(stream(dag.archive(root, without=[gone.cid]), on_skip=said.append))
    assert b"here" in data
    assert b"fish" not in data
    assert [skipped.path for skipped in said] == ["/gap", "/gone"]
    with pytest.raises(BlockNotFoundError):
        list(stream(dag.archive(root, without=[gone.cid]), on_missing="raise"))


def test_a_gap_in_a_large_file_ends_a_tar_file_and_is_reported_of_a_stream() -> None:
    dag = Dag()
    file, leaves = large(dag)
    source = dag.archive(dag.directory({"large": file, "ok": dag.raw(b"here")}), without=[leaves[10].cid])
    with pytest.raises(BlockNotFoundError):
        tar_of(source)
    said: list[Skipped] = []
    data = b"".join(unixfs.payload_stream(source, on_skip=said.append))
    assert data == b"".join(bytes([at]) * (1 << 20) for at in range(10)) + b"here"
    assert [skipped.path for skipped in said] == ["/large"]


def test_large_files_are_streamed() -> None:
    dag = Dag()
    file, _ = large(dag)
    pieces = list(unixfs.tar_stream(dag.archive(file), root_file="large.bin"))
    assert max(map(len, pieces)) == 1 << 20
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert [(member.name, member.size) for member in tar] == [("large.bin", 12 << 20)]


@pytest.mark.parametrize("stream", [unixfs.payload_stream, unixfs.tar_stream])
def test_sizes_that_lie_are_found_out(stream: Any) -> None:
    dag = Dag()
    _, leaves = large(dag)
    sizes = [1 << 20] * 11 + [(1 << 20) - 1]
    lying = dag.file(leaves, sizes=sizes, size=sum(sizes))
    for source in (lying, dag.file([dag.raw(b"fish")], sizes=[3], size=3)):
        with pytest.raises(UnixFSError):
            list(stream(dag.archive(source)))


@pytest.mark.parametrize("stream", [unixfs.payload_stream, unixfs.tar_stream])
def test_streams_have_a_budget(stream: Any) -> None:
    dag = Dag()
    made = dag.raw(b"x" * 1000)
    for _ in range(6):
        made = dag.file([made] * 64)
    with pytest.raises(BudgetError, match="times the archive"):
        list(stream(dag.archive(made)))
    with pytest.raises(BudgetError):
        list(stream(dag.archive(made), max_bytes=100))
    with pytest.raises(BudgetError):
        list(stream(dag.archive(dag.directory({"a": made})), max_entries=1))


def test_the_payload_is_that_of_all_files_in_order() -> None:
    dag = Dag()
    below = dag.directory({"b": dag.leaf(b"2"), "..": dag.raw(b"3")})
    root = dag.directory({"a/": dag.raw(b"1"), "below": below, "link": dag.symlink(b"a"), "": dag.raw(b"4")})
    paths: list[str] = []
    said: list[Skipped] = []
    source = dag.archive(root, dag.raw(b"5"), dag.raw(b"6"))
    assert b"".join(unixfs.payload_stream(source, on_path=paths.append, on_skip=said.append)) == b"123456"
    assert paths[:4] == ["a/", "below/b", "below/..", ""]
    assert [skipped.reason for skipped in said] == ["symlink"]
    assert list(unixfs.payload_stream(source, paths=["below/b"])) == [b"2"]
    assert b"".join(unixfs.payload_stream(source, roots=[CID.of(archives.cid_v1(b"6"))])) == b"6"
