"""The catalogue of a DAG store: which shards there are, how they stand, and which of them hold a block."""

from __future__ import annotations

from carv2.dagstore.catalogue.interface import Catalogue, IndexStore
from carv2.dagstore.catalogue.records import DurableState, IndexFacts, Lease, ShardRow
from carv2.dagstore.catalogue.sql import open_catalogue

__all__ = ["Catalogue", "DurableState", "IndexFacts", "IndexStore", "Lease", "ShardRow", "open_catalogue"]
