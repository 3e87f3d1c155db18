"""Whether the index that a CARv2 carries may be taken over: checks that cost a look at it, and not at the data."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from carv2.errors import CarError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.operations._index_check import require_matching_index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from carv2.index import Index
    from carv2.reader import CarReader

__all__ = ["fault_of"]

_SPOTS = 16
"""Records that are followed, besides the first and the last."""


class _FaultError(Exception):
    """What is wrong with an index."""


def fault_of(car: CarReader, *, whole: bool = False) -> str:
    """Why the index of ``car`` is not to be taken over; ``""`` if nothing speaks against it.

    Looked at are: its format (only 0x0401 tells hash functions); that its records are sorted; that their offsets
    are within the payload, each there once, none further apart than a section can be; and, at the first, the last
    and some more of them, that the section there is of that multihash and ends where the next one starts. Sections
    of identity CIDs need not be in it.

    Args:
        car: a CARv2 with an index.
        whole: hold it against every section as well, which reads the whole payload.
    """
    try:
        index = car.index
        if index is None:
            return "there is none"
        if index.codec != CAR_MULTIHASH_INDEX_SORTED or index.is_headless:
            return "it does not keep hash functions"
        _check_spots(car, index)
        if whole:
            require_matching_index(car, index)
    except (CarError, _FaultError) as error:
        return str(error)
    return ""


def _check_spots(car: CarReader, index: Index) -> None:
    offsets, spots = _offsets_and_spots(index)
    end = min(car.payload_end, car.source.size) - car.payload_position
    first = car.first_section
    if offsets and (offsets[0] < first or offsets[-1] >= end):
        raise _FaultError("it has offsets that are outside of the sections")
    widest = car.limits.section + 10
    last: int = first
    for offset in offsets:
        if offset == last != first:
            raise _FaultError(f"it has offset {offset} twice")
        if offset - last > widest:
            raise _FaultError(f"it has nothing between offsets {last} and {offset}")
        last = offset
    _check_way(car, first, offsets[0] if offsets else end)
    for at in _spread(len(offsets)):
        offset, following = offsets[at], offsets[at + 1] if at + 1 < len(offsets) else end
        _check_way(car, offset, following, is_listed=True)
    for code, digest, offset in spots:
        cid = car.section_at(offset).cid
        if (cid.hash_code, cid.digest) != (code, digest):
            raise _FaultError(f"it has digest {digest[:32].hex()} at offset {offset}, where {cid.short()} is")


def _offsets_and_spots(index: Index) -> tuple[array[int], list[tuple[int, bytes, int]]]:
    """All offsets in ascending order, and some records, spread over the index; raises if it is not sorted."""
    offsets = array("Q")
    wanted = set(_spread(len(index)))
    spots: list[tuple[int, bytes, int]] = []
    for code, bucket in index.buckets():
        last = b""
        for digest, offset in bucket:
            if digest < last:
                raise _FaultError("its records are not sorted")
            last = digest
            if len(offsets) in wanted:
                spots.append((code or 0, digest, offset))
            offsets.append(offset)
    return array("Q", sorted(offsets)), spots


def _spread(count: int) -> Iterable[int]:
    """The first, the last and some more of ``count`` numbers, evenly."""
    return sorted({at * (count - 1) // (_SPOTS + 1) for at in range(_SPOTS + 2)}) if count else ()


def _check_way(car: CarReader, start: int, end: int, *, is_listed: bool = False) -> None:
    """Raise unless sections lead from ``start`` to ``end``, all but a listed first one of identity CIDs."""
    offset = start
    while offset < end:
        is_first = is_listed and offset == start
        if car.null_padding and not is_first and car.source.read_at(car.payload_position + offset, 1) == b"\0":
            break
        section = car.section_at(offset)
        if not section.cid.is_identity and not is_first:
            raise _FaultError(f"it does not list {section.cid.short()} at offset {offset}")
        offset = section.data_position + section.size - car.payload_position
    else:
        if offset != end:
            raise _FaultError(f"the section at offset {start} ends at {offset}, and the next is at {end}")
