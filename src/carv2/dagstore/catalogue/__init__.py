"""The catalogue of a DAG store: which shards there are, how they stand, and which of them hold a block."""

from __future__ import annotations

from carv2.dagstore.catalogue.records import DurableState, IndexFacts, Lease, ShardRow

__all__ = ["DurableState", "IndexFacts", "Lease", "ShardRow"]
