"""The DAG store: thousands of archives as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.dagstore.bulk import InitializeEvent
from carv2.dagstore.collection import Collected
from carv2.dagstore.config import DagStoreConfig, read_config
from carv2.dagstore.counters import COUNTERS
from carv2.dagstore.doctor import Finding, Problem
from carv2.dagstore.events import Event, Subscription
from carv2.dagstore.global_store import GlobalBlockstore
from carv2.dagstore.golayout import GoExport, GoImport
from carv2.dagstore.info import ShardInfo, StoreStat
from carv2.dagstore.migration import ACTIVE_STATES, Deal, MigrationReport
from carv2.dagstore.mounts import (
    BytesMount,
    FileMount,
    FolderPieces,
    FsspecMount,
    Mount,
    MountRegistry,
    MountStat,
    PieceMount,
    PieceResolver,
    default_registry,
)
from carv2.dagstore.shard import AcquiredShard
from carv2.dagstore.states import TRANSITIONS, Operation, ShardState, Transition
from carv2.dagstore.store import DagStore

if TYPE_CHECKING:
    from carv2.dagstore.asynchronous import AsyncDagStore

__all__ = [
    "ACTIVE_STATES",
    "COUNTERS",
    "TRANSITIONS",
    "AcquiredShard",
    "AsyncDagStore",
    "BytesMount",
    "Collected",
    "DagStore",
    "DagStoreConfig",
    "Deal",
    "Event",
    "FileMount",
    "Finding",
    "FolderPieces",
    "FsspecMount",
    "GlobalBlockstore",
    "GoExport",
    "GoImport",
    "InitializeEvent",
    "MigrationReport",
    "Mount",
    "MountRegistry",
    "MountStat",
    "Operation",
    "PieceMount",
    "PieceResolver",
    "Problem",
    "ShardInfo",
    "ShardState",
    "StoreStat",
    "Subscription",
    "Transition",
    "default_registry",
    "read_config",
]


def __getattr__(name: str) -> object:
    if name == "AsyncDagStore":
        from carv2.dagstore.asynchronous import AsyncDagStore  # noqa: PLC0415  (asyncio, for those who use it)

        return AsyncDagStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
