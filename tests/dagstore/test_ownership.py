"""Index files that a store did not make are named, and never removed."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import Problem
from carv2.dagstore.indices import IndexFolder
from carv2.errors import ShardErroredError, ShardExistsError, StateError
from carv2.index import IndexBuilder
from carv2.testing import FaultyMounts
from dagstore.shards import PATIENCE, Place, archive_of, check_serves

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


@pytest.mark.parametrize("lazy", [False, True])
def test_an_index_of_another_store_is_not_written_over(place: Place, *, lazy: bool) -> None:
    foreign(place.root / "index", "baga1", "baga2")
    theirs = place.root / "index" / "baga1.full.idx"
    with place.store() as store:
        with pytest.raises(StateError, match=r"baga1\.full\.idx is an index of another store"):
            store.register("baga1", place.mount("key"), lazy=lazy)
        with pytest.raises(StateError, match="import_go, or remove it"):
            store.register_many([("new", place.mount("new")), ("baga1", place.mount("key"))])
        assert not list(store.list())
        store._core.catalogue.add("baga1", place.mount("key").url, lazy=True)  # as a store of before did
        with pytest.raises(ShardExistsError):
            store.register("baga1", place.mount("key"))
        with pytest.raises(ShardErroredError, match="is an index of another store"):
            store.acquire("baga1")
        assert theirs.read_bytes() == EMPTY
        theirs.unlink()
        store.recover("baga1")
        check_serves(store, "baga1", "key")
        ours = theirs.read_bytes()
        theirs.write_bytes(EMPTY)  # they came back
        store._core.live.close_unused()
        with pytest.raises(ShardErroredError, match="is an index of another store"):
            store.acquire("baga1")
        assert theirs.read_bytes() == EMPTY
        store.destroy("baga1")
    assert theirs.read_bytes() == EMPTY != ours


def test_a_lease_that_ran_out_beside_indexes_of_another_store(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(place.root / "index", "baga1")
    with place.store() as store:
        core, publish = store._core, IndexFolder.publish

        def publish_slowly(folder: IndexFolder, key: str, name: str) -> None:
            publish(folder, key, name)
            lease = core.catalogue.lease_of(key)
            if lease is not None and lease.holder.endswith("#0"):
                core.catalogue.release_lease(key, lease.holder)  # as time does

        monkeypatch.setattr(IndexFolder, "publish", publish_slowly)
        store.register("key", place.mount("key"), timeout=PATIENCE)
        check_serves(store, "key", "key")
    assert indexes(place) == {"baga1", "key"}


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "recovery"])
def test_an_index_that_a_killed_process_left_beside_those_of_another_store(
    place: Place, tmp_path: Path, *, is_known: bool
) -> None:
    foreign(place.root / "index", "baga1")
    url = place.mount("key").url
    if is_known:
        with place.store() as store:
            store.register("key", place.mount("key", archive_of("others")))
    other = Place.at(tmp_path / "other")
    with other.store() as made:
        made.register("key", other.mount("key"))
    place.mount("key")
    shutil.copy(other.root / "index" / "key.full.idx", place.root / "index")  # and did not come to tell
    with place.store() as store:
        if is_known:
            store._core.catalogue.set_error("key", "MountError", "it changed")
            store.recover("key", timeout=PATIENCE)
        else:
            store._core.catalogue.add("key", url, lazy=True)
        check_serves(store, "key", "key")
    assert indexes(place) == {"baga1", "key"}


def test_a_destroyed_shard_takes_what_was_indexed_here_and_no_more(place: Place) -> None:
    foreign(place.root / "index", "baga2")
    with place.store() as store:
        store.register("baga1", place.mount("key"))
        assert indexes(place) == {"baga1", "baga2"}
        store._core.catalogue.add("baga2", place.mount("key").url, lazy=True)
        store.destroy("baga1")
        store.destroy("baga2")
    assert indexes(place) == {"baga2"}


def test_what_is_taken_over_stays_where_it_is(place: Place) -> None:
    with place.store() as store:
        store.register("key", place.mount("key"))
        store.export_go(place.folder / "go")
    index = next((place.folder / "go").rglob("key.full.idx"))
    made = index.read_bytes()
    here = Place(place.folder / "here", place.faults)
    here.root.mkdir(parents=True)
    (here.root / "index").symlink_to(index.parent)
    with here.store() as store:
        assert store.import_go(place.folder / "go").index_count == 1
        check_serves(store, "key", "key")
    assert index.read_bytes() == made


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
