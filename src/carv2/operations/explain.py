"""An annotated hex dump of an archive or index: what each byte is for, up to the first that breaks a rule.

Whether bytes are good is the readers' judgement: what they raise becomes the last field. Here they are only
described, so that a file which the readers take is described to its end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from carv2 import _varint, index
from carv2._scan import SectionScanner, batches
from carv2._source import SliceView, open_source
from carv2.cid import CID
from carv2.errors import CarError, FormatError, GatewayTruncatedError, IntegrityError, UnfinalizedError
from carv2.header import PRAGMA, SIZE, CarV1Header, CarV2Header
from carv2.multicodec import name_of
from carv2.operations._explain_header import car_v1_fields, car_v2_fields
from carv2.operations._explain_index import index_fields
from carv2.operations._explain_parts import KEPT, Field, Window, cid_fields, count_of, heading
from carv2.reader import CarReader, _read_header
from carv2.section import BlockChecker
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from carv2._scan import Batch
    from carv2._source import Source, SourceLike

__all__ = ["Field", "explain", "to_lines"]

_INDEX_STARTS = (b"\x80\x08", b"\x81\x08")
_LEAST_MAP = b"\xa0"  # the first byte of a header's CBOR is at least this; an index has a small count there
_MAX_TARGETS = 1 << 20
_HEAD_SEEN = 4096
"""Bytes that hold a length and a CID, but for identity CIDs made to annoy."""
_TEXT_SHOWN = 16
_BYTES_SHOWN = 8


def explain(
    source: SourceLike,
    *,
    limits: Limits = DEFAULT_LIMITS,
    max_sections: int | None = None,
    null_padding: bool = False,
) -> Iterator[Field]:
    """Say what the bytes of a file are, field by field, in file order.

    Any bytes will do: a CARv1, a CARv2, finished or not, an index by itself, one of these cut off or damaged,
    or none of them. The last field of a bad file has ``error`` set; nothing is raised for what a file holds.
    Blocks are checked against their hashes. The file is opened when the first field is asked for.

    Args:
        source: a path, bytes, a seekable binary file or an fsspec file.
        limits: upper bounds for what the file may claim.
        max_sections: fold the good blocks behind so many into one field; None shows all.
        null_padding: take a zero-length section for the end of the payload; otherwise it is an error.

    Raises:
        OSError: the file cannot be read.

    Memory: a section, a header, and the places of the first million sections, 8 bytes each.

    >>> fields = list(explain(bytes.fromhex("11a265726f6f7473806776657273696f6e02")))
    >>> [(field.position, field.meaning, field.value) for field in fields[6:9]]
    [(9, 'key', '7 bytes'), (10, 'key text', "'version'"), (17, 'version', '2')]
    >>> fields[-1].error
    'a header of version 2 that is not the CARv2 pragma (at byte 0)'
    """
    opened = open_source(source)
    try:
        yield from _Explainer(opened, limits, max_sections, null_padding=null_padding).fields()
    finally:
        if opened is not source:
            opened.close()


def to_lines(fields: Iterable[Field]) -> Iterator[str]:
    r"""One line of text for each field: position (decimal, hex), first bytes, meaning, value.

    Deeper fields are indented; the line of an error starts with an arrow. What a terminal would obey is escaped.

    >>> print(*to_lines([Field(138, b"\x03", 1, 1, "section length", "3 bytes")]), sep="\n")
         138 0000008a  03                           section length               3 bytes
    """
    for field in fields:
        if field.error is not None:
            yield f"--> {_escaped(field.error)}"
            continue
        shown = field.raw[:_BYTES_SHOWN].hex(" ")
        if field.raw and field.size > _BYTES_SHOWN:
            shown += " .."
        meaning = "  " * field.depth + field.meaning
        text = f"{field.position:>8} {field.position:08x}  {shown:<26} {meaning:<30} {field.value}"
        yield _escaped(text.rstrip())


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class _Borrowed:
    """A source that outlives its readers."""

    def __init__(self, source: Source) -> None:
        self._source, self.chunk_size = source, source.chunk_size

    @property
    def size(self) -> int:
        return self._source.size

    def read_at(self, position: int, size: int) -> bytes:
        return self._source.read_at(position, size)

    def read_exactly(self, position: int, size: int, field: str) -> bytes:
        return self._source.read_exactly(position, size, field)

    def close(self) -> None:
        """Its owner will."""


class _Span(NamedTuple):
    """Where a payload lies in the file, as far as the file goes, and where its first section is."""

    start: int
    first: int
    stop: int
    depth: int


class _Item(NamedTuple):
    """A section, checked; ``cid`` is empty if ``error`` is that there is no whole section."""

    position: int
    cid: bytes
    data: bytes
    verdict: str
    error: CarError | None


class _Targets:
    """Where sections start, so that an index can be held against them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._offsets = array("Q")
        self._payload: int | None = None
        self._complete = True

    def open(self, payload: int) -> None:
        """The sections that follow are of the payload at this file position."""
        self._payload = payload

    def add(self, position: int) -> None:
        """A section starts here."""
        if len(self._offsets) < _MAX_TARGETS and self._payload is not None:
            self._offsets.append(position - self._payload)
        else:
            self._complete = False

    def is_start(self, offset: int) -> bool:
        return self._payload is None or not self._complete or self._number_of(offset) is not None

    def describe(self, offset: int, digest: bytes) -> str:
        number = self._number_of(offset)
        if self._payload is None or (number is None and not self._complete):
            return str(offset)
        if number is None:
            return f"{offset} -> no section starts there"
        front = self._source.read_at(self._payload + offset, _HEAD_SEEN)
        entry = SectionScanner(Limits(section=_varint.MAX_VALUE)).locate(front, 0, position=0)
        same = entry is None or CID.trusted(entry[0]).digest.startswith(digest)
        return f"{offset} -> section {number}" + ("" if same else ", which has another digest")

    def _number_of(self, offset: int) -> int | None:
        at = bisect_left(self._offsets, offset)
        return at + 1 if at < len(self._offsets) and self._offsets[at] == offset else None


