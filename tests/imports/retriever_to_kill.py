"""A process that retrieves until it is killed, and says after each flush how many blocks it knows to be safe."""

from __future__ import annotations

import os
import random
import sys

from carv2.cid import CID
from carv2.imports import Retrievals


def block(number: int) -> tuple[CID, bytes]:
    """Always the same; some kilobytes."""
    data = number.to_bytes(4, "big") * (1 + number % 3000)
    return CID.of_data(data), data


ROOT = CID.of_data(b"root")


def main(folder: str, first: int) -> None:
    rng = random.Random(first)
    with Retrievals(folder).start(ROOT, id="x") as retrieval:
        os.write(1, b"open\n")
        for number in range(first, 1 << 30):
            retrieval.put(*block(number))
            if rng.random() < 0.1:
                retrieval.flush()
                os.write(1, f"{number + 1}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
