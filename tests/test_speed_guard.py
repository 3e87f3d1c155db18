"""What a block costs, in figures that are the same on every run: bytecodes, system calls, bytes, modules.

They say nothing about seconds (benchmarks/ does). They see a loop that grew twice as long, reads of one block at a
time, an import of half the library. Each bound is about 1.5 times what was found, which stands beside it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import gc
import hashlib
import itertools
import os
import pathlib
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

import carv2
from carv2 import dag, unixfs
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.index import IndexBuilder
from carv2.operations.concat import concat
from carv2.operations.filter import filter_blocks

FEW, MANY = 1_000, 3_000
"""What lies between the two is the blocks' alone: whatever is done once falls out."""


def opcodes_of(work) -> int:
    """How many bytecodes ``work`` executes in Python functions, all of it in this thread."""
    gc.collect()
    gc.disable()  # no finalizer of somebody else's runs meanwhile
    try:
        return (monitored if sys.version_info >= (3, 12) else traced)(work)
    finally:
        gc.enable()


def traced(work) -> int:
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def monitored(work) -> int:
    """The same where tracing misses what runs in a function that is running already."""
    monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  (Python 3.10 has none)
    tool, event, count = 4, monitoring.events.INSTRUCTION, 0

    def executed(code, offset):
        nonlocal count
        count += 1

    monitoring.use_tool_id(tool, "bytecodes")
    try:
        monitoring.register_callback(tool, event, executed)
        monitoring.set_events(tool, event)
        work()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    return count


def blocks_of(count: int) -> list[tuple[carv2.CID, bytes]]:
    made = [number.to_bytes(4, "big") * 30 for number in range(count)]
    return [(carv2.CID.of_data(data), data) for data in made]


class Made:
    """An archive of so many blocks, in both versions."""

    def __init__(self, folder: pathlib.Path, count: int) -> None:
        self.count, self.blocks = count, blocks_of(count)
        self.keys = [cid for cid, _ in self.blocks]
        self.v1, self.v2, self.folder = folder / f"{count}.car", folder / f"{count}.v2.car", folder
        for version, path in ((1, self.v1), (2, self.v2)):
            with carv2.create(path, self.keys[:1], version=version) as writer:
                writer.write_all(self.blocks)

    def new(self) -> pathlib.Path:
        path = self.folder / "new.car"
        path.unlink(missing_ok=True)
        return path


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guard")
    return Made(folder, FEW), Made(folder, MANY)


def iterate(made: Made) -> None:
    with carv2.open(made.v1) as car:
        collections.deque(car.blocks(verify=False), maxlen=0)


def iterate_verified(made: Made) -> None:
    with carv2.open(made.v1) as car:
        collections.deque(car.blocks(verify=True), maxlen=0)


def locate(made: Made) -> None:
    with carv2.open(made.v1) as car:
        collections.deque(car.sections(), maxlen=0)


def inspect_full(made: Made) -> None:
    assert carv2.inspect(made.v1, full=True).block_count == made.count


def verify(made: Made) -> None:
    assert carv2.verify(made.v2).ok


def index(made: Made) -> None:
    assert sum(map(len, carv2.build_index(made.v1).chunks())) > 40 * made.count


def wrap(made: Made) -> None:
    carv2.wrap(made.v1, made.new(), sync=False)


def get(made: Made) -> None:
    with ReadOnlyBlockstore(made.v2) as store:
        for key in made.keys:
            store[key]


def get_mapped(made: Made) -> None:
    with ReadOnlyBlockstore(made.v2, memory_map=True) as store:
        for key in made.keys:
            store[key]


def get_many(made: Made) -> None:
    with ReadOnlyBlockstore(made.v2) as store:
        collections.deque(store.get_many(made.keys), maxlen=0)


def put(made: Made) -> None:
    with ReadWriteBlockstore.create(made.new(), made.keys[:1]) as store:
        for key, data in made.blocks:
            store.put(key, data)


def put_many(made: Made) -> None:
    with ReadWriteBlockstore.create(made.new(), made.keys[:1]) as store:
        store.put_many(made.blocks)


def write(made: Made) -> None:
    with carv2.create(made.new(), made.keys[:1], sync=False) as writer:
        for key, data in made.blocks:
            writer.write(key, data)


def write_all(made: Made) -> None:
    with carv2.create(made.new(), made.keys[:1], sync=False) as writer:
        writer.write_all(made.blocks)


def resume(made: Made) -> None:
    path = made.new()
    path.write_bytes(made.v2.read_bytes())
    ReadWriteBlockstore.resume(path).close()


BYTECODES = {  # beside each bound the most that Python 3.10 to 3.13 were found to need
    iterate: 85,  # 55
    iterate_verified: 95,  # 69; 97 if each hash were compared by itself
    locate: 165,  # 109
    inspect_full: 105,  # 69
    verify: 165,  # 109
    index: 125,  # 83
    wrap: 125,  # 83
    get: 375,  # 249
    get_mapped: 400,  # 267
    get_many: 565,  # 377
    put: 475,  # 317
    put_many: 445,  # 297
    write: 440,  # 294
    write_all: 440,  # 294
    resume: 320,  # 211
}


@pytest.mark.parametrize("work", BYTECODES, ids=lambda work: work.__name__)
def test_bytecodes_of_a_block(work, few_and_many):
    few, many = few_and_many
    work(few)  # whatever is imported or kept the first time
    each = (opcodes_of(lambda: work(many)) - opcodes_of(lambda: work(few))) / (MANY - FEW)
    assert 20 < each < BYTECODES[work]


