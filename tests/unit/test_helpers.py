"""The helpers that tests rely on can themselves fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.archives import SMALL_V2
from helpers.binary import assert_bytes_equal
from helpers.feeding import split_at
from helpers.shared import own_fixture, shared_fixture, shared_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("found", "expected", "offset"),
    [(b"abc", b"abd", 2), (b"abc", b"ab", 2), (b"", b"x", 0), (bytes(99), bytes(98), 98)],
)
def test_bytes_that_differ_are_shown_where_they_do(found: bytes, expected: bytes, offset: int) -> None:
    with pytest.raises(AssertionError, match=f"from offset {offset} on"):
        assert_bytes_equal(found, expected)
    assert_bytes_equal(found, found)


def test_pieces_add_up_to_the_whole() -> None:
    pieces = split_at(SMALL_V2, [5, 5, 0, 10_000, len(SMALL_V2)])
    assert b"".join(pieces) == SMALL_V2
    assert len(pieces) == 6


def test_a_fixture_that_is_not_there_skips_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CARV2_SHARED", str(tmp_path))
    assert shared_folder() == tmp_path
    with pytest.raises(pytest.skip.Exception, match="CARV2_SHARED"):
        shared_fixture("go-car/sample-v1.car")
    there = tmp_path / "fixtures" / "x"
    there.parent.mkdir()
    there.touch()
    assert shared_fixture("x") == there


def test_our_own_fixtures_are_in_the_checkout() -> None:
    assert own_fixture("carv2/g1.json").is_file()
