"""What is on disk of an archive that was being written: what was promised, what may be kept, what must be cut.

A header that is not zero promises the bytes up to its data size. Behind them, and everywhere in a file that
promises nothing, a section counts if it is whole and its hash is right; the first that is not ends the archive.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

from carv2 import header
from carv2._ahead import WORTH_A_THREAD
from carv2._scan import SectionScanner, batches
from carv2.errors import (
    CarError,
    FormatError,
    IntegrityError,
    LimitError,
    ResumeError,
    UnfinalizedError,
    UnknownHashError,
)
from carv2.section import BlockChecker, data_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from concurrent.futures import Future

    from carv2._scan import Batch
    from carv2._source import Source
    from carv2.cid import CID
    from carv2.header import CarV1Header, CarV2Header
    from carv2.units import Limits

_MAX_PADDING = 16 << 20
"""Zeros between a header that says nothing and the payload; a hole in a file could have any number of them."""


_WORTH_THREADS = 16 << 20
"""Bytes to hash from which on starting threads pays."""

_MAX_THREADS = 4

_AHEAD = 4 << 20
"""Bytes that are read ahead of those that are hashed, if that is more than a block for each thread."""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The state of a file on disk, and what resuming it would do. Positions are absolute in the file."""

    version: int
    state: str
    """``finalized`` (a CARv2 with an index), ``unfinished`` (a header of zeros promises nothing), ``torn`` (what
    follows is no section), or ``whole`` (a CARv1, or a CARv2 as its last checkpoint left it)."""
    payload_position: int
    first_section: int
    payload_header: CarV1Header
    header: CarV2Header | None
    promised_end: int
    """Everything before it was promised by the header; the first section's position, if nothing was."""
    kept_end: int
    """Everything before it is whole sections; resuming goes on from here."""
    file_size: int
    block_count: int
    """Sections before ``kept_end``."""
    reason: str | None
    """Why the sections end at ``kept_end``, if something else than an index or nothing follows."""
    index_kept: bool = False
    """The file's own index is proven right and gone on with; otherwise a new one comes of the sections."""

    @property
    def cut_bytes(self) -> int:
        """Bytes behind ``kept_end`` that are neither a section nor an index: what would be lost."""
        return self.file_size - self.kept_end if self.reason is not None else 0

    def require(self, roots: tuple[CID, ...] | None, version: int | None, data_padding: int | None) -> None:
        """Raise :class:`ResumeError` unless the file is the one that these describe; None describes any."""
        if version is not None and version != self.version:
            why = f"the file is a CARv{self.version}, not a CARv{version}"
            raise ResumeError(why, expected=version, found=self.version)
        padding = self.payload_position - len(header.PRAGMA) - header.SIZE
        if data_padding is not None and self.version == 2 and padding != data_padding:
            why = f"the file has data padding of {padding} bytes, not {data_padding}"
            raise ResumeError(why, expected=data_padding, found=padding)
        if roots is not None and sorted(roots) != sorted(self.payload_header.roots):
            why = f"the roots of the file are {named(self.payload_header.roots)}, not {named(roots)}"
            raise ResumeError(why, expected=roots, found=self.payload_header.roots)


def named(roots: Sequence[CID]) -> str:
    """Roots for a message; not all of very many."""
    if not roots:
        return "none"
    more = f" and {len(roots) - 3} more" if len(roots) > 3 else ""
    return ", ".join(root.short() for root in roots[:3]) + more


def examine(
    source: Source,
    limits: Limits,
    *,
    null_padding: bool = False,
    check_promised: bool = False,
    keep_unknown: bool = False,
    on_batch: Callable[[Batch, int], object] | None = None,
    on_bytes: Callable[[int], object] | None = None,
) -> Recovery:
    """Look a file over without changing it.

    Args:
        source: the file.
        limits: upper bounds for what it may claim.
        null_padding: take a zero-length section for the end of the payload.
        check_promised: hash what the header promises too.
        keep_unknown: take a whole section whose hash function is not available for a good one.
        on_batch: called with the sections that would be kept, and the position of the payload.
        on_bytes: called with the bytes of these sections, some thousands of sections at a time.

    Raises:
        FormatError: not an archive, or damaged where its header promises that it is whole.
        IntegrityError: the same, for a hash.
        ResumeError: a block whose hash function is not available, or that is above a limit, follows what was
            promised.
    """
    examination = _Examination(source, limits, null_padding, on_batch, on_bytes, keep_unknown=keep_unknown)
    return examination.run(check_promised=check_promised)


