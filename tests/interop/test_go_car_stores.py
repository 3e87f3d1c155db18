"""A file that one library began the other goes on with and finishes: at every block, with every option of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.blockstore import ReadOnlyBlockstore, ReadWriteBlockstore
from helpers import archives
from helpers.binary import assert_bytes_equal

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

BLOCKS = [
    archives.FISH,
    archives.PB_NODE,
    (archives.identity(b"held"), b"held"),
    archives.LOBSTER,
    (archives.cid_v1(bytes(40_000)), bytes(40_000)),
    (archives.cid_v1(b"lobster", codec=archives.DAG_CBOR), b"lobster"),
    archives.BARRELEYE,
]
ROOTS = [archives.FISH[0], archives.PB_NODE[0]]

OPTIONS: dict[str, tuple[dict[str, Any], list[object]]] = {
    "plain": ({}, []),
    "CARv1": ({"version": 1}, ["--v1"]),
    "padded": ({"data_padding": 1413, "index_padding": 1314}, ["--data-padding", 1413, "--index-padding", 1314]),
    "older index": ({"index_codec": 0x0400}, ["--codec", "car-index-sorted"]),
    "identity": ({"store_identity": True}, ["--identity"]),
    "whole CIDs": ({"deduplicate": "cid"}, ["--whole-cids"]),
    "duplicates": ({"deduplicate": None}, ["--duplicates"]),
}
EACH = pytest.mark.parametrize("name", OPTIONS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What go-car's commands take the blocks from."""
    path = tmp_path / "source.car"
    path.write_bytes(archives.v1(ROOTS, BLOCKS))
    return path


def expected_file(tmp_path: Path, name: str) -> bytes:
    """What carv2 makes of the blocks in one go."""
    path = tmp_path / "expected.car"
    with ReadWriteBlockstore.create(path, ROOTS, **OPTIONS[name][0]) as store:
        store.put_many(BLOCKS)
    return path.read_bytes()


def check(go: Peer, path: Path, name: str) -> None:
    """Both find nothing wrong, and give every block."""
    assert carv2.verify(path).ok, carv2.verify(path).problems
    go("verify", path)
    with ReadOnlyBlockstore(path) as store:
        assert [store[cid] for cid, _ in BLOCKS] == [data for _, data in BLOCKS]
    keys = "\n".join(str(carv2.CID(cid)) for cid, _ in BLOCKS).encode()
    flags = [flag for flag in OPTIONS[name][1] if flag in {"--identity", "--whole-cids"}]
    answers = go("get-all", *flags, path, stdin=keys).splitlines()
    assert len(answers) == len(BLOCKS)
    assert not [answer for answer in answers if "error" in answer or "missing" in answer]


@EACH
def test_both_make_the_same_file_of_the_same_blocks(go: Peer, tmp_path: Path, source: Path, name: str) -> None:
    go("put", *OPTIONS[name][1], source, tmp_path / "x.car")
    assert_bytes_equal((tmp_path / "x.car").read_bytes(), expected_file(tmp_path, name))
    check(go, tmp_path / "x.car", name)


@EACH
@pytest.mark.parametrize("how", ["discard", "flush", "close", "finalize"])
def test_go_car_finishes_what_carv2_began(go: Peer, tmp_path: Path, source: Path, name: str, how: str) -> None:
    ours, theirs = OPTIONS[name]
    expected = expected_file(tmp_path, name)
    for count in range(len(BLOCKS) + 1):
        path = tmp_path / f"{count}.car"
        store = ReadWriteBlockstore.create(path, ROOTS, **ours)
        store.put_many(BLOCKS[:count])
        if how == "discard":
            list(store)  # brings what was put to the file, as a kill would find it
        else:
            getattr(store, how)()
        store.discard()
        go("resume", *theirs, "--skip", count, source, path)
        assert_bytes_equal(path.read_bytes(), expected)
        check(go, path, name)


@EACH
@pytest.mark.parametrize("finalized", [False, True])
def test_carv2_finishes_what_go_car_began(
    go: Peer, tmp_path: Path, source: Path, name: str, finalized: bool
) -> None:
    ours, theirs = OPTIONS[name]
    expected = expected_file(tmp_path, name)
    how = [] if finalized else ["--no-finalize"]
    for count in range(len(BLOCKS) + 1):
        path = tmp_path / f"{count}.car"
        go("put", *theirs, *how, "--count", count, source, path)
        padding = ours.get("data_padding") if ours.get("version") != 1 else None
        options = {**ours, "data_padding": padding}
        with ReadWriteBlockstore.resume(path, ROOTS, **options) as store:
            assert store.recovery is not None
            assert store.recovery.cut_bytes == 0
            store.put_many(BLOCKS[count:])
        assert_bytes_equal(path.read_bytes(), expected)
        check(go, path, name)


@pytest.mark.parametrize("name", ["plain", "CARv1", "padded"])
def test_carv2_mends_what_go_car_would_corrupt(go: Peer, tmp_path: Path, source: Path, name: str) -> None:
    """Cut within the last block: go-car goes on behind it, and serves zeros for it. Its files and ours alike."""
    ours, theirs = OPTIONS[name]
    begun = tmp_path / "begun.car"
    go("put", *theirs, "--no-finalize", source, begun)
    whole, expected = begun.read_bytes(), expected_file(tmp_path, name)
    for cut in (1, 5, len(b"barreleye") - 1, len(b"barreleye") + 20, len(b"barreleye") + 37):
        path = tmp_path / f"{cut}.car"
        path.write_bytes(whole[:-cut])
        with ReadWriteBlockstore.resume(path, ROOTS, **ours) as store:
            assert archives.BARRELEYE[0] not in store
            store.put_many(BLOCKS)
        assert_bytes_equal(path.read_bytes(), expected)
        check(go, path, name)


def test_a_file_in_progress_is_readable_by_go_car_up_to_the_last_flush(go: Peer, tmp_path: Path) -> None:
    path = tmp_path / "x.car"
    store = ReadWriteBlockstore.create(path, ROOTS)
    listed: list[str] = []
    for cid, data in BLOCKS[:2]:
        store.put(cid, data)
        store.flush()
        listed.append(str(carv2.CID(cid)))
        assert go("list", path).split() == listed
    store.put(*archives.LOBSTER)
    list(store)
    assert go("list", path).split() == listed
    store.close()


def test_both_turns_of_a_long_relay_make_one_archive(go: Peer, tmp_path: Path, source: Path) -> None:
    path = tmp_path / "x.car"
    expected = expected_file(tmp_path, "plain")
    ReadWriteBlockstore.create(path, ROOTS).close()
    for at, block in enumerate(BLOCKS):
        if at % 2:
            go("resume", "--skip", at, "--count", 1, *([] if at % 4 == 1 else ["--no-finalize"]), source, path)
        else:
            store = ReadWriteBlockstore.resume(path, ROOTS)
            assert len(store) == len({carv2.CID(cid).multihash for cid, _ in BLOCKS[:at] if cid[2]})
            store.put(*block)
            store.close()
    with ReadWriteBlockstore.resume(path, ROOTS) as store:
        assert store.put_many(BLOCKS) == 0
    assert_bytes_equal(path.read_bytes(), expected)
