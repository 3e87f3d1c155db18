"""What may stand behind the last good block: go-car's table, with what carv2 makes of each row.

Where go-car takes a cut for the end of the file, or counts a block whose data are short, carv2 raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from carv2.decoder import CarDecoder
from carv2.errors import FormatError, GatewayTruncatedError, IntegrityError, LimitError, TruncatedError
from carv2.units import Limits
from helpers.archives import (
    FISH,
    LOBSTER,
    SHA2_256,
    cid_v1,
    header,
    identity,
    multihash,
    section,
    v2,
    v2_header,
    varint,
)
from helpers.archives import PRAGMA as PRAGMA_BYTES
from helpers.feeding import by_async_decoder, by_decoder, by_indexing, by_reader, by_sections, bytewise, split_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from helpers.feeding import Outcome

pytestmark = pytest.mark.usefixtures("scanner_warmth")

GOOD = header([FISH[0]]) + section(*FISH)
END = len(GOOD)
L_SECTION = section(*LOBSTER)


class Tail(NamedTuple):
    """Bytes behind the good block, the error that they are, and its place counted from their first byte."""

    name: str
    tail: bytes
    kind: type[FormatError] | None
    at: int = 0


TAILS = [
    Tail("nothing", b"", None),
    Tail("half a varint", b"\x80", TruncatedError, 1),
    Tail("eight bytes of a varint", b"\xff" * 8, TruncatedError, 8),
    Tail("a varint and nothing", b"\x28", TruncatedError, 1),
    Tail("a varint of two bytes and nothing", b"\xa8\x02", TruncatedError, 2),
    Tail("half a CID", L_SECTION[:20], TruncatedError, 20),
    Tail("the CID without its data", L_SECTION[:37], TruncatedError, 37),
    Tail("the CID with some of its data", L_SECTION[:-1], TruncatedError, len(L_SECTION) - 1),
    Tail("a section smaller than its CID", b"\x10" + LOBSTER[0] + b"lobster", FormatError, 1),
    Tail("a section of one byte", b"\x01\x01" + section(*LOBSTER), FormatError, 1),
    Tail("a zero-length section", b"\x00", FormatError),
    Tail("a zero-length section and more", b"\x00" + L_SECTION, FormatError),
    Tail("a varint that is not minimal", b"\xab\x00" + LOBSTER[0] + b"lobster", FormatError, 1),
    Tail("a varint of ten bytes", b"\xff" * 9 + b"\x01", FormatError, 8),
    Tail("a section of 2**63 - 1 bytes", b"\xff" * 8 + b"\x7f" + LOBSTER[0], LimitError),
    Tail("a section of 8 MiB and 1", varint((8 << 20) + 1) + LOBSTER[0], LimitError),
    Tail("a section of 2**40 bytes", varint(1 << 40) + LOBSTER[0], LimitError),
    Tail("CID version 2", section(b"\x02\x55\x12\x20" + bytes(32), b"x"), FormatError, 1),
    Tail("a multihash that is not of sha2-256", section(multihash(0x13, bytes(32)), b"x"), FormatError, 1),
    Tail("a CIDv0 of another size", section(multihash(SHA2_256, bytes(16)), b"x" * 40), FormatError, 1),
    Tail("a CIDv0 that its section cuts", b"\x10\x12\x20" + bytes(14), FormatError, 1),
    Tail("a CID codec that is not minimal", section(b"\x01\xd5\x00\x12\x20" + bytes(32), b"x"), FormatError, 3),
    Tail("a hash code that is not minimal", section(b"\x01\x55\x92\x00\x20" + bytes(32), b"x"), FormatError, 4),
    Tail("a digest size that is not minimal", section(b"\x01\x55\x12\xa0\x00" + bytes(32), b"x"), FormatError, 5),
    Tail("a CID codec of ten bytes", section(b"\x01" + b"\xff" * 9 + b"\x01", b"x" * 40), FormatError, 10),
    Tail("a digest that its section cuts", section(b"\x01\x55\x12\x21" + bytes(32), b""), FormatError, 1),
    Tail("a digest of 2**31 bytes", section(b"\x01\x55\x12" + varint(1 << 31), b"x" * 99), FormatError, 1),
    Tail("a CID version alone", section(b"\x01", b""), FormatError, 1),
]

CONTAINERS: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "CARv1": (lambda payload: payload, 0),
    "CARv2": (lambda payload: v2(payload, data_padding=13), 64),
}


def named(row: Tail) -> str:
    return row.name


def check(outcome: Outcome, row: Tail, start: int) -> None:
    if row.kind is None:
        assert outcome.error is None
    else:
        assert type(outcome.error) is row.kind, outcome.error
        assert outcome.position == start + END + row.at


@pytest.mark.parametrize("row", TAILS, ids=named)
def test_a_tail_ends_every_way_of_reading_with_the_same_error_behind_the_good_block(row: Tail) -> None:
    archive = GOOD + row.tail
    for outcome in (
        by_reader(archive),
        by_reader(archive, verify=False),
        by_decoder([archive]),
        by_decoder([archive], verify=False),
        by_decoder(bytewise(archive)),
        by_decoder([GOOD, row.tail]),
        by_async_decoder(split_at(archive, range(0, len(archive), 7))),
    ):
        assert outcome.items == [FISH]
        check(outcome, row, 0)


@pytest.mark.parametrize("row", TAILS, ids=named)
def test_a_tail_ends_locating_and_indexing_as_it_ends_reading(row: Tail) -> None:
    located = by_sections(GOOD + row.tail)
    assert [bytes(item.cid) for item in located.items] == [FISH[0]]
    check(located, row, 0)
    indexed = by_indexing(GOOD + row.tail)
    assert indexed.items == [(FISH[0][4:], len(header([FISH[0]])))]
    check(indexed, row, 0)


@pytest.mark.parametrize("row", TAILS, ids=named)
def test_positions_count_from_the_start_of_the_file_also_within_a_carv2(row: Tail) -> None:
    """The index behind the payload makes the file longer than the payload: what is cut is then corrupt."""
    payload = GOOD + row.tail
    archive = v2(payload, data_padding=13) + b"trailing bytes"
    for outcome in (
        by_reader(archive),
        by_decoder([archive]),
        by_decoder(bytewise(archive)),
        by_sections(archive),
    ):
        if row.kind is TruncatedError:
            assert (outcome.kind, outcome.position) == (FormatError, 64 + END)
        else:
            check(outcome, row, 64)
        assert len(outcome.items) == 1


@pytest.mark.parametrize("row", TAILS, ids=named)
def test_a_carv2_cut_within_its_payload_is_truncated_like_a_carv1(row: Tail) -> None:
    """The header promises a kibibyte of payload."""
    archive = PRAGMA_BYTES + v2_header(51, 1024) + GOOD + row.tail
    for outcome in (
        by_reader(archive),
        by_decoder([archive]),
        by_decoder(bytewise(archive)),
        by_sections(archive),
    ):
        if row.kind is None:
            assert (outcome.kind, outcome.position) == (TruncatedError, 51 + END)
        else:
            check(outcome, row, 51)


@pytest.mark.parametrize("tail", [b"\x00", b"\x00" * 100, b"\x00\xff\xff garbage", b"\x00" + L_SECTION])
@pytest.mark.parametrize("container", CONTAINERS)
def test_with_null_padding_a_zero_length_section_is_the_end_and_what_follows_is_not_read(
    tail: bytes, container: str
) -> None:
    make, _ = CONTAINERS[container]
    archive = make(GOOD + tail)
    for outcome in (
        by_reader(archive, null_padding=True),
        by_decoder([archive], null_padding=True),
        by_decoder(bytewise(archive), null_padding=True),
    ):
        assert outcome == ([FISH], None)
    assert by_sections(archive, null_padding=True).error is None
    assert by_indexing(archive, null_padding=True).error is None


def test_null_padding_is_about_sections_and_not_about_the_header() -> None:
    assert by_reader(b"\x00" * 40, null_padding=True).kind is FormatError
    assert by_decoder([b"\x00" * 40], null_padding=True).kind is FormatError


def test_a_payload_that_the_header_ends_early_gives_what_lies_in_it() -> None:
    """Data size cuts the payload header, or the block, while the file goes on."""
    for data_size in range(1, len(GOOD)):
        check_early_end(data_size)


def check_early_end(data_size: int) -> None:
    archive = PRAGMA_BYTES + v2_header(51, data_size) + GOOD + L_SECTION
    outcomes = [by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive)), by_sections(archive)]
    for outcome in outcomes:
        assert outcome.items == []
        if data_size == len(header([FISH[0]])):
            assert outcome.error is None
        else:
            assert outcome.kind is FormatError
            assert outcome.position == 51 + (0 if data_size < len(header([FISH[0]])) else len(header([FISH[0]])))


def test_a_payload_that_the_header_ends_between_blocks_has_the_blocks_before() -> None:
    archive = PRAGMA_BYTES + v2_header(51, len(GOOD)) + GOOD + L_SECTION
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome == ([FISH], None)


# -- hashes ---------------------------------------------------------------------------------------------------

BAD_FISH = (FISH[0], b"fisH")


@pytest.mark.parametrize("container", CONTAINERS)
def test_data_that_are_not_the_cids_are_an_error_unless_trusted(container: str) -> None:
    make, start = CONTAINERS[container]
    archive = make(GOOD + section(*BAD_FISH) + L_SECTION)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.items == [FISH]
        assert (outcome.kind, outcome.position) == (IntegrityError, start + END + 37)
        assert isinstance(outcome.error, IntegrityError)
        assert bytes(outcome.error.cid) == FISH[0]
    for outcome in (by_reader(archive, verify=False), by_decoder([archive], verify=False)):
        assert outcome == ([FISH, BAD_FISH, LOBSTER], None)
    assert by_sections(archive).error is None


@pytest.mark.parametrize(
    ("cid", "data", "good"),
    [
        (identity(b"abc"), b"abc", True),
        (identity(b"abc"), b"", False),
        (identity(b"abc"), b"abcd", False),
        (identity(b""), b"", True),
        (identity(b""), b"x", False),
        (cid_v1(b"fish", digest=FISH[0][4:24]), b"fish", True),
        (cid_v1(b"fish", digest=FISH[0][4:24]), b"fisH", False),
        (cid_v1(b"fish", digest=FISH[0][5:]), b"fish", False),
        (cid_v1(b"", codec=0x300_0000), b"", True),
    ],
    ids=[
        "identity",
        "identity without its data",
        "identity with more data",
        "empty identity",
        "empty identity with data",
        "sha2-256 cut to 20 bytes",
        "sha2-256 cut to 20 bytes, other data",
        "the last 31 bytes of a sha2-256",
        "a codec that nobody knows",
    ],
)
def test_a_block_is_its_cids_if_all_of_the_digest_agrees(cid: bytes, data: bytes, good: bool) -> None:
    archive = GOOD + section(cid, data)
    for outcome in (by_reader(archive), by_decoder(bytewise(archive))):
        assert outcome.items == ([FISH, (cid, data)] if good else [FISH])
        assert outcome.kind is (None if good else IntegrityError)
    assert by_reader(archive, verify=False) == ([FISH, (cid, data)], None)


def test_a_cid_whose_codec_looks_like_a_cidv0_is_none() -> None:
    cid = b"\x01\x12\x12\x20" + FISH[0][4:]
    archive = header() + section(cid, b"fish")
    assert by_reader(archive) == ([(cid, b"fish")], None)


# -- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "fits"), [(len(L_SECTION) - 1, True), (len(L_SECTION) - 2, False), (0, False)])
def test_the_section_limit_counts_cid_and_data_and_allows_equality(limit: int, fits: bool) -> None:
    archive = header() + L_SECTION
    limits = Limits(section=limit)
    for outcome in (
        by_reader(archive, limits=limits),
        by_decoder([archive], limits=limits),
        by_decoder(bytewise(archive), limits=limits),
        by_sections(archive, limits=limits),
        by_indexing(archive, limits=limits),
    ):
        if fits:
            assert outcome.error is None
            continue
        assert isinstance(outcome.error, LimitError)
        assert (outcome.error.limit, outcome.error.found, outcome.error.allowed) == ("section", 43, limit)
        assert outcome.position == len(header())


def test_a_block_of_8_mib_needs_a_higher_limit_because_its_cid_counts_too() -> None:
    data = bytes(8 << 20)
    archive = header() + section(cid_v1(data), data)
    assert by_reader(archive).kind is LimitError
    assert by_decoder([archive]).kind is LimitError
    roomy = Limits(section=(8 << 20) + 36)
    assert by_reader(archive, limits=roomy).items == by_decoder([archive], limits=roomy).items
    assert by_reader(archive, limits=Limits(section=(8 << 20) + 35)).kind is LimitError


# -- gateways -------------------------------------------------------------------------------------------------

MARKERS = {
    b"[Gateway Error: CAR stream truncated, response is incomplete]": (
        "CAR stream truncated, response is incomplete",
        0,
    ),
    b"\n\n[Gateway Error: Response truncated - unable to retrieve remaining data within timeout period]": (
        "Response truncated - unable to retrieve remaining data within timeout period",
        2,
    ),
}


LARGE = cid_v1(b"large" * 500), b"large" * 500
LARGE_SECTION = section(*LARGE)
HEAD_CUTS = range(60)  # within varint, CID and the first data


@pytest.mark.parametrize("marker", MARKERS, ids=["boxo 0.42.1", "retrieval timeout"])
@pytest.mark.parametrize("cuts", [HEAD_CUTS, (1000, len(LARGE_SECTION) - 200)], ids=["head", "data"])
def test_a_gateways_reason_is_reported_wherever_it_cuts_in(marker: bytes, cuts: Sequence[int]) -> None:
    """At a section boundary (cut 0), within a section's varint, its CID, its data."""
    for cut in cuts:
        check_gateway_cut(marker, cut)


