"""carv2's operations, each run by itself in a fresh process: ``python benchmarks/ours.py OP FILE [OUT]``.

Prints one JSON object (see measure.py). The clock includes opening and closing files, and leaves out imports, the
sampling of keys and the loading of what is to be written.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import measure

import carv2
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from measure import Run

WORKERS = 2
CHUNK_SIZE = 64 << 10


def iterate(run: Run) -> None:
    _iterate(run, verify=False)


def iterate_verified(run: Run) -> None:
    _iterate(run, verify=True)


def iterate_verified_workers(run: Run) -> None:
    _iterate(run, verify=True, workers=WORKERS)


def _iterate(run: Run, *, verify: bool, workers: int = 1) -> None:
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
    with run.timed():
        carv2.wrap(run.path, run.needed_out())


def unwrap(run: Run) -> None:
    with run.timed():
        carv2.unwrap(run.path, run.needed_out())


def open_and_get(run: Run) -> None:
    """Open an archive with an index and get one block: what a short-lived program waits for."""
    with carv2.open(run.path) as car:
        key = next(car.sections()).cid
    with run.timed(), carv2.open(run.path) as car:
        run.found.bytes = len(car.get(key))
    run.found.blocks = 1


def get(run: Run) -> None:
    _get(run, memory_map=False)


def get_mapped(run: Run) -> None:
    _get(run, memory_map=True)


def _get(run: Run, *, memory_map: bool) -> None:
    keys = _sampled_keys(run.path, run.count)
    size = 0
    with ReadOnlyBlockstore(run.path, memory_map=memory_map) as store, run.timed():
        for key in keys:
            size += len(store[key])
    run.found.blocks, run.found.bytes = len(keys), size


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
    _write(run, version=1, verify=True)


def write_v1_unverified(run: Run) -> None:
    _write(run, version=1, verify=False)


def write_v2(run: Run) -> None:
    _write(run, version=2, verify=True)


def write_v2_unverified(run: Run) -> None:
    _write(run, version=2, verify=False)


def _write(run: Run, *, version: int, verify: bool) -> None:
    with carv2.open(run.path) as car:
        roots, blocks = car.roots, list(itertools.islice(car.blocks(verify=False), run.count))
    with (
        run.timed(),
        run.needed_out().open("wb") as file,
        carv2.CarWriter(file, roots, version=version, verify=verify) as writer,
    ):
        for cid, data in blocks:
            writer.write(cid, data)
    run.found.blocks, run.found.bytes = len(blocks), sum(len(data) for _, data in blocks)


def put(run: Run) -> None:
    _put(run, verify=True)


def put_unverified(run: Run) -> None:
    _put(run, verify=False)


def _put(run: Run, *, verify: bool) -> None:
    """Into a store that looks for duplicates, up to the finalized file."""
    with carv2.open(run.path) as car:
        roots = car.roots
        blocks = [(block.cid, block.data) for block in itertools.islice(car.blocks(verify=False), run.count)]
    out = run.needed_out()
    out.unlink(missing_ok=True)
    with run.timed(), ReadWriteBlockstore.create(out, roots, verify=verify) as store:
        for cid, data in blocks:
            store.put(cid, data)
    run.found.blocks, run.found.bytes = len(blocks), sum(len(data) for _, data in blocks)


def get_many(run: Run) -> None:
    keys = _sampled_keys(run.path, run.count)
    with ReadOnlyBlockstore(run.path) as store, run.timed():
        run.found.bytes = sum(len(data) for _, data in store.get_many(keys))
    run.found.blocks = len(keys)


def resume(run: Run) -> None:
    """Until blocks can be put into the archive at OUT again."""
    with run.timed():
        store = ReadWriteBlockstore.resume(run.needed_out())
    run.found.blocks = len(store)
    store.discard()


OPERATIONS: dict[str, Callable[[Run], None]] = {
    "iterate": iterate,
    "iterate-verified": iterate_verified,
    "iterate-verified-workers": iterate_verified_workers,
    "decode": decode,
    "decode-verified": decode_verified,
    "inspect": inspect,
    "inspect-full": inspect_full,
    "inspect-full-workers": inspect_full_workers,
    "verify": verify,
    "verify-workers": verify_workers,
    "index": index,
    "wrap": wrap,
    "unwrap": unwrap,
    "open": open_and_get,
    "get": get,
    "get-mapped": get_mapped,
    "get-many": get_many,
    "put": put,
    "put-unverified": put_unverified,
    "resume": resume,
    "write-v1": write_v1,
    "write-v1-unverified": write_v1_unverified,
    "write-v2": write_v2,
    "write-v2-unverified": write_v2_unverified,
}


_USED = ("CarWriter", "build_index", "inspect", "iter_blocks", "open", "unwrap", "verify", "wrap")


def load() -> None:
    """Import what stands behind carv2's names, which come in when they are first used."""
    for name in _USED:
        getattr(carv2, name)


if __name__ == "__main__":
    measure.main(OPERATIONS, load)
