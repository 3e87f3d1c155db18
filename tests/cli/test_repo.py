"""Which folder ``--repo`` is, and names of commands that are groups."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from carv2.cli import main, registry, repo

if TYPE_CHECKING:
    from pathlib import Path


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    repo.add_repo(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [
        ([], None, "home/.carv2"),
        ([], "", "home/.carv2"),
        ([], "elsewhere", "work/elsewhere"),
        ([], "~/elsewhere", "home/elsewhere"),
        (["--repo", "mine"], "elsewhere", "work/mine"),
        (["--repo=~/mine"], None, "home/mine"),
        (["--repo", ""], None, "home/.carv2"),
    ],
)
def test_the_flag_comes_before_the_environment_before_the_home(
    words: list[str], variable: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CARV2_PATH", raising=False)
    if variable is not None:
        monkeypatch.setenv("CARV2_PATH", variable)
    args = parsed(*words)
    assert repo.folder_of(args) == str(tmp_path / expected)
    assert repo.imports_folder(args) == str(tmp_path / expected / "imports")
    assert repo.retrievals_folder(args) == str(tmp_path / expected / "retrievals")
    assert not (tmp_path / expected).exists()


def test_a_home_that_cannot_be_found_is_an_error() -> None:
    with pytest.raises(ValueError, match="name a folder with --repo"):
        repo.folder_of(parsed("--repo", "~nobody-of-this-name/x"))


def test_a_group_of_commands_says_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "COMMANDS", {"zoo feed": "feed them", "zoo close": "go home"})
    assert main.main(["zoo"]) == 2
    assert capfd.readouterr().err.startswith("carv2: zoo needs to be told what to do; there is feed, close\n")
    assert main.main(["zoo", "fed"]) == 2
    assert capfd.readouterr().err.startswith("carv2: zoo has no fed; there is feed, close; did you mean feed?\n")
    assert main.main(["zoo", "--help"]) == 0
    assert capfd.readouterr().out.splitlines()[-2:] == ["  zoo feed   feed them", "  zoo close  go home"]


def test_repo_may_stand_between_the_words_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "COMMANDS", {"zoo feed": "feed them"})
    assert main._take_command(["zoo", "--repo", "r", "feed", "x"]) == ("zoo feed", ["--repo", "r", "x"])
