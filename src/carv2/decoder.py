"""A push parser for archives that arrive in chunks: it does no I/O, so any kind of it will do.

Sources: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/), the CARv2 specification
(https://ipld.io/specs/transport/car/carv2/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2 import header
from carv2._scan import GATEWAY_REACH, Entries, SectionScanner, gateway_error_in, gateway_text_under_way
from carv2.errors import CarError, FormatError, GatewayTruncatedError, TruncatedError, VersionError
from carv2.section import Block, BlockChecker, blocks_of, data_of, new_block
from carv2.units import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator

    from carv2.cid import CID

__all__ = ["CarDecoder", "aiter_blocks", "iter_blocks"]


class CarDecoder:
    r"""Takes the bytes of a CARv1 or CARv2 in pieces of any size, gives the blocks that they complete.

    Of a CARv2 the payload is decoded; padding and index go by unread. Memory: the section that is under way.

    >>> decoder = CarDecoder()
    >>> decoder.feed(bytes.fromhex("11a265726f6f7473806776657273696f6e"))
    []
    >>> decoder.feed(b"\x01")
    []
    >>> decoder.roots, decoder.finish()
    ((), None)

    Args:
        verify: check each block against its hash.
        limits: upper bounds for what the stream may claim.
        null_padding: take a zero-length section for the end of the payload.
        on_unverified: called with each CID whose hash function is not available here; without it that is an
            error.
    """

    def __init__(
        self,
        *,
        verify: bool = True,
        limits: Limits = DEFAULT_LIMITS,
        null_padding: bool = False,
        on_unverified: Callable[[CID], object] | None = None,
    ) -> None:
        self.version: int | None = None
        """1 or 2, None until it has arrived."""
        self.header: header.CarV2Header | None = None
        self.payload_header: header.CarV1Header | None = None
        self._limits = limits
        self._scanner = SectionScanner(limits, null_padding=null_padding)
        self._checker = BlockChecker(on_unverified) if verify else None
        self._parts: list[bytes] = []
        self._held = 0  # bytes in _parts
        self._wanted = 1  # bytes that must be held before there is anything to do
        self._position = 0  # of the first byte held
        self._end: int | None = None  # of the payload, where it is known
        self._done = False  # the payload is behind us
        self._step: Callable[[bytes], int] = self._take_version
        self._blocks: list[Block] = []
        self._failure: CarError | None = None
        self._fault = 0  # where in the bytes held the section begins that went wrong

    @property
    def roots(self) -> tuple[CID, ...] | None:
        """The roots, None until they have arrived."""
        return None if self.payload_header is None else self.payload_header.roots

    def feed(self, chunk: bytes) -> list[Block]:
        """Take ``chunk``; return the blocks that are now whole, in order, maybe none.

        Blocks before a fault are handed out first: the fault is then raised by the next call, and by each
        one after it.

        Raises:
            FormatError: the stream is no archive from here on.
            IntegrityError: a block is not what its CID says.
        """
        if self._failure is not None:
            raise self._failure
        self._parts.append(bytes(chunk))
        self._held += len(chunk)
        while self._held >= self._wanted and not self._done:
            buffer = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            try:
                used = self._step(buffer)
            except CarError as error:
                rest, position = buffer[self._fault :], self._position + self._fault
                self._failure = self._explained(error, rest, position)
                if self._blocks:
                    break
                raise self._failure from self._failure.__cause__
            self._parts, self._held = [buffer[used:]], len(buffer) - used
            self._position += used
        if self._done:
            self._position += self._held
            self._parts, self._held = [], 0
        blocks, self._blocks = self._blocks, []
        return blocks

    def finish(self) -> None:
        """Say that no more will come.

        Raises:
            TruncatedError: the archive is not whole; GatewayTruncatedError if the sender said why.
        """
        if self._failure is not None:
            raise self._failure
        in_sections = self._step == self._take_sections
        if self._done or (in_sections and not self._held and self._end is None):
            return
        field = "section" if in_sections and self._held else "payload" if in_sections else "CAR header"
        wanted = max(self._wanted, self._held + 1)
        error = TruncatedError(field, wanted=wanted, got=self._held, position=self._position + self._held)
        held = b"".join(self._parts)
        self._failure = self._explained((in_sections and self._fault_in(held)) or error, held, self._position)
        raise self._failure from self._failure.__cause__

    def _fault_in(self, held: bytes) -> FormatError | None:
        """What is wrong with a section that will never be whole, apart from that."""
        try:
            self._scanner.locate(held, 0, position=self._position)
        except FormatError as error:
            return error
        return None

    def _explained(self, error: CarError, rest: bytes, position: int) -> CarError:
        """The sender's own words, if the stream ends with them; ``rest`` starts with what went wrong."""
        if not isinstance(error, FormatError) or isinstance(error, GatewayTruncatedError):
            return error
        tail = rest[-GATEWAY_REACH:]
        return gateway_error_in(tail, position=position + len(rest) - len(tail), error=error) or error

    # -- one step for each part of an archive: take what is whole, say what is wanted next -------------------

    def _take_version(self, buffer: bytes) -> int:
        """The first header: of a CARv1, or the pragma."""
        if not self._has_header(buffer):
            return 0
        version = header.version_of(buffer, limits=self._limits)
        if version == 1:
            self._step = self._take_header
        elif version != 2:
            raise VersionError(version, position=0)
        elif not buffer.startswith(header.PRAGMA):
            raise FormatError("a header of version 2 that is not the CARv2 pragma", position=0)
        else:
            self._step, self._wanted = self._take_v2_header, len(header.PRAGMA) + header.SIZE
        self.version = version
        return 0

    def _take_v2_header(self, buffer: bytes) -> int:
        self.header = header.CarV2Header.from_bytes(buffer[len(header.PRAGMA) :])
        self._end = self.header.data_end
        self._step, self._wanted = self._skip_padding, 1
        return len(header.PRAGMA) + header.SIZE

    def _skip_padding(self, buffer: bytes) -> int:
        assert self.header is not None  # the step before set it
        missing = self.header.data_offset - self._position
        if missing <= len(buffer):
            self._step = self._take_header
        return min(missing, len(buffer))

    def _take_header(self, buffer: bytes) -> int:
        position, whole = self._position, self._has_header(buffer)
        if self._end is not None and position + self._wanted > self._end:
            why = f"CARv1 header runs over the end of the payload at byte {self._end}"
            raise FormatError(why, position=position)
        if not whole:
            return 0
        self.payload_header, size = header.CarV1Header.parse(buffer, position=position, limits=self._limits)
        self._step, self._wanted = self._take_sections, 1
        self._done = position + size == self._end
        return size

    def _has_header(self, buffer: bytes) -> bool:
        try:
            self._wanted = header.header_size(buffer, position=self._position, limits=self._limits)
        except TruncatedError:  # inside the length varint
            self._wanted = len(buffer) + 1
        return len(buffer) >= self._wanted

    def _take_sections(self, buffer: bytes) -> int:
        if self._end is not None and self._position + len(buffer) > self._end:
            buffer = buffer[: self._end - self._position]
        entries = Entries()
        try:
            used = self._scanner.scan(buffer, 0, entries, position=self._position)
        except FormatError:
            used = self._fault = entries[-1][2] if entries else 0
            is_last = self._end is not None and self._position + len(buffer) >= self._end
            if is_last or not gateway_text_under_way(buffer[used:]):
                raise
            self._wanted = len(buffer) - used + 1
            return used
        finally:
            self._give(buffer, entries)
        if self._scanner.ended:
            self._done = True
            return used
        left = len(buffer) - used
        self._wanted = self._scanner.wanted or left + 1
        over = self._end is not None and self._position + used + self._wanted > self._end
        if over and left:
            why = f"section runs over the end of the payload at byte {self._end}"
            self._fault = used
            raise FormatError(why, position=self._position + used)
        self._done = self._position + used == self._end
        return used

    def _give(self, buffer: bytes, entries: Entries) -> None:
        checker, data = self._checker, data_of(buffer, entries)
        if checker is None or checker.are_right(entries, data):
            self._blocks += blocks_of(entries.cids, data)
            return
        for (cid, start, _), each in zip(entries, data, strict=True):
            make = checker.constructors.get(cid[:-32])
            if make is None or make(each).digest() != cid[-32:]:
                checker.check(cid, each, position=self._position + start)
            self._blocks.append(new_block(Block, (cid, each)))


