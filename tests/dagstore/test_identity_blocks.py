"""Identity CIDs, and multihashes of any length, do no harm to the inverted index, on either database."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2 import multihash
from carv2.dagstore.catalogue import open_catalogue
from carv2.multihash import IDENTITY
from dagstore.shards import Place, blocks_of
from helpers.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RANDOM = random.Random(1)
LONG = RANDOM.randbytes(2000)  # nothing that a database could make smaller


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "catalogue.sqlite")
    server: PostgresServer = request.getfixturevalue("server")
    return server.new_schema()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.at(tmp_path)


def test_identity_blocks_are_in_the_shards_index_and_not_in_the_inverted_one(place: Place, url: str) -> None:
    blocks = blocks_of("key")
    identities = [carv2.CID.of_data(data, hash="identity") for data in (b"", b"fish", LONG)]
    all_blocks = [*((cid, cid.digest) for cid in identities), *blocks.items()]
    archive = b"".join(carv2.iter_car([identities[1]], all_blocks))
    with place.store(catalogue=url) as store, store.blockstore() as everything:
        info = store.register("key", place.mount("key", archive))
        assert info.block_count == len(all_blocks)
        assert store.stat().multihash_count == len(blocks)
        assert {cid: everything[cid] for cid in blocks} == blocks
        for cid in identities:
            assert store.shards_with(cid) == []
            assert cid in everything
            assert everything[cid] == cid.digest
            assert everything.size_of(cid) == len(cid.digest)
            with store.acquire("key") as shard:
                assert shard[cid] == cid.digest
        assert [block.data for block in everything.get_many(identities)] == [b"", b"fish", LONG]
        assert not list(store.doctor(thorough=True))
        store.destroy("key")
        assert store.stat().multihash_count == 0


@pytest.mark.parametrize("code", [IDENTITY, 0x1E, 0x19])
def test_multihashes_of_any_length_are_found(url: str, code: int) -> None:
    sizes = (32, 1000, 1020, 1021, 1022, 1023, 2699, 2700, 2710, 9000)
    given = [multihash.encode(code, RANDOM.randbytes(size)) for size in sizes]
    near = [one[:-1] + bytes([one[-1] ^ 1]) for one in given]
    catalogue = open_catalogue(url)
    try:
        for key in ("a", "b"):
            catalogue.add(key, "file:///x", lazy=True)
            catalogue.add_multihashes(key, given)
        assert catalogue.multihash_count() == 2 * len(sizes)
        assert [catalogue.shards_with(one) for one in given] == [["a", "b"]] * len(sizes)
        assert catalogue.shards_with_many([*near, *given, *given]) == {one: ["a", "b"] for one in given}
        catalogue.remove_multihashes("a", given[:5])
        assert catalogue.shards_with_many(given) == {
            one: ["a", "b"] if at >= 5 else ["b"] for at, one in enumerate(given)
        }
        catalogue.remove_multihashes("a", None)
        assert catalogue.remove("b", given)
        assert catalogue.multihash_count() == 0
    finally:
        catalogue.close()
