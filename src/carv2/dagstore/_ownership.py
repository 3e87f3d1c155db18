"""Whose the files in an index folder are: only those of this catalogue may be removed or written over."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from carv2._atomic import replacing
from carv2._source import FileSource
from carv2.errors import CarError, StateError

if TYPE_CHECKING:
    from carv2.dagstore.catalogue import Catalogue
    from carv2.dagstore.indices import IndexFacts, IndexFolder

__all__ = ["FOLDER_MARKER", "IndexOwnership"]

FOLDER_MARKER = ".carv2-indexes"
"""The file in an index folder that says which catalogue it belongs to."""

_MARKER = "store-id"
_LONGEST = 64  # bytes of a store's id, and more than it takes


class IndexOwnership:
    """The mark that a catalogue and its index folder share: a random number.

    It is made when the folder has no index yet, and never changed. So a folder that a Go dagstore filled, one that
    is another catalogue's, or one whose catalogue was lost, is never taken for this store's.
    """

    def __init__(self, indices: IndexFolder, catalogue: Catalogue) -> None:
        self._indices, self._catalogue = indices, catalogue
        self._path = os.path.join(indices.folder, FOLDER_MARKER)
        self._store = catalogue.add_marker(_MARKER, uuid.uuid4().hex)
        if self._found() is None and next(indices.names(), None) is None:
            with replacing(self._path) as file:  # of many who do that at once all write the same
                file.write(self._store.encode())

    def is_ours(self) -> bool:
        """Whether all that is in the folder is this catalogue's; asked of the disk each time."""
        return self._found() == self._store.encode()

    def may_replace(self, key: str, facts: IndexFacts | None) -> bool:
        """Whether the index file of a shard is this store's, or there is none; ``facts`` are of the one it made.

        In a folder that is not the store's the bytes of a file tell.
        """
        if self.is_ours() or self._indices.size_of(key) is None:
            return True
        if facts is None:
            return False
        try:
            self._indices.verify(key, facts)
        except (CarError, OSError):
            return False
        return True

    def check(self, key: str, facts: IndexFacts | None) -> None:
        """Raise StateError unless the shard's index file may be replaced."""
        if not self.may_replace(key, facts):
            why = "is an index of another store. Open this one with a root of its own, or take the index over with"
            raise StateError(f"{self._indices.path_of(key)} {why} import_go, or remove it")

    def check_new(self, key: str) -> None:
        """The same for a shard that is about to be registered; one that is known is left alone."""
        if not self.may_replace(key, None) and self._catalogue.get(key) is None:
            self.check(key, None)

    def _found(self) -> bytes | None:
        try:
            source = FileSource.open_regular(self._path)
        except FileNotFoundError:
            return None
        try:
            return source.read_at(0, _LONGEST)
        finally:
            source.close()
