"""A cache gives what was checked, keeps to its bytes, and asks the store only for what it misses."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from blockstore_extras.stores import FISH, LOBSTER, Broken, Spy, damaged, indexed, pair
from carv2 import CID, Block
from carv2.blockstore import CachingBlockstore, MemoryBlockstore, ReadOnlyBlockstore, UnionBlockstore
from carv2.errors import BlockNotFoundError, ClosedError, IntegrityError, ReadOnlyError
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY = [pair(b"%03d" % at * 100) for at in range(100)]
COST = 176 + 36 + 300
"""What one of them takes in the cache."""


def cids(blocks: Iterable[tuple[CID, bytes]]) -> list[CID]:
    return [cid for cid, _ in blocks]


def test_a_block_is_read_once() -> None:
    spy = Spy([FISH])
    store = CachingBlockstore(spy)
    assert [store[FISH[0]] for _ in range(5)] == [b"fish"] * 5
    assert spy.singles == [FISH[0]]
    assert (store.hits, store.misses) == (4, 1)


def test_what_is_missing_is_asked_for_each_time() -> None:
    spy = Spy()
    store = CachingBlockstore(spy)
    for _ in range(2):
        with pytest.raises(BlockNotFoundError):
            _ = store[FISH[0]]
    spy.put(*FISH)
    assert store[FISH[0]] == b"fish"
    assert (store.hits, store.misses) == (0, 3)


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    spy = Spy(MANY)
    store = CachingBlockstore(spy, max_bytes=3 * COST)
    for at in (0, 1, 2, 0, 3):  # 1 has to go
        assert store[MANY[at][0]] == MANY[at][1]
    assert store.kept_bytes == 3 * COST
    spy.singles.clear()
    for at in (0, 2, 3):
        assert store[MANY[at][0]] == MANY[at][1]
    assert spy.singles == []
    assert store[MANY[1][0]] == MANY[1][1]
    assert spy.singles == [MANY[1][0]]


def test_a_block_larger_than_the_cache_drives_nothing_out() -> None:
    large = pair(bytes(5000))
    store = CachingBlockstore(MemoryBlockstore([FISH, large]), max_bytes=5000)
    for _ in range(2):
        assert store[FISH[0]] == b"fish"
        assert store[large[0]] == large[1]
    assert (store.hits, store.misses) == (1, 3)


def test_what_is_kept_takes_about_the_memory_that_is_counted() -> None:
    blocks = {CID.of_data(data): data for data in (os.urandom(100) for _ in range(5000))}

    class Fresh(MemoryBlockstore):
        def __getitem__(self, cid: object, /) -> bytes:
            return bytes(bytearray(blocks[CID(bytes(cid))]))  # type: ignore[call-overload]

    store = CachingBlockstore(Fresh())
    wanted = [bytes(cid) for cid in blocks]
    tracemalloc.start()
    try:
        for raw in wanted:
            _ = store[bytes(bytearray(raw))]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.9 * taken < store.kept_bytes < 1.3 * taken


def test_data_that_are_wrong_are_neither_kept_nor_given() -> None:
    unverified = ReadOnlyBlockstore(damaged([FISH, LOBSTER], FISH), verify=False)
    assert unverified[FISH[0]] == b"????"
    store = CachingBlockstore(unverified)
    for _ in range(2):
        with pytest.raises(IntegrityError):
            _ = store[FISH[0]]
        with pytest.raises(IntegrityError):
            list(store.get_many([FISH[0]]))
    assert store.kept_bytes == 0
    assert CachingBlockstore(unverified, verify=False)[FISH[0]] == b"????"


def test_a_block_that_cannot_be_checked_is_passed_on_and_not_kept() -> None:
    raw = FISH[0].raw[:2] + b"\x99\xb3\x02\x04abcd"
    archive = archives.v1([], [(raw, b"data")])
    store = CachingBlockstore(ReadOnlyBlockstore(archive, verify=False))
    assert [store[raw], store[raw]] == [b"data"] * 2
    assert (store.hits, store.kept_bytes) == (0, 0)


def test_identity_cids_are_left_to_the_store() -> None:
    cid = CID.of_data(b"in the CID", hash="identity")
    store = CachingBlockstore(MemoryBlockstore())
    assert store[cid] == b"in the CID"
    assert store.kept_bytes == 0


def test_a_block_is_kept_under_the_cid_that_it_was_asked_for_by() -> None:
    other = CID.of_data(b"fish", codec="dag-json")
    store = CachingBlockstore(ReadOnlyBlockstore(indexed([FISH]), whole_cids=True))
    assert store[FISH[0]] == b"fish"
    with pytest.raises(BlockNotFoundError):
        _ = store[other]


def test_get_many_asks_at_once_for_what_is_missed_and_keeps_the_order() -> None:
    spy = Spy(MANY)
    store = CachingBlockstore(spy)
    assert list(store.get_many(cids(MANY[::3]))) == [Block(*each) for each in MANY[::3]]
    spy.shares.clear()
    assert list(store.get_many(cids(MANY[:10]))) == [Block(*each) for each in MANY[:10]]
    assert spy.shares == [cids(each for at, each in enumerate(MANY[:10]) if at % 3)]
    assert spy.singles == []
    assert (store.hits, store.misses) == (4, 34 + 6)


def test_sizes_of_what_is_kept_are_known_without_the_store() -> None:
    spy = Spy([FISH, LOBSTER])
    store = CachingBlockstore(spy)
    assert (store.size_of(FISH[0]), store[FISH[0]]) == (4, b"fish")
    spy.singles.clear()
    del spy[FISH[0]]
    assert (store.size_of(FISH[0]), FISH[0] in store) == (4, True)
    assert spy.singles == []
    assert (store.hits, store.misses) == (0, 1)


def test_writes_go_through_if_the_store_takes_them() -> None:
    memory = MemoryBlockstore()
    store = CachingBlockstore(memory)
    assert (store.put(*FISH), store.put(*FISH), store.put_many([FISH, LOBSTER])) == (True, False, 1)
    assert (memory[FISH[0]], memory[LOBSTER[0]], len(store)) == (b"fish", b"lobster", 2)
    assert store.kept_bytes == 0


@pytest.mark.parametrize("store", [UnionBlockstore(), ReadOnlyBlockstore(indexed([])), object()])
def test_a_store_for_reading_only_takes_nothing(store: UnionBlockstore) -> None:
    with pytest.raises(ReadOnlyError):
        CachingBlockstore(store).put(*FISH)
    with pytest.raises(ReadOnlyError):
        CachingBlockstore(store).put_many([FISH])


def test_closing_closes_the_store_and_forgets() -> None:
    spy = Spy([FISH])
    store = CachingBlockstore(spy)
    assert store[FISH[0]] == b"fish"
    store.close()
    assert (spy.closed, store.kept_bytes) == (1, 0)
    with pytest.raises(ClosedError):
        _ = store[FISH[0]]


def test_errors_of_the_store_come_through() -> None:
    store = CachingBlockstore(Broken([FISH], OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input"):
        _ = store[FISH[0]]
    assert store.kept_bytes == 0


def test_a_bound_below_zero_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=">= 0, got -1"):
        CachingBlockstore(MemoryBlockstore(), max_bytes=-1)


def test_threads_share_a_cache_that_is_too_small_for_them() -> None:
    store = CachingBlockstore(ReadOnlyBlockstore(indexed(MANY)), max_bytes=20 * COST)

    def read(start: int) -> int:
        for at in range(300):
            cid, data = MANY[(start + at * 7) % 100]
            assert store[cid] == data
        assert [block.data for block in store.get_many(cids(MANY))] == [data for _, data in MANY]
        return 400

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(read, range(0, 80, 10)))
    assert store.hits + store.misses == total
    assert 0 < store.kept_bytes <= 20 * COST


class Bare:
    """A store with no more than what every store has."""

    def __init__(self) -> None:
        self.is_closed = False

    def __contains__(self, cid: object) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


def test_a_cache_over_a_store_that_only_reads_does_nothing_at_its_end_but_close_it() -> None:
    for leave in ("with", "discard"):
        bare = Bare()
        store = CachingBlockstore(bare)  # type: ignore[arg-type]
        with pytest.raises(ReadOnlyError):
            store.put(*FISH)
        with pytest.raises(ReadOnlyError):
            store.put_many([FISH])
        store.flush()
        store.finalize()
        assert not bare.is_closed
        if leave == "with":
            with store:
                pass
        else:
            store.discard()
        assert bare.is_closed
