"""Selectors: go-ipld-prime loads the same blocks in the same order."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import ReadOnlyBlockstore
from carv2.dag import select
from carv2.errors import CarError
from dag.dags import Dag, dags
from dag.selectors import selectors
from helpers.shared import shared_fixture

if TYPE_CHECKING:
    from pathlib import Path

    from interop.conftest import Peer

EVERYTHING = '{"R":{"l":{"none":{}},":>":{"a":{">":{"@":{}}}}}}'
FIXTURES = {
    "go-car-cli/simple-unixfs.car": [
        EVERYTHING,
        '{".":{}}',
        '{"R":{"l":{"depth":5},":>":{"a":{">":{"@":{}}}}}}',
        '{"f":{"f>":{"Links":{"a":{">":{"f":{"f>":{"Hash":{"a":{">":{".":{}}}}}}}}}}}}',
        '{"f":{"f>":{"Links":{"r":{"^":1,"$":9,">":{"a":{">":{".":{}}}}}},"Data":{".":{}}}}}',
        '{"R":{"l":{"none":{}},":>":{"f":{"f>":{"Links":{"i":{"i":1,">":{"f":{"f>":{"Hash":{"@":{}}}}}}}}}}}}',
    ],
    "go-car-cli/sample-v1.car": [
        *(EVERYTHING.replace('"none":{}', f'"depth":{depth}') for depth in (1, 2, 3, 5, 8)),
        '{"R":{"l":{"none":{}},":>":{"i":{"i":2,">":{"@":{}}}}}}',
        '{"a":{">":{"a":{">":{"a":{">":{".":{}}}}}}}}',
    ],
    "gateway-conformance/path_gateway_dag/dag-cbor-traversal.car": [EVERYTHING, '{"a":{">":{".":{}}}}'],
    "gateway-conformance/path_gateway_dag/dag-json-traversal.car": [EVERYTHING, '{"a":{">":{".":{}}}}'],
}


def theirs(go: Peer, path: Path, root: str, chosen: list[str], *flags: str) -> list[dict[str, Any]]:
    lines = "".join(f"{root} {selector}\n" for selector in chosen)
    return [json.loads(line) for line in go("select", *flags, path, stdin=lines.encode()).splitlines()]


def ours(path: Path, root: str, selector: str, *, repeats: bool = False) -> list[str]:
    with ReadOnlyBlockstore(path) as store:
        visits = select(store, root, selector, repeats=repeats, max_blocks=20_000, on_missing=lambda _: None)
        return [str(visit.cid) for visit in visits]


def first_of_each(loaded: list[str]) -> list[str]:
    return list(dict.fromkeys(loaded))


@pytest.mark.parametrize("name", sorted(FIXTURES))
def test_blocks_of_fixtures_are_loaded_in_the_same_order(go: Peer, name: str) -> None:
    path = shared_fixture(name)
    with carv2.open(path) as car:
        root = str(car.roots[0])
    for selector, found in zip(FIXTURES[name], theirs(go, path, root, FIXTURES[name]), strict=True):
        assert "error" not in found, selector
        assert ours(path, root, selector) == first_of_each(found["loaded"]), selector
    once = theirs(go, path, root, [EVERYTHING], "--once")[0]  # else there are very many ways through some
    assert ours(path, root, EVERYTHING) == once["loaded"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dags(), st.data())
def test_blocks_of_any_dag_are_loaded_in_the_same_order_by_any_selector(
    go: Peer, tmp_path: Path, dag: Dag, data: st.DataObject
) -> None:
    path = tmp_path / "dag.car"
    path.write_bytes(dag.archive)
    cids = tuple(str(carv2.CID(cid)) for cid in dag.links)
    root = str(carv2.CID(max(dag.links, key=lambda cid: (cid in dag.blocks, len(set(dag.links[cid]))))))
    chosen = data.draw(st.lists(selectors(cids=cids).map(json.dumps), min_size=1, max_size=8))
    for selector, found in zip(chosen, theirs(go, path, root, chosen, "--skip-missing"), strict=True):
        error = found.get("error", "")
        if error.startswith("parse:"):
            with pytest.raises(CarError):
                ours(path, root, selector)
        elif not error:
            assert ours(path, root, selector) == first_of_each(found["loaded"]), selector


def test_text_that_is_no_selector_is_refused_by_both(go: Peer, tmp_path: Path) -> None:
    path = tmp_path / "dag.car"
    path.write_bytes(b"".join(carv2.iter_car([], [(carv2.CID.of_data(b"fish"), b"fish")])))
    root = str(carv2.CID.of_data(b"fish"))
    chance = random.Random(1)
    whole = [EVERYTHING, *FIXTURES["go-car-cli/simple-unixfs.car"]]
    broken = []
    for _ in range(300):
        text = chance.choice(whole)
        at = chance.randrange(len(text))
        broken.append(text[:at] + chance.choice(["", '"', "1", "{", "}", "a", "@", ".", "R"]) + text[at + 1 :])
    for text, found in zip(broken, theirs(go, path, root, broken), strict=True):
        refused = found.get("error", "").startswith("parse:")
        try:
            carv2.dag.selector.parse(text)
        except CarError:
            assert refused, text
        else:
            assert not refused, (text, found)
