"""The index of each shard in a file of its own, as the Go dagstore keeps them.

A folder holds ``.version`` (the text ``1``) and a file ``KEY.full.idx`` for each shard: the index section of a
CARv2, byte for byte. Where a key cannot be a file's name, see :func:`carv2.dagstore.keys.file_name`.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Literal

from carv2 import index as indexes
from carv2._atomic import drafting, make_folder, replace, replacing, unlink
from carv2._downloads import is_out_of_room, lock_draft, remove_abandoned_drafts
from carv2._source import FileSource, SliceView
from carv2.dagstore.catalogue.records import IndexFacts
from carv2.dagstore.keys import file_name, key_of
from carv2.errors import IndexFormatError, StateError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, Index
from carv2.multihash import IDENTITY
from carv2.multihash import encode as encode_multihash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

__all__ = ["IndexFacts", "IndexFolder", "OpenIndex", "multihashes_of"]

_VERSION = b"1"
_SUFFIX = ".full.idx"
_MAX_SAMPLES = 1 << 17  # fronts of digests, 8 bytes each, that an index in frequent use keeps in memory
_CHECKED_WHOLE = 16 << 20  # bytes of an index file up to which it is hashed whenever it is opened: 10 ms
_READ = 1 << 20


class OpenIndex:
    """An index file that is open. It is looked up in the file; what is kept of it in memory is at most 1 MiB.

    It is read by position, not mapped: a file that shrinks, or a disk that fails, is an error and not the end of
    the process. Threads may share it.
    """

    def __init__(self, source: FileSource, index: Index) -> None:
        self._source = source
        self.index = index
        """For look-ups, which raise ClosedError once this is closed."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._source.size

    def is_of(self, facts: IndexFacts) -> bool:
        """Whether the file is, byte for byte, what ``facts`` say; it is read from end to end."""
        return self.size == facts.size and _digest(self._source) == facts.digest

    def close(self) -> None:
        """Let go of the file; may be called twice, and while other threads look something up."""
        self._source.close()

    def __enter__(self) -> OpenIndex:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class IndexFolder:
    """The index files of a store, in a folder that is made if it is not there.

    A file is written whole or not at all, and never changed afterwards; those who have an old one open go on with
    that. Several processes may share the folder: each writes a draft of its own, and whoever may work on the
    shard gives his the name of the shard's index file.

    Raises:
        StateError: the folder is of another version.
        OSError: it cannot be made or read.

    >>> import tempfile
    >>> from carv2.index import IndexBuilder
    >>> with tempfile.TemporaryDirectory() as path:
    ...     folder = IndexFolder(path)
    ...     facts = folder.write("baga", IndexBuilder().chunks())
    ...     facts.size, facts.block_count, list(folder.keys())
    (6, 0, ['baga'])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if not os.fspath(folder):
            raise ValueError("a folder for index files must be named")
        self.folder = os.path.abspath(folder)
        make_folder(self.folder)
        self._check_version()

    def _check_version(self) -> None:
        path = os.path.join(self.folder, ".version")
        try:
            source = FileSource.open(path)
        except FileNotFoundError:
            with replacing(path) as file:
                file.write(_VERSION)
            return
        try:
            found = source.read_at(0, 32)
        finally:
            source.close()
        if found != _VERSION:
            raise StateError(f"cannot read existing repo with version {found.decode(errors='replace')}")

    def path_of(self, key: str) -> str:
        """The path of the index file of a shard, whether there is one or not."""
        return os.path.join(self.folder, file_name(key) + _SUFFIX)

    # -- writing ------------------------------------------------------------------------------------------

    def write(self, key: str, chunks: Iterable[bytes]) -> IndexFacts:
        """Make ``chunks`` the index file of a shard, durably; what to remember of it.

        If ``chunks`` raise anything, or are no index, the file that was there stays as it is.

        Raises:
            FormatError: they are no index.
            OSError: the disk fails, or is full.
        """
        name, facts = self.draft(chunks)
        try:
            self.publish(key, name)
        except BaseException:
            self.drop_draft(name)
            raise
        return facts

    def draft(self, chunks: Iterable[bytes]) -> tuple[str, IndexFacts]:
        """Write ``chunks`` to a file that is no shard's index yet, durably; its name, and what to remember of it.

        See :meth:`publish`, :meth:`open_draft` and :meth:`drop_draft`. One that nobody has open is removed as
        that of a killed process after a minute. Raises as :meth:`write` does, and then leaves nothing.
        """
        digest, path = hashlib.sha256(), self.folder
        try:
            with drafting(self.folder) as (file, path):
                lock_draft(file.fileno())
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                return os.path.basename(path), _facts(file, digest.digest())
        except OSError as error:  # without a name: of a write, maybe one when the file was closed
            if error.filename is None and is_out_of_room(error):
                raise OSError(error.errno, error.strerror, path) from error
            raise

    def open_draft(self, name: str) -> OpenIndex:
        """Open a draft for reading; it stays at least until it is closed."""
        source = FileSource.open(self._path_of_draft(name))
        try:
            lock_draft(source.fileno())
            return OpenIndex(source, indexes.parse(SliceView(source, 0, source.size)))
        except BaseException:
            source.close()
            raise

    def publish(self, key: str, name: str) -> None:
        """Make a draft the index file of a shard, in place of the one that is there."""
        replace(self._path_of_draft(name), self.path_of(key))

    def drop_draft(self, name: str) -> None:
        """Remove a draft, unless it was published."""
        unlink(self._path_of_draft(name))

    def _path_of_draft(self, name: str) -> str:
        if os.path.basename(name) != name or name.endswith(_SUFFIX):
            raise ValueError(f"{name!r} is no name of a draft")
        return os.path.join(self.folder, name)

    def drop(self, key: str) -> bool:
        """Remove the index file of a shard; whether there was one."""
        path = self.path_of(key)
        found = os.path.lexists(path)
        unlink(path)
        return found

    def remove_drafts(self) -> list[str]:
        """Remove what killed processes left of files that they were writing; their names."""
        return remove_abandoned_drafts(self.folder)

    # -- reading ------------------------------------------------------------------------------------------

    def open(
        self, key: str, facts: IndexFacts | None = None, *, check: Literal["usual", "whole"] = "usual"
    ) -> OpenIndex:
        """Open the index file of a shard.

        Args:
            key: of the shard.
            facts: what is known of the file; None to take it as it is.
            check: hold the digest against it, however large it is; otherwise that is done up to 16 MiB, and of a
                larger one its size and layout are looked at.

        Raises:
            FileNotFoundError: there is none.
            FormatError: it is not the one that ``facts`` are of, or no index at all.
        """
        source = FileSource.open(self.path_of(key))
        try:
            if facts is not None:
                _check(source, facts, is_whole=check == "whole" or facts.size <= _CHECKED_WHOLE)
            index = indexes.parse(SliceView(source, 0, source.size))
            index.keep_samples(_MAX_SAMPLES)
        except BaseException:
            source.close()
            raise
        return OpenIndex(source, index)

    def verify(self, key: str, facts: IndexFacts) -> None:
        """Read the whole index file, and raise as :meth:`open` does if it is not what ``facts`` say."""
        self.open(key, facts, check="whole").close()

    def facts_of(self, key: str) -> IndexFacts:
        """What there is to know of an index file that others wrote; it is read from end to end.

        Raises:
            FileNotFoundError: there is none.
            FormatError: it is no index.
        """
        with self.open(key) as opened:
            index = opened.index
            digest = _digest(opened._source)  # noqa: SLF001  (of this module)
            return IndexFacts(size=opened.size, digest=digest, codec=index.codec, block_count=len(index))

    def size_of(self, key: str) -> int | None:
        """Bytes of the index file of a shard; None if there is none."""
        try:
            return os.stat(self.path_of(key)).st_size
        except FileNotFoundError:
            return None

    def names(self) -> Iterator[str]:
        """The names of all index files, without their suffix, in no order."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and entry.is_file():
                    yield entry.name.removesuffix(_SUFFIX)

    def keys(self) -> Iterator[str]:
        """The keys of all index files. A name that is cut short, as that of a very long key, is left out."""
        for name in self.names():
            key = key_of(name)
            if key is not None:
                yield key

    def strays(self, keys: Iterable[str]) -> list[str]:
        """Names, as in :meth:`names`, of index files that are of none of ``keys``: see :meth:`drop_stray`."""
        return sorted(set(self.names()).difference(map(file_name, keys)))

    def drop_stray(self, name: str) -> bool:
        """Remove an index file by its name; whether there was one."""
        if os.path.basename(name) != name:
            raise ValueError(f"{name!r} is no name of a file")
        path = os.path.join(self.folder, name + _SUFFIX)
        found = os.path.lexists(path)
        unlink(path)
        return found


