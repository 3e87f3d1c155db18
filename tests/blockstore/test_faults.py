"""What goes wrong around a store: full disks, other programs at the file, lies, too many threads at once."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2 import _source
from carv2.blockstore import (
    MemoryBlockstore,
    ReadOnlyBlockstore,
    ReadWriteBlockstore,
    _key_table,
    _written,
    read_write,
)
from carv2.errors import (
    BlockNotFoundError,
    CarError,
    ChangedError,
    ClosedError,
    FinalizedError,
    FormatError,
    IndexMismatchError,
    IntegrityError,
    LimitError,
    LockedError,
    TruncatedError,
)
from carv2.index import IndexBuilder
from carv2.units import Limits
from faults.disk import Disks, assert_valid
from helpers import archives
from helpers.archives import Record, header, v1, v2

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(carv2.__file__).parent.parent
ROOTS = [archives.FISH[0]]
BLOCKS = [archives.FISH, archives.PB_NODE, archives.LOBSTER, archives.BARRELEYE]
MANY = [(archives.cid_v1(data), data) for data in (f"block {at} ".encode() * (1 + at % 90) for at in range(600))]
PAYLOAD = v1(ROOTS, BLOCKS)
RECORDS = archives.records_of(header(ROOTS), BLOCKS)
INDEXED = v2(PAYLOAD, archives.index_multihash_sorted(RECORDS))
LARGE = (archives.cid_v1(bytes(3 << 20)), bytes(3 << 20))


def in_a_process(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


# -- full disks ---------------------------------------------------------------------------------------------------

FULL_DISK = """
import os, resource, sys
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID
import carv2
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
block = lambda at: os.urandom(0) or at.to_bytes(4, "big") * (25_000 if {large} else 100)
store = ReadWriteBlockstore.create("x.car", durability="{durability}", version={version})
safe = stored = 0
try:
    for at in range(100_000):
        store.put(CID.of_data(block(at)), block(at))
        stored += 1
        if at % 7 == 0:
            store.flush()
            safe = stored
    raise SystemExit("the disk was not full")
except OSError as error:
    assert error.errno == 27, error
for at in range(safe):
    assert store[CID.of_data(block(at))] == block(at)
try:
    store.close()
except OSError:
    pass
size = os.path.getsize("x.car")
store = ReadWriteBlockstore.resume("x.car")
assert safe <= len(store) <= stored + 1, (safe, len(store), stored)
assert [store[cid] for cid in store] == [block(at) for at in range(len(store))]
try:
    store.close()
except OSError:
    pass
print(safe)
"""


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("durability", "large"), [("flush", True), ("flush", False), ("each-put", True)])
def test_a_disk_that_fills_up_costs_nothing_that_was_acknowledged(
    tmp_path: Path, version: int, durability: str, large: bool
) -> None:
    code = FULL_DISK.format(version=version, durability=durability, large=large)
    done = in_a_process(tmp_path, code)
    assert done.returncode == 0, done.stderr
    safe = int(done.stdout)
    assert safe > 5
    with ReadWriteBlockstore.resume(tmp_path / "x.car") as store:  # now there is room
        assert len(store) >= safe
        store.put(*archives.FISH)
    assert_valid(tmp_path / "x.car")


READ_ONLY = """
import os, sys
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere
for call, path in ((ReadWriteBlockstore.resume, "x.car"), (ReadWriteBlockstore.create, "y.car")):
    try:
        call(path)
    except PermissionError:
        continue
    raise SystemExit(f"{call} did not fail")
