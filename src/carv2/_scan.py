"""The one hot loop over sections, and the two ways to feed it: from a source, or by chunks.

A section is ``varint(size) | CID | data`` (CARv1 specification). The loop finds where sections lie; what is
done with them (yield, hash, index, count) is the caller's, batch by batch. Nearly all sections of an archive
share a shape: a varint of two bytes (or one) and CIDs of one layout. Those take one ``Struct.unpack_from`` and
one look-up each, and their CIDs are looked over in bulk; :meth:`SectionScanner._step` takes any section, one at
a time, and teaches the fast path the layouts that it meets.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

from carv2 import _varint
from carv2._source import peeker
from carv2.cid import parse_parts
from carv2.errors import FormatError, GatewayTruncatedError, LimitError, TruncatedError
from carv2.multihash import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2._source import Source
    from carv2.units import Limits

Entry: TypeAlias = "tuple[bytes, int, int]"
"""Binary CID, where the data start and where the section ends, counted in the batch's buffer."""

_NOT_HERE = 1 << 62
_MAX_LAYOUTS = 64
_DIGEST_SIZE = 32
_MANY = 16
_PROBE = 256
_WARM_UP = 32  # sections before the table of section sizes is worth the 0.1 ms that making it takes
_MAX_CID_HEAD = 4 * _varint.MAX_SIZE  # version, codec, hash code, digest size
_unpack_word = struct.Struct("<I").unpack_from
TOGETHER = 32
"""Large sections that come in one batch, at most."""
GATEWAY_MARK = b"[Gateway Error:"
GATEWAY_REACH = 512


class Entries:
    """Neighbouring sections, column by column; to be gone through, counted and cut like a list of entries."""

    __slots__ = ("cids", "prefix", "starts", "stops")

    def __init__(
        self,
        cids: list[bytes] | None = None,
        starts: list[int] | None = None,
        stops: list[int] | None = None,
    ) -> None:
        self.cids, self.starts, self.stops = cids or [], starts or [], stops or []
        self.prefix: bytes | None = None
        """All of each CID but its last 32 bytes, where that is the same for all; else None."""
        if cids:
            first = cids[0][:-32]
            if len(cids) == 1 or all(cid[:-32] == first for cid in cids):
                self.prefix = first

    def append(self, cid: bytes, start: int, stop: int) -> None:
        """Add one section."""
        self._meet(cid[:-32])
        self.cids.append(cid)
        self.starts.append(start)
        self.stops.append(stop)

    def add_run(
        self, cids: list[bytes], starts: list[int], stops: list[int], prefix: bytes | None, many: int
    ) -> int | None:
        """Add the first ``many`` of the sections; return where the last of them ends, None if there are none.

        ``prefix`` is what all their CIDs begin with, but for their last 32 bytes; None if that is not known.
        """
        if not many:
            return None
        end = stops[many - 1]
        self._meet(prefix)
        if many < len(cids):
            cids, starts, stops = cids[:many], starts[:many], stops[:many]
        if self.cids:
            self.cids += cids
            self.starts += starts
            self.stops += stops
        else:
            self.cids, self.starts, self.stops = cids, starts, stops
        return end

    def _meet(self, prefix: bytes | None) -> None:
        if not self.cids:
            self.prefix = prefix
        elif self.prefix != prefix:
            self.prefix = None

    def __len__(self) -> int:
        return len(self.cids)

    def __iter__(self) -> Iterator[Entry]:
        return zip(self.cids, self.starts, self.stops, strict=True)

    @overload
    def __getitem__(self, at: int) -> Entry: ...

    @overload
    def __getitem__(self, at: slice) -> Entries: ...

    def __getitem__(self, at: int | slice) -> Entry | Entries:
        if isinstance(at, slice):
            return Entries(self.cids[at], self.starts[at], self.stops[at])
        return self.cids[at], self.starts[at], self.stops[at]


class Batch(NamedTuple):
    """Neighbouring sections and the bytes that hold them.

    The first section's varint is at ``buffer[start]`` (before the buffer's first byte, if negative); each
    further one starts where the one before ends. Where bodies were not asked for, data may lie outside.
    """

    buffer: bytes
    base: int
    """File position of ``buffer[0]``."""
    start: int
    entries: Entries


class _Layout(NamedTuple):
    """How the CIDs of a run of sections look: the same prefix size, the same size."""

    prefix_size: int
    cid_size: int


