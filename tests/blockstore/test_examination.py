"""What is said of a file that was being written: every field and every refusal, without a store around it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from carv2._ahead import WORTH_A_THREAD
from carv2._source import BytesSource, FileObjectSource
from carv2.blockstore import ReadWriteBlockstore, _recovery
from carv2.blockstore._recovery import Recovery, examine, named
from carv2.cid import CID
from carv2.errors import FormatError, IntegrityError, LimitError, ResumeError, TruncatedError
from carv2.header import CarV1Header
from carv2.units import DEFAULT_LIMITS, Limits
from helpers.archives import BARRELEYE, EMPTY_HEADER, FISH, LOBSTER, PRAGMA, cid_v1, header, section, v1, v2_header

if TYPE_CHECKING:
    from pathlib import Path

ROOT = CID(FISH[0])
BLOCKS = [FISH, LOBSTER, BARRELEYE]
PAYLOAD = v1([FISH[0]], BLOCKS)
USED = len(header([FISH[0]]))
ENDS = [USED + sum(len(section(*block)) for block in BLOCKS[: n + 1]) for n in range(3)]
UNKNOWN = bytes([0x01, 0x55, 0xB4, 0x7F, 2, 9, 9]), b"what is it?"


def v2_file(data_size: int, index_offset: int = 0, tail: bytes = b"", *, padding: int = 0) -> bytes:
    return PRAGMA + v2_header(51 + padding, data_size, index_offset) + bytes(padding) + PAYLOAD + tail


def unfinished(payload: bytes = PAYLOAD, *, padding: int = 0) -> bytes:
    return PRAGMA + bytes(40 + padding) + payload


def look(data: bytes, **options: Any) -> Recovery:
    return examine(BytesSource(data), options.pop("limits", DEFAULT_LIMITS), **options)


def told(recovery: Recovery) -> tuple[Any, ...]:
    """Version, state, start of the payload, to where it is promised and kept, how many blocks, the reason."""
    return (
        *(recovery.version, recovery.state, recovery.payload_position, recovery.promised_end, recovery.kept_end),
        *(recovery.block_count, recovery.reason),
    )


WHOLE = {
    "CARv1": (PAYLOAD, (1, "whole", 0, USED, ENDS[2], 3, None)),
    "CARv1 without blocks": (header([FISH[0]]), (1, "whole", 0, USED, USED, 0, None)),
    "nothing promised": (unfinished(), (2, "unfinished", 51, 51 + USED, 51 + ENDS[2], 3, None)),
    "with padding": (unfinished(padding=77), (2, "unfinished", 128, 128 + USED, 128 + ENDS[2], 3, None)),
    "all promised": (v2_file(ENDS[2]), (2, "whole", 51, 51 + ENDS[2], 51 + ENDS[2], 3, None)),
    "two promised": (v2_file(ENDS[1]), (2, "whole", 51, 51 + ENDS[1], 51 + ENDS[2], 3, None)),
    "the header promised": (v2_file(USED), (2, "whole", 51, 51 + USED, 51 + ENDS[2], 3, None)),
    "finished": (
        v2_file(ENDS[2], 51 + ENDS[2], b"index"),
        (2, "finalized", 51, 51 + ENDS[2], 51 + ENDS[2], 3, None),
    ),
    "finished, padded": (
        v2_file(ENDS[2], 60 + ENDS[2], b"index", padding=9),
        (2, "finalized", 60, 60 + ENDS[2], 60 + ENDS[2], 3, None),
    ),
}


@pytest.mark.parametrize(("data", "expected"), WHOLE.values(), ids=WHOLE.keys())
def test_of_a_whole_file_all_is_kept(data: bytes, expected: tuple[Any, ...]) -> None:
    taken: list[tuple[int, int]] = []
    sizes: list[int] = []
    recovery = look(
        data,
        on_batch=lambda batch, payload: taken.append((payload, len(batch.entries))),
        on_bytes=sizes.append,
    )
    assert sum(sizes) == recovery.kept_end - recovery.payload_position - USED
    assert told(recovery) == expected
    assert (recovery.first_section, recovery.file_size) == (USED, len(data))
    assert recovery.payload_header == CarV1Header((ROOT,))
    assert recovery.cut_bytes == 0
    assert recovery.index_kept is False
    assert (recovery.header is None) == (data[11:51] == bytes(40) or expected[0] == 1)
    assert {payload for payload, _ in taken} <= {expected[2]}
    assert sum(count for _, count in taken) == expected[5]


@pytest.mark.parametrize("start", ["CARv1", "nothing promised", "with padding", "the header promised"])
@pytest.mark.parametrize("cut", range(1, 37 + 5))
def test_a_torn_section_is_told_and_counted_as_lost(start: str, cut: int) -> None:
    data, (_, _, payload, promised, end, _, _) = WHOLE[start]
    last = len(section(*BARRELEYE))
    recovery = look(data[: end - last + cut])
    if cut == last:
        assert told(recovery) == WHOLE[start][1]
        return
    assert recovery.state == "torn"
    assert (recovery.kept_end, recovery.promised_end) == (payload + ENDS[1], promised)
    assert (recovery.block_count, recovery.cut_bytes) == (2, cut)
    assert f"(at byte {payload + ENDS[1] + cut})" in str(recovery.reason)


def test_a_section_with_the_wrong_data_ends_what_is_kept() -> None:
    data = bytearray(unfinished())
    data[51 + ENDS[1] - 1] ^= 1
    recovery = look(bytes(data))
    assert recovery.reason == f"the data of the section at byte {51 + ENDS[0]} do not match its hash"
    assert (recovery.kept_end, recovery.block_count, recovery.state) == (51 + ENDS[0], 1, "torn")
    assert recovery.cut_bytes == len(data) - 51 - ENDS[0]


def test_the_first_section_may_be_the_wrong_one() -> None:
    data = bytearray(unfinished())
    data[51 + ENDS[0] - 1] ^= 1
    recovery = look(bytes(data))
    assert (recovery.kept_end, recovery.block_count) == (51 + USED, 0)


def test_what_is_promised_is_hashed_only_when_asked_and_then_raises() -> None:
    data = bytearray(v2_file(ENDS[2]))
    data[51 + ENDS[1] - 1] ^= 1
    assert told(look(bytes(data))) == WHOLE["all promised"][1]
    with pytest.raises(IntegrityError) as caught:
        look(bytes(data), check_promised=True)
    assert caught.value.cid == CID(LOBSTER[0])
    assert caught.value.position == 51 + ENDS[1] - len(LOBSTER[1])
    assert told(look(v2_file(ENDS[2]), check_promised=True)) == WHOLE["all promised"][1]
    assert told(look(v2_file(ENDS[1]), check_promised=True)) == WHOLE["two promised"][1]


@pytest.mark.parametrize("promised", [0, 1, USED - 1, ENDS[2] + 1, 1 << 40])
def test_a_promise_that_the_file_does_not_hold_is_refused_where_it_stands(promised: int) -> None:
    data = v2_file(promised or 1)
    with pytest.raises(FormatError) as caught:
        look(data)
    said = f"the header promises data up to byte {51 + (promised or 1)}, the file has {len(data)}"
    assert (caught.value.args[0], caught.value.position) == (said, 27)


# -- zeros ----------------------------------------------------------------------------------------------------


def test_zeros_without_end_are_no_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _recovery._MAX_PADDING == 16 << 20
    monkeypatch.setattr(_recovery, "_MAX_PADDING", 1 << 16)
    assert look(unfinished(padding=(1 << 16) - 1)).payload_position == 51 + (1 << 16) - 1
    assert look(unfinished(padding=1 << 16)).payload_position == 51 + (1 << 16)
    with pytest.raises(FormatError, match=r"nothing but zeros follows the pragma for 65536 bytes") as caught:
        look(unfinished(padding=3 << 16))
    assert caught.value.position == 51


@pytest.mark.parametrize("zeros", [0, 1, 100, 1 << 16])
def test_a_file_of_zeros_is_cut_off_before_its_payload(zeros: int) -> None:
    with pytest.raises(TruncatedError) as caught:
        look(PRAGMA + bytes(40 + zeros))
    assert (caught.value.position, caught.value.wanted, caught.value.got) == (51 + zeros, 1, 0)


@pytest.mark.parametrize("zeros", [1, 100, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_zeros_behind_the_sections_are_padding_if_asked_for_and_torn_otherwise(zeros: int) -> None:
    data = unfinished() + bytes(zeros)
    padded = look(data, null_padding=True)
    assert told(padded) == (2, "unfinished", 51, 51 + USED, 51 + ENDS[2], 3, None)
    torn = look(data)
    assert (torn.state, torn.kept_end, torn.cut_bytes) == ("torn", 51 + ENDS[2], zeros)
    lost = look(data + b"!", null_padding=True)
    assert lost.reason == f"what follows the zeros at byte {51 + ENDS[2]} is no padding"
    assert (lost.state, lost.kept_end, lost.cut_bytes) == ("torn", 51 + ENDS[2], zeros + 1)


def test_zeros_in_what_is_promised_end_it_if_asked_for() -> None:
    data = v2_file(ENDS[2] + 8, tail=bytes(8))
    assert look(data, null_padding=True).kept_end == 51 + ENDS[2]
    with pytest.raises(FormatError):
        look(data)


# -- what cannot be told --------------------------------------------------------------------------------------


def test_a_block_of_an_unknown_hash_is_not_cut_off_but_refused_or_kept_if_asked_for() -> None:
    data = unfinished(v1([FISH[0]], [FISH, UNKNOWN, LOBSTER]))
    with pytest.raises(ResumeError, match="cannot tell what is whole behind byte") as caught:
        look(data)
    assert (caught.value.expected, caught.value.found) == ("a hash function that is known", 0x3FB4)
    assert str(caught.value).endswith(f"(at byte {51 + ENDS[0] + 1 + len(UNKNOWN[0])})")
    assert look(data, keep_unknown=True).block_count == 3


def test_a_whole_section_above_the_limit_is_refused_and_a_torn_one_cut_off() -> None:
    large = cid_v1(bytes(300)), bytes(300)
    whole = unfinished(v1([FISH[0]], [FISH, large])) + section(*LOBSTER)
    limits = Limits(section=335)
    with pytest.raises(ResumeError, match=f"cannot tell what is whole behind byte {51 + ENDS[0]}") as caught:
        look(whole, limits=limits)
    assert (caught.value.expected, caught.value.found) == (335, 336)
    assert look(whole, limits=Limits(section=336)).block_count == 3
    for missing in (40, 3, 2):
        torn = look(whole[: 51 + ENDS[0] + 338 - missing], limits=limits)
        assert (torn.state, torn.block_count, torn.kept_end) == ("torn", 1, 51 + ENDS[0])
        assert torn.reason == f"section of 336 bytes, limit 335 (at byte {51 + ENDS[0]})"


@pytest.mark.parametrize("build", [lambda payload: payload, unfinished], ids=["CARv1", "CARv2"])
def test_the_headers_limit_and_place_are_those_of_the_payload(build: Any) -> None:
    start = len(build(b""))
    with pytest.raises(LimitError) as caught:
        look(build(PAYLOAD), limits=Limits(header=USED - 2))
    assert (caught.value.position, caught.value.found, caught.value.allowed) == (start, USED - 1, USED - 2)
    assert look(build(PAYLOAD), limits=Limits(header=USED - 1)).block_count == 3
    with pytest.raises(FormatError, match="not a map") as wrong:
        look(build(b"\x01\x01"))
    assert wrong.value.position == start + 1
    with pytest.raises(TruncatedError) as cut:
        look(build(PAYLOAD[: USED - 1]))
    assert cut.value.position == start + USED - 1


@pytest.mark.parametrize("count", [1, 11, 12, 13, 100])
def test_a_header_of_any_length_is_read_whole(count: int) -> None:
    roots = [cid_v1(bytes([number])) for number in range(count)]
    data = unfinished(v1(roots, BLOCKS))
    recovery = look(data)
    assert [bytes(root) for root in recovery.payload_header.roots] == roots
    assert recovery.first_section == len(header(roots))
    assert recovery.block_count == 3


class Watched(FileObjectSource):
    """A source that notes what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.reads: list[tuple[int, int]] = []

    def read_at(self, position: int, size: int) -> bytes:
        self.reads.append((position, size))
        return super().read_at(position, size)


