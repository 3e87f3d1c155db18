"""How much may come out of an archive, and at what price: small archives can hold huge trees.

Content that is there many times is stored once, so 64 links to the same child, ten levels deep, make an archive of
40 kB hold more files than any disk. What is counted is what is given, and what is read to find it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID, RAW
from carv2.errors import BudgetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2.cid import CIDLike
    from carv2.unixfs._walk import Store

EXPANSION = 1000
"""How many times larger than the archive what comes out of it may be, unless the caller says more."""

_MAX_BYTES = 1 << 40
_MAX_ENTRIES = 10_000_000
"""For stores whose size nobody knows."""

_FEW_ENTRIES = 50_000
_BYTES_OF_AN_ENTRY = 4
"""A link takes ten times as much; so the entries of a tree may be there ten times on average."""

_SLACK_BYTES, _SLACK_BLOCKS = 64 << 20, 100_000
_BYTES_OF_A_BLOCK = 256


class Budget:
    """Counts down; raises BudgetError at the end.

    Args:
        archive_size: in bytes, None if unknown; the other two follow from it where they are not given.
        max_bytes: of payload, in all files together.
        max_entries: files, directories and symlinks, those included that are passed over.
    """

    def __init__(self, archive_size: int | None, max_bytes: int | None, max_entries: int | None) -> None:
        self._is_default = max_bytes is None
        if max_bytes is None:
            max_bytes = _MAX_BYTES if archive_size is None else EXPANSION * archive_size
        if max_entries is None:
            known = None if archive_size is None else archive_size // _BYTES_OF_AN_ENTRY
            max_entries = _MAX_ENTRIES if known is None else max(_FEW_ENTRIES, known)
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._bytes, self._entries = max_bytes, max_entries
        self._max_read = self._read = 2 * max_bytes + _SLACK_BYTES
        self._max_blocks = self._blocks = max_bytes // _BYTES_OF_A_BLOCK + _SLACK_BLOCKS

    @property
    def spent(self) -> int:
        """Bytes of payload."""
        return self._max_bytes - self._bytes

    def entry(self) -> None:
        """Count one."""
        self._entries -= 1
        if self._entries < 0:
            raise BudgetError("entries", allowed=self._max_entries, hint="allow more with max_entries")

    def pay(self, size: int) -> None:
        """Count bytes of payload, before they are handed out."""
        self._bytes -= size
        if self._bytes < 0:
            self._bytes += size
            hint = f"that is {EXPANSION:,} times the archive; " if self._is_default else ""
            raise BudgetError("bytes of files", allowed=self._max_bytes, hint=f"{hint}allow more with max_bytes")

    def paid(self, pieces: Iterable[bytes], tell: Callable[[int], object] | None = None) -> Iterator[bytes]:
        """The pieces, each of them paid for; ``tell`` is told their sizes when they were taken."""
        for piece in pieces:
            self.pay(len(piece))
            yield piece
            if tell is not None:
                tell(len(piece))

    def block(self, size: int) -> None:
        """Count a block that was read. This bounds the work on trees in which nothing is."""
        self._blocks -= 1
        self._read -= size
        if self._blocks < 0:
            raise BudgetError("blocks read", allowed=self._max_blocks, hint="allow more with max_bytes")
        if self._read < 0:
            raise BudgetError("bytes read", allowed=self._max_read, hint="allow more with max_bytes")


class MeteredStore:
    """A store that counts what is read, and has the last node at hand: walks look at most of them twice."""

    def __init__(self, store: Store, budget: Budget) -> None:
        self._store, self._budget = store, budget
        self._last: tuple[CID, bytes] | None = None
        self._many: Callable[[Iterable[CIDLike]], Iterator[tuple[bytes, bytes]]] | None
        self._many = getattr(store, "get_many", None)
        if self._many is not None:
            self.get_many = self._get_many

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = CID.of(cid)
        last = self._last
        data = last[1] if last is not None and last[0] == wanted else self._store[wanted]
        self._budget.block(len(data))  # in any case: taking a node apart costs more than reading it
        if wanted.codec != RAW:
            self._last = wanted, data
        return data

    def _get_many(self, cids: Iterable[CIDLike], /) -> Iterator[tuple[bytes, bytes]]:
        assert self._many is not None  # or this would be nobody's method
        for block in self._many(cids):
            self._budget.block(len(block[1]))
            yield block
