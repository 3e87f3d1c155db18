"""Multibase: bytes as text, with the base named by the first character; and bare base58btc for CIDv0.

The usual bases are here; others are looked up in the ``multiformats`` package, which is imported only then
(80 ms). The identity base is not text and is refused. Decoding is strict: no foreign characters or blanks,
no half bytes, no set bits behind the last byte, padding exactly where the base has it; so that no two texts
of a base mean the same bytes, except that base16, base32 and base36 take either case, as the rules say.

Rules: the multibase specification (https://github.com/multiformats/multibase, tests included) and RFC 4648.

>>> encode(b"yes mani !"), decode("z7paNL19xttacUY")
('bpfsxgidnmfxgsibb', b'yes mani !')
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["decode", "decode_base58", "encode", "encode_base58"]

MAX_RAW_SIZE = 2 << 10
"""Bytes that a base without a whole number of bits per character encodes: go-car's largest CID.

Such bases take quadratic time. The others have no limit; nor should they need one, being linear.
"""

MAX_TEXT_SIZE = 1 + 8 * MAX_RAW_SIZE
"""Characters that such a base decodes: a CID of 2 KiB in any base, base2 being the longest."""

_BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE36 = b"0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32 = b"abcdefghijklmnopqrstuvwxyz234567"
_BASE16 = _BASE36[:16]

_BAD = 0xFF


class _Base:
    """A base: ``encode(raw)`` is without prefix, ``decode(text, start)`` is of ``text[start:]``."""

    __slots__ = ("decode", "encode", "name", "prefix")

    def __init__(
        self, name: str, prefix: str, encode: Callable[[bytes], str], decode: Callable[[str, int], bytes]
    ) -> None:
        self.name, self.prefix, self.encode, self.decode = name, prefix, encode, decode


def encode(raw: bytes, base: str = "base32") -> str:
    r"""Text of ``raw``, prefix included, in the base with this multibase name.

    Raises:
        ValueError: there is no such base, or ``raw`` is above :data:`MAX_RAW_SIZE` for it.

    >>> encode(b"\0\0yes mani !", "base36")
    'k002lcpzo5yikidynfl'
    """
    if base == "base32":
        return "b" + _encode_base32(raw)
    found = _bases()[0].get(base)
    return _encode_foreign(raw, base) if found is None else found.prefix + found.encode(raw)


def decode(text: str) -> bytes:
    r"""Bytes of ``text``, whose first character tells the base.

    Raises:
        ValueError: ``text`` is empty, of no known base, or not what that base makes of any bytes; it names
            the first wrong character and its index in ``text``. Or it is above :data:`MAX_TEXT_SIZE`.

    >>> decode("f00ff")
    b'\x00\xff'
    >>> decode("b0")
    Traceback (most recent call last):
    ValueError: '0' at index 1 is not base32
    """
    found = _bases()[1].get(text[:1])
    return _decode_foreign(text) if found is None else found.decode(text, 1)


def encode_base58(raw: bytes) -> str:
    r"""Text of ``raw`` in base58btc without a prefix: the text form of a CIDv0.

    Raises:
        ValueError: ``raw`` is above :data:`MAX_RAW_SIZE`.

    >>> encode_base58(b"\0yes mani !")
    '17paNL19xttacUY'
    """
    return _encode_digits(raw, _BASE58)


def decode_base58(text: str) -> bytes:
    r"""Bytes of ``text``, base58btc without a prefix.

    Raises:
        ValueError: as for :func:`decode`.

    >>> decode_base58("17paNL19xttacUY")
    b'\x00yes mani !'
    """
    return _decode_digits(text, 0, "base58btc", _BASE58)


@lru_cache(maxsize=1)
def _bases() -> tuple[dict[str, _Base], dict[str, _Base]]:
    """The bases of this module by name and by prefix."""
    bases = [
        _Base("base16", "f", bytes.hex, _decode_base16),
        _Base("base16upper", "F", lambda raw: raw.hex().upper(), _decode_base16),
        _Base("base32", "b", _encode_base32, _decode_base32),
        _Base("base32upper", "B", lambda raw: _encode_base32(raw).upper(), _decode_base32),
        _Base("base36", "k", _encode_base36, _decode_base36),
        _Base("base36upper", "K", lambda raw: _encode_base36(raw).upper(), _decode_base36),
        _Base("base58btc", "z", encode_base58, lambda text, at: _decode_digits(text, at, "base58btc", _BASE58)),
        _base64("base64", "m", url=False, padded=False),
        _base64("base64pad", "M", url=False, padded=True),
        _base64("base64url", "u", url=True, padded=False),
        _base64("base64urlpad", "U", url=True, padded=True),
    ]
    return {base.name: base for base in bases}, {base.prefix: base for base in bases}


# Bases of 4, 5 and 6 bits per character: linear.


@lru_cache(maxsize=1)
def _base32_pairs() -> list[str]:
    """The text of every ten bits."""
    letters = _BASE32.decode()
    return [first + second for first in letters for second in letters]


def _encode_base32(raw: bytes) -> str:
    pairs = _base32_pairs()
    padded = raw + bytes(-len(raw) % 5)
    out: list[str] = []
    for at in range(0, len(padded), 5):
        bits = int.from_bytes(padded[at : at + 5], "big")
        out += pairs[bits >> 30], pairs[bits >> 20 & 1023], pairs[bits >> 10 & 1023], pairs[bits & 1023]
    return "".join(out)[: (8 * len(raw) + 4) // 5]


def _decode_base32(text: str, start: int) -> bytes:
    digits, spare = _bit_digits(text, start, "base32", _BASE32, fold=True)
    bits = int(digits.translate(_to_int_digits()), 32) if digits else 0
    return (bits >> spare).to_bytes(len(digits) * 5 // 8, "big")


def _decode_base16(text: str, start: int) -> bytes:
    _bit_digits(text, start, "base16", _BASE16, fold=True)
    return bytes.fromhex(text[start:])


def _base64(name: str, prefix: str, *, url: bool, padded: bool) -> _Base:
    """One of four: the alphabet of RFC 4648 section 4 or (``url``) 5, with ``=`` at the end or without."""
    alphabet = _BASE64.replace(b"+/", b"-_") if url else _BASE64
    to_standard = bytes.maketrans(alphabet, _BASE64)

    def encode_body(raw: bytes) -> str:
        import binascii  # noqa: PLC0415  (rarely wanted)

        text = binascii.b2a_base64(raw, newline=False).translate(bytes.maketrans(_BASE64, alphabet))
        return (text if padded else text.rstrip(b"=")).decode()

    def decode_body(text: str, start: int) -> bytes:
        import binascii  # noqa: PLC0415  (rarely wanted)

        bare = text.rstrip("=") if padded else text
        digits, _ = _bit_digits(bare, start, name, alphabet)
        padding = -len(digits) % 4
        if padded and len(text) - len(bare) != padding:
            raise ValueError(f"{name} of {len(digits)} characters ends in {padding} '=' of padding")
        return binascii.a2b_base64(bare[start:].encode().translate(to_standard) + b"=" * padding)

    return _Base(name, prefix, encode_body, decode_body)


def _bit_digits(text: str, start: int, name: str, alphabet: bytes, *, fold: bool = False) -> tuple[bytes, int]:
    """As :func:`_digits`, and how many bits of the last digit, all zero, are behind the last byte."""
    digits = _digits(text, start, name, alphabet, fold=fold)
    width = len(alphabet).bit_length() - 1
    spare = len(digits) * width % 8
    if spare >= width:
        raise ValueError(f"{name} of {len(digits)} characters is not a whole number of bytes")
    if spare and digits[-1] & ((1 << spare) - 1):
        raise ValueError(f"{text[-1]!r} at index {len(text) - 1} has bits behind the last byte of {name}")
    return digits, spare


@lru_cache(maxsize=1)
def _to_int_digits() -> bytes:
    """For ``translate``: values 0 to 35 to the digits of ``int(..., 36)``."""
    return _BASE36 + bytes(220)


# Bases whose characters carry no whole number of bits: quadratic, therefore limited.


def _encode_base36(raw: bytes) -> str:
    return _encode_digits(raw, _BASE36)


def _decode_base36(text: str, start: int) -> bytes:
    return _decode_digits(text, start, "base36", _BASE36, fold=True)


def _encode_digits(raw: bytes, alphabet: bytes) -> str:
    """One big-endian number; each zero byte in front is one zero digit in front."""
    _check_size("bytes to encode", len(raw), MAX_RAW_SIZE)
    radix = len(alphabet)
    value = int.from_bytes(raw, "big")
    out = bytearray()
    while value:
        value, digit = divmod(value, radix)
        out.append(alphabet[digit])
    out += alphabet[:1] * (len(raw) - len(raw.lstrip(b"\0")))
    out.reverse()
    return out.decode()


def _decode_digits(text: str, start: int, name: str, alphabet: bytes, *, fold: bool = False) -> bytes:
    _check_size("characters", len(text), MAX_TEXT_SIZE)
    radix = len(alphabet)
    digits = _digits(text, start, name, alphabet, fold=fold)
    value = 0
    for digit in digits:
        value = value * radix + digit
    zeros = len(digits) - len(digits.lstrip(b"\0"))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def _check_size(what: str, found: int, allowed: int) -> None:
    if found > allowed:
        raise ValueError(f"{found} {what}, limit {allowed}")


def _digits(text: str, start: int, name: str, alphabet: bytes, *, fold: bool) -> bytes:
    """The values of the characters from index ``start`` on; ``fold`` takes either case for the same."""
    values = _values(alphabet, fold=fold)
    digits = text[start:].encode("ascii", "replace").translate(values)  # one byte for each character
    at = digits.find(_BAD)
    if at >= 0:
        raise ValueError(f"{text[start + at]!r} at index {start + at} is not {name}")
    return digits


@lru_cache(maxsize=8)
def _values(alphabet: bytes, *, fold: bool) -> bytes:
    """For ``translate``: characters to values, all others to ``_BAD``."""
    values = bytearray([_BAD]) * 256
    for value, character in enumerate(alphabet):
        values[character] = value
        if fold:
            values[ord(chr(character).upper())] = value
    return bytes(values)


# Everything else.


def _encode_foreign(raw: bytes, base: str) -> str:
    if base == "identity":
        raise ValueError("multibase identity is not text")
    _check_size("bytes to encode", len(raw), MAX_RAW_SIZE)
    try:
        package: Any = import_module("multiformats.multibase")  # 80 ms: only when needed
        return str(package.encode(raw, base))
    except Exception as error:  # its errors have no common root
        raise ValueError(f"unknown multibase {base!r}: {error}") from error


def _decode_foreign(text: str) -> bytes:
    _check_size("characters", len(text), MAX_TEXT_SIZE)
    if text.startswith("\0"):
        raise ValueError(f"no multibase text: {text[:64]!r}")
    try:
        package: Any = import_module("multiformats.multibase")  # 80 ms: only when needed
        base, raw = package.from_str(text), bytes(package.decode(text))
        again = str(package.encode(raw, base.name))
    except Exception as error:  # its errors have no common root
        raise ValueError(f"no multibase text: {text[:64]!r}") from error
    if again.casefold() != text.casefold():  # it takes bases that are padded without their padding, and the like
        raise ValueError(f"{text[:64]!r} is not what {base.name} makes of any bytes")
    return raw