def test_a_short_header_is_read_once_and_nothing_is_asked_for_behind_the_end() -> None:
    source = Watched(EMPTY_HEADER)
    assert examine(source, DEFAULT_LIMITS).block_count == 0
    assert source.reads == [(0, 11), (0, 18)]


def test_in_a_carv2_nothing_is_asked_for_behind_the_end_either() -> None:
    source = Watched(v2_file(ENDS[2]))
    assert examine(source, DEFAULT_LIMITS).block_count == 3
    assert source.reads[:3] == [(0, 11), (11, 40), (51, ENDS[2])]
    assert all(position + size <= 51 + ENDS[2] for position, size in source.reads)


def test_a_header_above_the_limit_is_not_read() -> None:
    source = Watched(v1([FISH[0]] * 30, []))
    with pytest.raises(LimitError):
        examine(source, Limits(header=1000))
    assert source.reads == [(0, 11), (0, 512)]


def test_a_payload_is_where_the_header_says_whatever_the_padding_is() -> None:
    data = bytearray(v2_file(ENDS[2], padding=9))
    data[51:60] = b"\x01 no zero"
    assert told(look(bytes(data))) == (2, "whole", 60, 60 + ENDS[2], 60 + ENDS[2], 3, None)


@pytest.mark.parametrize("size", range(55, 70))
def test_a_payload_begins_at_the_first_byte_that_is_not_zero(size: int) -> None:
    """Whatever that byte is: it is the length of the header."""
    payload = v1([cid_v1(b"", code=0, digest=bytes(size))], BLOCKS)
    assert look(unfinished(payload, padding=20)).payload_position == 71


