"""Where the links of a dag-cbor block are, found without building its value.

Source: the DAG-CBOR specification (https://ipld.io/specs/codecs/dag-cbor/spec/). :func:`links` reads what
go-ipld-prime reads, which is more than may be written: lengths and numbers that are not the shortest, indefinite
lengths, unsorted keys, half and single floats, ``undefined``. Like it, it refuses keys that are no text, and tags
unless it is 42 over a byte string of a zero byte and a whole CID (go-ipld-prime passes over a tag on anything but
a byte string; here it is refused). What is nested deeper than :data:`MAX_DEPTH` is refused too.

>>> links(bytes.fromhex("a1616ad82a4600" "0155000161"))[0].hex()
'0155000161'
"""

from __future__ import annotations

from carv2.cid import parse_parts
from carv2.codec._values import MAX_DEPTH
from carv2.errors import CodecError, FormatError

_BYTES, _TEXT, _MAP, _TAG = 2, 3, 5, 6  # major types
_BREAK = 0xFF
_LINK_TAG = 42
_INDEFINITE = -1
ENDLESS = 1 << 62  # items still to come where a break ends them
_MANY = 1 << 61


def _steps() -> list[int]:
    """By the first byte of an item: its size in bytes, 0 where more has to be looked at."""
    steps = [0] * 256
    for number, string in ((0, _BYTES), (1, _TEXT)):
        for info in range(24):
            steps[number << 5 | info] = 1
            steps[string << 5 | info] = 1 + info
        for info in range(24, 28):
            steps[number << 5 | info] = 1 + (1 << (info - 24))
    for first, size in ((0xF4, 1), (0xF5, 1), (0xF6, 1), (0xF7, 1), (0xF9, 3), (0xFA, 5), (0xFB, 9)):
        steps[first] = size
    return steps


_STEPS = _steps()
_ONE_BYTE_SIZES = frozenset({0x58, 0x78})
_USUAL_LINKS = frozenset(bytes.fromhex(f"d82a582500{cid}") for cid in ("01711220", "01551220", "01701220"))
"""How a link to a block of the usual kinds begins: tag, string, zero byte, CID up to its digest."""


def links(data: bytes) -> list[bytes]:
    """Binary CIDs in the order they stand.

    Raises:
        CodecError: no CBOR, cut off, with something behind it, nested too deep, a tag or a key that must not be,
            or a link that is no CID.
    """
    return scan(data, [])


def scan(data: bytes, ends: list[int]) -> list[bytes]:
    """The links; ``ends`` gets the offset behind each."""
    found: list[bytes] = []
    try:
        at = _walk(data, found, ends)
    except IndexError:
        at = len(data) + 1
    if at < len(data):
        raise CodecError("CBOR: something behind the item", position=at)
    if at > len(data):
        raise CodecError("CBOR: cut off", position=len(data))
    return found


def _walk(data: bytes, found: list[bytes], ends: list[int]) -> int:
    """Go over an item and all in it; return the offset behind it. Other walks spend their time in this loop.

    A string that ends behind ``data`` shows when the next item is looked at, or at the end.
    """
    stack: list[tuple[int, bool]] = []
    at, left, keyed, steps = 0, 1, False, _STEPS
    while True:
        while left:
            left -= 1
            byte = data[at]
            if keyed:
                if 0x60 <= byte < 0x78:
                    at += byte - 0x5F
                elif byte == _BREAK and left > _MANY:
                    at, left = at + 1, 0
                    continue
                else:
                    at = _skip_key(data, at)
                byte = data[at]
            step = steps[byte]
            if step:
                at += step
            elif data[at : at + 9] in _USUAL_LINKS:
                found.append(data[at + 5 : at + 41])
                at += 41
                ends.append(at)
            elif byte in _ONE_BYTE_SIZES:
                at += 2 + data[at + 1]
            elif 0x80 <= byte < 0xC0:
                stack.append((left, keyed))
                keyed, left, at = byte > 0x9F, byte & 31, at + 1
                if left > 23 or len(stack) > MAX_DEPTH:
                    left, at = _open(data, at - 1, len(stack))
            elif byte == _BREAK and left > _MANY and not keyed:
                at, left = at + 1, 0
            else:
                at = _skip_rare(data, at, found, ends)
        if not stack:
            return at
        left, keyed = stack.pop()


