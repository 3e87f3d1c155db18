"""Hash functions by multicodec number, and multihashes: a code, a size and a digest, as bytes.

What can be computed: identity; every function of ``hashlib``; what OpenSSL adds where it is built in; blake3
and murmur3 through their packages; keccak, skein and other rare ones through ``multiformats`` where its
optional dependencies are installed. A digest shorter than the function's own is its first bytes.

Sources: the multihash specification (https://multiformats.io/multihash/) and the multicodec table; sizes,
truncation and byte orders follow go-multihash 0.2.3 wherever it knows the function.

>>> encode(SHA2_256, digest(SHA2_256, b"foo")).hex()
'12202c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae'
"""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from carv2 import _varint, multicodec
from carv2.errors import FormatError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Data: TypeAlias = "bytes | bytearray | memoryview"
    """What can be hashed; a memoryview must be contiguous."""

__all__ = [
    "BLAKE3",
    "IDENTITY",
    "SHA2_256",
    "constructor",
    "decode",
    "default_size",
    "digest",
    "encode",
    "hasher",
    "is_known",
]

IDENTITY = 0x00
SHA1 = 0x11
SHA2_256 = 0x12
SHA2_512 = 0x13
SHA3_512 = 0x14
SHA3_384 = 0x15
SHA3_256 = 0x16
SHA3_224 = 0x17
SHAKE_128 = 0x18
SHAKE_256 = 0x19
KECCAK_224 = 0x1A
KECCAK_256 = 0x1B
KECCAK_384 = 0x1C
KECCAK_512 = 0x1D
BLAKE3 = 0x1E
SHA2_384 = 0x20
MURMUR3_X64_64 = 0x22
MURMUR3_32 = 0x23
DBL_SHA2_256 = 0x56
MD5 = 0xD5
SHA2_256_TRUNC254_PADDED = 0x1012
SHA2_224 = 0x1013
SHA2_512_224 = 0x1014
SHA2_512_256 = 0x1015
MURMUR3_X64_128 = 0x1022
RIPEMD_160 = 0x1053
SM3_256 = 0x534D
BLAKE2B_256 = 0xB220
BLAKE2B_512 = 0xB240
BLAKE2S_256 = 0xB260

_BLAKE2B_BASE = multicodec.BLAKE2B_8 - 1  # plus the digest size, 1 to 64
_BLAKE2S_BASE = multicodec.BLAKE2S_8 - 1  # plus the digest size, 1 to 32

_HASHLIB = {  # name for hashlib, and digest size
    MD5: ("md5", 16),
    SHA1: ("sha1", 20),
    SHA2_224: ("sha224", 28),
    SHA2_256: ("sha256", 32),
    SHA2_384: ("sha384", 48),
    SHA2_512: ("sha512", 64),
    SHA3_224: ("sha3_224", 28),
    SHA3_256: ("sha3_256", 32),
    SHA3_384: ("sha3_384", 48),
    SHA3_512: ("sha3_512", 64),
    # not in every build of OpenSSL; keccak since 3.2
    SHA2_512_224: ("sha512_224", 28),
    SHA2_512_256: ("sha512_256", 32),
    RIPEMD_160: ("ripemd160", 20),
    SM3_256: ("sm3", 32),
    KECCAK_224: ("keccak-224", 28),
    KECCAK_256: ("keccak-256", 32),
    KECCAK_384: ("keccak-384", 48),
    KECCAK_512: ("keccak-512", 64),
}

_ANY_SIZE = range(sys.maxsize)


class HashObject(Protocol):
    """What the constructors of ``hashlib`` return, as far as it is used here."""

    def update(self, data: Data, /) -> None: ...
    def digest(self) -> bytes: ...


class _Function:
    """A hash function: ``compute(data, size)`` is its digest of ``size`` bytes, one of ``sizes``."""

    __slots__ = ("compute", "default_size", "sizes")

    def __init__(self, default_size: int, sizes: range, compute: Callable[[Data, int], bytes]) -> None:
        self.default_size, self.sizes, self.compute = default_size, sizes, compute


