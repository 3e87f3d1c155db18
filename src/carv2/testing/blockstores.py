"""What every blockstore must do, as tests: subclass, say how a store is made, and let pytest find the class.

A store that is only read from::

    class TestMyStore(BlockstoreTests):
        def store_with(self, blocks):
            return MyStore(self.folder, blocks)

One that is written to as well::

    class TestMyStore(WritableBlockstoreTests):
        def writable_store(self):
            return MyStore(self.folder)

Where a store is meant to differ, its class attributes say so; they are the first thing in each class.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2.blockstore import Blockstore, WritableBlockstore
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, ClosedError, IntegrityError
from carv2.section import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any, TypeAlias

    Pair: TypeAlias = "tuple[CID, bytes]"

THREADS = 8

_PROPERTY = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # a folder for all examples does no harm
        HealthCheck.differing_executors,  # each subclass runs the inherited tests
        HealthCheck.too_slow,
    ],
)


def pair(data: bytes, codec: str = "raw") -> Pair:
    """A block as a pair of CID and data."""
    return CID.of_data(data, codec=codec), data


def version_0(data: bytes) -> Pair:
    """A block that is named by a CIDv0."""
    return CID(CID.of_data(data, codec="dag-pb").multihash), data


FISH, LOBSTER, BARRELEYE = (pair(data) for data in (b"fish", b"lobster", b"barreleye"))
NODE = version_0(b"\x0a\x02\x08\x01")
EMPTY = pair(b"")
LARGE = pair(bytes(range(256)) * 1200, codec="dag-cbor")
BLOCKS = (FISH, NODE, EMPTY, LARGE, LOBSTER)
"""In the order in which the stores get them."""

MISSING = BARRELEYE[0]
MANY = tuple(pair(f"block {at}".encode() * (1 + at % 50)) for at in range(300))


class BlockstoreTests:
    """The :class:`carv2.blockstore.Blockstore` protocol."""

    whole_cids = False
    """A block is found by its whole CID only; otherwise by its multihash, whatever codec the CID names."""
    answers_identity = True
    """An identity CID is answered from itself, whether it was stored or not."""
    in_order = True
    """Iterating gives CIDs in the order in which the blocks came."""
    keeps_codecs = True
    """Iterating gives each CID as it was stored; otherwise one of codec raw, with the same multihash."""
    refuses_after_close = True
    """A closed store raises ClosedError; one that has nothing to close may go on."""

    folder: Path
    """An empty folder for each test."""

    def store_with(self, blocks: Sequence[Pair]) -> Blockstore:
        """A new store that holds ``blocks``, no more and no less; the tests close it."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> Iterator[None]:
        self.folder, self._opened = tmp_path, list[Blockstore]()
        yield
        for store in self._opened:
            store.close()
        self._opened.clear()  # pytest keeps the object that has them

    def opened(self, blocks: Sequence[Pair] = BLOCKS) -> Blockstore:
        """What :meth:`store_with` makes, closed when the test ends."""
        store = self.store_with(blocks)
        self._opened.append(store)
        return store

    def as_listed(self, cids: Iterable[CID]) -> list[CID]:
        """What iterating over a store of ``cids`` gives."""
        return [cid if self.keeps_codecs else CID.of_multihash(cid.multihash) for cid in cids]

    # -- a mapping --------------------------------------------------------------------------------------------

    def test_it_has_the_methods_of_the_protocol(self) -> None:
        assert isinstance(self.opened(), Blockstore)

    def test_every_block_is_there_as_it_was_given(self) -> None:
        store = self.opened()
        for cid, data in BLOCKS:
            found = store[cid]
            assert found == data
            assert type(found) is bytes
            assert cid in store
            assert store.size_of(cid) == len(data)

    def test_a_key_may_be_a_cid_its_bytes_or_its_text(self) -> None:
        store = self.opened()
        for cid, data in BLOCKS:
            for key in (cid, bytes(cid), str(cid)):
                assert store[key] == data
                assert key in store
                assert store.size_of(key) == len(data)
                assert [block.data for block in store.get_many([key])] == [data]

    def test_a_missing_block_is_a_key_error_that_carries_the_cid(self) -> None:
        store = self.opened()
        looking_up: list[Callable[[], object]] = [
            lambda: store[MISSING],
            lambda: store[str(MISSING)],
            lambda: store.size_of(MISSING),
            lambda: list(store.get_many([MISSING])),
        ]
        for look_up in looking_up:
            with pytest.raises(KeyError) as caught:
                look_up()
            assert isinstance(caught.value, BlockNotFoundError)
            assert caught.value.cid == MISSING
        assert MISSING not in store

    def test_what_is_no_key_at_all_is_not_in_the_store(self) -> None:
        store = self.opened()
        for thing in (None, 3, object(), (FISH[0],)):
            assert thing not in store

    def test_the_codec_of_a_key_does_not_matter_unless_whole_cids_do(self) -> None:
        store = self.opened()
        other = CID.of_data(FISH[1], codec="dag-json")
        first = CID(bytes.fromhex("0170") + NODE[0].multihash)
        for cid, data in ((other, FISH[1]), (first, NODE[1])):
            assert (cid in store) is not self.whole_cids
            if self.whole_cids:
                with pytest.raises(BlockNotFoundError):
                    _ = store[cid]
            else:
                assert store[cid] == data
                assert list(store.get_many([cid])) == [Block(cid, data)]

    def test_the_same_digest_of_another_hash_function_is_another_block(self) -> None:
        store = self.opened()
        other = CID(bytes.fromhex("01551620") + FISH[0].digest)  # sha3-256 instead of sha2-256
        assert other not in store
        with pytest.raises(BlockNotFoundError):
            _ = store[other]

    def test_an_identity_cid_is_answered_from_itself(self) -> None:
        if not self.answers_identity:
            pytest.skip("identity CIDs are looked up like others")
        store = self.opened()
        for text in (b"", b"held by the CID itself"):
            cid = CID.of_data(text, hash="identity")
            assert store[cid] == text
            assert cid in store
            assert store.size_of(cid) == len(text)
            assert [block.data for block in store.get_many([FISH[0], cid])] == [FISH[1], text]
        assert len(store) == len(BLOCKS)

    # -- many at once -----------------------------------------------------------------------------------------

    def test_get_many_keeps_the_order_that_was_asked_for(self) -> None:
        store = self.opened(MANY)
        wanted = [*MANY[::-7], *MANY[::3], MANY[5], MANY[5]]
        found = list(store.get_many(cid for cid, _ in wanted))
        assert found == [Block(cid, data) for cid, data in wanted]
        assert [block.cid for block in found] == [cid for cid, _ in wanted]
        assert list(store.get_many([])) == []

    def test_get_many_gives_what_comes_before_a_missing_block(self) -> None:
        store = self.opened()
        found: list[Block] = []
        with pytest.raises(BlockNotFoundError) as caught:
            found.extend(store.get_many([LOBSTER[0], FISH[0], MISSING, EMPTY[0]]))
        assert found in ([], [Block(*LOBSTER), Block(*FISH)])
        assert caught.value.cid == MISSING

    def test_iterating_gives_each_cid_as_it_was_stored(self) -> None:
        store = self.opened()
        given_cids, found = self.as_listed(cid for cid, _ in BLOCKS), list(store)
        assert (found if self.in_order else sorted(found)) == (given_cids if self.in_order else sorted(given_cids))
        assert list(store) == found
        assert len(store) == len(found)

    def test_several_iterations_do_not_disturb_each_other(self) -> None:
        store = self.opened(MANY)
        found = list(zip(iter(store), iter(store), strict=True))
        assert len(found) == len(MANY)
        assert all(one == other for one, other in found)

    def test_an_empty_store_is_empty(self) -> None:
        store = self.opened(())
        assert len(store) == 0
        assert list(store) == []
        assert FISH[0] not in store
        assert list(store.get_many([])) == []

    @_PROPERTY
    @given(
        st.lists(st.binary(max_size=300), unique=True, max_size=12), st.lists(st.binary(max_size=2), max_size=4)
    )
    def test_it_is_a_dict_of_blocks(self, stored: list[bytes], asked: list[bytes]) -> None:
        blocks = [pair(data) for data in stored]
        model, store = dict(blocks), self.store_with(blocks)
        try:
            assert sorted(store) == sorted(model)
            assert {cid: store[cid] for cid in store} == model
            for data in [*asked, *stored]:
                cid = CID.of_data(data)
                assert (cid in store) == (cid in model)
        finally:
            store.close()

    # -- life cycle and threads -------------------------------------------------------------------------------

    def test_closing_twice_is_closing_once(self) -> None:
        store = self.store_with(BLOCKS)
        store.close()
        store.close()

    def test_a_closed_store_says_so(self) -> None:
        if not self.refuses_after_close:
            pytest.skip("there is nothing to close")
        store = self.store_with(BLOCKS)
        store.close()
        uses: list[Callable[[], object]] = [
            lambda: store[FISH[0]],
            lambda: FISH[0] in store,
            lambda: store.size_of(FISH[0]),
            lambda: list(store.get_many([FISH[0]])),
            lambda: list(store),
            lambda: len(store),
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()

    def test_an_iteration_that_is_left_does_not_keep_the_store_from_closing(self) -> None:
        store = self.store_with(MANY)
        cids, blocks = iter(store), iter(store.get_many(cid for cid, _ in MANY))
        assert next(cids) in store
        assert next(blocks).data == MANY[0][1]
        store.close()

    def test_threads_may_share_it(self) -> None:
        store = self.opened((*MANY, LARGE))

        def read(shift: int) -> None:
            for cid, data in (*MANY[shift:], LARGE, *MANY[:shift]):
                assert store[cid] == data
                assert store.size_of(cid) == len(data)
            assert MISSING not in store
            assert len(list(store)) == len(store) == len(MANY) + 1
            assert [block.data for block in store.get_many(cid for cid, _ in MANY)] == [data for _, data in MANY]

        in_threads(read, [at * 31 for at in range(THREADS)])


class WritableBlockstoreTests(BlockstoreTests):
    """The :class:`carv2.blockstore.WritableBlockstore` protocol, and all of the above."""

    deduplicates = True
    """A block that is there already is not stored again; False: each put stores."""
    verifies = True
    """Data that are not what the CID names are refused."""
    stores_identity = False
    """Identity CIDs are stored like others, and not answered from themselves."""

    def writable_store(self) -> WritableBlockstore:
        """A new, empty store; the tests close it."""
        raise NotImplementedError

    def store_with(self, blocks: Sequence[Pair]) -> Blockstore:
        """A store that ``blocks`` were put into."""
        store = self.writable_store()
        store.put_many(blocks)
        return store

    def writable(self) -> WritableBlockstore:
        """What :meth:`writable_store` makes, closed when the test ends."""
        store = self.writable_store()
        self._opened.append(store)
        return store

    def test_it_has_the_writing_methods_of_the_protocol(self) -> None:
        assert isinstance(self.writable(), WritableBlockstore)

    def test_what_was_put_can_be_read_at_once(self) -> None:
        store = self.writable()
        for count, (cid, data) in enumerate((*BLOCKS, *MANY[:50]), start=1):
            assert cid not in store
            assert store.put(cid, data) is True
            assert store[cid] == data
            assert store.size_of(cid) == len(data)
            assert cid in store
            assert len(store) == count
        assert sorted(store) == sorted(self.as_listed(cid for cid, _ in (*BLOCKS, *MANY[:50])))

    def test_put_takes_a_cid_its_bytes_or_its_text(self) -> None:
        store = self.writable()
        assert [store.put(key, data) for key, data in self._keys_of_all_kinds()] == [True] * 3
        assert [store[cid] for cid, _ in (FISH, LOBSTER, NODE)] == [FISH[1], LOBSTER[1], NODE[1]]

    def test_put_many_takes_the_same_and_counts_what_is_new(self) -> None:
        store = self.writable()
        assert store.put_many(self._keys_of_all_kinds()) == 3
        assert store.put_many(iter([FISH, BARRELEYE])) == (1 if self.deduplicates else 2)
        assert store.put_many([]) == 0
        assert store.put_many([Block(*EMPTY)]) == 1
        assert store[BARRELEYE[0]] == BARRELEYE[1]

    @staticmethod
    def _keys_of_all_kinds() -> list[tuple[CID | bytes | str, bytes]]:
        return [FISH, (bytes(LOBSTER[0]), LOBSTER[1]), (str(NODE[0]), NODE[1])]

    def test_a_block_is_new_once(self) -> None:
        store = self.writable()
        assert [store.put(*FISH) for _ in range(3)] == ([True, False, False] if self.deduplicates else [True] * 3)
        assert len(store) == len(list(store)) == (1 if self.deduplicates else 3)
        assert store[FISH[0]] == FISH[1]

    def test_another_codec_makes_another_block_only_if_whole_cids_count(self) -> None:
        store = self.writable()
        assert store.put(*FISH)
        assert store.put(*pair(FISH[1], codec="dag-json")) is (self.whole_cids or not self.deduplicates)
        assert store.put(*version_0(FISH[1])) is (self.whole_cids or not self.deduplicates)
        assert [store[cid] for cid in store] == [FISH[1]] * len(store)

    def test_data_that_the_cid_does_not_name_are_refused_and_not_kept(self) -> None:
        if not self.verifies:
            pytest.skip("the store takes what it gets")
        store = self.writable()
        for cid, data in ((FISH[0], b"lobster"), (EMPTY[0], b"x"), (NODE[0], b""), (LARGE[0], LARGE[1][:-1])):
            with pytest.raises(IntegrityError) as caught:
                store.put(cid, data)
            assert caught.value.cid == cid
            assert cid not in store
        assert len(store) == 0
        assert store.put(*FISH)
        assert store[FISH[0]] == FISH[1]

    def test_put_many_keeps_what_came_before_a_failure(self) -> None:
        if not self.verifies:
            pytest.skip("the store takes what it gets")
        store = self.writable()
        with pytest.raises(IntegrityError):
            store.put_many([FISH, LOBSTER, (NODE[0], b"not the node"), EMPTY])
        assert sorted(store) == sorted([FISH[0], LOBSTER[0]])
        assert [store[cid] for cid, _ in (FISH, LOBSTER)] == [FISH[1], LOBSTER[1]]
        assert EMPTY[0] not in store

    def test_put_many_may_read_from_the_store_on_the_way(self) -> None:
        store = self.writable()

        def blocks() -> Iterator[Pair]:
            yield FISH
            assert store[FISH[0]] == FISH[1]
            yield LOBSTER
            assert len(list(store)) == 2

        assert store.put_many(blocks()) == 2

    def test_identity_cids_need_no_storing(self) -> None:
        if self.stores_identity:
            pytest.skip("identity CIDs are stored like others")
        store = self.writable()
        cid = CID.of_data(b"held by the CID itself", hash="identity")
        assert store.put(cid, b"held by the CID itself") is False
        assert store.put_many([(cid, b"held by the CID itself"), FISH]) == 1
        assert list(store) == [FISH[0]]
        assert store[cid] == b"held by the CID itself"

    def test_what_was_put_does_not_change_with_the_buffer_it_came_in(self) -> None:
        store = self.writable()
        for cid, data in (FISH, LARGE):
            buffer = bytearray(data)
            assert store.put(cid, cast("bytes", buffer))
            buffer[:] = bytes(len(buffer))
            assert store[cid] == data

    def test_blocks_may_be_put_while_the_store_is_iterated(self) -> None:
        store = self.writable()
        store.put_many(MANY[:10])
        seen: list[CID] = []
        for at, cid in enumerate(store):
            seen.append(cid)
            if at < 5:
                store.put(*MANY[100 + at])
        known = {cid for cid, _ in MANY}
        assert {cid for cid, _ in MANY[:10]} <= set(seen) <= known
        assert len(list(store)) == len(store) == 15

    def test_a_closed_store_takes_nothing(self) -> None:
        if not self.refuses_after_close:
            pytest.skip("there is nothing to close")
        store = self.writable_store()
        store.put(*FISH)
        store.close()
        with pytest.raises(ClosedError):
            store.put(*LOBSTER)
        with pytest.raises(ClosedError):
            store.put_many([LOBSTER])

    def test_of_threads_that_put_the_same_blocks_one_stores_each(self) -> None:
        store = self.writable()
        blocks = (*MANY, LARGE, *(pair(bytes([at]) * 20_000) for at in range(20)))
        new: list[Pair] = []

        def write(shift: int) -> None:
            for block in (*blocks[shift:], *blocks[:shift]):
                if store.put(*block):
                    new.append(block)
                assert store[block[0]] == block[1]

        in_threads(write, [at % 4 for at in range(THREADS)])
        assert len(new) == len(store) == len(list(store)) == len(blocks) * (1 if self.deduplicates else THREADS)
        listed = self.as_listed(cid for cid, _ in blocks)
        assert {cid: store[cid] for cid in store} == dict(zip(listed, (data for _, data in blocks), strict=True))


def in_threads(work: Callable[[Any], object], arguments: Sequence[Any]) -> None:
    """Run ``work`` on each argument in a thread of its own; raise what any of them raises."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        for done in [pool.submit(work, argument) for argument in arguments]:
            done.result(timeout=120)