CALLS = ("pread", "pwrite", "fsync")
"""By which carv2 reads, puts and syncs."""


def calls_of(work, monkeypatch) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()

    def counted(name: str) -> Any:
        call = getattr(os, name)

        def instead(*arguments):
            found[name] += 1
            return call(*arguments)

        return instead

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name))
        work()
    return found


PIECE = 64 << 10


@pytest.mark.parametrize("work", [iterate, iterate_verified, locate, inspect_full, index, wrap, verify])
def test_an_archive_is_read_in_large_pieces(work, few_and_many, monkeypatch):
    _, many = few_and_many
    found = calls_of(lambda: work(many), monkeypatch)
    path, more = (many.v2, 12) if work is verify else (many.v1, 4)  # an index has buckets
    assert found["pread"] < more + 1.5 * path.stat().st_size / PIECE  # 17 for verify, else at most 10


def test_a_get_reads_the_index_once_and_the_block_once(few_and_many, monkeypatch):
    few, many = few_and_many
    found = [calls_of(lambda made=made: get(made), monkeypatch)["pread"] for made in (few, many)]
    assert (found[1] - found[0]) / (MANY - FEW) < 2.5  # 2.01


def test_many_gets_at_a_time_read_what_lies_together_at_once(few_and_many, monkeypatch):
    _, many = few_and_many
    assert calls_of(lambda: get_many(many), monkeypatch)["pread"] < 0.75 * MANY  # 0.39


def test_a_mapped_file_is_not_read(few_and_many, monkeypatch):
    _, many = few_and_many
    assert calls_of(lambda: get_mapped(many), monkeypatch)["pread"] < 10  # none


@pytest.mark.parametrize("work", [put, put_many])
def test_blocks_are_put_in_large_pieces_and_synced_in_the_end(work, few_and_many, monkeypatch):
    _, many = few_and_many
    found = calls_of(lambda: work(many), monkeypatch)
    assert found["pwrite"] < 20  # 11
    assert found["fsync"] < 10  # 6


def test_what_is_not_to_be_synced_is_not(few_and_many, monkeypatch):
    few, _ = few_and_many
    assert calls_of(lambda: wrap(few), monkeypatch)["fsync"] == 0
    assert calls_of(lambda: write(few), monkeypatch)["fsync"] == 0


def test_memory_of_an_index_that_grows():
    entries = 20_000
    prefix = bytes([1, 0x55, 0x12, 32])
    sections = [
        (prefix + hashlib.sha256(number.to_bytes(4, "big")).digest(), number * 158, (number + 1) * 158)
        for number in range(entries)
    ]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        builder = IndexBuilder()
        builder.add_sections(sections, 0, 0)
        collections.deque(builder.chunks(), maxlen=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (peak - before) / entries < 65  # 44, of which 40 are the entry itself


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(carv2.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_modules_that_importing_brings_in():
    more = modules_after("import carv2") - modules_after("pass")
    assert len(more) < 10  # 2


def test_modules_that_the_command_line_brings_in_to_say_its_version():
    main = "from carv2.cli.main import main; main(['--version'])"
    more = modules_after(f"import contextlib\nwith contextlib.suppress(SystemExit):\n {main}")
    more -= modules_after("pass")
    assert len({name for name in more if name.startswith("carv2")}) < 12  # 7
    assert len(more) < 65  # 41


LEAVES = 20_000
SMALL_LEAVES = dataclasses.replace(unixfs.PROFILES["unixfs-v1-2025"], chunk_size=16)


@pytest.fixture(scope="module")
def many_leaves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaves")
    (folder / "leaves").write_bytes(b"".join(at.to_bytes(16, "big") for at in range(LEAVES)))
    unixfs.pack(folder / "leaves", folder / "leaves.car", profile=SMALL_LEAVES, wrap=False)
    return folder / "leaves.car"


def large_and_collected() -> set[int]:
    """The sets and dicts that the garbage collector goes through, each time that it goes at all."""
    return {id(one) for one in gc.get_objects() if isinstance(one, (set, dict)) and len(one) > LEAVES // 2}


def walk(order, path, look):
    with ReadOnlyBlockstore(path) as store:
        for count, _ in enumerate(dag.walk(store, store.roots[0], order=order)):
            if count in {LEAVES * 2 // 3, LEAVES}:
                look(count)


MET: dict[str, Any] = {
    "pack": lambda path, look: unixfs.pack(
        path.with_suffix(""), path.with_name("again.car"), profile=SMALL_LEAVES, wrap=False, on_progress=look
    ),
    "concat": lambda path, look: concat([path], path.with_name("again.car"), deduplicate=True, on_progress=look),
    "filter": lambda path, look: filter_blocks(
        path, path.with_name("again.car"), [], inverse=True, on_progress=look
    ),
    "walk": functools.partial(walk, "dfs"),
    "walk breadth-first": functools.partial(walk, "bfs"),
}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python goes through every dict")
@pytest.mark.parametrize("work", MET)
def test_the_garbage_collector_does_not_go_through_what_was_met(work: str, many_leaves: pathlib.Path) -> None:
    """Else each of its rounds takes longer the more blocks there were, and all of them the square of it."""
    before, found, calls = large_and_collected(), [], itertools.count(1)

    def look(_):
        if (call := next(calls)) < 32 or call & call - 1 == 0:  # it takes long
            found.append(large_and_collected() - before)

    MET[work](many_leaves, look)
    assert found
    assert not any(found)