@lru_cache(maxsize=256)
def constructor(code: int, size: int) -> Callable[[Data], HashObject] | None:
    """A callable for hot loops: ``constructor(code, size)(data).digest()`` is the digest of ``size`` bytes.

    Returns:
        None where ``hashlib`` has nothing of exactly this form: truncated digests, identity, functions of
        any digest size, functions of other packages, unknown ones. :func:`hasher` has them all.

    >>> constructor(SHA2_256, 32) is hashlib.sha256
    True
    >>> constructor(SHA2_256, 20) is None
    True
    """
    if size == code - _BLAKE2B_BASE and 1 <= size <= 64:
        return partial(hashlib.blake2b, digest_size=size)
    if size == code - _BLAKE2S_BASE and 1 <= size <= 32:
        return partial(hashlib.blake2s, digest_size=size)
    name, full_size = _HASHLIB.get(code, ("", -1))
    return _hashlib_constructor(name) if size == full_size else None


@lru_cache(maxsize=256)
def hasher(code: int, size: int) -> Callable[[Data], bytes] | None:
    """The function that makes ``size``-byte digests of data, for every hash that can be computed here.

    For identity it returns the data, as long as they are: a comparison with a digest of ``size`` bytes then
    tells. The others return exactly ``size`` bytes.

    Returns:
        None if the function is unknown or not available here, or gives no digest of this size;
        :func:`is_known` tells the two apart.

    >>> sha2_256 = hasher(0x12, 4)
    >>> sha2_256(b"foo").hex() if sha2_256 else "unavailable"
    '2c26b46b'
    >>> hasher(SHA2_256, 33) is None, is_known(SHA2_256), is_known(0x9999)
    (True, True, False)
    """
    if code == IDENTITY:
        return bytes
    new = constructor(code, size)
    if new is not None:
        return lambda data: new(data).digest()
    function = _function(code)
    if function is None or size not in function.sizes:
        return None
    compute = function.compute
    return lambda data: compute(data, size)


def is_known(code: int) -> bool:
    """Whether the hash function ``code`` can be computed here, in some digest size."""
    return code == IDENTITY or _function(code) is not None


def default_size(code: int) -> int:
    """Digest size in bytes: the function's own; 32 or 64 for those that can give any (as go-multihash).

    Raises:
        ValueError: the function is not available here, or is identity (as long as its data).

    >>> default_size(SHA2_256), default_size(SHAKE_256), default_size(BLAKE2B_256)
    (32, 64, 32)
    """
    function = _function(code)
    if function is None:
        why = "has no digest size of its own" if code == IDENTITY else "is not available here"
        raise ValueError(f"hash function {multicodec.name_of(code)} {why}")
    return function.default_size


def digest(code: int, data: Data, size: int | None = None) -> bytes:
    """The digest of ``data``, of ``size`` bytes or, with None, of :func:`default_size`.

    Raises:
        ValueError: the function is not available here, or gives no digest of ``size`` bytes.

    >>> digest(MURMUR3_X64_64, b"470.txt").hex()
    '006e88df5847e67c'
    """
    if size is None:
        size = len(bytes(data)) if code == IDENTITY else default_size(code)
    compute = hasher(code, size)
    found = None if compute is None else compute(data)
    if found is None or len(found) != size:
        why = f"gives no digest of {size} bytes here" if is_known(code) else "is not available here"
        raise ValueError(f"hash function {multicodec.name_of(code)} {why}")
    return found


def encode(code: int, digest: bytes) -> bytes:
    """The multihash: varint of ``code``, varint of the digest's size, ``digest``.

    >>> encode(IDENTITY, b"foo").hex()
    '0003666f6f'
    """
    return _varint.encode(code) + _varint.encode(len(digest)) + digest


def decode(raw: bytes | bytearray, *, position: int = 0) -> tuple[int, bytes]:
    """Take apart a multihash that is exactly ``raw``; return code and digest. Any code will do.

    ``position`` is the file position of ``raw[0]``.

    Raises:
        FormatError: it is no multihash, or bytes are left over or missing (TruncatedError).

    >>> decode(bytes.fromhex("0003666f6f"))
    (0, b'foo')
    """
    code, at = _varint.decode(raw, 0, len(raw), position=position)
    size, at = _varint.decode(raw, at, len(raw), position=position)
    extra = len(raw) - at - size
    if extra < 0:
        raise TruncatedError("multihash digest", wanted=size, got=size + extra, position=position + len(raw))
    if extra:
        raise FormatError(f"{extra} bytes behind the multihash", position=position + at + size)
    return code, bytes(raw[at:])


