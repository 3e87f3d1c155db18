"""Root CIDs that others have published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carv2.blockstore import MemoryBlockstore
from carv2.codec import dag_pb
from carv2.unixfs import data as unixfs
from carv2.unixfs import import_file, import_tree
from helpers.shared import shared_fixture
from unixfs_import.inputs import key_stream, names

VECTORS = "unixfs/ipip-0499.json"


def forget(cid: object, data: bytes) -> None:
    pass


def vectors(kind: str) -> list[dict[str, object]]:
    return json.loads(shared_fixture(VECTORS).read_text())[kind]


@pytest.mark.parametrize("number", range(7))
def test_the_files_of_ipip_0499(number: int) -> None:
    vector = vectors("files")[number]
    data = vector["text"].encode() if "text" in vector else key_stream(vector["seed"], vector["size"])
    assert str(import_file(data, forget, profile=vector["profile"])) == vector["cid"]


@pytest.mark.parametrize("number", range(3))
def test_the_directories_of_ipip_0499(number: int, tmp_path: Path) -> None:
    vector = vectors("directories")[number]
    alphabet = json.loads(shared_fixture(VECTORS).read_text())["alphabet"]
    sizes = [vector["name_length"]] * (vector["count"] - 1) + [vector["last_name_length"]]
    for name in names(vector["seed"], alphabet, sizes):
        (tmp_path / name).write_bytes(b"x")
    store = MemoryBlockstore()
    report = import_tree(tmp_path, store.put, profile=vector["profile"], wrap=False)
    assert str(report.root) == vector["cid"]
    kind = unixfs.decode(dag_pb.decode(store[report.root]).data).type
    assert kind == (unixfs.HAMT if vector["sharded"] else unixfs.DIRECTORY)
    assert report.file_count == vector["count"]
    assert report.size == vector["count"]


def test_all_vectors_are_run() -> None:
    assert len(vectors("files")) == 7
    assert len(vectors("directories")) == 3


@pytest.mark.parametrize("version", [0, 1])
def test_what_is_empty(version: int, tmp_path: Path) -> None:
    constants = json.loads(shared_fixture(VECTORS).read_text())["constants"]
    profile = "unixfs-v1-2025" if version else "unixfs-v0-2015"
    assert (
        str(import_tree(tmp_path, forget, profile=profile, wrap=False).root)
        == constants[f"empty_directory_v{version}"]
    )
    empty_file = (
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH" if not version else constants["empty_raw_file_v1"]
    )
    assert str(import_file(b"", forget, profile=profile)) == empty_file


def test_an_empty_file_of_lotus_is_in_its_cid() -> None:
    blocks: list[bytes] = []
    assert str(import_file(b"", lambda cid, data: blocks.append(data), profile="lotus")) == "bafkqaaa"
    assert not blocks
