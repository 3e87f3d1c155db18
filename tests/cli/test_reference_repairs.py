"""ref-CARs that lost something, and what commands say of those that they took for ordinary archives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from carv2 import CarReader
from carv2.filestore import VARIANTS, FileStore, import_by_reference, refer, relocate
from carv2.index import IndexBuilder
from carv2.operations.indexing import attach_index
from carv2.operations.wrap import unwrap
from carv2.unixfs import ImportProfile
from cli.running import run, run_shell

if TYPE_CHECKING:
    from pathlib import Path

HINT = "this is a ref-CAR"
REF = ["--ref", "--allow", "."]


@pytest.fixture(params=sorted(VARIANTS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """With ``ref.car``, 15 references to ``original``, and the variant's letter in ``variant``."""
    (tmp_path / "original").write_bytes(bytes(n * n % 251 for n in range(3000)))
    profile = ImportProfile(name="small", chunk_size=200)
    import_by_reference(tmp_path / "original", tmp_path / "ref.car", variant=request.param, profile=profile)
    (tmp_path / "variant").write_text(request.param)
    return tmp_path


def cut_index(folder: Path) -> None:
    data = (folder / "ref.car").read_bytes()
    (folder / "ref.car").write_bytes(data[:-30])


def test_only_the_index_is_cut(folder: Path) -> None:
    whole = (folder / "ref.car").read_bytes()
    cut_index(folder)
    payload = (folder / "original").read_bytes()
    ran = run(folder, ["cat", "ref.car", *REF])
    assert (ran.code, ran.out) == (0, payload)
    assert "carv2 recover --apply" in ran.err
    assert run(folder, ["extract", "--name", "file", "-o", "out", "ref.car", *REF]).code == 0
    assert (folder / "out" / "file").read_bytes() == payload
    assert run(folder, ["ref", "densify", "ref.car", "dense.car", "--allow", "."]).code == 0
    assert run(folder, ["verify", "--deep", "dense.car"]).code == 0
    ran = run(folder, ["ref", "status", "ref.car", "--allow", "."])
    assert ran.code == 1
    assert "15 references to 3000 bytes: 15 ok" in ran.out.decode()
    assert "carv2 recover --apply" in ran.err
    assert run(folder, ["recover", "--apply", "ref.car"]).code == 0
    assert (folder / "ref.car").read_bytes() == whole


def test_records_of_a_cut_archive_are_listed_though_the_root_is_gone(folder: Path) -> None:
    with CarReader(folder / "ref.car") as car:
        last = list(car.sections())[-1]
    data = (folder / "ref.car").read_bytes()
    (folder / "ref.car").write_bytes(data[: last.position + 3])
    ran = run(folder, ["ref", "status", "--json", "ref.car", "--allow", "."])
    assert ran.code == 1
    ran = run(folder, ["ref", "status", "--json", "--all", "ref.car", "--allow", "."])
    found = [json.loads(line) for line in ran.out.splitlines()]
    unlinked = [each for each in found if not each["linked"]]
    assert [(each["offset"], each["size"], each["status"]) for each in unlinked] == [
        (at, 200, "ok") for at in range(0, 3000, 200)
    ]
    (folder / "original").write_bytes(bytes(2999))
    ran = run(folder, ["ref", "status", "ref.car", "--allow", "."])
    assert ran.out.count(b"not linked to") == (1 if (folder / "variant").read_text() in "CD" else 15)
    assert b"15 records that nothing links to" in ran.out


