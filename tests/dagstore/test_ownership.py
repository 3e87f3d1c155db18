"""Index files that a store did not make are named, and never removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import Problem
from carv2.dagstore.indices import IndexFolder
from carv2.index import IndexBuilder
from carv2.testing import FaultyMounts
from dagstore.shards import Place, check_serves

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN = (Problem.INDEX_OF_ANOTHER_STORE, False)
EMPTY = b"".join(IndexBuilder().chunks())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def foreign(folder: Path, *keys: str) -> None:
    """Fill ``folder`` as a Go dagstore does."""
    folder.mkdir(parents=True)
    (folder / ".version").write_bytes(b"1")
    for key in keys:
        (folder / f"{key}.full.idx").write_bytes(EMPTY)


def found_by_repair(place: Place) -> set[tuple[str, Problem, bool]]:
    with place.store() as store:
        return {(one.key, one.problem, one.is_mended) for one in store.doctor(repair=True)}


def indexes(place: Place) -> set[str]:
    return set(IndexFolder(place.root / "index").names())


@pytest.mark.parametrize("is_link", [False, True], ids=["root", "link"])
def test_indexes_of_a_go_dagstore_stay(place: Place, tmp_path: Path, is_link: bool) -> None:
    if is_link:
        foreign(tmp_path / "theirs", "baga1", "baga2")
        place.root.mkdir()
        (place.root / "index").symlink_to(tmp_path / "theirs")
    else:
        foreign(place.root / "index", "baga1", "baga2")
    assert found_by_repair(place) == {("baga1", *FOREIGN), ("baga2", *FOREIGN)}
    with place.store() as store:
        store.register("key", place.mount("key"))
        check_serves(store, "key", "key")
    assert found_by_repair(place) == {("baga1", *FOREIGN), ("baga2", *FOREIGN)}
    assert indexes(place) == {"baga1", "baga2", "key"}


def test_a_destroyed_shard_takes_what_was_indexed_here_and_no_more(place: Place) -> None:
    foreign(place.root / "index", "baga1", "baga2")
    with place.store() as store:
        store.register("baga1", place.mount("key"))
        store.register("baga2", place.mount("key"), lazy=True)
        store.destroy("baga1")
        store.destroy("baga2")
    assert indexes(place) == {"baga2"}


def test_indexes_beside_a_catalogue_that_is_not_theirs_stay(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key"))
    for name in os.listdir(place.root):
        if name.startswith("catalogue"):
            os.unlink(place.root / name)
    assert found_by_repair(place) == {("key", *FOREIGN)}
    assert indexes(place) == {"key"}


def test_an_emptied_folder_of_another_store_is_not_taken(place: Place, tmp_path: Path) -> None:
    with place.store() as first:
        other = Place(tmp_path / "other", FaultyMounts())
        other.root.mkdir(parents=True)
        (other.root / "index").symlink_to(place.root / "index")
        other.store().close()
        first.register("key", place.mount("key"))
        assert found_by_repair(other) == {("key", *FOREIGN)}
        check_serves(first, "key", "key")


def test_what_is_left_in_a_folder_of_the_store_goes(place: Place) -> None:
    place.store().close()
    (place.root / "index" / "nobody.full.idx").write_bytes(EMPTY)
    assert found_by_repair(place) == {("nobody", Problem.INDEX_OF_NOBODY, True)}
    assert indexes(place) == set()