class _Explainer:
    """Goes through a file once, front to back."""

    def __init__(self, source: Source, limits: Limits, max_sections: int | None, *, null_padding: bool) -> None:
        self._source, self._size = source, source.size
        self._limits, self._null_padding = limits, null_padding
        self._max_sections = max_sections
        self._targets = _Targets(source)
        self._unverified: list[CID] = []  # the last one that could not be checked, while it is told of
        self._checker = BlockChecker(self._unverified.append)
        self._unfinished = False

    def fields(self) -> Iterator[Field]:
        """All of it, and the error that ends it, if one does."""
        try:
            yield from self._file()
        except (FormatError, IntegrityError) as error:
            raw = self._peek(error.position, KEPT)
            yield Field(error.position, raw, len(raw), 0, type(error).__name__, error=str(error))

    def _file(self) -> Iterator[Field]:
        front = self._peek(0, len(PRAGMA))
        if front.startswith(_INDEX_STARTS) and front[2:3] < _LEAST_MAP:
            end = yield from self._index(0, lambda: index.parse(SliceView(self._source, 0, self._size)))
            yield from self._run(end, self._size, "bytes behind the index")
            return
        is_v2 = front == PRAGMA
        yield from self._header(_Span(0, 0, self._size, 0), "pragma" if is_v2 else "CARv1 header")
        if is_v2:
            yield from car_v2_fields(self._peek(len(PRAGMA), SIZE), 0, position=len(PRAGMA))
        try:
            car = CarReader(_Borrowed(self._source), limits=self._limits, null_padding=self._null_padding)
        except UnfinalizedError:
            yield from self._unfinished_file()
            raise
        if car.header is None:
            span = _Span(0, car.first_section, self._size, 0)
            yield from self._sections(span, car.batches())
        else:
            yield from self._finished_file(car, car.header)

    def _finished_file(self, car: CarReader, header: CarV2Header) -> Iterator[Field]:
        """A CARv2 behind its header."""
        start, stop = header.data_offset, min(header.data_end, self._size)
        yield from self._run(len(PRAGMA) + SIZE, start, "padding")
        yield heading(start, max(0, stop - start), 0, "CARv1 payload", f"up to byte {header.data_end}")
        span = _Span(start, 0, stop, 1)
        yield from self._header(span, "CARv1 header")
        yield from self._sections(span._replace(first=start + car.first_section), car.batches())
        end: int = stop
        if header.has_index:
            yield from self._run(stop, header.index_offset, "padding")
            end = yield from self._index(header.index_offset, lambda: car.index, payload_end=stop)
        what = "bytes behind the index" if header.has_index else "bytes behind the payload"
        yield from self._run(max(stop, end), self._size, what)

    def _unfinished_file(self) -> Iterator[Field]:
        """A CARv2 behind its header of zeros: the payload, as far as it was written, and maybe an index."""
        start = self._after_zeros(len(PRAGMA) + SIZE)
        yield from self._run(len(PRAGMA) + SIZE, start, "padding")
        if start == self._size:
            return
        span = _Span(start, 0, self._size, 1)
        yield heading(start, self._size - start, 0, "CARv1 payload", "as far as it was written")
        yield from self._header(span, "CARv1 header")
        front = _read_header(self._source, start, self._size, self._limits)
        first = start + CarV1Header.parse(front, position=start, limits=self._limits)[1]
        scanner = SectionScanner(self._limits, null_padding=self._null_padding)
        found = batches(self._source, first, self._size, scanner)
        self._unfinished = True
        end = yield from self._sections(span._replace(first=first), found)
        if not self._has_index(end):
            yield from self._run(end, self._size, "null padding", 1)
            return
        at = self._after_zeros(end)
        yield from self._run(end, at, "padding")
        yield from self._index(at, lambda: self._parsed_index(at))

    def _header(self, span: _Span, title: str) -> Iterator[Field]:
        """The fields of a CARv1 header; whether it is one is for who reads it to say."""
        if span.start >= span.stop:  # nothing, or a payload behind the end of the file
            return
        try:
            front = _read_header(self._source, span.start, span.stop, self._limits)
        except FormatError:
            front = self._peek(span.start, min(_varint.MAX_SIZE, span.stop - span.start))
        yield from car_v1_fields(front, title, span.depth, position=span.start, limits=self._limits)

    # -- sections ------------------------------------------------------------------------------------------

    def _sections(self, span: _Span, found: Iterator[Batch]) -> Generator[Field, None, int]:
        """The fields of all sections; the position behind them."""
        self._targets.open(span.start)
        position = folded_from = span.first
        folded = 0
        for number, item in enumerate(self._items(found, position), 1):
            if item.error is not None and self._unfinished and self._has_index(item.position):
                break
            hidden = self._max_sections is not None and number > self._max_sections
            if hidden and item.error is None:
                folded_from, folded = folded_from if folded else item.position, folded + 1
            else:
                yield from _fold(folded_from, position, folded, span.depth)
                yield from self._section(item, number, span)
                folded = 0
            if item.error is not None:
                raise item.error from item.error.__cause__
            self._targets.add(item.position)
            position = item.position + len(_head_of(item)) + len(item.data)
        yield from _fold(folded_from, position, folded, span.depth)
        if not self._unfinished:
            yield from self._run(position, span.stop, "null padding", span.depth)
        return position

    def _items(self, found: Iterator[Batch], position: int) -> Iterator[_Item]:
        """Each section, or why there is none."""
        constructors = self._checker.constructors
        try:
            for batch in found:
                position = batch.base + batch.start
                for cid, start, stop in batch.entries:
                    data = batch.buffer[start:stop]
                    make = constructors.get(cid[:-32])
                    if make is not None and make(data).digest() == cid[-32:]:
                        yield _Item(position, cid, data, "verified", None)
                    else:
                        yield self._checked(position, cid, data, batch.base + start)
                    position = batch.base + stop
        except FormatError as error:
            yield _Item(position, b"", b"", "", error)

    def _checked(self, position: int, cid: bytes, data: bytes, data_position: int) -> _Item:
        self._unverified.clear()
        try:
            self._checker.check(cid, data, position=data_position)
        except CarError as error:
            return _Item(position, cid, data, "hash mismatch", error)
        verdict = "verified"
        if self._unverified:
            verdict = f"not verified: no hash function {name_of(CID.trusted(cid).hash_code)} here"
        return _Item(position, cid, data, verdict, None)

    def _section(self, item: _Item, number: int, span: _Span) -> Iterator[Field]:
        if not item.cid:
            yield from self._broken_section(item, number, span)
            return
        position, depth, head = item.position, span.depth, _head_of(item)
        size = len(head) + len(item.data)
        where = f"payload offset {position - span.start}, {count_of(size, 'byte')}"
        yield heading(position, size, depth, f"section {number}", where)
        window, start = Window(head, position), len(head) - len(item.cid)
        yield window.field(0, start, depth + 1, "section length", count_of(size - start, "byte"))
        yield from cid_fields(window, start, len(head), depth + 1)
        value = f"{count_of(len(item.data), 'byte')}, {item.verdict}  {_as_text(item.data)}"
        yield Field(
            position + len(head), item.data[:KEPT], len(item.data), depth + 1, "block data", value.rstrip()
        )

    def _broken_section(self, item: _Item, number: int, span: _Span) -> Iterator[Field]:
        """What can be told of a section that is cut or wrong."""
        position, depth = item.position, span.depth
        there = span.stop - position
        if there <= 0:
            return
        title, where = f"section {number}", f"payload offset {position - span.start}"
        if isinstance(item.error, GatewayTruncatedError):
            yield from self._run(position, item.error.position, f"{title}, cut short", depth)
            return
        window = Window(self._peek(position, min(there, _HEAD_SEEN)), position)
        try:
            size, start = _varint.decode(window.buffer, 0, len(window.buffer), position=position)
        except FormatError:
            return
        stop = min(start + size, there)
        yield heading(position, stop, depth, title, where)
        yield window.field(0, start, depth + 1, "section length", count_of(size, "byte"))
        if not 0 < size <= self._limits.section:
            return
        fields = list(cid_fields(window, start, start + size, depth + 1))
        yield from fields
        at = fields[-1].position + fields[-1].size - position if fields else stop
        if at < stop and fields[0].meaning == "CID":
            cut = f"{stop - at:,} of {count_of(start + size - at, 'byte')}"
            yield window.field(at, stop, depth + 1, "block data", cut)

    # -- the rest ------------------------------------------------------------------------------------------

    def _index(
        self, start: int, read: Callable[[], index.Index | None], *, payload_end: int = 0
    ) -> Generator[Field, None, int]:
        """The fields of an index; the position behind it."""
        found, failure = None, None
        try:
            found = read()
        except FormatError as error:
            failure = error
        end = self._size if found is None else start + found.size
        if start < self._size:
            note = "it lies across other parts of the file" if start < payload_end else ""
            yield heading(start, end - start, 0, "index", note)
            view = SliceView(self._source, start, self._size)
            headless = found is not None and found.is_headless
            yield from index_fields(view, self._targets, 1, position=start, is_headless=headless)
        if failure is not None:
            raise failure from failure.__cause__
        return end

    def _has_index(self, position: int) -> bool:
        """Whether what stands there, behind zeros maybe, is an index that takes up the rest of the file."""
        start = self._after_zeros(position)
        try:
            found = self._parsed_index(start)
        except FormatError:
            return False
        return not found.is_headless and start + found.size == self._size

    def _parsed_index(self, start: int) -> index.Index:
        return index.parse(SliceView(self._source, start, self._size), position=start)

    def _run(self, start: int, stop: int, meaning: str, depth: int = 0) -> Iterator[Field]:
        """Bytes that are there for no reader."""
        stop = min(stop, self._size)
        if start < stop:
            zeros = self._after_zeros(start, stop) == stop
            value = f"{count_of(stop - start, 'byte')}, {'all zeros' if zeros else 'not all zeros'}"
            raw = self._peek(start, min(KEPT, stop - start))
            yield Field(start, raw, stop - start, depth, meaning, value)

    def _after_zeros(self, start: int, stop: int | None = None) -> int:
        """The position of the first byte from ``start`` on that is not zero."""
        stop = self._size if stop is None else stop
        while start < stop:
            chunk = self._peek(start, min(self._source.chunk_size, stop - start))
            rest = chunk.lstrip(b"\x00")
            start += len(chunk) - len(rest)
            if rest or not chunk:
                break
        return start

    def _peek(self, position: int, size: int) -> bytes:
        room = min(size, self._size - position)
        return self._source.read_at(position, room) if room > 0 else b""


def _fold(start: int, stop: int, count: int, depth: int) -> Iterator[Field]:
    if count:
        size = f"{count_of(stop - start, 'byte')}, as good as those shown"
        yield heading(start, stop - start, depth, f"... {count_of(count, 'more section')}", size)


def _head_of(item: _Item) -> bytes:
    """Length varint and CID, as they are in the file: a varint has one form only."""
    return _varint.encode(len(item.cid) + len(item.data)) + item.cid


def _as_text(data: bytes) -> str:
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data[:_TEXT_SHOWN])
    return f"|{shown}|" if shown else ""