def check_gateway_cut(marker: bytes, cut: int) -> None:
    reason, skip = MARKERS[marker]
    archive = GOOD + LARGE_SECTION[:cut] + marker
    every_way = {
        "file": by_reader(archive),
        "sections": by_sections(archive),
        "stream": by_decoder([archive]),
        "unverified stream": by_decoder([archive], verify=False),
        "chunks": by_decoder([GOOD + LARGE_SECTION[:cut], marker]),
        "half a marker": by_decoder([archive[:-50], archive[-50:]]),
        "byte by byte": by_decoder(bytewise(archive)),
    }
    for way, outcome in every_way.items():
        assert len(outcome.items) == 1, way
        assert isinstance(outcome.error, GatewayTruncatedError), (way, outcome.error)
        assert isinstance(outcome.error, TruncatedError)
        assert (outcome.position, outcome.error.reason) == (END + cut + skip, reason), way
        assert isinstance(outcome.error.__cause__, FormatError), way


@pytest.mark.timeout(20)
@pytest.mark.parametrize("behind", [b"", b"x", b"index" * 20])
@pytest.mark.parametrize("mark", [b"\0[Gateway Error:", b"\0[Gateway Error: x", b"\0\0[Gate", b"[Gateway Error:"])
def test_a_payload_that_ends_in_half_a_reason_is_not_waited_for(mark: bytes, behind: bytes) -> None:
    """Found by fuzzing: the push parser went round for ever over what it held behind the payload."""
    payload = GOOD + mark
    archive = v2(payload) + behind
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.items == [FISH]
        assert isinstance(outcome.error, FormatError)


