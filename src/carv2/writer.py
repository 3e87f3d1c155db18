"""Writing an archive front to back: to a file, to any sink, or as chunks for a streaming response.

Sources: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/), the CARv2 specification
(https://ipld.io/specs/transport/car/carv2/).
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING, cast

from carv2 import _varint
from carv2._ahead import RightAhead
from carv2._atomic import replacing
from carv2._room import RoomAhead
from carv2.cid import CID
from carv2.errors import ClosedError, LimitError
from carv2.header import FULLY_INDEXED, PRAGMA, SIZE, CarV1Header, CarV2Header
from carv2.index import CAR_MULTIHASH_INDEX_SORTED, IndexBuilder
from carv2.section import BlockChecker
from carv2.units import DEFAULT_LIMITS, FilePosition, Limits

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from types import TracebackType
    from typing import BinaryIO, Protocol

    from carv2.cid import CIDLike

    class Sink(Protocol):
        """What takes bytes: a file, a socket's file, ``BytesIO``. A CARv2 also needs it to seek."""

        def write(self, data: bytes, /) -> object: ...


__all__ = ["CarWriter", "create", "iter_car"]

_FLUSH_SIZE = 256 << 10
_LARGE = 64 << 10  # bytes of a block that goes to the sink by itself, uncopied
_MOVE_SIZE = 1 << 20