@functools.lru_cache(maxsize=4)
def section_sizes(limit: int) -> list[int]:
    """Size of a whole section by its first two bytes; out of reach unless they are a minimal varint."""
    sizes = [_NOT_HERE] * (1 << 16)
    for high in range(1, 128):  # the second byte; the first has its top bit set, and counts up to 127
        least = high << 7
        many = min(128, max(0, limit + 1 - least))
        at = high << 8 | 0x80
        sizes[at : at + many] = range(2 + least, 2 + least + many)
    return sizes


@functools.lru_cache(maxsize=_MAX_LAYOUTS)
def section_head(cid_size: int) -> struct.Struct:
    """The first two bytes of a section, as a number, and a CID of that size, in the usual case."""
    return struct.Struct(f"<H{cid_size}s")


def _all_begin_with(head: bytes, cids: list[bytes]) -> bool:
    """Whether ``cids``, all of one size, begin with ``head``: if they are many, by a few cuts, not one of each."""
    many = len(cids)
    if many < _MANY:
        for cid in cids:  # noqa: SIM110  (this is no place for a generator)
            if not cid.startswith(head):
                return False
        return True
    size, joined = len(cids[0]), b"".join(cids)
    for at in range(len(head)):  # noqa: SIM110
        if joined[at::size] != head[at : at + 1] * many:
            return False
    return True


class SectionScanner:
    """Finds sections in buffers, one after the other; keeps what it learnt from one to the next."""

    def __init__(self, limits: Limits, *, null_padding: bool = False) -> None:
        self.limits, self._null_padding = limits, null_padding
        self._layout = _Layout(4, 36)
        self._cid_sizes: dict[bytes, int] = {}
        self._steps = 0
        self.wanted = 0
        """Size of the section that the buffer ended in, its varint included; 0 if its head is not whole."""
        self.ended = False
        """A zero-length section was met, and it ends the payload."""

    def scan(self, buffer: bytes, offset: int, entries: Entries, *, position: int) -> int:
        """Append the whole sections at ``buffer[offset:]``; return the offset of the first that is not whole.

        ``position`` is the file position of ``buffer[0]``. What was appended stays good when this raises.
        """
        while True:
            if self._steps < _WARM_UP:
                self._steps += 1
            elif len(buffer) - offset > 1 and not buffer[offset] & buffer[offset + 1] & 0x80:  # else it is no run
                offset = self._run(buffer, offset, entries, position)
            entry = self._step(buffer, offset, position)
            if entry is None:
                return offset
            entries.append(*entry)
            offset = entry[2]

    def _run(self, buffer: bytes, offset: int, entries: Entries, position: int) -> int:
        """Append sections up to the first that is not plain; return its offset.

        Where they end is in their varints alone, so that the CIDs can be looked over afterwards, in bulk.
        """
        sizes: list[int] = section_sizes(self.limits.section)
        end, first = len(buffer), offset
        cid_size, most = self._layout.cid_size, min(127, self.limits.section)
        unpack, skip = section_head(cid_size).unpack_from, 2 + cid_size
        cids: list[bytes] = []
        stops: list[int] = []
        short: list[int] = []  # which of them have a varint of one byte
        add_cid, add_stop = cids.append, stops.append
        head: int
        cid: bytes
        try:
            while True:
                head, cid = unpack(buffer, offset)
                stop = offset + sizes[head]
                if stop > end:
                    size = head & 0xFF
                    stop = offset + 1 + size
                    if not cid_size <= size <= most or stop > end:
                        break
                    cid = buffer[offset + 1 : offset + 1 + cid_size]
                    short.append(len(cids))
                add_cid(cid)
                add_stop(stop)
                offset = stop
        except struct.error:  # near the buffer's end
            pass
        if not cids:
            return first
        starts = [first + skip, *[stop + skip for stop in stops]]
        starts.pop()
        for at in short:
            starts[at] -= 1
        return (
            entries.add_run(cids, starts, stops, *self._looked_over(buffer, cids, starts, stops, position))
            or first
        )

    def _looked_over(
        self, buffer: bytes, cids: list[bytes], starts: list[int], stops: list[int], position: int
    ) -> tuple[bytes | None, int]:
        """Mend those of ``cids`` that are not of the usual layout, and where data start.

        Returns what all CIDs begin with, if it is the same, and how many sections have one.
        """
        size, wanted = self._layout
        many, first, known = len(cids), cids[0][:size], self._cid_sizes
        if known.get(first) == wanted and _all_begin_with(first, cids):
            return first if wanted - size == _DIGEST_SIZE else None, many
        heads = [cid[:size] for cid in cids]
        others = {head for head in set(heads) if known.get(head) != wanted}
        for at in [at for at, head in enumerate(heads) if head in others] if others else ():
            begin = starts[at] - wanted
            try:
                found = self._cid_size(buffer, begin, stops[at], position)
            except FormatError:  # of which the next step will tell
                found = None
            if found is None:
                return None, at
            cids[at], starts[at] = buffer[begin : begin + found], begin + found
        return None, many

    def locate(self, buffer: bytes, offset: int, *, position: int) -> Entry | None:
        """The section at ``buffer[offset]``, of which only varint and CID need be there; None if they are not.

        ``position`` is the file position of ``buffer[0]``.
        """
        self.wanted = 0
        end = len(buffer)
        try:
            size, at = _varint.decode(buffer, offset, end, position=position)
        except TruncatedError:
            return None
        if size == 0:
            self._zero_length(position + offset)
            return None
        if size > self.limits.section:
            allowed = self.limits.section
            raise LimitError("section", found=size, allowed=allowed, position=position + offset)
        self.wanted = at + size - offset
        cid_size = self._cid_size(buffer, at, at + size, position)
        if cid_size is None:
            return None
        return buffer[at : at + cid_size], at + cid_size, at + size

    def known_head(self, cid: bytes) -> bytes | None:
        """What CIDs like ``cid`` begin with, so that all that do are of its size; None if that is not known."""
        sizes = (4, 6, 2)
        return next((cid[:size] for size in sizes if self._cid_sizes.get(cid[:size]) == len(cid)), None)

    def _step(self, buffer: bytes, offset: int, position: int) -> Entry | None:
        entry = self.locate(buffer, offset, position=position)
        return None if entry is None or entry[2] > len(buffer) else entry

    def _zero_length(self, position: int) -> None:
        if not self._null_padding:
            raise FormatError("zero-length section", position=position)
        self.ended = True

    def _cid_size(self, buffer: bytes, at: int, stop: int, position: int) -> int | None:
        """Size of the CID at ``buffer[at]`` in a section that ends at ``stop``; None if it is not all there."""
        known = self._cid_sizes
        for prefix_size in (4, 6, 2):
            size = known.get(buffer[at : at + prefix_size])
            if size is not None and at + size <= min(stop, len(buffer)):
                self._layout = _Layout(prefix_size, size)
                return size
        if stop > len(buffer) and len(buffer) - at < _MAX_CID_HEAD:
            return None
        try:
            parts = parse_parts(buffer, at, stop, position=position)
        except TruncatedError as error:
            why = f"section of {stop - at} bytes does not start with a CID: {error.args[0]}"
            raise FormatError(why, position=position + at) from error
        if at + parts.size > len(buffer):
            return None
        if parts.hash_code != IDENTITY and len(known) < _MAX_LAYOUTS and parts.size < 127:
            prefix_size = parts.size - parts.digest_size
            if prefix_size in {2, 4, 6}:
                known[buffer[at : at + prefix_size]] = parts.size
                self._layout = _Layout(prefix_size, parts.size)
        return parts.size


