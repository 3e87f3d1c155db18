"""How the DAG store copes with many shards: moved in, opened, listed, acquired, looked up in, indexed.

    python benchmarks/dagstore.py [--quick] [--shards N] [--data DIR] [--workers N]

carv2 must be importable. A store is made in --data with that many shards that were only registered, as after a
migration, and 200 that are indexed, of 1,000 blocks each. Then come eight archives of 256 MiB, in blocks of 64 KiB
and of 1 KiB, that are indexed in bulk: one at a time, by threads, and by processes. With --quick, all of it is a
hundredth.

Each step is a process of its own, start-up left out, and says its peak memory. *Cold* is the first time in a
process; files are in the page cache, as they are right after they were written. Prints a line for each figure,
with what it should be where that was set, and all of it as JSON in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import carv2
from carv2.dagstore import (
    DagStore,
    DagStoreConfig,
    Deal,
    FileMount,
    FolderPieces,
    GlobalBlockstore,
    default_registry,
)
from carv2.dagstore.mounts.piece import PieceMounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

GOALS = {
    "migrate, all": 60.0,
    "open": 2.0,
    "list": 1.0,
    "acquire, cold, median": 2000.0,
    "acquire, warm, median": 2000.0,
    "look up a multihash, median": 50.0,
    "look up one that is not there, median": 50.0,
}
FIGURES = dict[str, float]()
FILES, BLOCKS = 200, 1000
ARCHIVES = 8


class Place(NamedTuple):
    folder: Path
    shards: int
    scale: int
    workers: int

    def store(self, name: str = "store", **options: Any) -> DagStore:
        registry = default_registry()
        registry.register("piece", PieceMounts(FolderPieces(str(self.folder))))
        config = DagStoreConfig(gc_interval=0, recover_on_start="no", max_concurrent_index=0)
        return DagStore(self.folder / name, mounts=registry, config=config, **options)


def say(name: str, value: float, unit: str) -> None:
    FIGURES[f"{name} [{unit}]"] = round(value, 3)
    goal = f"   (at most {GOALS[name]:,g})" if name in GOALS else ""
    print(f"{name:52} {value:14,.2f} {unit}{goal}", flush=True)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def microseconds(calls: Iterable[Callable[[], object]]) -> tuple[float, float]:
    """Median, and what one in a hundred is above."""
    taken = sorted(timed(call) * 1e6 for call in calls)
    return statistics.median(taken), taken[len(taken) * 99 // 100]


def memory(field: str) -> float:
    """MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def piece(number: int) -> str:
    return str(carv2.CID(bytes.fromhex("0181e203922020") + number.to_bytes(32, "big")))


def data_of(shard: int, number: int) -> bytes:
    return random.Random(f"{shard} {number}").randbytes(200 + number % 300)


