"""What a checkpoint does to the file: sync, header, sync; then what is behind is cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carv2.blockstore._checkpoints import Checkpoints
from carv2.blockstore._settings import Settings
from carv2.errors import ChangedError, TruncatedError
from carv2.header import FULLY_INDEXED, CarV2Header
from carv2.index import CAR_MULTIHASH_INDEX_SORTED
from carv2.units import DEFAULT_LIMITS, FilePosition
from faults.disk import Disk, DiskFile, FailedSync, Sync, Truncate, Write

if TYPE_CHECKING:
    from carv2.blockstore._settings import Durability

PAYLOAD, PIECE = 51, 256 << 10


def settings(durability: Durability = "flush", *, store_identity: bool = False) -> Settings:
    return Settings(
        index_padding=0,
        index_codec=CAR_MULTIHASH_INDEX_SORTED,
        deduplicate="multihash",
        store_identity=store_identity,
        verify=True,
        durability=durability,
        max_memory=None,
        limits=DEFAULT_LIMITS,
    )


def header(end: int, index: int = 0, characteristics: int = 0) -> Write:
    """The header, which stands behind the 11 bytes of the pragma."""
    return Write(11, CarV2Header(FilePosition(PAYLOAD), end, FilePosition(index), characteristics).to_bytes())


def over(disk: Disk, *, payload: int = PAYLOAD, chosen: Settings | None = None) -> Checkpoints:
    return Checkpoints(DiskFile(disk, "x"), chosen or settings(), payload=payload)


@pytest.mark.parametrize("end", [0, 1, 9])
def test_what_is_promised_is_durable_first_and_its_promise_then(end: int) -> None:
    disk = Disk(bytes(PAYLOAD + end))
    checkpoints = over(disk)
    assert (checkpoints.promised, checkpoints.synced) == (-1, 0)
    checkpoints.promise(end)
    assert disk.log == [Sync(), header(end), Sync()]
    assert (checkpoints.promised, checkpoints.synced) == (end, end)


def test_the_same_is_promised_once() -> None:
    disk = Disk(bytes(PAYLOAD + 9))
    checkpoints = over(disk)
    checkpoints.promise(9)
    disk.log.clear()
    checkpoints.promise(9)
    assert disk.log == [Sync()]
    disk.data += b"more"
    checkpoints.promise(13)
    assert disk.log == [Sync(), Sync(), header(13), Sync()]
    assert (checkpoints.promised, checkpoints.synced) == (13, 13)


def test_what_is_behind_is_cut_off_last() -> None:
    disk = Disk(bytes(PAYLOAD + 9) + b"index")
    over(disk).promise(9)
    assert disk.log == [Sync(), header(9), Sync(), Truncate(PAYLOAD + 9)]


def test_a_carv1_has_no_header_to_promise_with() -> None:
    disk = Disk(bytes(9))
    checkpoints = over(disk, payload=0)
    checkpoints.promise(9)
    assert disk.log == [Sync()]
    assert (checkpoints.promised, checkpoints.synced) == (9, 9)
    disk.data += b"torn"
    checkpoints.promise(9)
    assert disk.log == [Sync(), Sync(), Truncate(9)]


@pytest.mark.parametrize("payload", [0, PAYLOAD])
def test_a_file_that_is_too_short_is_not_promised(payload: int) -> None:
    disk = Disk(bytes(payload + 8))
    checkpoints = over(disk, payload=payload)
    checkpoints.check_length(8)
    with pytest.raises(ChangedError, match=f"{payload + 9} bytes, now {payload + 8}"):
        checkpoints.check_length(9)
    with pytest.raises(ChangedError):
        checkpoints.promise(9)
    assert disk.log == [Sync()]
    assert checkpoints.promised == -1


@pytest.mark.parametrize(("store_identity", "characteristics"), [(False, 0), (True, FULLY_INDEXED)])
def test_the_header_says_where_the_index_is_and_what_is_in_it(store_identity: bool, characteristics: int) -> None:
    disk = Disk(bytes(PAYLOAD + 9))
    checkpoints = over(disk, chosen=settings(store_identity=store_identity))
    checkpoints.write_header(9, PAYLOAD + 9)
    assert disk.log == [header(9, PAYLOAD + 9, characteristics), Sync()]
    assert checkpoints.synced == 9


def test_who_wants_no_durability_waits_for_no_disk() -> None:
    disk = Disk(bytes(PAYLOAD + 9) + b"index")
    checkpoints = over(disk, chosen=settings("none"))
    checkpoints.promise(9)
    assert disk.log == [header(9), Truncate(PAYLOAD + 9)]
    assert checkpoints.synced == 0


def fail_next_sync(disk: Disk, checkpoints: Checkpoints, end: int) -> None:
    disk.fail_at = frozenset({disk.steps + 1})
    with pytest.raises(OSError, match="space"):
        checkpoints.sync(end)
    assert disk.log[-1] == FailedSync()
    disk.fail_at = frozenset()
    disk.log.clear()


def test_after_a_sync_that_failed_what_it_was_for_is_written_again() -> None:
    data = bytes(range(256)) * 10
    disk = Disk(data)
    checkpoints = over(disk)
    fail_next_sync(disk, checkpoints, len(data) - PAYLOAD)
    assert checkpoints.synced == 0
    checkpoints.sync(len(data) - PAYLOAD)
    assert disk.log == [Write(0, data), Sync()]
    assert checkpoints.synced == len(data) - PAYLOAD
    disk.log.clear()
    checkpoints.sync(len(data) - PAYLOAD)
    assert disk.log == [Sync()]


def test_what_a_sync_before_has_made_durable_is_not_written_again() -> None:
    """But for the front, where the header is, and in it pages of the roots and of the first sections."""
    size = PAYLOAD + 5 * PIECE
    disk = Disk(bytes(size))
    checkpoints = over(disk)
    checkpoints.sync(3 * PIECE)
    fail_next_sync(disk, checkpoints, 5 * PIECE)
    checkpoints.sync(5 * PIECE)
    written = [(op.position, len(op.data)) for op in disk.log if isinstance(op, Write)]
    assert written == [(0, PIECE), (PIECE, PAYLOAD), (PAYLOAD + 3 * PIECE, PIECE), (PAYLOAD + 4 * PIECE, PIECE)]
    assert disk.log[-1] == Sync()
    assert disk.data == bytes(size)


def test_nothing_is_written_twice_where_the_front_is_more_than_what_was_durable() -> None:
    size = PAYLOAD + 2 * PIECE - 7
    disk = Disk(bytes(size))
    checkpoints = over(disk)
    checkpoints.sync(100)
    fail_next_sync(disk, checkpoints, 2 * PIECE - 7)
    checkpoints.sync(2 * PIECE - 7)
    written = [(op.position, len(op.data)) for op in disk.log if isinstance(op, Write)]
    assert written == [(0, PIECE), (PIECE, PAYLOAD), (PAYLOAD + PIECE, PIECE - 7)]


def test_a_sync_that_fails_again_is_made_up_for_once_more() -> None:
    data = bytes(1000)
    disk = Disk(data)
    checkpoints = over(disk)
    fail_next_sync(disk, checkpoints, 949)
    disk.fail_at = frozenset({disk.steps + 2})
    with pytest.raises(OSError, match="space"):
        checkpoints.sync(949)
    disk.log.clear()
    checkpoints.sync(949)
    assert disk.log == [Write(0, data), Sync()]


def test_what_cannot_be_read_to_be_written_again_is_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(bytes(1000))
    checkpoints = over(disk)
    fail_next_sync(disk, checkpoints, 949)
    monkeypatch.setattr(DiskFile, "read_at", lambda *_: b"")
    with pytest.raises(TruncatedError) as caught:
        checkpoints.sync(949)
    assert (caught.value.field, caught.value.wanted) == ("section", 1000)
