"""What a writer keeps in memory for each block, and that a bound on it holds and changes nothing else."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.blockstore import ReadWriteBlockstore, _written, read_write
from faults.disk import assert_valid
from helpers import archives

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(carv2.__file__).parent.parent
BLOCKS = 300_000

WRITER = """
import hashlib, resource, sys
from carv2.blockstore import ReadWriteBlockstore
from carv2.cid import CID

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

head = bytes.fromhex("01551220")
def blocks(count):
    for at in range(count):
        data = at.to_bytes(40, "little")
        yield head + hashlib.sha256(data).digest(), data

options = {{"durability": "none", "max_memory": {max_memory}}}
with ReadWriteBlockstore.create("warm.car", **options) as store:  # imports, buffers, tables
    store.put_many(blocks(20_000))
before = peak()
store = ReadWriteBlockstore.create("x.car", **options)
new = store.put_many(blocks({blocks}))
written = peak()
some = list(blocks({blocks}))[::1013] if {reading} else []
again = sum(store.put(*block) for block in some)
right = sum(store[cid] == data for cid, data in some)
reading = peak()
store.finalize()
store.close()
print(new, again, right, len(some), written - before, peak() - max(before, 0 if not some else 0))
"""


def grown(folder: Path, *, max_memory: int | None, blocks: int = BLOCKS, reading: bool = False) -> list[int]:
    """New blocks, second puts that were new, right gets, gets; growth by the puts, and until all was finalized."""
    code = WRITER.format(max_memory=max_memory, blocks=blocks, reading=reading)
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """An archive that was written without a bound, and what that took."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    folder = tmp_path_factory.mktemp("free")
    return folder / "x.car", grown(folder, max_memory=None)


def test_a_writer_takes_at_most_90_bytes_a_block(free: tuple[Path, list[int]]) -> None:
    path, (new, _, _, _, written, finalized) = free
    assert new == BLOCKS
    print(f"{written / BLOCKS:.0f} bytes a block while writing, {finalized / BLOCKS:.0f} at the end")
    assert written / BLOCKS <= 90
    assert finalized / BLOCKS <= 110  # some megabytes of pieces while the index is sorted
    assert_valid(path)


def test_a_bound_on_memory_holds_and_the_file_is_the_same(tmp_path: Path, free: tuple[Path, list[int]]) -> None:
    bound = 10_000_000
    new, _, _, _, written, finalized = grown(tmp_path, max_memory=bound)
    assert new == BLOCKS
    print(f"{written / 1e6:.1f} MB while writing, {finalized / 1e6:.1f} at the end, of {BLOCKS * 160 / 1e6:.0f}")
    assert max(written, finalized) <= bound
    assert (tmp_path / "x.car").read_bytes() == free[0].read_bytes()


def test_what_was_moved_to_files_is_still_found(tmp_path: Path) -> None:
    new, again, right, asked, _, _ = grown(tmp_path, max_memory=200_000, blocks=40_000, reading=True)
    assert (new, again, right) == (40_000, 0, asked)
    assert asked > 30


@pytest.mark.parametrize("deduplicate", ["multihash", "cid", None])
@pytest.mark.parametrize("index_codec", [0x0401, 0x0400])
def test_any_bound_on_memory_makes_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deduplicate: str | None, index_codec: int
) -> None:
    data = [f"{at} ".encode() * (at % 7) for at in range(300)]
    blocks = [(archives.cid_v1(held, codec=0x55 + at % 3), held) for at, held in enumerate([*data, *data[::3]])]
    blocks += [(archives.identity(held[:9]), held[:9]) for held in data[:40]]
    blocks += [(archives.cid_v0(held), held) for held in data[::5]]
    made = set()
    unbounded = [(None, pack_from) for pack_from in (4096, 1, 100)]
    bounded = [(max_memory, 4096) for max_memory in (1, 700, 5000, 30_000, 10_000_000)]
    for max_memory, pack_from in [*unbounded, *bounded]:
        for module in (read_write, _written):
            monkeypatch.setattr(module, "PACK_FROM", pack_from)
        path = tmp_path / f"{max_memory}-{pack_from}.car"
        with ReadWriteBlockstore.create(
            path,
            store_identity=True,
            deduplicate=deduplicate,  # type: ignore[arg-type]
            index_codec=index_codec,
            max_memory=max_memory,
        ) as store:
            store.put_many(blocks[:400])
            store.flush()
            store.put_many(blocks[400:])
            assert all(store[cid] == held for cid, held in blocks)
            if deduplicate is not None:
                assert store.put_many(blocks) == 0
        made.add(path.read_bytes())
    assert len(made) == 1
    assert_valid(made.pop())


@pytest.mark.parametrize("end", [ReadWriteBlockstore.close, ReadWriteBlockstore.discard])
def test_a_closed_store_lets_go_of_its_memory_at_once(
    tmp_path: Path, end: Callable[[ReadWriteBlockstore], None]
) -> None:
    """Not when the collector of garbage comes by: a program may open and close many before that."""
    with ReadWriteBlockstore.create(tmp_path / "other.car"):
        pass
    tracemalloc.start()
    gc.disable()
    try:
        for at in range(3):
            end(ReadWriteBlockstore.create(tmp_path / f"{at}.car", max_memory=64 << 20))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        gc.enable()
        tracemalloc.stop()
