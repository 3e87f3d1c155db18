"""What others do while a store is open: forks, signals, other writers, callers who close what they lent."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.blockstore import (
    CachingBlockstore,
    MemoryBlockstore,
    ReadOnlyBlockstore,
    ReadWriteBlockstore,
    StoreTracker,
)
from carv2.cid import CID
from carv2.errors import ChangedError, ClosedError, IntegrityError
from faults.disk import assert_valid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BLOCKS = [(CID.of_data(b"%d" % n * 60), b"%d" % n * 60) for n in range(600)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.car"


def finished(path: Path, blocks: list[tuple[CID, bytes]]) -> None:
    with ReadWriteBlockstore.create(path) as store:
        store.put_many(blocks)


@pytest.mark.parametrize("more", [1, 300])
def test_a_reader_never_says_that_a_block_is_not_there_because_a_writer_went_on(path: Path, more: int) -> None:
    finished(path, BLOCKS[:200])
    with ReadOnlyBlockstore(path) as reader:
        assert [reader[cid] for cid, _ in BLOCKS[:100]] == [data for _, data in BLOCKS[:100]]
        assert BLOCKS[-1][0] not in reader
        with ReadWriteBlockstore.resume(path) as store:
            store.put_many(BLOCKS[200 : 200 + more])
        for cid, data in BLOCKS[:200]:
            for look in (reader.__getitem__, reader.size_of, reader.__contains__):
                try:
                    assert look(cid) in {data, len(data), True}  # the old records may be there still
                except ChangedError:
                    continue
    with ReadOnlyBlockstore(path) as reader:
        assert BLOCKS[199 + more][0] in reader


@pytest.mark.parametrize("durability", ["none", "flush"])
def test_a_file_that_somebody_makes_shorter_is_not_promised(path: Path, durability: Any) -> None:
    store = ReadWriteBlockstore.create(path, durability=durability)
    store.put_many(BLOCKS[:200])
    store.flush()
    os.truncate(path, 1000)
    store.put(*BLOCKS[300])
    for finish in (store.flush, store.finalize, store.close):
        with pytest.raises((ChangedError, ClosedError)):
            finish()


def test_a_file_that_is_removed_takes_no_more_promises(path: Path) -> None:
    store = ReadWriteBlockstore.create(path)
    store.put(*BLOCKS[0])
    path.unlink()
    for finish in (store.flush, store.finalize):
        with pytest.raises(FileNotFoundError, match="removed"):
            finish()
    store.discard()


FORK = """
import os, sys
from carv2 import CID
from carv2.blockstore import ReadWriteBlockstore
blocks = [(CID.of_data(b"%d" % n * 60), b"%d" % n * 60) for n in range(20)]
store = ReadWriteBlockstore.create(sys.argv[1])
store.put(*blocks[0])
store.flush()
here, there = os.pipe()
child = os.fork()
if not child:
    os.close(there)
    os.read(here, 1)  # until the parent has gone on
    try:
        getattr(store, sys.argv[2])()
    finally:
        os._exit(0)