# -- the file that was meant ----------------------------------------------------------------------------------


def test_a_file_is_the_one_that_was_meant_or_the_difference_is_told() -> None:
    recovery = look(unfinished(padding=9))
    recovery.require(None, None, None)
    recovery.require((ROOT,), 2, 9)
    others: list[tuple[tuple[Any, Any, Any], str, object, object]] = [
        ((None, 1, None), "the file is a CARv2, not a CARv1", 1, 2),
        ((None, None, 8), "the file has data padding of 9 bytes, not 8", 8, 9),
        (((), None, None), f"the roots of the file are {ROOT.short()}, not none", (), (ROOT,)),
        (
            ((CID(LOBSTER[0]),), None, None),
            f"the roots of the file are {ROOT.short()}, not {CID(LOBSTER[0]).short()}",
            (CID(LOBSTER[0]),),
            (ROOT,),
        ),
    ]
    for given, said, expected, found in others:
        with pytest.raises(ResumeError) as caught:
            recovery.require(*given)
        assert (str(caught.value), caught.value.expected, caught.value.found) == (said, expected, found)
    look(PAYLOAD).require((ROOT,), 1, 77)  # a CARv1 has no padding that could be another


def test_the_order_of_roots_does_not_matter() -> None:
    look(v1([FISH[0], LOBSTER[0]], BLOCKS)).require((CID(LOBSTER[0]), ROOT), None, None)


