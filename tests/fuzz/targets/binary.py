"""The smallest parts: varints, CIDs, the two headers."""

from __future__ import annotations

import pickle
import struct

from carv2 import _varint, header
from carv2.cid import CID
from carv2.codec import _protobuf
from carv2.errors import CodecError, FormatError, TruncatedError
from carv2.header import CarV1Header, CarV2Header
from fuzz.target import REFUSED, Question, Sabotage, Target

POSITION = 1000
"""Where in a file the input is said to begin: errors must count from there."""


def is_within(error: FormatError, data: bytes) -> bool:
    """Whether an error points into the input, or right behind it."""
    return POSITION <= error.position <= POSITION + len(data)


# -- varints --------------------------------------------------------------------------------------------------


def check_varint(data: bytes) -> str:
    """Both kinds: the multiformats' and protobuf's, beside a sum of seven bits a byte."""
    size = next((at for at, byte in enumerate(data, 1) if byte < 128), None)
    total = sum((byte & 127) << 7 * at for at, byte in enumerate(data[: size or 0]))
    _check_protobuf(data, size, total)
    try:
        value, end = _varint.decode(data, 0, len(data), position=POSITION)
    except FormatError as error:
        assert is_within(error, data)
        is_cut = size is None and len(data) < _varint.MAX_SIZE
        assert isinstance(error, TruncatedError) == is_cut
        assert size is None or size > _varint.MAX_SIZE or (size > 1 and data[size - 1] == 0)
        return "cut" if is_cut else REFUSED
    assert (value, end) == (total, size)
    assert _varint.encode(value) == data[:end]
    shifted = _varint.decode(b"\x80" + data, 1, 1 + end, position=POSITION)
    assert shifted == (value, end + 1)
    return "taken"


def _check_protobuf(data: bytes, size: int | None, total: int) -> None:
    try:
        found = _protobuf.read_varint(data, 0, len(data), CodecError)
    except CodecError:
        assert size is None or size > 10 or total >> 64
        return
    assert found == (total, size)
    assert _protobuf.read_varint(_protobuf.varint(total), 0, 10, CodecError)[0] == total


def ask_varint(data: bytes) -> Question:
    try:
        value, end = _varint.decode(data, 0, len(data), position=0)
    except FormatError:
        return Question("varint", data, "error")
    return Question("varint", data, f"ok {value} {end}")


VARINT = Target(
    "varint",
    check_varint,
    frozenset({"taken", "cut", REFUSED}),
    {
        "takes what is not the shortest": Sabotage(
            _varint, "decode", lambda data, at, end, *, position: _protobuf.read_varint(data, at, end, CodecError)
        ),
        "wants more where nothing would help": Sabotage(
            _varint, "decode", lambda *_, position: _raise(TruncatedError("x", wanted=1, got=0, position=position))
        ),
        "takes ten bytes for a number": Sabotage(_varint, "decode", lambda data, *_, position: (1, len(data))),
        "reads protobuf's with a bit missing": Sabotage(
            _protobuf, "read_varint", lambda data, at, *_: (data[at] & 63 if data else 0, at + 1)
        ),
    },
    ask_varint,
    max_size=16,
)


def _raise(error: Exception) -> None:
    raise error


# -- CIDs -----------------------------------------------------------------------------------------------------


def check_cid(data: bytes) -> str:
    try:
        cid = CID.parse(data, position=POSITION)
    except FormatError as error:
        assert is_within(error, data)
        return REFUSED
    size, parts = len(cid.raw), cid.parts
    assert cid.raw == data[:size]
    assert CID(cid.raw) == cid
    assert cid.multihash.endswith(cid.digest)
    assert len(cid.digest) == parts.digest_size
    assert CID.of(str(cid)) == cid
    assert CID.of(cid.encode("base58btc" if cid.version else None)) == cid
    assert pickle.loads(pickle.dumps(cid)) == cid
    assert CID.of_multihash(cid.multihash, codec=cid.codec, version=cid.version) == cid
    assert cid.to_v1().multihash == cid.multihash
    assert cid.is_identity == (cid.hash_code == 0)
    if cid.is_identity:
        assert cid.matches(cid.digest)
    _check_cut(data, size)
    return f"version {cid.version}"


def _check_cut(data: bytes, size: int) -> None:
    """One byte less is no CID, one more is too much."""
    try:
        CID(data[: size - 1])
    except TruncatedError:
        pass
    else:
        raise AssertionError("a CID without its last byte is one")
    try:
        CID(data[:size] + b"\x00")
    except FormatError:
        return
    raise AssertionError("a CID with a byte behind it is one")


def ask_cid(data: bytes) -> Question:
    try:
        return Question("cid", data, f"ok {len(CID.parse(data).raw)}")
    except FormatError:
        return Question("cid", data, "error")


CID_BYTES = Target(
    "cid",
    check_cid,
    frozenset({"version 0", "version 1", REFUSED}),
    {
        "forgets the codec": Sabotage(CID, "multihash", property(lambda self: self.raw[1:])),
        "takes no identity for one": Sabotage(CID, "is_identity", property(lambda _: False)),
        "writes text of another version": Sabotage(CID, "__str__", lambda self: self.to_v1().encode()),
        "says where in the input, not in the file": Sabotage(
            CID,
            "parse",
            classmethod(lambda cls, data, position=0: cls.of(_prefix_of_cid(data))),
        ),
    },
    ask_cid,
    max_size=256,
)


