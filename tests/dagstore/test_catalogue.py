"""The catalogue on SQLite: what every catalogue does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.dagstore.catalogue import Catalogue, open_catalogue
from carv2.testing.catalogues import CatalogueTests

if TYPE_CHECKING:
    from pathlib import Path


class TestSqlite(CatalogueTests):
    def catalogue(self) -> Catalogue:
        self.made_so_far = getattr(self, "made_so_far", 0) + 1
        self.path: Path = self.folder / f"{self.made_so_far}.db"
        return open_catalogue(self.path)

    def again(self, catalogue: Catalogue) -> Catalogue:
        return open_catalogue(self.path)
