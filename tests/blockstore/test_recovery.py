"""Hashing what was written, on one thread, on several, or in bulk: where a torn tail is cut is the same."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from carv2._source import BytesSource
from carv2.blockstore import ReadWriteBlockstore, _recovery
from carv2.blockstore._recovery import Recovery, examine
from carv2.errors import CarError
from carv2.units import DEFAULT_LIMITS, Limits
from faults.disk import assert_valid
from helpers import archives
from helpers.archives import PRAGMA, header, v1

if TYPE_CHECKING:
    from pathlib import Path

LARGE = [(archives.cid_v1(data), data) for data in (bytes([n]) * (300 + n) for n in range(6))]
SMALL = [(archives.cid_v1(data), data) for data in (b"%d" % n for n in range(12))]
MIXED = [*SMALL[:3], *LARGE[:3], SMALL[3], *LARGE[3:], *SMALL[4:]]
UNFINISHED = PRAGMA + bytes(40) + v1([], MIXED)
UNKNOWN = bytes([0x01, 0x55, 0xB4, 0x7F, 2, 9, 9]), bytes(400)


class Small(BytesSource):
    chunk_size = 256  # so that each large block comes by itself


def found(data: bytes, *, limits: Limits = DEFAULT_LIMITS, **options: Any) -> tuple[Recovery | str, list[bytes]]:
    """What examining says, or the error; and the CIDs that were taken for good."""
    taken: list[bytes] = []
    try:
        recovery = examine(
            Small(data), limits, on_batch=lambda batch, _: taken.extend(batch.entries.cids), **options
        )
    except CarError as error:
        return f"{error!r} {vars(error)}", taken
    return recovery, taken


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that blocks are hashed on, which are several."""
    seen: set[int] = set()
    good = _recovery._Examination._good_entries

    def noted(self: Any, batch: Any) -> int:
        seen.add(threading.get_ident())
        return good(self, batch)

    monkeypatch.setattr(_recovery._Examination, "_good_entries", noted)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(_recovery, "WORTH_A_THREAD", 200)
    monkeypatch.setattr(_recovery, "_AHEAD", 500)
    return seen


def same_on_threads(monkeypatch: pytest.MonkeyPatch, data: bytes, **options: Any) -> Recovery | str:
    expected = found(data, **options)
    with monkeypatch.context() as patch:
        patch.setattr(_recovery, "_WORTH_THREADS", 0)
        assert found(data, **options) == expected
    return expected[0]


def test_large_blocks_are_hashed_on_other_threads_and_small_ones_on_this(
    monkeypatch: pytest.MonkeyPatch, threads: set[int]
) -> None:
    same_on_threads(monkeypatch, UNFINISHED)
    assert threading.get_ident() in threads
    assert len(threads) > 1


@pytest.mark.usefixtures("threads")
def test_every_cut_and_every_flipped_byte_are_the_same_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = set()
    for at in range(51 + len(header([])), len(UNFINISHED), 3):
        flipped = bytearray(UNFINISHED)
        flipped[at] ^= 1
        for data in (UNFINISHED[:at], bytes(flipped)):
            recovery = same_on_threads(monkeypatch, data)
            if isinstance(recovery, Recovery):
                counts.add(recovery.block_count)
    assert counts == set(range(len(MIXED) + 1))  # a flipped codec is not seen


@pytest.mark.usefixtures("threads")
def test_what_stops_the_reading_does_not_hide_what_is_wrong_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = LARGE[2][0], bytes(300)
    for tail in (
        [LARGE[4], wrong, UNKNOWN],
        [LARGE[4], UNKNOWN, wrong],
        [wrong, LARGE[4], (LARGE[5][0], bytes(2000))],
    ):
        data = PRAGMA + bytes(40) + v1([], [*LARGE[:2], *tail, *LARGE])
        for limits in (DEFAULT_LIMITS, Limits(section=1000)):
            for keep_unknown in (False, True):
                same_on_threads(monkeypatch, data, limits=limits, keep_unknown=keep_unknown)
    recovery = same_on_threads(monkeypatch, PRAGMA + bytes(40) + v1([], [*LARGE[:2], wrong, UNKNOWN]))
    assert isinstance(recovery, Recovery)
    assert recovery.block_count == 2
    refused = same_on_threads(monkeypatch, PRAGMA + bytes(40) + v1([], [*LARGE[:2], UNKNOWN, wrong]))
    assert isinstance(refused, str)
    assert refused.startswith("ResumeError")


@pytest.mark.usefixtures("threads")
def test_a_disk_that_fails_while_others_hash_is_an_error_after_what_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(Small):
        def read_at(self, position: int, size: int) -> bytes:
            if position > 1200:
                raise OSError(5, "Input/output error")
            return super().read_at(position, size)

    monkeypatch.setattr(_recovery, "_WORTH_THREADS", 0)
    taken: list[bytes] = []
    data = PRAGMA + bytes(40) + v1([], LARGE)
    with pytest.raises(OSError, match="Input/output"):
        examine(Failing(data), DEFAULT_LIMITS, on_batch=lambda batch, _: taken.extend(batch.entries.cids))
    assert taken == [cid for cid, _ in LARGE[: len(taken)]]
    assert len(taken) >= 2
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if "ThreadPool" in t.name]


@pytest.mark.usefixtures("threads")
def test_what_was_promised_is_checked_on_threads_just_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = v1([], MIXED)
    promised = (
        PRAGMA + bytes(16) + (51).to_bytes(8, "little") + len(payload).to_bytes(8, "little") + bytes(8) + payload
    )
    recovery = same_on_threads(monkeypatch, promised, check_promised=True)
    assert isinstance(recovery, Recovery)
    assert recovery.block_count == len(MIXED)
    for _, data in MIXED:
        at = promised.rindex(data) if len(data) > 1 else promised.index(b"U\x12 ") + 35
        flipped = bytearray(promised)
        flipped[at] ^= 1
        error = same_on_threads(monkeypatch, bytes(flipped), check_promised=True)
        assert isinstance(error, str)
        assert error.startswith("IntegrityError")


@pytest.mark.parametrize("deduplicate", ["multihash", "cid", None])
@pytest.mark.parametrize("max_memory", [None, 1, 5000, 20_000])
def test_blocks_that_lie_there_several_times_are_listed_as_often(
    tmp_path: Path, deduplicate: Any, max_memory: int | None
) -> None:
    """Sections are taken in in bulk where they are of one kind; the index is that of a file written in one go."""
    many = [
        (archives.cid_v1(data, codec=codec), data)
        for data in (b"%d" % n for n in range(90))
        for codec in (0x55, 0x71)
    ]
    blocks = [*many[::2], *many[::2], *many, *[(archives.cid_v0(data), data) for _, data in many[:80:2]]]
    with ReadWriteBlockstore.create(tmp_path / "whole.car", deduplicate=None) as store:
        store.put_many(blocks)
    (tmp_path / "torn.car").write_bytes(PRAGMA + bytes(40) + v1([], blocks))
    with ReadWriteBlockstore.resume(
        tmp_path / "torn.car", deduplicate=deduplicate, max_memory=max_memory
    ) as store:
        assert len(store) == len(blocks)
        assert all(store[cid] == data for cid, data in blocks)
        if deduplicate is not None:
            assert store.put_many(blocks) == 0
    assert_valid(tmp_path / "torn.car")
    assert (tmp_path / "torn.car").read_bytes() == (tmp_path / "whole.car").read_bytes()
