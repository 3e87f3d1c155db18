"""What is killed while it writes, and how to tell whether it has lost what it had said to be safe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import carv2
from blockstore import writer_to_kill
from carv2.blockstore import ReadWriteBlockstore
from carv2.dagstore import ShardState
from carv2.errors import CarError
from carv2.imports import ImportsManager, Retrievals
from dagstore import store_worker
from dagstore.shards import Place, eventually, keys
from faults.disk import assert_valid
from imports import retriever_to_kill

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

SOURCE, TESTS = Path(carv2.__file__).parent.parent, Path(__file__).parent.parent
LIVES = 25
"""A file is begun anew after so many of its writers were killed, so that none grows for ever."""


class Toll(NamedTuple):
    """What came of one kill: how many were said to be safe, and how many of them are not there."""

    safe: int
    lost: int


def words_of_the_killed(module: str, arguments: Iterable[object], moment: float) -> list[str]:
    """Start the module, kill it ``moment`` seconds after its first line; the whole lines after that."""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{TESTS}"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stdout, child.stderr:
        first = child.stdout.readline()  # it is open: the moment counts from here
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().decode().split("\n")
        complaint = child.stderr.read().decode()
    assert child.wait() == -signal.SIGKILL, complaint
    assert (first, complaint) in {(b"open\n", ""), (b"ready\n", "")}, (first, complaint)
    return lines[:-1]


def a_moment(rng: random.Random, longest: float) -> float:
    """Seconds, often very few."""
    return longest * rng.choice([0, 0.01, 0.05, 0.3, 1]) * rng.random()


class ReadWriteStore:
    """A read-write blockstore: blocks that a flush, a finalize or each put acknowledged."""

    def __init__(self, folder: Path, version: int) -> None:
        self._path, self._version = folder / f"store{version}.car", version
        self._safe = self._lives = 0

    def kill(self, rng: random.Random) -> Toll:
        said = words_of_the_killed(
            "blockstore.writer_to_kill",
            [self._path, self._safe, rng.randrange(1 << 30), self._version],
            a_moment(rng, 0.2),
        )
        safe = max([self._safe, *map(int, said)])
        try:
            found = self._count_whole(rng, safe)
        except CarError:
            if safe:
                raise
            found = 0
        self._safe, self._lives = found, self._lives + 1
        if self._lives % LIVES == 0 or not found:
            self._path.unlink(missing_ok=True)
            self._safe = 0
        return Toll(safe, max(0, safe - found))

    def _count_whole(self, rng: random.Random, safe: int) -> int:
        with ReadWriteBlockstore.resume(self._path, writer_to_kill.ROOTS, version=self._version) as store:
            found = list(store)
            thorough = rng.random() < 0.2
            for number, cid in enumerate(found):
                expected = writer_to_kill.block(number)
                assert cid == expected[0]
                if thorough or number >= safe - 50:
                    assert store[cid] == expected[1]
        assert_valid(self._path)
        return len(found)


class Retrieval:
    """A retrieval: blocks that a flush acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._safe, self._lives = folder / "retrievals", 0, 0

    def kill(self, rng: random.Random) -> Toll:
        said = words_of_the_killed("imports.retriever_to_kill", [self._folder, self._safe], a_moment(rng, 0.3))
        safe = max([self._safe, *map(int, said)])
        retrievals = Retrievals(self._folder)
        with retrievals.start(retriever_to_kill.ROOT, id="x") as it:
            found = len(it)
            for number in range(found):
                cid, data = retriever_to_kill.block(number)
                assert it[cid] == data
        self._safe, self._lives = found, self._lives + 1
        if self._lives % LIVES == 0:
            retrievals.remove("x")
            self._safe = 0
        return Toll(safe, max(0, safe - found))


class Imports:
    """Imports by reference, made and removed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._originals, self._lives = folder / "imports", folder / "originals", 0
        self._originals.mkdir()
        self._safe: set[int] = set()

    def kill(self, rng: random.Random) -> Toll:
        said = words_of_the_killed(
            "imports.importer_to_kill",
            [self._folder, self._originals, rng.randrange(1 << 30)],
            a_moment(rng, 0.4),
        )
        safe, gone = set(self._safe), set[int]()
        for word in said:
            (safe if int(word) > 0 else gone).add(abs(int(word)))
        safe -= gone
        with ImportsManager(self._folder, check="originals") as imports:
            broken = {problem.id for problem in (imports.sanity.problems if imports.sanity else ())}
            kept = set(imports.ids())
            lost = {id_ for id_ in safe if id_ not in kept or id_ in broken}
            for id_ in sorted(safe - lost)[-10:]:
                self._read_all(imports, id_)
            assert len((kept | gone) - safe - gone) <= 1, "more was begun than one"
            for id_ in kept - safe:
                imports.remove(id_)
            for name in imports.strays():
                imports.remove(int(name.split(".")[0]))
            assert set(imports.ids()) == safe - lost
        self._safe, self._lives = safe - lost, self._lives + 1
        if self._lives % LIVES == 0:
            shutil.rmtree(self._folder)
            self._safe = set()
        return Toll(len(safe), len(lost))

    @staticmethod
    def _read_all(imports: ImportsManager, id_: int) -> None:
        with imports.open(id_) as store:
            assert sum(len(store[cid]) for cid in store) > 0  # each is hashed as it is read


class Shards:
    """A DAG store: shards that were registered, lazily or not, served, or destroyed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lives = folder / "dagstore", 0
        self._known: dict[str, str] = {}

    def kill(self, rng: random.Random) -> Toll:
        from dagstore.test_kill import check_sound, follow_words

        place = Place.at(self._folder)
        said = words_of_the_killed(
            "dagstore.store_worker", ["live", self._folder, rng.randrange(1 << 30), "shard"], a_moment(rng, 0.7)
        )
        doubtful = follow_words((f"{line}\n" for line in said), self._known)
        for key in keys(store_worker.SHARDS):
            store_worker.mount(place, key)
        with place.store(lease_seconds=store_worker.LEASE, recover_on_start="now") as store:
            expected = {key for key, word in self._known.items() if word != "destroy" and key != doubtful}
            lost = {key for key in expected if key not in store}
            for key in keys(store_worker.SHARDS):
                if self._known.get(key, "destroy") == "destroy" and key != doubtful:
                    assert key not in store, f"{key} was destroyed"
            there = [info.key for info in store.list()]
            eventually(lambda: all(store.info(key).state is not ShardState.INITIALIZING for key in there))
            check_sound(place, store, there)
            self._known = dict.fromkeys(there, "register")
        self._lives += 1
        if self._lives % LIVES == 0:
            shutil.rmtree(self._folder)
            self._known = {}
        return Toll(len(expected), len(lost))


def all_victims(folder: Path) -> dict[str, ReadWriteStore | Retrieval | Imports | Shards]:
    """By name, each working below ``folder``."""
    return {
        "read-write store": ReadWriteStore(folder, 2),
        "read-write store, CARv1": ReadWriteStore(folder, 1),
        "retrievals": Retrieval(folder),
        "imports": Imports(folder),
        "DAG store": Shards(folder),
    }
