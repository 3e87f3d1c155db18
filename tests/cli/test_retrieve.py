"""What a transcript of ``carv2 retrieve`` cannot show: interrupts, full disks, pipes that stay open."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from carv2.cid import CID
from carv2.cli.commands.retrieve import _as_people_count, _parts_of
from carv2.imports import Retrievals
from cli.running import SOURCE, run, told
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

DATA = [bytes([at]) * 1000 for at in range(200)]
BLOCKS = [(archives.cid_v1(data), data) for data in DATA]
ROOT = archives.node(*[cid for cid, _ in BLOCKS])
STREAM = archives.v1([ROOT[0]], [ROOT, *BLOCKS])
CID_TEXT = str(CID.of(ROOT[0]))


def start(folder: Path, *argv: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "carv2", "retrieve", CID_TEXT, "--repo", ".", "--id", "x", *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _have_a_small_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def finish(folder: Path) -> int:
    """Go on, to the end; how many blocks were there."""
    with Retrievals(folder / "retrievals").start(ROOT[0], id="x") as it:
        it.receive([STREAM])
        assert it.finish().complete
        return it.resumed_count


def test_an_interrupt_keeps_what_came_and_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, "--from", "-", stdin=subprocess.PIPE, preexec_fn=_take_interrupts)
    assert process.stdin is not None
    process.stdin.write(STREAM[:150_000])
    process.stdin.flush()  # more than a pipe holds: it is reading now
    out, err = told(process, signal.SIGINT)
    assert (process.returncode, out) == (130, b"")
    assert f"retrieve {CID_TEXT} --id x --repo . --from ...".encode() in err
    assert finish(tmp_path) > 10


def test_a_full_disk_is_told_and_what_came_is_kept(tmp_path: Path) -> None:
    (tmp_path / "all.car").write_bytes(STREAM)
    process = start(tmp_path, "--from", "all.car", preexec_fn=_have_a_small_disk)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert b"to go on: " in err
    assert b"File too large" in err
    finish(tmp_path)


def test_a_writer_of_the_same_retrieval_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.car").write_bytes(STREAM)
    with Retrievals(tmp_path / "retrievals").start(ROOT[0], id="x"):
        for argv in (["retrieve", CID_TEXT, "--id", "x", "--from", "all.car"], ["retrievals", "remove", "x"]):
            ran = run(tmp_path, [*argv, "--repo", "."])
            assert (ran.code, ran.out) == (1, b"")
            assert "locked by another writer" in ran.err


def test_a_named_pipe_is_a_stream(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[STREAM])
    writer.start()
    ran = run(tmp_path, ["retrieve", CID_TEXT, "--repo", ".", "--from", "pipe"])
    writer.join()
    assert (ran.code, ran.err) == (0, "")
    assert b"State: finished" in ran.out


def test_many_missing_blocks_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    (tmp_path / "root.car").write_bytes(archives.v1([], [ROOT]))
    ran = run(tmp_path, ["retrieve", CID_TEXT, "--repo", ".", "--from", "root.car"])
    assert ran.code == 1
    assert b"Missing: 200 blocks\n  baf" in ran.out
    assert b"  and 190 more\n" in ran.out


@pytest.mark.parametrize("source", ["missing.car", "text"])
def test_a_source_that_is_none(tmp_path: Path, source: str) -> None:
    (tmp_path / "text").write_bytes(b"not an archive\n")
    ran = run(tmp_path, ["retrieve", CID_TEXT, "--repo", ".", "--from", source])
    assert ran.code == 1
    assert source in ran.err
    assert "to go on: " not in ran.err
    assert os.listdir(tmp_path / "retrievals") == []
    (tmp_path / "root.car").write_bytes(archives.v1([], [ROOT]))
    ran = run(tmp_path, ["retrieve", CID_TEXT, "--repo", ".", "--from", "root.car", "--from", source])
    assert ran.err.splitlines()[0].startswith("carv2: ")
    assert ran.err.splitlines()[-1].startswith("what came in is kept; to go on: ")


def test_chunks_are_taken_in_the_order_of_the_numbers_in_their_names(tmp_path: Path) -> None:
    names = ["part-10", "part-9", "a", "part-", "part-09a", "9" * 5000, "1"]
    found = sorted(names, key=_as_people_count)
    assert found.index("part-9") < found.index("part-09a") < found.index("part-10")
    for name in ("b-10", "b-2", ".hidden", "a"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert [os.path.basename(part) for part in _parts_of(str(tmp_path))] == ["a", "b-2", "b-10"]


def test_a_repair_that_fails_is_told_and_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "all.car").write_bytes(STREAM)
    finish(tmp_path)
    path = tmp_path / "retrievals" / "x.car"
    path.write_bytes(path.read_bytes().replace(DATA[7], bytes(1000)))
    damaged = path.read_bytes()
    process = start(tmp_path, "--from", "all.car", preexec_fn=_have_a_small_disk)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert b"File too large" in err.splitlines()[0]
    assert b"to go on: " in err.splitlines()[1]
    assert path.read_bytes() == damaged
    assert os.listdir(path.parent) == ["x.car"]
    assert finish(tmp_path) == 201


def test_an_interrupt_before_anything_came_keeps_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = start(tmp_path, "--from", "pipe", preexec_fn=_take_interrupts)
    with open(tmp_path / "pipe", "wb"):  # it is reading now
        out, err = told(process, signal.SIGINT)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert os.listdir(tmp_path / "retrievals") == []