@pytest.mark.parametrize(
    ("count", "said"), [(0, "none"), (1, "A"), (2, "A, B"), (3, "A, B, C"), (4, "A, B, C and 1 more")]
)
def test_roots_are_named_up_to_three(count: int, said: str) -> None:
    roots = [CID(cid_v1(bytes([number]))) for number in range(count)]
    for letter, root in zip("ABC", roots, strict=False):
        said = said.replace(letter, root.short())
    assert named(roots) == said


# -- where blocks are hashed ----------------------------------------------------------------------------------


def test_the_sizes_from_which_on_threads_pay_are_what_was_measured() -> None:
    assert (WORTH_A_THREAD, _recovery._WORTH_THREADS) == (32768, 16777216)
    assert (_recovery._MAX_THREADS, _recovery._AHEAD) == (4, 4194304)


@pytest.mark.parametrize(
    ("size", "count", "large"), [(32768, 1, True), (32767, 1, False), (65536, 2, True), (65535, 2, False)]
)
def test_blocks_are_large_by_their_mean(size: int, count: int, large: bool) -> None:
    class Batch:
        buffer, entries = bytes(size), [None] * count

    assert _recovery._is_large(Batch()) is large  # type: ignore[arg-type]


# -- what cannot be begun -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"version": 3}, ValueError, "CAR version 3, supported: 1 and 2"),
        ({"version": 0}, ValueError, "CAR version 0, supported: 1 and 2"),
        ({"data_padding": -1}, ValueError, "data padding of -1 bytes"),
        ({"roots": [FISH[0]] * 30, "limits": Limits(header=1000)}, LimitError, "limit 1000"),
    ],
)
def test_a_store_that_cannot_be_is_refused_before_there_is_a_file(
    tmp_path: Path, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        ReadWriteBlockstore.create(tmp_path / "new.car", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("promised", [True, False])
def test_bytes_are_told_of_blocks_that_are_passed_over_too(promised: bool) -> None:
    """Larger than what is read at once: where nothing is hashed, sections begin before what was read last."""
    blocks = [(cid_v1(data), data) for data in (bytes([at]) * 700_001 for at in range(9))]
    payload = v1([], blocks)
    front = PRAGMA + (v2_header(51, len(payload), 0) if promised else bytes(40))
    sizes: list[int] = []
    recovery = look(front + payload, on_bytes=sizes.append)
    assert sum(sizes) == len(payload) - len(EMPTY_HEADER) == recovery.kept_end - 51 - len(EMPTY_HEADER)
    assert len(sizes) > 1
