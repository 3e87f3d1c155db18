"""Many stores as one: who is asked, who answers, and what is said when nobody can."""

from __future__ import annotations

import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockstore_extras.stores import (
    BARRELEYE,
    FISH,
    LOBSTER,
    Broken,
    Pair,
    Remote,
    Spy,
    damaged,
    indexed,
    lying,
    pair,
)
from carv2 import CID, Block
from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore, ReadWriteBlockstore, UnionBlockstore
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ClosedError,
    IndexMismatchError,
    IntegrityError,
    ReadOnlyError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from carv2.blockstore import Blockstore
    from carv2.cid import CIDLike

MANY = [pair(b"%d" % at * 9) for at in range(2000)]


def test_the_first_store_that_has_a_block_gives_it_and_the_next_are_not_asked() -> None:
    stores = [Spy([FISH]), Spy([FISH, LOBSTER]), Spy([LOBSTER])]
    union = UnionBlockstore(stores)
    assert [union[FISH[0]], union[LOBSTER[0]]] == [b"fish", b"lobster"]
    assert [store.singles for store in stores] == [[FISH[0], LOBSTER[0]], [LOBSTER[0]], []]


def test_stores_are_asked_in_the_order_in_which_they_were_added() -> None:
    one, two, three = Spy(), Spy(), Spy()
    union = UnionBlockstore([one])
    union.add(two)
    union.add(three, first=True)
    assert union.stores == (three, one, two)


@pytest.mark.parametrize("bad", [lying([FISH]), damaged([FISH], FISH)], ids=["index lies", "data damaged"])
def test_a_store_that_cannot_give_a_block_is_passed_over(bad: bytes) -> None:
    union = UnionBlockstore([ReadOnlyBlockstore(bad), ReadOnlyBlockstore(indexed([LOBSTER, FISH]))])
    assert union[FISH[0]] == b"fish"
    assert union.size_of(FISH[0]) == 4
    assert FISH[0] in union
    wanted = [FISH, LOBSTER, FISH]
    assert list(union.get_many(cid for cid, _ in wanted)) == [Block(*each) for each in wanted]


@pytest.mark.parametrize(
    ("bad", "kind"), [(lying([FISH]), IndexMismatchError), (damaged([FISH], FISH), IntegrityError)]
)
def test_if_no_other_store_has_it_the_error_names_the_store_and_keeps_its_kind(
    bad: bytes, kind: type[CarError]
) -> None:
    union = UnionBlockstore({"sea": MemoryBlockstore([LOBSTER]), "wreck": ReadOnlyBlockstore(bad)})
    with pytest.raises(kind, match=r"^wreck: .*\(at byte \d+\)$") as caught:
        _ = union[FISH[0]]
    assert caught.value.store == "wreck"  # type: ignore[attr-defined]
    alone = ReadOnlyBlockstore(bad)
    with pytest.raises(kind) as expected:
        _ = alone[FISH[0]]
    assert str(caught.value) == f"wreck: {expected.value}"
    found: list[Block] = []
    with pytest.raises(kind, match=r"^wreck: "):
        found.extend(union.get_many([LOBSTER[0], FISH[0]]))


def test_get_many_gives_what_comes_before_an_error() -> None:
    union = UnionBlockstore([MemoryBlockstore([LOBSTER]), ReadOnlyBlockstore(damaged([FISH], FISH))])
    blocks = union.get_many([LOBSTER[0], FISH[0]])
    assert next(blocks) == Block(*LOBSTER)
    with pytest.raises(IntegrityError, match=r"^store 2: "):
        next(blocks)


def test_of_two_errors_the_first_is_raised() -> None:
    union = UnionBlockstore(
        {"disk": Broken([FISH], OSError(5, "Input/output error")), "wreck": ReadOnlyBlockstore(lying([FISH]))}
    )
    with pytest.raises(OSError, match="'disk'") as caught:
        _ = union[FISH[0]]
    assert caught.value.errno == 5
    with pytest.raises(BlockNotFoundError):
        _ = UnionBlockstore([MemoryBlockstore()])[FISH[0]]


def test_whether_a_block_is_there_is_an_error_if_a_store_cannot_tell() -> None:
    union = UnionBlockstore([ReadOnlyBlockstore(lying([FISH])), MemoryBlockstore([LOBSTER])])
    assert LOBSTER[0] in union
    with pytest.raises(IndexMismatchError, match=r"^store 1: "):
        _ = FISH[0] in union


