"""What `list --verbose` says of blocks that claim to be dag-pb, and of those that are no UnixFS."""

from __future__ import annotations

import pytest

from carv2 import CID, Block
from carv2.cli import described
from carv2.codec import dag_pb
from carv2.codec.dag_pb import PBLink, PBNode
from helpers.archives import FISH

MANY = PBNode([PBLink(FISH[0], None if at else "a", at) for at in range(5)], b"\x08\x01")

SAID = [
    (b"\xff", ["\tnot interpretable as dag-pb: a protobuf varint that is cut off"]),
    (dag_pb.encode(PBNode([])), ["\t0 links. 0 bytes", "\tnot interpretable as unixfs: no data"]),
    (dag_pb.encode(PBNode([], b"\xff")), ["\t0 links. 1 bytes", "\tnot interpretable as unixfs: "]),
    (dag_pb.encode(PBNode([], b"\x08\x01")), ["\t0 links. 2 bytes", "\tUnixfs Directory"]),
    (
        dag_pb.encode(MANY),
        ["\t5 links. 2 bytes", *["\t\t<no name>["] * 3, "\t\t(5 total)", "\tUnixfs Directory"],
    ),
]


def block_of(data: bytes) -> Block:
    cid = CID.of_data(data, codec="dag-pb")
    return Block(cid, data)


@pytest.mark.parametrize(("data", "said"), SAID)
def test_a_block_is_described_as_far_as_it_can_be_read(data: bytes, said: list[str]) -> None:
    block = block_of(data)
    lines = list(described.lines(block))
    assert lines[0] == f"dag-pb: {block.cid}"
    assert len(lines) == 1 + len(said)
    for line, start in zip(lines[1:], said, strict=True):
        assert line.startswith(start)


def test_a_block_that_is_not_dag_pb_is_named_and_no_more() -> None:
    block = Block(CID(FISH[0]), FISH[1])
    assert list(described.lines(block)) == [f"raw: {block.cid}"]
    assert described.fields(block) == {"codec": "raw"}


def test_in_json_what_cannot_be_read_is_a_problem() -> None:
    assert "cut off" in str(described.fields(block_of(b"\xff"))["problem"])
    assert "problem" in described.fields(block_of(dag_pb.encode(PBNode([], b"\xff"))))
    assert described.fields(block_of(dag_pb.encode(PBNode([])))) == {
        "codec": "dag-pb",
        "links": [],
        "unixfs": None,
    }
    found = described.fields(block_of(dag_pb.encode(MANY)))
    assert found["unixfs"] == "Directory"
    assert len(found["links"]) == 5  # type: ignore[arg-type]
