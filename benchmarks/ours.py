"""carv2's operations, each run by itself in a fresh process: ``python benchmarks/ours.py OP FILE [OUT]``.

Prints one JSON object (see measure.py). The clock includes opening and closing files, and leaves out imports, the
sampling of keys and the reading of what is to be written. Nothing hashes or syncs that does not say so.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import random
from typing import TYPE_CHECKING, Any

import measure

import carv2
from carv2 import dag
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from measure import Run

WORKERS = 2
CHUNK_SIZE = 64 << 10
BATCH_BLOCKS, BATCH_BYTES = 4096, 8 << 20  # those of the Go program


def iterate(run: Run) -> None:
    _iterate(run, verify=False)


def iterate_verified(run: Run) -> None:
    _iterate(run, verify=True)


def iterate_verified_serial(run: Run) -> None:
    _iterate(run, verify=True, workers=1)


def _iterate(run: Run, *, verify: bool, workers: int | None = None) -> None:
    with run.timed(), carv2.open(run.path) as car:
        _take_all(run, car.blocks(verify=verify, workers=workers))


def _take_all(run: Run, blocks: Iterable[tuple[bytes, bytes]]) -> None:
    count = size = 0
    for _, data in blocks:
        count += 1
        size += len(data)
    run.found.blocks, run.found.bytes = count, size


def decode(run: Run) -> None:
    _decode(run, verify=False)


def decode_verified(run: Run) -> None:
    _decode(run, verify=True)


def _decode(run: Run, *, verify: bool) -> None:
    with run.timed():
        _take_all(run, carv2.iter_blocks(_chunks(run.path), verify=verify))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_SIZE):
            yield chunk


def inspect(run: Run) -> None:
    with run.timed():
        run.found.blocks = carv2.inspect(run.path).block_count


def inspect_full(run: Run) -> None:
    _inspect_full(run, workers=1)


def inspect_full_workers(run: Run) -> None:
    _inspect_full(run, workers=WORKERS)


def _inspect_full(run: Run, *, workers: int) -> None:
    with run.timed():
        run.found.blocks = carv2.inspect(run.path, full=True, workers=workers).block_count


def verify(run: Run) -> None:
    _verify(run, workers=1)


def verify_workers(run: Run) -> None:
    _verify(run, workers=WORKERS)


def _verify(run: Run, *, workers: int) -> None:
    with run.timed():
        report = carv2.verify(run.path, workers=workers)
    if not report.ok:
        raise SystemExit(report.problems[0].message)
    run.found.blocks = report.verified_count


def index(run: Run) -> None:
    with run.timed(), run.needed_out().open("wb") as file:
        builder = carv2.build_index(run.path)
        run.found.blocks = len(builder)
        for chunk in builder.chunks():
            file.write(chunk)


def wrap(run: Run) -> None:
    _convert(run, carv2.wrap, sync=False)


def wrap_durably(run: Run) -> None:
    _convert(run, carv2.wrap, sync=True)


def unwrap(run: Run) -> None:
    _convert(run, carv2.unwrap, sync=False)


def unwrap_durably(run: Run) -> None:
    _convert(run, carv2.unwrap, sync=True)


def _convert(run: Run, convert: Callable[..., object], *, sync: bool) -> None:
    with run.timed():
        convert(run.path, run.needed_out(), sync=sync)


def open_and_get(run: Run) -> None:
    """Open an archive with an index and get one block: what a short-lived program waits for."""
    _open_and_get(run, memory_map=False)


def open_mapped(run: Run) -> None:
    _open_and_get(run, memory_map=True)


def _open_and_get(run: Run, *, memory_map: bool) -> None:
    with carv2.open(run.path) as car:
        key = next(
            iter(car)
        ).cid  # with its data, as the Go program reads it: so each was given memory for it before
    with run.timed(), carv2.open(run.path, memory_map=memory_map) as car:
        run.found.bytes = len(car.get(key, verify=False))
    run.found.blocks = 1


def get(run: Run) -> None:
    _get(run, verify=False)


def get_verified(run: Run) -> None:
    _get(run, verify=True)


def get_again(run: Run) -> None:
    """Blocks that were got right before: the disk has no part in it, however large the file."""
    _get(run, verify=True, again=True)


def get_mapped(run: Run) -> None:
    _get(run, verify=False, memory_map=True)


def get_mapped_verified(run: Run) -> None:
    _get(run, verify=True, memory_map=True)


def _get(run: Run, *, verify: bool, memory_map: bool = False, again: bool = False) -> None:
    keys = _sampled_keys(run.path, run.count)
    measure.warm(run.path)  # a machine may have let go of what was not looked at meanwhile
    run.mark()
    with ReadOnlyBlockstore(run.path, verify=verify, memory_map=memory_map) as store:
        size = sum(len(store[key]) for key in keys) if again else 0
        with run.timed():
            for key in keys:
                size += len(store[key])
    run.found.blocks, run.found.bytes = len(keys), size


def get_many(run: Run) -> None:
    _get_many(run, verify=False)


def get_many_verified(run: Run) -> None:
    _get_many(run, verify=True)


def _get_many(run: Run, *, verify: bool) -> None:
    keys = _sampled_keys(run.path, run.count)
    measure.warm(run.path)  # a machine may have let go of what was not looked at meanwhile
    run.mark()
    with ReadOnlyBlockstore(run.path, verify=verify) as store, run.timed():
        run.found.bytes = sum(len(data) for _, data in store.get_many(keys))
    run.found.blocks = len(keys)


def _sampled_keys(path: Path, count: int) -> list[carv2.CID]:
    """``count`` CIDs of the archive, any of which may come several times, in random order."""
    chosen = random.Random(1)
    sample: list[carv2.CID] = []
    with carv2.open(path) as car:
        for seen, section in enumerate(car.sections()):
            if seen < count:
                sample.append(section.cid)
            elif (place := chosen.randrange(seen + 1)) < count:
                sample[place] = section.cid
    return chosen.choices(sample, k=count)


def write_v1(run: Run) -> None:
    _write(run, version=1, verify=False)


def write_v1_verified(run: Run) -> None:
    _write(run, version=1, verify=True)


def write_v2(run: Run) -> None:
    _write(run, version=2, verify=False)


def write_v2_verified(run: Run) -> None:
    _write(run, version=2, verify=True)


def _write(run: Run, *, version: int, verify: bool) -> None:
    def create(roots: Sequence[carv2.CID]) -> carv2.CarWriter:
        file = outer.enter_context(run.needed_out().open("wb"))
        return carv2.CarWriter(file, roots, version=version, verify=verify)

    with contextlib.ExitStack() as outer:
        _fill(run, create, "write_all")


def put(run: Run) -> None:
    _put(run, verify=False, durability="none")


def put_durably(run: Run) -> None:
    _put(run, verify=True, durability="flush")


def _put(run: Run, **settings: Any) -> None:
    """Into a store that looks for duplicates, up to the finalized file."""
    out = run.needed_out()
    out.unlink(missing_ok=True)
    _fill(run, lambda roots: ReadWriteBlockstore.create(out, roots, **settings), "put_many")


def _fill(run: Run, create: Callable[[Sequence[carv2.CID]], Any], method: str) -> None:
    """Write the archive's blocks, which are read in batches while the clock stands still."""
    with carv2.open(run.path) as car, contextlib.ExitStack() as stack:
        blocks = itertools.islice(car.blocks(verify=False), None if run.count < 0 else run.count)
        roots, size = car.roots, 0
        run.mark()
        with run.clocked():
            put_all = getattr(stack.enter_context(create(roots)), method)
        while batch := _batch(blocks):
            with run.clocked():
                put_all(batch)
            run.found.blocks += len(batch)
            size += sum(len(data) for _, data in batch)
            batch.clear()  # or two of them would share the processor's cache
        with run.clocked():
            stack.close()  # which finishes what is written
    run.found.bytes = size
    run.note_peak()