def iter_blocks(
    chunks: Iterable[bytes],
    *,
    verify: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    on_unverified: Callable[[CID], object] | None = None,
) -> Iterator[Block]:
    """Yield the blocks of an archive that comes as chunks of bytes: a socket, a pipe, an HTTP response.

    Blocks before a fault are yielded before it is raised. Arguments and errors: :class:`CarDecoder`.

    >>> from carv2.cid import CID
    >>> from carv2.header import CarV1Header
    >>> section = Block(CID.of_data(b"fish"), b"fish")
    >>> archive = CarV1Header().to_bytes() + bytes([40]) + section.cid_bytes + b"fish"
    >>> [block.data for block in iter_blocks([archive[:30], archive[30:]])]
    [b'fish']
    """
    if isinstance(chunks, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"expected an iterable of chunks, got {type(chunks).__name__}: see carv2.open")
    decoder = CarDecoder(verify=verify, limits=limits, null_padding=null_padding, on_unverified=on_unverified)
    for chunk in chunks:
        yield from decoder.feed(chunk)
    decoder.finish()


async def aiter_blocks(
    chunks: AsyncIterable[bytes],
    *,
    verify: bool = True,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    on_unverified: Callable[[CID], object] | None = None,
) -> AsyncIterator[Block]:
    """The same for an asynchronous iterable of chunks, under any event loop.

    >>> import asyncio, carv2
    >>> async def read(archive):
    ...     async def chunks():
    ...         yield archive[:30]
    ...         yield archive[30:]
    ...     return [block.data async for block in aiter_blocks(chunks())]
    >>> cid = carv2.CID.of_data(b"fish")
    >>> asyncio.run(read(b"".join(carv2.iter_car([cid], [(cid, b"fish")]))))
    [b'fish']
    """
    decoder = CarDecoder(verify=verify, limits=limits, null_padding=null_padding, on_unverified=on_unverified)
    async for chunk in chunks:
        for block in decoder.feed(chunk):
            yield block
    decoder.finish()
