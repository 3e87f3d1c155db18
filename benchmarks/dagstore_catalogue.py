"""How the DAG store's catalogue grows.

    python benchmarks/dagstore_catalogue.py [--where PATH|URL] [--shards N] [--multihashes N] [--per-shard N]

Shards are registered and listed; then random multihashes go into the inverted index, shard after shard, each in
the order of its index; then some are looked up, one at a time, many at once, and while another process writes;
then one shard is removed, with its multihashes at hand and without. Prints a line for each as soon as it is
known, and all of it as JSON in the end. Without --where, a SQLite file in a temporary folder. A PostgreSQL
database should be empty.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from carv2.dagstore.catalogue import open_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from carv2.dagstore.catalogue.sql import SqlCatalogue

LOOKED_UP = 20_000
PREFIX = bytes.fromhex("1220")
FIGURES = dict[str, float]()


def say(name: str, value: float, unit: str) -> None:
    FIGURES[f"{name} [{unit}]"] = round(value, 3)
    print(f"{name:52} {value:14,.2f} {unit}", flush=True)


def timed(name: str, call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    say(name, seconds, "s")
    return seconds


def key(at: int) -> str:
    return f"baga6ea4seaq{at:052}"


def multihashes(at: int, count: int) -> list[bytes]:
    """Those of the shard, sorted; the same each time."""
    digests = random.Random(f"shard {at}").randbytes(32 * count)
    return sorted(PREFIX + digests[32 * one : 32 * one + 32] for one in range(count))


def register(where: str, shards: int) -> SqlCatalogue:
    catalogue = open_catalogue(where)
    pairs = ((key(at), f"piece://{key(at)}") for at in range(shards))
    timed(f"register {shards:,} shards", lambda: catalogue.add_many(pairs))
    catalogue.close()
    start = time.perf_counter()
    catalogue = open_catalogue(where)
    assert len(catalogue) == shards
    say("open and count them", time.perf_counter() - start, "s")
    timed("list them", lambda: sum(1 for _ in catalogue.rows()))
    timed("count them by state", catalogue.counts)
    return catalogue


def fill(catalogue: SqlCatalogue, shards: int, per_shard: int) -> None:
    spent, report = 0.0, max(1, shards // 20)
    for group in range(0, shards, report):
        in_group = 0.0
        numbers = range(group, min(group + report, shards))
        for at in numbers:
            given = multihashes(at, per_shard)
            start = time.perf_counter()
            catalogue.add_multihashes(key(at), given)
            in_group += time.perf_counter() - start
        spent += in_group
        say(f"add, up to {(numbers[-1] + 1) * per_shard:,}", len(numbers) * per_shard / in_group, "1/s")
    say("add, all of them", shards * per_shard / spent, "1/s")


def size_of(catalogue: SqlCatalogue, where: str) -> int:
    if "://" not in where:
        return os.stat(where).st_size
    return int(catalogue._database.query("SELECT pg_total_relation_size('blocks')")[0][0])


def median_of(catalogue: SqlCatalogue, asked: Iterable[bytes], expected: int) -> float:
    """Microseconds."""
    spent: list[float] = []
    for one in asked:
        start = time.perf_counter()
        found = catalogue.shards_with(one)
        spent.append(time.perf_counter() - start)
        assert len(found) == expected
    return statistics.median(spent) * 1e6


def look_up(catalogue: SqlCatalogue, where: str, shards: int, per_shard: int) -> None:
    chosen = random.Random(0)
    some = [chosen.choice(multihashes(chosen.randrange(shards), per_shard)) for _ in range(100)]
    shard = multihashes(chosen.randrange(shards), per_shard)
    some = list({*some, *chosen.sample(shard, min(len(shard), LOOKED_UP))})
    chosen.shuffle(some)
    absent = [PREFIX + chosen.randbytes(32) for _ in range(LOOKED_UP)]
    say("look up one, first time, median", median_of(catalogue, some, 1), "us")
    say("look up one, again, median", median_of(catalogue, some, 1), "us")
    say("look up one that is not there, median", median_of(catalogue, absent, 0), "us")
    start = time.perf_counter()
    assert len(catalogue.shards_with_many([*some, *absent])) == len(some)
    say("look up many, each", (time.perf_counter() - start) / (len(some) + len(absent)) * 1e6, "us")
    writer = subprocess.Popen([sys.executable, __file__, "--where", where, "--write", str(shards)])
    time.sleep(0.5)
    say("look up one while another process writes, median", median_of(catalogue, some, 1), "us")
    writer.terminate()
    writer.wait()


def write(where: str, at: int) -> None:
    """Add to a shard without end."""
    catalogue = open_catalogue(where)
    for turn in itertools.count():
        catalogue.add_multihashes(key(at), multihashes(-1 - turn, 100_000))


def remove(catalogue: SqlCatalogue, shards: int, per_shard: int) -> None:
    known = multihashes(0, per_shard)
    timed(f"remove a shard of {per_shard:,}, multihashes known", lambda: catalogue.remove(key(0), known))
    if shards > 1:
        timed(f"remove a shard of {per_shard:,}, unknown", lambda: catalogue.remove(key(1), None))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--where", default="")
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--multihashes", type=int, default=5_000_000)
    parser.add_argument("--per-shard", type=int, default=500_000)
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        write(given.where, given.write)
    with tempfile.TemporaryDirectory() as folder:
        where = given.where or f"{folder}/catalogue.db"
        filled = max(1, given.multihashes // given.per_shard)
        catalogue = register(where, max(given.shards, filled + 1))
        before = size_of(catalogue, where)
        fill(catalogue, filled, given.per_shard)
        catalogue.close()
        catalogue = open_catalogue(where)
        say("a multihash takes", (size_of(catalogue, where) - before) / (filled * given.per_shard), "bytes")
        look_up(catalogue, where, filled, given.per_shard)
        remove(catalogue, filled, given.per_shard)
        catalogue.close()
    print(json.dumps(FIGURES))


if __name__ == "__main__":
    main()