assert len(ReadOnlyBlockstore("x.car")) == 4
"""


def test_what_may_not_be_written_is_an_os_error_and_left_alone() -> None:
    with tempfile.TemporaryDirectory() as name:  # not in tmp_path, where only its owner may look
        folder = Path(name)
        (folder / "x.car").write_bytes(INDEXED)
        (folder / "x.car").chmod(0o444)
        folder.chmod(0o555)
        done = in_a_process(folder, READ_ONLY)
        folder.chmod(0o755)
        assert done.returncode == 0, done.stderr
        assert (folder / "x.car").read_bytes() == INDEXED
        assert os.listdir(folder) == ["x.car"]


def test_folders_and_missing_folders_are_os_errors(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        ReadWriteBlockstore.resume(tmp_path)
    with pytest.raises(FileExistsError):
        ReadWriteBlockstore.create(tmp_path)
    with pytest.raises(FileNotFoundError):
        ReadWriteBlockstore.create(tmp_path / "nowhere" / "x.car")


def test_a_file_that_cannot_be_begun_is_not_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        ReadWriteBlockstore.create(tmp_path / "x.car")
    assert os.listdir(tmp_path) == []


def test_a_file_for_which_there_is_no_descriptor_more_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(_source, "_open_nothing", fail)
    with pytest.raises(OSError, match="Too many"):
        ReadWriteBlockstore.create(tmp_path / "x.car")
    assert os.listdir(tmp_path) == []


def test_a_file_gets_its_name_when_its_first_bytes_are_durable_and_it_is_locked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, seen = tmp_path / "x.car", list[str]()
    for name in ("pwrite", "fsync", "link"):
        original: Callable[..., Any] = getattr(os, name)

        def noted(*args: Any, name: str = name, original: Callable[..., Any] = original) -> Any:
            seen.append(f"{name}, named" if path.exists() else name)
            return original(*args)

        monkeypatch.setattr(os, name, noted)
    flock = fcntl.flock

    def locked(*args: Any) -> None:
        seen.append("lock")
        flock(*args)

    monkeypatch.setattr(fcntl, "flock", locked)
    store = ReadWriteBlockstore.create(path, ROOTS)
    assert seen == ["lock", "pwrite", "fsync", "link", "fsync, named"]  # the last one is of the folder
    assert os.listdir(tmp_path) == ["x.car"]
    store.close()


def test_a_kernel_that_writes_less_than_asked_for_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:1000], at))
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as store:
        store.put_many(MANY)
    assert carv2.verify(tmp_path / "x.car").block_count == len(MANY)
    assert_valid(tmp_path / "x.car")


def no_room(*_: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("max_memory", [None, 1600])
def test_a_full_folder_for_temporary_files_costs_nothing_but_another_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, max_memory: int | None
) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS, max_memory=max_memory)
    store.put_many(MANY[:4])
    store.flush()
    monkeypatch.setattr(_source.FileSource, "temporary", no_room)
    refused = 0
    for block in MANY[4:20]:
        try:
            store.put(*block)
        except OSError:
            refused += 1
            assert block[0] not in store
    assert refused == (0 if max_memory is None else 15)
    with pytest.raises(OSError, match="No space"):
        store.finalize()
    held = [block for block in MANY[:20] if block[0] in store]
    assert len(held) == 20 - refused == len(store)
    assert [store[cid] for cid, _ in held] == [data for _, data in held]
    assert [store.put(*block) for block in held] == [False] * len(held)
    monkeypatch.undo()
    store.put_many(MANY)
    store.finalize()
    store.close()
    assert_valid(tmp_path / "x.car")
    assert carv2.verify(tmp_path / "x.car").block_count == len(MANY)


# -- Ctrl-C -------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize(
    ("max_memory", "pack_from"),
    [(None, 4096), (None, 3), (3000, 4096), (320, 4096)],  # the last makes a run of each put, and merges them
)
def test_an_interrupt_between_any_two_steps_of_a_put_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, max_memory: int | None, pack_from: int
) -> None:
    """As a signal handler may raise between any two lines, so does this, at one line after the other."""
    disks = Disks.installed(monkeypatch)
    for module in (read_write, _written):
        monkeypatch.setattr(module, "PACK_FROM", pack_from)
    watched = {read_write.__file__, _written.__file__, _key_table.__file__}
    for moment in range(1, 2000):
        name = f"x{moment}"
        store = ReadWriteBlockstore.create(name, ROOTS, max_memory=max_memory)
        store.put_many(MANY[:10])
        store.flush()
        left = moment

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in watched:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise Interrupted
            return trace

        before = sys.gettrace()  # of who counts the lines that are reached
        sys.settrace(trace)
        try:
            for block in MANY[10:20]:
                store.put(*block)
            store.flush()
            store.finalize()
        except Interrupted:
            pass
        finally:
            sys.settrace(before)
        if left > 0:
            break
        if store._finalized:
            assert_valid(disks[name].data)
            continue
        held = list(store)
        assert len(store) == len(held)
        expected = MANY[: 30 if moment % 2 else len(set(held))]
        for block in expected[10:]:
            store.put(*block)
            assert store[block[0]] == block[1]
        store.flush()
        assert {bytes(cid): store[cid] for cid in store} == dict(expected)
        store.finalize()
        store.close()
        assert_valid(disks[name].data)
        assert {block.cid_bytes: block.data for block in carv2.open(disks[name].data)} == dict(expected)
        offsets = [entry.offset for entry in ReadOnlyBlockstore(disks[name].data).index]
        assert len(offsets) == len(set(offsets))
    assert 150 < moment < 1999


# -- others at the file -------------------------------------------------------------------------------------------


def test_a_second_writer_in_this_process_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS)
    started = time.monotonic()
    with pytest.raises(LockedError) as caught:
        ReadWriteBlockstore.resume(path, ROOTS)
    assert time.monotonic() - started < 2
    assert caught.value.path == str(path)
    store.close()
    ReadWriteBlockstore.resume(path, ROOTS).close()


def test_a_second_writer_in_another_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    code = "from carv2.blockstore import ReadWriteBlockstore as S; S.resume('x.car').close()"
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    done = in_a_process(tmp_path, code)
    assert "LockedError: x.car is locked by another writer" in done.stderr
    store.put(*archives.FISH)
    store.flush()
    assert in_a_process(tmp_path, code).returncode == 1
    store.close()
    done = in_a_process(tmp_path, code)
    assert done.returncode == 0, done.stderr


def test_a_store_that_is_forgotten_lets_go_of_its_file(tmp_path: Path) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    store.put(*archives.FISH)
    del store
    gc.collect()
    ReadWriteBlockstore.resume(tmp_path / "x.car", ROOTS).close()


def test_readers_read_what_is_being_written_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS)
    for count in range(1, 5):
        store.put(*BLOCKS[count - 1])
        store.flush()
        store.put(*MANY[count])
        list(store)
        with ReadOnlyBlockstore(path) as reader:
            flushed = [cid for block, more in zip(BLOCKS, MANY[1:], strict=False) for cid in (block[0], more[0])]
            assert [bytes(cid) for cid in reader] == flushed[: 2 * count - 1]
    store.close()


FOREIGN_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in the last block": lambda data: data[: len(INDEXED[: 51 + len(PAYLOAD)]) - 3],
    "cut in the middle": lambda data: data[:150],
    "cut in the headers": lambda data: data[:30],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "shifted": lambda data: data[:120] + b"?" + data[120:],
    "data changed": lambda data: data.replace(b"lobster", b"lobstar").replace(b"fish", b"fist"),
    "another archive": lambda data: v2(v1([], BLOCKS[::-1]), archives.index_sorted(RECORDS)),
}


def look_at(store: ReadOnlyBlockstore | ReadWriteBlockstore) -> int:
    """Read everything in every way; wrong data never come out. How many errors there were."""
    errors = 0
    for cid, data in BLOCKS:
        for read in (store.__getitem__, lambda cid: next(iter(store.get_many([cid]))).data):
            try:
                assert read(cid) == data
            except (FormatError, IntegrityError, BlockNotFoundError, ChangedError):
                errors += 1
    for walk in (lambda: list(store), lambda: list(store.get_many([cid for cid, _ in BLOCKS]))):
        try:
            walk()
        except (FormatError, IntegrityError, BlockNotFoundError, ChangedError):
            errors += 1
    return errors


@pytest.mark.parametrize("name", FOREIGN_CHANGES)
@pytest.mark.parametrize("how", ["indexed", "generated", "read-write"])
def test_a_file_that_is_changed_while_it_is_open_is_an_error_and_nothing_worse(
    tmp_path: Path, name: str, how: str
) -> None:
    path = tmp_path / "x.car"
    path.write_bytes(INDEXED)
    store: ReadOnlyBlockstore | ReadWriteBlockstore
    if how == "read-write":
        store = ReadWriteBlockstore.resume(path, ROOTS)
    else:
        store = ReadOnlyBlockstore(path, rebuild_index=how == "generated")
    assert look_at(store) == 0
    with path.open("r+b") as file:  # in place: what is open stays open
        file.truncate()
        file.write(FOREIGN_CHANGES[name](INDEXED))
    assert look_at(store) > 0
    if isinstance(store, ReadWriteBlockstore):
        store.discard()
    store.close()


def test_a_truncated_file_is_a_truncated_error_and_an_exchanged_block_an_index_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    for make in (ReadWriteBlockstore.resume, ReadOnlyBlockstore):
        path.write_bytes(INDEXED)
        store: Any = make(path)
        os.truncate(path, 51 + len(PAYLOAD) - 4)
        with pytest.raises(TruncatedError):
            _ = store[archives.BARRELEYE[0]]
        fist = archives.cid_v1(b"fist"), b"fist"
        path.write_bytes(v2(v1(ROOTS, [fist, *BLOCKS[1:]]), archives.index_multihash_sorted(RECORDS)))
        with pytest.raises(IndexMismatchError) as caught:
            _ = store[archives.FISH[0]]
        assert bytes(caught.value.cid) == archives.FISH[0]
        getattr(store, "discard", store.close)()


# -- an index that lies -------------------------------------------------------------------------------------------


def lying(change: Callable[[list[Record]], list[Record]]) -> bytes:
    return v2(PAYLOAD, archives.index_multihash_sorted(change(list(RECORDS))))


def moved(by: int) -> Callable[[list[Record]], list[Record]]:
    return lambda records: [Record(code, digest, max(0, offset + by)) for code, digest, offset in records]


def rotated(records: list[Record]) -> list[Record]:
    offsets = [record.offset for record in records]
    return [
        Record(code, digest, offset)
        for (code, digest, _), offset in zip(records, [*offsets[1:], offsets[0]], strict=True)
    ]


LIES: dict[str, tuple[bytes, type[CarError]]] = {
    "each block is where the next one is": (lying(rotated), IndexMismatchError),
    "one byte early": (lying(moved(-1)), IndexMismatchError),
    "one byte late": (lying(moved(1)), IndexMismatchError),
    "in the header": (lying(moved(-100_000)), IndexMismatchError),
    "behind the payload": (lying(moved(len(PAYLOAD))), IndexMismatchError),
    "behind everything": (lying(moved(1 << 60)), IndexMismatchError),
    "at the end of numbers": (lying(moved((1 << 64) - 1 - 300)), IndexMismatchError),
    "nothing is listed": (lying(lambda _: [Record(0x12, bytes(32), 0)]), BlockNotFoundError),
    "another hash function": (
        lying(lambda records: [Record(0x16, digest, offset) for _, digest, offset in records]),
        BlockNotFoundError,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_an_index_that_lies_gives_an_error_and_never_another_block(tmp_path: Path, name: str) -> None:
    data, kind = LIES[name]
    store = ReadOnlyBlockstore(data)
    for cid, _ in BLOCKS:
        for read in (store.__getitem__, store.size_of, lambda cid: list(store.get_many([cid, cid]))):
            with pytest.raises(kind) as caught:
                read(cid)
            assert bytes(caught.value.cid) == cid  # type: ignore[attr-defined]
    with ReadOnlyBlockstore(data, rebuild_index=True) as rebuilt:
        assert [rebuilt[cid] for cid, _ in BLOCKS] == [held for _, held in BLOCKS]
    assert [bytes(cid) for cid in store] == [cid for cid, _ in BLOCKS]
    (tmp_path / "x.car").write_bytes(data)
    with ReadWriteBlockstore.resume(tmp_path / "x.car") as writable:  # a writer does not believe it either
        assert [writable[cid] for cid, _ in BLOCKS] == [held for _, held in BLOCKS]


def test_an_index_of_another_archive_is_no_index_of_this_one() -> None:
    builder = IndexBuilder()
    builder.add(archives.FISH[0], 31)
    builder.add(archives.LOBSTER[0], 5)
    store = ReadOnlyBlockstore(INDEXED, index=builder.to_index())
    for cid in (archives.FISH[0], archives.LOBSTER[0]):
        with pytest.raises(IndexMismatchError):
            _ = store[cid]


def test_a_detached_index_that_is_none_is_a_format_error(tmp_path: Path) -> None:
    for data in (b"", b"\x81", b"\x81\x08\x01", b"not an index at all, but long enough to be one"):
        (tmp_path / "x.carindex").write_bytes(data)
        with pytest.raises(FormatError):
            ReadOnlyBlockstore(INDEXED, index=tmp_path / "x.carindex")


# -- states -------------------------------------------------------------------------------------------------------


def test_a_closed_store_refuses_everything_but_closing(tmp_path: Path) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    store.put(*archives.FISH)
    walking = iter(store)
    next(walking)
    store.close()
    calls: list[Callable[[], object]] = [
        store.flush,
        store.finalize,
        lambda: store.put(*archives.FISH),
        lambda: store.put_many([archives.FISH]),
        lambda: list(store.blocks()),
        lambda: next(walking),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    store.close()
    store.discard()


def test_a_finalized_store_can_be_read_and_nothing_else(tmp_path: Path) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    store.put_many(BLOCKS)
    store.finalize()
    before = (tmp_path / "x.car").read_bytes()
    for call in (store.flush, store.finalize, lambda: store.put(*archives.FISH), lambda: store.put_many(MANY)):
        with pytest.raises(FinalizedError):
            call()
    assert [store[cid] for cid, _ in BLOCKS] == [data for _, data in BLOCKS]
    assert [tuple(block) for block in store.blocks()] == BLOCKS
    store.close()
    assert (tmp_path / "x.car").read_bytes() == before
    assert_valid(before)


def test_an_exception_in_the_with_block_leaves_a_file_to_go_on_with(tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    blocks = ((cid, data[: 1 // (4 - at) + 99]) for at, (cid, data) in enumerate([*BLOCKS, archives.FISH]))
    with pytest.raises(ZeroDivisionError), ReadWriteBlockstore.create(path, ROOTS) as store:
        store.put_many(blocks)
    assert carv2.verify(path).block_count == len(BLOCKS)
    with carv2.open(path) as car:
        assert car.index is None
    with ReadWriteBlockstore.resume(path, ROOTS) as store:
        assert len(store) == len(BLOCKS)
    with carv2.open(path) as car:
        assert car.index is not None


def test_wrong_options_are_value_errors_and_leave_no_file(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"version": 3},
        {"version": 0},
        {"data_padding": -1},
        {"index_padding": -1},
        {"index_codec": 0x0402},
        {"durability": "sometimes"},
        {"deduplicate": "data"},
    ]
    for options in wrong:
        with pytest.raises(ValueError):
            ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS, **options)
        assert os.listdir(tmp_path) == []


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    limits = Limits(header=200, section=1000, cid=60)
    with pytest.raises(LimitError):
        ReadWriteBlockstore.create(tmp_path / "x.car", [cid for cid, _ in MANY[:9]], limits=limits)
    assert os.listdir(tmp_path) == []
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS, limits=limits, store_identity=True) as store:
        for data in (bytes(965), bytes(5000)):
            with pytest.raises(LimitError):
                store.put(archives.cid_v1(data), data)
        assert store.put(archives.cid_v1(bytes(964)), bytes(964))  # 36 bytes of CID and these are 1000
        with pytest.raises(LimitError):
            store.put(archives.identity(bytes(80)), bytes(80))
        assert len(store) == 1
    with ReadWriteBlockstore.resume(tmp_path / "x.car", limits=limits) as store:
        assert len(store) == 1
    with ReadWriteBlockstore.create(tmp_path / "y.car", ROOTS) as store:
        data = bytes((8 << 20) - 36)
        assert store.put(archives.cid_v1(data), data)
        with pytest.raises(LimitError):
            store.put(archives.cid_v1(data + b"?"), data + b"?")
    with ReadOnlyBlockstore(tmp_path / "y.car") as reader:
        assert reader[archives.cid_v1(data)] == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_of_every_kind_of_buffer_are_written_as_bytes(tmp_path: Path, kind: Any) -> None:
    import array

    wide: Any = memoryview(array.array("I", range(10)))
    with ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS) as store:
        store.put(archives.FISH[0], kind(b"fish"))
        store.put(LARGE[0], kind(LARGE[1]))
        store.put(archives.cid_v1(bytes(wide)), wide)  # ten items, forty bytes
        for wrong in ("fish", 4, None):
            with pytest.raises(TypeError):
                store.put(archives.LOBSTER[0], wrong)  # type: ignore[arg-type]
        assert store[archives.cid_v1(bytes(wide))] == bytes(wide)
    assert_valid(tmp_path / "x.car")


# -- threads ------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["read-write", "spilling", "memory", "CARv1"])
def test_sixty_four_threads_read_and_write_at_once(tmp_path: Path, how: str) -> None:
    """Traps 53 and 61: has, put, get, iterate and flush from many threads, in bounded time."""
    store: Any
    if how == "memory":
        store = MemoryBlockstore()
    else:
        options: dict[str, Any] = {"spilling": {"max_memory": 30_000}, "CARv1": {"version": 1}}.get(how, {})
        store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS, durability="none", **options)
    start = threading.Barrier(64)
    stored: list[bytes] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        start.wait(60)
        for _ in range(60):
            cid, data = rng.choice(MANY)
            step = rng.random()
            if step < 0.5:
                if store.put(cid, data):
                    stored.append(cid)
                assert store[cid] == data
            elif step < 0.9:
                assert store.get(cid) in (None, data)
                assert isinstance(cid in store, bool)
            elif step < 0.92:
                seen = list(store)
                assert len(seen) == len(set(seen))
            elif step < 0.95:
                known = [cid for cid, _ in MANY if cid in store][:20]
                assert [block.data for block in store.get_many(known)] == [dict(MANY)[cid] for cid in known]
            elif how != "memory":
                store.flush()

    with ThreadPoolExecutor(64) as pool:
        for done in [pool.submit(work, seed) for seed in range(64)]:
            done.result(timeout=100)
    assert len(stored) == len(set(stored)) == len(store)
    assert sorted(bytes(cid) for cid in store) == sorted(stored)
    if how != "memory":
        store.finalize()
        store.close()
        assert_valid(tmp_path / "x.car")
        assert carv2.verify(tmp_path / "x.car").block_count == len(stored)


@pytest.mark.timeout(120)
def test_sixty_four_threads_share_a_store_that_is_closed_under_them(tmp_path: Path) -> None:
    (tmp_path / "x.car").write_bytes(v2(v1(ROOTS, MANY)))
    store = ReadOnlyBlockstore(tmp_path / "x.car")
    start = threading.Barrier(65)

    def work(seed: int) -> int:
        rng = random.Random(seed)
        start.wait(60)
        for count in range(100_000):
            cid, data = rng.choice(MANY)
            try:
                assert store[cid] == data
            except ClosedError:
                return count
        raise AssertionError("it was never closed")

    with ThreadPoolExecutor(64) as pool:
        running = [pool.submit(work, seed) for seed in range(64)]
        start.wait(60)
        time.sleep(0.2)
        store.close()
        assert sum(done.result(timeout=60) for done in running) > 0


def test_a_lock_that_cannot_be_let_go_of_is_let_go_of_by_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ReadWriteBlockstore.create(tmp_path / "x.car", ROOTS)
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_room)
        store.close()
    ReadWriteBlockstore.resume(tmp_path / "x.car", ROOTS).close()
