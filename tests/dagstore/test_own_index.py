"""An index that lies: a stranger's is not taken over, so that it can neither hide blocks nor claim others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.dagstore import FileMount
from carv2.errors import BlockNotFoundError
from carv2.index import IndexBuilder
from dagstore.shards import PATIENCE, Place, archive_of, blocks_of
from helpers import archives

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 300
CIDS = list(blocks_of("key", COUNT))
POPULAR = carv2.CID.of_data(b"what everybody asks for")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def lying(change: str) -> tuple[bytes, carv2.CID]:
    """A CARv2 whose index passes spot checks, and the CID that it hides: a digest that no spot check looks at."""
    payload = archive_of("key", COUNT)
    ranks = {cid: rank for rank, cid in enumerate(sorted(CIDS, key=lambda cid: cid.digest))}
    at, victim = next((at, cid) for at, cid in enumerate(CIDS) if at % 17 == 9 and ranks[cid] % 17 == 9)
    builder = IndexBuilder()
    with carv2.open(payload) as car:
        sections = list(car.sections())
    for number, section in enumerate(sections):
        if number != at:
            builder.add(section.cid, section.offset)
        elif change == "claims":
            builder.add(POPULAR, section.offset)
    return archives.v2(payload, builder.to_bytes()), victim


@pytest.mark.parametrize("change", ["hides", "claims"])
@pytest.mark.parametrize("how", ["in place", "copied", "local copy", "trusted"])
def test_who_is_believed(place: Place, change: str, how: str) -> None:
    data, victim = lying(change)
    mount = place.mount("key", data, sequential=how == "copied")
    is_believed = how in {"local copy", "trusted"}
    with place.store(trust_own_index=how == "trusted") as store:
        if how == "local copy":
            (place.folder / "staged.car").write_bytes(data)
            store.register("key", FileMount("/nowhere/x.car"), local_copy=place.folder / "staged.car")
        else:
            store.register("key", mount)
        assert store.counters()["adopted"] == is_believed
        assert store.shards_with(victim) == ([] if is_believed else ["key"])
        assert store.shards_with(POPULAR) == (["key"] if is_believed and change == "claims" else [])
        with store.acquire("key", timeout=PATIENCE) as shard:
            if is_believed:
                with pytest.raises(BlockNotFoundError):
                    shard[victim]
            else:
                assert {cid: shard[cid] for cid in CIDS} == blocks_of("key", COUNT)


def test_a_shard_that_is_recovered_does_not_believe_either(place: Place) -> None:
    data, victim = lying("hides")
    mount = place.mount("key", data)
    place.faults[mount.url].gone = True
    with place.store(recover_on_start="no") as store:
        store.register("key", mount, lazy=True)
        with pytest.raises(carv2.errors.ShardErroredError):
            store.acquire("key", timeout=PATIENCE)
        place.faults[mount.url].gone = False
        store.recover("key", timeout=PATIENCE)
        assert store.shards_with(victim) == ["key"]
        assert store.counters()["adopted"] == 0
