"""The examples of ``carv2 COMMAND --help`` do what they say: each is run, in a folder that has what it names."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from carv2.cli import registry
from cli import examples
from cli.running import run_shell

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = {
    "example.org": "it asks a server on the internet",
    "--kubo auto": "it asks an IPFS node; tests/ipfs has one",
    "--to-kubo": "it asks an IPFS node; tests/ipfs has one",
    "| ssh ": "it asks another host",
    "dagstore serve": "it serves until it is stopped; test_commands.py starts one",
}
"""What an example with these words needs, and a test has not."""
FOUND = {1: ("diff", "guess-profile", "verify", "salvage", "recover", "imports check", "ref status")}
"""Commands whose exit code 1 says what they found."""


def reason(example: str) -> str:
    """Why it is not run here; nothing if it is."""
    return next((reason for words, reason in ELSEWHERE.items() if words in example), "")


ALL = [(name, example) for name in registry.COMMANDS for example in registry.load(name).EXAMPLES]
HERE = [(name, example) for name, example in ALL if not reason(example)]


def test_only_what_needs_others_is_not_run() -> None:
    """Of each command but those two there is an example that is."""
    assert set(registry.COMMANDS) - {name for name, _ in HERE} == {"fetch", "dagstore serve"}
    for words in ELSEWHERE:
        assert any(words in example for _, example in ALL), words


@pytest.mark.parametrize(("name", "example"), HERE, ids=[example for _, example in HERE])
def test_an_example_runs(name: str, example: str, tmp_path: Path) -> None:
    if "dot -T" in example and shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    root = examples.lay_out(tmp_path)
    for line in examples.BEFORE.get(name, ()):
        done = run_shell(tmp_path, f"export CARV2_PATH=repo; {line.replace('ROOT', root)}")
        assert done.code == 0, (line, done)
    line = re.sub(r"(?<=[ =])/(?=data|mnt|home)", f"{tmp_path}/", example)
    ran = run_shell(tmp_path, f"export CARV2_PATH=repo; {line}")
    allowed = {0} | {code for code, names in FOUND.items() if name in names}
    assert ran.code in allowed, ran
    assert "Traceback" not in ran.err
    assert "[Errno" not in ran.err  # all that it names is there
