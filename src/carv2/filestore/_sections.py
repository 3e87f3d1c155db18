"""The sections of a ref-CAR, told apart: blocks, and the records of leaves that stand elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2.cid import CID, RAW
from carv2.errors import BlockNotFoundError, CodecError, CorruptReferenceError, IntegrityError
from carv2.filestore._archive import looks_like_record
from carv2.filestore._walking import DAMAGED, LEAF, MISSING
from carv2.filestore.record import decode
from carv2.filestore.status import Status
from carv2.filestore.store import FileStore
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carv2.filestore._walking import Met
    from carv2.filestore.record import FileReference
    from carv2.reader import CarReader


class Part(NamedTuple):
    """A section: a block, which was checked, or a record."""

    cid: bytes
    """As it stands in the archive: of a record, its key CID."""
    data: bytes
    position: int
    """Of ``data`` in the archive's file."""
    leaf: bytes | None = None
    """Binary CID of the leaf that the record is of; None also of a record that nothing links to."""
    reference: FileReference | None = None
    """What the record says; None of a block."""
    others: Sequence[bytes] = ()
    """Further CIDs of the leaf: links to the same bytes under another codec."""


class Leaves(NamedTuple):
    """Leaves that are kept by reference, by the CIDs of their records, which do not always say so themselves."""

    first: dict[bytes, bytes]
    """The CID that a walk met first."""
    others: dict[bytes, list[bytes]]
    """The others, of those that have any: same multihash, other codec."""


NO_LEAVES = Leaves({}, {})


def leaves_in(car: CarReader) -> Leaves:
    """The leaves that are kept by reference.

    Memory: about 250 bytes for each.

    Raises:
        CorruptReferenceError: there is neither a block nor a record of a leaf.
        BlockNotFoundError: a node is missing, so that not all leaves can be known.
        CodecError, IntegrityError, FormatError: a block or record is damaged.
    """
    with FileStore(car.source, allow=(), salvage=True, limits=car.limits) as store:  # no index is needed
        leaves = Leaves({}, {})
        for met in filter(_is_leaf, store.met()):
            if leaves.first.setdefault(met.key, met.cid) != met.cid:
                leaves.others.setdefault(met.key, []).append(met.cid)
        return leaves


def _is_leaf(met: Met) -> bool:
    cid = CID.trusted(met.cid)
    if met.kind == MISSING and cid.codec == RAW:
        why = f"{cid.short()}: neither a block nor a record of it is there"
        raise CorruptReferenceError(why, cid=cid, position=0, status=Status.KEY_NOT_FOUND, reference=None)
    if met.kind == MISSING:
        raise BlockNotFoundError(cid)
    if met.kind == DAMAGED and met.error is not None:
        raise met.error
    return met.kind == LEAF


def parts_of(car: CarReader, leaves: Leaves) -> Iterator[Part]:
    """The sections in file order; ``leaves`` are those of :func:`leaves_in`.

    Raises:
        IntegrityError: a section is no block of its CID, and no record.
        CorruptReferenceError: the record of one of ``leaves`` is damaged.
        FormatError: the archive is damaged.
    """
    checker = BlockChecker()
    for batch in car.batches():
        for cid, start, stop in batch.entries:
            data, position = batch.buffer[start:stop], batch.base + start
            leaf = leaves.first.get(cid)
            if leaf is not None:
                reference = _decode(data, leaf, position)
                yield Part(cid, data, position, leaf, reference, leaves.others.get(cid, ()))
                continue
            try:
                checker.check(cid, data, position=position)
            except IntegrityError:
                if not looks_like_record(cid, data):
                    raise
                yield Part(cid, data, position, None, decode(data))
            else:
                yield Part(cid, data, position)


def _decode(data: bytes, leaf: bytes, position: int) -> FileReference:
    try:
        return decode(data)
    except CodecError as error:
        cid = CID.trusted(leaf)
        why = f"the record of {cid.short()} is damaged: {error.args[0]}"
        status = Status.OTHER_ERROR
        raise CorruptReferenceError(why, cid=cid, position=position, status=status, reference=None) from error
