"""A process that puts blocks until it is killed, and says after each flush how many it knows to be safe.

Block number n is always the same (:func:`block`), so whoever reads the file can tell what should be there.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from typing import Any

from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID

ROOTS = [CID.of_data(b"root")]


def block(number: int) -> tuple[CID, bytes]:
    """From 8 bytes to 40 KiB, mostly small."""
    seed = hashlib.sha256(number.to_bytes(8, "little")).digest()
    size = 8 + int.from_bytes(seed[:2], "little") % (40_000 if seed[2] < 8 else 400)
    data = (seed * (size // 32 + 1))[:size]
    return CID.of_data(data), data


def main(path: str, first: int, seed: int, version: int) -> None:
    rng = random.Random(seed)
    options: dict[str, Any] = {
        "durability": rng.choice(["flush", "flush", "none", "each-put"]),
        "max_memory": rng.choice([None, None, 20_000]),
        "index_padding": rng.choice([0, 0, 1000]),
    }

    def opened() -> ReadWriteBlockstore:
        if os.path.exists(path):
            return ReadWriteBlockstore.resume(path, ROOTS, version=version, **options)
        return ReadWriteBlockstore.create(path, ROOTS, version=version, **options)

    store, number = opened(), first
    os.write(1, b"open\n")
    while True:
        step = rng.random()
        if step < 0.90:
            store.put(*block(number))
            number += 1
            safe = options["durability"] == "each-put"
        elif step < 0.97:
            store.flush()
            safe = True
        elif step < 0.99 and number:
            known = rng.randrange(number)
            assert store[block(known)[0]] == block(known)[1]
            safe = False
        else:
            store.finalize() if rng.random() < 0.7 else store.close()
            store.close()
            safe = True
            store = opened()
        if safe:
            os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
