"""A process that imports files by reference until it is killed: ``python -m ... FOLDER ORIGINALS SEED``.

It says the number of each import that it was told is there, and ``-NUMBER`` before it removes one.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from carv2.imports import ImportsManager


def original(number: int) -> bytes:
    """Always the same; of some it takes several chunks."""
    return b"%d fish, " % number * (40 + number * number // 10)  # too many for an identity CID


def main(folder: str, originals: str, seed: str) -> None:
    rng, kept = random.Random(int(seed)), list[int]()
    with ImportsManager(folder) as imports:
        os.write(1, b"open\n")
        while True:
            number = rng.randrange(1000)
            path = Path(originals, str(number))
            if not path.exists():  # an original that is written to later would be no fault of the import's
                path.with_suffix(".part").write_bytes(original(number))
                path.with_suffix(".part").rename(path)
            added = imports.import_file(path)
            os.write(1, f"{added.id}\n".encode())
            kept.append(added.id)
            if rng.random() < 0.3:
                gone = kept.pop(rng.randrange(len(kept)))
                os.write(1, f"-{gone}\n".encode())
                imports.remove(gone)


if __name__ == "__main__":
    main(*sys.argv[1:])
