"""What a CARv1 header may look like: go-car's behaviour, row by row, through every door."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from carv2.cid import CID
from carv2.errors import FormatError, LimitError, TruncatedError, VersionError
from carv2.header import CarV1Header, version_of
from carv2.reader import CarReader, read_version
from carv2.units import Limits
from helpers.archives import (
    BARRELEYE,
    FISH,
    LOBSTER,
    PB_NODE,
    PRAGMA,
    cbor_head,
    identity,
    link,
    section,
    v2_header,
    varint,
)
from helpers.feeding import Outcome, by_decoder, by_reader, bytewise, roots_by_decoder

ROOTS, VERSION = b"\x65roots", b"\x67version"
ONE = VERSION + b"\x01"
NONE = ROOTS + b"\x80"
A, B = FISH[0], LOBSTER[0]
IDENTITY_ROOT = identity(b"id")
FIVE = [A, B, BARRELEYE[0], PB_NODE[0], IDENTITY_ROOT]


def roots(*links: bytes) -> bytes:
    return ROOTS + cbor_head(4, len(links)) + b"".join(links)


def text(value: str) -> bytes:
    return cbor_head(3, len(value)) + value.encode()


def bytestring(value: bytes) -> bytes:
    return cbor_head(2, len(value)) + value


class Row(NamedTuple):
    """A header's CBOR, and the roots that it has or the error that it is."""

    name: str
    body: bytes
    expected: list[bytes] | type[FormatError]


ACCEPTED = [
    Row("canonical, no roots", b"\xa2" + NONE + ONE, []),
    Row("canonical, one root", b"\xa2" + roots(link(A)) + ONE, [A]),
    Row("canonical, two roots", b"\xa2" + roots(link(A), link(B)) + ONE, [A, B]),
    Row("keys in reverse order", b"\xa2" + ONE + roots(link(A)), [A]),
    Row("indefinite-length map", b"\xbf" + roots(link(A)) + ONE + b"\xff", [A]),
    Row("indefinite-length list", b"\xa2" + ROOTS + b"\x9f" + link(A) + link(B) + b"\xff" + ONE, [A, B]),
    Row("indefinite-length key", b"\xa2\x7f\x62ro\x63ots\xff\x81" + link(A) + ONE, [A]),
    Row(
        "indefinite-length CID",
        b"\xa2" + roots(b"\xd8\x2a\x5f\x41\x00" + bytestring(A[:9]) + bytestring(A[9:]) + b"\xff") + ONE,
        [A],
    ),
    Row("version in two bytes", b"\xa2" + NONE + VERSION + b"\x18\x01", []),
    Row("version in nine bytes", b"\xa2" + NONE + VERSION + b"\x1b" + bytes(7) + b"\x01", []),
    Row("tag 42 in three bytes", b"\xa2" + roots(b"\xd9\x00\x2a" + link(A)[2:]) + ONE, [A]),
    Row("map and list sizes in two bytes", b"\xb8\x02" + ROOTS + b"\x98\x01" + link(A) + ONE, [A]),
    Row("key size in three bytes", b"\xa2" + NONE + b"\x79\x00\x07version\x01", []),
    Row("CID size in five bytes", b"\xa2" + roots(b"\xd8\x2a\x5a\x00\x00\x00\x25\x00" + A) + ONE, [A]),
    Row("roots null", b"\xa2" + ROOTS + b"\xf6" + ONE, []),
    Row("roots undefined", b"\xa2" + ROOTS + b"\xf7" + ONE, []),
    Row("roots absent", b"\xa1" + ONE, []),
    Row("tag on the version", b"\xa2" + NONE + VERSION + b"\xc1\x01", []),
    Row("tag on the list", b"\xa2" + ROOTS + b"\xc4\x81" + link(A) + ONE, [A]),
    Row("self-described CBOR", b"\xd9\xd9\xf7\xa2" + roots(link(A)) + ONE, [A]),
    Row("roots twice: the last one counts", b"\xa3" + roots(link(A)) + roots(link(B)) + ONE, [B]),
    Row("roots, then roots null", b"\xa3" + roots(link(A)) + ROOTS + b"\xf6" + ONE, []),
    Row("version twice: the last one counts", b"\xa3" + NONE + VERSION + b"\x07" + ONE, []),
    Row("bytes behind the map", b"\xa2" + NONE + ONE + b"\xde\xad\xbe\xef", []),
    Row("root without a tag", b"\xa2" + roots(bytestring(b"\x00" + A)) + ONE, [A]),
    Row("root with tag 48", b"\xa2" + roots(b"\xd8\x30" + link(A)[2:]) + ONE, [A]),
    Row("CIDv0 root", b"\xa2" + roots(link(PB_NODE[0])) + ONE, [PB_NODE[0]]),
    Row("identity root", b"\xa2" + roots(link(IDENTITY_ROOT)) + ONE, [IDENTITY_ROOT]),
    Row("the empty identity as root", b"\xa2" + roots(link(identity(b""))) + ONE, [identity(b"")]),
    Row("the same root twice, order kept", b"\xa2" + roots(link(B), link(A), link(B)) + ONE, [B, A, B]),
    Row(
        "root with an unknown codec and hash",
        b"\xa2" + roots(link(b"\x01\x99\x08\x99\x33\x01!")) + ONE,
        [b"\x01\x99\x08\x99\x33\x01!"],
    ),
    Row("thirty roots", b"\xa2" + roots(*[link(A)] * 30) + ONE, [A] * 30),
]

