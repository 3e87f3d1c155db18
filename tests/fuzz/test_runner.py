"""The command that fuzzes: it finds what is put in, keeps it, makes it small, and says so."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fuzz.replay import failure_of, shrunk
from fuzz.targets import TARGETS

RUN = Path(__file__).parent / "run"
HERE = "varint: reads protobuf's with a bit missing"


def run(work: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install 'carv2[fuzz]'")
    command = [sys.executable, str(RUN), "--seconds", "2", "--target", "varint", "--work", str(work), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode in {0, 1}, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert json.loads((work / "summary.json").read_text()) == summary
    return done.returncode, summary


def test_it_finds_nothing_where_nothing_is(tmp_path: Path) -> None:
    code, summary = run(tmp_path)
    assert (code, summary["crashes"]) == (0, 0)
    tally = summary["targets"]["varint"]
    assert tally["executions"] == summary["executions"] > 100
    assert tally["coverage"] > 5
    assert tally["inputs"] == len(list((tmp_path / "varint/corpus").iterdir()))


def test_it_finds_a_fault_that_is_put_in(tmp_path: Path) -> None:
    code, summary = run(tmp_path, "--with-fault", HERE)
    assert (code, summary["crashes"]) == (1, 1)
    (found,) = summary["targets"]["varint"]["crashes"]
    assert found["failure"].startswith("AssertionError at binary.py:")
    small = Path(found["file"] + ".small").read_bytes()
    assert len(small) <= Path(found["file"]).stat().st_size <= 16
    assert failure_of(TARGETS["varint"], small) is None  # it is the fault that was found


def test_a_failure_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure_of(TARGETS["varint"], b"\x05") is None
    module, name, replacement = TARGETS["varint"].sabotage["takes ten bytes for a number"]
    monkeypatch.setattr(module, name, replacement)
    told = failure_of(TARGETS["varint"], b"\x05")
    assert told is not None
    assert told.startswith("AssertionError at binary.py:")


def test_a_check_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr("fuzz.replay.PATIENCE", 1)
    monkeypatch.setattr(TARGETS["varint"].sabotage["takes ten bytes for a number"].module, "decode", hang)
    assert failure_of(TARGETS["varint"], b"\x05") == "HangError: more than 1 s"


def test_inputs_are_made_as_small_as_they_can_be() -> None:
    data = b"some fish, a lobster, and a barreleye"
    assert shrunk(data, lambda data: b"lob" in data) == b"lob"
    assert shrunk(data, lambda data: len(data) > 4) == bytes(5)
    assert shrunk(data, lambda data: data == b"never", seconds=1) == data
