"""The hot loop finds the sections of any mixture of layouts, just as one that takes them one by one would."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2._scan import Entries, SectionScanner, batches
from carv2._source import BytesSource
from carv2.errors import FormatError, IntegrityError
from carv2.units import DEFAULT_LIMITS, Limits
from helpers import archives

if TYPE_CHECKING:
    import random

KINDS = ("v0", "raw", "cbor", "pb", "sha512", "short", "blake2b", "identity")


def cid_of(kind: str, data: bytes) -> bytes:
    match kind:
        case "v0":
            return archives.cid_v0(data)
        case "sha512":
            return archives.cid_v1(data, code=0x13, digest=hashlib.sha512(data).digest())
        case "short":
            return archives.cid_v1(data, digest=hashlib.sha256(data).digest()[:20])
        case "blake2b":
            return archives.cid_v1(data, code=0xB220, digest=hashlib.blake2b(data, digest_size=32).digest())
        case "identity":
            return archives.identity(data[:40])
    return archives.cid_v1(data, codec={"raw": 0x55, "cbor": 0x71, "pb": 0x70}[kind])


def sections_of(kinds: list[str], sizes: list[int]) -> list[tuple[bytes, bytes]]:
    blocks: list[tuple[bytes, bytes]] = []
    for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        data = number.to_bytes(4, "big") * (size // 4 + 1)
        data = data[: 40 if kind == "identity" else size]
        blocks.append((cid_of(kind, data), data))
    return blocks


def scanned(buffer: bytes, cuts: list[int]) -> tuple[list[tuple[bytes, int, int]], list[bytes | None]]:
    """All that is found in a buffer that comes in pieces, counted from its start; what each piece says of CIDs."""
    scanner, at = SectionScanner(DEFAULT_LIMITS), 0
    found: list[tuple[bytes, int, int]] = []
    said: list[bytes | None] = []
    for cut in [*cuts, len(buffer)]:
        entries = Entries()
        used = scanner.scan(buffer[at:cut], 0, entries, position=at)
        found += [(cid, at + start, at + stop) for cid, start, stop in entries]
        said += [entries.prefix] * len(entries)
        assert not len(entries) or entries[-1][2] == used
        at += used
    assert at == len(buffer)
    return found, said


def check(blocks: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    buffer = b"".join(archives.section(cid, data) for cid, data in blocks)
    found, said = scanned(buffer, cuts)
    assert [(cid, buffer[start:stop]) for cid, start, stop in found] == blocks
    for (cid, _), prefix in zip(blocks, said, strict=True):
        assert prefix is None or cid[:-32] == prefix


@given(
    runs=st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 90), st.sampled_from([0, 5, 91, 92, 93, 200, 20_000])),
        min_size=1,
        max_size=12,
    ),
    chance=st.randoms(use_true_random=False),
)
def test_runs_of_any_layouts_are_found(runs: list[tuple[str, int, int]], chance: random.Random) -> None:
    kinds = [kind for kind, many, size in runs for _ in range(many if size < 1000 else 2)]
    sizes = [size for _, many, size in runs for _ in range(many if size < 1000 else 2)]
    blocks = sections_of(kinds, sizes)
    size = sum(len(archives.section(cid, data)) for cid, data in blocks)
    check(blocks, sorted(chance.sample(range(size + 1), min(3, size))))


@pytest.mark.parametrize("sizes", [[100], [20], [100, 20], [92, 91, 93], [0, 300], [3, 300, 20_000]])
@pytest.mark.parametrize(
    "kinds", [["raw"], ["raw", "cbor"], ["v0", "raw"], ["v0", "blake2b", "sha512"], ["short"]]
)
def test_layouts_that_take_turns_are_found(kinds: list[str], sizes: list[int]) -> None:
    many = 600
    blocks = sections_of((kinds * many)[:many], (sizes * many)[:many])
    check(blocks, [7, 1000, 1001, 30_000])


def test_sections_over_the_limit_are_found_out_behind_many_that_are_not() -> None:
    blocks = sections_of(["raw"] * 300, [200] * 299 + [201])
    buffer = b"".join(archives.section(cid, data) for cid, data in blocks)
    entries = Entries()
    with pytest.raises(carv2.FormatError, match="237"):
        SectionScanner(Limits(section=236)).scan(buffer, 0, entries, position=0)
    assert [cid for cid, _, _ in entries] == [cid for cid, _ in blocks[:-1]]


def test_a_cid_that_is_none_is_found_out_behind_many_that_are() -> None:
    blocks = sections_of(["raw"] * 300, [200] * 300)
    buffer = bytearray(b"".join(archives.section(cid, data) for cid, data in blocks))
    buffer[238 * 280 + 2] = 2  # a version that there is not
    entries = Entries()
    with pytest.raises(FormatError):
        SectionScanner(DEFAULT_LIMITS).scan(bytes(buffer), 0, entries, position=0)
    assert [cid for cid, _, _ in entries] == [cid for cid, _ in blocks[:280]]


@pytest.mark.parametrize("bad", [0, 1, 40, 299, 998])
def test_blocks_before_one_that_is_wrong_are_handed_out(bad: int) -> None:
    blocks = sections_of(["raw"] * 999, [120] * 999)
    blocks[bad] = blocks[bad][0], b"?" * 120
    archive = archives.v1([], blocks)
    found: list[tuple[bytes, bytes]] = []
    with carv2.open(archive) as car, pytest.raises(IntegrityError) as caught:
        found.extend(tuple(block) for block in car)  # type: ignore[misc]
    assert found == blocks[:bad]
    assert caught.value.position == len(archives.header()) + 158 * bad + 38
    again: list[tuple[bytes, bytes]] = []
    with pytest.raises(IntegrityError) as caught:
        again.extend(tuple(block) for block in carv2.iter_blocks([archive[:50_000], archive[50_000:]]))  # type: ignore[misc]
    assert again == blocks[:bad]
    assert caught.value.position == len(archives.header()) + 158 * bad + 38
    report = carv2.verify(archive)
    assert (report.verified_count, report.problem_count) == (998, 1)


def test_entries_are_cut_and_added_to() -> None:
    entries = Entries([b"a" * 36, b"b" * 36], [10, 20], [15, 30])
    assert entries.prefix is None
    assert list(entries[1:]) == [entries[-1]] == [(b"b" * 36, 20, 30)]
    assert entries[1:].prefix == b"bbbb"
    rest = entries[:1]
    rest.append(b"aaaa" + b"c" * 32, 40, 50)
    assert rest.prefix == b"aaaa"
    rest.append(b"c" * 36, 60, 70)
    assert rest.prefix is None
    assert len(rest) == 3


class Noted(BytesSource):
    """Bytes that tell how much of them was read, in small chunks."""

    chunk_size = 1024

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[int] = []

    def read_at(self, position: int, size: int) -> bytes:
        self.reads.append(size)
        return super().read_at(position, size)


def in_rows(
    data: bytes, stop: int | None = None, **how: int
) -> tuple[list[tuple[bytes, int, int]], list[int], str]:
    """All sections by file position, without bodies; how many came together; what ended it."""
    source, limits = Noted(data), Limits(section=how.pop("section", DEFAULT_LIMITS.section))
    found: list[tuple[bytes, int, int]] = []
    many: list[int] = []
    try:
        for batch in batches(source, 0, stop or len(data), SectionScanner(limits), bodies=False, **how):
            found += [(cid, batch.base + start, batch.base + end) for cid, start, end in batch.entries]
            many.append(len(batch.entries))
    except FormatError as error:
        return found, many, repr((str(error), error.position))
    return found, many, ""


LARGE = [20_000, 70_000, 2_100_000]


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([0, 100, 700, 1000, *LARGE])), max_size=40))
@settings(max_examples=40)
def test_large_sections_are_found_in_rows_just_as_one_by_one(shapes: list[tuple[str, int]]) -> None:
    blocks = sections_of([kind for kind, _ in shapes], [size for _, size in shapes])
    data = b"".join(archives.section(cid, block) for cid, block in blocks)
    found, _, fault = in_rows(data)
    assert [(cid, data[start:stop]) for cid, start, stop in found] == blocks
    assert not fault
    for stop in (len(data) - 1, len(data) + 1, len(data) // 2):
        if stop > 0:
            together, alone = in_rows(data, stop), in_rows(data, stop, row=1)
            assert (together[0], together[2]) == (alone[0], alone[2])


def test_neighbouring_large_sections_come_together_few_at_first() -> None:
    blocks = sections_of(["raw"] * 100, [20_000] * 100)
    data = b"".join(archives.section(cid, block) for cid, block in blocks)
    assert in_rows(data)[1] == [1, 2, 4, 8, 16, 32, 32, 5]
    assert set(in_rows(data, row=1)[1]) == {1}
    source = Noted(data)
    for batch in batches(source, 0, len(data), SectionScanner(DEFAULT_LIMITS), bodies=False):
        assert batch.entries.prefix == blocks[0][0][:4]
    assert sum(source.reads) < 10_000


@pytest.mark.parametrize("cut", [1, 19_000, 20_030])
def test_a_large_section_that_is_cut_off_is_not_in_the_row(cut: int) -> None:
    blocks = sections_of(["raw"] * 20, [20_000] * 20)
    data = b"".join(archives.section(cid, block) for cid, block in blocks)
    for found, many, fault in (
        in_rows(data, len(data) - cut),
        in_rows(data[:-cut]),
        in_rows(data[:-cut], len(data)),
    ):
        assert (len(found), many) == (19, [1, 2, 4, 8, 4])
        assert fault


@pytest.mark.parametrize(
    "bad",
    [
        b"\xa0\x9c\x00\x01\x55\x12\x20",  # a varint that is not minimal
        b"\xa0\x9c\x81\x00\x01\x55\x12\x20",
        b"\xc4\x9c\x01\x02\x55\x12\x20",  # a CID of no version
        b"\x00",
        b"\xff\xff\xff\x7f\x01\x55\x12\x20",
        b"\xff\xff\xff\xff\x7f",
        b"\xe4\xf1\x04\x01\x55\x12\x20",  # over the limit, in front of the end
    ],
)
def test_what_is_wrong_behind_large_sections_is_told_as_if_they_came_alone(bad: bytes) -> None:
    blocks = sections_of(["raw"] * 20, [20_000] * 20)
    data = b"".join(archives.section(cid, block) for cid, block in blocks) + bad + b"x" * 100_000
    found, _, fault = in_rows(data, section=60_000)
    assert fault
    assert (found, fault) == in_rows(data, section=60_000, row=1)[::2]
    assert len(found) == 20
