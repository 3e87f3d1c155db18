"""CARv1 to CARv2 and back; the payload is copied byte for byte.

Sources: the CARv2 specification (https://ipld.io/specs/transport/car/carv2/); go-car's ``WrapV1File`` and
``ExtractV1File``.
"""

from __future__ import annotations

from io import BufferedRandom
from typing import TYPE_CHECKING

from carv2._atomic import writing
from carv2._room import RoomAhead
from carv2._source import FileSource
from carv2.errors import TruncatedError, VersionError
from carv2.header import FULLY_INDEXED, PRAGMA, SIZE, CarV2Header
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.reader import CarReader
from carv2.units import DEFAULT_LIMITS, FilePosition, Limits

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from carv2._source import Source, SourceLike

_COPY_SIZE = 1 << 20
_REUSED_SIZE = 256 << 10  # stays in the processor's cache


def wrap(
    source: SourceLike,
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    index_codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
    identity: bool = False,
    data_padding: int = 0,
    index_padding: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    null_padding: bool = False,
    sync: bool = True,
) -> CarV2Header:
    """Make a CARv2 with an index of a CARv1.

    The sections are located, not hashed: :func:`verify` does that. Null padding stays in the payload.

    Args:
        source: the CARv1.
        destination: a path, which is replaced whole or not at all, or any sink: the file is written front to back.
        index_codec: format of the index; None for none.
        identity: list identity CIDs in the index, and say so in the header.
        data_padding: zero bytes between header and payload.
        index_padding: zero bytes between payload and index.
        limits: upper bounds for what the file may claim.
        null_padding: take a zero-length section for the end of the sections.
        sync: make the file durable before it gets its name; False leaves that to the system, and a power cut
            may then leave ``destination`` with half of its bytes. A sink is never synced.

    Raises:
        VersionError: ``source`` is not a CARv1.
        FormatError: its sections are damaged.

    >>> import carv2, io
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> out = io.BytesIO()
    >>> _ = wrap(archive, out)
    >>> with carv2.open(out.getvalue()) as car:
    ...     car.version, len(car.index)
    (2, 1)
    """
    with CarReader(source, limits=limits, null_padding=null_padding) as car:
        if car.version != 1:
            raise VersionError(car.version, position=0, supported=(1,))
        builder = None if index_codec is None else car.build_index(index_codec, identity=identity)
        if builder is None:
            check_sections(car)
        chunks = () if builder is None else builder.chunks()
        return write_v2(
            car,
            destination,
            chunks,
            has_index=builder is not None,
            fully_indexed=identity,
            data_padding=data_padding,
            index_padding=index_padding,
            sync=sync,
        )


def unwrap(
    source: SourceLike,
    destination: str | os.PathLike[str] | BinaryIO,
    *,
    limits: Limits = DEFAULT_LIMITS,
    sync: bool = True,
) -> int:
    """Take the CARv1 out of a CARv2; return its size in bytes.

    ``destination`` may be the path that ``source`` is. ``sync`` is that of :func:`wrap`.

    Raises:
        VersionError: ``source`` is not a CARv2, or what is in it is no CARv1.
        TruncatedError: the file ends before the payload does; nothing is left behind at a path.

    >>> import carv2, io
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> wrapped, out = io.BytesIO(), io.BytesIO()
    >>> _ = wrap(archive, wrapped)
    >>> unwrap(wrapped.getvalue(), out) == len(archive), out.getvalue() == archive
    (True, True)
    """
    with CarReader(source, limits=limits) as car:
        if car.version != 2:
            raise VersionError(car.version, position=0, supported=(2,))
        return _copy_payload(car, destination, sync=sync)


def payload_of(
    source: SourceLike, destination: str | os.PathLike[str] | BinaryIO, *, limits: Limits = DEFAULT_LIMITS
) -> int:
    """The same of an archive of either version: a CARv1 is copied."""
    with CarReader(source, limits=limits) as car:
        return _copy_payload(car, destination)


def _copy_payload(car: CarReader, destination: str | os.PathLike[str] | BinaryIO, *, sync: bool = True) -> int:
    _ = car.payload_header  # raises unless it is a CARv1 that we are about to hand out
    require_whole(car)
    with writing(destination, sync=sync) as file:
        copy(car.source, car.payload_position, car.payload_end, file.write)
    return car.payload_end - car.payload_position


def require_whole(car: CarReader) -> None:
    """Raise TruncatedError if the file ends before the payload: known before a sink gets the first byte."""
    start, end, size = car.payload_position, car.payload_end, car.source.size
    if size < end:
        raise TruncatedError("payload", wanted=end - start, got=max(0, size - start), position=size)


def check_sections(car: CarReader) -> None:
    """Raise unless the payload is sections from end to end."""
    for _ in car.batches(bodies=False):
        pass


def write_v2(
    car: CarReader,
    destination: str | os.PathLike[str] | BinaryIO,
    index_chunks: Iterable[bytes],
    *,
    has_index: bool,
    fully_indexed: bool = False,
    data_padding: int = 0,
    index_padding: int = 0,
    sync: bool = True,
) -> CarV2Header:
    """Write a CARv2 of the payload of ``car`` and the given index, front to back."""
    require_whole(car)
    size = car.payload_end - car.payload_position
    data_offset = len(PRAGMA) + SIZE + data_padding
    header = CarV2Header(
        data_offset=FilePosition(data_offset),
        data_size=size,
        index_offset=FilePosition(data_offset + size + index_padding if has_index else 0),
        characteristics=FULLY_INDEXED if fully_indexed and has_index else 0,
    )
    with writing(destination, sync=sync) as file:
        file.write(PRAGMA + header.to_bytes() + bytes(data_padding))
        copy(car.source, car.payload_position, car.payload_end, file.write)
        if has_index:
            file.write(bytes(index_padding))
            for chunk in index_chunks:
                file.write(chunk)
    return header


def copy(source: Source, start: int, stop: int, write: Callable[[bytes], object]) -> None:
    """Copy the bytes between two file positions; TruncatedError where the file ends before ``stop``."""
    sink = getattr(write, "__self__", None)
    RoomAhead(sink).expect(stop - start)
    if type(source) is FileSource and type(sink) is BufferedRandom:
        _copy_in_place(source, start, stop, write)
        return
    position = start
    while position < stop:
        data = source.read_exactly(position, min(_COPY_SIZE, stop - position), "payload")
        write(data)
        position += len(data)


def _copy_in_place(source: FileSource, start: int, stop: int, write: Callable[..., object]) -> None:
    """From file to file through the same memory, for a sink of Python's own, which keeps nothing of what it gets.

    New memory for each piece takes up to twice as long; the kernel's own copying, longer than this.
    """
    buffer, position = memoryview(bytearray(min(_REUSED_SIZE, stop - start))), start
    while position < stop:
        wanted = min(len(buffer), stop - position)
        count = source.read_into(position, buffer[:wanted])
        if not count:
            raise TruncatedError("payload", wanted=stop - position, got=0, position=position)
        write(buffer[:count])
        position += count