def batches(
    source: Source, start: int, stop: int, scanner: SectionScanner, *, bodies: bool = True, row: int = TOGETHER
) -> Iterator[Batch]:
    """Yield the sections between the file positions ``start`` and ``stop``, in file order.

    Without ``bodies`` the data of large sections are not read, and up to ``row`` of those that are neighbours
    come in one batch: few at first, for those who want only the first ones. Sections before a fault are yielded
    before it is raised. ``stop`` may lie behind the end of the file: that is a truncated file.

    Raises:
        TruncatedError: the file ends before ``stop``, within a section or not.
        FormatError: what is there is not sections up to exactly ``stop``.
    """
    end = min(stop, source.size)
    position, rest, chunk, most = start, b"", source.chunk_size, 1
    while position + len(rest) < end:
        read_from = position + len(rest)
        buffer = rest + source.read_exactly(read_from, min(chunk, end - read_from), "section")
        entries = Entries()
        try:
            offset = scanner.scan(buffer, 0, entries, position=position)
        except FormatError as error:
            if entries:
                yield Batch(buffer, position, 0, entries)
            fault = position + (entries[-1][2] if entries else 0)
            told = gateway_error(error, source, since=fault) or error
            raise told from told.__cause__
        if entries:
            yield Batch(buffer, position, 0, entries)
        if scanner.ended:
            return
        position, rest, chunk = position + offset, buffer[offset:], source.chunk_size
        wanted = scanner.wanted or len(rest) + 1
        if rest and position + wanted > end:
            raise _cut_off(source, position, wanted, end, stop)
        if wanted - len(rest) > source.chunk_size // 2:
            large = scanner.locate(rest, 0, position=position)
            if large is None:
                chunk = wanted if len(rest) >= _PROBE else chunk
            else:
                if bodies:
                    batch, chunk = _large(source, position, large), _PROBE
                else:
                    batch, chunk = _row(source, position, end, large, scanner, most=most)
                    most = min(2 * most, row)
                yield batch
                position, rest = batch.base + batch.entries.stops[-1], b""
    if end < stop:
        raise TruncatedError("payload", wanted=stop - start, got=max(0, end - start), position=end)


