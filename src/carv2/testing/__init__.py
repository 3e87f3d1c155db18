"""For people who write stores and mounts of their own: the tests that carv2's pass, to be run on theirs.

Needs pytest and hypothesis (the extra ``test``); nothing else in carv2 imports it.
"""

from __future__ import annotations

from carv2.testing.blockstores import BlockstoreTests, WritableBlockstoreTests
from carv2.testing.catalogues import CatalogueTests
from carv2.testing.faulty_mount import Faults, FaultyMount, FaultyMounts
from carv2.testing.index_stores import IndexStoreTests
from carv2.testing.mounts import MountTests

__all__ = [
    "BlockstoreTests",
    "CatalogueTests",
    "Faults",
    "FaultyMount",
    "FaultyMounts",
    "IndexStoreTests",
    "MountTests",
    "WritableBlockstoreTests",
]
