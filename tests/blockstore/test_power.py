"""Power cuts: whatever subset of the writes since the last sync got to the disk, nothing acknowledged is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.blockstore import ReadWriteBlockstore
from faults.disk import Disks, Sync, Write, assert_valid, check_crash, crashes, durable_state
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable

ROOTS = [archives.FISH[0], archives.PB_NODE[0]]
LONG = [(archives.cid_v1(data), data) for data in (bytes([at]) * (300 * at) for at in range(1, 5))]
BLOCKS = [*archives.SOME_BLOCKS[:2], archives.LOBSTER, (archives.cid_v1(b""), b""), archives.BARRELEYE, *LONG]
KNOWN = {**dict(BLOCKS), archives.cid_v1(b"one more block"): b"one more block"}


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks.installed(monkeypatch)


def fill(disks: Disks, store: ReadWriteBlockstore, *, roots: list[bytes] | None = None) -> None:
    """Put in three parts: each block is read back, which brings it to the file before the flush does."""
    disk = disks["x"]
    safe: list[bytes] = []
    for start, stop in ((0, 3), (3, 6), (6, 9)):
        for cid, data in BLOCKS[start:stop]:
            store.put(cid, data)
            assert store[cid] == data
        if stop < 9:
            store.flush()
            safe += [cid for cid, _ in BLOCKS[:stop]]
            disk.acknowledge(safe)
    store.finalize(roots)
    disk.acknowledge(dict(BLOCKS))
    store.close()


CREATED: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"data_padding": 13, "index_padding": 700},
    "older index": {"index_codec": 0x0400},
    "CARv1": {"version": 1},
    "spilling": {"max_memory": 700},
    "each put durable": {"durability": "each-put"},
    "all duplicates": {"deduplicate": None},
}


def check_all(disks: Disks, resume: Callable[[str], ReadWriteBlockstore], *, seed: int) -> dict[bool, int]:
    """Every crash of disk x; how many there were by whether resuming them worked."""
    counts = {True: 0, False: 0}
    for number, crash in enumerate(crashes(disks["x"], random.Random(seed))):
        counts[check_crash(disks, crash, KNOWN, resume=resume, go_on=number % 5 == 0)] += 1
    return counts


@pytest.mark.parametrize("name", CREATED)
def test_a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged(disks: Disks, name: str) -> None:
    fill(disks, ReadWriteBlockstore.create("x", ROOTS, **CREATED[name]))
    counts = check_all(disks, lambda path: ReadWriteBlockstore.resume(path, ROOTS), seed=1)
    assert counts[True] > 300
    assert counts[False] == 0
    print("power cuts", name, counts)


def finished(disks: Disks, **options: Any) -> bytes:
    store = ReadWriteBlockstore.create("first", ROOTS, **options)
    store.put_many(BLOCKS[:4])
    store.finalize()
    store.close()
    return disks["first"].data


@pytest.mark.parametrize("more", [0, 5])
@pytest.mark.parametrize("options", [{}, {"index_padding": 40, "data_padding": 3}, {"version": 1}], ids=str)
def test_the_same_where_a_finished_archive_is_gone_on_with(
    disks: Disks, options: dict[str, Any], more: int
) -> None:
    disk = disks.put("x", finished(disks, **options))
    disk.acknowledge(cid for cid, _ in BLOCKS[:4])
    store = ReadWriteBlockstore.resume("x", ROOTS)
    for cid, data in BLOCKS[4 : 4 + more]:
        store.put(cid, data)
        assert store[cid] == data
        if cid == BLOCKS[6][0]:
            store.flush()
            disk.acknowledge(cid for cid, _ in BLOCKS[:7])
    store.finalize()
    disk.acknowledge(cid for cid, _ in BLOCKS[: 4 + more])
    store.close()
    counts = check_all(disks, lambda path: ReadWriteBlockstore.resume(path, ROOTS), seed=2)
    assert counts[False] == 0
    print("power cuts, resumed", options, more, counts)


def test_the_same_where_go_car_did_not_finish_and_the_last_block_is_torn(disks: Disks) -> None:
    payload = archives.v1(ROOTS, BLOCKS[:5])
    disk = disks.put("x", archives.PRAGMA + bytes(40) + payload + archives.section(*BLOCKS[5])[:-7])
    disk.acknowledge(cid for cid, _ in BLOCKS[:5])
    store = ReadWriteBlockstore.resume("x", ROOTS)
    store.put_many(BLOCKS[5:7])
    store.flush()
    disk.acknowledge(cid for cid, _ in BLOCKS[:7])
    store.put_many(BLOCKS[7:])
    store.finalize()
    counts = check_all(disks, lambda path: ReadWriteBlockstore.resume(path, ROOTS), seed=3)
    assert counts[False] == 0


def test_roots_that_are_replaced_at_the_end_cost_no_block(disks: Disks) -> None:
    roots = [archives.LOBSTER[0], archives.cid_v0(b"")]
    fill(disks, ReadWriteBlockstore.create("x", ROOTS), roots=roots)
    assert archives.v1(roots, BLOCKS) in disks["x"].data
    counts = check_all_but_roots(disks)
    assert counts[True] > 300


def check_all_but_roots(disks: Disks) -> dict[bool, int]:
    """A torn write of the roots may leave roots that are neither the old nor the new ones, and so no block."""
    counts = {True: 0, False: 0}
    for crash in crashes(disks["x"], random.Random(4)):
        counts[check_crash(disks, crash, KNOWN, resume=ReadWriteBlockstore.resume, go_on=False)] += 1
    return counts


# -- the order in which things are done ---------------------------------------------------------------------------


def test_sections_are_durable_before_the_header_that_promises_them(disks: Disks) -> None:
    store = ReadWriteBlockstore.create("x", ROOTS)
    store.put_many(BLOCKS[:3])
    store.flush()
    kinds = [(type(op), op.position if isinstance(op, Write) else None) for op in disks["x"].log]
    end = 51 + len(archives.header(ROOTS))
    assert kinds == [(Write, end), (Sync, None), (Write, 11), (Sync, None)]
    disks["x"].log.clear()
    store.flush()
    assert not [op for op in disks["x"].log if not isinstance(op, Sync)]
    store.discard()


def test_without_durability_nothing_is_synced_and_the_file_is_the_same(disks: Disks) -> None:
    for name, durability in (("x", "none"), ("y", "flush"), ("z", "each-put")):
        store = ReadWriteBlockstore.create(name, ROOTS, durability=durability)  # type: ignore[arg-type]
        store.put_many(BLOCKS)
        store.flush()
        store.finalize()
    assert not any(isinstance(op, Sync) for op in disks["x"].log)
    assert disks["x"].data == disks["y"].data == disks["z"].data


def test_what_each_put_makes_durable_is_durable_when_put_returns(disks: Disks) -> None:
    store = ReadWriteBlockstore.create("x", ROOTS, durability="each-put")
    for count, (cid, data) in enumerate(BLOCKS, start=1):
        store.put(cid, data)
        durable = durable_state(disks["x"])
        assert_valid(durable)
        with carv2.open(durable) as car:
            assert len(list(car)) == count
    store.discard()


# -- disks that fail ----------------------------------------------------------------------------------------------


def retrying(call: Callable[[], object]) -> int:
    """Call until it works; how often it did not."""
    for failures in range(60):
        try:
            call()
        except OSError:
            continue
        return failures
    raise AssertionError("it never worked")


def through_failures(disks: Disks, fail_at: frozenset[int], **options: Any) -> int:
    """Fill an archive, each call again until it works; after each flush the power may go. How many failed."""
    path = f"x{sorted(fail_at)}"
    store = ReadWriteBlockstore.create(path, ROOTS, **options)
    disk = disks[path]
    disk.fail_at = fail_at
    failures = 0
    for number, (cid, data) in enumerate(BLOCKS, start=1):
        failures += retrying(lambda cid=cid, data=data: store.put(cid, data))  # type: ignore[misc]
        failures += retrying(lambda cid=cid, data=data: _same(store[cid], data))  # type: ignore[misc]
        assert [store[cid] for cid, _ in BLOCKS[:number]] == [data for _, data in BLOCKS[:number]]
        if number % 3 == 0:
            failures += retrying(store.flush)
            durable = durable_state(disk)
            assert [(block.cid_bytes, block.data) for block in carv2.open(durable)] == BLOCKS[:number]
    failures += retrying(store.finalize)
    durable = durable_state(disk)
    assert durable == disk.data
    assert_valid(durable)
    assert [(block.cid_bytes, block.data) for block in carv2.open(durable)] == BLOCKS
    store.close()
    return failures


def _same(found: bytes, expected: bytes) -> None:
    assert found == expected


@pytest.mark.parametrize("options", [{}, {"index_padding": 9}, {"version": 1}, {"max_memory": 700}], ids=str)
def test_a_disk_that_fails_once_anywhere_costs_nothing_but_another_try(
    disks: Disks, options: dict[str, Any]
) -> None:
    tried = 0
    for step in range(1, 60):
        tried += through_failures(disks, frozenset([step]), **options)
    assert tried > 10


def test_a_disk_that_fails_often_costs_nothing_but_many_tries(disks: Disks) -> None:
    rng = random.Random(7)
    for _ in range(60):
        through_failures(disks, frozenset(rng.sample(range(2, 80), rng.randrange(2, 25))))


@pytest.mark.parametrize("durability", ["flush", "each-put"])
def test_a_put_that_could_not_be_made_durable_is_made_so_by_the_next(disks: Disks, durability: str) -> None:
    """The block is there when the sync fails: putting it again must not take that for safe."""
    store = ReadWriteBlockstore.create("x", ROOTS, durability="each-put")
    disks["x"].fail_at = frozenset(range(1, 4))
    retrying(lambda: store.put(*BLOCKS[0]))
    with carv2.open(durable_state(disks["x"])) as car:
        assert [block.cid_bytes for block in car] == [BLOCKS[0][0]]
    store.discard()


@pytest.mark.parametrize("step", range(1, 40))
def test_a_finalize_that_failed_leaves_a_valid_archive(disks: Disks, step: int) -> None:
    store = ReadWriteBlockstore.create("x", ROOTS, index_padding=5)
    store.put_many(BLOCKS)
    store.flush()
    disk = disks["x"]
    disk.fail_at = frozenset([disk.steps + step])
    try:
        store.finalize()
    except OSError:
        assert_valid(disk.data)
        assert store.put(archives.cid_v1(b"late"), b"late")
        store.flush()
        assert_valid(disk.data)
    store.close()


@pytest.mark.parametrize("options", [{}, {"version": 1}, {"data_padding": 5}], ids=str)
@pytest.mark.parametrize("step", range(1, 8))
def test_a_disk_that_fails_while_an_archive_is_resumed_lets_go_of_it(
    disks: Disks, options: dict[str, Any], step: int
) -> None:
    disk = disks.put("x", finished(disks, **options) + b"torn")
    disk.fail_at = frozenset([step])
    try:
        store = ReadWriteBlockstore.resume("x", ROOTS)
    except OSError:
        assert not disk.locked
        store = ReadWriteBlockstore.resume("x", ROOTS)
    assert dict.fromkeys(map(bytes, store)) == dict.fromkeys(cid for cid, _ in BLOCKS[:4])
    store.discard()


@pytest.mark.parametrize("how", ["close", "with"])
def test_a_disk_that_is_full_to_the_end_lets_go_of_the_file(disks: Disks, how: str) -> None:
    store = ReadWriteBlockstore.create("x", ROOTS)
    store.put_many(BLOCKS)
    disks["x"].fail_at = frozenset(range(1000))
    if how == "close":
        with pytest.raises(OSError, match="No space"):
            store.close()
    else:
        with pytest.raises(OSError, match="No space"), store:
            pass
    assert not disks["x"].locked
    store.close()
