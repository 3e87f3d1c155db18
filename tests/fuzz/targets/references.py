"""Records of ref-CARs: which bytes of which file a block is, and the names that they go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.codec._protobuf import read_varint
from carv2.errors import CodecError, FormatError
from carv2.filestore import keys, record
from carv2.filestore.record import FileReference
from carv2.filestore.urls import UrlReader
from fuzz.target import REFUSED, Question, Sabotage, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

_READER = UrlReader(["https://example.org", "http://example.org:8080"])
_POSITION = 1000


def check_record(data: bytes) -> str:
    _check_key(data)
    try:
        found = record.decode(data, position=_POSITION)
    except CodecError as error:
        assert _POSITION <= error.position <= _POSITION + len(data)
        return REFUSED
    written = record.encode(found)
    assert record.decode(written) == found
    assert len(str(found)) < 1000
    if found.is_url:
        _check_url(found.path)
        return "URL"
    place = found.full_path("/data/in")
    assert (place + "/").startswith("/data/in/")
    assert not {"..", "."} & set(place.split("/"))
    return "path" if written == data else "another form"


def _check_url(url: str) -> None:
    """Only of the servers that were named, whatever the URL looks like."""
    if _READER.is_allowed(url):
        scheme, _, rest = url.partition("://")
        server, *_ = rest.replace("?", "/").replace("#", "/").split("/")
        assert (scheme, server.lower().removesuffix(":443").rstrip(":")) in {
            ("https", "example.org"), ("http", "example.org:8080"), ("http", "example.org:08080"),
        } or server.rpartition(":")[2].lstrip("0") in {"443", "8080"}  # fmt: skip
        assert "@" not in server


def _check_key(data: bytes) -> None:
    """A key CID shows its leaf's multihash, or is none."""
    try:
        leaf = keys.multihash_in(CID(data).raw)
    except FormatError:
        leaf = None
    if leaf is not None:
        assert keys.is_identity_key(data)
        assert CID.of_multihash(leaf).multihash == leaf
    for variant in ("A", "D"):
        cid = keys.key_cid(CID.of_data(data), variant)
        assert keys.multihash_in(cid.raw) == (CID.of_data(data).multihash if variant == "A" else None)


def _paths_in(data: bytes) -> Iterator[bytes]:
    """All paths of a record that can be read: the last of them counts."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at, len(data), CodecError)
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 in {0, 2}:
            value, at = read_varint(data, at, len(data), CodecError)
            size = value if tag & 7 == 2 else 0
        if tag == 10:
            yield data[at : at + size]
        at += size


def _is_text(path: bytes) -> bool:
    return path == path.decode("utf-8", "replace").encode()


def ask_record(data: bytes) -> Question | None:
    try:
        found = record.decode(data)
    except CodecError:
        return None
    path = found.path.encode("utf-8", "surrogateescape")
    if not all(map(_is_text, _paths_in(data))):
        return None  # today's protobuf in Go wants text; the one that Lotus had did not
    return Question("record", data, f"ok {path.hex()} {found.offset} {found.size}")


_DECODE, _MULTIHASH_IN = record.decode, keys.multihash_in

RECORDS = Target(
    "ref-records",
    check_record,
    frozenset({"path", "another form", "URL", REFUSED}),
    {
        "leads out of the root": Sabotage(FileReference, "full_path", lambda self, root: f"{root}/{self.path}"),
        "loses the offset": Sabotage(
            record, "decode", lambda data, position=0: FileReference(_DECODE(data).path, len(data), 0)
        ),
        "shows the leaf of any key": Sabotage(keys, "multihash_in", lambda raw: raw[4:]),
        "says where in the record, not in the file": Sabotage(
            record, "decode", lambda data, position=0: _DECODE(data)
        ),
        "asks any server": Sabotage(UrlReader, "is_allowed", lambda *_: True),
    },
    ask_record,
    max_size=512,
    words=(
        b"../",
        b"/etc/passwd",
        b"https://",
        b"http://",
        b"example.org",
        b"@",
        b":443",
        b"\x01\x55\x00",
        b"/filestore/",
    ),
)

TARGETS = (RECORDS,)
