"""Which blocks a DAG is known to have, as far as it has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.dag._gather import Links
from carv2.errors import BlockNotFoundError, BudgetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2.blockstore import ReadWriteBlockstore

_V0_HEAD, _V1_HEAD = b"\x12\x20", b"\x01\x70"


class Linked:
    """The CIDs that the root leads to by way of the blocks that were let in; some 100 bytes of memory for each.

    CIDs count as a whole, or else a liar could send one block under thousands of codecs; only the two versions of
    one CID are the same. More than ``max_links`` of them are a BudgetError, before they are remembered.
    """

    def __init__(self, root: CID, max_links: int) -> None:
        self._links, self._max_links = Links(), max_links
        self._wanted: set[bytes] = set()
        self._first = self._want(self._links.expanded([bytes(root)]))

    def _want(self, cids: Iterable[bytes]) -> list[bytes]:
        """Want these; return those that are new."""
        new: list[bytes] = []
        for cid in cids:
            key = _one_version(cid)
            if key not in self._wanted:
                if len(self._wanted) >= self._max_links:
                    raise BudgetError("links", allowed=self._max_links, hint="max_links grants more")
                self._wanted.add(key)
                new.append(cid)
        return new

    def catch_up(self, store: ReadWriteBlockstore) -> None:
        """Let in all blocks of ``store`` that the root leads to."""
        pending = self._first
        while pending:
            cid = pending.pop()
            try:
                data = store[CID.trusted(cid)]
            except BlockNotFoundError:
                continue
            pending += self._want(self._links.of(cid, data))

    def admits(self, cid: bytes, data: bytes) -> bool:
        """Whether the block is wanted; what it links to is wanted from then on."""
        if _one_version(cid) not in self._wanted:
            return False
        self._want(self._links.of(cid, data))
        return True


def _one_version(cid: bytes) -> bytes:
    return _V1_HEAD + cid if cid[:2] == _V0_HEAD else cid