def _large(source: Source, position: int, entry: Entry) -> Batch:
    """One section by itself, its data read into a buffer of exactly their size, without a second copy."""
    cid, data, stop = entry
    buffer = source.read_exactly(position + data, stop - data, "block")
    return Batch(buffer, position + data, -data, Entries([cid], [0], [stop - data]))


def _row(
    source: Source, position: int, end: int, first: Entry, scanner: SectionScanner, *, most: int
) -> tuple[Batch, int]:
    """The large section at ``position`` and up to ``most - 1`` that follow it, found by their heads alone.

    Those are the ones of which nothing need be said but where they are: with a CID like that of the first, within
    the limits and in front of ``end``. Returns also how many bytes to read next, to see what follows.
    """
    cid, data, stop = first
    row = Batch(b"", position, 0, Entries([cid], [data], [stop]))
    known = scanner.known_head(cid) if most > 1 else None
    if known is None:
        return row, _PROBE
    peek, end, limit, cid_size = peeker(source), end - position, scanner.limits.section, len(cid)
    least, head_size, chunk = source.chunk_size // 2 + _PROBE, 4 + cid_size, _PROBE
    cids: list[bytes] = []
    starts: list[int] = []
    stops: list[int] = []
    while len(cids) < most - 1 and stop < end:
        try:
            head = peek(head_size, position + stop)
        except OSError:  # of which the next read will tell
            break
        if len(head) < head_size:
            break
        size, at = _long_varint(head)
        if size <= least:
            chunk = source.chunk_size
            break
        at_data = at + cid_size
        cid = head[at:at_data]
        if size > limit or stop + at + size > end or not cid.startswith(known):
            break
        cids.append(cid)
        starts.append(stop + at_data)
        stop += at + size
        stops.append(stop)
    prefix = known if cid_size - len(known) == _DIGEST_SIZE else None
    row.entries.add_run(cids, starts, stops, prefix, len(cids))
    return row, chunk


def _long_varint(head: bytes) -> tuple[int, int]:
    """Value and size of the minimal varint of three or four bytes that ``head`` begins with; 0 if it does not."""
    (word,) = _unpack_word(head)
    if word & 0x808080 == 0x8080 and word & 0x7F0000:
        return (word & 0x7F) | (word >> 1 & 0x3F80) | (word >> 2 & 0x1FC000), 3
    if word & 0x80808080 == 0x808080 and word >> 24:
        return (word & 0x7F) | (word >> 1 & 0x3F80) | (word >> 2 & 0x1FC000) | (word >> 3 & 0xFE00000), 4
    return 0, 0


def _cut_off(source: Source, position: int, wanted: int, end: int, stop: int) -> FormatError:
    """The error for a section at ``position`` that reaches over ``end``, where the payload or the file ends."""
    got = end - position
    if end < stop or end == source.size:
        error = TruncatedError("section", wanted=wanted, got=got, position=end)
        return gateway_error(error, source, since=position) or error
    return FormatError(f"section runs over the end of the payload at byte {end}", position=position)


def gateway_error(error: FormatError, source: Source, *, since: int) -> GatewayTruncatedError | None:
    """The gateway's own words, if a stream whose section at ``since`` went wrong ends with them."""
    start = max(since, source.size - GATEWAY_REACH)
    tail = source.read_at(start, GATEWAY_REACH)
    return gateway_error_in(tail, position=start, error=error)


def gateway_error_in(tail: bytes, *, position: int, error: Exception) -> GatewayTruncatedError | None:
    """The same for the last bytes of a stream, which start at file position ``position``."""
    at = tail.rfind(GATEWAY_MARK)
    if at < 0:
        return None
    reason = tail[at + len(GATEWAY_MARK) :].decode("utf-8", "replace").strip().removesuffix("]")
    found = GatewayTruncatedError(reason, position=position + at)
    found.__cause__ = error
    return found


def gateway_text_under_way(rest: bytes) -> bool:
    """Whether ``rest``, which makes no sense as a section, may be a gateway's reason that has not all arrived."""
    at = rest.rfind(GATEWAY_MARK)
    if at >= 0:
        return b"]" not in rest[at:] and len(rest) - at < GATEWAY_REACH
    return any(rest.endswith(GATEWAY_MARK[:size]) for size in range(1, len(GATEWAY_MARK)))
