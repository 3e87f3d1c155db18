"""The partial file of a fetch, beside the archive that it is to become: it outlives processes and crashes."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from itertools import zip_longest
from typing import TYPE_CHECKING

from carv2._atomic import replace, unlink, writing
from carv2._private import own_size
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID
from carv2.errors import BlockNotFoundError, FormatError, IntegrityError
from carv2.header import PRAGMA, SIZE
from carv2.imports._retrieval_store import rebuild
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.ipfs._missing import wanted
from carv2.writer import CarWriter

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.cid import CIDLike
    from carv2.ipfs._ask import Ask
    from carv2.units import Limits

SUFFIX = ".part"

_MEMORY = 64 << 20
"""Bytes that keeping track of blocks may take."""

_CHECKPOINT = 16 << 20
"""Bytes of new blocks after which they are made durable."""


class PartialFile:
    """``OUT.part``: an archive of what came so far, which has one writer at a time.

    What is there is held against its hashes before it is gone on with. Closing keeps it.

    Raises:
        LockedError: somebody else is fetching into it.
        ResumeError: it is of another root.
        FormatError: it is no archive; it was not touched.
        PermissionError: it is a link, somebody else's, or others may write to it; it was not touched.
    """

    def __init__(self, out: str | os.PathLike[str], root: CID, limits: Limits) -> None:
        self.out = _writable(out)
        self.path = self.out + SUFFIX
        self._root, self._limits = root, limits
        self._unflushed = 0
        size = own_size(self.path)
        if size == 0:  # a fetch's own says from the beginning what it is
            unlink(self.path)
        self.is_new = not size
        self._store = self._created() if self.is_new else self._resumed()
        found = self._store.recovery
        self.resumed_count = 0 if found is None else found.block_count
        self.resumed_bytes = 0 if found is None else found.kept_end - found.payload_position - found.first_section
        """CIDs and data, roughly."""

    def _created(self) -> ReadWriteBlockstore:
        store = ReadWriteBlockstore.create(
            self.path, [self._root], verify=False, max_memory=_MEMORY, limits=self._limits
        )
        with contextlib.ExitStack() as stack:
            stack.callback(store.discard)
            store.flush()  # from the beginning the file says what it is
            stack.pop_all()
        return store

    def _resumed(self) -> ReadWriteBlockstore:
        try:
            return self._over_what_is_there()
        except (FormatError, IntegrityError) as error:
            if not rebuild(self.path, self._root, self._limits):
                raise self._no_part(error) from error
        return self._over_what_is_there()

    def _no_part(self, error: FormatError | IntegrityError) -> FormatError | IntegrityError:
        """What is wrong with it, and where: the caller named another file."""
        if isinstance(error, IntegrityError):
            error.archive = self.path
            return error
        why = f"{self.path} is not what a fetch leaves: remove it, or name another file; {error.args[0]}"
        return FormatError(why, position=error.position)

    def _over_what_is_there(self) -> ReadWriteBlockstore:
        return ReadWriteBlockstore.resume(
            self.path,
            [self._root],
            version=2,
            index_padding=0,
            index_codec=CAR_MULTIHASH_INDEX_SORTED,
            store_identity=False,
            verify=False,
            check_promised=True,
            max_memory=_MEMORY,
            limits=self._limits,
        )

    # -- as a store -----------------------------------------------------------------------------------------

    def __contains__(self, cid: object, /) -> bool:
        return cid in self._store

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        return self._store[cid]

    def __len__(self) -> int:
        return len(self._store)

    def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block, which was checked; whether it was new."""
        is_new = self._store.put(cid, data)
        self._unflushed += len(data) if is_new else 0
        if self._unflushed >= _CHECKPOINT:
            self._store.flush()
            self._unflushed = 0
        return is_new

    # -- ends -----------------------------------------------------------------------------------------------

    def finish(self, ask: Ask, *, version: int) -> None:
        """Make the archive of exactly what was asked for, whole or not at all; the part is gone then."""
        if version == 2 and self._is_ours() and self._is_in_order(ask):
            self._store.finalize()
            self._store.close()
            replace(self.path, self.out)
            return
        with (
            writing(self.out) as sink,
            CarWriter(sink, [self._root], version=version, verify=False, limits=self._limits) as writer,
        ):
            for cid, data in _blocks_of(ask, self._store):
                writer.write(cid, data)
        self.discard()

    def _is_ours(self) -> bool:
        """Whether finishing it leaves nothing of a header that somebody else may have written."""
        found = self._store.recovery
        return found is None or (found.state != "finalized" and found.payload_position == len(PRAGMA) + SIZE)

    def _is_in_order(self, ask: Ask) -> bool:
        """Whether it has the blocks that were asked for, in the order of the walk, and no others."""
        there = map(bytes, self._store)
        return all(found == cid for found, cid in zip_longest(there, _once(ask, self._store)))

    def discard(self) -> None:
        """Remove it."""
        unlink(self.path)
        self._store.discard()

    def close(self) -> None:
        """Flush, and let go of it; may be called twice. OSError if that did not work out."""
        self._store.close()


def _once(ask: Ask, store: ReadWriteBlockstore) -> Generator[bytes]:
    """The CIDs of the blocks asked for, each multihash once, all of which are there."""
    seen: set[bytes] = set()
    for cid, is_there in wanted(ask, store):
        if not is_there:
            raise BlockNotFoundError(CID.trusted(cid))
        key = CID.trusted(cid).multihash
        if key not in seen:
            seen.add(key)
            yield cid


def _blocks_of(ask: Ask, store: ReadWriteBlockstore) -> Generator[tuple[bytes, bytes]]:
    for cid in _once(ask, store):
        yield cid, store[CID.trusted(cid)]


def _writable(out: str | os.PathLike[str]) -> str:
    """Where the archive goes: through a link, what it leads to.

    Raises:
        OSError: what is there is no regular file, so that no file can take its place.
    """
    path = os.path.realpath(out)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "not a regular file, which could be replaced", os.fspath(out))
    return path
