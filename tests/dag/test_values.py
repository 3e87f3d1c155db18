"""Nodes as paths and selectors see them: what is not there is left out, as the schema of dag-pb has it."""

from __future__ import annotations

from typing import Any

import pytest

from carv2.cid import CID
from carv2.codec.dag_pb import PBLink, PBNode
from carv2.dag._values import data_model
from helpers.archives import FISH

LINK = {"Hash": CID(FISH[0])}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (PBNode([]), {"Links": []}),
        (PBNode([], b""), {"Links": [], "Data": b""}),
        (PBNode([PBLink(FISH[0])]), {"Links": [LINK]}),
        (PBNode([PBLink(FISH[0], "")]), {"Links": [{**LINK, "Name": ""}]}),
        (PBNode([PBLink(FISH[0], None, 0)], b"x"), {"Links": [{**LINK, "Tsize": 0}], "Data": b"x"}),
        (PBNode([PBLink(FISH[0], "n", 5)]), {"Links": [{**LINK, "Name": "n", "Tsize": 5}]}),
    ],
)
def test_a_dag_pb_node_has_what_it_has_and_links_come_first(node: PBNode, expected: dict[str, Any]) -> None:
    found = data_model(node)
    assert found == expected
    assert list(found) == list(expected)
    assert [list(link) for link in found["Links"]] == [list(link) for link in expected["Links"]]