@pytest.mark.parametrize("marker", MARKERS, ids=["boxo 0.42.1", "retrieval timeout"])
@pytest.mark.parametrize("cut", [0, 1, 5, 20])
def test_a_gateway_that_gives_up_within_the_header_says_why(marker: bytes, cut: int) -> None:
    """Found by fuzzing: only the push parser did."""
    reason, skip = MARKERS[marker]
    archive = GOOD[:cut] + marker
    for outcome in (by_reader(archive), by_decoder([archive])):
        assert outcome.items == []
        assert isinstance(outcome.error, GatewayTruncatedError)
        assert (outcome.position, outcome.error.reason) == (cut + skip, reason)
        assert isinstance(outcome.error.__cause__, FormatError)


@pytest.mark.parametrize("marker", MARKERS, ids=["boxo 0.42.1", "retrieval timeout"])
def test_a_gateways_reason_that_fills_a_section_exactly_is_found_in_its_data(marker: bytes) -> None:
    reason, skip = MARKERS[marker]
    data = b"0123456789" + bytes(len(marker))
    archive = GOOD + section(cid_v1(data), data)[: -len(marker)] + marker
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome.items == [FISH]
        assert isinstance(outcome.error, GatewayTruncatedError)
        assert outcome.error.reason == reason
        assert outcome.position == len(archive) - len(marker) + skip
        assert isinstance(outcome.error.__cause__, IntegrityError)


