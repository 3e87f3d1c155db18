"""What is imported, and what need not be there: names of modules, never times."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cli.files import FILES
from cli.running import SOURCE
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

OPTIONAL = ("multiformats", "dag_cbor", "mmh3", "fsspec", "rich", "blake3")
SLOW = ("dataclasses", "inspect", "asyncio", "concurrent.futures", "multiprocessing", "pathlib")
LATER = ("decimal", "difflib", "json", "random", "shutil", "tempfile")
"""For those who need them."""

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
"""


def run(code: str, folder: Path | None = None) -> str:
    """What Python code prints, in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(*arguments: str, folder: Path | None = None) -> set[str]:
    """Modules that ``carv2 ARGUMENTS`` imports over a bare interpreter."""
    code = f"""
import sys
before = set(sys.modules)
from carv2.cli.main import main
assert main({list(arguments)!r}) == 0
print()
print(*sorted(set(sys.modules) - before))
"""
    return set(run(code, folder).splitlines()[-1].split())


def test_importing_carv2_imports_next_to_nothing() -> None:
    found = set(run("import sys; b = set(sys.modules); import carv2; print(*(set(sys.modules) - b))").split())
    assert {name for name in found if name.startswith("carv2")} == {"carv2"}
    assert not found & {*OPTIONAL, *SLOW, *LATER, "typing"}


def test_a_name_of_the_facade_brings_its_module_and_no_optional_library() -> None:
    code = "import sys, carv2; [getattr(carv2, name) for name in carv2.__all__]; print(*sys.modules)"
    found = set(run(code).split())
    assert {"carv2.reader", "carv2.operations.salvage"} <= found
    assert not found & {*OPTIONAL}


def test_the_help_page_imports_no_command_and_nothing_slow() -> None:
    found = imported("--help")
    assert "carv2.cli.main" in found
    assert not {
        name for name in found if name.startswith(("carv2.operations", "carv2.cli.commands", "carv2.reader"))
    }
    assert not {name for name in found if name.partition(".")[0] in OPTIONAL}
    assert not found & {*SLOW, *LATER, "carv2.cid", "hashlib"}


@pytest.mark.parametrize("command", ["inspect --full", "list", "verify", "root", "explain", "stat"])
def test_a_command_on_a_usual_archive_imports_no_optional_library(command: str, tmp_path: Path) -> None:
    (tmp_path / "wrapped.car").write_bytes(FILES["wrapped.car"])
    found = imported(*command.split(), "wrapped.car", folder=tmp_path)
    assert f"carv2.cli.commands.{command.split(maxsplit=1)[0]}" in found
    assert not found & {
        *OPTIONAL,
        "difflib",
        "shutil",
        "tempfile",
        "asyncio",
        "concurrent.futures",
        "multiprocessing",
    }


def test_a_command_imports_no_other_command(tmp_path: Path) -> None:
    (tmp_path / "wrapped.car").write_bytes(FILES["wrapped.car"])
    found = imported("root", "wrapped.car", folder=tmp_path)
    commands = {name for name in found if name.startswith("carv2.cli.commands.")}
    assert commands == {"carv2.cli.commands.root"}
    assert not {name for name in found if name.startswith("carv2.operations")}


CORE = """
import io, carv2
from carv2 import errors
from carv2.cli.main import main
cid = carv2.CID.of("bafkreifuosuzujyf4i6psbneqtwg2fhplc2wxptc5euspa2gn3bwhnihfu")
assert str(carv2.CID.of_data(b"fish")) == str(cid)
assert carv2.CID.of("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n").version == 0
for hash in ("sha2-256", "sha2-512", "sha1", "md5", "sha3-256", "blake2b-256", "blake2s-256", "dbl-sha2-256"):
    made = carv2.CID.of_data(b"x", codec="dag-cbor", hash=hash)
    assert made.matches(b"x") is True, hash
blocks = [(cid, b"fish"), (carv2.CID.of_data(b"x", hash="blake2b-256"), b"x")]
with carv2.create("new.car", [cid]) as car:
    car.write_all(blocks)
with carv2.open("new.car") as car:
    assert [block.data for block in car] == [b"fish", b"x"]
    assert car.get(cid) == b"fish"
    assert car.index is not None
assert carv2.verify("new.car").ok
carv2.unwrap("new.car", "v1.car")
carv2.wrap("v1.car", "v2.car")
carv2.reindex("v2.car", "v3.car", codec=0x0400)
carv2.detach_index("v3.car", "x.carindex")
carv2.attach_index("v1.car", "x.carindex", "v4.car")
carv2.replace_roots("v1.car", [blocks[0][0]])
carv2.salvage("v1.car", "saved.car")
assert carv2.inspect("v4.car", full=True).block_count == 2
assert list(carv2.explain("v4.car"))
for words in ("inspect --full", "list", "verify -v", "explain", "root", "detach-index list --json"):
    assert main([*words.split(), "v4.car"]) == 0
"""


def test_the_core_works_where_no_other_library_is_installed(tmp_path: Path) -> None:
    out = run(BLOCKER.format(names=OPTIONAL) + CORE, tmp_path)
    assert "Block count: 2" in out


def test_what_needs_a_library_says_so_where_it_is_missing(tmp_path: Path) -> None:
    murmur = archives.cid_v1(b"", code=0x22, digest=bytes(8))
    (tmp_path / "murmur.car").write_bytes(archives.v1([], [(murmur, b"data")]))
    code = """
import carv2
report = carv2.verify("murmur.car")
print([problem.kind for problem in report.problems], report.verified_count)
"""
    assert run(BLOCKER.format(names=OPTIONAL) + code, tmp_path) == "['UnknownHashError'] 0\n"
    assert run(code, tmp_path) == "['IntegrityError'] 0\n"
