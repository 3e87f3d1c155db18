"""Writing with threads that hash ahead gives what writing without does: the same file, up to the same fault."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import CID, CarWriter, _ahead
from carv2.blockstore import ReadWriteBlockstore
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from carv2.cid import CIDLike

SIZES = [10, 100_000, 40_000, 33_000, 5, 0, 300, 200_000, 70_000, 32_768, 32_767, 60_000, 500_000, 1, 150_000]


def blocks() -> list[tuple[bytes, bytes]]:
    chance = random.Random(8)
    data = [chance.randbytes(size) for size in [*SIZES, *(each + 2 for each in SIZES)]]
    return [(archives.cid_v1(each), each) for each in data]


def by_writer(path: Path, blocks: Iterable[tuple[CIDLike, bytes]]) -> None:
    with path.open("wb") as file, CarWriter(file, version=2) as car:
        try:
            car.write_all(blocks)
        finally:
            car.flush()


def by_store(path: Path, blocks: Iterable[tuple[CIDLike, bytes]]) -> None:
    with ReadWriteBlockstore.create(path, durability="none") as store:
        store.put_many(blocks)


WAYS = pytest.mark.parametrize("write", [by_writer, by_store])


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has so many threads hash, from the first large block on."""

    def set_to(count: int) -> None:
        monkeypatch.setattr(_ahead, "default_workers", lambda: count)
        monkeypatch.setattr(_ahead, "UNASKED", 0)

    set_to(2)
    return set_to


def outcome(write: Any, path: Path, blocks: Iterable[tuple[CIDLike, bytes]]) -> tuple[bytes, str]:
    path.unlink(missing_ok=True)
    before, error = threading.active_count(), ""
    try:
        write(path, blocks)
    except Exception as raised:  # noqa: BLE001  (whatever it is, it is to be the same)
        error = f"{type(raised).__name__} {raised}"
    assert threading.active_count() == before
    return path.read_bytes(), error


def failing(blocks: list[tuple[bytes, bytes]], at: int) -> Iterator[tuple[bytes, bytes]]:
    yield from blocks[:at]
    raise LookupError("no such luck")


@WAYS
def test_threads_write_the_same_file(tmp_path: Path, threads: Callable[[int], None], write: Any) -> None:
    found = set()
    for count in (1, 2, 3):
        threads(count)
        found.add(outcome(write, tmp_path / "a.car", blocks()))
    assert len(found) == 1
    with carv2.open(tmp_path / "a.car") as car:
        assert [tuple(block) for block in car] == blocks()


@WAYS
@pytest.mark.parametrize("at", [0, 1, 2, 7, 12, 14, 29])
def test_what_comes_before_a_wrong_block_is_written(
    tmp_path: Path, threads: Callable[[int], None], write: Any, at: int
) -> None:
    given = blocks()
    given[at] = given[at][0], given[at][1] + b"!"
    ahead = outcome(write, tmp_path / "a.car", given)
    threads(1)
    assert ahead == outcome(write, tmp_path / "a.car", given)
    assert ahead[1].startswith("IntegrityError")
    assert f"(at byte {51 + 18 + sum(len(archives.section(*each)) for each in given[:at])})" in ahead[1]


@WAYS
@pytest.mark.parametrize("at", [0, 2, 5, 9, 30])
def test_what_comes_before_the_source_fails_is_written(
    tmp_path: Path, threads: Callable[[int], None], write: Any, at: int
) -> None:
    ahead = outcome(write, tmp_path / "a.car", failing(blocks(), at))
    threads(1)
    assert ahead == outcome(write, tmp_path / "a.car", failing(blocks(), at))
    assert ahead[1] == "LookupError no such luck"
    assert all(data in ahead[0] for _, data in blocks()[:at])


@WAYS
@pytest.mark.parametrize("cid", [b"", b"\x01\x55\x12\x20", "zzz", 7, b"\x01\x55\x12\x20" + bytes(33)])
def test_a_cid_that_is_none_is_told_in_its_turn(
    tmp_path: Path, threads: Callable[[int], None], write: Any, cid: Any
) -> None:
    given: Any = [*blocks()[1:4], (cid, bytes(100_000)), *blocks()]
    ahead = outcome(write, tmp_path / "a.car", given)
    threads(1)
    assert ahead == outcome(write, tmp_path / "a.car", given)
    assert ahead[1]