os.close(here)
store.put_many(blocks[1:])
store.flush()
os.write(there, b"!")
os.waitpid(child, 0)
store.finalize()
store.close()
"""


@pytest.mark.parametrize("what", ["close", "discard", "flush", "finalize"])
def test_a_forked_child_cannot_cut_what_its_parent_wrote(path: Path, what: str) -> None:
    subprocess.run([sys.executable, "-c", FORK, path, what], check=True, timeout=60)
    assert_valid(path)
    with ReadOnlyBlockstore(path) as store:
        assert len(store) == 20


def test_a_child_that_lives_on_does_not_keep_the_lock(path: Path) -> None:
    store = ReadWriteBlockstore.create(path)
    here, there = os.pipe()
    child = os.fork()
    if not child:
        os.close(there)
        os.read(here, 1)
        os._exit(0)
    try:
        store.close()
        ReadWriteBlockstore.resume(path).close()
    finally:
        os.close(there)
        os.close(here)
        os.waitpid(child, 0)


def test_a_signal_handler_may_flush_in_the_middle_of_a_put(path: Path) -> None:
    store = ReadWriteBlockstore.create(path, durability="none")
    before = signal.signal(signal.SIGALRM, lambda *_: store.flush())
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        for _ in range(10):
            for block in BLOCKS:
                store.put(*block)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(store) == len(BLOCKS)
    store.finalize()
    store.close()
    assert_valid(path)


def test_a_handler_that_flushes_between_any_two_steps_of_a_put_costs_nothing(tmp_path: Path) -> None:
    """As above, at one line after the other."""
    module = sys.modules[ReadWriteBlockstore.__module__].__file__
    for moment in range(1, 400):
        path = tmp_path / f"{moment}.car"
        store = ReadWriteBlockstore.create(path, durability="none")
        store.put(*BLOCKS[0])
        left = moment

        def trace(frame: Any, event: str, _: Any, flush: Callable[[], None] = store.flush) -> Any:
            nonlocal left
            if frame.f_code.co_filename != module:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    flush()
            return trace

        before = sys.gettrace()  # of who counts the lines that are reached
        sys.settrace(trace)
        try:
            for block in BLOCKS[1:4]:
                store.put(*block)
        finally:
            sys.settrace(before)
        assert [store[cid] for cid, _ in BLOCKS[:4]] == [data for _, data in BLOCKS[:4]]
        assert len(store) == len(list(store)) == 4
        store.finalize()
        store.close()
        assert_valid(path)
        if left > 0:
            break
    else:
        pytest.fail("a put has more steps than that")


def test_a_caller_may_close_the_file_that_was_lent(path: Path) -> None:
    finished(path, BLOCKS[:20])
    with path.open("rb") as file:
        store = ReadOnlyBlockstore(file)
    with open(os.devnull, "rb"):  # takes the number that is free now
        assert [store[cid] for cid, _ in BLOCKS[:20]] == [data for _, data in BLOCKS[:20]]
    store.close()


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_an_open_store_cannot_be_sent_elsewhere(path: Path, duplicate: Callable[[object], object]) -> None:
    finished(path, BLOCKS[:20])
    with ReadOnlyBlockstore(path) as store:
        with pytest.raises(TypeError, match="open"):
            duplicate(store)
        assert store[BLOCKS[0][0]] == BLOCKS[0][1]


@pytest.mark.parametrize("make", [MemoryBlockstore, lambda: ReadWriteBlockstore.create(tempfile.mktemp())])
def test_what_is_there_already_is_checked_too(make: Callable[[], Any], monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
    with make() as store:
        store.put(*BLOCKS[0])
        identity = CID.of_data(b"abc", hash="identity")
        for cid in (BLOCKS[0][0], identity):
            with pytest.raises(IntegrityError):
                store.put(cid, b"wrong")
        assert store.put(identity, b"abc") is False


def test_a_full_disk_under_a_temporary_index_is_an_error_of_the_disk(tmp_path: Path) -> None:
    blocks = [(CID.of_data(b"%d" % n), b"%d" % n) for n in range(40000)]
    archive = b"".join(carv2.iter_car([], blocks))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_010, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            ReadOnlyBlockstore(archive)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_store_lets_go_of_its_file_where_no_descriptor_is_to_be_had(path: Path) -> None:
    store = ReadWriteBlockstore.create(path, max_memory=320)
    store.put_many(BLOCKS[:10])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/dev/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)
    with ReadWriteBlockstore.resume(path) as store:
        assert len(store) == 10


def test_zeros_end_the_sections_only_if_nothing_else_follows(path: Path) -> None:
    archive = b"".join(carv2.iter_car([], BLOCKS[:3]))
    behind = archive[18:]
    path.write_bytes(archive + bytes(7) + behind)
    with ReadWriteBlockstore.resume(path, null_padding=True) as store:
        assert store.recovery is not None
        assert (store.recovery.state, store.recovery.cut_bytes) == ("torn", 7 + len(behind))


def test_the_last_holder_names_the_roots(path: Path) -> None:
    roots = [BLOCKS[0][0]]
    with StoreTracker() as tracker:
        placeholder = [CID.of_data(b"", codec="dag-pb")]
        for _ in range(2):
            tracker.get_or_create("deal", path, placeholder).put(*BLOCKS[0])
        assert (tracker.release("deal", roots=roots), tracker.release("deal", roots=roots)) == (False, True)
    with carv2.open(path) as car:
        assert list(car.roots) == roots


def test_a_cache_around_a_writer_finalizes_as_the_writer_would(path: Path) -> None:
    with CachingBlockstore(ReadWriteBlockstore.create(path)) as store:
        store.put(*BLOCKS[0])
        store.flush()
    assert carv2.inspect(path).index_codec is not None
    with (
        contextlib.suppress(ZeroDivisionError),
        CachingBlockstore(ReadWriteBlockstore.resume(path)) as store,
    ):
        store.put(*BLOCKS[1])
        _ = 1 / 0
    assert carv2.inspect(path).index_codec is None


class Positional:
    """The least that can be read from."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read_at(self, position: int, size: int) -> bytes:
        return self.data[position : position + size]


def test_an_object_with_positional_reads_is_read() -> None:
    reader = Positional(b"".join(carv2.iter_car([], BLOCKS[:9])))
    with ReadOnlyBlockstore(reader) as store:  # type: ignore[arg-type]
        assert [store[cid] for cid, _ in BLOCKS[:9]] == [data for _, data in BLOCKS[:9]]


class Remote:
    """As much of an fsspec file as is used."""

    def __init__(self, data: bytes, fail: Callable[[bytes, int, int], bytes]) -> None:
        self.fs, self.path, self.size = self, "memory://x.car", len(data)
        self._data, self._fail = data, fail

    def cat_file(self, _path: str, start: int, end: int) -> bytes:
        return self._fail(self._data, start, end)


class TransportError(Exception):
    """What a transport raises is its own."""


def breaks(_data: bytes, _start: int, _end: int) -> bytes:
    raise TransportError("503")


@pytest.mark.parametrize(
    ("fail", "text"), [(breaks, "TransportError: 503"), (lambda data, _start, _end: data, "ranges are ignored")]
)
def test_what_a_remote_file_does_wrong_is_an_os_error(fail: Any, text: str) -> None:
    archive = b"".join(carv2.iter_car([], BLOCKS[:9]))
    with pytest.raises(OSError, match=text):
        ReadOnlyBlockstore(Remote(archive * 100, fail))  # type: ignore[arg-type]