def test_a_gateways_reason_longer_than_what_the_section_lacks_is_cut_but_named() -> None:
    """The section swallows the first words, in its data or in what is taken for its CID."""
    marker = next(iter(MARKERS))
    for cut in range(5, len(L_SECTION) - 16):
        archive = GOOD + L_SECTION[:cut] + marker
        for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
            assert outcome.items == [FISH]
            assert isinstance(outcome.error, GatewayTruncatedError)
            assert outcome.position == END + cut
            assert MARKERS[marker][0].startswith(outcome.error.reason)


def test_garbage_that_only_looks_like_the_beginning_of_a_reason_is_corruption() -> None:
    for garbage in (b"\n\n[Gateway said no", b"\n\n\n\n[Gateway Err", b"\x0b\x07[Gateway Error"):
        archive = GOOD + garbage
        outcomes = [by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))]
        assert [outcome.kind for outcome in outcomes] == [FormatError] * 3
        assert [outcome.position for outcome in outcomes] == [END + 1] * 3


def test_a_reason_that_never_ends_does_not_keep_the_push_parser_waiting() -> None:
    chunks = [GOOD, b"\n\n[Gateway Error: and so on", *[b" and so on"] * 1000]
    decoder = CarDecoder()
    fed = 0
    with pytest.raises(FormatError, match="CID version 10"):  # noqa: PT012
        for chunk in chunks:
            decoder.feed(chunk)
            fed += len(chunk)
    assert fed < 1024


def test_a_block_that_quotes_a_gateway_is_just_a_block() -> None:
    data = b"They said: [Gateway Error: CAR stream truncated, response is incomplete]. So what?"
    archive = GOOD + section(cid_v1(data), data)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert outcome == ([FISH, (cid_v1(data), data)], None)


@pytest.mark.parametrize("tail", [row for row in TAILS if row.kind], ids=named)
def test_a_block_that_quotes_a_gateway_is_not_blamed_for_what_goes_wrong_behind_it(tail: Tail) -> None:
    quote = cid_v1(b"[Gateway Error: not me]"), b"[Gateway Error: not me]"
    archive = header() + section(*quote) + tail.tail
    end = len(archive) - len(tail.tail)
    for outcome in (by_reader(archive), by_decoder([archive]), by_decoder(bytewise(archive))):
        assert (outcome.items, outcome.kind, outcome.position) == ([quote], tail.kind, end + tail.at)