def test_an_index_without_the_keys_is_told_of(folder: Path) -> None:
    if (folder / "variant").read_text() in "CD":
        pytest.skip("programs that leave keys out leave out identity CIDs")
    with CarReader(folder / "ref.car") as car:
        builder = IndexBuilder()
        for section in car.sections():
            if not section.cid.is_identity:
                builder.add(section.cid, section.offset)
    (folder / "index").write_bytes(builder.to_bytes())
    attach_index(folder / "ref.car", folder / "index", folder / "ref.car", verify=False)
    ran = run(folder, ["ref", "status", "ref.car", "--allow", "."])
    assert ran.code == 1
    assert b"15 references to 3000 bytes: 15 ok" in ran.out
    assert "carv2 recover --apply" in ran.err
    ran = run(folder, ["cat", "ref.car", *REF])
    assert ran.code == 1
    assert "carv2 recover --apply" in ran.err
    with FileStore(folder / "ref.car", allow=[]) as store:
        root = store.roots[0]
        leaf = next(iter(store.met()))
        assert leaf.cid == root.raw
    assert run(folder, ["recover", "--apply", "ref.car"]).code == 0
    assert run(folder, ["ref", "verify", "ref.car", "--allow", "."]).code == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("extract -o out ref.car", 1),
        ("salvage ref.car saved.car", 1),
        ("list - <ref.car", 1),
        ("cat ref.car | list -", 1),
        ("get-dag ref.car dag.car", 0),
        ("unwrap ref.car old.car", 0),
        ("unwrap ref.car ref.car", 0),
        ("verify ref.car", 1),
        ("map ref.car -o out", 1),
        ("report ref.car -o out", 1),
    ],
)
def test_what_takes_it_for_an_ordinary_archive_says_so(line: str, code: int, folder: Path) -> None:
    before, pipe, after = line.rpartition("| ")
    ran = run_shell(folder, f"{before}{pipe}carv2 {after}")
    assert ran.code == code
    assert ran.err.count(HINT) == 1
    if line.startswith("verify"):
        assert len(ran.err.splitlines()) <= 3
        assert "15 sections" in ran.err


def test_unwrapping_an_ordinary_archive_says_nothing(folder: Path) -> None:
    run(folder, ["ref", "densify", "ref.car", "dense.car", "--allow", "."])
    assert run(folder, ["unwrap", "dense.car", "old.car"]).err == ""
    unwrap(folder / "ref.car", folder / "old.car")


def test_moves_that_match_nothing_are_errors(folder: Path) -> None:
    before = (folder / "ref.car").read_bytes()
    ran = run(folder, ["ref", "relocate", "ref.car", "/nowhere=/x", "--check", "none"])
    assert ran.code == 1
    assert "/nowhere: no reference leads there" in ran.err
    assert (folder / "ref.car").read_bytes() == before


def test_paths_may_have_equals_signs_in_them(folder: Path) -> None:
    (folder / "original").rename(folder / "a=b")
    assert run(folder, ["ref", "relocate", "ref.car", "original=a=b"]).code == 0
    (folder / "a=b").rename(folder / "c=d")
    assert run(folder, ["ref", "relocate", "ref.car", "a=b=c=d"]).code == 0
    assert run(folder, ["ref", "verify", "ref.car", "--allow", "."]).code == 0


def test_an_archive_of_something_else_gets_no_references(folder: Path) -> None:
    run(folder, ["ref", "densify", "ref.car", "dense.car", "--allow", "."])
    (folder / "original").write_bytes(bytes(3000))
    ran = run(folder, ["ref", "create", "dense.car", "original", "new.car"])
    assert ran.code == 1
    assert "no leaf became a reference" in ran.err


def test_a_base_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    profile = ImportProfile(name="small", chunk_size=200)
    import_by_reference("original", "below.car", profile=profile, root=".")
    (folder / "original").rename(folder / "moved")
    done = relocate("below.car", "below.car", {"original": "moved"}, root=".")
    assert (done.moved_count, done.paths) == (15, {str(folder / "original"): str(folder / "moved")})


def test_an_original_outside_the_root_is_named_as_it_is(folder: Path) -> None:
    with pytest.raises(ValueError, match=f"^{folder / 'original'} is not below {folder / 'else'},"):
        refer(folder / "ref.car", folder / "original", folder / "out.car", root=folder / "else")


def test_an_unfinished_archive_of_references_is_not_cut_to_nothing(folder: Path) -> None:
    with CarReader(folder / "ref.car") as car:
        end = car.payload_end
    before = bytearray((folder / "ref.car").read_bytes()[:end])
    before[11:51] = bytes(40)  # as go-fil-markets leaves it until the end
    (folder / "ref.car").write_bytes(before)
    ran = run(folder, ["recover", "--apply", "ref.car"])
    assert ran.code == 1
    assert "an unfinished ref-CAR: its records would be cut" in ran.err
    assert (folder / "ref.car").read_bytes() == before
