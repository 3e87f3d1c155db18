"""Every command that reads archives of strangers, on each broken one and on those made to be expensive."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.cli import registry
from helpers.shared import own_fixture
from resources.bounded import Command, run_commands
from resources.commands import LINES, OTHERS
from resources.inputs import write

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS means address space on Linux only")

MIB = 1 << 20
BROKEN = sorted(own_fixture("broken").glob("*.car"))
INSIDE = sorted(own_fixture("broken").glob("inside/*.car"))
NEEDS_A_ROOT = ("ls ", "cat ", "tree ", "get-dag ")
SOURCE = Path(carv2.__file__).parent.parent


def check(names: Sequence[str], files: Sequence[Path], into: Path, *, mib: int, seconds: int) -> list[Command]:
    code, ran, err = run_commands(names, files, memory=mib * MIB, seconds=seconds, into=into)
    assert code == 0, f"behind {ran[-1:]}: {code}, {err[-2000:]}"
    assert len(ran) == len(files) * sum(len(LINES[name]) for name in names)
    assert [each for each in ran if "not enough memory" in each.err] == []
    return ran


def test_each_command_is_tried_or_it_is_said_why_not() -> None:
    assert sorted([*LINES, *OTHERS]) == sorted(registry.COMMANDS)


@pytest.fixture(scope="module")
def on_broken(tmp_path_factory: pytest.TempPathFactory) -> list[Command]:
    """All commands on all broken archives: some thousands, in one process of 64 MiB."""
    return check(list(LINES), [*BROKEN, *INSIDE], tmp_path_factory.mktemp("into"), mib=64, seconds=100)


def test_no_command_takes_a_broken_archive_for_wrong_usage(on_broken: list[Command]) -> None:
    """But `diff`, whose 1 means that archives differ, and those that need a root where there is none."""
    for ran in on_broken:
        if ran.line.startswith("diff "):
            assert ran.code in {0, 2}
        elif ran.code != 0 and ran.line.startswith(NEEDS_A_ROOT) and "--help" in ran.err:
            assert ran.code == 2
        else:
            assert ran.code in {0, 1}, ran


NO_ARCHIVES = {
    "header-empty-file.car": "the file is empty",
    "header-length-without-end.car": "not a CAR archive: it begins with ffffffffffffffff (at byte 0)",
    "header-not-a-map.car": "not a CAR archive: it begins with 0180 (at byte 0)",
    "header-of-nested-lists.car": "not a CAR archive: it begins with d00f818181818181 (at byte 0)",
}
"""What commands say in their own words."""


def test_verify_and_list_say_what_is_wrong(on_broken: list[Command]) -> None:
    seen = 0
    for ran in on_broken:
        path = Path(ran.file)
        if path.parent.name == "inside" or not ran.line.startswith(("verify ", "list {}")):
            continue
        expected = json.loads(path.with_suffix(".json").read_text())
        is_of_index = path.name.startswith("index-")  # which `list` does not read
        assert ran.code == (0 if is_of_index and ran.line == "list {}" else 1), ran
        if path.name in NO_ARCHIVES:
            assert NO_ARCHIVES[path.name] in ran.err
        elif ran.line == "list {}" and not is_of_index:
            is_short = (
                expected["error"] == "TruncatedError"
            )  # how much is missing it cannot know, reading as it comes
            assert f"(at byte {expected['position']})" in ran.err if is_short else expected["text"] in ran.err
        seen += 1
    assert seen == 3 * len(BROKEN)


EXPENSIVE = {
    "cbor maps": 100,
    "json lists": 100,
    "folders in folders": 100,
    "64^9 files": 100,
    "an index of 2^63 bytes": 64,
}
"""MiB of memory."""

LOOKING = ["inspect", "list", "ls", "tree", "verify", "get-dag", "dot", "explain", "map", "report"]


@pytest.mark.parametrize("name", EXPENSIVE)
def test_looking_at_an_expensive_archive_is_cheap(name: str, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    for ran in check(LOOKING, write(tmp_path, [name]), into, mib=EXPENSIVE[name], seconds=60):
        assert ran.code in {0, 1}


@pytest.mark.parametrize("words", [["verify", "--deep"], ["extract", "-o", "out"], ["cat", "-o", "out"], ["list"]])
@pytest.mark.parametrize("name", ["cbor lists", "an index of 2^31 buckets", "a root in 1,000,000 pieces"])
def test_the_program_itself_does_with_little(name: str, words: list[str], tmp_path: Path) -> None:
    """As it is called: Python, carv2 and the archive in 160 MiB of address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (160 * MIB, 160 * MIB))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 31))

    done = subprocess.run(
        [sys.executable, "-m", "carv2", words[0], *write(tmp_path, [name]), *words[1:]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert "Traceback" not in done.stderr
    assert "not enough memory" not in done.stderr
