"""Root CIDs that others have published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from carv2.blockstore import MemoryBlockstore
from carv2.codec import dag_pb
from carv2.unixfs import data as unixfs
from carv2.unixfs import import_file, import_tree
from helpers.shared import shared_fixture
from unixfs_import.inputs import key_stream, names

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = "unixfs/ipip-0499.json"


def forget(cid: object, data: bytes) -> None:
    pass


def published(kind: str) -> Any:
    return json.loads(shared_fixture(VECTORS).read_text())[kind]


@pytest.mark.parametrize("number", range(7))
def test_the_files_of_ipip_0499(number: int) -> None:
    vector = published("files")[number]
    data = vector["text"].encode() if "text" in vector else key_stream(vector["seed"], vector["size"])
    assert str(import_file(data, forget, profile=vector["profile"])) == vector["cid"]


@pytest.mark.parametrize("number", range(3))
def test_the_directories_of_ipip_0499(number: int, tmp_path: Path) -> None:
    vector = published("directories")[number]
    alphabet = published("alphabet")
    sizes = [vector["name_length"]] * (vector["count"] - 1) + [vector["last_name_length"]]
    for name in names(vector["seed"], alphabet, sizes):
        (tmp_path / name).write_bytes(b"x")
    store = MemoryBlockstore()
    report = import_tree(tmp_path, store.put, profile=vector["profile"], wrap=False)
    assert str(report.root) == vector["cid"]
    kind = unixfs.decode(dag_pb.decode(store[report.root]).data or b"").type
    assert kind == (unixfs.HAMT if vector["sharded"] else unixfs.DIRECTORY)
    assert report.file_count == vector["count"]
    assert report.size == vector["count"]


def test_all_vectors_are_run() -> None:
    assert len(published("files")) == 7
    assert len(published("directories")) == 3


@pytest.mark.parametrize(("version", "profile"), [(0, "unixfs-v0-2015"), (1, "unixfs-v1-2025")])
def test_what_is_empty(version: int, profile: str, tmp_path: Path) -> None:
    constants = published("constants")
    root = import_tree(tmp_path, forget, profile=profile, wrap=False).root
    assert str(root) == constants[f"empty_directory_v{version}"]
    file = str(import_file(b"", forget, profile=profile))
    assert file == (
        constants["empty_raw_file_v1"] if version else "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"
    )


def test_an_empty_file_of_lotus_is_in_its_cid() -> None:
    blocks: list[bytes] = []
    assert str(import_file(b"", lambda cid, data: blocks.append(data), profile="lotus")) == "bafkqaaa"
    assert not blocks
