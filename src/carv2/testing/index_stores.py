"""What every inverted index of a DAG store must do, as tests: subclass, and let pytest find the class.

For example::

    class TestMyIndex(IndexStoreTests):
        def index_store(self, keys):
            return MyIndex(self.folder, shards=keys)

A whole catalogue is tested by :class:`carv2.testing.catalogues.CatalogueTests`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2.dagstore.catalogue import IndexStore
from carv2.errors import ClosedError, ShardNotFoundError
from carv2.testing.blockstores import THREADS, in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["IndexStoreTests"]

_PROPERTY = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # each example makes a store of its own in it
        HealthCheck.differing_executors,  # each subclass runs the inherited tests
        HealthCheck.too_slow,
    ],
)

KEYS = ("baga1", "baga2", "baga3")


def multihash(of: object) -> bytes:
    """A sha2-256 multihash."""
    return bytes.fromhex("1220") + hashlib.sha256(repr(of).encode()).digest()


MANY = [multihash(at) for at in range(3000)]
OTHERS = [multihash(f"other {at}") for at in range(300)]
ABSENT = multihash("absent")

_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "remove all"]),
        st.sampled_from(KEYS),
        st.lists(st.sampled_from(OTHERS[:6]), max_size=6),
    ),
    max_size=12,
)


class IndexStoreTests:
    """The :class:`carv2.dagstore.catalogue.IndexStore` protocol."""

    refuses_after_close = True
    """A closed store raises ClosedError; one that has nothing to close may go on."""

    folder: Path
    """An empty folder for each test."""

    def index_store(self, keys: Sequence[str]) -> IndexStore:
        """A new, empty store that knows the shards ``keys``; where it has a ``close()``, the tests call it."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> Iterator[None]:
        self.folder, self._opened = tmp_path, list[IndexStore]()
        yield
        for store in self._opened:
            _close(store)

    def opened(self, keys: Sequence[str] = KEYS) -> IndexStore:
        """What :meth:`index_store` makes, closed when the test ends."""
        store = self.index_store(keys)
        self._opened.append(store)
        return store

    def test_it_has_the_methods_of_the_index_protocol(self) -> None:
        assert isinstance(self.opened(), IndexStore)

    def test_an_empty_index_knows_nothing(self) -> None:
        store = self.opened()
        assert store.shards_with(ABSENT) == []
        assert store.shards_with_many([ABSENT, *OTHERS]) == {}
        assert store.shards_with_many([]) == {}
        assert store.multihash_count() == 0

    def test_each_multihash_is_found_in_the_shards_that_hold_it(self) -> None:
        store = self.opened()
        store.add_multihashes("baga3", OTHERS[:2])
        store.add_multihashes("baga1", OTHERS[1:3])
        assert [store.shards_with(one) for one in OTHERS[:4]] == [["baga3"], ["baga1", "baga3"], ["baga1"], []]
        assert store.shards_with_many(OTHERS[:4]) == {
            OTHERS[0]: ["baga3"],
            OTHERS[1]: ["baga1", "baga3"],
            OTHERS[2]: ["baga1"],
        }
        assert store.multihash_count() == 4

    def test_adding_twice_is_adding_once(self) -> None:
        store = self.opened()
        for _ in range(3):
            store.add_multihashes("baga1", [*OTHERS, *OTHERS[::-1]])
        assert store.multihash_count() == len(OTHERS)
        assert store.shards_with(OTHERS[7]) == ["baga1"]

    def test_many_come_and_are_looked_up_in_any_order(self) -> None:
        store = self.opened()
        store.add_multihashes("baga2", (MANY[at * 7 % len(MANY)] for at in range(len(MANY))))
        assert store.multihash_count() == len(MANY)
        found = store.shards_with_many(iter([*MANY[::-1], ABSENT, *MANY[:50]]))
        assert found == {key: ["baga2"] for key in MANY}

    def test_a_multihash_is_all_of_its_bytes(self) -> None:
        store = self.opened()
        digest = OTHERS[0][2:]
        alike = [
            b"\x12\x20" + digest,
            b"\x16\x20" + digest,
            b"\x12\x1f" + digest[:-1],
            b"\x00\x00",
            b"\x00\x01\x00",
        ]
        alike += [b"\x13\x40" + 2 * digest, b"\x00\x81\x01" + bytes(129)]
        for at, one in enumerate(alike):
            assert store.shards_with(one) == []
            store.add_multihashes("baga1", [one])
            assert store.multihash_count() == at + 1
        assert store.shards_with_many(alike) == {key: ["baga1"] for key in alike}

    def test_what_is_removed_is_gone_and_nothing_else(self) -> None:
        store = self.opened()
        store.add_multihashes("baga1", OTHERS)
        store.add_multihashes("baga2", OTHERS[:10])
        store.remove_multihashes("baga1", [ABSENT, *OTHERS[5:], *OTHERS[5:9]])
        assert [store.shards_with(OTHERS[at]) for at in (4, 5, 10)] == [["baga1", "baga2"], ["baga2"], []]
        assert store.multihash_count() == 15

    def test_all_of_a_shard_is_removed_where_it_is_not_known_what_that_is(self) -> None:
        store = self.opened()
        store.add_multihashes("baga1", MANY)
        store.add_multihashes("baga2", MANY[::2])
        store.remove_multihashes("baga1", None)
        assert store.multihash_count() == len(MANY) // 2
        assert store.shards_with_many(MANY) == {key: ["baga2"] for key in MANY[::2]}
        store.remove_multihashes("baga1", None)
        store.remove_multihashes("baga2", None)
        assert store.multihash_count() == 0

    def test_a_shard_that_is_not_there_is_an_error(self) -> None:
        store = self.opened()
        for change in (store.add_multihashes, store.remove_multihashes):
            with pytest.raises(ShardNotFoundError) as caught:
                change("unknown", OTHERS)
            assert caught.value.key == "unknown"
        assert store.multihash_count() == 0

    def test_the_source_of_multihashes_may_use_the_store(self) -> None:
        store = self.opened()

        def source() -> Iterator[bytes]:
            for one in OTHERS:
                assert "baga2" not in store.shards_with(one)
                yield one
            store.add_multihashes("baga2", OTHERS[:1])

        store.add_multihashes("baga1", source())
        assert store.shards_with(OTHERS[0]) == ["baga1", "baga2"]

    def test_after_a_source_that_broke_off_it_is_done_again_from_the_start(self) -> None:
        store = self.opened()

        def source() -> Iterator[bytes]:
            yield from MANY[:2000]
            raise EOFError

        with pytest.raises(EOFError):
            store.add_multihashes("baga1", source())
        assert store.multihash_count() == len(store.shards_with_many(MANY)) <= 2000
        store.add_multihashes("baga1", MANY)
        assert store.multihash_count() == len(store.shards_with_many(MANY)) == len(MANY)

    @_PROPERTY
    @given(_OPERATIONS)
    def test_it_is_a_set_of_pairs(self, operations: list[tuple[str, str, list[bytes]]]) -> None:
        store, model = self.index_store(KEYS), set[tuple[bytes, str]]()
        try:
            for what, key, some in operations:
                if what == "add":
                    store.add_multihashes(key, some)
                    model |= {(one, key) for one in some}
                else:
                    known = {one for one, of in model if of == key} if what == "remove all" else set(some)
                    store.remove_multihashes(key, some if what == "remove" else None)
                    model -= {(one, key) for one in known}
                assert store.multihash_count() == len(model)
            for one in OTHERS[:6]:
                assert store.shards_with(one) == sorted(key for of, key in model if of == one)
            assert {(one, key) for one, keys in store.shards_with_many(OTHERS).items() for key in keys} == model
        finally:
            _close(store)

    def test_threads_may_share_it(self) -> None:
        store = self.opened([f"shard {at}" for at in range(THREADS)])

        def work(at: int) -> None:
            mine = MANY[at * 100 : at * 100 + 500]
            for start in range(0, 500, 50):
                store.add_multihashes(f"shard {at}", mine[start : start + 50])
                assert f"shard {at}" in store.shards_with(mine[start])
                assert f"shard {at}" in store.shards_with_many(mine)[mine[start + 49]]
            store.remove_multihashes(f"shard {at}", mine[:250] if at % 2 else None)

        in_threads(work, range(THREADS))
        assert store.multihash_count() == THREADS // 2 * 250

    def test_a_closed_index_says_so(self) -> None:
        if not self.refuses_after_close:
            pytest.skip("there is nothing to close")
        store = self.index_store(KEYS)
        _close(store)
        _close(store)
        uses: list[Callable[[], object]] = [
            lambda: store.shards_with(ABSENT),
            lambda: store.shards_with_many([ABSENT]),
            lambda: store.add_multihashes("baga1", OTHERS),
            lambda: store.remove_multihashes("baga1", OTHERS),
            store.multihash_count,
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()


def _close(store: IndexStore) -> None:
    close = getattr(store, "close", None)
    if close is not None:
        close()
