"""Blockstores: blocks by CID, out of archives and into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.blockstore.append import Appended, append_block
from carv2.blockstore.cache import CachingBlockstore
from carv2.blockstore.examine import Recovery, examine_file
from carv2.blockstore.memory import MemoryBlockstore
from carv2.blockstore.protocols import Blockstore, WritableBlockstore
from carv2.blockstore.read_only import ReadOnlyBlockstore
from carv2.blockstore.read_write import PLACEHOLDER_ROOT, ReadWriteBlockstore
from carv2.blockstore.tracker import StoreTracker
from carv2.blockstore.union import UnionBlockstore

if TYPE_CHECKING:
    from carv2.blockstore.asynchronous import AsyncBlockstore

__all__ = [
    "PLACEHOLDER_ROOT",
    "Appended",
    "AsyncBlockstore",
    "Blockstore",
    "CachingBlockstore",
    "MemoryBlockstore",
    "ReadOnlyBlockstore",
    "ReadWriteBlockstore",
    "Recovery",
    "StoreTracker",
    "UnionBlockstore",
    "WritableBlockstore",
    "append_block",
    "examine_file",
]


def __getattr__(name: str) -> object:
    if name != "AsyncBlockstore":
        raise AttributeError(f"module 'carv2.blockstore' has no attribute {name!r}")
    from carv2.blockstore.asynchronous import AsyncBlockstore  # noqa: PLC0415  (asyncio costs 40 ms)

    globals()[name] = AsyncBlockstore
    return AsyncBlockstore
