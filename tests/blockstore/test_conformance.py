"""Every store passes the suite that carv2.testing offers to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from carv2.blockstore import MemoryBlockstore, ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.testing import BlockstoreTests, WritableBlockstoreTests
from helpers.archives import Record, header, index_multihash_sorted, index_sorted, section, v1, v2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from carv2.blockstore import Blockstore, WritableBlockstore
    from carv2.cid import CID


def raw(blocks: Sequence[tuple[CID, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(bytes(cid), data) for cid, data in blocks]


def records(blocks: Sequence[tuple[CID, bytes]]) -> list[Record]:
    found, offset = [], len(header())
    for cid, data in blocks:
        found.append(Record(cid.hash_code, cid.digest, offset))
        offset += len(section(bytes(cid), data))
    return found


class TestMemory(WritableBlockstoreTests):
    def writable_store(self) -> WritableBlockstore:
        return MemoryBlockstore()


class TestMemoryByWholeCIDs(WritableBlockstoreTests):
    whole_cids = True

    def writable_store(self) -> WritableBlockstore:
        return MemoryBlockstore(whole_cids=True)


class TestMemoryThatTakesWhatItGets(WritableBlockstoreTests):
    verifies = False

    def writable_store(self) -> WritableBlockstore:
        return MemoryBlockstore(verify=False)


class TestReadOnlyOfACARv1(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        path = self.folder / "x.car"
        path.write_bytes(v1([], raw(blocks)))
        return ReadOnlyBlockstore(path)


class TestReadOnlyOfAnIndexedCARv2(BlockstoreTests):
    index = staticmethod(index_multihash_sorted)
    options: dict[str, Any] = {}  # noqa: RUF012

    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        path = self.folder / "x.car"
        payload = v1([], raw(blocks))
        path.write_bytes(v2(payload, self.index(records(blocks)), data_padding=3, index_padding=4))
        return ReadOnlyBlockstore(path, **self.options)


class TestReadOnlyOfACARv2WithTheOlderIndex(TestReadOnlyOfAnIndexedCARv2):
    index = staticmethod(index_sorted)


class TestReadOnlyByWholeCIDs(TestReadOnlyOfAnIndexedCARv2):
    whole_cids = True
    options = {"whole_cids": True}  # noqa: RUF012


class TestReadOnlyThatLooksIdentityUp(TestReadOnlyOfAnIndexedCARv2):
    answers_identity = False
    options = {"store_identity": True}  # noqa: RUF012


class TestReadOnlyUnverified(TestReadOnlyOfAnIndexedCARv2):
    options = {"verify": False}  # noqa: RUF012


class TestReadOnlyWithARebuiltIndex(TestReadOnlyOfAnIndexedCARv2):
    options = {"rebuild_index": True}  # noqa: RUF012


class TestReadOnlyOfACARv2WithoutIndex(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        path = self.folder / "x.car"
        path.write_bytes(v2(v1([], raw(blocks)), data_padding=9))
        return ReadOnlyBlockstore(path)


class TestReadOnlyWithADetachedIndex(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        (self.folder / "x.carindex").write_bytes(index_multihash_sorted(records(blocks)))
        return ReadOnlyBlockstore(v1([], raw(blocks)), index=self.folder / "x.carindex")


class TestReadOnlyOfBytes(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        return ReadOnlyBlockstore(v1([], raw(blocks)))


class TestReadOnlyOfAnOpenFile(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        (self.folder / "x.car").write_bytes(v1([], raw(blocks)))
        file = (self.folder / "x.car").open("rb")
        self.files.append(file)
        return ReadOnlyBlockstore(file)

    @pytest.fixture(autouse=True)
    def _closing_files(self) -> Iterator[None]:
        self.files: list[BinaryIO] = []
        yield
        for file in self.files:
            file.close()


class TestReadOnlyOfARemoteFile(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        fs = fsspec.filesystem("memory")
        fs.pipe_file("/conformance.car", v2(v1([], raw(blocks)), index_multihash_sorted(records(blocks))))
        return ReadOnlyBlockstore(fs.open("/conformance.car"))


class TestReadWrite(WritableBlockstoreTests):
    options: dict[str, Any] = {}  # noqa: RUF012
    many = 0

    def writable_store(self) -> WritableBlockstore:
        self.many += 1
        return ReadWriteBlockstore.create(self.folder / f"{self.many}.car", **self.options)


class TestReadWriteOfACARv1(TestReadWrite):
    options = {"version": 1}  # noqa: RUF012


class TestReadWriteByWholeCIDs(TestReadWrite):
    whole_cids = True
    options = {"deduplicate": "cid"}  # noqa: RUF012


class TestReadWriteWithDuplicates(TestReadWrite):
    deduplicates = False
    options = {"deduplicate": None}  # noqa: RUF012


class TestReadWriteThatSpills(TestReadWrite):
    options = {"max_memory": 3000}  # noqa: RUF012


class TestReadWriteThatSpillsByWholeCIDs(TestReadWriteByWholeCIDs):
    options = {"deduplicate": "cid", "max_memory": 3000}  # noqa: RUF012


class TestReadWriteThatSpillsWithDuplicates(TestReadWriteWithDuplicates):
    options = {"deduplicate": None, "max_memory": 3000}  # noqa: RUF012


class TestReadWriteWithIdentity(TestReadWrite):
    answers_identity = False
    stores_identity = True
    options = {"store_identity": True}  # noqa: RUF012


class TestReadWriteThatTakesWhatItGets(TestReadWrite):
    verifies = False
    options = {"verify": False}  # noqa: RUF012


class TestReadWriteDurableAtEachPut(TestReadWrite):
    options = {"durability": "each-put"}  # noqa: RUF012


class TestReadWriteNeverDurable(TestReadWrite):
    options = {"durability": "none"}  # noqa: RUF012


class TestReadWriteThatWasFinalized(BlockstoreTests):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        store = ReadWriteBlockstore.create(self.folder / f"{len(list(self.folder.iterdir()))}.car")
        store.put_many(blocks)
        store.finalize()
        return store


class TestReadWriteThatWasResumed(TestReadWriteThatWasFinalized):
    def store_with(self, blocks: Sequence[tuple[CID, bytes]]) -> Blockstore:
        super().store_with(blocks).close()
        newest = self.folder / f"{len(list(self.folder.iterdir())) - 1}.car"
        return ReadWriteBlockstore.resume(newest, max_memory=5000)
