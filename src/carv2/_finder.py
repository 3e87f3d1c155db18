"""One block out of many: where an index says that it is, and whether it really is there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from carv2._scan import SectionScanner, section_head, section_sizes
from carv2._source import at_hand, peeker
from carv2.cid import CID
from carv2.errors import CarError, FormatError, IndexMismatchError, TruncatedError
from carv2.section import BlockChecker, Section
from carv2.units import FilePosition, PayloadOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from carv2._source import AtHand, Source
    from carv2.index import Index
    from carv2.multihash import HashObject
    from carv2.units import Limits

    class _HeadOf(Protocol):
        """What takes the length of a section, as a number, and its CID out of some bytes."""

        def __call__(self, data: AtHand, position: int = 0, /) -> tuple[int, bytes]: ...


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


class _Shape(NamedTuple):
    """Of all CIDs of a kind."""

    search: Callable[[bytes], int | None]
    head_of: _HeadOf
    make: Callable[[bytes], HashObject] | None


class BlockFinder:
    """Follows payload offsets to sections and reads their blocks; may be shared between threads.

    A section is read in one go, as long as it is not much larger than the one before it.
    """

    def __init__(self, source: Source, payload_position: int, first: int, end: int, limits: Limits) -> None:
        self._source, self._payload, self._limits = source, payload_position, limits
        self._first, self._end = payload_position + first, end
        self._scanner = SectionScanner(limits)
        self._checker = BlockChecker()
        self._constructors = self._checker.constructors
        self._peek = peeker(source)
        self._longest = limits.section
        self.guess = _FIRST_GUESS
        """Bytes that are read to get a section in one go."""

    def at(self, offset: int) -> Found:
        """The section at payload offset ``offset``.

        Raises:
            FormatError: there is none.
        """
        position = self._payload + offset
        room = self._end - position
        if position < self._first or room <= 0:
            raise FormatError(f"payload offset {offset} is not among the sections", position=position)
        front = self._source.read_at(position, min(self.guess, room))
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

    def getter(self, index: Index, *, verify: bool) -> Callable[[bytes], bytes | None]:
        """What gives the block of a binary CID in the usual case, and None where :meth:`find` is to tell."""
        shapes: dict[bytes, _Shape] = {}
        held = at_hand(self._source)
        block_at = self._quick_reader() if held is None else self._reader_at_hand(held)

        def get(raw: bytes) -> bytes | None:
            kind, digest = raw[:-32], raw[-32:]
            shape = shapes.get(kind)
            if shape is None:
                shape = self._shape_of(raw, index)
                if shape is None:
                    return None
                shapes[kind] = shape
            search, head_of, make = shape
            offset = search(digest)
            data = None if offset is None else block_at(offset, raw, head_of)
            if data is None or not verify:
                return data
            return data if make is not None and make(data).digest() == digest else None

        return get

    def _shape_of(self, raw: bytes, index: Index) -> _Shape | None:
        """What is the same for all CIDs of the kind of ``raw``; None as long as it is not known."""
        bucket, make = index.usual.get(raw[:-32]), self._constructors.get(raw[:-32])
        if bucket is None or not bucket.is_ready:
            return None
        return _Shape(bucket.search, section_head(len(raw)).unpack_from, make)

    def _quick_reader(self) -> Callable[[int, bytes, _HeadOf], bytes | None]:
        """What does the same as :meth:`_block_at`.

        Sections that come whole with the first read, and have a length of two bytes, it takes apart on the spot.
        """
        sizes, otherwise, peek = section_sizes(self._longest), self._block_at, self._peek
        payload, first, end = self._payload, self._first, self._end

        def block_at(offset: int, raw: bytes, head_of: _HeadOf) -> bytes | None:
            position = payload + offset
            if not first <= position < end:
                return None
            front = peek(self.guess, position)
            try:
                head, cid = head_of(front)
            except struct.error:  # too few bytes
                return otherwise(offset, raw)
            stop = sizes[head]
            if cid == raw and stop <= len(front) <= 4 * stop + _FIRST_GUESS and position + stop <= end:
                return front[len(raw) + 2 : stop]
            return otherwise(offset, raw)

        return block_at

    def _reader_at_hand(self, data: AtHand) -> Callable[[int, bytes, _HeadOf], bytes | None]:
        """The same where all bytes are in memory or mapped."""
        sizes, otherwise = section_sizes(self._longest), self._block_at
        payload, first, end = self._payload, self._first, self._end

        def block_at(offset: int, raw: bytes, head_of: _HeadOf) -> bytes | None:
            position = payload + offset
            if not first <= position < end:
                return None
            try:
                head, cid = head_of(data, position)
                stop = position + sizes[head]
                if cid == raw and stop <= end:
                    return data[position + len(raw) + 2 : stop]
            except (struct.error, ValueError):  # they end before; or the map was closed
                pass
            return otherwise(offset, raw)

        return block_at

    def usual_block(self, offset: int, raw: bytes, *, verify: bool) -> bytes | None:
        """The block of the CID ``raw`` at ``offset`` if all is as it usually is; None tells nothing."""
        data = self._block_at(offset, raw)
        return data if data is None or not verify or self._is_right(raw, data) else None

    def _block_at(self, offset: int, raw: bytes) -> bytes | None:
        position = self._payload + offset
        if not self._first <= position < self._end:
            return None
        guess = self.guess
        front = self._peek(guess, position)
        start, stop = self._span(front, raw, 0)
        if not start or position + stop > self._end:
            return None
        if stop > guess or guess > 4 * stop + _FIRST_GUESS:
            self._learn(stop)
        data = front[start:stop] if stop <= len(front) else self._peek(stop - start, position + start)
        return data if len(data) == stop - start else None

    def usual_blocks(
        self, size: int, numbers: list[int], offsets: Sequence[int], raws: list[bytes], *, room: int, verify: bool
    ) -> list[tuple[int, bytes]]:
        """The same out of one read of ``size`` bytes: number and block of each found, of ``room`` bytes in all.

        ``numbers`` say of which offsets and CIDs, in ascending order of the offsets.
        """
        first = offsets[numbers[0]]
        position = self._payload + first
        end = min(position + size, self._end)
        window = self._peek(end - position, position) if self._first <= position < end else b""
        span_of, pairs, stop = self._span, list[tuple[int, bytes]](), 0
        for number in numbers:
            at = offsets[number] - first
            start, stop = span_of(window, raws[number], at)
            if start and stop <= len(window):
                room -= stop - start
                if room < 0:
                    break
                pairs.append((number, window[start:stop]))
        if stop:
            self._learn(stop - offsets[numbers[-1]] + first)
        if not verify or self._are_right(raws, pairs):
            return pairs
        return [(number, data) for number, data in pairs if self._is_right(raws[number], data)]

    def _is_right(self, raw: bytes, data: bytes) -> bool:
        """Whether ``data`` are those of ``raw``; of a kind of CID that was not met before, too."""
        make = self._constructors.get(raw[:-32])
        if make is not None:
            return bool(make(data).digest() == raw[-32:])
        try:
            self._checker.check(raw, data, position=0)
        except CarError:  # whatever it is, reading the block by itself says so
            return False
        return True

    def _are_right(self, raws: list[bytes], pairs: list[tuple[int, bytes]]) -> bool:
        """Whether all are, by their numbers in ``raws``, and of one kind: so it is quicker to tell."""
        prefix = raws[pairs[0][0]][:-32] if pairs else b""
        make = self._constructors.get(prefix)
        if make is None:
            return False
        return [prefix + make(data).digest() for _, data in pairs] == [raws[number] for number, _ in pairs]

    def _span(self, front: bytes, raw: bytes, at: int) -> tuple[int, int]:
        """Where the data of the section at ``front[at]`` are in the usual case, with the CID ``raw``; else zeros.

        They may go on behind ``front``; the length before them takes up to three bytes.
        """
        try:
            size, at = front[at], at + 1
            if size > 127:
                last, at = front[at], at + 1
                size += (last - 1) << 7
                if last > 127:
                    last, at = front[at], at + 1
                    size += (last - 1) << 14
                if not 0 < last < 128:
                    return 0, 0
        except IndexError:
            return 0, 0
        if size < len(raw) or size > self._longest or not front.startswith(raw, at):
            return 0, 0
        return at + len(raw), at + size

    def _expected_at(self, offset: int, raw: bytes) -> Found | None:
        """The section at ``offset`` if it is a usual one, and that of the CID ``raw``."""
        position = self._payload + offset
        if not self._first <= position < self._end:
            return None
        front = self._peek(self.guess, position)
        start, stop = self._span(front, raw, 0)
        if not start or position + stop > self._end:
            return None
        self._learn(stop)
        data = front[start:stop] if stop <= len(front) else None
        return Found(raw, position, position + start, stop - start, data)

    def data_of(self, found: Found, *, verify: bool) -> bytes:
        """The block of a section, checked against its hash."""
        data = found.data
        if data is None:
            data = self._source.read_exactly(found.data_position, found.size, "block")
        if verify and not self._is_right(found.cid, data):
            self._checker.check(found.cid, data, position=found.data_position)
        return data