def multihashes_of(index: Index, *, identity: bool = True) -> Iterator[bytes]:
    """The multihashes in an index of format 0x0401, in its order; of copies of a block that lie together, one.

    Args:
        index: of a shard.
        identity: those of identity CIDs as well, which the inverted index has not: they hold their blocks.

    Raises:
        ValueError: format 0x0400, which does not keep hash functions.

    >>> from carv2 import CID
    >>> from carv2.index import IndexBuilder
    >>> builder = IndexBuilder()
    >>> builder.add(CID.of_data(b"fish"), 18)
    >>> [multihash.hex()[:12] for multihash in multihashes_of(builder.to_index())]
    ['1220b474a99a']
    """
    if index.codec != CAR_MULTIHASH_INDEX_SORTED:
        raise ValueError("an index of format 0x0400 does not keep hash functions: make one of format 0x0401")
    for code, bucket in index.buckets():
        if code == IDENTITY and not identity:
            continue
        size = bucket.digest_size
        head = encode_multihash(code or 0, bytes(size))[: -size or None]
        last = None
        for digest, _ in bucket:
            if digest != last:
                yield head + digest
            last = digest


def _facts(file: BinaryIO, digest: bytes) -> IndexFacts:
    """What to remember of an index file that was just written, which is looked at as a reader would."""
    source = FileSource(os.dup(file.fileno()))
    try:
        index = indexes.parse(SliceView(source, 0, source.size))
        return IndexFacts(size=source.size, digest=digest, codec=index.codec, block_count=len(index))
    finally:
        source.close()


def _check(source: FileSource, facts: IndexFacts, *, is_whole: bool) -> None:
    size = source.size
    if size != facts.size:
        why = f"index file of {size} bytes, and it was written with {facts.size}"
        raise IndexFormatError(why, position=min(size, facts.size))
    if is_whole and _digest(source) != facts.digest:
        raise IndexFormatError("index file that is not the one that was written", position=0)


def _digest(source: FileSource) -> bytes:
    digest = hashlib.sha256()
    for position in range(0, source.size, _READ):
        digest.update(source.read_at(position, _READ))
    return digest.digest()
