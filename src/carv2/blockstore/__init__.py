"""Blockstores: blocks by CID, out of archives and into them."""

from __future__ import annotations

from carv2.blockstore.memory import MemoryBlockstore
from carv2.blockstore.protocols import Blockstore, WritableBlockstore
from carv2.blockstore.read_only import ReadOnlyBlockstore
from carv2.blockstore.read_write import PLACEHOLDER_ROOT, ReadWriteBlockstore

__all__ = [
    "PLACEHOLDER_ROOT",
    "Blockstore",
    "MemoryBlockstore",
    "ReadOnlyBlockstore",
    "ReadWriteBlockstore",
    "WritableBlockstore",
]
