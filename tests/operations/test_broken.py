"""The gallery of messages: each broken archive of ``fixtures/broken`` is refused with just the words beside it."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import errors
from helpers.shared import own_fixture

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = own_fixture("broken")
CASES = sorted(FOLDER.glob("*.json"))
IDS = [path.stem for path in CASES]


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


OF_BLOCKS_AND_STREAMS = subclasses(errors.CodecError) | {"UnexpectedBlockError", "CorruptReferenceError"}
"""What looking into a block, or a gateway's answer, raises: an archive as such cannot."""


def test_each_error_that_reading_can_raise_has_a_case() -> None:
    shown = {json.loads(case.read_text())["error"] for case in CASES}
    possible = {
        name
        for name in subclasses(errors.FormatError) | subclasses(errors.IntegrityError)
        if getattr(errors, name, None) is not None
    } - OF_BLOCKS_AND_STREAMS
    assert possible - shown == set()
    assert shown - possible == set()


def test_making_the_gallery_anew_gives_the_same_files(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_broken", FOLDER.parent / "make_broken.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert made == kept
    assert len(made) == 2 * len(CASES) >= 60
