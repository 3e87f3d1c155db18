"""Random steps against a dict: put, flush, close, crash, resume, finalize, in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

import carv2
from carv2.blockstore import ReadWriteBlockstore
from carv2.errors import (
    BlockNotFoundError,
    ClosedError,
    FinalizedError,
    GatewayTruncatedError,
    IntegrityError,
    LockedError,
)
from faults.disk import assert_valid
from helpers import archives
from helpers.strategies import blocks

SETTINGS = st.fixed_dictionaries(
    {
        "version": st.sampled_from([2, 2, 1]),
        "data_padding": st.sampled_from([0, 0, 1, 600]),
    }
)
EACH_TIME = st.fixed_dictionaries(
    {
        "index_padding": st.sampled_from([0, 0, 3, 513]),
        "index_codec": st.sampled_from([0x0401, 0x0401, 0x0400]),
        "max_memory": st.sampled_from([None, None, 1, 1500]),
        "durability": st.sampled_from(["none", "flush", "flush", "each-put"]),
    }
)
ROOTS = st.lists(st.binary(max_size=3).map(archives.cid_v1), max_size=3)
TAILS = st.sampled_from(
    [b"", b"", bytes(7), bytes(600), b"\x81\x08\x01", b"\xff" * 30, archives.section(*archives.FISH)[:-1]]
)


class StoreAgainstDict(RuleBasedStateMachine):
    """``model`` is what the store holds, in the order of the file; ``safe`` how many of them were acknowledged."""

    known = Bundle("known")

    @initialize(roots=ROOTS, options=SETTINGS, more=EACH_TIME, identity=st.booleans(), dedup=st.booleans())
    def create(
        self, roots: list[bytes], options: dict[str, Any], more: dict[str, Any], identity: bool, dedup: bool
    ) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.roots = self.folder / "x.car", roots
        self.always: dict[str, Any] = {
            "store_identity": identity,
            "deduplicate": "multihash" if dedup else "cid",
            "version": options["version"],
            "data_padding": options["data_padding"],
        }
        self.store = ReadWriteBlockstore.create(self.path, roots, **self.always, **more)
        self.each_put = more["durability"] == "each-put"
        self.model: dict[bytes, tuple[bytes, bytes]] = {}
        self.safe = self.safe_size = 0
        self.finalized = False

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.discard()
            shutil.rmtree(self.folder)

    def key(self, cid: bytes) -> bytes:
        return cid if self.always["deduplicate"] == "cid" else carv2.CID(cid).multihash

    def acknowledge(self) -> None:
        self.safe, self.safe_size = len(self.model), self.path.stat().st_size

    def model_put(self, cid: bytes, data: bytes) -> bool:
        if carv2.CID(cid).is_identity and not self.always["store_identity"]:
            return False
        if self.key(cid) in self.model:
            return False
        self.model[self.key(cid)] = cid, data
        return True

    # -- steps ----------------------------------------------------------------------------------------------------

    @rule(target=known, block=blocks())
    def know(self, block: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        return block

    @precondition(lambda self: not self.finalized)
    @rule(block=known)
    def put(self, block: tuple[bytes, bytes]) -> None:
        assert self.store.put(*block) is self.model_put(*block)
        if self.each_put:
            self.acknowledge()

    @precondition(lambda self: not self.finalized)
    @rule(some=st.lists(blocks(), max_size=8))
    def put_many(self, some: list[tuple[bytes, bytes]]) -> None:
        assert self.store.put_many(some) == sum([self.model_put(*block) for block in some])
        if self.each_put:
            self.acknowledge()

    @precondition(lambda self: not self.finalized)
    @rule(block=known)
    def put_what_is_wrong(self, block: tuple[bytes, bytes]) -> None:
        cid, data = block
        if (self.key(cid) in self.model) or (carv2.CID(cid).is_identity and not self.always["store_identity"]):
            return
        with pytest.raises((IntegrityError, GatewayTruncatedError)):  # the latter if they hold a gateway's words
            self.store.put(cid, data + b"?")

    @rule(block=known)
    def get(self, block: tuple[bytes, bytes]) -> None:
        cid, data = block
        identity = carv2.CID(cid).is_identity and not self.always["store_identity"]
        if identity or self.key(cid) in self.model:
            assert self.store[cid] == data
            assert self.store.size_of(cid) == len(data)
            assert cid in self.store
        else:
            assert cid not in self.store
            with pytest.raises(BlockNotFoundError):
                _ = self.store[cid]

    @rule()
    def iterate(self) -> None:
        assert [bytes(cid) for cid in self.store] == [cid for cid, _ in self.model.values()]
        assert [tuple(block) for block in self.store.blocks()] == list(self.model.values())

    @precondition(lambda self: not self.finalized)
    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.acknowledge()
        self.file_is_valid()

    @rule()
    def a_second_writer_is_refused(self) -> None:
        with pytest.raises(LockedError):
            ReadWriteBlockstore.resume(self.path)

    @rule(more=EACH_TIME, in_order=st.booleans())
    def close_and_resume(self, more: dict[str, Any], in_order: bool) -> None:
        self.store.close()
        with pytest.raises(ClosedError):
            self.store.put(*archives.FISH)
        self.acknowledge()
        self.file_is_valid()
        self.resume(more, self.roots if in_order else self.roots[::-1])

    @rule(more=EACH_TIME, cut=st.integers(0, 1 << 20), tail=TAILS)
    def crash_and_resume(self, more: dict[str, Any], cut: int, tail: bytes) -> None:
        """The bytes as they are on disk, torn somewhere behind the last flush."""
        data = self.path.read_bytes()
        if not self.finalized:
            if not self.safe_size:  # nothing was promised, but the headers are there
                self.safe_size = len(data) if not self.model else self.first_section()
            data = data[: self.safe_size + cut % (len(data) - self.safe_size + 1)] + tail
        self.store.discard()
        self.path.write_bytes(data)
        self.resume(more, None)
        kept = [bytes(cid) for cid in self.store]
        while kept != [cid for cid, _ in self.model.values()][: len(kept)]:
            self.is_weak(kept.pop())
        assert len(kept) >= self.safe
        old, self.model = self.model, {self.key(cid): (cid, data) for cid, data in self.store.blocks()}
        assert [*self.model.values()][: len(kept)] == [*old.values()][: len(kept)]

    @staticmethod
    def is_weak(cid: bytes) -> None:
        """Garbage behind a torn block may make a right one of it, if its hash proves next to nothing."""
        assert carv2.CID(cid).is_identity or len(carv2.CID(cid).digest) < 4

    def first_section(self) -> int:
        front = 0 if self.always["version"] == 1 else 51 + self.always["data_padding"]
        return front + len(archives.header(self.roots))

    def resume(self, more: dict[str, Any], roots: list[bytes] | None) -> None:
        self.store = ReadWriteBlockstore.resume(self.path, roots, **self.always, **more)
        self.each_put, self.finalized = more["durability"] == "each-put", False
        assert [bytes(root) for root in self.store.roots] == self.roots
        if self.always["version"] == 2:
            self.safe_size = self.safe_size and min(self.safe_size, self.path.stat().st_size)

    @precondition(lambda self: not self.finalized)
    @rule(new=st.binary(max_size=3).map(archives.cid_v1), replace=st.booleans())
    def finalize(self, new: bytes, replace: bool) -> None:
        if replace and self.roots:
            self.roots = [*self.roots[1:], new]
        self.store.finalize(self.roots if replace else None)
        self.finalized = True
        self.acknowledge()
        self.file_is_valid()
        with pytest.raises(FinalizedError):
            self.store.put(*archives.FISH)
        with pytest.raises(FinalizedError):
            self.store.finalize()

    # -- what always holds ----------------------------------------------------------------------------------------

    def file_is_valid(self) -> None:
        """What is on disk is an archive of exactly the acknowledged blocks."""
        assert_valid(self.path)
        with carv2.open(self.path) as car:
            assert [bytes(root) for root in car.roots] == self.roots
            assert [tuple(block) for block in car] == list(self.model.values())
            if self.finalized and car.version == 2:
                listed = [cid for cid, _ in self.model.values()]
                assert car.index is not None
                assert len(car.index) == len(listed)

    @invariant()
    def it_is_as_large_as_the_dict(self) -> None:
        if hasattr(self, "store"):
            assert len(self.store) == len(self.model)


TestStoreAgainstDict = StoreAgainstDict.TestCase
TestStoreAgainstDict.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