REFUSED = [
    Row("version absent", b"\xa1" + NONE, VersionError),
    Row("empty map", b"\xa0", VersionError),
    Row("null", b"\xf6", VersionError),
    Row("undefined", b"\xf7", VersionError),
    Row("version 0", b"\xa2" + NONE + VERSION + b"\x00", VersionError),
    Row("version 3", b"\xa2" + NONE + VERSION + b"\x03", VersionError),
    Row("version 42", b"\xa1" + VERSION + b"\x18\x2a", VersionError),
    Row("version 2**64 - 1", b"\xa2" + NONE + VERSION + b"\x1b" + b"\xff" * 8, VersionError),
    Row("version -1", b"\xa2" + NONE + VERSION + b"\x20", FormatError),
    Row("version 1.0 in two bytes", b"\xa2" + NONE + VERSION + b"\xf9\x3c\x00", FormatError),
    Row("version 1.0 in eight bytes", b"\xa2" + NONE + VERSION + b"\xfb\x3f\xf0" + bytes(6), FormatError),
    Row("version true", b"\xa2" + NONE + VERSION + b"\xf5", FormatError),
    Row("version null", b"\xa2" + NONE + VERSION + b"\xf6", FormatError),
    Row("version as text", b"\xa2" + NONE + VERSION + b"\x611", FormatError),
    Row("key that nobody knows", b"\xa3" + NONE + text("blip") + b"\x01" + ONE, FormatError),
    Row("key in the wrong case", b"\xa2" + NONE + b"\x67Version\x01", FormatError),
    Row("key that is not UTF-8", b"\xa3" + NONE + b"\x62\xff\xfe\x01" + ONE, FormatError),
    Row("key of bytes", b"\xa2" + NONE + b"\x47version\x01", FormatError),
    Row("key of a number", b"\xa3" + NONE + b"\x01\x01" + ONE, FormatError),
    Row("top level list", b"\x82" + NONE + ONE, FormatError),
    Row("top level number", b"\x01", FormatError),
    Row("top level break", b"\xff", FormatError),
    Row("root with two tags", b"\xa2" + roots(b"\xc1" + link(A)) + ONE, FormatError),
    Row("root null", b"\xa2" + roots(b"\xf6") + ONE, FormatError),
    Row("root of no bytes", b"\xa2" + roots(b"\xd8\x2a\x40") + ONE, FormatError),
    Row("root without the leading 00", b"\xa2" + roots(b"\xd8\x2a" + bytestring(A)) + ONE, FormatError),
    Row("root that is only the leading 00", b"\xa2" + roots(b"\xd8\x2a\x41\x00") + ONE, FormatError),
    Row("root that is no CID", b"\xa2" + roots(link(b"\x07\x55\x12\x01!")) + ONE, FormatError),
    Row("root with a byte behind it", b"\xa2" + roots(link(A + b"!")) + ONE, FormatError),
    Row("root cut short", b"\xa2" + roots(link(A[:-1])) + ONE, FormatError),
    Row("root as text", b"\xa2" + roots(text("bafkqaaa")) + ONE, FormatError),
    Row("roots as a map", b"\xa2" + ROOTS + b"\xa0" + ONE, FormatError),
    Row("roots as a bare CID", b"\xa2" + ROOTS + link(A) + ONE, FormatError),
    Row("list that claims 2**64 - 1 roots", b"\xa2" + ROOTS + b"\x9b" + b"\xff" * 8 + ONE, FormatError),
    Row("CID that claims 2**63 bytes", b"\xa2" + ROOTS + b"\x81\xd8\x2a\x5b\x80" + bytes(7) + ONE, FormatError),
    Row("map that claims 2**32 keys", b"\xba\xff\xff\xff\xff" + NONE + ONE, FormatError),
    Row("indefinite map that never ends", b"\xbf" + NONE + ONE, FormatError),
    Row("string chunk of the wrong kind", b"\xa2" + NONE + b"\x7f\x47version\xff\x01", FormatError),
    Row("reserved head byte", b"\xa2" + NONE + VERSION + b"\x1c", FormatError),
]

