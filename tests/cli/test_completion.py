"""The scripts of ``carv2 completion``, tried in the shells themselves where they are installed."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time
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


PATIENCE = 120
"""Seconds after which a shell is taken for stuck."""

PREPARED = {
    "bash": "unset PROMPT_COMMAND; source ./script",
    "zsh": "autoload -U compinit; compinit -u -D; unsetopt auto_remove_slash; source ./script",
}
STARTED = {"bash": ("bash", "--norc", "--noprofile", "-i"), "zsh": ("zsh", "-f", "-i")}

# In a folder with archive.car, folder.car and folder: what is typed, what the line is after the tab key.
COMPLETED = [
    ("inspe", "inspect"),
    ("--color=false verif", "--color=false verify"),
    ("sort --keep-unr", "sort --keep-unreachable"),
    ("sort --order b", "sort --order bfs"),
    ("sort --order=b", "sort --order=bfs"),
    ("unpack --symlinks sa", "unpack --symlinks safe"),
    ("dagstore list-s", "dagstore list-shards"),
    ("dagstore --root elsewhere list-s", "dagstore --root elsewhere list-shards"),
    (
        "dagstore --root=elsewhere list-shards --state av",
        "dagstore --root=elsewhere list-shards --state available",
    ),
    ("index crea", "index create"),
    ("index create arch", "index create archive.car"),
    ("index arch", "index archive.car"),
    ("list --verbose arch", "list --verbose archive.car"),
    ("cat archive.car docs -o arch", "cat archive.car docs -o archive.car"),
    ("imports list --repo fold", "imports list --repo folder/"),
    ("completion fi", "completion fish"),
    ("create --profile unixfs-v1-2", "create --profile unixfs-v1-2025"),
    ("imports info arch", "imports info arch"),
]
BEHIND_EQUALS = ("list --color=f", "list --color=false")
"""What fish has no way to say: a value that may be left out."""


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


def lay_out(folder: Path, shell: str) -> None:
    (folder / "script").write_text(completion.script(shell), encoding="utf-8")
    (folder / "archive.car").touch()
    (folder / "folder").mkdir()
    (folder / "folder.car").touch()


def surroundings(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "PS1": "",
    }


def asked(folder: Path, *command: str) -> str:
    """What a program prints that is to have nothing to complain about."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=surroundings(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def flags_of(name: str) -> set[str]:
    actions = parser_for(name, registry.load(name))._actions
    return {flag for action in actions for flag in action.option_strings if flag.startswith("--")}


def test_bash_offers_each_flag_of_each_command(tmp_path: Path) -> None:
    needed("bash")
    lay_out(tmp_path, "bash")
    lines = ["source ./script"]
    for name in registry.COMMANDS:
        words = ["carv2", *name.split(), "--"]
        lines.append(f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _carv2")
        lines.append(f'echo "{name}:" ${{COMPREPLY[@]}}')
    (tmp_path / "all").write_text("\n".join(lines), encoding="utf-8")
    found = dict(line.split(":") for line in asked(tmp_path, "bash", "--norc", "all").splitlines())
    assert {name: set(flags.split()) for name, flags in found.items()} == {
        name: flags_of(name) for name in registry.COMMANDS
    }


def test_zsh_offers_each_flag_of_each_command(tmp_path: Path) -> None:
    needed("zsh")
    lay_out(tmp_path, "zsh")
    lines = ["compdef() { }", '_arguments() { print -rl -- "$@" }', "_describe() { }", "source ./script"]
    for name in registry.COMMANDS:
        words = ["carv2", *name.split(), "--"]
        lines += [f"print '>{name}'", f"words=({shlex.join(words)}); CURRENT={len(words)}; _carv2"]
    (tmp_path / "all").write_text("\n".join(lines), encoding="utf-8")
    found: dict[str, set[str]] = {}
    for line in asked(tmp_path, "zsh", "-f", "all").splitlines():
        if line.startswith(">"):
            flags = found.setdefault(line[1:], set())
        elif flag := re.match(r"(?:\*|\([^)]*\))?(--[a-z0-9-]*[a-z0-9])", line):
            flags.add(flag[1])
    assert found == {name: flags_of(name) for name in registry.COMMANDS}


def test_fish_offers_each_flag_of_each_command(tmp_path: Path) -> None:
    needed("fish")
    lay_out(tmp_path, "fish")
    lines = ["source ./script"]
    for name in registry.COMMANDS:
        lines += [f"echo '>{name}'", f"complete -C 'carv2 {name} --'"]
    (tmp_path / "all").write_text("\n".join(lines), encoding="utf-8")
    found: dict[str, set[str]] = {}
    for line in asked(tmp_path, "fish", "--no-config", "all").splitlines():
        if line.startswith(">"):
            flags = found.setdefault(line[1:], set())
        else:
            flags.add(line.partition("\t")[0])
    assert found == {name: flags_of(name) for name in registry.COMMANDS}


@pytest.mark.parametrize(("typed", "completed"), COMPLETED)
def test_fish_completes_words(typed: str, completed: str, tmp_path: Path) -> None:
    needed("fish")
    lay_out(tmp_path, "fish")
    out = asked(tmp_path, "fish", "--no-config", "-c", f"source ./script; complete -C 'carv2 {typed}'")
    start, _, last = typed.rpartition(" ")
    found = [f"{start} {line.partition(chr(9))[0]}".strip() for line in out.splitlines()]
    assert found == ([completed] if completed != typed else []), last


def test_fish_says_what_each_command_is_for(tmp_path: Path) -> None:
    needed("fish")
    lay_out(tmp_path, "fish")
    out = asked(tmp_path, "fish", "--no-config", "-c", "source ./script; complete -C 'carv2 '")
    found = dict(line.split("\t") for line in out.splitlines())
    assert {name: text for name, text in registry.COMMANDS.items() if " " not in name}.items() <= found.items()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_bash_and_zsh_complete_what_is_typed(shell: str, tmp_path: Path) -> None:
    needed(shell)
    lay_out(tmp_path, shell)
    words = [*COMPLETED, BEHIND_EQUALS]
    found = typed_into(shell, tmp_path, [typed for typed, _ in words])
    assert found == [completed for _, completed in words]


def typed_into(shell: str, folder: Path, lines: list[str]) -> list[str]:
    """What the arguments of carv2 are after the tab and the return key, in a shell at a terminal."""
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        STARTED[shell],
        cwd=folder,
        env=surroundings(folder),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    ) as process:
        os.close(inside)
        try:
            type_(terminal, PREPARED[shell] + '; carv2() { echo "GOT<$*>"; }; echo "REA""DY"\n')
            read_until(terminal, r"READY\r?\n")
            return [answer(terminal, line) for line in lines]
        finally:
            process.kill()
            os.close(terminal)


def answer(terminal: int, line: str) -> str:
    type_(terminal, f"carv2 {line}\t\n")
    return read_until(terminal, r"GOT<(.*?)>")


def type_(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def read_until(terminal: int, pattern: str) -> str:
    """What the last group of the pattern is in what a terminal shows, once it is there."""
    shown, end = "", time.monotonic() + PATIENCE
    while not (found := re.search(pattern, shown)):
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], shown
        shown += os.read(terminal, 1 << 16).decode("utf-8", "replace")
    return found[found.re.groups]
