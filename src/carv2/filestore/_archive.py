"""The archive's own part of a ref-CARv2: blocks that stand in full, and records.

Both are sections, told apart by their names alone: a record goes by a CID that its bytes never hash to. So each
is looked up where it should be, and what is found by accident is not taken for the other.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from carv2._source import open_source
from carv2.blockstore import ReadOnlyBlockstore
from carv2.cid import CID
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ChangedError,
    CodecError,
    CorruptReferenceError,
    FormatError,
    IntegrityError,
)
from carv2.filestore import record as records
from carv2.filestore.keys import PREFIX, is_identity_key, key_bytes
from carv2.filestore.record import LARGEST_RECORD
from carv2.filestore.status import Status
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, Index, IndexBuilder
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._finder import BlockFinder
    from carv2._scan import Batch
    from carv2._source import Source, SourceLike
    from carv2.filestore.record import FileReference
    from carv2.units import Limits

RAW_SHA2_256 = b"\x01\x55\x12\x20"
"""What the key CIDs of the variants C and D begin with, and those of many honest blocks."""

UNLISTED = "the index does not list the records that are in the archive: `carv2 recover --apply` makes it anew"

_LOOKED_AT = 256
"""Sections: Lotus writes up to 128 nodes in front of the first record, carv2 none."""

_PREFIX = PREFIX.encode()


class Record(NamedTuple):
    """The record of a leaf, found."""

    key: bytes
    """The binary CID that it goes by."""
    data: bytes


class Archive:
    """Blocks and records by CID, each by its whole CID; threads may share it.

    Args:
        source: as for :class:`carv2.CarReader`.
        null_padding: take a zero-length section for the end of the payload.
        salvage: where the archive is cut or its index damaged, go through its sections up to the damage.
        limits: upper bounds for what the archive may claim.
    """

    def __init__(self, source: SourceLike, *, null_padding: bool, salvage: bool, limits: Limits) -> None:
        opened = open_source(source)
        self._owned: Source | None = None if opened is source else opened
        self.damage = ""
        """What is wrong with the archive as a whole, if it was salvaged."""
        self.limits, self._salvage = limits, salvage
        self._hides_records: bool | None = None
        try:
            self.car = CarReader(opened, limits=limits, null_padding=null_padding)
            self.blocks = self._open(opened, null_padding=null_padding)
            self._finder: BlockFinder = self.car.finder
            self._index = self.blocks.index
            self._usual = self._finder.getter(self._index, verify=True)
        except BaseException:
            self.close()
            raise

    def _open(self, source: Source, *, null_padding: bool) -> ReadOnlyBlockstore:
        index = self._salvaged_index() if self._salvage else None
        return ReadOnlyBlockstore(
            source,
            index=index,
            whole_cids=True,
            store_identity=True,
            null_padding=null_padding,
            limits=self.limits,
        )

    def _salvaged_index(self) -> Index | None:
        """An index of what is there, if the archive is damaged; None if its own, or an ordinary one, will do."""
        end, size = self.car.payload_end, self.car.source.size
        try:
            if end <= size and self.car.index is not None:
                if not hides_records(self.car):
                    return None
                self.damage = UNLISTED
        except FormatError as error:
            self.damage = str(error)
        builder = IndexBuilder(CAR_MULTIHASH_INDEX_SORTED, identity=True, limits=self.limits)
        payload = self.car.payload_position
        try:
            for batch in self.car.batches(bodies=False):
                shift = batch.base - payload
                builder.add_columns(batch.entries, batch.start + shift, shift, payload=payload)
        except FormatError as error:
            self.damage = self.damage or str(error)
        return builder.to_index()

    def block(self, wanted: CID) -> bytes | None:
        """The block that stands there in full, checked; None if there is none.

        Raises:
            IntegrityError: its data are not what it is called by, and it is no record.
            FormatError: the archive is damaged there.
        """
        try:
            data = self._usual(wanted.raw)
            if data is None:
                found = self._finder.find(self._index, wanted, whole=True)
                data = None if found is None else self._finder.data_of(found, verify=True)
            return data
        except (FormatError, IntegrityError):
            with contextlib.suppress(CodecError):
                data = self._unchecked(wanted.raw)
                if data is not None and looks_like_record(wanted.raw, data):
                    return None
            return self.blocks[wanted]  # has the last word

    def size_of(self, wanted: CID) -> int | None:
        """Bytes of the block that stands there in full, by its section; None if there is none."""
        try:
            found = self._finder.find(self._index, wanted, whole=True)
        except (FormatError, IntegrityError):
            return self.blocks.size_of(wanted)
        if found is None:
            return None
        if found.size <= LARGEST_RECORD and wanted.raw.startswith(RAW_SHA2_256):
            data = self._unchecked(wanted.raw)
            if data is not None and looks_like_record(wanted.raw, data):
                return None
        return found.size

    def record(self, wanted: CID) -> Record | None:
        """The record of the leaf ``wanted``, whatever the variant; None if there is none.

        Raises:
            CodecError: what is there is too large for a record; it is not read.
        """
        raw = wanted.raw
        multihash = raw[2:] if raw[0] == 1 and raw[1] < 128 else wanted.multihash
        for key_hash in ("sha2-256", "identity"):
            key = key_bytes(multihash, key_hash)
            data = self._unchecked(key)
            if data is None or (data.startswith(_PREFIX) and CID.trusted(key).matches(data)):
                continue  # nothing, or an honest block of that name
            return Record(key, data)
        return None

    def _unchecked(self, raw: bytes) -> bytes | None:
        """What goes by ``raw``, as far as it may be a record."""
        cid, finder = CID.trusted(raw), self._finder
        offset = self._index.usual_offset(raw)
        data = None if offset is None else finder.usual_block(offset, raw, verify=False)
        if data is not None:
            return data
        try:
            found = finder.find(self._index, cid, whole=True)
            if found is None or found.size <= LARGEST_RECORD:
                return None if found is None else finder.data_of(found, verify=False)
        except (FormatError, IntegrityError):
            self.blocks.size_of(cid)  # says so if somebody else changed the archive
            raise
        raise CodecError(
            f"record: {found.size} bytes, limit {LARGEST_RECORD}", position=found.data_position, cid=cid
        )

    def not_found(self, wanted: CID) -> CarError:
        """The error for a block that is not there; of an archive that was changed behind our back, another one.

        So it is where nobody can tell, as the index does not list the archive's records.
        """
        try:
            self.blocks.size_of(wanted)
        except ChangedError as error:
            return error
        except CarError:
            pass
        if self._hides_records is None:
            self._hides_records = not self._salvage and hides_records(self.car)
        if self._hides_records:
            why = f"{wanted.short()}: {UNLISTED}"
            status = Status.OTHER_ERROR
            return CorruptReferenceError(why, cid=wanted, position=0, status=status, reference=None)
        return BlockNotFoundError(wanted)

    def position_of(self, raw: bytes) -> int:
        """File position of the data of the section that goes by ``raw``."""
        found = self._finder.find(self._index, CID.trusted(raw), whole=True)
        return 0 if found is None else found.data_position

    def offset_of(self, cid: CID) -> int | None:
        """Where the section should be, as far as the index tells."""
        offset = self._index.usual_offset(cid.raw)
        return next(self._index.offsets_of(cid), None) if offset is None else offset

    def record_keys(self) -> Iterator[bytes]:
        """The CIDs that records go by, in file order; of an archive that is salvaged, up to the damage."""
        try:
            yield from record_sections(self.car)
        except FormatError as error:
            if not self._salvage:
                raise
            self.damage = self.damage or str(error)

    def unchecked(self, key: bytes) -> bytes:
        """The data of the section that goes by ``key``; none if there is none."""
        return self._unchecked(key) or b""

    def close(self) -> None:
        """Close what was opened here; may be called twice."""
        for opened in (getattr(self, "blocks", None), getattr(self, "car", None), self._owned):
            if opened is not None:
                opened.close()


def looks_like_record(cid: bytes, data: bytes) -> bool:
    """Whether a section is a record, as far as can be told without knowing of which leaf.

    One whose key CID is of the variants A and B shows it. Else its data are no block of that CID, and do make a
    record with a path in it.
    """
    if is_identity_key(cid):
        return not cid.endswith(data) or _reference_in(data) is not None
    if not cid.startswith(RAW_SHA2_256) or CID.trusted(cid).matches(data):
        return False
    return _reference_in(data) is not None


def _reference_in(data: bytes) -> FileReference | None:
    try:
        found = records.decode(data)
    except CodecError:
        return None
    return found if found.path else None


def hides_records(car: CarReader) -> bool:
    """Whether the index of an archive leaves out the records that are in it, as far as its first one tells.

    Programs that take identity CIDs for blocks that hold themselves leave them out, and so their keys.
    """
    try:
        index = car.index
        if index is None:
            return False
        key = next(record_sections(car, within=_LOOKED_AT), None)
        return key is not None and car.finder.find(index, CID.trusted(key), whole=True) is None
    except (FormatError, IntegrityError):
        return False


def record_sections(car: CarReader, *, within: int | None = None) -> Iterator[bytes]:
    """The CIDs of all sections that are records, in file order; ``within`` so many first sections."""
    left = within
    for batch in car.batches(bodies=False):
        for cid, start, stop in batch.entries:
            if stop - start > LARGEST_RECORD or not (cid.startswith(RAW_SHA2_256) or is_identity_key(cid)):
                continue
            if looks_like_record(cid, _data_in(batch, start, stop, car)):
                yield cid
        if left is not None and (left := left - len(batch.entries)) <= 0:
            return


def _data_in(batch: Batch, start: int, stop: int, car: CarReader) -> bytes:
    if start >= 0 and stop <= len(batch.buffer):
        return batch.buffer[start:stop]
    return car.source.read_exactly(batch.base + start, stop - start, "block")


def is_ref_car(source: SourceLike, *, null_padding: bool = False, limits: Limits = DEFAULT_LIMITS) -> bool:
    """Whether an archive holds positional references: nothing in its header says so.

    Sections are gone through until one is a record; in an archive without any, that is all of them, though large
    blocks are not read.

    Args:
        source: the archive.
        null_padding: take a zero-length section for the end of the payload.
        limits: upper bounds for what the archive may claim.

    Raises:
        FormatError: not an archive, or damaged, in front of the first record.
        OSError: the file cannot be opened.

    >>> import carv2
    >>> is_ref_car(b"".join(carv2.iter_car([], [(CID.of_data(b"fish"), b"fish")])))
    False
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        return next(record_sections(car), None) is not None