NESTED = [
    Row("ten thousand lists in each other", b"\xa2" + ROOTS + b"\x81" * 10_000 + ONE, FormatError),
    Row("ten thousand tags on each other", b"\xa2" + ROOTS + b"\xc1" * 10_000 + b"\x80" + ONE, FormatError),
    Row("ten thousand maps in each other", b"\xa1" * 10_000, FormatError),
]


def named(row: Row) -> str:
    return row.name


def framed(body: bytes) -> bytes:
    return varint(len(body)) + body


def in_v2(payload: bytes) -> bytes:
    return PRAGMA + v2_header(60, len(payload)) + bytes(9) + payload


def doors(archive: bytes, wrapped: bytes) -> list[tuple[str, Outcome]]:
    return [
        ("file", by_reader(archive)),
        ("stream", by_decoder([archive])),
        ("byte by byte", by_decoder(bytewise(archive))),
        ("file, in a CARv2", by_reader(wrapped)),
        ("stream, in a CARv2", by_decoder([wrapped])),
        ("byte by byte, in a CARv2", by_decoder(bytewise(wrapped))),
    ]


@pytest.mark.parametrize("row", ACCEPTED, ids=named)
def test_an_accepted_header_gives_its_roots_and_its_size_in_the_file(row: Row) -> None:
    raw = framed(row.body)
    header, size = CarV1Header.parse(raw + b"left over")
    assert [bytes(root) for root in header.roots] == row.expected
    assert size == len(raw)
    assert version_of(raw) == 1


@pytest.mark.parametrize("row", ACCEPTED, ids=named)
def test_sections_behind_any_accepted_header_are_found(row: Row) -> None:
    """The place of the first section is what the file says, not what a canonical header would take."""
    archive = framed(row.body) + section(*FISH) + section(*LOBSTER)
    for door, outcome in doors(archive, in_v2(archive)):
        assert outcome == ([FISH, LOBSTER], None), door


@pytest.mark.parametrize("row", ACCEPTED, ids=named)
def test_every_door_tells_the_same_roots(row: Row) -> None:
    archive = framed(row.body)
    expected = row.expected
    assert [bytes(root) for root in CarReader(archive).roots] == expected
    assert [bytes(root) for root in CarReader(in_v2(archive)).roots] == expected
    for chunks in (bytewise, lambda data: [data]):
        assert [bytes(root) for root in roots_by_decoder(archive, chunks)] == expected
        assert [bytes(root) for root in roots_by_decoder(in_v2(archive), chunks)] == expected


@pytest.mark.parametrize("row", [*REFUSED, *NESTED], ids=named)
def test_a_refused_header_is_refused_at_every_door(row: Row) -> None:
    archive = framed(row.body) + section(*FISH)
    assert isinstance(row.expected, type)
    for door, outcome in doors(archive, in_v2(archive)):
        assert outcome.items == [], door
        assert isinstance(outcome.error, row.expected), (door, outcome.error)
        assert not isinstance(outcome.error, (TruncatedError, LimitError)), door
        start = 60 if "CARv2" in door else 0
        assert start <= (outcome.position or 0) <= start + len(framed(row.body)), door


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_only_rows_about_the_version_are_version_errors(row: Row) -> None:
    error = by_reader(framed(row.body)).error
    assert isinstance(error, VersionError) == (row.expected is VersionError)


@pytest.mark.parametrize(
    ("body", "found"),
    [(b"\xa0", 0), (b"\xa1" + VERSION + b"\x18\x2a", 42), (b"\xa1" + VERSION + b"\x1b" + b"\xff" * 8, 2**64 - 1)],
)
def test_the_version_error_tells_the_version_and_read_version_just_returns_it(body: bytes, found: int) -> None:
    with pytest.raises(VersionError) as caught:
        CarReader(framed(body))
    assert (caught.value.found, caught.value.supported, caught.value.position) == (found, (1, 2), 0)
    assert read_version(framed(body)) == version_of(framed(body)) == found


