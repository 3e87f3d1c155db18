"""Selectors: what is one, what each form takes, and selectors made to be hard. See also tests/interop."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import carv2
from carv2.blockstore import MemoryBlockstore
from carv2.dag import export, select, selector, walk
from carv2.dag.selector import (
    EVERYTHING,
    MATCH_EVERYTHING,
    MATCH_POINT,
    ExploreAll,
    ExploreFields,
    ExploreIndex,
    ExploreInterpretAs,
    ExploreRange,
    ExploreRecursive,
    ExploreUnion,
    Matcher,
    RecursiveEdge,
    Selector,
    parse,
    selector_for_path,
)
from carv2.errors import BlockNotFoundError, BudgetError, SelectorError, UnknownCodecError
from dag.dags import Dag, cbor_node, chain, dags, doubling, pb_node
from dag.selectors import selectors
from helpers import archives
from helpers.archives import BARRELEYE, DAG_CBOR, DAG_PB, FISH, LOBSTER, cid_v1

FISH_CID = str(carv2.CID(FISH[0]))
M: Any = {".": {}}
E: Any = {"@": {}}

FORMS: dict[str, tuple[Any, Selector]] = {
    "matcher": (M, Matcher()),
    "matcher of a range": ({".": {"subset": {"[": -5, "]": -1}}}, Matcher((-5, -1))),
    "all": ({"a": {">": M}}, ExploreAll(Matcher())),
    "fields": (
        {"f": {"f>": {"b": M, "a": {"a": {">": M}}}}},
        ExploreFields((("b", Matcher()), ("a", ExploreAll(Matcher())))),
    ),
    "no fields": ({"f": {"f>": {}}}, ExploreFields(())),
    "index": ({"i": {"i": 3, ">": M}}, ExploreIndex(3, Matcher())),
    "range": ({"r": {"^": 1, "$": 4, ">": M}}, ExploreRange(1, 4, Matcher())),
    "union": ({"|": [M, {"a": {">": M}}]}, ExploreUnion((Matcher(), ExploreAll(Matcher())))),
    "recursion": ({"R": {"l": {"none": {}}, ":>": {"a": {">": E}}}}, EVERYTHING),
    "recursion with a depth": (
        {"R": {"l": {"depth": 7}, ":>": {"a": {">": E}}}},
        ExploreRecursive(ExploreAll(RecursiveEdge()), 7),
    ),
    "recursion that stops": (
        {"R": {"l": {"none": {}}, ":>": {"a": {">": E}}, "!": {"/": {"/": FISH_CID}}}},
        ExploreRecursive(ExploreAll(RecursiveEdge()), None, carv2.CID(FISH[0])),
    ),
    "interpretation": ({"~": {"as": "unixfs", ">": M}}, ExploreInterpretAs("unixfs", Matcher())),
    "with fields that mean nothing": ({"a": {">": M, "other": 1}}, ExploreAll(Matcher())),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_read(name: str) -> None:
    form, expected = FORMS[name]
    found = parse(json.dumps(form))
    assert found == expected
    assert hash(found) == hash(expected)
    with pytest.raises((AttributeError, TypeError)):
        found.anything = 1  # type: ignore[attr-defined]


BROKEN: dict[str, tuple[str, str]] = {  # text, place
    "no JSON": ("{", ""),
    "nothing": ("", ""),
    "no object": ("[]", ""),
    "null": ("null", ""),
    "two forms": ('{".":{},"a":{}}', ""),
    "no form": ("{}", ""),
    "unknown form": ('{"x":{}}', ""),
    "the same key twice": ('{"a":{">":{".":{}},">":{".":{}}}}', ""),
    "a constant": ('{"i":{"i":NaN,">":{".":{}}}}', ""),
    "no next": ('{"a":{}}', "a"),
    "next is no selector": ('{"a":{">":[]}}', "a >"),
    "unknown form within": ('{"a":{">":{"x":{}}}}', "a >"),
    "matcher is no object": ('{".":1}', "."),
    "subset without end": ('{".":{"subset":{"[":1}}}', ". subset"),
    "subset backwards": ('{".":{"subset":{"[":3,"]":1}}}', ". subset"),
    "no fields": ('{"f":{}}', "f"),
    "fields are a list": ('{"f":{"f>":[]}}', "f f>"),
    "a field is no selector": ('{"f":{"f>":{"k":3}}}', "f f> k"),
    "no index": ('{"i":{">":{".":{}}}}', "i"),
    "an index that is text": ('{"i":{"i":"1",">":{".":{}}}}', "i i"),
    "an index that is a fraction": ('{"i":{"i":1.5,">":{".":{}}}}', "i i"),
    "an index that is true": ('{"i":{"i":true,">":{".":{}}}}', "i i"),
    "an index too large": ('{"i":{"i":9223372036854775808,">":{".":{}}}}', "i i"),
    "an empty range": ('{"r":{"^":2,"$":2,">":{".":{}}}}', "r"),
    "a union that is an object": ('{"|":{}}', "|"),
    "a member that is none": ('{"|":[{".":{}},7]}', "| 1"),
    "no limit": ('{"R":{":>":{"a":{">":{"@":{}}}}}}', "R"),
    "an unknown limit": ('{"R":{"l":{"high":{}},":>":{"a":{">":{"@":{}}}}}}', "R l"),
    "a limit that is no number": ('{"R":{"l":{"depth":{}},":>":{"a":{">":{"@":{}}}}}}', "R l depth"),
    "no sequence": ('{"R":{"l":{"none":{}}}}', "R"),
    "no edge": ('{"R":{"l":{"none":{}},":>":{"a":{">":{".":{}}}}}}', "R"),
    "an edge of the inner one only": (
        '{"R":{"l":{"none":{}},":>":{"R":{"l":{"none":{}},":>":{"a":{">":{"@":{}}}}}}}}',
        "R",
    ),
    "an edge alone": ('{"a":{">":{"@":{}}}}', "a > @"),
    "an edge that is no object": ('{"R":{"l":{"none":{}},":>":{"@":1}}}', "R :> @"),
    "a condition that is none": ('{"R":{"l":{"none":{}},":>":{"@":{}},"!":{}}}', "R !"),
    "an unknown condition": ('{"R":{"l":{"none":{}},":>":{"@":{}},"!":{"=":1}}}', "R !"),
    "a condition without a CID": ('{"R":{"l":{"none":{}},":>":{"@":{}},"!":{"/":{"/":"x"}}}}', "R ! / /"),
    "an interpretation without a name": ('{"~":{">":{".":{}}}}', "~"),
    "an interpretation as a number": ('{"~":{"as":1,">":{".":{}}}}', "~ as"),
    "a lone surrogate": ('{"\\ud800":{}}', ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_selector_is_refused_with_the_place(name: str) -> None:
    text, place = BROKEN[name]
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.place == place
    assert "\n" not in str(caught.value)


def nested(form: str, times: int) -> str:
    return f'{{"{form}":{{">":' * times + '{".":{}}' + "}}" * times


def test_selectors_within_selectors_have_a_limit() -> None:
    assert isinstance(parse(nested("a", 127)), ExploreAll)
    for times in (128, 5_000, 100_000):
        with pytest.raises(SelectorError):
            parse(nested("a", times))
    with pytest.raises(SelectorError, match="JSON"):
        parse("[" * 100_000)
    with pytest.raises(SelectorError, match="characters"):
        parse(" " * (1 << 21))
    with pytest.raises(SelectorError):
        parse('{"i":{"i":' + "9" * 100_000 + ',">":{".":{}}}}')
    with pytest.raises(SelectorError, match="union"):
        parse('{"|":[' + ",".join(['{".":{}}'] * 5000) + "]}")


@given(st.text(alphabet='{}[]",:.a|R@>l0 f/', max_size=60) | selectors().map(json.dumps))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    with contextlib.suppress(SelectorError):
        assert isinstance(parse(text), Selector)


# -- what the forms take ------------------------------------------------------------------------------------

LEAVES = [(cid_v1(b"%d" % at), b"%d" % at) for at in range(5)]
LIST = archives.node(*(cid for cid, _ in LEAVES))
MAP_DATA = b"\xa3\x61a" + archives.link(LEAVES[0][0]) + b"\x61b" + archives.link(LIST[0]) + b"\x613\x81\xf6"
MAP = cid_v1(MAP_DATA, codec=DAG_CBOR), MAP_DATA
PB_DATA = pb_node([FISH[0], LOBSTER[0]], b"data")
PB = cid_v1(PB_DATA, codec=DAG_PB), PB_DATA
STORE = MemoryBlockstore([*LEAVES, LIST, MAP, PB, FISH, LOBSTER, BARRELEYE])


def taken(root: tuple[bytes, bytes], form: Any, **settings: Any) -> list[bytes]:
    """Data of the blocks behind the root that a selector takes."""
    visits = list(select(STORE, root[0], json.dumps(form), **settings))
    assert visits[0].data == root[1]
    return [visit.data for visit in visits[1:]]


@pytest.mark.parametrize(
    ("root", "form", "expected"),
    [
        (LIST, M, []),
        (LIST, {"a": {">": M}}, [b"0", b"1", b"2", b"3", b"4"]),
        (LIST, {"i": {"i": 3, ">": M}}, [b"3"]),
        (LIST, {"i": {"i": 9, ">": M}}, []),
        (LIST, {"i": {"i": -1, ">": M}}, []),
        (LIST, {"r": {"^": 1, "$": 3, ">": M}}, [b"1", b"2"]),
        (LIST, {"r": {"^": -7, "$": 2, ">": M}}, [b"0", b"1"]),
        (LIST, {"r": {"^": 3, "$": 1 << 62, ">": M}}, [b"3", b"4"]),
        (LIST, {"f": {"f>": {"4": M, "0": M, "x": M, "01": M, "-1": M}}}, [b"4", b"0", b"1"]),
        (LIST, {"|": [{"i": {"i": 4, ">": M}}, {"i": {"i": 1, ">": M}}]}, [b"4", b"1"]),
        (LIST, {"|": []}, []),
        (MAP, {"a": {">": M}}, [b"0", LIST[1]]),
        (MAP, {"f": {"f>": {"b": {"a": {">": M}}}}}, [LIST[1], b"0", b"1", b"2", b"3", b"4"]),
        (MAP, {"i": {"i": 3, ">": M}}, []),
        (MAP, {"r": {"^": 0, "$": 9, ">": M}}, []),
        (MAP, {"f": {"f>": {"3": {"a": {">": M}}}}}, []),
        (PB, {"a": {">": M}}, []),
        (PB, {"a": {">": {"a": {">": {"a": {">": M}}}}}}, [b"fish", b"lobster"]),
        (PB, {"f": {"f>": {"Links": {"i": {"i": 1, ">": {"f": {"f>": {"Hash": M}}}}}}}}, [b"lobster"]),
        (PB, {"f": {"f>": {"Links": {"i": {"i": 1, ">": {"f": {"f>": {"Name": M}}}}}}}}, []),
        (MAP, {"R": {"l": {"depth": 1}, ":>": {"a": {">": E}}}}, []),
        (MAP, {"R": {"l": {"depth": 2}, ":>": {"a": {">": E}}}}, [b"0", LIST[1]]),
        (MAP, {"R": {"l": {"depth": 3}, ":>": {"a": {">": E}}}}, [b"0", LIST[1], b"1", b"2", b"3", b"4"]),
        (
            MAP,
            {"R": {"l": {"none": {}}, ":>": {"a": {">": E}}, "!": {"/": {"/": str(carv2.CID(LIST[0]))}}}},
            [b"0"],
        ),
        (FISH, {"a": {">": M}}, []),
    ],
)
def test_what_a_form_takes(root: tuple[bytes, bytes], form: Any, expected: list[bytes]) -> None:
    assert taken(root, form) == expected


@settings(max_examples=50)
@given(dags(missing=False))
def test_everything_is_everything_also_value_by_value(dag: Dag) -> None:
    store = MemoryBlockstore(dag.blocks.items(), whole_cids=True)
    for root in dag.roots:
        expected = [(visit.cid_bytes, visit.data) for visit in walk(store, root)]
        for chosen in (EVERYTHING, MATCH_EVERYTHING):
            assert [visit[:2] for visit in select(store, root, chosen)] == expected
            assert [visit[:2] for visit in select(store, root, chosen, max_steps=10**6)] == expected
        assert [visit[:2] for visit in select(store, root, MATCH_POINT)] == expected[:1]


def test_a_block_is_looked_at_again_by_another_selector_and_comes_out_once() -> None:
    top = archives.node(LIST[0], LIST[0])
    store = MemoryBlockstore([top, LIST, *LEAVES])
    form = {"|": [{"i": {"i": 0, ">": {"i": {"i": 1, ">": M}}}}, {"i": {"i": 1, ">": {"i": {"i": 2, ">": M}}}}]}
    assert [visit.data for visit in select(store, top[0], json.dumps(form))] == [top[1], LIST[1], b"1", b"2"]
    again = [visit.data for visit in select(store, top[0], json.dumps(form), repeats=True)]
    assert again == [top[1], LIST[1], b"1", LIST[1], b"2"]


def test_a_path_is_a_selector() -> None:
    found = list(select(STORE, MAP[0], selector_for_path("b/3")))
    assert [visit.data for visit in found] == [MAP[1], LIST[1], b"3"]
    assert selector_for_path("") == MATCH_POINT
    assert selector_for_path("/a/", EVERYTHING) == ExploreFields((("a", EVERYTHING),))
    assert selector_for_path(["a", 0]) == selector_for_path("a/0")
    with pytest.raises(BudgetError):
        selector_for_path("a/" * 200)


def test_what_cannot_be_interpreted_is_an_error_where_the_walk_comes_to_it() -> None:
    form = {"f": {"f>": {"a": M, "b": {"~": {"as": "unixfs", ">": M}}}}}
    walked = select(STORE, MAP[0], json.dumps(form))
    assert [next(walked).data for _ in range(3)] == [MAP[1], b"0", LIST[1]]
    with pytest.raises(SelectorError, match="unixfs"):
        next(walked)


def test_missing_and_unknown_blocks() -> None:
    strange = (cid_v1(b"tree", codec=0x78), b"tree")
    top = archives.node(strange[0], FISH[0], LOBSTER[0])
    store = MemoryBlockstore([top, strange, LOBSTER])
    form = '{"a":{">":{".":{}}}}'
    with pytest.raises(UnknownCodecError):
        list(select(store, top[0], form))
    with pytest.raises(BlockNotFoundError):
        list(select(store, top[0], form, on_unknown="leaf"))
    missing: list[carv2.CID] = []
    found = select(store, top[0], form, on_unknown="leaf", on_missing=missing.append)
    assert [visit.data for visit in found] == [top[1], b"tree", b"lobster"]
    assert list(map(bytes, missing)) == [FISH[0]]


def test_budgets() -> None:
    dag = chain(50)
    store = MemoryBlockstore(dag.blocks.items())
    deep = '{"R":{"l":{"none":{}},":>":{"f":{"f>":{"l":{"a":{">":{"@":{}}}}}}}}}'
    assert [visit.depth for visit in select(store, dag.roots[0], deep)] == list(range(50))
    for budget in ({"max_depth": 48}, {"max_blocks": 49}, {"max_bytes": 49}, {"max_steps": 98}):
        with pytest.raises(BudgetError):
            list(select(store, dag.roots[0], deep, **budget))  # type: ignore[arg-type]
    assert len(list(select(store, dag.roots[0], deep, max_depth=49, max_blocks=50, max_steps=200))) == 50


def test_many_ways_through_a_dag_are_gone_once() -> None:
    dag = doubling(60)
    store = MemoryBlockstore(dag.blocks.items())
    deep = '{"R":{"l":{"none":{}},":>":{"f":{"f>":{"l":{"a":{">":{"@":{}}}}}}}}}'
    assert len(list(select(store, dag.roots[0], deep))) == 60


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_a_limit_counts_rounds_of_the_sequence_not_steps(limit: int) -> None:
    dag = chain(50)
    store = MemoryBlockstore(dag.blocks.items())
    form = {"R": {"l": {"depth": limit}, ":>": {"f": {"f>": {"l": {"a": {">": E}}}}}}}
    assert len(list(select(store, dag.roots[0], json.dumps(form)))) == limit


FIELD_OF_A_PATH: Any = {".": {}}
for _ in range(40):
    FIELD_OF_A_PATH = {"a": {">": FIELD_OF_A_PATH}}
EXPLODING = {"R": {"l": {"none": {}}, ":>": {"|": [{"a": {">": E}}, {"f": {"f>": {"l": FIELD_OF_A_PATH}}}]}}}


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(selector, "MAX_STEPS", 20_000)
    return 20_000


def test_a_selector_that_differs_on_each_way_comes_to_an_end(few_steps: int) -> None:
    blocks: list[tuple[bytes, bytes]] = [FISH]
    for at in range(40):
        last = archives.link(blocks[-1][0])
        data = b"\xa3\x61l" + last + b"\x61m" + last + b"\x61n" + archives.cbor_head(0, at)
        blocks.append((cid_v1(data, codec=DAG_CBOR), data))
    reads: list[carv2.CID] = []

    class Store(dict[carv2.CID, bytes]):
        def __getitem__(self, cid: carv2.CID) -> bytes:
            reads.append(cid)
            return super().__getitem__(cid)

    store = Store((carv2.CID(cid), data) for cid, data in blocks)
    size = sum(len(data) for _, data in blocks)
    with pytest.raises(BudgetError, match="steps of a selector") as caught:
        list(select(store, blocks[-1][0], json.dumps(EXPLODING)))
    assert caught.value.allowed <= few_steps + 10 * size
    assert len(reads) < caught.value.allowed // 20 + len(blocks)
    with pytest.raises(BudgetError):
        export(store, io.BytesIO(), blocks[-1][0], json.dumps(EXPLODING), max_steps=100)


def test_a_large_dag_may_be_gone_through_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "MAX_STEPS", 0)
    dag = chain(200)
    deep = '{"R":{"l":{"none":{}},":>":{"f":{"f>":{"l":{"a":{">":{"@":{}}}},"n":{".":{}}}}}}}'
    assert len(list(select(MemoryBlockstore(dag.blocks.items()), dag.roots[0], deep))) == 200


def test_of_a_large_union_only_those_are_asked_that_may_know(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    explore = ExploreFields.explore

    def counted(self: ExploreFields, value: Any, segment: Any, child: Any) -> Selector | None:
        asked.append(segment)
        return explore(self, value, segment, child)

    monkeypatch.setattr(ExploreFields, "explore", counted)
    members = [{"f": {"f>": {f"k{at}": M}}} for at in range(1000)] + [{"a": {">": E}}]
    form = {"R": {"l": {"none": {}}, ":>": {"|": members}}}
    data = archives.cbor_head(4, 100) + b"".join(b"\x81" + archives.cbor_head(0, at) for at in range(100))
    root = (cid_v1(data, codec=DAG_CBOR), data)
    assert len(list(select(MemoryBlockstore([root]), root[0], json.dumps(form), max_steps=1000))) == 1
    assert asked == []


def test_each_member_that_is_asked_is_a_step(few_steps: int) -> None:
    ranges = [{"r": {"^": at, "$": at + 9000, ">": M}} for at in range(1000)]
    data = archives.cbor_head(4, 100) + b"\x80" * 100
    root = (cid_v1(data, codec=DAG_CBOR), data)
    store = MemoryBlockstore([root])
    with pytest.raises(BudgetError):
        list(select(store, root[0], json.dumps({"|": ranges})))
    with pytest.raises(BudgetError):
        list(select(store, root[0], json.dumps({"a": {">": {"|": ranges}}})))
    names = {"f": {"f>": {f"k{at}": M for at in range(1000)}}}
    with pytest.raises(BudgetError):
        list(select(store, root[0], json.dumps({"a": {">": names}})))


def test_a_link_that_is_a_whole_block_leads_nowhere_as_in_go() -> None:
    inner = (cid_v1(archives.link(FISH[0]), codec=DAG_CBOR), archives.link(FISH[0]))
    top = archives.node(inner[0])
    store = MemoryBlockstore([top, inner, FISH])
    for chosen in (EVERYTHING, MATCH_EVERYTHING):
        for steps in (None, 1000):
            found = [visit.data for visit in select(store, top[0], chosen, max_steps=steps)]
            assert found == [top[1], inner[1]]
    assert len(list(walk(store, top[0]))) == 3


def test_unions_are_kept_flat() -> None:
    dag = chain(50)
    swapped = {"|": [{"a": {">": {"|": [M, E]}}}, {"a": {">": {"|": [E, M]}}}]}
    found = select(
        MemoryBlockstore(dag.blocks.items()), dag.roots[0], json.dumps({"R": {"l": {"none": {}}, ":>": swapped}})
    )
    assert len(list(found)) == 50
    both = {"|": [{"a": {">": E}}, {"a": {">": {"|": [E, {"a": {">": E}}, M]}}}]}
    chosen: Selector | None = parse(json.dumps({"R": {"l": {"none": {}}, ":>": both}}))
    sizes = []
    for _ in range(12):
        assert chosen is not None
        chosen = chosen.explore([0], 0, 0)
        sizes.append(len(repr(chosen)))
    assert sizes[6:] == sizes[5:-1]


def test_a_selector_that_would_grow_at_each_step_does_not() -> None:
    dag = chain(200)
    store = MemoryBlockstore(dag.blocks.items())
    step = {"|": [E, {"a": {">": E}}, {"a": {">": {"|": [E, {"a": {">": E}}]}}}]}
    growing = {"R": {"l": {"none": {}}, ":>": {"|": [{"a": {">": step}}, {"a": {">": {"a": {">": step}}}}]}}}
    assert len(list(select(store, dag.roots[0], json.dumps(growing)))) == 200
    inner = {"R": {"l": {"depth": 100}, ":>": {"|": [{"a": {">": E}}, {"a": {">": {"a": {">": E}}}}]}}}
    outer = {"R": {"l": {"none": {}}, ":>": {"|": [{"a": {">": E}}, inner]}}}
    assert len(list(select(store, dag.roots[0], json.dumps(outer), max_steps=1_000_000))) == 200


@settings(max_examples=50)
@given(dags(), selectors().map(json.dumps))
def test_a_selector_takes_a_part_of_everything_in_its_order_of_depth(dag: Dag, text: str) -> None:
    try:
        chosen = parse(text)
    except SelectorError:
        return
    store = MemoryBlockstore(dag.blocks.items(), whole_cids=True)
    whole = {visit[:2] for visit in walk(store, dag.roots[0], on_missing=lambda _: None)}
    visits = [visit[:2] for visit in select(store, dag.roots[0], chosen, on_missing=lambda _: None)]
    assert set(visits) <= whole
    assert len(set(visits)) == len(visits)


def test_old_blocks_that_are_not_strict_are_walked_through() -> None:
    data = b"\xa2\x62zz" + archives.link(FISH[0]) + b"\x61a\x62\xff\xfe"  # keys unsorted, a text that is no UTF-8
    top = (cid_v1(data, codec=DAG_CBOR), data)
    store = MemoryBlockstore([top, FISH])
    assert len(list(select(store, top[0], '{"f":{"f>":{"zz":{".":{}}}}}'))) == 2


def test_the_module_is_reached_by_its_name() -> None:
    assert selector.parse is parse
    assert cbor_node([]) == b"\xa2\x61l\x80\x61n\x00"
