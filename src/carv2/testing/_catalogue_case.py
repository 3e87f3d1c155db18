"""How a test of a catalogue gets one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from carv2.dagstore.catalogue import Catalogue, IndexFacts
from carv2.testing.index_stores import IndexStoreTests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carv2.dagstore.catalogue import IndexStore

__all__ = ["FACTS", "CatalogueCase"]

FACTS = IndexFacts(size=1234, digest=hashlib.sha256(b"index").digest(), codec=0x0401, block_count=56)


class CatalogueCase(IndexStoreTests):
    """What makes the catalogues of a subclass; its inverted index is tested."""

    def catalogue(self) -> Catalogue:
        """A new, empty catalogue; the tests close it."""
        raise NotImplementedError

    def again(self, catalogue: Catalogue) -> Catalogue | None:
        """Another handle on the same, as another process would get it; None where that cannot be."""
        del catalogue
        return None

    def index_store(self, keys: Sequence[str]) -> IndexStore:
        """A catalogue with these shards."""
        catalogue = self.catalogue()
        catalogue.add_many((key, f"file:///{key}.car") for key in keys)
        return catalogue

    def made(self) -> Catalogue:
        """What :meth:`catalogue` makes, closed when the test ends."""
        catalogue = self.catalogue()
        self._opened.append(catalogue)
        return catalogue

    def another(self, catalogue: Catalogue) -> Catalogue:
        """What :meth:`again` makes; skips where that is nothing."""
        other = self.again(catalogue)
        if other is None:
            pytest.skip("there is only one handle at a time")
        self._opened.append(other)
        return other

    @staticmethod
    def set_available(catalogue: Catalogue, key: str, *, holder: str = "") -> int:
        """Say that a shard was indexed, with :data:`FACTS`."""
        return catalogue.set_available(
            key, index=FACTS, source_size=1 << 40, source_tag='W/"tag"', inverted=True, holder=holder
        )
