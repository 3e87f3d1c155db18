"""Errors that name the command that mends the archive: the command is run, and mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import errors
from carv2.cli.repairs import REPAIRS, repair_of, repair_of_kinds
from cli.files import lay_out
from cli.running import run_line

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
    assert repair_of_kinds(archive, ["IndexMismatchError"]).startswith("To give it a fresh index: carv2 index")
    assert repair_of_kinds(archive, ["IndexMismatchError", "GatewayTruncatedError"]).startswith(
        "To save what is whole: carv2 salvage"
    )
    assert repair_of_kinds(archive, ["NotDasl", "MissingRoot", "UnknownHashError"]) == ""
    assert repair_of_kinds(archive, []) == ""
    assert repair_of_kinds("-", ["IntegrityError"]) == ""


def test_what_is_to_be_made_has_the_name_of_no_file_that_is_there(tmp_path: Path) -> None:
    lay_out(tmp_path)
    (tmp_path / "cut.car").rename(tmp_path / "saved.car")
    (tmp_path / "saved-2.car").mkdir()
    hint = "To save what is whole: carv2 salvage saved.car saved-3.car"
    assert hint in run_line(tmp_path, "carv2 list saved.car").err
    assert run_line(tmp_path, "carv2 salvage saved.car saved-3.car").code == 1
    assert carv2.verify(tmp_path / "saved-3.car").ok
