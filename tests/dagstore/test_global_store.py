"""One blockstore over all shards: what it serves, from which shard, and what it keeps open for that."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from typing import TYPE_CHECKING, cast

import pytest

import carv2
from carv2.dagstore import (
    BytesMount,
    DagStore,
    DagStoreConfig,
    FileMount,
    GlobalBlockstore,
    ShardState,
    _missing,
)
from carv2.errors import (
    BlockNotFoundError,
    ClosedError,
    IntegrityError,
    MountError,
    ReadOnlyError,
    ShardErroredError,
    ShardInUseError,
    WaitTimeoutError,
)
from carv2.section import Block
from carv2.testing.blockstores import MISSING, BlockstoreTests, in_threads, pair
from dagstore.shards import PATIENCE, Calls, Place, archive_of, blocks_of, eventually

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from carv2 import CID
    from carv2.testing import Faults
    from carv2.testing.blockstores import Pair


def archive(blocks: Sequence[Pair]) -> bytes:
    return b"".join(carv2.iter_car([], blocks))


class StoreSuite(BlockstoreTests):
    """The suite, on blocks that :meth:`shared_out` shares out among shards."""

    def shared_out(self, blocks: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _closing_stores(self) -> Iterator[None]:
        self.stores: list[DagStore] = []
        yield
        for store in self.stores:
            store.close()

    def store_with(self, blocks: Sequence[Pair]) -> GlobalBlockstore:
        store = DagStore(self.folder / f"store-{len(self.stores)}", config=DagStoreConfig(gc_interval=0))
        self.stores.append(store)
        for number, part in enumerate(self.shared_out(blocks)):
            store.register(f"shard-{number}", BytesMount(archive(part)))
        return store.blockstore(max_open=2)


class TestOneShard(StoreSuite):
    def shared_out(self, blocks: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
        yield blocks


class TestBlocksInSeveralShards(StoreSuite):
    in_order = False

    def shared_out(self, blocks: Sequence[Pair]) -> Iterator[Sequence[Pair]]:
        for turn in range(4):  # each block is in two of them
            yield [block for at, block in enumerate(blocks) if turn in {at % 4, (at + 1) % 4}]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[DagStore]:
    """A store; in the end nobody may be left who reads a shard."""
    with place.store() as store:
        yield store
        assert {info.references for info in store.list()} <= {0}


def serving(store: DagStore) -> list[str]:
    return [info.key for info in store.list() if info.references]


def some(blocks: dict[CID, bytes]) -> tuple[CID, bytes]:
    return next(iter(blocks.items()))


def register_twins(place: Place, store: DagStore, *keys: str) -> dict[CID, bytes]:
    """Shards with the same blocks, in mounts of their own."""
    for key in keys:
        store.register(key, place.mount(key, archive_of("twins")))
    return blocks_of("twins")


def faults_of(place: Place, seed: str) -> Faults:
    return place.faults[FileMount(str(place.folder / "archives" / f"{seed}.car")).url]


def reads(place: Place, key: str) -> int:
    return faults_of(place, key).counts.reads


def begun(blocks: GlobalBlockstore, cids: Iterable[CID]) -> Generator[Block]:
    """Reading, of which the first block is done."""
    reading = cast("Generator[Block]", blocks.get_many(cids))
    next(reading)
    return reading


# -- which shard is read --------------------------------------------------------------------------------------


def test_each_block_comes_from_a_shard_that_has_it(place: Place, store: DagStore) -> None:
    everything: dict[CID, bytes] = {}
    for seed in ("a", "b", "c"):
        store.register(seed, place.mount(seed, sequential=seed == "b"))
        everything |= blocks_of(seed)
    with GlobalBlockstore(store) as blocks:
        assert {cid: blocks[cid] for cid in everything} == everything
        assert {cid: blocks.size_of(cid) for cid in everything} == {c: len(d) for c, d in everything.items()}
        assert sorted(blocks) == sorted(everything)
        assert len(blocks) == len(everything)
        assert blocks.get(MISSING) is None


def test_the_selector_is_asked_for_every_block_also_of_shards_that_are_open(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    asked: list[tuple[CID, tuple[str, ...]]] = []
    wanted = "a"

    def select(cid: CID, keys: Sequence[str]) -> str:
        asked.append((cid, tuple(keys)))
        return wanted

    with GlobalBlockstore(store, select=select) as blocks:
        for turn in range(3):
            wanted, other = ("a", "b") if turn % 2 else ("b", "a")
            for cid, data in twins.items():
                before = reads(place, other), reads(place, wanted)
                assert blocks[cid] == data
                assert (reads(place, other), reads(place, wanted) > before[1]) == (before[0], True)
                assert asked.pop() == (cid, ("a", "b"))
            assert not asked
            assert list(blocks.get_many(twins)) == [Block(*block) for block in twins.items()]
            assert asked == [(cid, ("a", "b")) for cid in twins]
            asked.clear()
        assert serving(store) == ["a", "b"]


def test_a_selector_that_selects_none_makes_a_block_a_missing_one(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    hidden = list(twins)[1]
    with GlobalBlockstore(store, select=lambda cid, keys: None if cid == hidden else keys[-1]) as blocks:
        assert hidden not in blocks
        for look_up in (blocks.__getitem__, blocks.size_of, lambda cid: list(blocks.get_many([cid]))):
            with pytest.raises(BlockNotFoundError):
                look_up(hidden)
        assert sorted(blocks) == sorted(set(twins) - {hidden})
        first = next(iter(twins))
        found: list[Block] = []
        with pytest.raises(BlockNotFoundError) as caught:
            found.extend(blocks.get_many([first, hidden]))
        assert caught.value.cid == hidden
        assert serving(store) == ["b"] or "a" in serving(store)  # those iterated over


def test_no_shard_is_opened_to_say_whether_a_block_is_there(place: Place, store: DagStore) -> None:
    cid, _ = some(register_twins(place, store, "a"))
    opened = store.counters()["acquired"]
    with GlobalBlockstore(store) as blocks:
        assert cid in blocks
        assert MISSING not in blocks
    assert store.counters()["acquired"] == opened


@pytest.mark.parametrize("selected", ["c", "", "A"])
def test_a_selector_cannot_invent_a_shard(place: Place, store: DagStore, selected: str) -> None:
    cid, _ = some(register_twins(place, store, "a", "b"))
    with GlobalBlockstore(store, select=lambda _cid, _keys: selected) as blocks:
        for look_up in (blocks.__getitem__, blocks.__contains__, lambda cid: list(blocks.get_many([cid]))):
            with pytest.raises(ValueError, match="none of the shards that have"):
                look_up(cid)


def test_what_a_selector_raises_comes_through(place: Place, store: DagStore) -> None:
    cid, _ = some(register_twins(place, store, "a", "b"))

    def select(_cid: CID, _keys: Sequence[str]) -> str:
        raise MountError("no credit", url="")

    with GlobalBlockstore(store, select=select) as blocks, pytest.raises(MountError, match="no credit"):
        _ = blocks[cid]


def test_the_selector_is_asked_again_with_those_that_are_left(place: Place) -> None:
    with place.store() as store:
        cid, data = some(register_twins(place, store, "a", "b", "c"))
    asked: list[Sequence[str]] = []

    def select(_cid: CID, keys: Sequence[str]) -> str:
        asked.append(keys)
        return keys[-1]

    for key in ("b", "c"):
        faults_of(place, key).gone = True
    with place.store() as store, GlobalBlockstore(store, select=select) as blocks:
        assert blocks[cid] == data
        assert asked == [("a", "b", "c"), ("a", "b"), ("a",)]


def test_without_a_selector_open_shards_come_first(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    store.register("c", place.mount("c", archive([*blocks_of("c").items(), *twins.items()])))
    with GlobalBlockstore(store) as blocks:
        cid, data = some(blocks_of("c"))
        assert blocks[cid] == data
        for cid, data in twins.items():
            assert blocks[cid] == data
        assert list(blocks.get_many(twins)) == [Block(*block) for block in twins.items()]
        assert serving(store) == ["c"]


# -- shards that fail -----------------------------------------------------------------------------------------


def test_a_shard_that_cannot_be_acquired_is_passed_over(place: Place) -> None:
    with place.store() as store:
        twins = register_twins(place, store, "a", "b")
    faults_of(place, "a").gone = True
    with place.store() as store, GlobalBlockstore(store) as blocks:
        for cid, data in twins.items():
            assert blocks[cid] == data
            assert blocks.size_of(cid) == len(data)
        assert list(blocks.get_many(twins)) == [Block(*block) for block in twins.items()]
        assert sorted(blocks) == sorted(twins)
        assert serving(store) == ["b"]


def test_where_all_fail_the_reason_is_told_and_not_that_there_is_no_block(place: Place) -> None:
    with place.store() as store:
        cid, _ = some(register_twins(place, store, "a", "b"))
    for key in ("a", "b"):
        faults_of(place, key).gone = True
    with place.store() as store, GlobalBlockstore(store) as blocks:
        assert cid in blocks
        for look_up in (blocks.__getitem__, blocks.size_of, lambda cid: list(blocks.get_many([cid]))):
            with pytest.raises(MountError):
                look_up(cid)


def test_a_shard_without_the_block_does_not_hide_why_the_other_failed(place: Place) -> None:
    with place.store() as store:
        cid, _ = some(register_twins(place, store, "a", "b"))
        with place.store() as other:  # another process, which says of a shard what is not so
            other._core.catalogue.add_multihashes("b", [MISSING.multihash])
            other._core.catalogue.add_multihashes("a", [MISSING.multihash])
    faults_of(place, "a").gone = True
    for at in (0, -1):

        def select(_cid: CID, keys: Sequence[str], at: int = at) -> str:
            return keys[at]

        with place.store() as store, GlobalBlockstore(store, select=select) as blocks:
            with pytest.raises(MountError):
                _ = blocks[MISSING]
            assert blocks[cid]


def test_damaged_bytes_are_read_from_another_shard(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    position = archive_of("twins").rindex(b"twins-2-")
    faults_of(place, "a").flip = (position,)
    with GlobalBlockstore(store, select=lambda _cid, keys: keys[0]) as blocks:
        before = reads(place, "b")
        assert {cid: blocks[cid] for cid in twins} == twins
        assert reads(place, "b") > before
        assert list(blocks.get_many(twins)) == [Block(*block) for block in twins.items()]
        faults_of(place, "b").flip = (position,)
        with pytest.raises(IntegrityError):
            _ = blocks[list(twins)[2]]


def test_one_damaged_block_does_not_make_others_come_from_elsewhere(place: Place, store: DagStore) -> None:
    bytes_there = archive_of("twins", 100)
    for key in "ab":
        store.register(key, place.mount(key, bytes_there))
    faults_of(place, "a").flip = (bytes_there.rindex(b"twins-0-"),)
    with GlobalBlockstore(store, select=lambda _cid, keys: keys[0]) as blocks:
        before = faults_of(place, "b").counts.bytes
        assert {block.cid: block.data for block in blocks.get_many(blocks_of("twins", 100))} == blocks_of(
            "twins", 100
        )
        assert faults_of(place, "b").counts.bytes - before < len(bytes_there) / 4


def test_a_shard_that_is_gone_is_not_asked_for_each_block(place: Place) -> None:
    with place.store() as store:
        twins = register_twins(place, store, "a", "b")
    faults_of(place, "a").gone = True
    with place.store() as store, GlobalBlockstore(store, select=lambda _cid, keys: keys[0]) as blocks:
        before = faults_of(place, "a").counts.stats
        assert len(list(blocks.get_many(list(twins) * 100))) == 500
        assert faults_of(place, "a").counts.stats - before < 5


def test_a_shard_that_fails_between_two_blocks_is_left_and_the_order_kept(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    wanted = list(twins) * 40  # more than are read ahead
    with GlobalBlockstore(store, select=lambda _cid, keys: keys[0]) as blocks:
        found = blocks.get_many(wanted)
        start = [next(found) for _ in range(3)]
        faults_of(place, "a").refuse(10_000, "read", "stat", "open")
        rest = list(found)
    assert [*start, *rest] == [Block(cid, twins[cid]) for cid in wanted]


def test_a_slow_shard_is_waited_for_as_long_as_was_said(place: Place) -> None:
    with place.store() as store:
        cid, data = some(register_twins(place, store, "a", "b"))
    faults_of(place, "a").hold()
    with place.store() as store:
        try:
            with (
                store.acquire("b"),
                GlobalBlockstore(store, timeout=0.05) as blocks,
            ):  # open, so fast on any machine
                assert blocks[cid] == data
            with (
                GlobalBlockstore(
                    store, timeout=0.05, select=lambda _cid, keys: "a" if "a" in keys else None
                ) as one,
                pytest.raises(WaitTimeoutError),
            ):
                _ = one[cid]
        finally:
            faults_of(place, "a").release()


def test_what_is_asked_for_in_vain_does_not_index_anything(place: Place, store: DagStore) -> None:
    store.register("lazy", place.mount("lazy"), lazy=True)
    with GlobalBlockstore(store) as blocks:
        assert list(blocks) == []
        with pytest.raises(BlockNotFoundError):
            _ = blocks[some(blocks_of("lazy"))[0]]
    assert store.info("lazy").state is ShardState.NEW


# -- what stays open ------------------------------------------------------------------------------------------


def test_the_shards_read_last_stay_acquired_and_no_more(place: Place, store: DagStore) -> None:
    for key in "abcd":
        store.register(key, place.mount(key))
    with GlobalBlockstore(store, max_open=2) as blocks:
        for key, expected in (("a", "a"), ("b", "ab"), ("a", "ab"), ("c", "ac"), ("c", "ac"), ("d", "cd")):
            cid, data = some(blocks_of(key))
            assert blocks[cid] == data
            assert serving(store) == list(expected)
    assert serving(store) == []


def test_a_shard_that_is_read_from_is_not_let_go_of(place: Place, store: DagStore) -> None:
    for key in "abcd":
        store.register(key, place.mount(key))
    with GlobalBlockstore(store, max_open=1) as blocks:
        reading = [blocks.get_many(list(blocks_of(key)) * 2) for key in "ab"]
        begun = [next(each) for each in reading]
        for key in "cd":
            cid, data = some(blocks_of(key))
            assert blocks[cid] == data
        assert serving(store)[:2] == ["a", "b"]
        assert len(serving(store)) <= 3
        acquired = store.counters()["acquired"]
        for key in "ab":  # still at hand
            assert blocks[some(blocks_of(key))[0]]
        assert store.counters()["acquired"] == acquired
        for key, each, first in zip("ab", reading, begun, strict=True):
            assert [first, *each] == [Block(*block) for block in blocks_of(key).items()] * 2
        assert len(serving(store)) == 1


def test_what_is_held_without_a_reader_does_not_keep_a_shard_from_being_destroyed(
    place: Place, store: DagStore
) -> None:
    cid, data = some(register_twins(place, store, "a"))
    with GlobalBlockstore(store) as blocks:
        assert blocks[cid] == data
        with contextlib.closing(begun(blocks, [cid])):
            with pytest.raises(ShardInUseError):
                store.destroy("a")
            assert blocks[cid] == data
        assert serving(store) == ["a"]
        assert store.destroy("a")
        with pytest.raises(BlockNotFoundError):
            _ = blocks[cid]


def test_what_is_held_without_a_reader_is_collected(place: Place, store: DagStore) -> None:
    store.register("a", place.mount("a", sequential=True))
    cid, data = some(blocks_of("a"))
    with GlobalBlockstore(store) as blocks:
        assert blocks[cid] == data
        assert [one.freed for one in store.gc(max_idle=3600)] == [0]
        assert serving(store) == ["a"]
        assert [one.freed > 0 for one in store.gc()] == [True]
        assert serving(store) == []
        assert blocks[cid] == data


def test_a_block_that_is_read_on_while_its_shard_is_destroyed_by_force(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a")
    with GlobalBlockstore(store) as blocks, contextlib.closing(begun(blocks, list(twins) * 500)) as reading:
        assert store.destroy("a", force=True)
        assert [block.cid for block in itertools.islice(reading, 5)] == [*twins][1:] + [*twins][:1]
        cid = next(iter(twins))
        assert cid not in blocks
        with pytest.raises(BlockNotFoundError):
            _ = blocks[cid]


def test_a_shard_of_the_same_key_with_other_blocks_is_another_shard(place: Place, store: DagStore) -> None:
    (old, data), (new, new_data) = some(blocks_of("old")), some(blocks_of("new"))
    store.register("a", place.mount("old"))
    with (
        GlobalBlockstore(store, remember_missing=0) as blocks,
        place.store() as other,
        contextlib.closing(begun(blocks, itertools.cycle([old]))) as reading,
    ):
        assert blocks[old] == data
        assert other.destroy("a", force=True)  # in another process, where nobody knows of readers here
        other.register("a", place.mount("new"))
        assert old not in blocks
        assert blocks[new] == new_data
        assert blocks.size_of(new) == len(new_data)
        assert [block.data for block in blocks.get_many([new])] == [new_data]
        assert serving(store) == ["a"]
        assert next(reading).data == data


def test_a_shard_of_the_same_key_is_read_anew_also_for_many_blocks(place: Place, store: DagStore) -> None:
    store.register("a", place.mount("old"))
    with GlobalBlockstore(store) as blocks, place.store() as other:
        assert blocks[some(blocks_of("old"))[0]]
        assert other.destroy("a", force=True)
        other.register("a", place.mount("new"))
        assert {block.cid: block.data for block in blocks.get_many(blocks_of("new"))} == blocks_of("new")


def test_recovering_gets_a_fresh_copy_although_the_old_one_is_held(place: Place, store: DagStore) -> None:
    mount = place.mount("a", sequential=True)
    store.register("a", mount)
    cid, data = some(blocks_of("a"))
    with GlobalBlockstore(store) as blocks:
        assert blocks[cid] == data
        store._core.catalogue.set_error("a", "MountError", "it is said")
        streams = place.faults[mount.url].counts.streams
        store.recover("a", timeout=PATIENCE)
        assert place.faults[mount.url].counts.streams == streams + 1
        assert blocks[cid] == data


# -- what is missing ------------------------------------------------------------------------------------------


@pytest.fixture
def look_ups(store: DagStore, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The multihashes that were looked up in the catalogue, one at a time."""
    found: list[bytes] = []
    shards_with = store._core.catalogue.shards_with

    def counting(multihash: bytes) -> list[str]:
        found.append(multihash)
        return shards_with(multihash)

    monkeypatch.setattr(store._core.catalogue, "shards_with", counting)
    return found


