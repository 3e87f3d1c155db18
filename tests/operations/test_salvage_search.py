"""The search for what is whole in a damaged archive, step by step: what it reads, what it costs, what it says."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2._source import BytesSource
from carv2.cid import CID
from carv2.errors import FormatError, IntegrityError, TruncatedError
from carv2.operations import salvage as module
from carv2.operations.salvage import _lengths_before, _Search, next_section, whole_blocks
from carv2.units import DEFAULT_LIMITS, Limits
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

    from carv2.operations.salvage import Salvage

FISH, LOBSTER = archives.section(*archives.FISH), archives.section(*archives.LOBSTER)
BLOCKS = [archives.FISH, archives.LOBSTER]
ROOT = archives.FISH[0]
V1 = archives.v1([ROOT], BLOCKS)
HEADER = archives.header([ROOT])
MEBIBYTE = 1 << 20


class Watched(BytesSource):
    """Notes each read; may claim to be longer than it is."""

    def __init__(self, data: bytes, *, claims: int = 0) -> None:
        super().__init__(data)
        self._claims = claims
        self._reads = list[tuple[int, int]]()

    @property
    def size(self) -> int:
        return len(self.data) + self._claims

    def read_at(self, position: int, size: int) -> bytes:
        self._reads.append((position, size))
        return super().read_at(position, size)

    def reads(self) -> list[tuple[int, int]]:
        """Those since the last call."""
        reads, self._reads = self._reads, []
        return reads


class Junk(BytesSource):
    """So many bytes of which none begins a section, of which no more is held than is read at once."""

    def __init__(self, size: int) -> None:
        super().__init__(b"")
        self._size = size
        self.read = 0

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, position: int, size: int) -> bytes:
        count = min(size, self._size - position)
        self.read += count
        return b"\xff" * count


def search_in(data: bytes | BytesSource, limits: Limits = DEFAULT_LIMITS) -> _Search:
    return _Search(BytesSource(data) if isinstance(data, bytes) else data, limits, unverified=False)


def salvaged(source: object, folder: Path, **options: object) -> Salvage:
    path = folder / "saved.car"
    path.unlink(missing_ok=True)
    return carv2.salvage(source, path, **options)  # type: ignore[arg-type]


def losses(report: Salvage) -> list[tuple[int, int, str]]:
    return [(lost.start, lost.stop, lost.reason) for lost in report.lost]


# -- headers, and what is said of lost ones ------------------------------------------------------------------


def test_each_loss_says_what_was_wrong_and_where(tmp_path: Path) -> None:
    broken = b"\xff" * len(HEADER)
    report = salvaged(broken + FISH, tmp_path)
    ((start, stop, reason),) = losses(report)
    assert (start, stop) == (0, len(HEADER))
    assert "byte 8" in reason
    report = salvaged(archives.v2(broken + FISH), tmp_path)
    ((start, stop, reason),) = losses(report)
    assert (start, stop) == (51, 51 + len(HEADER))
    assert "byte 59" in reason
    garbled = HEADER[:1] + b"\xff" + HEADER[2:]  # of the right size
    for data, position in ((garbled + FISH, 0), (archives.v2(garbled + FISH), 51)):
        ((_, _, reason),) = losses(salvaged(data, tmp_path))
        assert f"byte {position + 1}" in reason


def test_a_header_that_points_elsewhere_says_what_is_there(tmp_path: Path) -> None:
    archive = archives.PRAGMA + archives.v2_header(100, len(V1)) + V1
    ((start, stop, reason),) = losses(salvaged(archive, tmp_path))
    assert (start, stop) == (11, 51)
    with pytest.raises(FormatError) as caught, carv2.open(archive) as car:
        _ = car.roots
    assert reason == str(caught.value)


def test_a_limit_for_headers_holds(tmp_path: Path) -> None:
    tight = Limits(header=len(HEADER) - 2)
    for data in (V1, archives.v2(V1)):
        report = salvaged(data, tmp_path, limits=tight)
        assert (report.has_header, report.block_count) == (False, 2)
        assert f"limit {len(HEADER) - 2}" in report.lost[0].reason
        assert salvaged(data, tmp_path, limits=Limits(header=len(HEADER) - 1)).has_header


def test_a_header_above_the_limit_is_not_read_and_one_above_the_default_may_be() -> None:
    payload = archives.v1([ROOT] * 50, BLOCKS)
    source = Watched(payload)
    search_in(source, Limits(header=1000)).layout()
    assert source.reads()[:2] == [(0, 11), (0, 512)]
    assert max(size for _, size in source.reads() or [(0, 0)]) < 4096
    size = DEFAULT_LIMITS.header + MEBIBYTE
    vast = archives.varint(size) + HEADER[1:] + bytes(size - len(HEADER) + 1)
    start, roots = search_in(vast + FISH, Limits(header=size)).layout()
    assert (start, roots) == (len(vast), (CID(ROOT),))


def test_a_header_of_an_unusual_size_is_followed_by_a_search_and_a_usual_one_is_not() -> None:
    source = Watched(V1)
    search = search_in(source)
    assert search.layout() == (len(HEADER), (CID(ROOT),))
    assert source.reads() == [(0, 11), (0, 512), (0, len(HEADER))]
    longer = bytes([HEADER[0] + 3]) + HEADER[1:] + b"\xff" * 3  # three bytes behind the map
    assert search_in(longer + FISH).layout()[0] == len(longer)
    swallowed = bytes([HEADER[0] + 3]) + HEADER[1:]  # it is the length that is wrong
    assert search_in(swallowed + FISH).layout()[0] == len(HEADER)
    inside = archives.v2(swallowed + FISH, data_padding=len(LOBSTER))
    hidden = inside[:51] + LOBSTER + inside[51 + len(LOBSTER) :]  # a section before the payload is none of it
    assert search_in(hidden).layout()[0] == 51 + len(LOBSTER) + len(HEADER)


def test_the_front_of_a_file_without_pragma_may_be_its_payload_behind_a_lost_header() -> None:
    damaged = b"\xff" * 51 + V1
    search = search_in(damaged)
    assert search.layout() == (51 + len(HEADER), (CID(ROOT),))
    assert [(lost.start, lost.stop) for lost in search.lost] == [(0, 51)]
    assert "byte 8" in search.lost[0].reason


@pytest.mark.parametrize("zeros", [16 * MEBIBYTE - 1, 16 * MEBIBYTE, 16 * MEBIBYTE + 1])
def test_only_so_many_zeros_are_passed_over_where_roots_are_wanted_quickly(zeros: int) -> None:
    unfinished = archives.PRAGMA + bytes(40 + zeros) + V1
    source = BytesSource(unfinished)
    assert search_in(source).layout() == (51 + zeros + len(HEADER), (CID(ROOT),))
    if zeros > 16 * MEBIBYTE:
        with pytest.raises(FormatError):
            whole_blocks(source, limits=DEFAULT_LIMITS)
    else:
        roots, blocks = whole_blocks(source, limits=DEFAULT_LIMITS)
        assert (roots, list(blocks)) == ((CID(ROOT),), BLOCKS)


def test_a_header_that_begins_with_a_letter_is_no_padding() -> None:
    root = archives.identity(b"r" * 62)
    payload = archives.v1([root], BLOCKS)
    assert payload[:1] == b"X"
    assert search_in(archives.PRAGMA + bytes(50) + payload).layout()[1] == (CID(root),)


def test_what_a_header_accounts_for() -> None:
    """Where nothing but an index and zeros lies behind the payload, the search ends with the payload."""
    index = archives.index_multihash_sorted(archives.records_of(HEADER, BLOCKS))
    end = 51 + len(V1)
    for archive in (
        archives.v2(V1),
        archives.v2(V1) + bytes(100),
        archives.v2(V1, index),
        archives.v2(V1, index, index_padding=9),
    ):
        search = search_in(archive)
        search.layout()
        assert search._stop == end
        assert list(search.blocks(51 + len(HEADER))) == BLOCKS
        assert search.lost == []
    for archive in (
        archives.v2(V1) + b"\xff",
        archives.PRAGMA + archives.v2_header(51, len(V1), end + 5) + V1 + b"\xff" * 5 + index,
        archives.PRAGMA + archives.v2_header(51, len(V1), end - 5) + V1,  # the index would be within it
        archives.PRAGMA + archives.v2_header(51, len(V1) + 1) + V1,
    ):
        search = search_in(archive)
        search.layout()
        assert search._stop == len(archive)


def test_sections_behind_what_a_header_promises_are_saved(tmp_path: Path) -> None:
    index = archives.index_multihash_sorted(archives.records_of(HEADER, BLOCKS))
    short = archives.v1([ROOT], BLOCKS[:1])
    fields = archives.v2_header(51, len(short), 51 + len(V1))
    report = salvaged(archives.PRAGMA + fields + V1 + index, tmp_path)
    assert report.block_count == 2


# -- for others ----------------------------------------------------------------------------------------------


def test_whole_blocks_gives_roots_and_what_is_whole() -> None:
    damaged = V1 + b"\xff" * 9 + FISH[:-1]
    roots, blocks = whole_blocks(BytesSource(damaged), limits=DEFAULT_LIMITS)
    assert (roots, list(blocks)) == ((CID(ROOT),), BLOCKS)
    unknown = (archives.cid_v1(b"", code=0x16, digest=bytes(32)), b"of an unknown hash")
    strange = archives.v1([ROOT], [archives.FISH, (b"\x01\x55\x99\x13\x20" + bytes(32), unknown[1])])
    assert list(whole_blocks(BytesSource(strange), limits=DEFAULT_LIMITS)[1]) == [archives.FISH]
    tight = Limits(section=len(FISH) - 1)
    assert list(whole_blocks(BytesSource(V1), limits=tight)[1]) == [archives.FISH]


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b"\xff" * 20 + V1, 8),  # the ninth byte of a varint, which may not go on
        (archives.v2(b"\xff" * 20 + V1), 59),
        (archives.PRAGMA + bytes(40) + b"\xff" * 20 + V1, 59),
    ],
)
def test_whole_blocks_searches_for_no_roots(data: bytes, position: int) -> None:
    with pytest.raises(FormatError) as caught:
        whole_blocks(BytesSource(data), limits=DEFAULT_LIMITS)
    assert caught.value.position == position


def test_next_section_is_the_first_that_is_whole() -> None:
    source = BytesSource(b"\xff" * 7 + FISH + LOBSTER)
    for position, found in ((0, 7), (7, 7), (8, 7 + len(FISH)), (8 + len(FISH), source.size)):
        assert next_section(source, position, source.size, limits=DEFAULT_LIMITS) == found
    assert next_section(source, 0, 5, limits=DEFAULT_LIMITS) == 5
    tight = Limits(section=len(FISH) - 2)
    assert next_section(source, 0, source.size, limits=tight) == source.size
    strange = archives.section(b"\x01\x55\x99\x13\x20" + bytes(32), b"of an unknown hash")
    alone = BytesSource(b"\xff" + strange + b"\xff")
    assert next_section(alone, 0, alone.size, limits=DEFAULT_LIMITS) == alone.size


def test_next_section_gives_up_in_what_makes_it_hard() -> None:
    junk = Junk(200 * MEBIBYTE)
    assert next_section(junk, 0, junk.size, limits=DEFAULT_LIMITS) == junk.size
    assert 64 * MEBIBYTE <= junk.read < 65 * MEBIBYTE


# -- one section ---------------------------------------------------------------------------------------------


def test_a_section_is_located_by_its_front_and_a_large_cid_by_a_second_read() -> None:
    data = bytes(1000)
    large = archives.section(archives.cid_v1(data), data)
    source = Watched(large)
    search = search_in(source)
    budget = search._budget
    assert search._locate(0)[1:] == (38, len(large))
    assert (source.reads(), search._budget) == ([(0, 128)], budget)
    inlined = archives.identity(b"i" * 200)
    section = archives.section(inlined, b"i" * 200)
    source = Watched(section)  # which ends the file
    search = search_in(source)
    budget = search._budget
    assert search._locate(0) == (inlined, 2 + len(inlined), len(section))
    assert (source.reads(), budget - search._budget) == ([(0, 128), (0, len(section))], len(section))
    source = Watched(b"?" * 500 + section[:-1])
    search = search_in(source)
    with pytest.raises(TruncatedError):
        search._locate(500)
    assert source.reads() == [(500, 128)]  # the rest is not there


@pytest.mark.parametrize(
    ("torn", "reason"),
    [
        (FISH[:-1], f"section: wanted {len(FISH)} bytes, got {len(FISH) - 1}"),
        (b"\x80", "section: wanted 2 bytes, got 1"),
    ],
)
def test_a_section_that_is_cut_off_says_how_much_of_it_is_there(tmp_path: Path, torn: bytes, reason: str) -> None:
    ((start, stop, told),) = losses(salvaged(V1 + torn, tmp_path))
    assert (start, stop) == (len(V1), len(V1) + len(torn))
    assert told.startswith(reason)
    assert f"byte {len(V1) + len(torn)}" in told


def test_a_file_that_is_shorter_than_it_said_is_a_loss(tmp_path: Path) -> None:
    """It may be made shorter while it is read."""
    source = Watched(HEADER + FISH[:-1], claims=1)
    ((_, _, reason),) = losses(salvaged(source, tmp_path))
    assert reason.startswith("block: wanted 4 bytes, got 3")


def unproven(tmp_path: Path, section: bytes, **options: object) -> str:
    """What is said of a section that is left behind, between two good ones."""
    report = salvaged(HEADER + FISH + section + LOBSTER, tmp_path, **options)
    assert report.block_count == 2
    ((start, stop, reason),) = losses(report)
    assert (start, stop) == (len(HEADER + FISH), len(HEADER + FISH + section))
    return reason


def test_what_cannot_be_proven_says_why_with_the_cid_and_the_byte(tmp_path: Path) -> None:
    at = len(HEADER + FISH)
    damaged = archives.section(archives.cid_v1(b"right"), b"wrong")
    reason = unproven(tmp_path, damaged)
    assert CID.of_data(b"right").short() in reason
    assert f"byte {at + 37}" in reason
    strange = b"\x01\x55\x99\x13\x20" + bytes(32)
    reason = unproven(tmp_path, archives.section(strange, b"data"))
    assert reason.startswith("no hash function")
    assert f"byte {at + 1 + len(strange)}" in reason
    hollow = archives.cid_v1(b"", digest=hashlib.sha256(b"data").digest()[:7])
    reason = unproven(tmp_path, archives.section(hollow, b"data"))
    assert "a digest of 7 bytes proves nothing" in reason
    assert CID(hollow).short() in reason
    assert f"byte {at + 1 + len(hollow)}" in reason
    error = search_in(b"")._unproven(hollow, b"data", 99)
    assert isinstance(error, IntegrityError)
    assert (error.cid, error.position) == (CID(hollow), 99)
    wide = CID.of_data(b"data", hash="sha2-512").raw
    reason = unproven(tmp_path, archives.section(wide, b"data"), limits=Limits(cid=67))
    assert reason.startswith("cid of 68 bytes, limit 67")
    assert f"byte {at + 1}" in reason
    report = salvaged(HEADER + archives.section(wide, b"data"), tmp_path, limits=Limits(cid=68))
    assert (report.block_count, report.lost) == (1, ())


def test_a_digest_of_eight_bytes_proves_enough(tmp_path: Path) -> None:
    short = archives.cid_v1(b"", digest=hashlib.sha256(b"data").digest()[:8])
    report = salvaged(HEADER + archives.section(short, b"data"), tmp_path)
    assert (report.block_count, report.lost) == (1, ())


def test_blocks_with_large_cids_are_written_where_limits_allow_them(tmp_path: Path) -> None:
    wide = b"\x01\x55\x99\x13\xb8\x17" + bytes(3000)  # a digest of 3,000 bytes
    archive = HEADER + archives.section(wide, b"data")
    report = salvaged(archive, tmp_path, unverified=True, limits=Limits(cid=4000))
    assert (report.block_count, report.unverified_count) == (1, 1)


def test_what_was_opened_is_closed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[Watched]()
    opened = Watched(V1)

    def close(source: Watched) -> None:
        closed.append(source)

    monkeypatch.setattr(Watched, "close", close)
    monkeypatch.setattr(module, "open_source", lambda source: source if source is opened else Watched(V1))
    salvaged(opened, tmp_path)
    assert closed == []
    salvaged(b"a path", tmp_path)
    assert len(closed) == 1


# -- behind a fault ------------------------------------------------------------------------------------------


def test_behind_a_fault_the_search_goes_on_with_the_next_byte() -> None:
    search = search_in(b"?" * 100 + b"\xff" + FISH + LOBSTER)
    assert search._after_fault(100, None) == 101
    assert search._after_fault(101, None) == 101 + len(FISH)  # not with the one that is at fault
    for position, within in ((100, 101), (101, 101 + len(FISH))):
        end = 101 + len(FISH + LOBSTER)
        assert search._after_fault(position, end) == within  # a wrong length had taken it in


def test_what_was_hashed_in_vain_counts() -> None:
    search = search_in(b"?" * 100 + FISH + LOBSTER)
    search.next_section = lambda position, stop: stop  # type: ignore[method-assign]
    budget = search._budget
    search._after_fault(100, None)
    assert search._budget == budget
    search._is_proof = lambda position: False  # type: ignore[method-assign]
    search._after_fault(100, 140)
    assert budget - search._budget == 40


def test_sections_in_a_damaged_block_that_do_not_lead_to_its_end_are_its_own() -> None:
    inner = FISH + b"and more"
    outer = archives.section(archives.cid_v1(inner), inner)
    archive = outer[:-1] + b"?"
    assert search_in(archive)._after_fault(0, len(archive)) == len(archive)  # at the end of the file
    longer = archive + LOBSTER
    assert search_in(longer)._after_fault(0, len(archive)) == len(archive)


# -- the search ----------------------------------------------------------------------------------------------


def test_the_search_reads_little_first_and_then_more() -> None:
    source = Watched(b"\xff" * (3 * MEBIBYTE))
    search = search_in(source)
    budget = search._budget
    assert search.next_section(5, source.size) == source.size
    reads = source.reads()
    sizes = [4096, 16384, 65536, 262144, MEBIBYTE]
    position = 5
    for (at, size), expected in zip(reads, sizes, strict=False):
        assert (at, size) == (position, expected)
        position += size - 16
    assert reads[5] == (position, MEBIBYTE)
    assert reads[6] == (position + MEBIBYTE - 16, source.size - (position + MEBIBYTE - 16) + 16)
    assert len(reads) == 7
    assert budget - search._budget == source.size - 5 + 6 * 16  # what is read twice counts twice


def test_the_search_reads_no_more_than_up_to_where_it_ends() -> None:
    source = Watched(b"\xff" * 10_000)
    search = search_in(source)
    assert search.next_section(1000, 1500) == 1500
    assert source.reads() == [(1000, 516), (1500, 0)] or source.reads() == []
    source = Watched(b"\xff" * 4090)
    assert search_in(source).next_section(0, 4090) == 4090
    assert source.reads() == [(0, 4096)]


def test_the_search_ends_when_too_much_was_hashed() -> None:
    """Exactly then: one byte more, and the next candidate is looked at."""
    fake = archives.section(archives.cid_v1(b"other"), b"fake!")
    source = Watched(b"\xff" + fake + FISH + b"\xff")
    cost = len(fake) + module._LOOK
    for budget, found in ((0, False), (1, False), (cost, False), (cost + 1, True)):
        search = search_in(source)
        search._budget = budget
        position = search.next_section(0, source.size)
        assert position == (1 + len(fake) if found else source.size), budget
        assert bool(source.reads()) is (budget > 0)


def test_a_look_at_a_place_costs_what_it_hashes_and_a_bit() -> None:
    search = search_in(b"??" + FISH)
    budget = search._budget
    assert budget == 16 * (2 + len(FISH)) + 64 * MEBIBYTE
    assert search._section_end(2) == 2 + len(FISH)
    assert budget - search._budget == len(FISH) + 512
    budget = search._budget
    assert search.next_section(0, 2 + len(FISH)) == 2
    assert budget - search._budget == len(FISH) + 512 + 2  # and what was passed over


def test_a_cid_above_the_limit_is_no_section() -> None:
    search = search_in(b"\xff" + FISH, Limits(cid=20))
    assert search._section_end(1) is None


def test_small_identity_blocks_are_no_proof_by_themselves() -> None:
    def proves(section: bytes) -> bool:
        return search_in(section + b"\xff")._is_proof(0)

    def inlined(size: int, codec: int = 0x55) -> bytes:
        data = b"i" * size
        return archives.section(archives.identity(data, codec=codec), data)

    assert len(inlined(5)) == 15
    assert proves(inlined(5))
    assert len(inlined(4, codec=0x80)) == 14
    assert not proves(inlined(4, codec=0x80))
    assert search_in(inlined(4))._is_proof(0)  # but where the file ends with it


def test_what_looks_like_the_front_of_a_section() -> None:
    digest = hashlib.sha256(b"data").digest()
    for cid, likely in (
        (archives.cid_v1(b"data"), True),
        (archives.cid_v0(b"data"), True),
        (archives.cid_v1(b"", digest=digest[:8]), True),
        (archives.cid_v1(b"", digest=digest[:7]), False),
        (archives.identity(b"data and more"), False),
        (b"\x01\x55\x99\x13\x20" + digest, False),
        (b"\x01\x55\x99\x13\x04" + digest[:4], False),
        (b"\x02\x55\x12\x20" + digest, False),
    ):
        assert search_in(archives.section(cid, b"data"))._is_likely(0) is likely, cid


@pytest.mark.parametrize(
    ("window", "at", "starts"),
    [
        (b"\x01", 0, []),
        (b"\x05\x01", 1, [0]),
        (b"\x00\x01", 1, []),  # no section is empty
        (b"\x7f\x01", 1, [0]),
        (b"\x80\x01", 1, []),  # a varint does not end there
        (b"\x81\x01", 1, []),
        (b"\xff\x05\x01", 2, [1, 0]),
        (b"\x80\x05\x01", 2, [1, 0]),
        (b"\x7f\x05\x01", 2, [1]),
        (b"\xff\x7f\x05\x01", 3, [2]),
        (b"\xff\xff\x05\x01", 3, [2, 1, 0]),
        (b"\xff\xff\xff\xff\xff\xff\x05\x01", 7, [6, 5, 4, 3, 2]),  # five bytes are more than any limit
    ],
)
def test_where_a_length_may_start(window: bytes, at: int, starts: list[int]) -> None:
    assert list(_lengths_before(window, at)) == starts
