"""Commands that follow references: what they are told may be read, and when an archive is said to be a ref-CAR."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cli import references
from cli.files import lay_out
from cli.running import run, run_shell
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

CID = "bafkreiekefkwqbbvmvibfah5rsd55jqpdsy6d3ig7ui4hdlirtitxai4ri"
READERS = {
    "cat": ["cat", "ref.car", f"/ipfs/{CID}"],
    "ls": ["ls", "ref.car", f"/ipfs/{CID}"],
    "tree": ["tree", "ref.car"],
    "extract": ["extract", "-o", "out", "ref.car"],
    "get-block": ["get-block", "ref.car", CID],
    "get-dag": ["get-dag", "ref.car", "out.car"],
    "ref status": ["ref", "status", "ref.car"],
    "ref verify": ["ref", "verify", "ref.car"],
    "ref densify": ["ref", "densify", "ref.car", "out.car"],
}
EACH = pytest.mark.parametrize("name", READERS)
HINT = "this is a ref-CAR"


def flagged(name: str) -> list[str]:
    return READERS[name] + ([] if name.startswith("ref ") else ["--ref"])


@EACH
def test_nothing_is_opened_before_something_is_allowed(name: str, tmp_path: Path) -> None:
    """Not even the archive, which is not there."""
    ran = run(tmp_path, [*flagged(name), "--base", "."])
    assert (ran.code, ran.out) == (2, b"")
    assert "--allow DIR" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in READERS if not name.startswith("ref ")])
@pytest.mark.parametrize("flags", [["--allow", "."], ["--allow-url", "http://localhost"], ["--base", "."]])
def test_what_is_allowed_means_nothing_without_ref(name: str, flags: list[str], tmp_path: Path) -> None:
    lay_out(tmp_path)
    ran = run(tmp_path, [*READERS[name], *flags])
    assert ran.code == 2
    assert "go with --ref" in ran.err


@EACH
def test_only_what_is_allowed_is_read(name: str, tmp_path: Path) -> None:
    """Originals that are not allowed can be a pipe that nobody writes to: nobody waits for it."""
    lay_out(tmp_path)
    (tmp_path / "text").unlink()
    os.mkfifo(tmp_path / "text")
    for allowed in ("fish.car", "."):
        ran = run(tmp_path, [*flagged(name), "--allow", allowed, "--base", "."])
        assert references.ORIGINAL[:6] not in ran.out
        assert not (tmp_path / "out.car").exists()
        if name not in {"ls", "tree", "extract"}:  # which read no leaf of it, or have no file to make
            assert ran.code == 1
            expected = "named pipe" if allowed == "." else "not allowed"
            assert expected in ran.err + ran.out.decode()


@EACH
def test_archives_come_through_pipes_too(name: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    direct = run(tmp_path, [*flagged(name), "--allow", ".", "--base", "."])
    words = ["-" if word == "ref.car" else word for word in flagged(name)]
    ran = run(tmp_path, [*words, "--allow", ".", "--base", "."], stdin=tmp_path / "ref.car")
    assert (ran.out, ran.code) == (direct.out, direct.code)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([b"\xff", references.GOOD[1]], ["ERROR", "damaged"]),
        ([references.GOOD[0], references.record(b"", 6, 9)], ["error", "a folder, not a file"]),
        ([references.record(b"text/x", 0, 6), references.GOOD[1]], ["error", "Not a directory"]),
        ([references.record(b"folder", 0, 6), references.GOOD[1]], ["error", "folder, not a file"]),
        ([references.record(b"name\x1b[31m", 0, 6), references.GOOD[1]], ["no-file", "name\\x1b[31m"]),
    ],
)
def test_each_trouble_has_its_word(records: list[bytes], words: list[str], tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.car").write_bytes(references.ref_car(records))
    ran = run(tmp_path, ["ref", "status", "x.car", "--allow", ".", "--base", "."])
    assert ran.code == 1
    line = ran.out.decode().splitlines()[0]
    assert line.startswith(f"{words[0]:<7} bafk")
    assert all(word in line for word in words)
    assert "\x1b" not in line


def test_of_a_ref_car_it_is_said_when_something_failed(tmp_path: Path) -> None:
    lay_out(tmp_path)
    for line in ("verify ref.car", f"get-block ref.car {CID}", "list ref-a.car", "inspect --full ref.car"):
        ran = run(tmp_path, line.split())
        assert ran.code == 1
        assert HINT in ran.err, line


@pytest.mark.parametrize(
    "line",
    [
        "verify damaged.car missing-root.car cut.car",
        f"get-block mixed.car {CID}",
        "list damaged.car",
        "inspect two.car",
        "inspect mixed-v2.car",
        f"get-block --ref ref.car {CID[:-2]}qa --allow .",
        "ref status ref-stale.car --allow . --base .",
    ],
)
def test_of_others_it_is_not(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    assert HINT not in run(tmp_path, line.split()).err


@pytest.mark.parametrize(("in_front", "is_found"), [(128, True), (300, False)])
def test_only_so_many_sections_are_looked_at(in_front: int, is_found: bool, tmp_path: Path) -> None:
    """Lotus writes up to 128 nodes in front of the first record."""
    nodes = [archives.node(archives.cid_v1(b"%d" % at)) for at in range(in_front)]
    record = (archives.cid_v1(references.key(references.LEAVES[0])), references.GOOD[0])
    (tmp_path / "x.car").write_bytes(archives.v1([nodes[0][0]], [*nodes, record]))
    ran = run(tmp_path, ["verify", "x.car"])
    assert ran.code == 1
    assert (HINT in ran.err) is is_found


def test_ordinary_archives_are_inspected_without_loading_what_follows_references(tmp_path: Path) -> None:
    lay_out(tmp_path)
    ran = run_shell(tmp_path, "PYTHONVERBOSE=1 carv2 inspect mixed-v2.car")
    assert ran.code == 0
    assert "carv2.operations.inspect" in ran.err
    assert "carv2.filestore" not in ran.err
