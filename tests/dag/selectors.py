"""Selectors to walk by: as JSON, drawn so that most of them lead somewhere."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = ("l", "n", "m", "Links", "Data", "Hash", "Name", "0", "1", "2", "x")
MATCH: Any = {".": {}}
EDGE: Any = {"@": {}}


@st.composite
def selectors(draw: st.DrawFn, *, depth: int = 4, recursive: bool = False, cids: tuple[str, ...] = ()) -> Any:
    """A selector; with ``recursive``, edges may stand in it."""
    kinds = [".", "a", "f", "i", "r", "|", "R"]
    if recursive:
        kinds += ["@", "@", "@"]
    kind = draw(st.sampled_from(kinds if depth else ["@" if recursive else "."]))
    inner = selectors(depth=depth - 1, recursive=recursive, cids=cids)
    if kind == ".":
        return draw(st.sampled_from([MATCH, {".": {"subset": {"[": 0, "]": 2}}}]))
    if kind == "@":
        return EDGE
    if kind == "a":
        return {"a": {">": draw(inner)}}
    if kind == "f":
        return {"f": {"f>": draw(st.dictionaries(st.sampled_from(KEYS), inner, max_size=3))}}
    if kind == "i":
        return {"i": {"i": draw(st.integers(0, 3)), ">": draw(inner)}}
    if kind == "r":
        start = draw(st.integers(0, 2))
        return {"r": {"^": start, "$": start + draw(st.integers(1, 3)), ">": draw(inner)}}
    if kind == "|":
        return {"|": draw(st.lists(inner, max_size=3))}
    body: dict[str, Any] = {
        "l": draw(st.sampled_from([{"none": {}}, {"depth": 1}, {"depth": 2}, {"depth": 4}])),
        ":>": {"|": [{"a": {">": EDGE}}, draw(selectors(depth=depth - 1, recursive=True, cids=cids))]}
        if draw(st.booleans())
        else {"a": {">": draw(st.sampled_from([EDGE, {"a": {">": EDGE}}, {"|": [MATCH, EDGE]}]))}},
    }
    if cids and draw(st.integers(0, 3)) == 0:
        body["!"] = {"/": {"/": draw(st.sampled_from(cids))}}
    return {"R": body}
