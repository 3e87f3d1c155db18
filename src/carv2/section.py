"""What a payload is made of: a section located, a block read, and the check of one against its hash.

Source: the CARv1 specification (https://ipld.io/specs/transport/car/carv1/).
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from carv2 import multihash
from carv2._scan import GATEWAY_MARK, gateway_error_in
from carv2.cid import CID
from carv2.errors import CarError, IntegrityError, UnknownHashError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from carv2._scan import Entries
    from carv2.units import FilePosition, PayloadOffset

__all__ = ["Block", "Section"]


class Section(NamedTuple):
    """One block located, not read. Sizes are in bytes."""

    cid: CID
    offset: PayloadOffset
    """Of the section's length varint, from the start of the CARv1 payload: what an index stores."""
    position: FilePosition
    """Of the same, from the start of the file."""
    data_position: FilePosition
    """Of the block's first byte, from the start of the file."""
    size: int
    """Of the block alone."""


class Block(tuple[bytes, bytes]):
    """A CID and the data that it names: a pair of bytes whose CID becomes an object when it is asked for.

    ``cid_bytes, data = block`` takes it apart; blocks compare and hash like pairs.

    >>> block = Block(CID.of_data(b"fish"), b"fish")
    >>> block.data, block.cid.codec_name
    (b'fish', 'raw')
    """

    __slots__ = ()

    def __new__(cls, cid: CID | bytes, data: bytes) -> Block:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return new_block(cls, (bytes(cid), data))

    def __getnewargs__(self) -> tuple[bytes, bytes]:
        return self[0], self[1]

    @property
    def cid_bytes(self) -> bytes:
        """The CID's binary form."""
        return self[0]

    @property
    def data(self) -> bytes:
        """The block itself."""
        return self[1]

    @property
    def cid(self) -> CID:
        """The CID; made anew at each call, from bytes that were checked when they were read."""
        return CID.trusted(self[0])

    def links(self) -> list[CID]:
        """CIDs that the block links to, in the order they stand, repeats kept; see :mod:`carv2.codec`.

        Raises:
            CodecError: the data break the rules of the block's codec.
            UnknownCodecError: no codec is registered for it.

        >>> Block(CID.of_data(b"fish"), b"fish").links()
        []
        """
        from carv2.codec import links_of  # noqa: PLC0415  (not a part of reading)

        return [CID.trusted(found) for found in links_of(*self)]

    def decode(self) -> Any:
        """The value, by the block's codec; links become :class:`carv2.CID`. See :func:`carv2.codec.decode`.

        Raises:
            CodecError: the data break the rules of the block's codec.
            UnknownCodecError: no codec is registered for it.

        >>> Block(CID.of_data(b"[1]", codec="dag-json"), b"[1]").decode()
        [1]
        """
        from carv2.codec import decode  # noqa: PLC0415  (not a part of reading)

        return decode(self[0], self[1])

    def __repr__(self) -> str:
        return f"Block({self.cid}, {len(self[1])} bytes)"


new_block = cast("Callable[[type[Block], tuple[bytes, bytes]], Block]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
"""Makes a block of a pair that is known to be one, in half the time: for loops over many."""


def data_of(buffer: bytes, entries: Entries) -> list[bytes]:
    """The data of sections that lie in ``buffer`` as a whole."""
    return [buffer[start:stop] for start, stop in zip(entries.starts, entries.stops, strict=True)]


def blocks_of(cids: Iterable[bytes], data: Iterable[bytes]) -> Iterator[Block]:
    """A block of each CID and its data, made as it is asked for."""
    return map(new_block, repeat(Block), zip(cids, data, strict=True))


class BlockChecker:
    """Checks blocks against their hashes; remembers how the hash of each kind of CID is made.

    ``constructors`` is for loops over many blocks: it maps all of a CID but its last 32 bytes to what makes its
    hash object. A CID that is not in it, or whose digest differs, goes to :meth:`check`.
    """

    def __init__(self, on_unverified: Callable[[CID], object] | None = None) -> None:
        self.constructors: dict[bytes, Callable[[bytes], multihash.HashObject]] = {}
        self._on_unverified = on_unverified

    def are_right(self, entries: Entries, data: list[bytes]) -> bool:
        """Whether the data of all ``entries`` are what their CIDs name; if not, :meth:`check` says of each.

        It also says no of sections whose CIDs are of several kinds, or of a kind not met before.
        """
        prefix = entries.prefix
        make = None if prefix is None else self.constructors.get(prefix)
        if prefix is None or make is None:
            return False
        return [prefix + make(each).digest() for each in data] == entries.cids

    def check(self, cid_bytes: bytes, data: bytes, *, position: int) -> None:
        """Raise unless ``data`` are what ``cid_bytes`` names; ``position`` is that of the section's data.

        Raises:
            IntegrityError: they are not.
            UnknownHashError: nobody here can tell, and no ``on_unverified`` is there to hear of it.
            GatewayTruncatedError: they are not, and the reason stands among them.
        """
        cid = CID.trusted(cid_bytes)
        code, size = cid.hash_code, cid.parts.digest_size
        hasher = multihash.hasher(code, size)
        if hasher is None and not multihash.is_known(code):
            self._unverified(cid, position)
            return
        if size == 0 and code != multihash.IDENTITY:
            why = f"{cid} has an empty digest, which proves nothing"
            raise IntegrityError(why, cid=cid, position=position)
        if hasher is None or hasher(data) != cid.digest:
            raise _mismatch(cid, data, position)
        constructor = multihash.constructor(code, size) if size == 32 else None
        if constructor is not None:
            self.constructors[cid_bytes[:-32]] = constructor

    def _unverified(self, cid: CID, position: int) -> None:
        if self._on_unverified is None:
            why = f"no hash function {cid.hash_name} ({cid.hash_code:#x}) here to check {cid.short()} with"
            raise UnknownHashError(why, cid=cid, position=position, hash_code=cid.hash_code)
        self._on_unverified(cid)


def _mismatch(cid: CID, data: bytes, position: int) -> CarError:
    error = IntegrityError(f"the data are not those of {cid.short()}", cid=cid, position=position)
    held = bytes(cid) + data  # the text may begin within what is taken for the CID
    if GATEWAY_MARK in held:
        return gateway_error_in(held, position=position - len(bytes(cid)), error=error) or error
    return error
