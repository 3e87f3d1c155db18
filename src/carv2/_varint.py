"""Unsigned varints: LEB128, minimal, at most nine bytes (63 bits).

Rule: multiformats unsigned-varint specification; go-varint refuses the same inputs.
"""

from __future__ import annotations

from carv2.errors import FormatError, TruncatedError

MAX_SIZE = 9
MAX_VALUE = (1 << 63) - 1


def encode(value: int) -> bytes:
    """Encode ``value``, an int of 0 to 2**63 - 1.

    >>> encode(300).hex()
    'ac02'
    """
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"varint of {value}, allowed 0 to {MAX_VALUE}")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(buffer: bytes | bytearray, offset: int, end: int, *, position: int) -> tuple[int, int]:
    r"""Decode the varint at ``buffer[offset]``; return its value and the offset behind it.

    Bytes from ``end`` on are not looked at. ``position`` is the file position of ``buffer[0]``.

    Raises:
        TruncatedError: ``end`` comes before the last byte of the varint.
        FormatError: longer than nine bytes, or not the shortest form.

    >>> decode(b"\xac\x02!", 0, 3, position=0)
    (300, 2)
    """
    value = shift = 0
    for at in range(offset, min(end, offset + MAX_SIZE)):
        byte = buffer[at]
        value |= (byte & 127) << shift
        if byte < 128:
            if byte == 0 and shift:
                raise FormatError("varint is not minimally encoded", position=position + at)
            return value, at + 1
        shift += 7
    if shift == 7 * MAX_SIZE:
        raise FormatError("varint is longer than 9 bytes", position=position + offset + MAX_SIZE - 1)
    got = max(0, end - offset)
    raise TruncatedError("varint", wanted=got + 1, got=got, position=position + max(offset, end))
