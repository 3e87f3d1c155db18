"""Selectors: their texts, and walks by them over a DAG that has all kinds of values."""

from __future__ import annotations

import json
from typing import Any

from carv2 import codec
from carv2.blockstore import MemoryBlockstore
from carv2.cid import CID
from carv2.codec import dag_json
from carv2.codec.dag_pb import PBLink, PBNode
from carv2.dag import selector
from carv2.errors import BudgetError, CodecError, SelectorError
from fuzz.target import REFUSED, Question, Sabotage, Target
from fuzz.targets.blocks import LONG_NUMBER, fits_go

MOST_BLOCKS, MOST_STEPS = 60, 3000


def _dag() -> tuple[MemoryBlockstore, CID]:
    """A leaf, a dag-pb node over it, and two levels of dag-cbor over both."""
    store = MemoryBlockstore()

    def put(name: str, value: object) -> CID:
        data = codec.encode(name, value)
        cid = CID.of_data(data, codec=name)
        store.put(cid, data)
        return cid

    leaf = put("raw", b"fish")
    node = put("dag-pb", PBNode([PBLink(leaf.raw, "l", 4), PBLink(leaf.raw, "n")], b"\x08\x01"))
    low = put("dag-cbor", {"l": leaf, "n": [node, leaf, {"x": node}], "m": {"0": leaf}})
    return store, put("dag-json", {"l": low, "n": [low, node, 7], "Links": "text"})


STORE, ROOT = _dag()


def check_selector(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    try:
        found = selector.parse(text)
    except SelectorError:
        return REFUSED
    again = selector.parse(json.dumps(json.loads(text)))
    assert again == found
    assert hash(again) == hash(found)
    loaded, end = _walk(found)
    assert (loaded, end) == _walk(again)
    assert len(loaded) == len(set(loaded)) <= MOST_BLOCKS
    if end == "":
        assert set(loaded) <= {cid.raw for cid in STORE}
        repeated, _ = _walk(found, repeats=True)
        assert set(loaded) <= set(repeated) or len(repeated) == MOST_BLOCKS
    return "walked" if len(loaded) > 1 else "stopped" if end else "parsed"


def _walk(wanted: selector.Selector, *, repeats: bool = False) -> tuple[list[bytes], str]:
    """The blocks that are loaded, and with what error it ended."""
    loaded: list[bytes] = []
    try:
        for visit in selector.select(
            STORE, ROOT, wanted, repeats=repeats, max_blocks=MOST_BLOCKS, max_steps=MOST_STEPS
        ):  # what came before an error is kept
            loaded.append(visit.cid_bytes)
    except (BudgetError, SelectorError) as error:
        return loaded, str(error)
    return loaded, ""


def ask_selector(data: bytes) -> Question | None:
    try:
        selector.parse(data.decode("utf-8", "surrogateescape"))
        value = dag_json.decode(data)  # as which Go reads it first, also what no selector has a meaning for
    except (SelectorError, CodecError):
        return None
    if not fits_go(value) or LONG_NUMBER.search(data):
        return None
    return Question("selector", data, None)


_PARSE, _SELECT = selector.parse, selector.select


def _parse_loosely(text: str) -> Any:
    """Everything of the text, but the order of a union."""
    found = _PARSE(text)
    return selector.ExploreAll(found) if " " in text else found


SELECTORS = Target(
    "selectors",
    check_selector,
    frozenset({"walked", "stopped", "parsed", REFUSED}),
    {
        "sees white space": Sabotage(selector, "parse", _parse_loosely),
        "comes to a block twice": Sabotage(
            selector, "select", lambda *given, **options: _SELECT(*given, **{**options, "repeats": True})
        ),
        "raises what is not its own": Sabotage(selector, "parse", lambda text: json.loads(text)["|"]),
    },
    ask_selector,
    max_size=4096,
    words=(
        b'{"a":{">":',
        b'{"f":{"f>":{',
        b'{"i":{"i":1,">":',
        b'{"r":{"^":0,"$":2,">":',
        b'{"R":{"l":{"none":{}},":>":',
        b'{"R":{"l":{"depth":2},":>":',
        b'{"@":{}}',
        b'{".":{}}',
        b'{"|":[',
        b"}}",
        b'{"~":{"as":"unixfs",">":',
        b'"!":{"/":{"/":"bafkqaalb"}}',
        b'{".":{"subset":{"[":0,"]":2}}}',
        b'"Links"',
        b'"Hash"',
        b'"l"',
        b'"n"',
    ),
)

TARGETS = (SELECTORS,)
