"""One block out of many: where an index says that it is, and whether it really is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2._scan import SectionScanner
from carv2.cid import CID
from carv2.errors import FormatError, IndexMismatchError, TruncatedError
from carv2.section import BlockChecker, Section
from carv2.units import FilePosition, PayloadOffset

if TYPE_CHECKING:
    from carv2._source import Source
    from carv2.index import Index
    from carv2.units import Limits

_FIRST_GUESS = 512
_MAX_GUESS = 64 << 10


class Found(NamedTuple):
    """A section that was looked up, with its data if one read gave those too."""

    cid: bytes
    position: int
    """File position of its length varint."""
    data_position: int
    size: int
    data: bytes | None

    def section(self, payload_position: int) -> Section:
        """The same as a :class:`Section`."""
        return Section(
            CID.trusted(self.cid),
            PayloadOffset(self.position - payload_position),
            FilePosition(self.position),
            FilePosition(self.data_position),
            self.size,
        )


class Window(NamedTuple):
    """A stretch of a payload that was read in one go."""

    buffer: bytes
    position: int
    """File position of ``buffer[0]``."""

    def has(self, start: int, stop: int) -> bytes | None:
        """The bytes between two file positions, if all of them were read."""
        start, stop = start - self.position, stop - self.position
        return self.buffer[start:stop] if start >= 0 and stop <= len(self.buffer) else None


class BlockFinder:
    """Follows payload offsets to sections and reads their blocks; may be shared between threads.

    A section is read in one go, as long as it is not much larger than the one before it.
    """

    def __init__(self, source: Source, payload_position: int, first: int, end: int, limits: Limits) -> None:
        self._source, self._payload, self._limits = source, payload_position, limits
        self._first, self._end = payload_position + first, end
        self._scanner = SectionScanner(limits)
        self._checker = BlockChecker()
        self.guess = _FIRST_GUESS
        """Bytes that are read to get a section in one go."""

    def window(self, offset: int, size: int) -> Window:
        """The bytes from payload offset ``offset`` on, for :meth:`at`; fewer where the payload ends."""
        position = self._payload + offset
        size = max(0, min(size, self._end - position))
        return Window(self._source.read_at(position, size), position)

    def at(self, offset: int, *, window: Window | None = None) -> Found:
        """The section at payload offset ``offset``; taken from ``window``, as far as that has it.

        Raises:
            FormatError: there is none.
        """
        position = self._payload + offset
        room = self._end - position
        if position < self._first or room <= 0:
            raise FormatError(f"payload offset {offset} is not among the sections", position=position)
        if window is None:
            front = self._source.read_at(position, min(self.guess, room))
        else:
            front = window.buffer[position - window.position : position - window.position + self.guess]
        entry = self._scanner.locate(front, 0, position=position)
        if entry is None:
            front = self._source.read_at(position, min(self._limits.section + 9, room))
            entry = self._scanner.locate(front, 0, position=position)
        if entry is None or entry[2] > room:
            wanted = len(front) + 1 if entry is None else entry[2]
            got = min(room, max(0, self._source.size - position))
            raise TruncatedError("section", wanted=wanted, got=got, position=position + got)
        cid, start, stop = entry
        data = front[start:stop] if stop <= len(front) else None
        if data is None and window is not None:
            data = window.has(position + start, position + stop)
        self._learn(stop)
        return Found(cid, position, position + start, stop - start, data)

    def _learn(self, size: int) -> None:
        """Guess the next section by one of ``size`` bytes; what is much too much is not read for nothing."""
        if size > _MAX_GUESS:  # its data are read by themselves, and once
            self.guess = _FIRST_GUESS
        elif size > self.guess or self.guess > 4 * size:
            self.guess = max(size, _FIRST_GUESS)

    def find(self, index: Index, wanted: CID, *, whole: bool = False) -> Found | None:
        """The first section that ``index`` has for the multihash of ``wanted`` (for the CID itself, if ``whole``).

        Raises:
            IndexMismatchError: the index leads to another block, or to none.
        """
        raw = bytes(wanted)
        for offset in index.offsets_of(wanted):
            found = self._expected_at(offset, raw)
            if found is not None:
                return found
            try:
                found = self.at(offset)
            except FormatError as error:
                why = f"the index has {wanted.short()} at offset {offset}, where there is no section"
                raise IndexMismatchError(why, cid=wanted, position=self._payload + offset) from error
            if found.cid == raw:
                return found
            cid = CID.trusted(found.cid)
            if cid.digest != wanted.digest:
                why = f"the index has {wanted.short()} at offset {offset}, where {cid.short()} is"
                raise IndexMismatchError(why, cid=wanted, position=found.position)
            if not whole and cid.hash_code == wanted.hash_code:
                return found
        return None

    def get(self, index: Index, wanted: CID, *, whole: bool, verify: bool) -> bytes | None:
        """The block that :meth:`find` finds; in the usual case without all that it looks after."""
        raw = wanted.raw
        offset = index.usual_offset(raw)
        data = None if offset is None else self.usual_block(offset, raw, verify=verify)
        if data is None:
            found = self.find(index, wanted, whole=whole)
            data = None if found is None else self.data_of(found, verify=verify)
        return data

    def usual_block(self, offset: int, raw: bytes, *, verify: bool) -> bytes | None:
        """The block of the CID ``raw`` at ``offset`` if all is as it usually is; None tells nothing."""
        front = self._front(offset)
        span = self._span(front, raw)
        position = self._payload + offset
        if span is None or position + span[1] > self._end:
            return None
        start, stop = span
        self._learn(stop)
        if stop <= len(front):
            data = front[start:stop]
        else:
            data = self._source.read_at(position + start, stop - start)
            if len(data) < stop - start:
                return None
        make = self._checker.constructors.get(raw[:-32])
        return data if not verify or (make is not None and make(data).digest() == raw[-32:]) else None

    def _front(self, offset: int) -> bytes:
        position = self._payload + offset
        return self._source.read_at(position, self.guess) if position >= self._first else b""

    def _span(self, front: bytes, raw: bytes) -> tuple[int, int] | None:
        """Where the data are in the usual case, a length of up to three bytes and the CID ``raw``.

        They may go on behind ``front``.
        """
        if len(front) < 3:
            return None
        size, at = front[0], 1
        if size > 127:
            size, at = size & 127 | (front[1] & 127) << 7, 2
            if front[1] > 127:
                size, at = size | (front[2] & 127) << 14, 3
            if not 0 < front[at - 1] < 128:
                return None
        start, stop = at + len(raw), at + size
        if front[at:start] != raw or stop < start or size > self._limits.section:
            return None
        return start, stop

    def _expected_at(self, offset: int, raw: bytes) -> Found | None:
        """The section at ``offset`` if it is a usual one, and that of the CID ``raw``."""
        front = self._front(offset)
        span = self._span(front, raw)
        position = self._payload + offset
        if span is None or position + span[1] > self._end:
            return None
        start, stop = span
        self._learn(stop)
        data = front[start:stop] if stop <= len(front) else None
        return Found(raw, position, position + start, stop - start, data)

    def data_of(self, found: Found, *, verify: bool) -> bytes:
        """The block of a section, checked against its hash."""
        data = found.data
        if data is None:
            data = self._source.read_exactly(found.data_position, found.size, "block")
        if verify:
            cid, checker = found.cid, self._checker
            make = checker.constructors.get(cid[:-32])
            if make is None or make(data).digest() != cid[-32:]:
                checker.check(cid, data, position=found.data_position)
        return data
