"""The gallery of messages: each broken archive of ``fixtures/broken`` is refused with just the words beside it.

Those in ``inside`` are sound as archives, and are refused by what looks into their blocks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import errors
from carv2.blockstore import ReadOnlyBlockstore
from carv2.filestore import FileStore
from carv2.unixfs import extract, read, verify_stream
from helpers.shared import own_fixture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = own_fixture("broken")
CASES = sorted(FOLDER.glob("*.json"))
IDS = [path.stem for path in CASES]
INSIDE = sorted((FOLDER / "inside").glob("*.json"))


def read_all(source: Any) -> None:
    """Read everything: headers, blocks with their hashes, the index, and each block by the index."""
    with carv2.open(source) as car:
        assert isinstance(car.roots, tuple)
        cids = [block.cid for block in car]
        if car.index is not None:
            for cid in cids:
                car.get(cid)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_broken_archive_says_what_is_wrong_and_where(case: Path) -> None:
    expected = json.loads(case.read_text())
    with pytest.raises(errors.CarError) as caught:
        read_all(case.with_suffix(".car"))
    error = caught.value
    assert isinstance(error, (errors.FormatError, errors.IntegrityError))
    assert {"error": type(error).__name__, "position": error.position, "text": str(error)} == expected


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_verifying_a_broken_archive_finds_the_same(case: Path) -> None:
    expected = json.loads(case.read_text())
    problems = carv2.verify(case.with_suffix(".car")).problems
    if expected["error"] in {"UnknownHashError", "IndexMismatchError"}:  # those are told of all blocks
        assert expected["error"] in [problem.kind for problem in problems]
        return
    found = [(problem.kind, problem.position, problem.message) for problem in problems]
    assert tuple(expected.values()) in found


def subclasses(kind: type[errors.CarError]) -> set[str]:
    return {kind.__name__}.union(*map(subclasses, kind.__subclasses__()))


def test_each_error_of_format_and_integrity_has_a_case() -> None:
    shown = {json.loads(case.read_text())["error"] for case in [*CASES, *INSIDE]}
    possible = {
        name
        for name in subclasses(errors.FormatError) | subclasses(errors.IntegrityError)
        if getattr(errors, name, None) is not None
    }
    assert shown == possible


def decode_all(path: Path) -> None:
    with carv2.open(path) as car:
        for block in car:
            block.links()
            block.decode()


def write_files(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        extract(path, folder, on_missing="raise")


def read_root(path: Path) -> None:
    with ReadOnlyBlockstore(path) as store:
        list(read(store, store.roots[0]))


def take_for_an_answer(path: Path) -> None:
    with carv2.open(path) as car:
        list(verify_stream([path.read_bytes()], car.roots[0]))


def follow_root(path: Path) -> None:
    with FileStore(path, allow=[]) as store:
        assert store[store.roots[0]]


FINDERS: dict[str, Callable[[Path], None]] = {
    "decode": decode_all,
    "extract": write_files,
    "cat": read_root,
    "gateway": take_for_an_answer,
    "follow": follow_root,
}
"""What looks into blocks, by what ``fixtures/make_broken_inside.py`` calls it."""


@pytest.mark.parametrize("case", INSIDE, ids=[path.stem for path in INSIDE])
def test_what_looks_into_blocks_says_what_is_wrong_with_them(case: Path) -> None:
    expected = json.loads(case.read_text())
    archive = case.with_suffix(".car")
    by = expected.pop("by")
    if by != "follow":  # a record never is what its CID says
        read_all(archive)
    with pytest.raises(errors.CarError) as caught:
        FINDERS[by](archive)
    error = caught.value
    assert isinstance(error, (errors.FormatError, errors.IntegrityError))
    assert {"error": type(error).__name__, "position": error.position, "text": str(error)} == expected


@pytest.mark.parametrize(
    ("script", "folder", "least"),
    [("make_broken.py", FOLDER, 86), ("make_broken_inside.py", FOLDER / "inside", 61)],
)
def test_making_the_gallery_anew_gives_the_same_files(
    script: str, folder: Path, least: int, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, FOLDER.parent / script, tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    assert made == kept
    assert len(made) >= 2 * least
