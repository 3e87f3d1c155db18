"""The commands that take data from a node, and the one that puts it there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import carv2
from carv2.unixfs import pack
from cli.running import Ran, run
from ipfs.kubo_node import Node, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MISSING = carv2.CID.of_data(b"nowhere")


@pytest.fixture
def node() -> Iterator[Node]:
    with running() as node:
        yield node


@pytest.fixture
def root(node: Node, tmp_path: Path) -> carv2.CID:
    """Of a folder ``files`` with a file ``fish``, which the node holds; ``whole.car`` is its archive."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "fish").write_bytes(b"fish")
    root = pack(tmp_path / "files", tmp_path / "whole.car").root
    with carv2.open(tmp_path / "whole.car") as car:
        node.blocks = {block.cid.multihash: block.data for block in car}
    return root


def carv2_(folder: Path, *words: object, code: int = 0) -> Ran:
    ran = run(folder, [str(word) for word in words])
    assert ran.code == code, ran.err
    return ran


def blocks_of(path: Path) -> dict[carv2.CID, bytes]:
    with carv2.open(path) as car:
        return {block.cid: block.data for block in car}


def test_get_dag_and_create(node: Node, root: carv2.CID, tmp_path: Path) -> None:
    carv2_(tmp_path, "get-dag", "--kubo", node.url, root, "out.car")
    assert blocks_of(tmp_path / "out.car") == blocks_of(tmp_path / "whole.car")
    ran = carv2_(tmp_path, "create", "--kubo", node.url, "-o", "below.car", f"/ipfs/{root}/files/fish")
    assert ran.out.decode().strip() == str(carv2.CID.of_data(b"fish"))
    assert blocks_of(tmp_path / "below.car") == {carv2.CID.of_data(b"fish"): b"fish"}
    ran = carv2_(tmp_path, "create", "--json", "--kubo", node.url, "-o", "-", "--version", 1, root)
    assert json.loads(ran.err)["root"] == str(root)
    assert next(block.cid for block in carv2.iter_blocks([ran.out])) == root


def test_import(node: Node, root: carv2.CID, tmp_path: Path) -> None:
    ran = carv2_(tmp_path, "import", "--repo", "repo", "--kubo", node.url, "-o", "mine.car", root)
    assert str(root) in ran.out.decode()
    assert blocks_of(tmp_path / "mine.car") == blocks_of(tmp_path / "whole.car")
    assert "mine.car" in carv2_(tmp_path, "imports", "list", "--repo", "repo").out.decode()


def test_retrieve_from_a_node_into_an_archive_and_a_folder(node: Node, root: carv2.CID, tmp_path: Path) -> None:
    carv2_(tmp_path, "retrieve", "--repo", "repo", root, "--kubo", node.url, "--export", "out")
    assert (tmp_path / "out" / "files" / "fish").read_bytes() == b"fish"


def test_retrieve_from_what_a_node_has_and_a_file(node: Node, root: carv2.CID, tmp_path: Path) -> None:
    del node.blocks[carv2.CID.of_data(b"fish").multihash]
    ran = carv2_(tmp_path, "retrieve", "--repo", "repo", root, "--kubo", node.url, code=1)
    assert "the node: could not find bafkrei" in ran.err
    carv2_(tmp_path, "retrieve", "--repo", "repo", root, "--kubo", node.url, "--from", "whole.car")


def test_retrieve_into_a_node(node: Node, root: carv2.CID, tmp_path: Path) -> None:
    node.blocks.clear()
    (tmp_path / "cut.car").write_bytes((tmp_path / "whole.car").read_bytes()[:150])
    ran = carv2_(tmp_path, "retrieve", root, "--from", "cut.car", "--to-kubo", node.url, code=1)
    assert "State: partial: not pinned" in ran.out.decode()
    assert "cut.car: " in ran.err
    assert node.pins == {}
    ran = carv2_(tmp_path, "retrieve", root, "--from", "whole.car", "--to-kubo", node.url)
    assert ran.out.decode().splitlines()[-1] == "State: pinned"
    assert list(node.pins) == [root]
    with running() as other:
        ran = carv2_(tmp_path, "retrieve", "--json", root, "--kubo", node.url, "--to-kubo", other.url)
        found = json.loads(ran.out)
        assert (found["node"], found["pinned"], found["new_count"]) == (other.url, True, len(node.blocks))
        assert other.blocks == node.blocks
    assert not (tmp_path / ".carv2").exists()


def test_what_a_node_does_not_hold(node: Node, tmp_path: Path) -> None:
    ran = carv2_(tmp_path, "get-dag", "--kubo", node.url, MISSING, "out.car", code=1)
    assert f"could not find {MISSING}" in ran.err
    assert "--online lets it ask its network" in ran.err
    ran = carv2_(tmp_path, "get-dag", "--online", "--kubo", node.url, MISSING, "out.car", code=1)
    assert "--online" not in ran.err
    assert not (tmp_path / "out.car").exists()


def test_a_token_comes_out_of_a_file_and_the_address_out_of_the_repo(
    node: Node, root: carv2.CID, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    (tmp_path / "ipfs").mkdir()
    (tmp_path / "ipfs" / "api").write_text(f"/ip4/127.0.0.1/tcp/{node.url.rpartition(':')[2]}")
    words = ["get-dag", "--kubo", "auto", "--kubo-token-file", "token", str(root), "out.car"]
    ran = run(tmp_path, words, environment={"IPFS_PATH": str(tmp_path / "ipfs")})
    assert ran.code == 0, ran.err
    assert {headers["Authorization"] for headers in node.headers} == {"Bearer open-sesame"}
    (tmp_path / "token").write_text("\nopen-sesame")
    ran = run(tmp_path, words, environment={"IPFS_PATH": str(tmp_path / "ipfs")})
    assert (ran.code, "first line is empty" in ran.err) == (2, True)
    (tmp_path / "token").write_text("open-sesame")
    ran = run(tmp_path, words, environment={"IPFS_PATH": str(tmp_path / "no-node")})
    assert ran.code == 1
    assert "no-node/api" in ran.err


@pytest.mark.parametrize(
    "line",
    [
        "get-dag --kubo nonsense ROOT out.car",
        "get-dag --kubo URL whole.car ROOT out.car",
        "get-dag --kubo URL text out.car",
        "get-dag --online whole.car out.car",
        "create --kubo-token-file token -o out.car files",
        "create --kubo URL -o out.car ROOT ROOT",
        "create --kubo URL --profile lotus -o out.car ROOT",
        "create --kubo URL -o out.car text",
        "import --kubo URL ROOT",
        "import -o out.car whole.car",
        "import --car --kubo URL -o out.car ROOT",
        "retrieve ROOT --from whole.car --to-kubo URL --id 7",
        "retrieve ROOT --from whole.car --to-kubo URL --export out",
        "retrieve ROOT --from whole.car --online",
    ],
)
def test_flags_that_do_not_go_together(node: Node, root: carv2.CID, tmp_path: Path, line: str) -> None:
    before = sorted(tmp_path.iterdir())
    words = line.replace("URL", node.url).replace("ROOT", str(root)).split()
    ran = run(tmp_path, words, environment={"CARV2_PATH": str(tmp_path / "repo")})
    assert ran.code == 2, ran.err
    assert "Try 'carv2 " in ran.err
    assert sorted(tmp_path.iterdir()) == before
