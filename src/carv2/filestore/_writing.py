"""Writing a ref-CARv2: the nodes of a DAG in full, of its leaves where their bytes stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID, RAW
from carv2.errors import LimitError
from carv2.filestore.keys import Variant, key_bytes, variant_of
from carv2.filestore.record import encode
from carv2.section import BlockChecker
from carv2.units import DEFAULT_LIMITS, Limits
from carv2.writer import CarWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import BinaryIO

    from carv2._seen import Seen
    from carv2.cid import CIDLike
    from carv2.filestore.record import FileReference

__all__ = ["ReferenceWriter"]

_RAW_V1 = b"\x01\x55"


class ReferenceWriter:
    """Writes a ref-CARv2 forward only, as Lotus' client would, but in the order of the calls.

    As a context manager it finishes on success; on an exception it leaves the sink as it is, with a header of
    zeros, which every reader refuses. The sink stays open. Memory: for each section its CID and its place in the
    index.

    Args:
        sink: a binary file that can seek, at its beginning.
        roots: CIDs for the header, maybe none; :meth:`set_roots` replaces them.
        variant: which of the four layouts to write, ``"A"`` to ``"D"``; see :data:`VARIANTS`.
        verify: check each block of :meth:`put` against its CID before it is written. What a reference leads to is
            never looked at.
        repeats: write again what was written before.
        limits: what a reader with the same limits could not read back is refused.

    Raises:
        ValueError: there is no such variant, or the sink cannot seek.

    >>> import io
    >>> from carv2.filestore import FileReference
    >>> sink = io.BytesIO()
    >>> with ReferenceWriter(sink, [CID.of_data(b"0123456789")]) as car:
    ...     car.put_reference(CID.of_data(b"0123456789"), FileReference("data/input.bin", 0, 10))
    True
    >>> len(sink.getvalue())
    237
    """

    def __init__(
        self,
        sink: BinaryIO,
        roots: Iterable[CIDLike] = (),
        *,
        variant: str | Variant = "D",
        verify: bool = True,
        repeats: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        chosen = variant_of(variant)
        self._key_hash, self._limits = chosen.key_hash, limits
        self._checker = BlockChecker() if verify else None
        self._seen: Seen | None = None if repeats else {}
        self._car = CarWriter(
            sink,
            roots,
            version=2,
            verify=False,
            index_codec=chosen.index_codec,
            identity=True,
            fully_indexed=chosen.fully_indexed,
            limits=limits,
        )
        self.node_count = self.reference_count = self.repeated_count = 0

    def put(self, cid: CIDLike, data: bytes | memoryview) -> bool:
        """Write a block in full; whether it was: identity CIDs hold theirs, and no block comes twice.

        Raises:
            IntegrityError: ``data`` are not what ``cid`` names; nothing is written.
            LimitError: the section is larger than the limits; nothing is written.
            ClosedError: the archive is finished.
        """
        raw = cid if isinstance(cid, bytes) else bytes(CID.of(cid))
        if raw[2:3] == b"\x00" and CID.of(raw).is_identity:
            return False
        if self._is_repeated(raw):
            return False
        if self._checker is not None:
            self._checker.check(bytes(CID.of(raw)), bytes(data), position=0)
        self._car.write(raw, data)
        self._note(raw)
        self.node_count += 1
        return True

    def put_reference(self, cid: CIDLike, reference: FileReference) -> bool:
        """Write where the bytes of the raw leaf ``cid`` stand; whether it was: no leaf comes twice.

        Raises:
            ValueError: ``cid`` is no CIDv1 of codec raw, which is all that a reference can stand for; or it holds
                its data itself.
            LimitError: the leaf is larger than the limits; nothing is written.
            ClosedError: the archive is finished.
        """
        raw = cid if isinstance(cid, bytes) else bytes(CID.of(cid))
        if not can_refer(raw):
            _refuse_leaf(CID(raw))
        size = len(raw) + reference.size
        if size > self._limits.section:
            raise LimitError("section", found=size, allowed=self._limits.section, position=0)
        if self._is_repeated(raw):
            return False
        self._car.write(key_bytes(raw[2:], self._key_hash), encode(reference))
        self._note(raw)
        self.reference_count += 1
        return True

    def _is_repeated(self, raw: bytes) -> bool:
        if self._seen is None or raw not in self._seen:
            return False
        self.repeated_count += 1
        return True

    def _note(self, raw: bytes) -> None:
        if self._seen is not None:
            self._seen[raw] = None

    def set_roots(self, roots: Iterable[CIDLike]) -> None:
        """Replace the roots; for those of another size the sink must give back what it was given.

        Raises:
            ValueError: the sink cannot do that; nothing is written.
            LimitError: the header is larger than the limits; nothing is written.
            ClosedError: the archive is finished.
        """
        self._car.set_roots(roots)

    def finish(self) -> None:
        """Write what is left, then the index, then the CARv2 header; may be called twice."""
        self._car.finish()

    def __enter__(self) -> ReferenceWriter:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()


def can_refer(cid: bytes) -> bool:
    """Whether a reference can stand for the block: a CIDv1 of codec raw that does not hold it itself."""
    return cid[:2] == _RAW_V1 and cid[2:3] != b"\x00"


def _refuse_leaf(cid: CID) -> None:
    if cid.is_identity:
        raise ValueError(f"{cid.short()} holds its data itself: there is nothing to refer to")
    if cid.version != 1 or cid.codec != RAW:
        raise ValueError(f"{cid.short()} is no CIDv1 of codec raw: a reference can stand for no other block")
