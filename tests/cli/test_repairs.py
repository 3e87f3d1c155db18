"""Errors that name the command that mends the archive: the command is run, and mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import errors
from carv2.cli import repairs
from carv2.cli.repairs import REPAIRS, repair_of, repair_of_problems
from carv2.operations.problems import Problem
from cli.files import BLOCKS, TWO, lay_out
from cli.running import run_line
from helpers import archives
from helpers.unixfs import Dag

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.errors import CarError

CASES: dict[type[CarError], tuple[str, str, str]] = {
    # what fails, the hint, and what holds of the archive that the hint makes
    errors.UnfinalizedError: (
        "list unfinished.car",
        "To finish it: carv2 recover --apply unfinished.car",
        "unfinished.car",
    ),
    errors.TruncatedError: ("list cut.car", "To save what is whole: carv2 salvage cut.car saved.car", "saved.car"),
    errors.IntegrityError: (
        "list damaged.car",
        "To save what is whole: carv2 salvage damaged.car saved.car",
        "saved.car",
    ),
    errors.IndexFormatError: (
        "detach-index strange-index.car out",
        "To give it a fresh index: carv2 index strange-index.car indexed.car",
        "indexed.car",
    ),
    errors.IndexMismatchError: (
        "attach-index two.car other.carindex out",
        "To give it a fresh index: carv2 index two.car indexed.car",
        "indexed.car",
    ),
    errors.NoIndexError: (
        "detach-index no-index.car out",
        "To give it a fresh index: carv2 index no-index.car indexed.car",
        "indexed.car",
    ),
}


def test_each_repair_of_the_table_is_tried() -> None:
    assert {cls for cls, repair in REPAIRS.items() if repair} == set(CASES)


@pytest.mark.parametrize("cls", CASES)
def test_the_command_that_an_error_names_mends_the_archive(cls: type[CarError], tmp_path: Path) -> None:
    lay_out(tmp_path)
    line, hint, made = CASES[cls]
    ran = run_line(tmp_path, f"carv2 {line}")
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == hint
    mended = run_line(tmp_path, hint.partition(": ")[2])
    assert mended.code == (1 if cls in {errors.TruncatedError, errors.IntegrityError} else 0), mended
    assert not [problem for problem in carv2.verify(tmp_path / made).problems if "root" not in str(problem)]
    assert carv2.inspect(tmp_path / made).block_count >= 2


@pytest.mark.parametrize(
    "line",
    [
        "list -",
        "list nulls.car",
        "list bad-header.car",
        "salvage bad-header.car out",
        "index strange-index.car",
        "detach-index list sorted.carindex",
        "get-block two.car bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "put-block --cid bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy two.car",
        "list ref.car",
    ],
)
def test_nothing_is_named_where_nothing_would_help(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    assert not re.search(r"^To .*: carv2 ", run_line(tmp_path, f"carv2 {line}").err, re.MULTILINE)


def test_a_name_that_needs_quotes_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path)
    (tmp_path / "a b.car").write_bytes((tmp_path / "cut.car").read_bytes())
    (tmp_path / "a\nb.car").write_bytes((tmp_path / "cut.car").read_bytes())
    monkeypatch.chdir(tmp_path)
    error = errors.TruncatedError("section", wanted=2, got=1, position=7)
    error.archive = "a b.car"
    assert repair_of("list", error) == "To save what is whole: carv2 salvage 'a b.car' saved.car"
    error.archive = "a\nb.car"
    assert repair_of("list", error) == ""


def test_of_several_problems_that_are_found_to_save_the_blocks_goes_first(tmp_path: Path) -> None:
    lay_out(tmp_path)
    archive = str(tmp_path / "two.car")

    def repair(*kinds: str, file: str = archive) -> str:
        return repair_of_problems(file, [Problem(kind=kind, message="", position=7) for kind in kinds])

    assert repair("IndexMismatchError").startswith("To give it a fresh index: carv2 index")
    assert repair("IndexMismatchError", "GatewayTruncatedError").startswith("To save what is whole: carv2 salvage")
    assert repair("NotDasl", "MissingRoot", "UnknownHashError") == ""
    assert repair() == ""
    assert repair("IntegrityError", file="-") == ""


def test_what_is_to_be_made_has_the_name_of_no_file_that_is_there(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "cut.car").rename(tmp_path / "saved.car")
    (tmp_path / "saved-2.car").mkdir()
    hint = "To save what is whole: carv2 salvage saved.car saved-3.car"
    assert hint in run_line(tmp_path, "carv2 list saved.car").err
    assert run_line(tmp_path, "carv2 salvage saved.car saved-3.car").code == 1
    assert carv2.verify(tmp_path / "saved-3.car").ok


# -- an index that does not name what is there --------------------------------------------------------------

WRONG = "carv2: wrong.car: the index is wrong: what is missing may be there"
FRESH = "To give it a fresh index: carv2 index wrong.car indexed.car"


def lay_out_wrong(folder: Path, *, named: int, gone: bool = False, misplaced: bool = False) -> str:
    """``wrong.car``, a folder of two files whose index names the first blocks only; the CID of a file."""
    dag = Dag()
    fish, lobster = dag.leaf(b"fish"), dag.raw(b"lobster")
    root = dag.directory({"fish": fish, "lobster": lobster})
    blocks = [
        (cid, dag.blocks[cid]) for cid in (root.cid, lobster.cid, fish.cid) if not (gone and cid == fish.cid)
    ]
    payload = archives.v1([root.cid], blocks)
    records = archives.records_of(archives.header([root.cid]), blocks)[:named]
    if misplaced:
        records[-1] = records[-1]._replace(offset=records[0].offset)
    (folder / "wrong.car").write_bytes(archives.v2(payload, archives.index_multihash_sorted(records)))
    return str(carv2.CID(fish.cid))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("get-block wrong.car {fish}", 1),
        ("cat wrong.car fish", 1),
        ("ls -l wrong.car", 0),
        ("tree wrong.car", 0),
        ("get-dag wrong.car out.car", 0),
        ("get-dag --strict wrong.car out.car", 1),
        ("extract -o out wrong.car", 0),
        ("extract -o out wrong.car fish", 1),
        ("extract --tar -o out.tar wrong.car", 0),
        ("extract --json -o out wrong.car", 0),
    ],
)
def test_where_blocks_are_missing_a_wrong_index_is_told_of(line: str, code: int, tmp_path: Path) -> None:
    fish = lay_out_wrong(tmp_path, named=2)
    ran = run_line(tmp_path, f"carv2 {line.format(fish=fish)}")
    assert ran.code == code
    assert ran.err.splitlines()[-2:] == [WRONG, FRESH]
    assert run_line(tmp_path, FRESH.partition(": ")[2]).code == 0
    again = run_line(tmp_path, f"carv2 {line.format(fish=fish)}".replace("wrong", "indexed").replace("out", "new"))
    assert (again.code, "index" in again.err) == (0, False)


def test_so_is_one_that_lacks_a_folder(tmp_path: Path) -> None:
    lay_out_wrong(tmp_path, named=0)
    for line in ("ls wrong.car", "list --unixfs wrong.car", "tree wrong.car", "extract wrong.car"):
        ran = run_line(tmp_path, f"carv2 {line}")
        assert (ran.code, ran.err.splitlines()[-2:]) == (1, [WRONG, FRESH]), line


@pytest.mark.parametrize("line", ["extract -o out wrong.car", "tree wrong.car"])
def test_so_is_one_that_leads_elsewhere(line: str, tmp_path: Path) -> None:
    lay_out_wrong(tmp_path, named=2, misplaced=True)
    ran = run_line(tmp_path, f"carv2 {line}")
    assert (ran.code, ran.err.splitlines()[-2:]) == (1, [WRONG, FRESH])


@pytest.mark.parametrize(
    "line", ["get-block {file} {fish}", "tree {file}", "extract -o out {file}", "ls -l {file}"]
)
def test_a_right_index_is_not_blamed(line: str, tmp_path: Path) -> None:
    fish = lay_out_wrong(tmp_path, named=2, gone=True)
    ran = run_line(tmp_path, f"carv2 {line.format(file='wrong.car', fish=fish)}")
    assert "index" not in ran.err


@pytest.mark.parametrize(
    "line",
    ["get-block --rebuild-index wrong.car {other}", "get-block - {fish} < wrong.car", "get-block cut.car {fish}"],
)
def test_nor_one_that_was_not_used_or_has_no_name_or_a_payload_that_is_not_sound(
    line: str, tmp_path: Path
) -> None:
    fish = lay_out_wrong(tmp_path, named=2)
    (tmp_path / "cut.car").write_bytes(archives.v2(archives.v1([], BLOCKS)[:-1], archives.index_body([])))
    other = carv2.CID.of_data(b"other")
    ran = run_line(tmp_path, f"carv2 {line.format(fish=fish, other=other)}")
    assert (ran.code, "index is wrong" in ran.err) == (1, False)


def test_the_index_of_a_large_archive_is_left_to_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fish = lay_out_wrong(tmp_path, named=2)
    monkeypatch.setattr(repairs, "_GLANCE", (tmp_path / "wrong.car").stat().st_size - 1)
    ran = run_line(tmp_path, f"carv2 get-block wrong.car {fish}")
    assert ran.err.splitlines()[1:] == [
        "carv2: wrong.car: the index may be wrong: carv2 verify wrong.car",
        FRESH,
    ]
    assert run_line(tmp_path, "carv2 verify wrong.car").code == 1


# -- what is no archive, and what is one with a damaged header ----------------------------------------------


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b"not an archive at all", "not a CAR archive: it begins with 'not an archive a' (at byte 0)"),
        (b"\x89PNG\r\n\x1a\n and so on", "not a CAR archive: it begins with 89504e470d0a1a0a (at byte 0)"),
        (bytes(3), "not a CAR archive: it begins with 000000 (at byte 0)"),
        (b"\x80\x00", "not a CAR archive: it begins with 8000 (at byte 0)"),
    ],
)
def test_a_file_that_is_no_archive_is_told_to_be_none(data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    for line in ("inspect x", "list x", "verify x", "extract x", "recover x", "get-block x bafkqaatjmq"):
        ran = run_line(tmp_path, f"carv2 {line}")
        assert (ran.err, ran.code) == (f"carv2: x: {told}\n", 1), line


def test_an_empty_pipe_is_told_to_be_empty(tmp_path: Path) -> None:
    for line in ("inspect -", "list -", "verify -"):
        assert run_line(tmp_path, f"carv2 {line}").err == "carv2: standard input: it is empty\n"


@pytest.mark.parametrize("data", [b"\x0a\xa1\x67vers", b"\x11", b"\x11\xf6", b"\x11\xd8\x2a", b"\xff"])
def test_what_may_be_the_beginning_of_one_is_not(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    ran = run_line(tmp_path, "carv2 inspect x")
    assert ran.code == 1
    assert "wanted" in ran.err


WRAPPED = archives.v2(TWO, archives.index_multihash_sorted([]))


@pytest.mark.parametrize(
    "damaged",
    [
        bytes(11) + WRAPPED[11:],
        b"\xff" + WRAPPED[1:],
        WRAPPED[:10] + b"\x03" + WRAPPED[11:],
        WRAPPED[:11] + b"\xff" * 40 + WRAPPED[51:],
        WRAPPED[:51] + bytes(9) + WRAPPED[60:],
        b"\xe0\xe0\xe0\xe0\x07" + TWO[5:],
        TWO[:1] + b"\xee" * 20 + TWO[21:],
    ],
)
def test_a_damaged_header_is_told_to_be_one(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(damaged)
    for line in ("inspect x.car", "list x.car", "verify x.car", "extract x.car", "cat x.car"):
        ran = run_line(tmp_path, f"carv2 {line}")
        assert (ran.code, "not a CAR archive" in ran.err) == (1, False)
        assert ran.err.splitlines()[1:] == ["To save what is whole: carv2 salvage x.car saved.car"], line
    assert run_line(tmp_path, "carv2 salvage x.car saved.car").code == 1
    assert carv2.inspect(tmp_path / "saved.car").block_count == 3


def test_what_a_command_has_against_a_sound_header_is_no_damage(tmp_path: Path) -> None:
    lay_out(tmp_path)
    for line in ("import --repo repo --car two.car", "inspect --max-header 10 fish.car", "wrap wrapped.car out"):
        assert "salvage" not in run_line(tmp_path, f"carv2 {line}").err, line


def test_a_length_that_is_damaged_is_told_to_be_mended(tmp_path: Path) -> None:
    lay_out(tmp_path)
    for line in ("list junk.car", "verify junk.car"):
        ran = run_line(tmp_path, f"carv2 {line}")
        assert ran.err.splitlines()[1:] == ["To save what is whole: carv2 salvage junk.car saved.car"]


def test_salvage_says_that_there_are_no_roots(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(b"\xff" * 20 + TWO[20:])
    ran = run_line(tmp_path, "carv2 salvage x.car saved.car")
    assert ran.out.splitlines()[-1] == b"no roots: the header could not be read"
    lay_out(tmp_path)
    for name in ("junk.car", "empty.car", "nothing"):
        assert b"no roots" not in run_line(tmp_path, f"carv2 salvage {name} {name}.saved").out


def test_nothing_saved_out_of_what_is_no_archive_is_a_failure(tmp_path: Path) -> None:
    lay_out(tmp_path)
    codes = [
        run_line(tmp_path, f"carv2 salvage {name} {name}.saved").code for name in ("nothing", "text", "empty.car")
    ]
    assert codes == [1, 1, 0]


# -- what has no roots, as salvage may leave it -------------------------------------------------------------


def lay_out_without_roots(folder: Path) -> str:
    """``bare.car``, which has a folder ``docs`` with a file; the CID above it."""
    dag = Dag()
    root = dag.directory({"docs": dag.directory({"fish": dag.raw(b"fish")})})
    (folder / "bare.car").write_bytes(archives.v1([], dag.blocks.items()))
    return str(carv2.CID(root.cid))


def test_without_roots_extract_says_what_it_takes(tmp_path: Path) -> None:
    lay_out_without_roots(tmp_path)
    for line in ("extract bare.car", "extract bare.car docs", "extract --tar -o x bare.car"):
        ran = run_line(tmp_path, f"carv2 {line}")
        assert ran.code == 1
        assert ran.err.splitlines()[-1].endswith("the archive has no roots: name a CID, as in /ipfs/CID/path")


def test_extract_takes_a_cid_to_begin_at(tmp_path: Path) -> None:
    root = lay_out_without_roots(tmp_path)
    assert run_line(tmp_path, f"carv2 extract -o out bare.car /ipfs/{root}").code == 0
    assert (tmp_path / "out" / "docs" / "fish").read_bytes() == b"fish"
    assert run_line(tmp_path, f"carv2 extract -o - bare.car ipfs://{root}/docs/fish").out == b"fish"
    assert run_line(tmp_path, f"carv2 extract --tar -o x.tar bare.car /ipfs/{root}/docs").code == 0
    assert b"docs/fish" in (tmp_path / "x.tar").read_bytes()
    ran = run_line(tmp_path, f"carv2 extract bare.car /ipfs/{root} docs")
    assert (ran.code, "there can be one only" in ran.err) == (2, True)


# -- what has the version already ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told", "instead"),
    [
        ("wrap wrapped.car new.car", "wrapped.car: it is a CARv2 already", "carv2 index wrapped.car new.car"),
        ("wrap - new.car < wrapped.car", "standard input: it is a CARv2 already", ""),
        ("unwrap two.car new.car", "two.car: it is a CARv1 already", "cp two.car new.car"),
        ("unwrap two.car - | cat >new.car", "two.car: it is a CARv1 already", "cat two.car"),
        ("unwrap two.car two.car", "two.car: it is a CARv1 already", ""),
        ("unwrap - new.car < two.car", "standard input: it is a CARv1 already", ""),
    ],
)
def test_what_is_of_the_version_wanted_is_told_to_be(line: str, told: str, instead: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    ran = run_line(tmp_path, f"carv2 {line}")
    first, *rest = ran.err.splitlines()
    assert first == f"carv2: {told}"
    assert [line.partition(": ")[2] for line in rest] == [instead] * bool(instead)
    if instead:
        assert run_line(tmp_path, instead).code == 0


@pytest.mark.parametrize("line", ["wrap version-42.car new.car", "unwrap version-42.car new.car"])
def test_one_that_nobody_knows_is_not(line: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    ran = run_line(tmp_path, f"carv2 {line}")
    assert ran.err == "carv2: version-42.car: CAR version 42, supported: 1 and 2 (at byte 0)\n"


@pytest.mark.parametrize("command", ["map", "report"])
def test_a_picture_of_a_damaged_archive_is_told_to_be_one(command: str, tmp_path: Path) -> None:
    lay_out(tmp_path)
    lay_out_wrong(tmp_path, named=2)
    ran = run_line(tmp_path, f"carv2 {command} damaged.car -o out")
    assert ran.code == 1
    first, *rest = ran.err.splitlines()
    assert first.startswith("carv2: damaged.car: 1 problem: the data are not those of")
    assert rest == ["To save what is whole: carv2 salvage damaged.car saved.car"]
    ran = run_line(tmp_path, f"carv2 {command} - <text >out")
    assert ran.err.startswith("carv2: standard input: 1 problem: CAR header")
    err = run_line(tmp_path, f"carv2 {command} wrong.car -o out").err.splitlines()
    assert (": 1 problem: the index" in err[0], err[1:]) == (True, [FRESH])
    assert run_line(tmp_path, f"carv2 {command} --json damaged.car").err == ""
    assert run_line(tmp_path, f"carv2 {command} wrapped.car -o out").err == ""
