"""The stores that are made of other stores pass the suite that carv2.testing offers to all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blockstore_extras.stores import indexed
from carv2.blockstore import (
    CachingBlockstore,
    MemoryBlockstore,
    ReadOnlyBlockstore,
    ReadWriteBlockstore,
    UnionBlockstore,
)
from carv2.testing import BlockstoreTests, WritableBlockstoreTests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.blockstore import Blockstore, WritableBlockstore
    from carv2.cid import CID


class TestUnionOfMany(BlockstoreTests):
    """A memory store, an archive and a union, each with a third of the blocks."""

    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        third = -(-len(blocks) // 3)
        inner = UnionBlockstore([MemoryBlockstore(), ReadOnlyBlockstore(indexed(blocks[2 * third :]))])
        archive = ReadOnlyBlockstore(indexed(blocks[third : 2 * third]))
        return UnionBlockstore([MemoryBlockstore(blocks[:third]), archive, inner], close_stores=True)


class TestUnionOfTheSameTwice(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        return UnionBlockstore([ReadOnlyBlockstore(indexed(blocks)) for _ in range(2)], max_memory=2000)


class TestCacheThatHoldsAll(WritableBlockstoreTests):
    size = 64 << 20

    def writable_store(self) -> WritableBlockstore:
        self.many = getattr(self, "many", 0) + 1
        store = ReadWriteBlockstore.create(self.folder / f"{self.many}.car")
        return CachingBlockstore(store, max_bytes=self.size)


class TestCacheThatHoldsSome(TestCacheThatHoldsAll):
    size = 1000


class TestCacheThatHoldsNothing(TestCacheThatHoldsAll):
    size = 0


class TestCacheOfAnArchive(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        store = CachingBlockstore(ReadOnlyBlockstore(indexed(blocks)))
        assert len(list(store.get_many(cid for cid, _ in blocks))) == len(blocks)  # it is warm
        return store
