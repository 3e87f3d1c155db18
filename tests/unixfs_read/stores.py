"""Stores for tests: one that counts what is read, and one that believes everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import CID
from carv2.errors import BlockNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from carv2.cid import CIDLike
    from helpers.unixfs import Dag


class Counting:
    """A mapping that notes down which blocks are asked for; no hash is checked, so that DAGs may have cycles."""

    def __init__(self, blocks: Mapping[bytes, bytes]) -> None:
        self.blocks = blocks
        self.read: list[bytes] = []

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        self.read.append(bytes(wanted))
        if bytes(wanted) not in self.blocks:
            raise BlockNotFoundError(wanted)
        return self.blocks[bytes(wanted)]


class CountingMany(Counting):
    """The same with ``get_many``, which reads ahead as greedily as it may."""

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[tuple[bytes, bytes]]:
        for cid in cids:
            yield bytes(CID.of(cid)), self[cid]


class Bounded(Counting):
    """The same, for walks that might not end: a test fails where more is read than is ``enough``."""

    def __init__(self, blocks: Mapping[bytes, bytes], *, enough: int) -> None:
        super().__init__(blocks)
        self._enough = enough

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        assert len(self.read) < self._enough, "more is read than is enough"
        return super().__getitem__(cid)


def store_of(dag: Dag) -> CountingMany:
    return CountingMany(dag.blocks)