def test_a_union_in_a_union_is_named_by_both() -> None:
    inner = UnionBlockstore({"wreck": ReadOnlyBlockstore(lying([FISH]))})
    with pytest.raises(IndexMismatchError, match=r"^fleet: wreck: "):
        _ = UnionBlockstore({"fleet": inner})[FISH[0]]


# -- many at once ------------------------------------------------------------------------------------------------


def test_each_store_is_handed_its_share_at_once_in_order() -> None:
    even, odd, late = Spy(MANY[:400:2]), Spy(MANY[1:400:2]), Spy([*MANY[:400], *MANY[1990:]])
    wanted = [cid for cid, _ in [*MANY[:400][::-1], *MANY[1990:]]]
    found = list(UnionBlockstore([even, odd, late]).get_many(wanted))
    assert [block.cid for block in found] == wanted
    assert even.shares == [[cid for cid, _ in MANY[:400:2][::-1]]]
    assert odd.shares == [[cid for cid, _ in MANY[1:400:2][::-1]]]
    assert late.shares == [[cid for cid, _ in MANY[1990:]]]
    assert even.singles == odd.singles == late.singles == []


def test_reads_from_remote_stores_merge() -> None:
    files = [Remote(indexed(MANY[:1000])), Remote(indexed(MANY[1000:]))]
    union = UnionBlockstore([ReadOnlyBlockstore(file) for file in files])  # type: ignore[arg-type]
    before = [file.requests for file in files]
    wanted = [cid for pair in zip(MANY[:500], MANY[1000:1500], strict=True) for cid, _ in pair]
    assert [block.cid for block in union.get_many(wanted)] == wanted
    assert [file.requests - at for file, at in zip(files, before, strict=True)] == [2, 2]  # one for each 512 asked


def test_get_many_takes_no_end_of_cids_a_few_hundred_at_a_time() -> None:
    taken = 0

    def forever() -> Iterator[CID]:
        nonlocal taken
        while True:
            taken += 1
            yield FISH[0]

    blocks = UnionBlockstore([MemoryBlockstore([FISH])]).get_many(forever())
    assert [next(blocks).data for _ in range(3)] == [b"fish"] * 3
    assert taken <= 512


def test_a_store_that_breaks_in_its_share_is_replaced_by_the_next() -> None:
    broken = Broken(MANY[:20], OSError(5, "Input/output error"))
    union = UnionBlockstore([broken, MemoryBlockstore(MANY[:20])])
    assert list(union.get_many(cid for cid, _ in MANY[:20])) == [Block(*each) for each in MANY[:20]]


# -- iterating ---------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 9), max_size=8), max_size=4))
def test_iterating_gives_each_block_once_in_the_order_of_the_stores(contents: list[list[int]]) -> None:
    union = UnionBlockstore(ReadOnlyBlockstore(indexed([MANY[at] for at in one])) for one in contents)
    expected = list(dict.fromkeys(at for one in contents for at in one))
    assert list(union) == [MANY[at][0] for at in expected]
    assert len(union) == len(expected)


def test_a_block_is_the_same_under_another_codec_and_another_with_another_hash() -> None:
    other, sha3 = pair(b"fish", "dag-json"), (CID.of_data(b"fish", hash="sha3-256"), b"fish")
    union = UnionBlockstore([MemoryBlockstore([FISH]), MemoryBlockstore([other, sha3])])
    assert list(union) == [FISH[0], sha3[0]]


