"""A blockstore whose leaves live in other people's files."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from carv2.blockstore._mapping import ReadsOneByOne
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ClosedError,
    CodecError,
    CorruptReferenceError,
    FormatError,
    IntegrityError,
    ReadOnlyError,
)
from carv2.filestore import record as records
from carv2.filestore._archive import Archive
from carv2.filestore._fault import Fault
from carv2.filestore._following import Follower
from carv2.filestore._merging import read_merged
from carv2.filestore._walking import LEAF, Met, met_on_walk
from carv2.filestore.keys import multihash_in
from carv2.filestore.status import ReferenceStatus, Status
from carv2.section import Block
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    from carv2._source import SourceLike
    from carv2.cid import CIDLike
    from carv2.filestore.record import FileReference, PathLike

__all__ = ["FileStore"]

_AT_ONCE = 512
"""Blocks that are looked up before anything is read."""


class Leaf(NamedTuple):
    """A leaf that is kept by reference."""

    reference: FileReference
    key: bytes
    """The binary CID that its record goes by."""


class FileStore(ReadsOneByOne):
    """The blocks of a ref-CARv2: nodes out of the archive, leaves out of the files that its records name.

    Every block is checked against its hash. An archive says by itself which files it would have read; what is
    read is decided by ``allow`` alone, after symlinks were resolved, and regular files alone. An identity CID
    answers from itself, everything else as in go-ipfs-filestore: the archive first, then the record. Ordinary
    archives can be opened too. Threads may share a store. POSIX only.

    Args:
        source: a path, bytes, a binary file, anything with positional reads, or an fsspec file.
        allow: files that may be read, and folders below which everything may.
        allow_urls: servers that may be asked for what is referred to by URL, each a scheme and host and perhaps
            port, such as ``https://example.org``; redirects are followed only among them.
        root: what paths in records are relative to.
        null_padding: take a zero-length section for the end of the payload.
        salvage: serve what a cut archive, or one with a damaged index, still has.
        limits: upper bounds for what the archive may claim; ``limits.section`` also bounds what a reference may
            ask for.

    ``store[cid]`` raises :class:`carv2.errors.CorruptReferenceError`, with a ``status``, for a leaf whose original
    does not have it (any more).

    Raises:
        FormatError: not an archive, or one that is damaged as a whole.
        OSError: the archive cannot be opened.

    >>> import tempfile, carv2
    >>> from carv2.filestore import FileReference, key_cid
    >>> from carv2.filestore.record import encode
    >>> original = tempfile.NamedTemporaryFile()
    >>> original.write(b"0123456789"), original.flush()
    (10, None)
    >>> leaf = CID.of_data(b"3456")
    >>> record = encode(FileReference.of_path(original.name, 3, 4))
    >>> archive = b"".join(carv2.iter_car([leaf], [(key_cid(leaf), record)], verify=False))
    >>> with FileStore(archive, allow=[original.name]) as store:
    ...     store[leaf], store.size_of(leaf), leaf in store
    (b'3456', 4, True)
    >>> FileStore(archive, allow=[]).status_of(leaf).detail
    'not allowed: it is in none of the folders that may be read'
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        allow: Iterable[PathLike],
        allow_urls: Iterable[str] = (),
        root: PathLike = "/",
        null_padding: bool = False,
        salvage: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._follower = Follower(allow, allow_urls, root=root, max_size=limits.section)
        self._archive = Archive(source, null_padding=null_padding, salvage=salvage, limits=limits)
        self._closed = False
        self._count: int | None = None

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots that the archive claims."""
        self._check_open()
        return self._archive.car.roots

    @property
    def damage(self) -> str:
        """What is wrong with the archive as a whole, if it was opened with ``salvage``; else ``""``."""
        return self._archive.damage

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the blockstore was closed")

    # -- one block ----------------------------------------------------------------------------------------

    def __getitem__(self, cid: CIDLike, /) -> bytes:
        wanted = cid if isinstance(cid, CID) else CID.of(cid)
        if wanted.is_identity:
            return wanted.digest
        self._check_open()
        data = self._archive.block(wanted)
        return self._read(wanted, self._leaf(wanted)) if data is None else data

    def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block; of a leaf as its record says, whatever became of the file."""
        wanted = CID.of(cid)
        if wanted.is_identity:
            return len(wanted.digest)
        self._check_open()
        size = self._archive.size_of(wanted)
        return self._leaf(wanted).reference.size if size is None else size

    def reference_of(self, cid: CIDLike) -> FileReference | None:
        """The reference that stands for the block; None if it stands in the archive in full, or is not there.

        Raises:
            CorruptReferenceError: its record is damaged.
        """
        wanted = CID.of(cid)
        self._check_open()
        if wanted.is_identity or self._archive.size_of(wanted) is not None:
            return None
        try:
            return self._leaf(wanted).reference
        except BlockNotFoundError:
            return None

    def status_of(self, cid: CIDLike, *, hashes: bool = True) -> ReferenceStatus:
        """How the reference that stands for the block fares; a block in the archive is ok if its hash is right.

        Args:
            cid: which block.
            hashes: read the original and hash it; otherwise only look whether it is there, may be read, and is
                long enough.
        """
        wanted = CID.of(cid)
        self._check_open()
        reference = None
        try:
            if wanted.is_identity or self._archive.block(wanted) is not None:
                return ReferenceStatus(wanted, None, Status.OK)
            reference = self._leaf(wanted).reference
            if hashes:
                self._follower.block(wanted, reference)
            else:
                self._follower.probe(reference)
        except Fault as fault:
            return ReferenceStatus(wanted, reference, fault.status, fault.detail)
        except BlockNotFoundError:
            return ReferenceStatus(
                wanted, None, Status.KEY_NOT_FOUND, "neither a block nor a record of it is there"
            )
        except (FormatError, IntegrityError) as error:
            return ReferenceStatus(wanted, reference, Status.OTHER_ERROR, str(error.args[0]))
        return ReferenceStatus(wanted, reference, Status.OK)

    def status_of_record(self, key: bytes, *, hashes: bool = True) -> ReferenceStatus:
        """The same for a record that goes by the binary CID ``key``, whatever links to its leaf.

        Only the keys of the variants A and B show which bytes it means; of others no bytes are read.
        """
        self._check_open()
        multihash = multihash_in(key)
        cid = CID.trusted(key) if multihash is None else CID.of_multihash(multihash)
        reference = None
        try:
            reference = records.decode(self._archive.unchecked(key))
            if hashes and multihash is not None:
                self._follower.block(cid, reference)
            else:
                self._follower.probe(reference)
        except Fault as fault:
            return ReferenceStatus(cid, reference, fault.status, fault.detail, is_linked=False)
        except CarError as error:
            return ReferenceStatus(cid, reference, Status.OTHER_ERROR, str(error.args[0]), is_linked=False)
        return ReferenceStatus(cid, reference, Status.OK, is_linked=False)

    def _leaf(self, wanted: CID) -> Leaf:
        found = None
        try:
            found = self._archive.record(wanted)
            if found is None:
                raise self._archive.not_found(wanted)
            return Leaf(records.decode(found.data), found.key)
        except CodecError as error:
            position = error.position + (0 if found is None else self._archive.position_of(found.key))
            raise CorruptReferenceError(
                f"the record of {wanted.short()} is damaged: {error.args[0]}",
                cid=wanted,
                position=position,
                status=Status.OTHER_ERROR,
                reference=None,
            ) from error

    def _read(self, wanted: CID, leaf: Leaf) -> bytes:
        try:
            return self._follower.block(wanted, leaf.reference)
        except Fault as fault:
            raise self._error(fault, wanted, leaf) from None

    def _error(self, fault: Fault, wanted: CID, leaf: Leaf) -> CorruptReferenceError:
        return CorruptReferenceError(
            f"{wanted.short()} is {leaf.reference}: {fault.detail}",
            cid=wanted,
            position=self._archive.position_of(leaf.key),
            status=fault.status,
            reference=leaf.reference,
        )

    # -- many blocks --------------------------------------------------------------------------------------

    def get_many(self, cids: Iterable[CIDLike], /) -> Iterator[Block]:
        """The blocks of all ``cids``, in that order; small leaves that lie near each other are read as one range.

        A few hundred are looked up at a time, so ``cids`` may be endless.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
            CorruptReferenceError: the original of one does not have it (any more).
        """
        self._check_open()
        pending = map(CID.of, cids)
        return self._groups(pending)

    def _groups(self, pending: Iterator[CID]) -> Iterator[Block]:
        while group := list(islice(pending, _AT_ONCE)):
            leaves = {cid: leaf for cid in group if (leaf := self._plain_leaf(cid)) is not None}
            ahead = read_merged([leaf.reference for leaf in leaves.values()], self._follower)
            held = {cid: data for cid, data in zip(leaves, ahead, strict=True) if data is not None}
            for cid in group:
                data = held.get(cid)
                if data is None or not self._follower.is_block(cid, data):
                    leaf = leaves.get(cid)
                    data = self[cid] if leaf is None else self._read(cid, leaf)
                yield Block(cid, data)
                self._check_open()

    def _plain_leaf(self, cid: CID) -> Leaf | None:
        """The leaf that ``cid`` is, if all is as it usually is; None tells nothing."""
        try:
            if cid.is_identity or self._archive.offset_of(cid) is not None:
                return None
            found = self._archive.record(cid)
            return None if found is None else Leaf(records.decode(found.data), found.key)
        except CarError:
            return None

    # -- all blocks ---------------------------------------------------------------------------------------

    def met(self) -> Iterator[Met]:
        """All that a depth-first walk from the roots meets: nodes, leaves, and what is missing or damaged."""
        self._check_open()
        for met in met_on_walk(self.roots, self._archive):
            yield met
            self._check_open()

    def record_keys(self) -> Iterator[bytes]:
        """Binary CIDs of all records of the archive in file order, whatever links to their leaves."""
        self._check_open()
        return self._archive.record_keys()

    def references(self) -> Iterator[tuple[CID, FileReference]]:
        """The leaves that are kept by reference, each once, in the order of a depth-first walk from the roots.

        What is missing or damaged on the way is left out: :func:`carv2.filestore.check_references` names it.
        """
        for met in self.met():
            if met.kind == LEAF and met.reference is not None:
                yield CID.trusted(met.cid), met.reference

    def __iter__(self) -> Iterator[CID]:
        """The CIDs that the roots lead to, as a depth-first walk meets them: nodes and leaves, never records'.

        Identity CIDs are left out, and what is missing.
        """
        for met in self.met():
            if met.is_there and not (cid := CID.trusted(met.cid)).is_identity:
                yield cid

    def __len__(self) -> int:
        """How many CIDs an iteration gives: counted by a walk when it is first asked for."""
        self._check_open()
        if self._count is None:
            self._count = sum(1 for _ in self)
        return self._count

    def __contains__(self, cid: object, /) -> bool:
        """Whether there is a block or a record; files are not looked at."""
        try:
            return super().__contains__(cid)
        except CorruptReferenceError:
            return True

    def put(self, _cid: CIDLike, _data: bytes, /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("the blockstore is for reading only")

    def put_many(self, _blocks: Iterable[tuple[CIDLike, bytes]], /) -> NoReturn:
        """Always raises :class:`ReadOnlyError`."""
        raise ReadOnlyError("the blockstore is for reading only")

    def close(self) -> None:
        """Close the archive, if it was opened here, and all originals; may be called twice."""
        self._closed = True
        self._archive.close()
        self._follower.close()