def _prefix_of_cid(data: bytes) -> bytes:
    from carv2.cid import parse_parts

    return data[: parse_parts(data, 0, len(data), position=0).size]


def check_cid_text(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    try:
        cid = CID.of(text)
    except ValueError:
        return REFUSED
    assert CID.of(str(cid)) == cid
    assert CID.of(f"/ipfs/{cid}/a") == cid
    return "path" if text.startswith(("/", "ipfs:")) else f"version {cid.version}"


def ask_cid_text(data: bytes) -> Question | None:
    text = data.decode("utf-8", "surrogateescape")
    if text.startswith(("/", "ipfs:")) or "/ipfs/" in text:
        return None
    try:
        return Question("cid-text", data, f"ok {CID.of(text).raw.hex()}")
    except ValueError:
        return None


CID_TEXT = Target(
    "cid-text",
    check_cid_text,
    frozenset({"version 0", "version 1", "path", REFUSED}),
    {
        "raises what it should not": Sabotage(CID, "of", lambda text: CID(text.encode()[:0] or text)),
        "loses the path": Sabotage(CID, "__str__", lambda self: "/ipfs/x"),
    },
    ask_cid_text,
    max_size=256,
    words=(b"/ipfs/", b"ipfs://", b"Qm", b"bafy", b"bafk", b"z", b"u", b"F01"),
)


# -- headers --------------------------------------------------------------------------------------------------


def check_carv1_header(data: bytes) -> str:
    try:
        found, size = CarV1Header.parse(data, position=POSITION)
    except FormatError as error:
        assert is_within(error, data)
        return REFUSED
    assert size <= len(data)
    assert header.header_size(data) == size
    assert header.version_of(data) == 1
    written = found.to_bytes()
    assert CarV1Header.parse(written) == (found, len(written))
    assert len(written) <= size + 20  # it is the shortest form, but has roots also where there were none
    assert CarV1Header.parse(data[:size]) == (found, size)
    try:
        CarV1Header.parse(data[: size - 1])
    except TruncatedError:
        return "canonical" if written == data[:size] else "another form"
    raise AssertionError("a header without its last byte is one")


def ask_carv1_header(data: bytes) -> Question | None:
    try:
        found, size = CarV1Header.parse(data)
    except FormatError:
        return None
    roots = ",".join(root.raw.hex() for root in found.roots) or "-"
    return Question("car", data[:size], f"ok 1 {roots} -")


_WRITE = CarV1Header.to_bytes

CARV1_HEADER = Target(
    "carv1-header",
    check_carv1_header,
    frozenset({"canonical", "another form", REFUSED}),
    {
        "encodes anew to know the size": Sabotage(header, "header_size", lambda data: len(_again(data))),
        "writes roots in another order": Sabotage(
            CarV1Header,
            "to_bytes",
            lambda self: _WRITE(CarV1Header(self.roots[::-1] if len(self.roots) > 1 else ())),
        ),
        "takes any version": Sabotage(header, "version_of", lambda _: 2),
        "takes what is cut off": Sabotage(CarV1Header, "parse", lambda data, **_: (CarV1Header(), len(data))),
    },
    ask_carv1_header,
    words=(b"roots", b"version", b"\xd8\x2a\x58\x25\x00", b"\xa2\x65roots", b"\x67version\x01", b"\x9f", b"\xff"),
)


def _again(data: bytes) -> bytes:
    return _WRITE(CarV1Header.parse(data)[0])


def check_carv2_header(data: bytes) -> str:
    try:
        found = CarV2Header.from_bytes(data, position=POSITION)
    except FormatError as error:
        assert is_within(error, data[:40])
        return REFUSED
    numbers = struct.unpack("<QQQ", data[16:40])
    assert (found.data_offset, found.data_size, found.index_offset) == numbers
    assert found.to_bytes() == data[:40]
    assert found.data_end == sum(numbers[:2])
    assert found.is_fully_indexed == (data[0] > 127)
    return "with index" if found.has_index else "without index"


def ask_carv2_header(data: bytes) -> Question:
    try:
        found = CarV2Header.from_bytes(data)
    except FormatError:
        return Question("v2", data[:40], "error")
    return Question("v2", data[:40], f"ok {found.data_offset} {found.data_size} {found.index_offset}")


_FROM_BYTES = CarV2Header.from_bytes

CARV2_HEADER = Target(
    "carv2-header",
    check_carv2_header,
    frozenset({"with index", "without index", REFUSED}),
    {
        "loses unknown bits": Sabotage(
            CarV2Header, "to_bytes", lambda self: bytes(16) + struct.pack("<QQQ", *self[:3])
        ),
        "takes the wrong bit": Sabotage(
            CarV2Header,
            "is_fully_indexed",
            property(lambda self: self.characteristics & 1),
        ),
        "says where in the input, not in the file": Sabotage(
            CarV2Header, "from_bytes", lambda data, **_: _FROM_BYTES(data, position=0)
        ),
    },
    ask_carv2_header,
    max_size=64,
)

TARGETS = (VARINT, CID_BYTES, CID_TEXT, CARV1_HEADER, CARV2_HEADER)
