"""The same for the CAR libraries on PyPI: ``python benchmarks/python_peers.py OP FILE``.

libipld is Rust: its ``decode_car`` takes the whole file as bytes and gives decoded objects, never a block's bytes,
so it can do nothing else here; and it reads dag-cbor blocks only. ipld-car is pure Python over multiformats.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from typing import TYPE_CHECKING

import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from measure import Run


def libipld_iterate(run: Run) -> None:
    import libipld

    with run.timed():
        _, blocks = libipld.decode_car(run.path.read_bytes())
        run.found.blocks = len(blocks)


def ipld_car_iterate(run: Run) -> None:
    import ipld_car

    with run.timed():
        _, blocks = ipld_car.decode(run.path.read_bytes())
        _count(run, blocks)


def ipld_car_iterate_verified(run: Run) -> None:
    """The library checks no hash: this is the check that its users write."""
    import ipld_car

    with run.timed():
        _, blocks = ipld_car.decode(run.path.read_bytes())
        for cid, data in blocks:
            if hashlib.sha256(data).digest() != cid.raw_digest:
                raise SystemExit(f"{cid}: the data do not match")
        _count(run, blocks)


def _count(run: Run, blocks: list[tuple[object, bytes]]) -> None:
    run.found.blocks, run.found.bytes = len(blocks), sum(len(data) for _, data in blocks)


OPERATIONS: dict[str, Callable[[Run], None]] = {
    "libipld-iterate": libipld_iterate,
    "ipld-car-iterate": ipld_car_iterate,
    "ipld-car-iterate-verified": ipld_car_iterate_verified,
}


def load() -> None:
    """Import the library that the operation on the command line needs."""
    importlib.import_module("libipld" if "libipld-iterate" in sys.argv else "ipld_car")


if __name__ == "__main__":
    measure.main(OPERATIONS, load)