def write_archive(path: Path, blocks: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(carv2.iter_car([], ((carv2.CID.of_data(data), data) for data in blocks)))


# -- steps ----------------------------------------------------------------------------------------------------


def migrate(place: Place) -> None:
    deals = (Deal(piece(number), "StorageDealActive", f"deal-{number}") for number in range(place.shards))
    with place.store() as store:
        say("migrate, all", timed(lambda: store.migrate(deals)), "s")


def open_store(place: Place) -> None:
    before, start = memory("VmRSS"), time.perf_counter()
    with place.store() as store:
        assert len(store) >= place.shards
        say("open", time.perf_counter() - start, "s")
        say("memory of an open store", memory("VmRSS") - before, "MiB")


def list_shards(place: Place) -> None:
    with place.store() as store:
        say("list", timed(lambda: sum(1 for _ in store.list())), "s")
        say("count them by state", timed(store.stat), "s")


def register_files(place: Place) -> None:
    files = max(2, FILES // place.scale)
    with place.store() as store:
        for shard in range(files):
            path = place.folder / f"small-{shard}.car"
            blocks = [data_of(shard, number) for number in range(BLOCKS)]
            write_archive(path, blocks)
            store.register(f"file-{shard:03}", FileMount(path))


def acquire(place: Place) -> None:
    with place.store() as store:
        keys = [info.key for info in store.list(prefix="file-")]
        for temperature in ("cold", "warm"):
            kept = keys if temperature == "cold" else keys[-32:] * 50
            median, most = microseconds((lambda key=key: store.acquire(key).close()) for key in kept)
            say(f"acquire, {temperature}, median", median, "us")
            say(f"acquire, {temperature}, 99 of 100", most, "us")


def look_up(place: Place) -> None:
    chosen = random.Random(1)
    files = max(2, FILES // place.scale)
    places = [(chosen.randrange(files), chosen.randrange(BLOCKS)) for _ in range(5000)]
    cids = [carv2.CID.of_data(data_of(*one)) for one in places]
    absent = [carv2.CID.of_data(chosen.randbytes(8)) for _ in range(5000)]
    with place.store() as store:
        for name, asked in (("look up a multihash", cids), ("look up one that is not there", absent)):
            median, most = microseconds((lambda cid=cid: store.shards_with(cid)) for cid in asked)
            say(f"{name}, median", median, "us")
            say(f"{name}, 99 of 100", most, "us")
        say("look up many, each", timed(lambda: store.shards_with_many(cids)) / len(cids) * 1e6, "us")
        with GlobalBlockstore(store, max_open=files) as blocks:
            for temperature in ("cold", "warm"):
                median, _ = microseconds((lambda cid=cid: blocks[cid]) for cid in cids)
                say(f"a block out of all shards, {temperature}, median", median, "us")
            seconds = timed(lambda: sum(1 for _ in blocks.get_many(cids)))
            say("blocks out of all shards, many at once, each", seconds / len(cids) * 1e6, "us")
            say(
                "a missing block, remembered", microseconds((lambda: absent[0] in blocks) for _ in absent)[0], "us"
            )


def make_archives(place: Place) -> Iterator[tuple[str, list[Path], int]]:
    for size in (64 << 10, 1 << 10):
        blocks = (256 << 20) // place.scale // size
        paths = [place.folder / f"large-{size}-{number}.car" for number in range(ARCHIVES)]
        for number, path in enumerate(paths):
            data = (b"%d %d " % (number, at) + bytes(size - 20) for at in range(blocks))
            write_archive(path, data)
        yield f"blocks of {size >> 10} KiB", paths, blocks * len(paths)


def index_many(place: Place) -> None:
    for name, paths, blocks in make_archives(place):
        size = sum(path.stat().st_size for path in paths)
        for how, executor, concurrency in (
            ("one at a time", None, 1),
            (f"{place.workers} threads", ThreadPoolExecutor(place.workers), place.workers),
            (f"{place.workers} processes", spawned(place.workers), place.workers),
        ):
            shutil.rmtree(place.folder / "bulk", ignore_errors=True)
            seconds = index_once(place, paths, executor, concurrency)
            say(f"index {name}, {how}", blocks / seconds, "blocks/s")
            say(f"index {name}, {how}", size / seconds / 1e6, "MB/s")
            if executor is not None:
                executor.shutdown()
        for path in paths:
            path.unlink()


def spawned(workers: int) -> ProcessPoolExecutor:
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    for _ in executor.map(time.sleep, [0.2] * workers):  # all of them are there
        pass
    return executor


def index_once(place: Place, paths: list[Path], executor: Executor | None, concurrency: int) -> float:
    with place.store("bulk", executor=executor) as store:
        store.register_many((path.stem, FileMount(path)) for path in paths)
        start = time.perf_counter()
        assert not [event for event in store.initialize_all(concurrency=concurrency) if event.error]
        return time.perf_counter() - start


STEPS = {
    step.__name__: step
    for step in (migrate, open_store, list_shards, register_files, acquire, look_up, index_many)
}


# -- all of them ----------------------------------------------------------------------------------------------


def run_step(name: str, place: Place) -> None:
    STEPS[name](place)
    if name != "register_files":
        say(f"peak memory, {name.replace('_', ' ')}", memory("VmHWM"), "MiB")
    print(json.dumps(FIGURES))


def run_all(arguments: list[str]) -> None:
    figures: dict[str, float] = {}
    for name in STEPS:
        process = subprocess.Popen(
            [sys.executable, __file__, "--step", name, *arguments], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="", flush=True)
            last = line
        if process.wait() != 0:
            raise SystemExit(f"{name} failed")
        figures |= json.loads(last)
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    scale = 100 if given.quick else 1
    if given.step:
        run_step(given.step, Place(given.data, given.shards // scale, scale, given.workers))
        return
    with tempfile.TemporaryDirectory(dir=given.data) as folder:
        passed = ["--quick"] if given.quick else []
        run_all([*passed, "--shards", str(given.shards), "--workers", str(given.workers), "--data", folder])


if __name__ == "__main__":
    main()
