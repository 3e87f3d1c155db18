"""Other programs' archives: each block's links are found, and lead to blocks of the archive where they should."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

import carv2
from carv2 import codec
from carv2.codec import dag_cbor, dag_json
from helpers.shared import shared_fixture

ARCHIVES = {  # blocks, links, links that lead out of the archive, links to identity CIDs
    "gateway-conformance/dir_listing/fixtures.car": (10, 9, 0, 0),
    "gateway-conformance/gateway-cache/fixtures.car": (5, 4, 0, 0),
    "gateway-conformance/gateway-raw-block.car": (3, 2, 0, 0),
    "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car": (3, 2, 0, 0),
    "gateway-conformance/path_gateway_dag/dag-json-traversal.car": (3, 2, 0, 0),
    "gateway-conformance/path_gateway_dag/dag-pb.car": (4, 3, 0, 0),
    "gateway-conformance/path_gateway_dag/gateway-json-cbor.car": (11, 10, 0, 0),
    "gateway-conformance/path_gateway_dag/plain-cbor-that-can-be-dag-cbor.car": (1, 0, 0, 0),
    "gateway-conformance/path_gateway_dag/plain-cbor-that-can-be-dag-json.car": (1, 0, 0, 0),
    "gateway-conformance/path_gateway_dag/plain-cbor.car": (1, 0, 0, 0),
    "gateway-conformance/path_gateway_dag/plain-json.car": (1, 0, 0, 0),
    "gateway-conformance/path_gateway_unixfs/dir-with-files.car": (9, 9, 0, 0),
    "gateway-conformance/path_gateway_unixfs/symlink.car": (3, 2, 0, 0),
    "go-car-cli/simple-unixfs-missing-blocks.car": (17, 19, 3, 0),
    "go-car-cli/simple-unixfs.car": (22, 21, 0, 0),
    "go-car-cli/wikipedia-cryptographic-hash-function.car": (5, 684, 680, 0),
    "go-car/sample-v1.car": (1049, 6750, 0, 1918),
    "spec/carv1-basic.car": (8, 6, 0, 0),
    "spec/carv2-basic.car": (5, 4, 0, 0),
}


@pytest.mark.parametrize(("name", "expected"), ARCHIVES.items())
def test_links_lead_to_blocks(name: str, expected: tuple[int, int, int, int]) -> None:
    with carv2.open(shared_fixture(name)) as car:
        blocks = list(car)
    held = {block.cid_bytes for block in blocks}
    links = [link for block in blocks for link in block.links()]
    out = [link for link in links if link.raw not in held and not link.is_identity]
    assert (len(blocks), len(links), len(out), sum(link.is_identity for link in links)) == expected


@pytest.mark.parametrize("name", [name for name in ARCHIVES if "sample-v1" not in name])
def test_values_are_read_and_written_back_byte_for_byte(name: str) -> None:
    with carv2.open(shared_fixture(name)) as car:
        for block in car:
            value = block.decode()
            if block.cid.codec_name not in {"cbor", "json"}:  # which have no one form
                assert codec.encode(block.cid.codec, value) == block.data, block


def test_the_traversal_fixtures_say_what_they_say() -> None:
    folder = "gateway-conformance/path_gateway_dag"
    for name in ("dag-cbor-traversal", "dag-json-traversal"):
        with carv2.open(shared_fixture(f"{folder}/{name}.car")) as car:
            top, middle, leaf = [block.decode() for block in car]
            assert top["foo"]["object"] == {"banana": 10, "monkey": False}
            assert [top["foo"]["link"], middle["bar"]] == [section.cid for section in car.sections()][1:]
            assert leaf == {"hello": "this is not a link"}


def test_filecoins_blocks_have_texts_that_are_no_text() -> None:
    with carv2.open(shared_fixture("go-car/sample-v1.car")) as car:
        blocks = [block for block in car if block.cid.codec_name == "dag-cbor"]
    tally: Counter[str] = Counter()
    for block in blocks:
        try:
            value = block.decode()
        except carv2.CarError:
            tally["loose"] += 1
            value = dag_cbor.decode(block.data, strict=False)
            dag_json.text_of(value, lossy=True)
        else:
            tally["strict"] += 1
            assert dag_cbor.encode(value) == block.data
    assert tally == {"strict": 903, "loose": 140}


def test_go_ipld_prime_finds_the_same_links_in_filecoins_blocks() -> None:
    with carv2.open(shared_fixture("go-car/sample-v1.car")) as car:
        found = b"".join(link.raw for block in car for link in block.links())
    assert hashlib.sha256(found).hexdigest()[:16] == "6717117cbdb06c6c"  # of what it finds
