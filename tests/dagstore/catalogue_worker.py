"""What other processes do to a catalogue while the tests look on: ``python catalogue_worker.py JOB WHERE …``."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from carv2.dagstore.catalogue import Catalogue, DurableState, IndexFacts, open_catalogue

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = IndexFacts(size=1, digest=bytes(32), codec=0x0401, block_count=1)


def multihashes(key: str, count: int) -> list[bytes]:
    """The same for each who asks."""
    return [b"\x12\x20" + hashlib.sha256(f"{key} {at}".encode()).digest() for at in range(count)]


def index(catalogue: Catalogue, folder: str, go: str) -> None:
    """Index every shard that nobody else does, and be found out where two do."""
    holder = f"worker {os.getpid()}"
    while not Path(go).exists():
        time.sleep(0.001)
    while new := [row.key for row in catalogue.rows(state=DurableState.NEW)]:
        for key in new:
            if not catalogue.try_lease(key, holder, 30):
                continue
            if catalogue.find(key).state is DurableState.NEW:
                alone = Path(folder, key)
                alone.touch(exist_ok=False)
                catalogue.add_multihashes(key, multihashes(key, 50))
                catalogue.set_available(
                    key, index=FACTS, source_size=None, source_tag="", inverted=True, holder=holder
                )
                alone.unlink()
                print(key, flush=True)
            catalogue.release_lease(key, holder)


def hold(catalogue: Catalogue, key: str, seconds: str) -> None:
    """Take a lease and do nothing."""
    print(catalogue.try_lease(key, "the dead", float(seconds)), flush=True)
    time.sleep(600)


def change(catalogue: Catalogue, count: str) -> None:
    """Add, fill and remove shards without end, in small chunks; say what is done."""
    turn = 0
    while True:
        turn += 1
        keys = [f"turn {turn} shard {at}" for at in range(3)]
        catalogue.add_many((key, "file:///x") for key in keys)
        for key in keys:
            catalogue.add_multihashes(key, multihashes(key, int(count)))
            catalogue.set_available(key, index=FACTS, source_size=None, source_tag="", inverted=True)
            print("filled", key, flush=True)
        catalogue.remove(keys[1], multihashes(keys[1], int(count)))
        print("removed", keys[1], flush=True)
        catalogue.remove(keys[2], None)
        print("removed", keys[2], flush=True)


def main() -> None:
    job, where, *arguments = sys.argv[1:]
    jobs: dict[str, Callable[..., None]] = {"index": index, "hold": hold, "change": change}
    catalogue = open_catalogue(where)
    if job == "change":
        catalogue._database.chunk = 300  # so that there are many moments between two chunks
    jobs[job](catalogue, *arguments)
    catalogue.close()


if __name__ == "__main__":
    main()