@lru_cache(maxsize=256)
def _function(code: int) -> _Function | None:
    special = _SPECIAL.get(code)
    if special is not None:
        try:
            return special()
        except ImportError:
            return None
    return _hashlib_function(code) or _foreign_function(code)


def _hashlib_function(code: int) -> _Function | None:
    size = _own_size(code)
    new = constructor(code, size)
    if new is None:
        return None
    return _Function(size, range(size + 1), lambda data, wanted: new(data).digest()[:wanted])


def _own_size(code: int) -> int:
    """Digest size of a hashlib function; something impossible for any other."""
    if _BLAKE2B_BASE < code <= _BLAKE2S_BASE:
        return code - _BLAKE2B_BASE
    if _BLAKE2S_BASE < code <= BLAKE2S_256:
        return code - _BLAKE2S_BASE
    return _HASHLIB.get(code, ("", -1))[1]


def _hashlib_constructor(name: str) -> Callable[[Data], HashObject] | None:
    new: Callable[..., HashObject] = getattr(hashlib, name, partial(hashlib.new, name))
    if name in {"md5", "sha1"}:  # a FIPS build has them for this use only
        new = partial(new, usedforsecurity=False)
    try:
        new(b"")
    except ValueError:  # not in this build of OpenSSL
        return None
    return new


def _foreign_function(code: int) -> _Function | None:
    """A function of ``multiformats``: keccak, skein, ripemd-160, ...; whatever fails there is unavailable."""
    try:
        implementations: Any = import_module("multiformats.multihash.raw")  # 80 ms: only when needed
        compute, largest = implementations.get(multicodec.name_of(code))
        size = 32 if largest is None else int(largest)
        compute(b"", size)
    except Exception:  # noqa: BLE001  (its errors have no common root, and its dependencies have their own)
        return None
    sizes = _ANY_SIZE if largest is None else range(size + 1)
    return _Function(size, sizes, lambda data, wanted: bytes(compute(data, wanted)))


def _shake_128() -> _Function:
    return _Function(32, _ANY_SIZE, lambda data, size: hashlib.shake_128(data).digest(size))


def _shake_256() -> _Function:
    return _Function(64, _ANY_SIZE, lambda data, size: hashlib.shake_256(data).digest(size))


def _dbl_sha2_256() -> _Function:
    def compute(data: Data, size: int) -> bytes:
        return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:size]

    return _Function(32, range(33), compute)


def _sha2_256_trunc254_padded() -> _Function:
    """sha2-256 as a field element: little-endian, so the top two of 256 bits are in the last byte."""

    def compute(data: Data, size: int) -> bytes:
        full = hashlib.sha256(data).digest()
        return (full[:31] + bytes([full[31] & 0x3F]))[:size]

    return _Function(32, range(33), compute)


def _blake3() -> _Function:
    new: Any = import_module("blake3").blake3
    return _Function(32, range(1, 129), lambda data, size: bytes(new(data).digest(length=size)))


def _murmur3_x64(full_size: int) -> _Function:
    """murmur3-x64-128 as two big-endian words, which is what Go and JavaScript print; 64 is the first one."""
    hash_little: Any = import_module("mmh3").mmh3_x64_128_digest

    def compute(data: Data, size: int) -> bytes:
        little = bytes(hash_little(data))
        return (little[7::-1] + little[:7:-1])[:size]

    return _Function(full_size, range(full_size + 1), compute)


def _murmur3_32() -> _Function:
    """The word little-endian, as in @multiformats/murmur3: the only published multihashes of this code."""
    hash_little: Any = import_module("mmh3").mmh3_32_digest
    return _Function(4, range(5), lambda data, size: bytes(hash_little(data))[:size])


_SPECIAL: dict[int, Callable[[], _Function]] = {
    SHAKE_128: _shake_128,
    SHAKE_256: _shake_256,
    DBL_SHA2_256: _dbl_sha2_256,
    SHA2_256_TRUNC254_PADDED: _sha2_256_trunc254_padded,
    BLAKE3: _blake3,
    MURMUR3_X64_64: partial(_murmur3_x64, 8),
    MURMUR3_X64_128: partial(_murmur3_x64, 16),
    MURMUR3_32: _murmur3_32,
}
