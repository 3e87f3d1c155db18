"""Commands that a person is told to type come back as what was meant, in each shell that there is."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from carv2.cli.typed import line_of, quoted

if TYPE_CHECKING:
    from pathlib import Path

TAME = ["sea.car", "a fish", "it's", "$(touch PWN)`x`", "~", "{a,b}", "*"]
WORDS = [*TAME, "a\\b", "a\\'\";touch PWN #.car", "\\", "'\\'"]


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish"])
def test_words_come_back(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"zsh": ["-f"], "fish": ["-N"]}.get(shell, [])
    command = [program, *flags, "-c", line_of(["printf", "%s\\n", *WORDS])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stderr, done.stdout.splitlines()) == ("", WORDS)
    assert not list(tmp_path.iterdir())


def test_plain_words_stay_plain() -> None:
    assert [quoted(word) for word in ("sea.car", "--repo", "")] == ["sea.car", "--repo", "''"]
