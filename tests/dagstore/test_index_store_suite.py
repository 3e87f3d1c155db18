"""The suite for inverted indices, on one that is none of ours."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from carv2.errors import ShardNotFoundError
from carv2.testing import IndexStoreTests

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carv2.dagstore.catalogue import IndexStore


class DictIndex:
    """What is the simplest thing that can work."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._held: dict[str, set[bytes]] = {key: set() for key in keys}
        self._lock = threading.Lock()

    def add_multihashes(self, key: str, multihashes: Iterable[bytes], *, holder: str = "") -> None:
        del holder  # it has no leases
        mine = self._of(key)
        for one in multihashes:
            with self._lock:
                mine.add(one)

    def remove_multihashes(self, key: str, multihashes: Iterable[bytes] | None, *, holder: str = "") -> None:
        del holder
        mine = self._of(key)
        with self._lock:
            mine.difference_update(mine.copy() if multihashes is None else multihashes)

    def shards_with(self, multihash: bytes) -> list[str]:
        return sorted(key for key, held in self._held.items() if multihash in held)

    def shards_with_many(self, multihashes: Iterable[bytes]) -> dict[bytes, list[str]]:
        return {one: keys for one in multihashes if (keys := self.shards_with(one))}

    def multihash_count(self) -> int:
        return sum(map(len, self._held.values()))

    def _of(self, key: str) -> set[bytes]:
        if key not in self._held:
            raise ShardNotFoundError(key)
        return self._held[key]


class TestDictIndex(IndexStoreTests):
    refuses_after_close = False

    def index_store(self, keys: Sequence[str]) -> IndexStore:
        return DictIndex(keys)


class ByDigest(DictIndex):
    """For which the same digest is the same block, whatever the function."""

    def add_multihashes(self, key: str, multihashes: Iterable[bytes], *, holder: str = "") -> None:
        super().add_multihashes(key, (one[2:] for one in multihashes), holder=holder)

    def shards_with(self, multihash: bytes) -> list[str]:
        return super().shards_with(multihash[2:])


def test_the_suite_finds_an_index_that_looks_at_digests_only() -> None:
    suite = IndexStoreTests()
    suite._opened = []
    suite.index_store = ByDigest  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        suite.test_a_multihash_is_all_of_its_bytes()