def is_missing(blocks: GlobalBlockstore, cid: CID) -> bool:
    try:
        _ = blocks[cid]
    except BlockNotFoundError:
        return True
    return False


def test_a_missing_block_is_looked_up_once(store: DagStore, look_ups: list[bytes]) -> None:
    with GlobalBlockstore(store, remember_missing=1000) as blocks:
        for _ in range(5):
            assert is_missing(blocks, MISSING)
            assert MISSING not in blocks
        assert look_ups == [MISSING.multihash]


def test_a_missing_block_is_looked_up_each_time_if_so_wished(store: DagStore, look_ups: list[bytes]) -> None:
    with GlobalBlockstore(store, remember_missing=0) as blocks:
        assert [is_missing(blocks, MISSING) for _ in range(3)] == [True] * 3
        assert len(look_ups) == 3


def test_what_comes_in_here_is_not_missing_any_more(place: Place, store: DagStore) -> None:
    with GlobalBlockstore(store, remember_missing=1000) as blocks:
        for seed in ("eager", "lazy", "repaired", "inverted", "bulk"):
            cid, data = some(blocks_of(seed))
            mount = place.mount(seed)
            if seed == "repaired":
                place.faults[mount.url].gone = True
                with pytest.raises(ShardErroredError):
                    store.register(seed, mount)
            elif seed == "inverted":
                store.register(seed, mount)
                store._core.catalogue.remove_multihashes(seed, None)
            elif seed != "eager":
                store.register(seed, mount, lazy=True)
            assert is_missing(blocks, cid)
            if seed == "eager":
                store.register(seed, mount)
            elif seed == "lazy":
                store.acquire(seed, timeout=PATIENCE).close()
            elif seed == "repaired":
                place.faults[mount.url].gone = False
                store.recover(seed)
            elif seed == "bulk":
                assert len(list(store.initialize_all())) == 2
            else:
                assert [found.is_mended for found in store.doctor(repair=True)] == [True]
            assert blocks[cid] == data


