"""What the transcripts of `extract` cannot show: terminals."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

from carv2.cli import progress
from cli.files import lay_out
from cli.running import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_tar_file_is_not_for_a_terminal(tmp_path: Path) -> None:
    lay_out(tmp_path)
    near, far = pty.openpty()
    with os.fdopen(far, "w") as terminal:
        ran = run(tmp_path, ["extract", "--tar", "folder.car"], stdout=terminal)
    os.close(near)
    assert ran.code == 2
    assert "terminal" in ran.err


def test_lines_wait_for_the_bar_to_go_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path)
    plain = run(tmp_path, ["extract", "-o", "plain", "folder.car"])
    monkeypatch.setattr(progress, "is_wanted", lambda: True)
    barred = run(tmp_path, ["extract", "-o", "barred", "folder.car"])
    assert (barred.err, barred.code) == (plain.err, plain.code)
    assert barred.err.splitlines()[-2] == "extracted 7 file(s)"
    failed = run(tmp_path, ["extract", "-o", "strict", "--strict", "folder.car"])
    assert [line.split(":")[0] for line in failed.err.splitlines()] == ["symlink", "carv2"]
