"""Whether an index says of a payload just what is true, in both directions."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.errors import IndexFormatError, IndexMismatchError, LimitError
from carv2.index import CAR_INDEX_SORTED, IndexBuilder
from carv2.index._listed import is_listed
from carv2.multihash import IDENTITY
from carv2.multihash import encode as encode_multihash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._scan import Batch
    from carv2.errors import CarError
    from carv2.index import Index
    from carv2.reader import CarReader

_MANY = 16


class IndexCheck:
    """Gathers what an index of the payload should say, then holds the one that is there against it.

    Batches come in during a pass that is made anyway. The usual outcome, "the same bytes", needs no second
    pass and no look-ups; only where bytes differ is each section looked up, and each record followed.
    """

    def __init__(self, car: CarReader, found: Index) -> None:
        self._car, self._found = car, found
        self._identity = lists_identity(found) or (car.header is not None and car.header.is_fully_indexed)
        self._expected = IndexBuilder(found.codec, identity=self._identity, limits=car.limits)
        self.fault: LimitError | None = None
        """Why no index can be held against the payload: it has a CID that none may list."""
        self._copies: dict[bytes, frozenset[int]] = {}  # offsets of blocks that are there many times

    def add(self, batch: Batch) -> None:
        """Take in the sections of ``batch``."""
        if self.fault is not None:
            return
        payload = self._car.payload_position
        shift = batch.base - payload
        try:
            self._expected.add_columns(batch.entries, batch.start + shift, shift, payload=payload)
        except LimitError as error:
            self.fault = error

    def problems(self) -> Iterator[CarError]:
        """What is wrong with the index; nothing, if it is right. To be called after the whole pass."""
        if self.fault is not None:
            yield self.fault
            return
        expected = self._expected.chunks()
        if _same_bytes(expected, self._found.chunks()):
            return
        is_sorted = True
        for code, bucket in self._found.buckets():
            if not bucket.is_sorted():
                is_sorted = False
                of = "" if code is None else f" of hash {code:#x}"
                yield self._malformed(
                    f"index records{of} with digests of {bucket.digest_size} bytes are not sorted"
                )
        yield from self._absent_and_misplaced(is_sorted=is_sorted)

    def _malformed(self, why: str) -> IndexFormatError:
        position = 0 if self._car.header is None else self._car.header.index_offset
        return IndexFormatError(why, position=position, codec=self._found.codec)

    def _absent_and_misplaced(self, *, is_sorted: bool) -> Iterator[CarError]:
        """Sections that a look-up misses (any may be, where records are not sorted), and records of none."""
        starts = array("Q")
        for section in self._car.sections():
            starts.append(section.offset)
            if not is_sorted or self._is_left_out(section.cid):
                continue
            if section.offset not in self._offsets_of(section.cid):
                why = f"the index does not have {section.cid.short()} at offset {section.offset}"
                yield IndexMismatchError(why, cid=section.cid, position=section.position)
        for code, digest, offset in self._found:
            error = self._followed(starts, code, digest, offset)
            if error is not None:
                yield error

    def _is_left_out(self, cid: CID) -> bool:
        return cid.is_identity and not is_listed(IDENTITY, cid.digest, identity=self._identity)

    def _offsets_of(self, cid: CID) -> frozenset[int]:
        """What a look-up finds; kept for a block with many copies, so that each of them costs no more."""
        key = cid.digest if self._found.codec == CAR_INDEX_SORTED else cid.multihash
        offsets = self._copies.get(key)
        if offsets is None:
            offsets = frozenset(self._found.offsets_of(cid))
            if len(offsets) > _MANY:
                self._copies[key] = offsets
        return offsets

    def _followed(self, starts: array[int], code: int | None, digest: bytes, offset: int) -> CarError | None:
        """The problem with one record, if there is one."""
        if code is not None and code >= 1 << 63:
            return self._malformed(f"the index has hash code {code}, allowed up to 2**63 - 1")
        at = bisect_left(starts, offset)
        name = CID.of_multihash(encode_multihash(code or 0, digest))
        position = self._car.payload_position + offset
        if at == len(starts) or starts[at] != offset:
            why = f"the index has digest {digest[:64].hex()} at offset {offset}, where no section starts"
            return IndexMismatchError(why, cid=name, position=position)
        cid = self._car.section_at(offset).cid
        if cid.digest != digest or (code is not None and cid.hash_code != code):
            why = f"the index has digest {digest[:64].hex()} at offset {offset}, where {cid.short()} is"
            return IndexMismatchError(why, cid=name, position=position)
        return None


def lists_identity(found: Index) -> bool:
    """Whether an index lists identity CIDs other than those that every index lists; 0x0400 does not tell."""
    return any(
        code == IDENTITY and any(not is_listed(IDENTITY, digest, identity=False) for digest, _ in bucket)
        for code, bucket in found.buckets()
    )


def require_matching_index(car: CarReader, found: Index) -> None:
    """Raise the first problem that ``found`` has as an index of ``car``, if it has any."""
    check = IndexCheck(car, found)
    for batch in car.batches(bodies=False):
        check.add(batch)
    for problem in check.problems():
        raise problem


def _same_bytes(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Whether two streams of chunks, cut differently, are the same bytes."""
    left = right = b""
    at = to = 0  # how much of the two was held against each other
    while True:
        if at == len(left):
            left, at = next(one, b""), 0
        if to == len(right):
            right, to = next(other, b""), 0
        size = min(len(left) - at, len(right) - to)
        if not size:
            return at == len(left) and to == len(right)
        if left[at : at + size] != right[to : to + size]:
            return False
        at, to = at + size, to + size
