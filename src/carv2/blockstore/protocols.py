"""What a blockstore can do: the interface is what every store must have, everything else is built on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carv2.cid import CID, CIDLike
    from carv2.section import Block


@runtime_checkable
class Blockstore(Protocol):
    """Blocks by CID, as a mapping that can be read. Safe to share between threads.

    A CID is anything that :meth:`carv2.CID.of` takes. ``store[cid]`` raises
    :class:`carv2.BlockNotFoundError`, a KeyError, where the block is not there.
    """

    def __getitem__(self, cid: CIDLike, /) -> bytes: ...

    def __contains__(self, cid: object, /) -> bool: ...

    def __iter__(self) -> Iterator[CID]:
        """The CIDs, each as it was stored, in the order of the store."""
        ...

    def __len__(self) -> int:
        """How many blocks an iteration gives."""
        ...

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block, without reading it."""
        ...

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; reads that lie near each other are made as one."""
        ...

    def close(self) -> None:
        """Let go of files; may be called twice."""
        ...


@runtime_checkable
class WritableBlockstore(Blockstore, Protocol):
    """A blockstore that grows. CAR files cannot delete, so nothing here does."""

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block, its hash checked; whether it was new."""
        ...

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]], /) -> int:
        """Store each (CID, data) pair, up to the first that fails; how many were new."""
        ...
