"""The scripts of ``carv2 completion``, tried in the shells themselves where they are installed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from carv2.cli import completion, registry
from carv2.cli.parser import parser_for

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
CASES = [  # what is typed before Tab, and what is offered among others, and what is not
    ("carv2 ver", {"verify"}, {"stat"}),
    ("carv2 roo", {"root", "roots"}, {"stat"}),
    ("carv2 dagst", {"dagstore"}, {"dagstore stat"}),
    ("carv2 dagstore initialize-", {"initialize-shard", "initialize-all"}, {"stat"}),
    ("carv2 dagstore --root st initialize-", {"initialize-shard", "initialize-all"}, {"stat"}),
    ("carv2 index crea", {"create"}, {"list"}),
    ("carv2 roots --max-", {"--max-section", "--max-header"}, {"--json"}),
    ("carv2 --ver", {"--version"}, {"--json"}),
    ("carv2 dagstore list-shards --st", {"--state"}, {"--root"}),
    ("carv2 extract --symlinks s", {"skip", "safe"}, {"verify"}),
    ("carv2 extract --symlinks=s", {"skip", "safe"}, {"verify"}),
    ("carv2 completion ", {"bash", "zsh", "fish"}, {"verify"}),
    ("carv2 verify here-", {"here-1.car", "here-2.car"}, {"verify"}),
]


def needed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shell in SHELLS:
        (tmp_path / f"script.{shell}").write_text(completion.script(shell), encoding="utf-8")
    for name in ("here-1.car", "here-2.car"):
        (tmp_path / name).touch()
    return tmp_path


def in_bash(line: str, folder: Path) -> set[str]:
    """What bash offers; as it splits the words itself, at ``=`` too. Without an offer of ours it is the files."""
    words = re.sub("=", " = ", line).split() + [""] * line.endswith(" ")
    code = """source script.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _carv2
        if [[ ${#COMPREPLY[@]} = 0 ]]; then compgen -f -- "${@: -1}"; else printf '%s\\n' "${COMPREPLY[@]}"; fi"""
    done = subprocess.run(
        [needed("bash"), "--norc", "-uc", code, "bash", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def in_fish(line: str, folder: Path) -> set[str]:
    code = f"source script.fish; complete -C '{line}'"
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        [needed("fish"), "--no-config", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {found.partition("\t")[0].removeprefix("--symlinks=") for found in done.stdout.splitlines()}


ZSHRC = """
autoload -Uz compinit
compinit -u -D
source ./script.zsh
compadd() {  # what is offered, into a file
    if [[ ${@[1,(i)(-|--)]} != *-[OAD]* ]]; then
        local -a offered
        builtin compadd -A offered "$@"
        print -rl -- $offered >>found
    fi
    builtin compadd "$@"
}
zle-line-init() {
    BUFFER=$TYPED CURSOR=$#TYPED
    zle complete-word
    exit
}
zle -N zle-line-init
"""


def in_zsh(line: str, folder: Path, setup: str = ZSHRC) -> set[str]:
    """What zsh offers at a terminal: it completes nowhere else."""
    zsh = needed("zsh")
    (folder / ".zshrc").write_text(setup, encoding="utf-8")
    (folder / "found").touch()
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "ZDOTDIR": str(folder), "TERM": "dumb", "TYPED": line}
    with subprocess.Popen(
        [zsh, "-di"],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # Linux: the other side is closed
            while os.read(ours, 4096):
                pass
        os.close(ours)
        process.wait()
    return set((folder / "found").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_bash_offers_what_the_parsers_take(
    line: str, offered: set[str], not_offered: set[str], folder: Path
) -> None:
    found = in_bash(line, folder)
    assert offered <= found
    assert not not_offered & found


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_fish_offers_what_the_parsers_take(
    line: str, offered: set[str], not_offered: set[str], folder: Path
) -> None:
    found = in_fish(line, folder)
    assert offered <= found
    assert not not_offered & found


@pytest.mark.parametrize(("line", "offered", "not_offered"), CASES)
def test_zsh_offers_what_the_parsers_take(
    line: str, offered: set[str], not_offered: set[str], folder: Path
) -> None:
    found = in_zsh(line, folder)
    assert offered <= found
    assert not not_offered & found


def test_zsh_takes_the_script_out_of_a_folder_of_functions(folder: Path) -> None:
    (folder / "functions").mkdir()
    (folder / "script.zsh").rename(folder / "functions" / "_carv2")
    setup = "fpath=($PWD/functions $fpath)\n" + ZSHRC.replace("source ./script.zsh\n", "")
    assert in_zsh("carv2 ver", folder, setup) == {"verify"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_finds_no_fault_with_its_script(shell: str, folder: Path) -> None:
    done = subprocess.run([needed(shell), "-n", f"script.{shell}"], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_each_command_and_option_is_in_the_script(shell: str) -> None:
    script = completion.script(shell)
    for name in registry.COMMANDS:
        for argument in parser_for(name, registry.load(name)).arguments():
            for option in argument.names:
                word = option if shell != "fish" else option.replace("--", "-l ", 1)
                assert word in script, (name, option)
        assert name.split()[-1] in script
