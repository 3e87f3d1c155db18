"""Roots replaced in place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import errors
from helpers import archives
from helpers.binary import assert_bytes_equal
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

FISH, LOBSTER = archives.FISH[0], archives.LOBSTER[0]
BLOCKS = [archives.FISH, archives.LOBSTER]
OLD, NEW = archives.v1([FISH], BLOCKS), archives.v1([LOBSTER], BLOCKS)
INDEX = archives.index_multihash_sorted(archives.records_of(archives.header([FISH]), BLOCKS))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OLD, NEW),
        (OLD + bytes(999), NEW + bytes(999)),  # null padding
        (archives.v2(OLD, INDEX, data_padding=1413), archives.v2(NEW, INDEX, data_padding=1413)),
        (OLD + b"\xff damaged behind the header", NEW + b"\xff damaged behind the header"),
    ],
)
def test_the_roots_are_replaced_and_every_other_byte_stays(tmp_path: Path, before: bytes, after: bytes) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(before)
    carv2.replace_roots(path, [str(carv2.CID(LOBSTER))])
    assert_bytes_equal(path.read_bytes(), after)
    assert os.listdir(tmp_path) == ["x.car"]


def test_null_roots_give_way_to_the_empty_list_that_takes_as_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(bytes.fromhex("11a265726f6f7473f66776657273696f6e01") + archives.section(*archives.FISH))
    carv2.replace_roots(path, [])
    assert_bytes_equal(path.read_bytes(), archives.v1([], [archives.FISH]))


def test_fewer_roots_will_do_if_they_take_as_many_bytes(tmp_path: Path) -> None:
    long = archives.identity(bytes(2 * 41 + 32 - 41))  # one CID that takes the room of two
    two = archives.header([FISH, LOBSTER])
    long = next(
        cid for size in range(200) if len(archives.header([cid := archives.identity(bytes(size))])) == len(two)
    )
    path = tmp_path / "x.car"
    path.write_bytes(archives.v1([FISH, LOBSTER], BLOCKS))
    carv2.replace_roots(path, [long])
    assert_bytes_equal(path.read_bytes(), archives.v1([long], BLOCKS))


SAMPLE_CIDV0 = "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"


@pytest.mark.parametrize(("roots", "size"), [((), 18), ((SAMPLE_CIDV0,), 57)])
def test_another_size_is_refused_with_both_sizes_and_changes_nothing(
    tmp_path: Path, roots: tuple[str, ...], size: int
) -> None:
    path = tmp_path / "x.car"
    before = shared_fixture("go-car/sample-v1.car").read_bytes()
    path.write_bytes(before)
    with pytest.raises(errors.FormatError) as caught:
        carv2.replace_roots(path, roots)
    assert str(caught.value).startswith(f"current header size (61) must match replacement header size ({size})")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.car"]


def test_in_a_carv2_the_size_error_points_at_the_payload(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(archives.v2(OLD, data_padding=9))
    with pytest.raises(errors.FormatError) as caught:
        carv2.replace_roots(path, [])
    assert caught.value.position == 60


@pytest.mark.parametrize("name", ["go-car/sample-v1.car", "go-car/sample-v1-with-zero-len-section.car"])
def test_published_archives_keep_their_size_and_their_blocks(tmp_path: Path, name: str) -> None:
    before = shared_fixture(name).read_bytes()
    path = tmp_path / "x.car"
    path.write_bytes(before)
    second = "bafy2bzaceaycv7jhaegckatnncu5yugzkrnzeqsppzegufr35lroxxnsnpspu"
    carv2.replace_roots(path, [second])
    after = path.read_bytes()
    assert_bytes_equal(after[61:], before[61:])
    assert [str(root) for root in carv2.inspect(path).roots] == [second]


@pytest.mark.parametrize(
    "archive",
    [b"", b"nonsense", archives.PRAGMA + bytes(40) + OLD, archives.v2(archives.v2(OLD)), OLD[:30]],
)
def test_what_is_no_archive_is_left_as_it_is(tmp_path: Path, archive: bytes) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(archive)
    with pytest.raises(errors.FormatError):
        carv2.replace_roots(path, [LOBSTER])
    assert path.read_bytes() == archive


def test_what_is_no_cid_is_refused_before_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(OLD)
    with pytest.raises(ValueError, match="nope"):
        carv2.replace_roots(path, ["nope"])
    assert path.read_bytes() == OLD


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "x.car", tmp_path / "link.car"
    path.write_bytes(OLD)
    path.chmod(0o600)
    link.symlink_to("x.car")
    carv2.replace_roots(link, [LOBSTER])
    assert link.is_symlink()
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o600
