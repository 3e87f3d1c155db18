"""A real Kubo node takes our archives and gives them back; its blocks are a blockstore of ours."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import carv2
from carv2.blockstore import MemoryBlockstore
from carv2.dag import check_complete, export
from carv2.errors import BlockNotFoundError, IntegrityError, KuboError, PinError
from carv2.ipfs.kubo import AsyncKuboBlockstore, KuboBlockstore
from carv2.testing import WritableBlockstoreTests
from carv2.unixfs import extract, pack
from helpers.binary import assert_bytes_equal
from interop import kubo_node as nodes
from interop.samples import BLOCKS, EVERY, write
from ipfs.kubo_guide import run_guide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carv2.blockstore import WritableBlockstore
    from interop.conftest import Peer
    from interop.kubo_node import KuboNode

NOT_DECODED = {"unknown-codec"}
TOO_LARGE = {"large"}
TAKEN = [(name, layout) for name, layout in EVERY if name not in NOT_DECODED]


@pytest.fixture
def node(kubo_node: KuboNode) -> Iterator[KuboBlockstore]:
    with KuboBlockstore(kubo_node.url, allow_big_blocks=True) as node:
        clear(node)
        yield node


def clear(node: KuboBlockstore) -> None:
    for pin in [*node.pins("recursive"), *node.pins("direct")]:
        node.pin_rm(pin.cid, recursive=pin.kind == "recursive")
    cids = [str(cid) for cid in node]
    for at in range(0, len(cids), 500):
        with node._calls.call("block/rm", *cids[at : at + 500], force=True) as answer:
            assert not any(value.get("Error") for value in answer.values())
    assert len(node) == 0


def folder_with_files(path: Path) -> Path:
    path.mkdir()
    (path / "large.bin").write_bytes(bytes(range(256)) * 9_000)
    (path / "below").mkdir()
    (path / "below" / "fish.txt").write_bytes(b"fish")
    (path / "empty").write_bytes(b"")
    return path


# -- a blockstore ---------------------------------------------------------------------------------------------


class TestKubo(WritableBlockstoreTests):
    keeps_codecs = False
    in_order = False

    @pytest.fixture(autouse=True)
    def _of_node(self, kubo_node: KuboNode) -> None:
        self.node = kubo_node

    def writable_store(self) -> WritableBlockstore:
        store = KuboBlockstore(self.node.url)
        clear(store)
        return store


@pytest.mark.parametrize("name", [name for name in BLOCKS])  # noqa: C416
def test_blocks_of_every_kind_go_in_and_come_out(node: KuboBlockstore, name: str) -> None:
    blocks = BLOCKS[name]
    multihashes = {cid.multihash for cid, _ in blocks if not cid.is_identity}
    assert node.put_many(blocks) == len(multihashes)
    assert node.put_many(blocks) == 0
    assert {cid.multihash for cid in node} == multihashes
    assert [tuple(block) for block in node.get_many(cid for cid, _ in blocks)] == [
        (bytes(cid), data) for cid, data in blocks
    ]
    for cid, data in blocks[:50]:
        assert cid in node
        assert (node[cid], node.size_of(cid)) == (data, len(data))


def test_hash_functions_that_kubo_does_not_allow_are_named(node: KuboBlockstore) -> None:
    cid = carv2.CID.of_data(b"fish", hash="murmur3-x64-64")
    with pytest.raises(KuboError, match="insecure hash functions not allowed"):
        node.put(cid, b"fish")


def test_large_blocks_are_put_only_if_they_may(kubo_node: KuboNode, node: KuboBlockstore) -> None:
    data = bytes(2_500_000)
    with KuboBlockstore(kubo_node.url) as careful, pytest.raises(KuboError, match="over 2MiB"):
        careful.put(carv2.CID.of_data(data), data)
    clear(node)
    assert node.put(carv2.CID.of_data(data), data)


def test_what_a_node_keeps_wrongly_is_found_out(kubo_node: KuboNode, node: KuboBlockstore) -> None:
    cid = carv2.CID.of_data(b"fish" * 50)
    node.put(cid, b"fish" * 50)
    files = (kubo_node.repo / "blocks").rglob("*.data")
    path = next(file for file in files if file.read_bytes() == b"fish" * 50)
    path.write_bytes(b"FISH" * 50)
    with pytest.raises(IntegrityError) as caught:
        _ = node[cid]
    assert caught.value.cid == cid
    path.write_bytes(b"fish" * 50)
    assert node[cid] == b"fish" * 50


# -- archives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layout"), TAKEN)
def test_every_archive_of_ours_is_imported(node: KuboBlockstore, tmp_path: Path, name: str, layout: str) -> None:
    path = write(tmp_path / "sample.car", name, layout)
    with carv2.open(path) as car:
        sections = [block for block in car]  # noqa: C416
    done = node.import_car(path)
    assert [(root.cid, root.pin_error) for root in done.roots] == [(BLOCKS[name][0][0], "")]
    assert (done.block_count, done.block_bytes) == (len(sections), sum(len(block.data) for block in sections))
    some = BLOCKS[name][:: 1 + len(BLOCKS[name]) // 100]
    assert [block.data for block in node.get_many(cid for cid, _ in some)] == [data for _, data in some]


@pytest.mark.parametrize("profile", ["unixfs-v1-2025", "unixfs-v0-2015", "kubo-legacy-v1"])
def test_a_packed_folder_comes_back_byte_for_byte(node: KuboBlockstore, tmp_path: Path, profile: str) -> None:
    source, archive, dense = folder_with_files(tmp_path / "files"), tmp_path / "a.car", tmp_path / "dense.car"
    root = pack(source, archive, profile=profile).root
    export(archive, dense, root, version=1)
    assert node.import_car(dense.read_bytes()[at : at + 1000] for at in range(0, 9_000_000, 1000)).roots
    assert_bytes_equal(b"".join(node.export_car(root)), dense.read_bytes())
    ours = io.BytesIO()
    export(node, ours, root, version=1)
    assert_bytes_equal(ours.getvalue(), dense.read_bytes())


def test_what_kubo_added_is_extracted(kubo_node: KuboNode, node: KuboBlockstore, tmp_path: Path) -> None:
    source = folder_with_files(tmp_path / "files")
    root = kubo_node.ipfs("add", "--recursive", "--quieter", "--pin=false", source).decode().strip()
    assert check_complete(node, root).complete
    extract(node, tmp_path / "out", roots=[root])
    for path in ("large.bin", "below/fish.txt", "empty"):
        assert_bytes_equal((tmp_path / "out" / path).read_bytes(), (source / path).read_bytes())


def test_kubo_reads_what_was_put_block_by_block(kubo_node: KuboNode, node: KuboBlockstore, tmp_path: Path) -> None:
    root = pack(folder_with_files(tmp_path / "files"), tmp_path / "a.car", wrap=False).root
    with carv2.open(tmp_path / "a.car") as car:
        node.put_many((block.cid, block.data) for block in car)
    node.pin_add(root, name="of ours")
    assert kubo_node.ipfs("cat", f"/ipfs/{root}/below/fish.txt") == b"fish"
    assert [(pin.cid, pin.kind, pin.name) for pin in node.pins()] == [(root, "recursive", "of ours")]


def test_a_codec_that_kubo_does_not_decode_is_named(node: KuboBlockstore, tmp_path: Path) -> None:
    with pytest.raises(KuboError, match="no decoder registered"):
        node.import_car(write(tmp_path / "sample.car", "unknown-codec", "v1"))


@pytest.mark.parametrize("cut", [10, 62, 110, 50_000, -1])
def test_an_archive_that_is_cut_is_refused(node: KuboBlockstore, tmp_path: Path, cut: int) -> None:
    whole = write(tmp_path / "sample.car", "many", "v1").read_bytes()
    with pytest.raises(KuboError, match=r"EOF|import failed"):
        node.import_car([whole[:cut]])
    assert list(node.pins()) == []


def test_an_upload_whose_source_fails_is_none(node: KuboBlockstore, tmp_path: Path) -> None:
    whole = write(tmp_path / "sample.car", "many", "v1").read_bytes()

    def chunks() -> Iterator[bytes]:
        yield whole[:60_000]
        raise OSError("the disk broke")

    with pytest.raises(OSError, match="the disk broke"):
        node.import_car(chunks())
    assert list(node.pins()) == []
    assert node.import_car(whole).block_count == 3000


# -- DAGs that are not whole ----------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> tuple[carv2.CID, carv2.CID, list[tuple[carv2.CID, bytes]]]:
    """The root of a folder, the CID of a leaf, and all blocks but that leaf."""
    root = pack(folder_with_files(tmp_path / "files"), tmp_path / "whole.car").root
    with carv2.open(tmp_path / "whole.car") as car:
        blocks = [(block.cid, block.data) for block in car]
    gone = next(cid for cid, data in blocks if data == b"fish")
    return root, gone, [(cid, data) for cid, data in blocks if cid != gone]


def test_a_root_that_cannot_be_pinned_is_reported(node: KuboBlockstore, broken: Any) -> None:
    root, gone, blocks = broken
    with pytest.raises(PinError) as caught:
        node.import_car(carv2.iter_car([root], blocks))
    (found,) = caught.value.report.roots
    assert found.cid == root
    assert str(gone) in found.pin_error
    assert caught.value.report.block_count == len(blocks)
    assert node.import_car(carv2.iter_car([root], blocks), pin=False).roots == ()
    with pytest.raises(BlockNotFoundError) as missing:
        node.pin_add(root)
    assert missing.value.cid == gone


def test_an_export_that_breaks_off_says_so(node: KuboBlockstore, broken: Any) -> None:
    root, gone, blocks = broken
    node.put_many(blocks)
    came: list[bytes] = []
    with pytest.raises(BlockNotFoundError) as caught:
        came.extend(node.export_car(root))
    assert caught.value.cid == gone
    assert came
    with pytest.raises(BlockNotFoundError):
        export(node, io.BytesIO(), root, version=1)
    partial = {block.cid for block in carv2.iter_blocks(node.export_car(root, partial=True))}
    assert partial == {cid for cid, _ in blocks}


def test_a_root_that_is_not_there(node: KuboBlockstore) -> None:
    missing = carv2.CID.of_data(b"nowhere", codec="dag-pb")
    for call in (lambda: list(node.export_car(missing)), lambda: node.pin_add(missing)):
        with pytest.raises(BlockNotFoundError) as caught:
            call()
        assert caught.value.cid == missing


# -- pins, and who may ask ------------------------------------------------------------------------------------


def test_pins_come_and_go(node: KuboBlockstore) -> None:
    fish, lobster = carv2.CID.of_data(b"fish"), carv2.CID.of_data(b"lobster")
    node.put_many([(fish, b"fish"), (lobster, b"lobster")])
    node.pin_add(fish, name="a fish")
    node.pin_add(lobster, recursive=False)
    assert {(pin.cid, pin.kind, pin.name) for pin in node.pins("all")} == {
        (fish, "recursive", "a fish"),
        (lobster, "direct", ""),
    }
    node.pin_rm(fish)
    assert [pin.cid for pin in node.pins("direct")] == [lobster]
    with pytest.raises(KuboError, match="not pinned"):
        node.pin_rm(fish)
    with pytest.raises(KuboError, match="invalid type"):
        list(node.pins("loose"))


def test_a_node_that_wants_a_token(kubo: Peer, tmp_path: Path) -> None:
    allowed = {"AuthSecret": "bearer:open-sesame", "AllowedPaths": ["/api/v0"]}
    basic = {"AuthSecret": "basic:carv2:fish", "AllowedPaths": ["/api/v0/version"]}
    with nodes.running(kubo, tmp_path, API_Authorizations=json.dumps({"one": allowed, "two": basic})) as node:
        port = node.url.rpartition("/")[2]
        for user, token in (("", None), ("", "wrong"), ("carv2:lobster@", None)):
            with KuboBlockstore(f"http://{user}127.0.0.1:{port}", token=token) as store:
                with pytest.raises(KuboError, match="Access Denied") as caught:
                    store.version()
                assert caught.value.code == 403
                assert "lobster" not in str(caught.value)
                with pytest.raises(KuboError, match="Access Denied"):  # before all of it is sent
                    store.import_car(bytes(100_000) for _ in range(300))
        with KuboBlockstore(node.url, token="open-sesame") as store:
            assert store.put(carv2.CID.of_data(b"fish"), b"fish")
        with KuboBlockstore(f"http://carv2:fish@127.0.0.1:{port}") as store:
            assert store.version().startswith("0.")


def test_a_node_behind_a_unix_socket_that_dies(kubo: Peer, tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory() as short,
        nodes.running(
            kubo, tmp_path, Addresses_API=json.dumps(f"/unix{os.path.join(short, 'kubo.sock')}")
        ) as node,
        KuboBlockstore(node.url) as store,
    ):
        fish = carv2.CID.of_data(b"fish")
        assert store.put(fish, b"fish")
        assert store[fish] == b"fish"
        assert len(store) >= 1
        listing = store.get_many([fish] * 100)
        assert next(listing).data == b"fish"
        node.process.kill()
        node.process.wait()
        with pytest.raises(KuboError, match="the node cannot be asked"):
            list(listing) and store[fish]


# -- asyncio --------------------------------------------------------------------------------------------------


def test_the_same_with_asyncio(kubo_node: KuboNode, node: KuboBlockstore, tmp_path: Path) -> None:
    whole = write(tmp_path / "sample.car", "many", "v1").read_bytes()
    blocks = BLOCKS["many"]

    async def chunks() -> Any:
        for at in range(0, len(whole), 10_000):
            yield whole[at : at + 10_000]

    async def main() -> None:
        async with AsyncKuboBlockstore(kubo_node.url) as store:
            assert (await store.import_car(chunks())).block_count == len(blocks)
            assert [pin.cid async for pin in store.pins()] == [blocks[0][0]]
            found = [block.data async for block in store.get_many(cid for cid, _ in blocks)]
            assert found == [data for _, data in blocks]
            some = await asyncio.gather(*(store.get(cid) for cid, _ in blocks[:200]))
            assert some == [data for _, data in blocks[:200]]
            exported = b"".join([chunk async for chunk in store.export_car(blocks[0][0])])
            assert exported == b"".join(carv2.iter_car([blocks[0][0]], blocks[:1]))
            await store.pin_rm(blocks[0][0])
            assert not [pin async for pin in store.pins()]

    asyncio.run(main())


def test_a_store_in_memory_and_a_node_hold_the_same(node: KuboBlockstore) -> None:
    memory = MemoryBlockstore(BLOCKS["blake2b"])
    node.put_many((cid, memory[cid]) for cid in memory)
    assert sorted(cid.multihash for cid in node) == sorted(cid.multihash for cid in memory)


def test_the_page_about_nodes_is_right(kubo_node: KuboNode, node: KuboBlockstore, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{kubo_node.url.rpartition('/')[2]}"
    assert run_guide(tmp_path, url) > 10
    assert len(list(node.pins())) == 1
