"""What a store says of its shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.dagstore.states import ShardState, visible_state

if TYPE_CHECKING:
    from carv2.dagstore.catalogue import ShardRow

__all__ = ["ShardInfo", "StoreStat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """One shard, as it is now."""

    key: str
    state: ShardState
    error: str
    """Why the last attempt failed; ``""`` where it did not."""
    error_type: str
    """Name of the class of that error."""
    url: str
    """Of its mount."""
    local_copy: str
    """A file of the caller's with its bytes, which is read instead of the mount while it is there; or ``""``."""
    is_lazy: bool
    references: int
    """Readers in this process."""
    block_count: int
    """Records in its index."""
    index_size: int
    """Bytes of its index file."""
    source_size: int | None
    """Bytes behind its mount when they were indexed; None where that was not known."""
    generation: int
    """How often it was indexed."""
    created: float
    """Seconds since 1970."""
    updated: float
    """When its state was last written."""
    last_access: float
    """When it was last acquired, to the minute or so; 0 for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStat:
    """What is in a store."""

    shard_count: int
    by_state: dict[str, int]
    """Shards by their state, as :meth:`DagStore.list` has them: new, initializing, available, …"""
    multihash_count: int
    """Pairs of a multihash and a shard in the inverted index."""
    block_count: int
    """Records in all index files."""
    index_bytes: int
    """Bytes of all index files."""
    transient_count: int
    """Local copies."""
    transient_bytes: int


def info_of(row: ShardRow, *, is_busy: bool = False, references: int = 0) -> ShardInfo:
    """What there is to say of ``row``, which so many read, and which is worked on or not."""
    return ShardInfo(
        key=row.key,
        state=visible_state(row.state, is_busy=is_busy, references=references),
        error=row.error,
        error_type=row.error_type,
        url=row.url,
        local_copy=row.local_copy,
        is_lazy=row.lazy,
        references=references,
        block_count=row.block_count,
        index_size=row.index_size,
        source_size=row.source_size,
        generation=row.generation,
        created=row.created,
        updated=row.updated,
        last_access=row.last_access,
    )
