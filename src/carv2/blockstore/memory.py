"""Blocks in memory: the plainest store, and the yardstick for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, ClosedError
from carv2.section import Block, BlockChecker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.cid import CIDLike

__all__ = ["MemoryBlockstore"]


class MemoryBlockstore(ReadsOneByOne):
    """A dict of blocks; grows by :meth:`put`, forgets by ``del store[cid]``.

    Args:
        blocks: (CID, data) pairs to begin with.
        whole_cids: tell blocks apart by the whole CID; otherwise by the multihash, so that any codec finds them.
        verify: check each block against its CID when it is put.

    >>> store = MemoryBlockstore()
    >>> cid = CID.of_data(b"fish")
    >>> store.put(cid, b"fish"), store.put(cid, b"fish"), store[cid]
    (True, False, b'fish')
    """

    def __init__(
        self,
        blocks: Iterable[tuple[CIDLike, bytes]] = (),
        *,
        whole_cids: bool = False,
        verify: bool = True,
    ) -> None:
        self._whole_cids = whole_cids
        self._checker = BlockChecker() if verify else None
        self._blocks: dict[bytes, Block] = {}
        self._closed = False
        self.put_many(blocks)

    def _key(self, cid: CID) -> bytes:
        return bytes(cid) if self._whole_cids else cid.multihash

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the blockstore was closed")

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block; whether it was new."""
        self._check_open()
        wanted = CID.of(cid)
        if self._checker is not None:
            self._checker.check(bytes(wanted), data, position=0)
        key = self._key(wanted)
        if key in self._blocks or wanted.is_identity:
            return False
        block = Block(wanted, bytes(data))
        return self._blocks.setdefault(key, block) is block  # of several threads, one has stored it

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]], /) -> int:
        """Store each pair, up to the first that fails; how many were new."""
        return sum(self.put(cid, data) for cid, data in blocks)

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        if wanted.is_identity:
            return wanted.digest
        self._check_open()
        block = self._blocks.get(self._key(wanted))
        if block is None:
            raise BlockNotFoundError(wanted)
        return block.data

    def __delitem__(self, cid: CIDLike, /) -> None:
        self._check_open()
        wanted = CID.of(cid)
        if self._blocks.pop(self._key(wanted), None) is None:
            raise BlockNotFoundError(wanted)

    def __iter__(self) -> Iterator[CID]:
        self._check_open()
        return (block.cid for block in list(self._blocks.values()))

    def __len__(self) -> int:
        self._check_open()
        return len(self._blocks)

    def close(self) -> None:
        """Forget everything; may be called twice."""
        self._closed = True
        self._blocks = {}