@pytest.mark.usefixtures("threads")
@WAYS
def test_texts_and_objects_name_blocks_too(tmp_path: Path, write: Any) -> None:
    given = [(CID.of(cid) if at % 2 else str(CID.of(cid)), data) for at, (cid, data) in enumerate(blocks())]
    assert outcome(write, tmp_path / "a.car", given) == outcome(write, tmp_path / "a.car", blocks())


@pytest.mark.usefixtures("threads")
@WAYS
def test_a_buffer_may_be_used_again_for_the_next_block(tmp_path: Path, write: Any) -> None:
    """As where a block is received into it: the view is good until the next is asked for."""

    def received() -> Iterator[tuple[bytes, Any]]:
        buffer = bytearray(500_000)
        for cid, data in blocks():
            buffer[: len(data)] = data
            with memoryview(buffer)[: len(data)] as view:
                yield cid, view

    assert outcome(write, tmp_path / "a.car", received()) == outcome(write, tmp_path / "a.car", blocks())


@WAYS
def test_other_hashes_are_checked_too(tmp_path: Path, threads: Callable[[int], None], write: Any) -> None:
    data = [bytes([at]) * 50_000 for at in range(8)]
    hashes = [
        "sha2-512",
        "blake2b-256",
        "murmur3-x64-64",
        "sha1",
        "blake3",
        "sha2-256",
        "sha3-256",
        "dbl-sha2-256",
    ]
    given = [(CID.of_data(each, hash=name), each) for each, name in zip(data, hashes, strict=True)]
    ahead = outcome(write, tmp_path / "a.car", given)
    threads(1)
    assert ahead == outcome(write, tmp_path / "a.car", given)
    assert not ahead[1]


@pytest.mark.usefixtures("threads")
@WAYS
def test_where_no_thread_can_be_had_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    ahead = outcome(write, tmp_path / "a.car", blocks())

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert outcome(write, tmp_path / "a.car", blocks()) == ahead


def test_only_large_blocks_that_are_verified_and_many_have_threads(tmp_path: Path) -> None:
    data = [bytes([at]) * (1 << 20) for at in range(16)]
    given = [(archives.cid_v1(each), each) for each in data]

    def most_threads(verify: bool, calls: int) -> int:
        before, most = threading.active_count(), 0

        def counted(some: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
            nonlocal most
            for block in some:
                most = max(most, threading.active_count() - before)
                yield block

        path, step = tmp_path / "a.car", len(given) // calls
        path.unlink(missing_ok=True)
        with ReadWriteBlockstore.create(path, durability="none", verify=verify) as store:
            for at in range(0, len(given), step):
                assert store.put_many(counted(given[at : at + step])) == step
        with CarWriter(io.BytesIO(), verify=verify) as car:
            for at in range(0, len(given), step):
                car.write_all(counted(given[at : at + step]))
        return most

    some = min(2, _ahead.default_workers()) if _ahead.default_workers() > 1 else 0
    assert most_threads(verify=False, calls=1) == 0
    assert most_threads(verify=True, calls=16) == 0
    assert most_threads(verify=True, calls=1) >= some
    assert most_threads(verify=True, calls=4) >= some


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.usefixtures("threads")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 on, where there are threads
def test_a_fork_goes_on_without_its_parents_threads() -> None:
    sink = io.BytesIO()
    children = []

    def forking() -> Iterator[tuple[bytes, bytes]]:
        for at, block in enumerate(blocks()):
            if at == 12 and not (child := os.fork()):
                signal.alarm(60)  # for one who waits for a thread that is not there
            elif at == 12:
                children.append(child)
            yield block

    parent = os.getpid()
    try:
        with CarWriter(sink) as car:
            car.write_all(forking())
        right = [tuple(block) for block in carv2.iter_blocks([sink.getvalue()])] == blocks()
    finally:
        if os.getpid() != parent:
            os._exit(0 if right else 1)
    assert right
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
