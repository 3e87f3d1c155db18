"""For people who write stores of their own: the tests that carv2's stores pass, to be run on theirs.

Needs pytest and hypothesis (the extra ``test``); nothing else in carv2 imports it.
"""

from __future__ import annotations

from carv2.testing.blockstores import BlockstoreTests, WritableBlockstoreTests
from carv2.testing.catalogues import CatalogueTests
from carv2.testing.index_stores import IndexStoreTests

__all__ = ["BlockstoreTests", "CatalogueTests", "IndexStoreTests", "WritableBlockstoreTests"]
