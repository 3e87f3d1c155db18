"""A quota of local copies that is smaller than what is open: who reads keeps his, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.dagstore import GlobalBlockstore, ShardState
from carv2.errors import QuotaError
from dagstore.shards import PATIENCE, Place, blocks_of, check_serves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.dagstore import DagStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DagStore]:
    """One copy has room, and not two."""
    place = Place.at(tmp_path)
    with place.store(transient_quota=6000) as store:
        for key in "abc":
            store.register(key, place.mount(key, sequential=True), lazy=True)
        yield store


def test_what_is_open_without_a_reader_makes_room(store: DagStore) -> None:
    for key in "abcabc":
        check_serves(store, key, key)
        assert store.stat().transient_bytes <= 6000


def test_what_is_held_for_the_next_reader_makes_room_too(store: DagStore) -> None:
    for key in "abc":
        check_serves(store, key, key)
    with GlobalBlockstore(store) as blocks:
        for key in "abcabc":
            for cid, data in blocks_of(key).items():
                assert blocks[cid] == data


def test_who_reads_keeps_his_copy_and_the_other_is_told_without_a_mark_on_the_shard(store: DagStore) -> None:
    with store.acquire("a", timeout=PATIENCE) as shard:
        for use in (store.acquire, store.initialize):
            with pytest.raises(QuotaError):
                use("b", timeout=PATIENCE)
        assert store.info("b").state is ShardState.NEW
        assert {cid: shard[cid] for cid in blocks_of("a")} == blocks_of("a")
    check_serves(store, "b", "b")


def test_many_shards_are_indexed_one_after_the_other(store: DagStore) -> None:
    assert all(event.success for event in store.initialize_all(concurrency=1) if event.event == "end")
    for key in "abc":
        check_serves(store, key, key)