class CarWriter:
    """Writes an archive forward only. A CARv2 gets its header and index from :meth:`finish`.

    As a context manager it finishes on success; on an exception it leaves the sink as it is, a CARv2 then
    with a header of zeros, which every reader refuses. The sink stays open.

    Args:
        sink: anything with ``write``; for a CARv2 it must also seek, and stand at its beginning.
        roots: CIDs for the header, maybe none.
        version: 1 or 2.
        verify: check each block against its CID before it is written.
        index_codec: format of a CARv2's index, 0x0401 or 0x0400; None for a CARv2 without one.
        identity: list identity CIDs in the index, and say so in the header.
        fully_indexed: say in the header that the index lists identity CIDs too; None says what is so.
        data_padding: zero bytes between a CARv2's header and its payload.
        index_padding: zero bytes between payload and index.
        limits: what a reader with the same limits could not read back is refused.

    Raises:
        ValueError: a CARv2 to a sink that cannot seek; nothing is written then.
        LimitError: the header is larger than the limits; nothing is written.

    >>> import io
    >>> sink = io.BytesIO()
    >>> with CarWriter(sink, version=2) as car:
    ...     car.write(CID.of_data(b"fish"), b"fish")
    >>> sink.getvalue()[51:69].hex()
    '11a265726f6f7473806776657273696f6e01'
    """

    def __init__(
        self,
        sink: Sink,
        roots: Iterable[CIDLike] = (),
        *,
        version: int = 1,
        verify: bool = True,
        index_codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
        identity: bool = False,
        fully_indexed: bool | None = None,
        data_padding: int = 0,
        index_padding: int = 0,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if version not in {1, 2}:
            raise ValueError(f"CAR version {version}, supported: 1 and 2")
        if version == 2:
            _check_seekable(sink)
        if version == 1 or index_codec is None:
            self._index = None
        else:
            self._index = IndexBuilder(index_codec, identity=identity, limits=limits)
        self._sink, self._version, self._limits = sink, version, limits
        self._fully_indexed = identity if fully_indexed is None else fully_indexed
        self._checker = BlockChecker() if verify else None
        self._ahead, self._room = RightAhead(verify=verify), RoomAhead(sink)
        self._index_padding = index_padding
        self._payload_position = 0 if version == 1 else len(PRAGMA) + SIZE + data_padding
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._offset = 0  # in the payload, of what comes next
        self._finished = False
        self._prefixes: set[bytes] = set()  # of CIDs seen unverified: all of them but the 32-byte digest
        header = self._header(roots)
        self._header_size = len(header)
        if version == 2:
            sink.write(PRAGMA + bytes(SIZE + data_padding))
        self._append([header], len(header))

    def write(self, cid: CIDLike, data: bytes | memoryview) -> None:
        """Write one block. A view's bytes are taken before this returns.

        Raises:
            IntegrityError: ``data`` are not what ``cid`` names; nothing is written.
            LimitError: the section or the CID is larger than the limits; nothing is written.
            ClosedError: the archive is finished.
        """
        self._write(cid, data, False)

    def _write(self, cid: CIDLike, data: bytes | memoryview, is_right: bool) -> None:
        if self._finished:
            raise ClosedError("the archive is finished")
        raw = cid if isinstance(cid, bytes) else bytes(CID.of(cid))
        size = len(raw) + len(data)
        position = self._payload_position + self._offset
        if size > self._limits.section:
            raise LimitError("section", found=size, allowed=self._limits.section, position=position)
        checker = self._checker
        if checker is not None and not is_right:
            make = checker.constructors.get(raw[:-32])
            if make is None or make(cast("bytes", data)).digest() != raw[-32:]:
                checker.check(bytes(CID.of(raw)), bytes(data), position=position)
        elif raw[:-32] not in self._prefixes and CID(raw).parts.digest_size == 32:  # or it is no CID
            self._prefixes.add(raw[:-32])
        if self._index is not None:
            self._index.add_sections(((raw, 0, 0),), self._offset, 0, payload=self._payload_position)
        head = _varint.encode(size) + raw
        if len(data) < _LARGE:
            self._append([head, bytes(data)], len(head) + len(data))
        else:
            self._append([head], len(head))
            self.flush()
            self._room.make(len(data))
            self._sink.write(cast("bytes", data))
            self._offset += len(data)

    def write_all(self, blocks: Iterable[tuple[CIDLike, bytes]]) -> None:
        """Write each (CID, data) pair of ``blocks``, a :class:`carv2.Block` being one, up to the first that fails.

        Large blocks are asked for some ahead, and hashed in a thread for each processor.

        Raises:
            IntegrityError, LimitError, ClosedError: as :meth:`write` does.
        """
        deque(self._ahead.each(self._write, blocks), maxlen=0)

    def set_roots(self, roots: Iterable[CIDLike]) -> None:
        """Replace the roots, for an archive whose root is known when its blocks are written.

        The sink must be able to seek, and have begun at its beginning. A header of the same size is written over
        the old one; for another size the sections are moved, so the sink must also give back what it was given.

        Raises:
            ValueError: the sink cannot do that; nothing is written.
            LimitError: the header is larger than the limits; nothing is written.
            ClosedError: the archive is finished.

        >>> import io
        >>> sink = io.BytesIO()
        >>> with CarWriter(sink) as car:
        ...     car.write(CID.of_data(b"fish"), b"fish")
        ...     car.set_roots([CID.of_data(b"fish")])
        >>> sink.getvalue().startswith(CarV1Header((CID.of_data(b"fish"),)).to_bytes())
        True
        """
        if self._finished:
            raise ClosedError("the archive is finished")
        if not _is_seekable(self._sink):
            raise ValueError("new roots need a sink that can seek")
        header = self._header(roots)
        self.flush()
        distance = len(header) - self._header_size
        if distance:
            self._move_sections(distance)
        sink = cast("BinaryIO", self._sink)
        sink.seek(self._payload_position)
        sink.write(header)
        sink.seek(self._payload_position + self._offset)

    def _move_sections(self, distance: int) -> None:
        """Move what is behind the header, from the end that does not overwrite what is yet to move."""
        sink = cast("BinaryIO", self._sink)
        if not (sink.readable() and hasattr(sink, "truncate")):
            raise ValueError("roots of another size need a sink that can be read")
        start = self._payload_position + self._header_size
        end = self._payload_position + self._offset
        positions = range(start, end, _MOVE_SIZE)
        for position in positions if distance < 0 else reversed(positions):
            sink.seek(position)
            data = sink.read(min(_MOVE_SIZE, end - position))
            sink.seek(position + distance)
            sink.write(data)
        self._offset += distance
        self._header_size += distance
        sink.truncate(self._payload_position + self._offset)
        if self._index is not None:
            self._index.shift(distance)

    def _header(self, roots: Iterable[CIDLike]) -> bytes:
        header = CarV1Header(tuple(map(CID.of, roots))).to_bytes()
        body_size = _varint.decode(header, 0, len(header), position=0)[0]
        if body_size > self._limits.header:
            where = self._payload_position
            raise LimitError("header", found=body_size, allowed=self._limits.header, position=where)
        return header

    def _append(self, parts: list[bytes], size: int) -> None:
        self._pending += parts
        self._pending_size += size
        self._offset += size
        if self._pending_size >= _FLUSH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the sink."""
        if self._pending:
            self._room.make(self._pending_size)
            self._sink.write(b"".join(self._pending))
            self._pending, self._pending_size = [], 0

    def finish(self) -> None:
        """Write what is left, then a CARv2's index, then its header; may be called twice."""
        if self._finished:
            return
        self.flush()
        if self._version == 2:
            self._finish_v2()
        self._finished = True
        self._room.give_back()

    def _finish_v2(self) -> None:
        index_position = 0
        end = self._payload_position + self._offset
        if self._index is not None:
            index_position = end + self._index_padding
            self._sink.write(bytes(self._index_padding))
            for chunk in self._index.chunks():
                self._sink.write(chunk)
        characteristics = FULLY_INDEXED if self._fully_indexed and self._index is not None else 0
        header = CarV2Header(
            FilePosition(self._payload_position), self._offset, FilePosition(index_position), characteristics
        )
        back = self._sink.tell()  # type: ignore[attr-defined]  # _check_seekable saw to it
        self._sink.seek(len(PRAGMA))  # type: ignore[attr-defined]
        self._sink.write(header.to_bytes())
        self._sink.seek(back)  # type: ignore[attr-defined]

    def __enter__(self) -> CarWriter:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        self._room.give_back()


def _is_seekable(sink: object) -> bool:
    seekable = getattr(sink, "seekable", None)
    return seekable is not None and bool(seekable())


def _check_seekable(sink: object) -> None:
    if not _is_seekable(sink):
        raise ValueError("a CARv2 needs a sink that can seek: its header is written last")
    if sink.tell() != 0:  # type: ignore[attr-defined]
        raise ValueError("a CARv2 starts at the beginning of its file")


@contextlib.contextmanager
def create(
    path: str | os.PathLike[str],
    roots: Iterable[CIDLike] = (),
    *,
    version: int = 2,
    verify: bool = True,
    index_codec: int | None = CAR_MULTIHASH_INDEX_SORTED,
    identity: bool = False,
    data_padding: int = 0,
    index_padding: int = 0,
    limits: Limits = DEFAULT_LIMITS,
    sync: bool = True,
) -> Generator[CarWriter]:
    """Create an archive at ``path``, which appears when it is whole, or not at all.

    A context manager that gives the :class:`CarWriter`, whose arguments these are; but ``sync=False`` leaves it to
    the system when the bytes reach the disk: after a power cut the file may be there and lack some of them.

    Raises:
        FileExistsError: ``path`` exists.

    >>> import carv2, os, tempfile
    >>> cid = carv2.CID.of_data(b"fish")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "sea.car")
    ...     with create(path, [cid]) as car:
    ...         car.write(cid, b"fish")
    ...     carv2.verify(path).ok
    True
    """
    if os.path.lexists(path):
        raise FileExistsError(17, os.strerror(17), os.fspath(path))
    with (
        replacing(path, sync=sync) as file,
        CarWriter(
            file,
            roots,
            version=version,
            verify=verify,
            index_codec=index_codec,
            identity=identity,
            data_padding=data_padding,
            index_padding=index_padding,
            limits=limits,
        ) as writer,
    ):
        yield writer


class _ChunkSink:
    """Keeps what is written until it is fetched."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, data: bytes, /) -> None:
        self.chunks.append(data)


def iter_car(
    roots: Iterable[CIDLike],
    blocks: Iterable[tuple[CIDLike, bytes]],
    *,
    verify: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[bytes]:
    """Yield the bytes of a CARv1 in chunks, for a streaming response.

    >>> sum(map(len, iter_car([], [(CID.of_data(b"fish"), b"fish")])))
    59
    """
    sink = _ChunkSink()
    writer = CarWriter(sink, roots, verify=verify, limits=limits)
    for cid, data in blocks:
        writer.write(cid, data)
        if sink.chunks:
            yield from sink.chunks
            sink.chunks = []
    writer.finish()
    yield from sink.chunks
