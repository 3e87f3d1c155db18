"""CID: a content identifier as a small immutable value over its binary form.

Rules: multiformats CID specification; what is accepted and refused follows go-cid, as go-car uses it.
The hash function and the codec are numbers here: a CID with unknown ones is a good CID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from carv2 import _multibase, _varint, multicodec, multihash
from carv2.errors import FormatError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, SupportsBytes, TypeAlias

    CIDLike: TypeAlias = "CID | str | bytes | SupportsBytes"
    """What every public call that wants a CID takes: see :meth:`CID.of`."""

__all__ = ["CID"]

DAG_PB = 0x70
RAW = 0x55

_V0_PREFIX = b"\x12\x20"
_V0_SIZE = 34
_LONG = 200  # bytes of a CID that is not shown whole in messages


class Parts(NamedTuple):
    """A binary CID taken apart, without its digest; sizes are in bytes."""

    version: int
    codec: int
    hash_code: int
    digest_size: int
    size: int
    """Of the whole CID, digest included."""


def parse_parts(buffer: bytes | bytearray, offset: int, end: int, *, position: int) -> Parts:
    """Take apart the CID at ``buffer[offset]``; bytes from ``end`` on are not its own.

    Only the head is looked at: ``buffer`` need not hold the digest, as long as ``end`` says that there is
    room for it. ``position`` is the file position of ``buffer[0]``.

    Raises:
        TruncatedError: the CID does not fit before ``end`` (or its head not into ``buffer``).
        FormatError: anything else that is no CID.
    """
    if buffer[offset : offset + 2] == _V0_PREFIX:
        if end - offset < _V0_SIZE:
            raise TruncatedError("CIDv0", wanted=_V0_SIZE, got=end - offset, position=position + end)
        return Parts(0, DAG_PB, multihash.SHA2_256, 32, _V0_SIZE)
    limit = min(end, len(buffer))
    version, at = _varint.decode(buffer, offset, limit, position=position)
    if version != 1:
        raise FormatError(f"CID version {version}, supported: 0 and 1", position=position + offset)
    codec, at = _varint.decode(buffer, at, limit, position=position)
    hash_code, at = _varint.decode(buffer, at, limit, position=position)
    digest_size, at = _varint.decode(buffer, at, limit, position=position)
    if digest_size > end - at:
        raise TruncatedError("CID digest", wanted=digest_size, got=end - at, position=position + end)
    return Parts(version, codec, hash_code, digest_size, at + digest_size - offset)


class CID:
    """A content identifier, version 0 or 1, compared, ordered and hashed by its bytes.

    ``CID(raw)`` takes exactly the binary form; :meth:`of` takes whatever names a CID. Two CIDs of the same
    multihash with different versions or codecs are different CIDs.

    Raises:
        FormatError: bytes that are no CID, or more than one; TruncatedError: too few.

    >>> cid = CID.of("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
    >>> cid.version, hex(cid.codec), cid.codec_name, cid.hash_name, len(bytes(cid))
    (1, '0x55', 'raw', 'sha2-256', 36)
    >>> cid == CID.of_data(b"", codec="raw")
    True
    """

    __slots__ = ("_parts", "_raw")

    _raw: bytes
    _parts: Parts | None

    def __init__(self, raw: bytes) -> None:
        parts = parse_parts(raw, 0, len(raw), position=0)
        if parts.size != len(raw):
            extra = len(raw) - parts.size
            raise FormatError(f"{extra} bytes behind the CID", position=parts.size)
        self._raw, self._parts = bytes(raw), parts

    @classmethod
    def trusted(cls, raw: bytes) -> CID:
        """A CID of bytes that a parser of this package has already checked."""
        cid = cls.__new__(cls)
        cid._raw, cid._parts = raw, None
        return cid

    @classmethod
    def parse(cls, buffer: bytes, *, position: int = 0) -> CID:
        """Take the CID at the front of ``buffer``, which starts at file position ``position``."""
        parts = parse_parts(buffer, 0, len(buffer), position=position)
        cid = cls.trusted(bytes(buffer[: parts.size]))
        cid._parts = parts
        return cid

    @classmethod
    def of(cls, value: CIDLike) -> CID:
        """The CID that ``value`` names: a CID, text, its binary form, or a CID of another package.

        Text may be base58btc without a prefix (version 0), any multibase, or an ``/ipfs/`` path's CID. Objects
        of other packages come in through ``bytes(value)``.

        Raises:
            ValueError: ``value`` is not a CID (:class:`FormatError` is one).
            TypeError: ``value`` cannot be one.
        """
        if isinstance(value, CID):
            return value
        if isinstance(value, str):
            return cls(_raw_of_text(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(bytes(value))
        to_bytes: Callable[[], bytes] | None = getattr(value, "__bytes__", None)
        if to_bytes is not None:
            return cls(bytes(to_bytes()))
        buffer: object = getattr(value, "buffer", None)  # py-cid keeps its binary form there
        if isinstance(buffer, bytes):
            return cls(buffer)
        raise TypeError(f"expected a CID, text or bytes, got {type(value).__name__}")

    @classmethod
    def of_data(
        cls, data: bytes, *, codec: int | str = RAW, hash: int | str = multihash.SHA2_256, version: int = 1
    ) -> CID:
        """The CID that names ``data``; codec and hash function by number or multicodec name.

        >>> str(CID.of_data(b"", codec="dag-pb", version=0))
        'QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n'
        """
        codec_code = multicodec.code_of(codec) if isinstance(codec, str) else codec
        hash_code = multicodec.code_of(hash) if isinstance(hash, str) else hash
        digest = multihash.digest(hash_code, data)
        return cls.of_multihash(multihash.encode(hash_code, digest), codec=codec_code, version=version)

    @classmethod
    def of_multihash(cls, multihash: bytes, *, codec: int = RAW, version: int = 1) -> CID:
        """The CID of a multihash (code, size and digest, as bytes).

        Raises:
            ValueError: a version that is neither 0 nor 1, or a version 0 of anything but dag-pb and sha2-256.
        """
        if version not in {0, 1}:
            raise ValueError(f"CID version {version}, allowed 0 and 1")
        if version == 0:
            if codec != DAG_PB or multihash[:2] != _V0_PREFIX:
                raise ValueError("a CIDv0 is always dag-pb with a sha2-256 of 32 bytes")
            return cls(multihash)
        return cls(b"\x01" + _varint.encode(codec) + multihash)

    @property
    def parts(self) -> Parts:
        """Version, codec, hash code and sizes."""
        if self._parts is None:
            self._parts = parse_parts(self._raw, 0, len(self._raw), position=0)
        return self._parts

    @property
    def version(self) -> int:
        """0 or 1."""
        return self.parts.version

    @property
    def codec(self) -> int:
        """Multicodec number of the content's format."""
        return self.parts.codec

    @property
    def codec_name(self) -> str:
        """Multicodec name of the content's format, ``Code(n)`` for an unknown one."""
        return multicodec.name_of(self.codec)

    @property
    def hash_code(self) -> int:
        """Multicodec number of the hash function."""
        return self.parts.hash_code

    @property
    def hash_name(self) -> str:
        """Multicodec name of the hash function, ``Code(n)`` for an unknown one."""
        return multicodec.name_of(self.hash_code)

    @property
    def digest(self) -> bytes:
        """The hash digest alone."""
        return self._raw[len(self._raw) - self.parts.digest_size :]

    @property
    def multihash(self) -> bytes:
        """Hash code, digest size and digest, as bytes: what identifies the data."""
        if self.version == 0:
            return self._raw
        return self._raw[1 + (1 if self.codec < 128 else len(_varint.encode(self.codec))) :]

    @property
    def is_identity(self) -> bool:
        """Whether the digest *is* the data (hash code 0)."""
        raw = self._raw
        if raw[2:3] != b"\x00" and raw[1] < 128:  # one-byte codec, other hash: no need to take it apart
            return False
        return self.parts.hash_code == multihash.IDENTITY

    def matches(self, data: bytes) -> bool | None:
        """Whether ``data`` hash to this CID; None if its hash function is not available here.

        An empty digest proves nothing: False.
        """
        if not self.digest and not self.is_identity:
            return False
        hasher = multihash.hasher(self.hash_code, self.parts.digest_size)
        if hasher is None:
            return False if multihash.is_known(self.hash_code) else None
        return hasher(data) == self.digest

    def encode(self, base: str | None = None) -> str:
        """Text in a multibase by name (``base32``, ``base58btc``, ...); None is the usual one of the version."""
        if base is None:
            return _multibase.encode_base58(self._raw) if self.version == 0 else _multibase.encode(self._raw)
        return _multibase.encode(self._raw, base)

    def short(self) -> str:
        """Text for messages: the whole of it, unless it is as long as only an identity CID can be."""
        if len(self._raw) <= _LONG:
            return self.encode()
        return f"{CID.trusted(self._raw[:_LONG]).encode('base32')}... ({len(self._raw)} bytes)"

    def to_v1(self) -> CID:
        """The same content as version 1."""
        return self if self.version == 1 else CID.of_multihash(self._raw, codec=DAG_PB)

    def to_multiformats(self) -> Any:
        """A ``multiformats.CID``; KeyError where that package does not know the codec or the hash."""
        import importlib  # noqa: PLC0415

        return importlib.import_module("multiformats").CID.decode(self._raw)  # 80 ms: never at import

    @property
    def raw(self) -> bytes:
        """The binary form; ``bytes(cid)`` is the same."""
        return self._raw

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        return self.encode()

    def __repr__(self) -> str:
        return f"CID('{self.encode()}')"

    def __hash__(self) -> int:
        return hash(self._raw)

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, CID) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self._raw < other._raw if isinstance(other, CID) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self._raw <= other._raw if isinstance(other, CID) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self._raw > other._raw if isinstance(other, CID) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self._raw >= other._raw if isinstance(other, CID) else NotImplemented

    def __reduce__(self) -> tuple[Callable[[bytes], CID], tuple[bytes]]:
        return CID.trusted, (self._raw,)


def _raw_of_text(text: str) -> bytes:
    bare = text.removeprefix("ipfs://").removeprefix("/ipfs/")
    if bare != text:  # elsewhere a slash may be a digit of base64
        bare = bare.split("/", 1)[0]
    if len(bare) == 46 and bare.startswith("Qm"):
        return _multibase.decode_base58(bare)
    return _multibase.decode(bare)
