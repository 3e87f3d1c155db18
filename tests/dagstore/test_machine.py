"""The DAG store against a model, with mounts that break and mend, and new starts; each event is in the table.

The model says what every call must come to; what happens on the way is heard through ``subscribe``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from carv2.dagstore import Problem, ShardState
from carv2.dagstore._opening import version_of
from carv2.errors import (
    MountError,
    ShardErroredError,
    ShardExistsError,
    ShardInUseError,
    ShardNotFoundError,
    StateError,
)
from dagstore.shards import PATIENCE, Calls, Place, archive_of, blocks_of, follow, padded

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2.dagstore import AcquiredShard, DagStore

KEYS = [f"shard-{number}" for number in range(4)]
A_KEY = st.sampled_from(KEYS)
BLOCKS = 3


@dataclass
class Behind:
    """What is behind a mount."""

    version: int = 0
    is_junk: bool = False
    is_gone: bool = False

    def seed(self, key: str) -> str:
        return f"{key}.{self.version}"


@dataclass
class Model:
    """A shard as it should be."""

    state: ShardState
    indexed: int = -1
    """The version that its index is of."""
    has_index: bool = False
    owners: set[str] = field(default_factory=set)
    attempts: int = 0


@dataclass
class Reader:
    shard: AcquiredShard
    key: str
    seed: str
    is_detached: bool = False


class Machine(RuleBasedStateMachine):
    """Each fault is one that a call meets and reports; none of them does any harm to other shards."""

    @initialize(
        sequential=st.sets(A_KEY),
        max_open=st.sampled_from([0, 2, 64]),
        policy=st.sampled_from(["no", "on-acquire"]),
    )
    def begin(self, sequential: set[str], max_open: int, policy: str) -> None:
        self.folder = tempfile.mkdtemp()
        self.place = Place.at(Path(self.folder))
        self.options = {"max_open_shards": max_open, "recover_on_start": policy, "recover_backoff": 0.0}
        self.is_automatic = policy != "no"
        self.sequential = sequential
        self.model: dict[str, Model] = {}
        self.behind = {key: Behind() for key in KEYS}
        self.mounts = {key: self.place.mount(key, b"", sequential=key in sequential) for key in KEYS}
        for key in KEYS:
            self.write(key)
        self.readers: list[Reader] = []
        self.start()

    def start(self) -> None:
        self.store: DagStore = self.place.store(**self.options)
        self.events = self.store.subscribe(1 << 16)
        self.told: dict[str, ShardState | None] = {key: model.state for key, model in self.model.items()}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.close()
            shutil.rmtree(self.folder)

    def close(self) -> None:
        self.store.close()
        for reader in self.readers:
            reader.shard.close()
        self.readers.clear()

    def listen(self) -> None:
        """Each event since then leads from a state to the next as the table says."""
        while (event := self.events.get(0)) is not None:
            follow(self.told, event)

    def write(self, key: str) -> None:
        behind = self.behind[key]
        data = b"junk" * 99 if behind.is_junk else padded(archive_of(behind.seed(key), BLOCKS))
        path = self.mounts[key].path + ".new"
        Path(path).write_bytes(data)
        os.replace(path, self.mounts[key].path)

    # -- what the model says --------------------------------------------------------------------------------

    def references(self, key: str) -> int:
        return sum(reader.key == key and not reader.is_detached for reader in self.readers)

    def is_open(self, key: str) -> bool:
        """Whether the store has it open, so that nothing is looked at when it is acquired."""
        live = self.store._core.live._shards.get(key)
        row = self.store._core.catalogue.find(key)
        return live is not None and live.opened is not None and live.opened.version == version_of(row)

    def index(self, key: str) -> type[Exception] | None:
        """What indexing the shard must come to now."""
        model, behind = self.model[key], self.behind[key]
        if behind.is_gone or behind.is_junk:
            model.state = ShardState.ERRORED
            return ShardErroredError
        model.state, model.indexed, model.has_index, model.attempts = (
            ShardState.AVAILABLE, behind.version, True, 0,
        )  # fmt: skip
        return None

    def look_at(self, key: str) -> type[Exception] | None:
        """What acquiring the shard must come to now."""
        model, behind = self.model[key], self.behind[key]
        if model.state is ShardState.NEW:
            return self.index(key) or self.look_at(key)
        if model.state is ShardState.ERRORED:
            if not self.is_automatic or model.attempts:
                return ShardErroredError
            model.attempts += 1
            return self.index(key)
        if self.is_open(key):
            return None
        if not model.has_index:
            return self.index(key)
        if behind.is_gone:
            return MountError
        if model.indexed != behind.version:
            model.state = ShardState.ERRORED
            return ShardErroredError
        return None

    def check(self, expected: type[Exception] | None, call: Callable[[], object]) -> None:
        if expected is None:
            call()
            return
        with pytest.raises(expected) as caught:
            call()
        assert caught.type is expected

    # -- registering and destroying -------------------------------------------------------------------------

    @rule(key=A_KEY, lazy=st.booleans(), owner=st.sampled_from(["", "one", "two"]))
    def register(self, key: str, lazy: bool, owner: str) -> None:
        if key in self.model:
            expected: type[Exception] | None = ShardExistsError
        else:
            self.model[key] = Model(ShardState.NEW, owners={owner} - {""})
            expected = None if lazy else self.index(key)
        mount = self.mounts[key]
        self.check(expected, lambda: self.store.register(key, mount, lazy=lazy, owner=owner, timeout=PATIENCE))

    @rule(keys=st.sets(A_KEY, min_size=1))
    def register_many(self, keys: set[str]) -> None:
        new = keys - set(self.model)
        assert self.store.register_many((key, self.mounts[key]) for key in sorted(keys)) == len(new)
        for key in new:
            self.model[key] = Model(ShardState.NEW)
            self.told[key] = ShardState.NEW  # they are not told one by one

    @rule(key=A_KEY, owner=st.sampled_from(["", "", "one", "two"]), force=st.booleans())
    def destroy(self, key: str, owner: str, force: bool) -> None:
        model = self.model.get(key)
        if model is None:
            self.check(ShardNotFoundError, lambda: self.store.destroy(key, owner=owner, force=force))
        elif owner and model.owners - {owner}:
            assert self.store.destroy(key, owner=owner, force=force) is False
            model.owners.discard(owner)
        elif self.references(key) and not force:
            self.check(ShardInUseError, lambda: self.store.destroy(key, owner=owner))
        else:
            assert self.store.destroy(key, owner=owner, force=force) is True
            del self.model[key]
            for reader in self.readers:
                reader.is_detached = reader.is_detached or reader.key == key

    @rule(key=A_KEY)
    def add_owner(self, key: str) -> None:
        if key in self.model:
            self.store._core.catalogue.add_owner(key, "two")
            self.model[key].owners.add("two")

    # -- reading --------------------------------------------------------------------------------------------

    @rule(key=A_KEY, count=st.sampled_from([1, 1, 1, 4]))
    def acquire(self, key: str, count: int) -> None:
        if key not in self.model:
            self.check(ShardNotFoundError, lambda: self.store.acquire(key))
            return
        expected = self.look_at(key)
        if expected is not None:
            self.check(expected, lambda: self.store.acquire(key, timeout=PATIENCE))
            return
        calls = Calls()
        calls(lambda: self.store.acquire(key, timeout=PATIENCE), times=count)
        seed = f"{key}.{self.model[key].indexed}"
        self.readers += [Reader(shard, key, seed) for shard in calls.wait()]
        self.read(self.readers[-1])

    def read(self, reader: Reader) -> None:
        """It gives what it was opened on, whatever happened to the shard since."""
        blocks = blocks_of(reader.seed, BLOCKS)
        if self.behind[reader.key].is_gone and reader.key not in self.sequential:
            with pytest.raises(MountError):
                reader.shard[next(iter(blocks))]
        else:
            assert {cid: reader.shard[cid] for cid in blocks} == blocks

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        reader = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))
        try:
            self.read(reader)
        finally:
            reader.shard.close()
            reader.shard.close()

    @rule()
    def look_up(self) -> None:
        for key, behind in self.behind.items():
            model = self.model.get(key)
            for version in range(behind.version + 1):
                is_there = model is not None and model.indexed == version
                for cid in blocks_of(f"{key}.{version}", BLOCKS):
                    assert self.store.shards_with(cid) == ([key] if is_there else [])

    # -- mending --------------------------------------------------------------------------------------------

    @rule(key=A_KEY)
    def recover(self, key: str) -> None:
        if key not in self.model:
            expected: type[Exception] | None = ShardNotFoundError
        else:
            expected = self.index(key) if self.model[key].state is ShardState.ERRORED else StateError
        self.check(expected, lambda: self.store.recover(key, timeout=PATIENCE))

    @rule(key=A_KEY)
    def initialize_one(self, key: str) -> None:
        if key not in self.model:
            expected: type[Exception] | None = ShardNotFoundError
        else:
            expected = self.index(key) if self.model[key].state is ShardState.NEW else StateError
        self.check(expected, lambda: self.store.initialize(key, timeout=PATIENCE))

    @rule(concurrency=st.sampled_from([0, 1, 2]))
    def initialize_all(self, concurrency: int) -> None:
        new = [key for key, model in sorted(self.model.items()) if model.state is ShardState.NEW]
        succeed = {key: self.index(key) is None for key in new}
        ends = [
            e for e in self.store.initialize_all(concurrency=concurrency, include_sealed=True) if e.event == "end"
        ]
        assert {event.key: event.success for event in ends} == succeed

    @rule()
    def gc(self) -> None:
        idle = {key for key in self.model if not self.references(key)}
        collected = self.store.gc()
        detached = {reader.key for reader in self.readers}
        assert {one.key for one in collected if one.freed} <= idle | (detached - set(self.model))
        assert all(one.freed or one.skipped == "in use" for one in collected)
        left = {one.key for one in self.store.gc()}
        assert left <= {reader.key for reader in self.readers}

    @rule()
    def doctor(self) -> None:
        expected: set[tuple[str, Problem, bool]] = set()
        for key, model in self.model.items():
            behind = self.behind[key]
            if model.state is ShardState.ERRORED:
                expected.add((key, Problem.ERRORED, self.index(key) is None))
            elif model.state is ShardState.AVAILABLE and not model.has_index:
                expected.add((key, Problem.INDEX_MISSING, self.index(key) is None))
            if behind.is_gone:  # of one that is errored for it, that is said
                if model.state is not ShardState.ERRORED:
                    expected.add((key, Problem.MOUNT_GONE, False))
            elif model.indexed not in {-1, behind.version}:
                expected.add((key, Problem.MOUNT_CHANGED, False))
        found = [(one.key, one.problem, one.is_mended) for one in self.store.doctor(repair=True, thorough=True)]
        assert sorted(found, key=str) == sorted(expected, key=str)

    # -- faults ---------------------------------------------------------------------------------------------

    @rule(key=A_KEY)
    def lose(self, key: str) -> None:
        self.behind[key].is_gone = self.place.faults[self.mounts[key].url].gone = True

    @rule(key=A_KEY, is_junk=st.booleans())
    def change(self, key: str, is_junk: bool) -> None:
        self.behind[key].version += 1
        self.behind[key].is_junk = is_junk
        self.write(key)

    @rule(key=A_KEY)
    def mend(self, key: str) -> None:
        self.behind[key].is_gone = self.place.faults[self.mounts[key].url].gone = False
        if self.behind[key].is_junk:
            self.change(key, is_junk=False)

    @rule(key=A_KEY)
    def lose_index(self, key: str) -> None:
        if key in self.model and self.model[key].state is ShardState.AVAILABLE:
            Path(self.store._core.indices.path_of(key)).unlink(missing_ok=True)
            self.model[key].has_index = False

    @rule()
    def open_again(self) -> None:
        self.close()
        self.listen()
        for model in self.model.values():
            model.attempts = 0
        self.start()

    # -- always ---------------------------------------------------------------------------------------------

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not hasattr(self, "store"):
            return
        self.listen()
        infos = {info.key: info for info in self.store.list()}
        assert set(infos) == set(self.model)
        for key, model in self.model.items():
            references = self.references(key)
            state = model.state
            if state is ShardState.AVAILABLE and references:
                state = ShardState.SERVING
            assert (infos[key].state, infos[key].references) == (state, references), key
            assert self.told[key] is state
            assert self.store._core.catalogue.lease_of(key) is None
        assert {key for key, state in self.told.items() if state is not None} == set(self.model)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
