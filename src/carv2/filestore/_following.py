"""From a reference to the bytes that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carv2._originals import Originals
from carv2.errors import CarError, UnknownHashError
from carv2.filestore._fault import Fault
from carv2.filestore.status import Status
from carv2.filestore.urls import UrlReader
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2._source import FileSource
    from carv2.cid import CID
    from carv2.filestore.record import FileReference, PathLike


class Follower:
    """Reads what references name, in the files and from the servers that were allowed; threads may share it.

    Every method raises :class:`Fault` where that cannot be had.

    Args:
        allow: files, and folders below which everything may be read.
        allow_urls: servers, such as ``https://example.org``.
        root: what paths of references are relative to.
        max_size: bytes that a reference may ask for.
    """

    def __init__(
        self, allow: Iterable[PathLike], allow_urls: Iterable[str] = (), *, root: PathLike = "/", max_size: int
    ) -> None:
        if isinstance(allow, (str, bytes, os.PathLike)):
            raise TypeError("allow takes a list of folders and files, even of one")
        if isinstance(allow_urls, (str, bytes)):
            raise TypeError("allow_urls takes a list of servers, even of one")
        self._urls, self._originals = UrlReader(allow_urls), Originals(allow)
        self._checker = BlockChecker()
        self._root, self._max_size = os.path.abspath(os.fsdecode(root)), max_size
        self._last_path = "", self._root

    def block(self, wanted: CID, reference: FileReference) -> bytes:
        """The block ``wanted`` from where ``reference`` says.

        Raises:
            UnknownHashError: nobody here can tell whether it is.
        """
        data = self.read(reference)
        if not self.is_block(wanted, data):
            raise Fault(Status.FILE_CHANGED, "other bytes are there: their hash differs")
        return data

    def is_block(self, wanted: CID, data: bytes) -> bool:
        """Whether ``data`` hash to ``wanted``; UnknownHashError if nobody here can tell."""
        raw = wanted.raw
        make = self._checker.constructors.get(raw[:-32])
        if make is not None and make(data).digest() == raw[-32:]:
            return True
        try:
            self._checker.check(raw, data, position=0)
        except UnknownHashError:
            raise
        except CarError:  # also one that takes the data for a gateway's last words
            return False
        return True

    def read(self, reference: FileReference) -> bytes:
        """The bytes that ``reference`` names: as many, whatever they are."""
        offset, size = reference.offset, reference.size
        if size > self._max_size:
            raise Fault(Status.OTHER_ERROR, f"the record asks for {size} bytes, limit {self._max_size}")
        if reference.is_url:
            return self._urls.read(reference.path, offset, size)
        source = self._open(reference)
        try:
            data = source.read_at(offset, size)
            if len(data) < size:
                raise _too_short(source.size, offset + size)
        except OSError as error:
            raise _fault_of(error) from None
        return data

    def probe(self, reference: FileReference) -> None:
        """Raise unless there are as many bytes as ``reference`` names; of a file none is read."""
        end = reference.offset + reference.size
        if reference.is_url:
            self._urls.read(reference.path, max(0, end - 1), min(1, reference.size))
            return
        size = self._open(reference).size
        if size < end:
            raise _too_short(size, end)

    def _open(self, reference: FileReference) -> FileSource:
        try:
            return self._originals.open(self._full_path(reference))
        except OSError as error:
            raise _fault_of(error) from None

    def _full_path(self, reference: FileReference) -> str:
        path, found = self._last_path  # most often that of the reference before
        if path != reference.path:
            found = reference.full_path(self._root)
            self._last_path = reference.path, found
        return found

    def close(self) -> None:
        """Close the files; may be called twice."""
        self._originals.close()


def _too_short(found: int, needed: int) -> Fault:
    return Fault(Status.FILE_CHANGED, f"the file has {found} bytes, the reference needs {needed}")


def _fault_of(error: OSError) -> Fault:
    if isinstance(error, FileNotFoundError):
        return Fault(Status.FILE_NOT_FOUND, "the file is gone")
    return Fault(Status.FILE_ERROR, error.strerror or str(error))
