"""The specification's CARv1 example, rebuilt from its description and taken apart again (vector G8)."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import pytest

from carv2.cid import CID
from carv2.index import IndexBuilder, parse
from carv2.reader import CarReader
from carv2.writer import CarWriter, iter_car
from helpers.archives import Record, index_sorted
from helpers.binary import assert_bytes_equal
from helpers.shared import own_fixture, shared_fixture

SHA256 = "543ff9c45bbcb5c439e8f8683115cf97fc5de6bb14175a749055304427c33c2e"
G8_OFFSETS = [100, 192, 325, 366, 496, 537, 619, 660]


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(own_fixture("spec-carv1-basic.json").read_text())
    return described


def rebuilt(example: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    with CarWriter(sink, example["roots"]) as car:
        car.write_all((block["cid"], bytes.fromhex(block["data"])) for block in example["blocks"])
    return sink.getvalue()


def test_the_description_makes_the_published_file(example: dict[str, Any]) -> None:
    archive = rebuilt(example)
    assert len(archive) == 715
    assert hashlib.sha256(archive).hexdigest() == SHA256 == example["sha256"]


def test_chunks_for_a_stream_add_up_to_the_same_file(example: dict[str, Any]) -> None:
    blocks = [(block["cid"], bytes.fromhex(block["data"])) for block in example["blocks"]]
    assert_bytes_equal(b"".join(iter_car(example["roots"], blocks)), rebuilt(example))


def test_every_position_and_size_is_what_the_description_says(example: dict[str, Any]) -> None:
    car = CarReader(rebuilt(example))
    assert [str(root) for root in car.roots] == example["roots"]
    assert car.first_section == example["headerLength"] == 100
    assert [section.offset for section in car.sections()] == G8_OFFSETS
    assert [
        (str(s.cid), s.position, s.data_position, s.size, s.data_position + s.size - s.position)
        for s in car.sections()
    ] == [
        (block["cid"], block["offset"], block["blockOffset"], block["blockLength"], block["length"])
        for block in example["blocks"]
    ]


def test_the_index_of_the_example_is_that_of_g8(example: dict[str, Any]) -> None:
    builder = IndexBuilder(0x0400)
    records = []
    for block in example["blocks"]:
        cid = CID.of(block["cid"])
        builder.add(cid, block["offset"])
        records.append(Record(cid.hash_code, cid.digest, block["offset"]))
    raw = builder.to_bytes()
    assert raw[:18].hex() == "800801000000280000004001000000000000"
    assert_bytes_equal(raw, index_sorted(records))
    assert len(parse(raw)) == 8


@pytest.mark.parametrize("key", ["offset", "length", "blockOffset", "blockLength"])
def test_our_description_agrees_with_the_published_one(example: dict[str, Any], key: str) -> None:
    published = json.loads(shared_fixture("spec/carv1-basic.json").read_text())
    assert [block[key] for block in example["blocks"]] == [block[key] for block in published["blocks"]]
    assert [block["cid"] for block in example["blocks"]] == [block["cid"]["/"] for block in published["blocks"]]
    assert example["roots"] == [root["/"] for root in published["header"]["roots"]]


def test_the_published_file_is_the_one_rebuilt(example: dict[str, Any]) -> None:
    assert_bytes_equal(shared_fixture("spec/carv1-basic.car").read_bytes(), rebuilt(example))
