"""Races between processes over one file or one folder."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore
from carv2.errors import LockedError
from dagstore import soak
from dagstore.shards import with_tests
from races.racing import LONGEST, Fault, RaceError, blocks_of, without_file_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

WORKERS = 3
ROOT = carv2.CID.of_data(b"root of all")


def _own(name: str, life: int) -> dict[carv2.CID, bytes]:
    return blocks_of(f"{name} {life}", 5)


def appends(folder: Path, name: str, numbers: random.Random, until: float) -> None:
    """Take the archive when nobody has it, put blocks, let go. What was acknowledged is told to the parent."""
    life = 0
    while time.monotonic() < until or life == 0:
        with suppress(LockedError), ReadWriteBlockstore.resume(folder / "a.car") as store:
            for cid, data in _own(name, life).items():
                store.put(cid, data)
            if numbers.random() < 0.3:
                store.finalize()
            else:
                store.flush()
            print(name, life, flush=True)
            life += 1
        time.sleep(numbers.random() / 200)


def replaces(folder: Path, name: str, numbers: random.Random, until: float) -> None:
    """Put another archive in the place of the last, and read whatever is there: all of one version, always."""
    life = 0
    while time.monotonic() < until:
        if name.endswith("0"):
            blocks = _own(name, life)
            with carv2.create(folder / "new.car", roots=[next(iter(blocks))]) as car:
                for cid, data in blocks.items():
                    car.write(cid, data)
            _put_in_place(folder / "new.car", folder / "b.car")
            print(name, life, flush=True)
            life += 1
            time.sleep(numbers.random() / 100)
            continue
        with suppress(FileNotFoundError), ReadOnlyBlockstore(folder / "b.car") as store:
            found = {cid: store[cid] for cid in store}
            (root,) = store.roots
            version = int(store[root].split()[1])
            assert found == _own(name[:-1] + "0", version)


def _put_in_place(new: Path, old: Path) -> None:
    """Whole or not at all."""
    os.replace(new, old)


def _written_over(new: Path, old: Path) -> None:
    with old.open("r+b" if old.exists() else "wb") as file:
        file.truncate(0)
        for piece in (data := new.read_bytes())[:100], data[100:]:
            file.write(piece)
            file.flush()
            time.sleep(0.001)
    new.unlink()


FAULTS = {
    "append": without_file_locks(),
    "replace": Fault(
        "the archive is written over in place", sys.modules[__name__], "_put_in_place", _written_over
    ),
}
"""What those have who are told to be broken."""

ROLES: dict[str, Callable[[Path, str, random.Random, float], None]] = {"append": appends, "replace": replaces}


def _said(role: str, folder: Path, seed: int, seconds: float, *, broken: bool) -> list[tuple[str, int]]:
    """What the workers say that they did; RaceError if one of them failed or hangs."""
    command = [sys.executable, "-W", "error", "-m", "races.processes", role, str(folder)]
    workers = [
        subprocess.Popen(
            [*command, f"worker{each}", str(seed), str(seconds), "broken" if broken else "whole"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": with_tests()},
        )
        for each in range(WORKERS)
    ]  # fmt: skip
    lines: list[str] = []
    try:
        for worker in workers:
            out, err = worker.communicate(timeout=seconds + LONGEST)
            if worker.returncode:
                raise RaceError(f"race {role}, seed {seed}: {err}")
            lines += out.splitlines()
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    return [(name, int(life)) for name, life in (line.split() for line in lines)]


def append(folder: Path, *, seed: int, seconds: float, broken: bool = False) -> int:
    """Several processes want to write to one archive. What each was told that it is there is there, once."""
    path = folder / "a.car"
    ReadWriteBlockstore.create(path, [ROOT]).close()
    said = _said("append", folder, seed, seconds, broken=broken)
    promised = {cid: data for name, life in said for cid, data in _own(name, life).items()}
    with ReadWriteBlockstore.resume(path) as store:
        store.finalize()
    with carv2.open(path) as car:
        cids = [section.cid for section in car.sections()]
        assert sorted(cids) == sorted(promised)
        assert all(car.get(cid) == data for cid, data in promised.items())
    assert len({name for name, _ in said}) == WORKERS
    return len(said)


def replace(folder: Path, *, seed: int, seconds: float, broken: bool = False) -> int:
    """One process makes versions of an archive, others read: whole ones, always."""
    return len(_said("replace", folder, seed, seconds, broken=broken))


def dag_store(folder: Path, *, seed: int, seconds: float, broken: bool = False) -> int:
    """Random operations and faults by threads of two processes on one folder."""
    assert not broken, "the soak has faults of its own"
    with _found_by_children():
        soak.main(seconds, processes=2, folder=str(folder), seed=seed, stdout=subprocess.DEVNULL)
    return 1


@contextmanager
def _found_by_children() -> Iterator[None]:
    """Processes that are started meanwhile find the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", with_tests())
        yield


def main(arguments: Sequence[str]) -> None:
    """One worker: role, folder, name, seed, seconds, ``whole`` or ``broken``."""
    role, folder, name, seed, seconds, how = arguments
    until = time.monotonic() + float(seconds)
    with contextlib.ExitStack() as faults:
        if how == "broken":
            faults.enter_context(FAULTS[role].put_in())
        ROLES[role](Path(folder), name, random.Random(f"{role} {name} {seed}"), until)


if __name__ == "__main__":
    main(sys.argv[1:])
