"""What the catalogue keeps of a shard."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["DurableState", "IndexFacts", "Lease", "ShardRow"]


class DurableState(str, Enum):
    """The states of a shard that outlive the process.

    >>> DurableState("errored").name
    'ERRORED'
    """

    NEW = "new"
    """Waits to be indexed."""
    AVAILABLE = "available"
    """Has an index."""
    ERRORED = "errored"
    """The last attempt failed."""


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What is known of a shard's index file."""

    size: int
    """Bytes of the file."""
    digest: bytes
    """SHA2-256 of the file."""
    codec: int
    """Multicodec of the index: 0x0400 or 0x0401."""
    block_count: int
    """Sections that it points at."""


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One shard as it stands in the catalogue; times are seconds since 1970."""

    id: int
    """Never given twice in one catalogue."""
    key: str
    url: str
    """Of the mount."""
    state: DurableState
    lazy: bool
    """Indexed when somebody first asks for it."""
    error_type: str
    """Name of the class of the last error; empty unless ``state`` is ``ERRORED``."""
    error: str
    failures: int
    """Attempts that failed since the last one that did not."""
    generation: int
    """Grows with each index; 0 where there was none yet."""
    index_size: int
    """Bytes of the index file."""
    index_digest: bytes
    """SHA2-256 of the index file."""
    index_codec: int
    block_count: int
    inverted: bool
    """All multihashes of the shard are in the inverted index."""
    source_size: int | None
    """Bytes of what was indexed."""
    source_tag: str
    """What the mount said, at that time, to tell these bytes from others."""
    local_copy: str
    """Path of a file of the caller's with the same bytes, or empty."""
    created: float
    updated: float
    last_access: float
    """0.0 where there was none yet."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a shard."""

    key: str
    holder: str
    left: float
    """Seconds until it ends by itself, as they were when it was asked for."""