def test_what_comes_in_elsewhere_is_missing_for_a_while(place: Place, store: DagStore) -> None:
    cid, data = some(blocks_of("a"))
    with GlobalBlockstore(store, remember_missing=0.1) as blocks:
        assert is_missing(blocks, cid)
        with place.store() as other:
            other.register("a", place.mount("a"))
        eventually(lambda: blocks.get(cid) == data)


def test_a_look_up_that_was_overtaken_is_not_remembered(
    place: Place, store: DagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid, data = some(blocks_of("a"))
    shards_with = store._core.catalogue.shards_with

    def late(multihash: bytes) -> list[str]:
        found = shards_with(multihash)
        if not found:
            store.register("a", place.mount("a"))
        return found

    monkeypatch.setattr(store._core.catalogue, "shards_with", late)
    with GlobalBlockstore(store, remember_missing=1000) as blocks:
        assert is_missing(blocks, cid)
        assert blocks[cid] == data


def test_what_is_remembered_as_missing_has_a_limit(store: DagStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_missing, "_MOST", 10)
    with GlobalBlockstore(store, remember_missing=1000) as blocks:
        for number in range(50):
            assert is_missing(blocks, carv2.CID.of_data(b"%d" % number))
        assert len(blocks._missing._until) == 10


# -- many at once ---------------------------------------------------------------------------------------------


def test_many_blocks_come_in_the_order_asked_for_from_whatever_shards(place: Place, store: DagStore) -> None:
    for seed in "abc":
        store.register(seed, place.mount(seed, archive_of(seed, 30)))
    known = {cid: data for seed in "abc" for cid, data in blocks_of(seed, 30).items()}
    itself = carv2.CID.of_data(b"held by the CID itself", hash="identity")
    known[itself] = b"held by the CID itself"
    wanted = random.Random(6).choices(list(known), k=2500)
    with GlobalBlockstore(store) as blocks:
        assert list(blocks.get_many(map(str, wanted))) == [Block(cid, known[cid]) for cid in wanted]


def test_blocks_that_follow_each_other_in_a_shard_are_read_at_once(place: Place, store: DagStore) -> None:
    blocks_there = blocks_of("a", 200)
    store.register("a", place.mount("a", archive_of("a", 200)))
    with GlobalBlockstore(store) as blocks:
        first = next(iter(blocks_there))
        assert blocks[first]
        before = reads(place, "a")
        assert {block.cid: block.data for block in blocks.get_many(blocks_there)} == blocks_there
        assert reads(place, "a") - before < 20
        assert store.counters()["acquired"] == 1


def test_many_blocks_may_be_endless(place: Place, store: DagStore) -> None:
    known = register_twins(place, store, "a", "b")
    with GlobalBlockstore(store) as blocks, contextlib.closing(begun(blocks, itertools.cycle(known))) as found:
        assert [block.data for block in itertools.islice(found, 2503)] == (list(known.values()) * 502)[1:2504]


def test_a_missing_one_among_many_comes_after_what_is_before_it(place: Place, store: DagStore) -> None:
    known = register_twins(place, store, "a")
    found: list[Block] = []
    with GlobalBlockstore(store) as blocks:
        with pytest.raises(BlockNotFoundError) as caught:
            found.extend(blocks.get_many([*known, MISSING, *known]))
        assert caught.value.cid == MISSING
    assert [block.cid for block in found] == list(known)


def test_a_block_of_several_shards_is_listed_once_also_if_the_first_cannot_be_read(place: Place) -> None:
    with place.store() as store:
        twins = register_twins(place, store, "a", "b", "c")
    faults_of(place, "a").gone = True
    with place.store() as store, GlobalBlockstore(store) as blocks:
        assert sorted(blocks) == sorted(twins)


# -- life cycle -----------------------------------------------------------------------------------------------


def test_it_is_for_reading_only(store: DagStore) -> None:
    with GlobalBlockstore(store) as blocks:
        with pytest.raises(ReadOnlyError):
            blocks.put(*pair(b"fish"))
        with pytest.raises(ReadOnlyError):
            blocks.put_many([pair(b"fish")])


@pytest.mark.parametrize(
    "options", [{"max_open": 0}, {"remember_missing": -1.0}, {"remember_missing": float("nan")}]
)
def test_options_that_cannot_be_are_refused(store: DagStore, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GlobalBlockstore(store, **options)  # type: ignore[arg-type]


def test_closing_ends_what_goes_on_and_lets_go_of_all_shards(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b")
    blocks = GlobalBlockstore(store)
    many, cids = blocks.get_many(list(twins) * 10), iter(blocks)
    next(many)
    next(cids)
    blocks.close()
    for going_on in (many, cids):
        with pytest.raises(ClosedError):
            list(going_on)
    assert serving(store) == []


def test_closing_while_threads_read_is_an_end_and_nothing_else(place: Place, store: DagStore) -> None:
    twins = register_twins(place, store, "a", "b", "c")
    blocks, reading = GlobalBlockstore(store, max_open=1), threading.Semaphore(0)
    turn = itertools.count()

    def read() -> None:
        first = True
        while True:
            cid = list(twins)[next(turn) % len(twins)]
            assert blocks[cid] == twins[cid]
            if first:
                reading.release()
                first = False

    calls = Calls()
    calls(read, times=8)
    for _ in range(8):
        assert reading.acquire(timeout=PATIENCE)
    blocks.close()
    assert {type(end) for end in calls.wait()} == {ClosedError}
    assert serving(store) == []


def test_closing_the_store_ends_reading_too(place: Place) -> None:
    store = place.store()
    cid, _ = some(register_twins(place, store, "a"))
    blocks = GlobalBlockstore(store)
    assert blocks[cid]
    store.close()
    with pytest.raises(ClosedError):
        _ = blocks[cid]
    blocks.close()


def test_one_that_is_forgotten_is_not_asked_any_more(place: Place, store: DagStore) -> None:
    cid, _ = some(register_twins(place, store, "a"))
    blocks = GlobalBlockstore(store)
    assert blocks[cid]
    blocks.close()
    del blocks
    assert store.destroy("a")
    eventually(lambda: not len(store._core.keepers._keepers))


def test_threads_read_right_while_shards_come_and_go(place: Place, store: DagStore) -> None:
    """Three shards stay, one is destroyed and registered again and again, and copies are collected all along."""
    stay = {key: blocks_of(key, 20) for key in "abc"}
    for key in stay:
        store.register(key, place.mount(key, archive_of(key, 20), sequential=key == "b"))
    known = {cid: data for blocks in stay.values() for cid, data in blocks.items()}
    passing = blocks_of("passing")
    ends = threading.Event()

    def come_and_go() -> int:
        turns = 0
        while not ends.is_set() or not turns:
            store.register("passing", place.mount("passing"))
            store.gc()
            store.destroy("passing", force=True)
            turns += 1
        return turns

    with GlobalBlockstore(store, max_open=2, remember_missing=0.01, timeout=PATIENCE) as blocks:

        def read(seed: int) -> None:
            chosen = random.Random(seed)
            for _ in range(100):
                cid = chosen.choice(list(known))
                assert blocks[cid] == known[cid]
                wanted = chosen.sample(list(known), 10)
                assert [block.data for block in blocks.get_many(wanted)] == [known[cid] for cid in wanted]
                cid = chosen.choice(list(passing))
                assert blocks.get(cid) in {None, passing[cid]}

        calls = Calls()
        calls(come_and_go)
        try:
            in_threads(read, range(8))
        finally:
            ends.set()
        assert calls.wait()[0] > 0
