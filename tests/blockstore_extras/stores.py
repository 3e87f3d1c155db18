"""Archives and stores to make unions, caches and façades of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import CID, Block
from carv2.blockstore import MemoryBlockstore
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from carv2.cid import CIDLike

Pair = tuple[CID, bytes]


def pair(data: bytes, codec: str = "raw") -> Pair:
    return CID.of_data(data, codec=codec), data


FISH, LOBSTER, BARRELEYE = pair(b"fish"), pair(b"lobster"), pair(b"barreleye")


def raw(blocks: Iterable[Pair]) -> list[tuple[bytes, bytes]]:
    return [(bytes(cid), data) for cid, data in blocks]


def indexed(blocks: Sequence[Pair], *, shift: int = 0) -> bytes:
    """A CARv2 of raw blocks; its index is off by ``shift`` bytes."""
    listed = raw(blocks)
    records = [r._replace(offset=r.offset + shift) for r in archives.records_of(archives.header(), listed)]
    return archives.v2(archives.v1([], listed), archives.index_multihash_sorted(records))


def lying(blocks: Sequence[Pair]) -> bytes:
    """A CARv2 whose index names places where there is no such block."""
    return indexed(blocks, shift=1)


def damaged(blocks: Sequence[Pair], block: Pair) -> bytes:
    """A CARv2 with other data than ``block``'s where those should be."""
    return indexed(blocks).replace(bytes(block[0]) + block[1], bytes(block[0]) + b"?" * len(block[1]))


class Spy(MemoryBlockstore):
    """Writes down what it is asked for."""

    def __init__(self, blocks: Iterable[Pair] = ()) -> None:
        super().__init__(blocks)
        self.singles: list[CID] = []
        self.shares: list[list[CID]] = []
        self.closed = 0

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        self.singles.append(CID.of(cid))
        return super().__getitem__(cid)

    def __contains__(self, cid: object, /) -> bool:
        return CID.of(cid).multihash in self._blocks  # type: ignore[arg-type]

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        share = [CID.of(cid) for cid in cids]
        self.shares.append(share)
        return iter([Block(cid, MemoryBlockstore.__getitem__(self, cid)) for cid in share])

    def close(self) -> None:
        self.closed += 1


class Broken(Spy):
    """Has blocks, and cannot give them."""

    def __init__(self, blocks: Iterable[Pair], error: Exception) -> None:
        super().__init__(blocks)
        self.error = error

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        raise self.error

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        raise self.error
        yield

    def close(self) -> None:
        super().close()
        raise self.error


class Remote:
    """What an fsspec file is to carv2; counts requests."""

    def __init__(self, data: bytes) -> None:
        self.data, self.fs, self.path, self.size = data, self, "far away", len(data)
        self.requests = 0

    def cat_file(self, _path: str, *, start: int, end: int) -> bytes:
        self.requests += 1
        return self.data[start:end]
