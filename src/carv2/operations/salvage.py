"""Every whole, verified block of a damaged archive, written to a new one.

Where the sections stop making sense, the next one is searched for: a CID head that archives are made of, a
length in front of it that fits, and data behind it whose hash is right. Nothing else counts as found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2 import header
from carv2._scan import SectionScanner
from carv2._source import open_source
from carv2.cid import CID
from carv2.errors import CarError, FormatError, IntegrityError, LimitError, TruncatedError, UnknownHashError
from carv2.header import PRAGMA, SIZE, CarV1Header, CarV2Header
from carv2.multihash import IDENTITY, is_known
from carv2.section import BlockChecker
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import create

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from carv2._source import Source, SourceLike

_FIRST_WINDOW, _WINDOW = 4 << 10, 1 << 20
_OVERLAP = 16  # a length and the head of a CID may lie across two windows
_GLANCE = 64 << 20
"""Bytes that may be hashed in search of a place to cut a whole archive."""

_MAX_PADDING = 16 << 20
"""Zeros that are passed over for a payload header, where a file without one is not to be gone through."""

_PATIENCE = 16
"""Times the size of the file that may be hashed in search of the next section."""
_LOOK = 512  # what it costs to look at one place, in bytes hashed meanwhile
_PROOF = 8
"""Bytes of a digest (of data, with an identity CID) from which on a match is no accident."""

# A CIDv0, or the head of a CIDv1: codec, then a hash function that can be checked here.
_CID_HEAD = re.compile(
    rb"[\x01\x12](?:(?<=\x12)(?=\x20)|(?<=\x01)(?=[\x80-\xff]{0,3}[\x00-\x7f]"
    rb"(?:[\x00\x11-\x1e\x20\x56]|\xd5\x01|[\x92-\x95]\x20|[\x81-\xe0]\xe4\x02)))"
)


@dataclass(frozen=True, kw_only=True)
class LostRange:
    """Bytes of the damaged archive that no block was found in; positions are absolute in the file."""

    start: int
    stop: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Salvage:
    """What came of a salvage."""

    block_count: int
    """Blocks written, each of them whole and with the right hash."""
    block_bytes: int
    unverified_count: int
    """Blocks left behind (or written, if asked to) whose hash function is not available."""
    lost: tuple[LostRange, ...]
    has_header: bool
    """Whether the old archive's header could be read."""
    roots: tuple[CID, ...]
    """Of the new archive: those of the old one, if its header could be read."""
    missing_roots: tuple[CID, ...]
    """Roots that are not among the blocks written."""

    @property
    def lost_bytes(self) -> int:
        """Bytes in which nothing was found."""
        return sum(lost.stop - lost.start for lost in self.lost)