def read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument and the offset behind the head of an item."""
    first = data[at]
    major, info = first >> 5, first & 31
    if info < 24:
        return major, info, at + 1
    if info < 28:
        end = at + 1 + (1 << (info - 24))
        if end > len(data):
            raise IndexError
        return major, int.from_bytes(data[at + 1 : end], "big"), end
    if info == 31 and _BYTES <= major <= _MAP:
        return major, _INDEFINITE, at + 1
    raise CodecError(f"CBOR: byte {first:#04x} begins no item", position=at)


def _open(data: bytes, at: int, depth: int) -> tuple[int, int]:
    """How many entries of a map or items of a list are to come, and the offset of the first."""
    if depth > MAX_DEPTH:
        raise CodecError(f"CBOR: nested deeper than {MAX_DEPTH}", position=at)
    major, count, start = read_head(data, at)
    if count == _INDEFINITE:
        return ENDLESS, start
    least = count * 2 if major == _MAP else count  # bytes
    if least > len(data) - start:
        raise CodecError(f"CBOR: {count} items announced, {len(data) - start} bytes are left", position=at)
    return count, start


def _skip_key(data: bytes, at: int) -> int:
    if data[at] >> 5 != _TEXT:
        raise CodecError("CBOR: a key that is no text", position=at)
    return _skip_string(data, at)[1]


def _skip_string(data: bytes, at: int) -> tuple[int, int]:
    """Start and end of the content of a byte or text string; of one in chunks, of all of them."""
    major, size, start = read_head(data, at)
    if size != _INDEFINITE:
        return start, start + size
    end = start
    while data[end] != _BREAK:
        if data[end] >> 5 != major or data[end] & 31 == 31:
            raise CodecError("CBOR: a chunk that is not of its string's kind", position=end)
        _, size, end = read_head(data, end)
        end += size
    return start, end + 1


def _skip_rare(data: bytes, at: int, found: list[bytes], ends: list[int]) -> int:
    """Step over anything that is neither a usual item nor a container; take note of it if it is a link."""
    major, argument, start = read_head(data, at)
    if major in {_BYTES, _TEXT}:
        return _skip_string(data, at)[1]
    if major != _TAG:
        raise CodecError(f"CBOR: byte {data[at]:#04x} begins no item", position=at)
    if argument != _LINK_TAG:
        raise CodecError(f"CBOR: tag {argument}, allowed: {_LINK_TAG}", position=at)
    if data[start] >> 5 != _BYTES:
        raise CodecError("CBOR: a link that is no byte string", position=start)
    content, end = read_string(data, start)
    if end > len(data):
        raise IndexError
    if content[:1] != b"\x00":
        raise CodecError("CBOR: a link that does not begin with a zero byte", position=start)
    found.append(_checked_cid(content, start))
    ends.append(end)
    return end


def read_string(data: bytes, at: int) -> tuple[bytes, int]:
    """Content of a byte or text string and the offset behind it."""
    start, end = _skip_string(data, at)
    if data[at] & 31 != 31:
        return data[start:end], end
    content = bytearray()
    while data[start] != _BREAK:
        _, size, start = read_head(data, start)
        content += data[start : start + size]
        start += size
    return bytes(content), end


def _checked_cid(content: bytes, at: int) -> bytes:
    try:
        parts = parse_parts(content, 1, len(content), position=0)
    except FormatError as error:
        raise CodecError(f"CBOR link: {error.args[0]}", position=at) from error
    if 1 + parts.size != len(content):
        raise CodecError("CBOR link: bytes behind the CID", position=at)
    return content[1:]
