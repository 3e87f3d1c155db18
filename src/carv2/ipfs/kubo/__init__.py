"""A Kubo node as a blockstore: its blocks, archives into it and out of it, and its pins, through its RPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.ipfs.kubo.address import NodeAddress
from carv2.ipfs.kubo.receiving import NodeRetrieval
from carv2.ipfs.kubo.records import CarImport, ImportedRoot, Pin
from carv2.ipfs.kubo.store import DEFAULT_URL, KuboBlockstore

if TYPE_CHECKING:
    from carv2.ipfs.kubo.asynchronous import AsyncKuboBlockstore

__all__ = [
    "DEFAULT_URL",
    "AsyncKuboBlockstore",
    "CarImport",
    "ImportedRoot",
    "KuboBlockstore",
    "NodeAddress",
    "NodeRetrieval",
    "Pin",
]


def __getattr__(name: str) -> object:
    if name != "AsyncKuboBlockstore":
        raise AttributeError(f"module 'carv2.ipfs.kubo' has no attribute {name!r}")
    from carv2.ipfs.kubo.asynchronous import AsyncKuboBlockstore  # noqa: PLC0415  (asyncio costs 40 ms)

    globals()[name] = AsyncKuboBlockstore
    return AsyncKuboBlockstore