def salvage(
    source: SourceLike,
    destination: str | os.PathLike[str],
    *,
    version: int = 2,
    unverified: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Salvage:
    """Write every whole, verified block of ``source`` to a new archive at ``destination``.

    Anything may be wrong with the source: cut off, overwritten in the middle, never finished, its header or its
    index lost. The new archive appears when it is whole; an index is made anew.

    Args:
        source: the damaged archive, of either version.
        destination: path of the new one.
        version: of the new one, 1 or 2.
        unverified: write blocks whose hash function is not available here too.
        limits: upper bounds for a section.

    Raises:
        FileExistsError: ``destination`` exists.

    >>> import carv2, os, tempfile
    >>> archive = b"".join(carv2.iter_car([], [(carv2.CID.of_data(x), x) for x in (b"fish", b"lobster")]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = salvage(archive[:-1], os.path.join(folder, "new.car"))
    >>> report.block_count, [(lost.start, lost.stop) for lost in report.lost]
    (1, [(59, 102)])
    """
    opened = open_source(source)
    try:
        search = _Search(opened, limits, unverified=unverified)
        start, roots = search.layout()
        missing = {bytes(root) for root in roots if not root.is_identity}
        count = size = 0
        with create(destination, roots, version=version, verify=False, limits=limits) as car:
            for cid, data in search.blocks(start):
                car.write(cid, data)
                missing.discard(cid)
                count, size = count + 1, size + len(data)
        return Salvage(
            block_count=count,
            block_bytes=size,
            unverified_count=search.unverified_count,
            lost=tuple(search.lost),
            has_header=search.has_header,
            roots=roots,
            missing_roots=tuple(root for root in roots if bytes(root) in missing),
        )
    finally:
        if opened is not source:
            opened.close()


def whole_blocks(source: Source, *, limits: Limits) -> tuple[tuple[CID, ...], Iterator[tuple[bytes, bytes]]]:
    """The roots of a damaged archive, and each whole, verified block of it.

    Raises:
        FormatError: no header tells roots; the file is not gone through to find more.
    """
    search = _Search(source, limits, unverified=False)
    start, roots = search.layout(needs_roots=True)
    return roots, search.blocks(start)


def next_section(source: Source, position: int, stop: int, *, limits: Limits) -> int:
    """The first position from ``position`` on at which a whole, verified section stands; ``stop`` if none.

    It may be inside a block, if the block holds sections itself.
    """
    search = _Search(source, limits, unverified=False)
    search._budget = _GLANCE  # noqa: SLF001  (an archive that makes this hard is gone through in one pass)
    return search.next_section(position, stop)


class _Search:
    """Goes over a damaged archive once, front to back."""

    def __init__(self, source: Source, limits: Limits, *, unverified: bool) -> None:
        self._source, self._limits, self._unverified = source, limits, unverified
        self._size = self._stop = source.size
        self._scanner = SectionScanner(limits)
        self._checker = BlockChecker()
        self._budget = _PATIENCE * self._size + (64 << 20)
        self.lost: list[LostRange] = []
        self.has_header = False
        self.unverified_count = 0

    # -- headers ------------------------------------------------------------------------------------------

    def layout(self, *, needs_roots: bool = False) -> tuple[int, tuple[CID, ...]]:
        """Where sections start, and the roots, as far as headers tell; on request, FormatError if none does."""
        start = len(PRAGMA) + SIZE
        if self._source.read_at(0, len(PRAGMA)) != PRAGMA:  # a CARv1, or it is the pragma that is damaged
            return self._payload([0, start], needs_roots=needs_roots)
        try:
            found = CarV2Header.from_bytes(self._source.read_at(len(PRAGMA), SIZE))
        except FormatError as error:
            self._lose(len(PRAGMA), min(start, self._size), error)
            zeros = _MAX_PADDING if needs_roots else self._size
            return self._payload([start, self._behind_zeros(start, most=zeros)], needs_roots=needs_roots)
        if self._accounts_for_all(found):
            self._stop = found.data_end
        return self._payload(
            [found.data_offset, start, self._behind_zeros(start, most=self._size)], needs_roots=needs_roots
        )

    def _payload(self, starts: list[int], *, needs_roots: bool) -> tuple[int, tuple[CID, ...]]:
        """The same for the payload, whose header is at the first of ``starts`` where there is one."""
        failures: list[FormatError] = []
        for start in starts:
            try:
                first, roots = self._payload_header(start)
            except FormatError as error:
                failures.append(error)
                continue
            self.has_header = True
            if failures and not self.lost:
                self._lose(len(PRAGMA) if starts[0] else 0, len(PRAGMA) + SIZE, failures[0])
            return first, roots
        if needs_roots:
            raise failures[0]
        start = min(starts)
        first = self.next_section(start, self._size)
        self._lose(start, first, failures[0])
        return first, ()

    def _payload_header(self, start: int) -> tuple[int, tuple[CID, ...]]:
        front = self._source.read_at(start, 512)
        wanted = header.header_size(front, position=start, limits=self._limits)
        front = self._source.read_at(start, wanted)
        found, used = CarV1Header.parse(front, position=start, limits=self._limits)
        usual = len(found.to_bytes())
        if usual < used:  # bytes behind the map are no error; but it may be the length that is damaged
            used = min(self.next_section(start + usual, self._size) - start, used)
        return start + used, found.roots

    def _accounts_for_all(self, found: CarV2Header) -> bool:
        """Whether nothing but an index and padding lies behind where the header says that the payload ends."""
        end = min(found.index_offset, self._size) if found.has_index else self._size
        return found.data_end <= end and self._behind_zeros(found.data_end, most=self._size) >= end

    def _behind_zeros(self, position: int, *, most: int) -> int:
        """The first position from ``position`` on whose byte is not zero, or where about ``most`` zeros end."""
        end = position + most
        while position < end and (chunk := self._source.read_at(position, _WINDOW)):
            left = len(chunk.lstrip(b"\0"))
            position += len(chunk) - left
            if left:
                break
        return position

    # -- sections -----------------------------------------------------------------------------------------

    def blocks(self, position: int) -> Iterator[tuple[bytes, bytes]]:
        """Each whole block with the right hash from ``position`` on."""
        while position not in {self._stop, self._size}:
            end = None
            try:
                cid, data_position, end = self._locate(position)
                data = self._source.read_exactly(data_position, end - data_position, "block")
                error = self._unproven(cid, data, data_position)
                if error is not None and not self._may_end(end):
                    raise error
            except CarError as fault:
                after = self._after_fault(position, end)
                self._lose(position, after, fault)
                position = after
                continue
            if error is not None:
                self.unverified_count += 1
            if error is None or self._unverified:
                yield cid, data
            else:
                self._lose(position, end, error)
            position = end

    def _unproven(self, cid: bytes, data: bytes, position: int) -> CarError | None:
        """Why nobody can tell whether the block is right; raises if somebody can, and it is not."""
        parts = CID.trusted(cid).parts
        if parts.hash_code != IDENTITY and parts.size > self._limits.cid:
            raise LimitError("cid", found=parts.size, allowed=self._limits.cid, position=position - parts.size)
        try:
            self._checker.check(cid, data, position=position)
        except UnknownHashError as error:
            return error
        if parts.hash_code != IDENTITY and parts.digest_size < _PROOF:
            found = CID.trusted(cid)
            why = f"a digest of {parts.digest_size} bytes proves nothing: {found.short()}"
            return IntegrityError(why, cid=found, position=position)
        return None

    def _locate(self, position: int) -> tuple[bytes, int, int]:
        front = self._source.read_at(position, 128)
        entry = self._scanner.locate(front, 0, position=position)
        wanted = self._scanner.wanted
        if entry is None and len(front) < wanted <= self._size - position:
            self._budget -= wanted
            front = self._source.read_at(position, wanted)
            entry = self._scanner.locate(front, 0, position=position)
        if entry is None or position + entry[2] > self._size:
            got = self._size - position
            raise TruncatedError("section", wanted=wanted or got + 1, got=got, position=self._size)
        return entry[0], position + entry[1], position + entry[2]

    def _may_end(self, position: int) -> bool:
        """Whether it looks as if a section ended there: another one starts, or nothing more comes."""
        if position in {self._stop, self._size}:
            return True
        try:
            self._locate(position)
        except CarError:
            return False
        return True

    def _after_fault(self, position: int, end: int | None) -> int:
        """Where to go on behind a section that is not right, or none at all (then ``end`` is None)."""
        self._budget -= (end or position) - position
        if end is None or not self._is_proof(end):
            return self.next_section(position + 1, self._size)
        found = behind = self.next_section(position + 1, end)
        while behind < end:  # what is within: sections that a wrong length took in, or just bytes of the block
            behind = self._section_end(behind) or self._size + 1
        return found if behind == end else end

    # -- the search for a section -------------------------------------------------------------------------

    def next_section(self, position: int, stop: int) -> int:
        """The first position from ``position`` on at which a whole, verified section stands; ``stop`` if none."""
        size = _FIRST_WINDOW
        while position < stop and self._budget > 0:
            window = self._source.read_at(position, min(size, stop - position + _OVERLAP))
            if not window:  # the file was made shorter meanwhile
                return stop
            for match in _CID_HEAD.finditer(window):
                for front in _lengths_before(window, match.start()):
                    if self._budget <= 0:
                        return stop
                    if self._is_proof(position + front):
                        self._budget -= front
                        return min(position + front, stop)
            self._budget -= len(window)
            position += len(window) if len(window) < size else size - _OVERLAP
            size = min(4 * size, _WINDOW)
        return stop

    def _is_proof(self, position: int) -> bool:
        """Whether a verified section there is no accident: an identity CID of a few bytes may be, by itself."""
        start = position
        while (end := self._section_end(position)) is not None:
            if end - position > _PROOF + 6:
                return True
            position = end
        return position in {self._stop, self._size} or (position > start and self._is_likely(position))

    def _is_likely(self, position: int) -> bool:
        """Whether the front of a section there looks right, though the whole may not be."""
        try:
            parts = CID.trusted(self._locate(position)[0]).parts
        except CarError:
            return False
        return parts.hash_code != IDENTITY and parts.digest_size >= _PROOF and is_known(parts.hash_code)

    def _section_end(self, position: int) -> int | None:
        """Where the section ends that stands there, by its hash; None if there is none."""
        try:
            cid, data_position, end = self._locate(position)
            self._budget -= end - position + _LOOK
            data = self._source.read_exactly(data_position, end - data_position, "block")
            if self._unproven(cid, data, data_position) is not None:
                return None
        except CarError:
            return None
        return end

    def _lose(self, start: int, stop: int, error: CarError) -> None:
        reason = str(error)
        if self.lost and self.lost[-1].stop == start:
            start, reason = self.lost[-1].start, self.lost[-1].reason
            self.lost.pop()
        if start < stop:
            self.lost.append(LostRange(start=start, stop=stop, reason=reason))


def _lengths_before(window: bytes, at: int) -> Iterator[int]:
    """Where a section's length may start, if its CID is at ``window[at]``: a minimal varint ends there."""
    front = at - 1
    if front < 0 or not 0 < window[front] < 128:
        return
    yield front
    while front > max(0, at - 5) and window[front - 1] >= 128:
        front -= 1
        yield front