class Endless(MemoryBlockstore):
    """As many CIDs as wanted, none of them held."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def __iter__(self) -> Iterator[CID]:
        return (CID(b"\x01\x55\x12\x20" + at.to_bytes(32, "little")) for at in range(self.count))


def test_iterating_takes_bounded_memory() -> None:
    union = UnionBlockstore([Endless(20_000), Endless(25_000)], max_memory=200_000)
    tracemalloc.start()
    try:
        assert len(union) == 25_000
        assert tracemalloc.get_traced_memory()[1] < 1_500_000  # 160 bytes for each would be 4,000,000
    finally:
        tracemalloc.stop()


def test_a_store_that_is_damaged_ends_an_iteration_with_its_name() -> None:
    class Unlistable(MemoryBlockstore):
        def __iter__(self) -> Iterator[CID]:
            yield LOBSTER[0]
            raise OSError(5, "Input/output error")

    union = UnionBlockstore({"sea": MemoryBlockstore([FISH]), "disk": Unlistable()})
    found: list[CID] = []
    with pytest.raises(OSError, match="'disk'"):
        found.extend(iter(union))
    assert found == [FISH[0], LOBSTER[0]]


# -- changing while in use ---------------------------------------------------------------------------------------


def test_a_store_is_part_of_a_union_once() -> None:
    store = MemoryBlockstore()
    union = UnionBlockstore([store])
    with pytest.raises(ValueError, match="already"):
        union.add(store)
    union.remove(store)
    with pytest.raises(ValueError, match="not part"):
        union.remove(store)
    union.add(store)
    assert union.stores == (store,)


@pytest.mark.parametrize("owned", [True, False])
def test_a_store_that_is_removed_is_closed_only_if_it_belongs_to_the_union(owned: bool) -> None:
    store, other = Spy([FISH]), Spy([LOBSTER])
    union = UnionBlockstore([store, other], close_stores=owned)
    union.remove(store)
    assert FISH[0] not in union
    assert LOBSTER[0] in union
    assert (store.closed, other.closed) == (int(owned), 0)
    union.close()
    union.close()
    assert (store.closed, other.closed) == (int(owned), int(owned))


def test_the_error_of_a_store_that_is_being_removed_does_not_count() -> None:
    class Leaving(Spy):
        def __getitem__(self, cid: CIDLike, /) -> bytes:
            union.remove(self)
            raise ClosedError("the file was closed")

    union = UnionBlockstore([Leaving([FISH]), MemoryBlockstore([FISH])])
    assert union[FISH[0]] == b"fish"
    union = UnionBlockstore([Leaving([FISH])])
    with pytest.raises(BlockNotFoundError):
        _ = union[FISH[0]]


def test_a_store_that_closes_before_it_is_asked_for_its_share_does_not_count() -> None:
    class Closing(Spy):
        def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
            union.remove(self)
            raise ClosedError("the blockstore was closed")

    union = UnionBlockstore([Closing([FISH]), MemoryBlockstore([FISH])])
    assert [block.data for block in union.get_many([FISH[0]])] == [b"fish"]


def test_an_iteration_leaves_a_store_that_is_removed() -> None:
    sea, land = ReadOnlyBlockstore(indexed([FISH, LOBSTER])), MemoryBlockstore([BARRELEYE])
    union = UnionBlockstore([sea, land], close_stores=True)
    cids = iter(union)
    assert next(cids) == FISH[0]
    union.remove(sea)
    assert list(cids) == [BARRELEYE[0]]


def test_an_iteration_ends_with_the_union() -> None:
    union = UnionBlockstore([MemoryBlockstore([FISH, LOBSTER])])
    cids = iter(union)
    next(cids)
    union.close()
    with pytest.raises(ClosedError):
        next(cids)


def test_closing_closes_all_stores_and_then_says_what_went_wrong() -> None:
    broken, other = Broken([FISH], OSError(5, "Input/output error")), Spy()
    union = UnionBlockstore([broken, other], close_stores=True)
    with pytest.raises(OSError, match="Input"):
        union.close()
    assert (broken.closed, other.closed) == (1, 1)
    with pytest.raises(ClosedError):
        union.add(Spy())


def test_nothing_is_put_into_a_union() -> None:
    union = UnionBlockstore([MemoryBlockstore()])
    with pytest.raises(ReadOnlyError):
        union.put(*FISH)
    with pytest.raises(ReadOnlyError):
        union.put_many([FISH])


def test_readers_see_every_block_while_stores_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "some.car"
    path.write_bytes(indexed(MANY[:200]))
    union = UnionBlockstore([MemoryBlockstore(MANY[:200])], close_stores=True)
    done, problems = threading.Event(), list[BaseException]()

    def read(part: list[Pair]) -> None:
        try:
            while not done.is_set():
                for cid, data in part:
                    assert union[cid] == data
                assert [block.data for block in union.get_many(cid for cid, _ in part)] == [d for _, d in part]
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    threads = [threading.Thread(target=read, args=(MANY[at : at + 50],)) for at in range(0, 151, 25)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        store = ReadOnlyBlockstore(path)
        union.add(store, first=True)
        union.remove(store)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(union.stores) == 1


def test_a_store_that_is_being_written_may_be_part_of_it(tmp_path: Path) -> None:
    written = ReadWriteBlockstore.create(tmp_path / "new.car")
    stores: list[Any] = [ReadOnlyBlockstore(indexed([FISH])), written]
    with UnionBlockstore(stores, close_stores=True) as union:
        assert LOBSTER[0] not in union
        written.put(*LOBSTER)
        assert [block.data for block in union.get_many([LOBSTER[0], FISH[0]])] == [b"lobster", b"fish"]
        store: Blockstore = union
        assert list(store) == [FISH[0], LOBSTER[0]]