def _batch(blocks: Iterator[carv2.Block]) -> list[tuple[carv2.CID, bytes]]:
    batch, size = list[tuple[carv2.CID, bytes]](), 0
    for block in blocks:
        batch.append((block.cid, block.data))
        size += len(block.data)
        if len(batch) >= BATCH_BLOCKS or size >= BATCH_BYTES:
            break
    return batch


def resume(run: Run) -> None:
    """Until blocks can be put into the archive at OUT again."""
    with run.timed():
        store = ReadWriteBlockstore.resume(run.needed_out(), durability="none")
    run.found.blocks = len(store)
    store.discard()


def walk(run: Run) -> None:
    _walk(run, verify=False)


def walk_verified(run: Run) -> None:
    _walk(run, verify=True)


def walk_mapped(run: Run) -> None:
    _walk(run, verify=False, memory_map=True)


def walk_mapped_verified(run: Run) -> None:
    _walk(run, verify=True, memory_map=True)


def _walk(run: Run, *, verify: bool, memory_map: bool = False) -> None:
    with run.timed(), ReadOnlyBlockstore(run.path, verify=verify, memory_map=memory_map) as store:
        run.found.blocks = sum(1 for _ in dag.walk(store, store.roots))


def verify_deep(run: Run) -> None:
    """Hashes, index, and that all is there that the roots lead to."""
    with run.timed():
        report, complete = dag.verify_deep(run.path)
    if not (report.ok and complete and complete.complete):
        raise SystemExit("the archive is not complete")
    run.found.blocks = complete.block_count


def get_dag(run: Run) -> None:
    with run.timed(), run.needed_out().open("w+b") as file:
        run.found.blocks = dag.export(run.path, file).block_count


OPERATIONS: dict[str, Callable[[Run], None]] = {
    "iterate": iterate,
    "iterate-verified": iterate_verified,
    "iterate-verified-serial": iterate_verified_serial,
    "decode": decode,
    "decode-verified": decode_verified,
    "inspect": inspect,
    "inspect-full": inspect_full,
    "inspect-full-workers": inspect_full_workers,
    "verify": verify,
    "verify-workers": verify_workers,
    "index": index,
    "wrap": wrap,
    "wrap-durably": wrap_durably,
    "unwrap": unwrap,
    "unwrap-durably": unwrap_durably,
    "open": open_and_get,
    "open-mapped": open_mapped,
    "get": get,
    "get-verified": get_verified,
    "get-again": get_again,
    "get-mapped": get_mapped,
    "get-mapped-verified": get_mapped_verified,
    "get-many": get_many,
    "get-many-verified": get_many_verified,
    "walk": walk,
    "walk-verified": walk_verified,
    "walk-mapped": walk_mapped,
    "walk-mapped-verified": walk_mapped_verified,
    "verify-deep": verify_deep,
    "get-dag": get_dag,
    "put": put,
    "put-durably": put_durably,
    "resume": resume,
    "write-v1": write_v1,
    "write-v1-verified": write_v1_verified,
    "write-v2": write_v2,
    "write-v2-verified": write_v2_verified,
}


_USED = ("CarWriter", "build_index", "inspect", "iter_blocks", "open", "unwrap", "verify", "wrap")


def load() -> None:
    """Import what stands behind carv2's names, which come in when they are first used."""
    importlib.import_module("mmap")
    for name in _USED:
        getattr(carv2, name)


if __name__ == "__main__":
    measure.main(OPERATIONS, load)
