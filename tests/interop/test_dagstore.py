"""The Go dagstore reads our index files and serves from what we export; we take over what it keeps."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.dagstore import DagStore, FileMount, GlobalBlockstore, ShardState
from carv2.errors import ShardErroredError
from helpers.binary import assert_bytes_equal
from interop.samples import BLOCKS, EVERY, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from interop.conftest import Peer

KINDS = {f"{name}-{layout}": (name, layout) for name, layout in EVERY if layout != "v2-no-index"}
SORTED = {key for key, (_, layout) in KINDS.items() if layout == "v2-sorted"}
"""The Go dagstore adopts indexes of format 0x0400, which it cannot search by; neither can we."""
PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DagStore]:
    with DagStore(tmp_path / "store") as store:
        yield store


def register_all(store: DagStore, tmp_path: Path) -> None:
    for key, (name, layout) in KINDS.items():
        store.register(key, FileMount(write(tmp_path / f"{key}.car", name, layout)))


def multihashes(name: str) -> dict[str, bytes]:
    """The blocks of a sample by their multihashes in hex; of identity CIDs, which only some indexes have, none."""
    return {cid.multihash.hex(): data for cid, data in BLOCKS[name] if not cid.is_identity}


# -- index files ----------------------------------------------------------------------------------------------


def test_our_index_folder_is_one_of_theirs(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    register_all(store, tmp_path)
    assert go_dagstore("keys", tmp_path / "store" / "index").splitlines() == sorted(KINDS)


def test_they_find_every_block_in_our_indexes(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    register_all(store, tmp_path)
    folder = tmp_path / "store" / "index"
    for key, (name, _) in KINDS.items():
        found = [line.split() for line in go_dagstore("entries", folder, key).splitlines()]
        assert {multihash for multihash, _ in found if multihash[:2] != "00"} == set(multihashes(name))
        asked = "".join(f"{multihash}\n" for multihash in multihashes(name))
        answers = go_dagstore("look-up", folder, key, stdin=f"{asked}1220{'00' * 32}\n".encode()).splitlines()
        assert answers.pop() == f"1220{'00' * 32} missing"
        with carv2.open(tmp_path / f"{key}.car") as car:
            for line in answers[:: 1 + len(answers) // 50]:
                multihash, offset, *_ = line.split()
                section = car.section_at(int(offset))
                assert section.cid.multihash.hex() == multihash
                assert car.read(section).data == multihashes(name)[multihash]


def test_indexes_made_for_shards_are_the_same_bytes(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    for name in BLOCKS:
        store.register(name, FileMount(write(tmp_path / f"{name}.car", name, "v1")))
    wanted = "".join(f"{name} eager {tmp_path}/{name}.car\n" for name in BLOCKS)
    go_dagstore("make", tmp_path / "go", stdin=wanted.encode())
    for name in BLOCKS:
        ours, theirs = (tmp_path / folder / "index" / f"{name}.full.idx" for folder in ("store", "go"))
        assert_bytes_equal(ours.read_bytes(), theirs.read_bytes())


def test_go_car_reads_our_index_files(go: Peer, store: DagStore, tmp_path: Path) -> None:
    register_all(store, tmp_path)
    for key, (name, _) in KINDS.items():
        lines = go("detach-index-list", tmp_path / "store" / "index" / f"{key}.full.idx").splitlines()
        assert {line.split()[0] for line in lines if line[:2] != "00"} == set(multihashes(name))


# -- out ------------------------------------------------------------------------------------------------------


def test_they_serve_what_we_exported(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    register_all(store, tmp_path)
    store.register("lazy", FileMount(write(tmp_path / "a lazy one.car", "mixed", "v1")), lazy=True)
    (tmp_path / "junk.car").write_bytes(b"junk" * 100)
    with pytest.raises(ShardErroredError):
        store.register("junk", FileMount(tmp_path / "junk.car"))
    store.export_go(tmp_path / "out")
    names = {key: name for key, (name, _) in KINDS.items()} | {"lazy": "mixed"}
    asked = [(key, cid, data) for key, name in names.items() for cid, data in BLOCKS[name] if not cid.is_identity]
    stdin = "".join(f"{key} {cid}\n" for key, cid, _ in asked) + f"junk {asked[0][1]}\n"
    lines = go_dagstore("serve", tmp_path / "out", stdin=stdin.encode()).splitlines()
    states = dict(line.split() for line in lines[: len(names) + 1])
    assert states == dict.fromkeys(KINDS, "ShardStateAvailable") | {
        "lazy": "ShardStateNew",
        "junk": "ShardStateErrored",
    }
    answers = lines[len(names) + 1 :]
    assert "error" in answers.pop()
    assert answers == [f"{cid} {hashlib.sha256(data).hexdigest()}" for _, cid, data in asked]


def test_a_shard_whose_index_is_lost_is_made_anew_there(
    go_dagstore: Peer, store: DagStore, tmp_path: Path
) -> None:
    store.register(PIECE, FileMount(write(tmp_path / "x.car", "mixed", "v1")))
    (tmp_path / "store" / "index" / f"{PIECE}.full.idx").unlink()
    store.export_go(tmp_path / "out")
    cid, data = BLOCKS["mixed"][0]
    lines = go_dagstore("serve", tmp_path / "out", stdin=f"{PIECE} {cid}\n".encode()).splitlines()
    assert lines == [f"{PIECE} ShardStateNew", f"{cid} {hashlib.sha256(data).hexdigest()}"]
    assert os.path.exists(tmp_path / "out" / "index" / f"{PIECE}.full.idx")


# -- in -------------------------------------------------------------------------------------------------------


def test_we_serve_what_they_made(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    lines = []
    for key, (name, layout) in KINDS.items():
        lines.append(f"{key} eager {write(tmp_path / f'{key}.car', name, layout)}\n")
    (tmp_path / "junk.car").write_bytes(b"junk" * 100)
    path = write(tmp_path / "lazy.car", "mixed", "v1")
    lines += [f"lazy lazy {path}\n", f"serving serving {path}\n", f"junk eager {tmp_path}/junk.car\n"]
    go_dagstore("make", tmp_path / "go", stdin="".join(lines).encode())
    states = {
        record["k"]: record["s"]
        for record in map(json.loads, (tmp_path / "go" / "shards.jsonl").read_text().splitlines())
    }
    assert (states["lazy"], states["serving"], states["junk"]) == (0, 3, 0xF0)

    done = store.import_go(tmp_path / "go")
    assert (done.shard_count, done.index_count) == (len(KINDS) + 3, len(KINDS) - len(SORTED) + 1)
    assert (done.known, done.refused) == (0, ())
    assert store.info("junk").state is ShardState.ERRORED
    assert "CAR Index" in store.info("junk").error
    assert store.info("lazy").state is ShardState.NEW
    for key in SORTED:
        assert store.initialize(key).state is ShardState.AVAILABLE
    opened = store.counters()["initialized"]
    for key, name in [*((key, name) for key, (name, _) in KINDS.items()), ("serving", "mixed")]:
        with store.acquire(key, timeout=60) as shard:
            for cid, data in BLOCKS[name]:
                assert shard[cid] == data
                assert cid.is_identity or key in store.shards_with(cid)
    assert store.counters()["initialized"] == opened
    with GlobalBlockstore(store) as blocks:
        for name in BLOCKS:
            for cid, data in BLOCKS[name]:
                assert blocks[cid] == data
    with store.acquire("lazy", timeout=60) as shard:
        assert len(shard) == len(BLOCKS["mixed"])


def test_there_and_back_nothing_is_lost(go_dagstore: Peer, store: DagStore, tmp_path: Path) -> None:
    lines = [
        f"{key} eager {write(tmp_path / f'{key}.car', name, layout)}\n" for key, (name, layout) in KINDS.items()
    ]
    go_dagstore("make", tmp_path / "go", stdin="".join(lines).encode())
    store.import_go(tmp_path / "go")
    store.export_go(tmp_path / "back")
    for key in set(KINDS) - SORTED:
        before, after = (tmp_path / folder / "index" / f"{key}.full.idx" for folder in ("go", "back"))
        assert_bytes_equal(after.read_bytes(), before.read_bytes())

    def records(folder: str) -> dict[str, dict[str, object]]:
        found = map(json.loads, (tmp_path / folder / "shards.jsonl").read_text().splitlines())
        return {
            record["k"]: {name: record[name] for name in "use"} for record in found if record["k"] not in SORTED
        }

    assert records("back") == records("go")