def _is_large(batch: Batch) -> bool:
    """Whether its blocks are: hashlib lets go of the interpreter for longer than handing them over takes."""
    return len(batch.buffer) >= WORTH_A_THREAD * len(batch.entries)


class _Examination:
    def __init__(
        self,
        source: Source,
        limits: Limits,
        null_padding: bool,
        on_batch: Callable[[Batch, int], object] | None,
        on_bytes: Callable[[int], object] | None,
        *,
        keep_unknown: bool,
    ) -> None:
        self._source, self._limits, self._on_batch, self._on_bytes = source, limits, on_batch, on_bytes
        self._null_padding = null_padding
        self._scanner = SectionScanner(limits, null_padding=null_padding)
        self._checker = BlockChecker((lambda _: None) if keep_unknown else None)
        self._count = self._payload = 0

    def run(self, *, check_promised: bool) -> Recovery:
        source, size = self._source, self._source.size
        front = source.read_at(0, len(header.PRAGMA))
        is_v2 = front == header.PRAGMA
        found = self._v2_header() if is_v2 else None
        payload = self._payload = self._payload_position(is_v2=is_v2, found=found)
        raw = source.read_at(payload, min(512, max(0, size - payload)))
        wanted = header.header_size(raw, position=payload, limits=self._limits)
        raw = raw if len(raw) >= wanted else source.read_at(payload, wanted)
        payload_header, used = header.CarV1Header.parse(raw, position=payload, limits=self._limits)
        first = payload + used
        promised = first if found is None else found.data_end
        if promised < first or promised > size:
            why = f"the header promises data up to byte {promised}, the file has {size}"
            raise FormatError(why, position=27)
        kept = self._walk_promised(first, promised, check=check_promised)
        reason = None
        if found is None or not found.has_index:
            kept, reason = self._walk_tail(kept, size)
        state = self._state(is_v2=is_v2, found=found, torn=reason is not None)
        return Recovery(
            version=2 if is_v2 else 1,
            state=state,
            payload_position=payload,
            first_section=used,
            payload_header=payload_header,
            header=found,
            promised_end=promised,
            kept_end=kept,
            file_size=size,
            block_count=self._count,
            reason=reason,
        )

    def _v2_header(self) -> CarV2Header | None:
        raw = self._source.read_at(len(header.PRAGMA), header.SIZE)
        try:
            return header.CarV2Header.from_bytes(raw)
        except UnfinalizedError:
            return None

    def _payload_position(self, *, is_v2: bool, found: CarV2Header | None) -> int:
        """Behind the header, and behind the zeros of padding if the header does not say where."""
        if not is_v2:
            return 0
        if found is not None:
            return found.data_offset
        first = position = len(header.PRAGMA) + header.SIZE
        while chunk := self._source.read_at(position, 1 << 16):
            rest = chunk.lstrip(b"\x00")
            position += len(chunk) - len(rest)
            if rest:
                break
            if position - first > _MAX_PADDING:
                why = f"nothing but zeros follows the pragma for {_MAX_PADDING} bytes: there is no payload"
                raise FormatError(why, position=first)
        return position

    def _walk_promised(self, first: int, promised: int, *, check: bool) -> int:
        end = first
        found = batches(self._source, first, promised, self._scanner, bodies=check)
        for batch, good in self._checked(found, promised - first) if check else zip(found, repeat(None)):
            if good is not None and good < len(batch.entries):  # raise what is wrong
                cid, start, stop = batch.entries[good]
                self._checker.check(cid, batch.buffer[start:stop], position=batch.base + start)
            self._take(batch)
            end = batch.base + batch.entries[-1][2]
        return end

    def _walk_tail(self, first: int, size: int) -> tuple[int, str | None]:
        """End of the last whole section with the right hash; why it is the last, if the file goes on."""
        end = first
        scanner = SectionScanner(self._limits, null_padding=self._null_padding)
        checked = self._checked(batches(self._source, first, size, scanner), size - first)
        try:
            with contextlib.closing(checked):
                for batch, good in checked:
                    is_right = good == len(batch.entries)
                    if good:
                        self._take(batch if is_right else batch._replace(entries=batch.entries[:good]))
                        end = batch.base + batch.entries[good - 1][2]
                    if not is_right:
                        return end, f"the data of the section at byte {end} do not match its hash"
        except UnknownHashError as error:
            why = f"cannot tell what is whole behind byte {end}: {error}"
            raise ResumeError(why, expected="a hash function that is known", found=error.hash_code) from error
        except LimitError as error:
            if error.limit == "section" and error.position + error.found < size:
                why = f"cannot tell what is whole behind byte {end}: {error}"
                raise ResumeError(why, expected=error.allowed, found=error.found) from error
            return end, str(error)
        except CarError as error:
            return end, str(error)
        return end, self._behind_padding(end, size) if scanner.ended else None

    def _behind_padding(self, start: int, size: int) -> str | None:
        """What is wrong with the zeros that end the payload, if they do not reach to the end of the file."""
        for at in range(start, size, 1 << 20):
            chunk = self._source.read_exactly(at, min(1 << 20, size - at), "padding")
            if any(chunk):
                return f"what follows the zeros at byte {start} is no padding"
        return None

    def _checked(self, found: Iterator[Batch], size: int) -> Generator[tuple[Batch, int]]:
        """Each batch with how many of its sections are right, counted up to the first that is not.

        What goes wrong in ``found`` is raised behind all that comes before it, as if there were no threads.
        """
        threads = min(_MAX_THREADS, os.cpu_count() or 1)
        if size < _WORTH_THREADS or threads < 2:
            return ((batch, self._good_entries(batch)) for batch in found)
        return self._by_threads(found, threads)

    def _by_threads(self, found: Iterator[Batch], threads: int) -> Generator[tuple[Batch, int]]:
        from collections import deque  # noqa: PLC0415  (15 ms, for those who have much to hash)
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        ahead: deque[tuple[Batch, Future[int]]] = deque()
        held, batch = 0, None
        fault: CarError | OSError | None = None
        with ThreadPoolExecutor(threads) as pool:
            try:
                while True:
                    try:
                        batch = next(found, None)
                    except (CarError, OSError) as error:
                        batch, fault = None, error
                    is_large = batch is not None and _is_large(batch)
                    if batch is not None and is_large:
                        ahead.append((batch, pool.submit(self._good_entries, batch)))
                        held += len(batch.buffer)
                    while ahead and (not is_large or (held > _AHEAD and len(ahead) > threads)):
                        done, good = ahead.popleft()
                        held -= len(done.buffer)
                        yield done, good.result()
                    if batch is None:
                        break
                    if not is_large:
                        yield batch, self._good_entries(batch)
            finally:
                for _, check in ahead:
                    check.cancel()
        if fault is not None:
            raise fault

    def _good_entries(self, batch: Batch) -> int:
        if not _is_large(batch) and self._checker.are_right(batch.entries, data_of(batch.buffer, batch.entries)):
            return len(batch.entries)
        constructors = self._checker.constructors
        for at, (cid, start, stop) in enumerate(batch.entries):
            data = batch.buffer[start:stop]
            make = constructors.get(cid[:-32])
            if make is None or make(data).digest() != cid[-32:]:
                try:
                    self._checker.check(cid, data, position=batch.base + start)
                except UnknownHashError:
                    raise
                except (IntegrityError, FormatError):
                    return at
        return len(batch.entries)

    def _take(self, batch: Batch) -> None:
        self._count += len(batch.entries)
        if self._on_batch is not None:
            self._on_batch(batch, self._payload)
        if self._on_bytes is not None:
            self._on_bytes(batch.entries[-1][2] - batch.start)

    @staticmethod
    def _state(*, is_v2: bool, found: CarV2Header | None, torn: bool) -> str:
        if torn:
            return "torn"
        if not is_v2:
            return "whole"
        if found is None:
            return "unfinished"
        return "finalized" if found.has_index else "whole"