@pytest.mark.parametrize(
    "body",
    [
        b"\xa2" + NONE + VERSION + b"\x02",
        b"\xa2" + roots(link(A)) + VERSION + b"\x02",
        b"\xa1" + VERSION + b"\x18\x02",
    ],
    ids=["with roots", "with a root", "version not in its shortest form"],
)
def test_a_pragma_other_than_the_eleven_bytes_is_refused_although_its_version_is_2(body: bytes) -> None:
    """Readers of go-car disagree on where the header behind such a pragma starts."""
    archive = framed(body) + v2_header(51, 18) + bytes(100)
    assert read_version(archive) == 2
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert (outcome.kind, outcome.position) == (FormatError, 0)


def test_a_payload_that_is_a_carv2_again_is_refused() -> None:
    inner = PRAGMA + v2_header(51, 18)
    for outcome in (by_reader(in_v2(inner)), by_decoder([in_v2(inner)]), by_decoder(bytewise(in_v2(inner)))):
        assert isinstance(outcome.error, VersionError)
        assert (outcome.error.found, outcome.error.supported, outcome.position) == (2, (1,), 60)


def test_the_pragma_alone_reads_as_version_2_without_roots() -> None:
    assert version_of(PRAGMA) == 2


# -- the length in front ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "kind", "position"),
    [
        ("", TruncatedError, 0),
        ("00", FormatError, 0),
        ("91", TruncatedError, 1),
        ("11", TruncatedError, 1),
        ("11a2", TruncatedError, 2),
        ("9100" + "a2" * 17, FormatError, 1),
        ("ffffffffffffffffff01", FormatError, 8),
        ("8180808080808080808001", FormatError, 8),
        ("ffffffffffffffff7f", LimitError, 0),
        ("81808010", LimitError, 0),
    ],
    ids=[
        "empty file",
        "header of no bytes",
        "half a varint",
        "varint, then nothing",
        "one byte of seventeen",
        "varint not minimal",
        "varint of ten bytes",
        "varint of eleven bytes",
        "2**63 - 1",
        "32 MiB and 1",
    ],
)
def test_a_header_length_that_cannot_be_is_refused(raw: str, kind: type[FormatError], position: int) -> None:
    archive = bytes.fromhex(raw)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert (outcome.kind, outcome.position) == (kind, position)


def test_a_header_cut_anywhere_is_truncated_where_the_file_ends() -> None:
    raw = framed(b"\xa2" + roots(link(A), link(B)) + ONE)
    for cut in range(len(raw)):
        outcomes = [by_reader(raw[:cut]), by_decoder([raw[:cut]]), by_decoder(bytewise(raw[:cut]))]
        assert [(outcome.kind, outcome.position) for outcome in outcomes] == [(TruncatedError, cut)] * 3
        with pytest.raises(TruncatedError) as caught:
            CarV1Header.parse(raw[:cut], position=1000)
        assert caught.value.position == 1000 + cut


@pytest.mark.parametrize(("limit", "fits"), [(221, False), (222, True), (0, False)])
def test_the_limit_counts_the_cbor_without_its_length_and_allows_equality(limit: int, fits: bool) -> None:
    archive = CarV1Header(tuple(map(CID, [A, B, BARRELEYE[0], A, B]))).to_bytes()
    assert archive[:2].hex() == "de01"
    limits = Limits(header=limit)
    for outcome in (by_reader(archive, limits=limits), by_decoder(bytewise(archive), limits=limits)):
        if fits:
            assert outcome.error is None
        else:
            assert isinstance(outcome.error, LimitError)
            assert (outcome.error.limit, outcome.error.found, outcome.error.allowed) == ("header", 222, limit)


def test_the_limit_holds_for_the_pragma_and_for_the_payload_of_a_carv2() -> None:
    archive = in_v2(framed(b"\xa2" + roots(link(A)) + ONE))
    assert by_reader(archive, limits=Limits(header=9)).position == 0
    for outcome in (
        by_reader(archive, limits=Limits(header=10)),
        by_decoder(bytewise(archive), limits=Limits(header=10)),
    ):
        assert (outcome.kind, outcome.position) == (LimitError, 60)


# -- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 23, 24, 255, 256, 300])
def test_what_is_written_is_canonical(count: int) -> None:
    expected = b"\xa2" + roots(*[link(A)] * count) + ONE
    header = CarV1Header(tuple(map(CID, [A] * count)))
    assert header.to_bytes() == framed(expected)
    assert CarV1Header.parse(header.to_bytes()) == (header, len(framed(expected)))


def test_any_cid_is_written_as_a_root() -> None:
    header = CarV1Header(tuple(map(CID, FIVE)))
    assert header.to_bytes() == framed(b"\xa2" + roots(*map(link, FIVE)) + ONE)
