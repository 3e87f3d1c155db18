"""go-ipld-prime's codecs and go-car's debug text beside ours: links, what is accepted, what is written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carv2 import CID, codec
from carv2.codec import dag_cbor, dag_json, dag_pb
from carv2.errors import CodecError
from carv2.operations.patch import to_patch
from codec.test_dag_cbor import ACCEPTED, REFUSED
from codec.test_dag_pb import DATA, HASH, KNOWN, LINKS, LOOSE, NAME, SIZE, node
from codec.test_dag_pb import REFUSED as REFUSED_PB
from codec.values import INTEGERS, VALUES, canonical
from helpers.archives import cid_v1
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from interop.conftest import Peer

FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
CODES = {"dag-pb": 0x70, "dag-cbor": 0x71, "dag-json": 0x0129}


class Said(NamedTuple):
    """What Go made of a block."""

    links: list[bytes]
    data: bytes
    """Of the value, encoded again; nothing if it cannot be."""


def ask(go: Peer, name: str, blocks: list[bytes]) -> list[Said | None]:
    lines = go("decode-blocks", stdin="".join(f"{name} {data.hex()}\n" for data in blocks).encode()).splitlines()
    assert len(lines) == len(blocks)
    return [None if line == "error" else _said(*line.split(" ")[1:]) for line in lines]


def _said(links: str, data: str) -> Said:
    return Said([] if links == "-" else [bytes.fromhex(link) for link in links.split(",")], bytes.fromhex(data))


def ours(name: str, data: bytes) -> list[bytes] | None:
    try:
        return codec.links_of(cid_v1(data, codec=CODES[name]), data)
    except CodecError:
        return None


def within_int64(value: Any) -> bool:
    if isinstance(value, (int, float)):  # Go writes whole floats as integers
        return -(1 << 63) <= value < 1 << 63
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(within_int64, items))


@FEW
@given(values=st.lists(VALUES.filter(within_int64), min_size=10, max_size=40))
def test_values_have_the_same_links_and_bytes(go: Peer, values: list[Any]) -> None:
    blocks = [canonical(value) for value in values]
    for data, said in zip(blocks, ask(go, "dag-cbor", blocks), strict=True):
        assert said == Said(dag_cbor.links(data), data)
    texts = [dag_json.encode(value) for value in values]
    for text, said in zip(texts, ask(go, "dag-json", texts), strict=True):
        assert said is not None
        assert said.links == dag_json.links(text)
        if b".0" not in text:  # Go writes whole floats as integers
            assert said.data == text


@FEW
@given(blocks=st.lists(st.tuples(VALUES.map(canonical), st.data()), min_size=10, max_size=20))
def test_what_go_reads_of_a_changed_block_is_read(go: Peer, blocks: list[tuple[bytes, st.DataObject]]) -> None:
    changed = [_changed(*block) for block in blocks]
    for data, said in zip(changed, ask(go, "dag-cbor", changed), strict=True):
        if said is not None and not _has_stray_tag(data):
            found = ours("dag-cbor", data)
            assert found is not None, data.hex()
            assert Counter(found) == Counter(said.links)


def _changed(data: bytes, choice: st.DataObject) -> bytes:
    held = bytearray(data)
    held[choice.draw(st.integers(0, len(held) - 1))] = choice.draw(st.integers(0, 255))
    return bytes(held)


def _has_stray_tag(data: bytes) -> bool:
    """Whether what is wrong is a tag that Go passes over."""
    try:
        dag_cbor.links(data)
    except CodecError as error:
        return any(word in str(error) for word in ("tag", "key that is no text", "no byte string"))
    return False


@FEW
@given(nodes=st.lists(st.tuples(st.lists(LINKS, max_size=5), st.none() | st.binary(max_size=99)), min_size=20))
def test_dag_pb_nodes_have_the_same_links_and_bytes(go: Peer, nodes: list[Any]) -> None:
    small = [
        dag_pb.PBNode([link._replace(size=None if link.size is None else link.size >> 1) for link in links], data)
        for links, data in nodes
    ]  # sizes of 63 bits, as Go has them
    blocks = [dag_pb.encode(item) for item in small]
    for data, said in zip(blocks, ask(go, "dag-pb", blocks), strict=True):
        assert said == Said(dag_pb.links(data), data)


@FEW
@given(st.data())
def test_a_changed_dag_pb_node_is_read_or_refused_by_both(go: Peer, data: st.DataObject) -> None:
    whole = [node(HASH + NAME + SIZE, HASH) + DATA, DATA + node(HASH + SIZE), node(HASH + b"\x12\x00")]
    changed = [_changed(data.draw(st.sampled_from(whole)), data) for _ in range(60)]
    for block, said in zip(changed, ask(go, "dag-pb", changed), strict=True):
        assert ours("dag-pb", block) == (None if said is None else said.links), block.hex()


def test_the_vectors_of_the_unit_tests_hold_for_go(go: Peer) -> None:
    fine = [raw for raw, _ in KNOWN] + [raw for _, raw, _ in LOOSE]
    assert [said and said.links for said in ask(go, "dag-pb", fine)] == [dag_pb.links(raw) for raw in fine]
    assert ask(go, "dag-pb", list(REFUSED_PB.values())) == [None] * len(REFUSED_PB)
    loose = [raw for raw, _, _ in ACCEPTED.values()]
    assert [said and said.links for said in ask(go, "dag-cbor", loose)] == [
        links for _, links, _ in ACCEPTED.values()
    ]


def test_what_go_reads_of_the_refused_is_known(go: Peer) -> None:
    said = dict(zip(REFUSED, ask(go, "dag-cbor", list(REFUSED.values())), strict=True))
    assert {name for name, answer in said.items() if answer is not None} == {
        "a date",
        "a link that is text",
        "a link that is a list",
        "129 lists in each other",
        "129 endless lists in each other",
    }


@FEW
@given(
    numbers=st.lists(
        (INTEGERS | st.floats(allow_nan=False, allow_infinity=False)).filter(within_int64), min_size=50
    )
)
def test_numbers_are_written_alike(go: Peer, numbers: list[float]) -> None:
    blocks = [dag_json.encode(number) for number in numbers]
    for data, said in zip(blocks, ask(go, "dag-json", blocks), strict=True):
        assert said is not None
        assert data in {said.data, said.data + b".0"}


@pytest.mark.parametrize(
    "name",
    [
        "gateway-conformance/dir_listing/fixtures.car",
        "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car",
        "gateway-conformance/path_gateway_dag/dag-json-traversal.car",
        "gateway-conformance/path_gateway_dag/gateway-json-cbor.car",
        "gateway-conformance/path_gateway_dag/plain-cbor.car",
        "gateway-conformance/path_gateway_dag/plain-json.car",
        "go-car-cli/wikipedia-cryptographic-hash-function.car",
        "go-car/sample-v1.car",
        "go-car/sample-wrapped-v2.car",
        "spec/carv1-basic.car",
        "spec/carv2-basic.car",
    ],
)
def test_archives_look_the_same_as_text(go: Peer, name: str) -> None:
    path = shared_fixture(name)
    assert b"".join(to_patch(path, name=str(path))) == go("debug", path).encode()


def test_links_in_any_base_are_the_same(go: Peer) -> None:
    cid = CID.of("bafkqaalb")
    bases = ["base16", "base32", "base32upper", "base36", "base58btc", "base64", "base64url"]
    texts = [b'{"/":"%s"}' % cid.encode(base).encode() for base in bases]
    assert [said and said.links for said in ask(go, "dag-json", texts)] == [[cid.raw]] * len(bases)
    assert [dag_json.links(text) for text in texts] == [[cid.raw]] * len(bases)
