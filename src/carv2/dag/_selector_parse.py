"""Selectors out of DAG-JSON text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias, cast

from carv2.cid import CID
from carv2.dag._selector_forms import (
    MAX_DEPTH,
    MAX_MEMBERS,
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
)
from carv2.errors import SelectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAX_SIZE = 1 << 20

_Json: TypeAlias = object  # what json.loads gives


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to make a selector of those within it."""

    build: Callable[[list[Selector]], Selector]
    parts: Sequence[tuple[str, _Json]] = ()
    """Place and JSON of each."""


class _Task(NamedTuple):
    """A piece of JSON that must be a selector."""

    place: str
    json: _Json
    depth: int
    recursion: _Recursion | None


class _Recursion:
    """An ``R`` that is being parsed."""

    def __init__(self, place: str) -> None:
        self.place, self.has_edge = place, False


def parse(text: str) -> Selector:
    """The selector that ``text``, which is DAG-JSON, describes.

    What is refused, and that fields of other names are passed over, is as in go-ipld-prime.

    Raises:
        SelectorError: it is none; ``place`` says where.

    >>> parse('{"a":{">":{".":{}}}}')
    ExploreAll(next=Matcher(subset=None))
    """
    plans: list[_Plan] = []
    recursions: list[_Recursion] = []
    tasks = [_Task("", _json_of(text), 1, None)]
    while tasks:
        task = tasks.pop()
        key, body, place = _keyed(task.json, task.place, "a selector")
        if task.depth > MAX_DEPTH:
            raise SelectorError(f"more than {MAX_DEPTH} selectors within one another", place=place)
        form = _FORMS.get(key)
        if form is None:
            raise SelectorError(f"{key!r} is no selector; known: {' '.join(_FORMS)}", place=task.place)
        recursion = task.recursion
        if key == "R":
            recursion = _Recursion(place)
            recursions.append(recursion)
        elif key == "@":
            if recursion is None:
                raise SelectorError("an edge (@) outside of a recursion (R)", place=place)
            recursion.has_edge = True
        plan = form(body, place)
        plans.append(plan)
        tasks += [_Task(where, part, task.depth + 1, recursion) for where, part in reversed(plan.parts)]
    for recursion in recursions:
        if not recursion.has_edge:
            raise SelectorError("a recursion (R) without an edge (@) of its own", place=recursion.place)
    return _assembled(plans)


def _assembled(plans: list[_Plan]) -> Selector:
    """The selector of plans that stand in pre-order."""
    done: list[Selector] = []
    for plan in reversed(plans):
        parts = [done.pop() for _ in plan.parts]
        done.append(plan.build(parts))
    return done[0]


# -- JSON ---------------------------------------------------------------------------------------------------


def _json_of(text: str) -> _Json:
    if len(text) > _MAX_SIZE:
        raise SelectorError(f"{len(text)} characters, allowed {_MAX_SIZE}", place="")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise SelectorError("JSON that is nested too deep", place="") from None
    except SelectorError:
        raise
    except ValueError as error:
        raise SelectorError(f"not JSON: {error}", place="") from None


def _object(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise SelectorError("an object with the same key twice", place="")
    return found


def _no_constant(text: str) -> NoReturn:
    raise SelectorError(f"{text} is not JSON", place="")


def _keyed(value: _Json, place: str, what: str) -> tuple[str, _Json, str]:
    """The one key of an object, what is behind it, and the place of that."""
    fields = _map(value, place, what)
    if len(fields) != 1:
        raise SelectorError(f"expected {what}: an object with one key, found {len(fields)}", place=place)
    ((key, body),) = fields.items()
    return key, body, _below(place, key)


def _map(value: _Json, place: str, what: str) -> dict[str, _Json]:
    if not isinstance(value, dict):
        raise SelectorError(f"expected {what}: an object, found {_kind(value)}", place=place)
    return cast("dict[str, object]", value)


def _field(fields: dict[str, _Json], key: str, place: str) -> _Json:
    if key not in fields:
        raise SelectorError(f"no field {key!r}", place=place)
    return fields[key]


def _integer(fields: dict[str, _Json], key: str, place: str) -> int:
    value = _field(fields, key, place)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        raise SelectorError(f"expected a whole number of 64 bits, found {_kind(value)}", place=_below(place, key))
    return value


def _kind(value: _Json) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = ((dict, "an object"), (list, "a list"), (str, "text"), (int, "a number"), (float, "a fraction"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _below(place: str, key: str | int) -> str:
    return f"{place} {key}".lstrip()


# -- the forms ----------------------------------------------------------------------------------------------


def _next(body: _Json, place: str, form: str) -> tuple[dict[str, _Json], tuple[str, _Json]]:
    """The fields of a form that has one selector within it, and that."""
    fields = _map(body, place, form)
    return fields, (_below(place, ">"), _field(fields, ">", place))


def _matcher(body: _Json, place: str) -> _Plan:
    fields = _map(body, place, "a matcher")
    if "subset" not in fields:
        return _Plan(lambda _: Matcher())
    where = _below(place, "subset")
    subset = _map(fields["subset"], where, "a range")
    start, end = _integer(subset, "[", where), _integer(subset, "]", where)
    if 0 <= end < start:
        raise SelectorError(f"a range from {start} to {end}", place=where)
    return _Plan(lambda _: Matcher((start, end)))


def _all(body: _Json, place: str) -> _Plan:
    _, part = _next(body, place, "fields of an explore-all")
    return _Plan(lambda parts: ExploreAll(parts[0]), [part])


def _fields(body: _Json, place: str) -> _Plan:
    where = _below(place, "f>")
    named = _map(_field(_map(body, place, "fields of an explore-fields"), "f>", place), where, "selectors by name")
    names = list(named)
    return _Plan(
        lambda parts: ExploreFields(tuple(zip(names, parts, strict=True))),
        [(_below(where, name), part) for name, part in named.items()],
    )


def _index(body: _Json, place: str) -> _Plan:
    fields, part = _next(body, place, "fields of an explore-index")
    index = _integer(fields, "i", place)
    return _Plan(lambda parts: ExploreIndex(index, parts[0]), [part])


def _range(body: _Json, place: str) -> _Plan:
    fields, part = _next(body, place, "fields of an explore-range")
    start, end = _integer(fields, "^", place), _integer(fields, "$", place)
    if start >= end:
        raise SelectorError(f"a range from {start} to {end}", place=place)
    return _Plan(lambda parts: ExploreRange(start, end, parts[0]), [part])


def _union(body: _Json, place: str) -> _Plan:
    if not isinstance(body, list):
        raise SelectorError(f"expected members of a union: a list, found {_kind(body)}", place=place)
    members = cast("list[object]", body)
    if len(members) > MAX_MEMBERS:
        raise SelectorError(f"a union of {len(members)}, allowed {MAX_MEMBERS}", place=place)
    return _Plan(
        lambda parts: ExploreUnion(tuple(parts)),
        [(_below(place, at), member) for at, member in enumerate(members)],
    )


def _recursive(body: _Json, place: str) -> _Plan:
    fields = _map(body, place, "fields of a recursion")
    where = _below(place, "l")
    key, depth, _ = _keyed(_field(fields, "l", place), where, "a limit")
    if key not in {"depth", "none"}:
        raise SelectorError(f"{key!r} is no limit; known: depth none", place=where)
    limit = None if key == "none" else _integer({key: depth}, key, where)
    stop_at = _link(fields["!"], _below(place, "!")) if "!" in fields else None
    sequence = _below(place, ":>"), _field(fields, ":>", place)
    return _Plan(lambda parts: ExploreRecursive(parts[0], limit, stop_at), [sequence])


def _link(condition: _Json, place: str) -> CID:
    """The CID of a condition ``{"/": {"/": CID}}``."""
    key, value, where = _keyed(condition, place, "a condition")
    if key != "/":
        raise SelectorError(f"{key!r} is no condition; known: /", place=place)
    key, text, where = _keyed(value, where, "a link")
    try:
        if key == "/" and isinstance(text, str):
            return CID.of(text)
    except ValueError:
        pass
    raise SelectorError("expected a link", place=where)


def _edge(body: _Json, place: str) -> _Plan:
    _map(body, place, "an edge")
    return _Plan(lambda _: RecursiveEdge())


def _interpret_as(body: _Json, place: str) -> _Plan:
    fields, part = _next(body, place, "fields of an interpret-as")
    form = _field(fields, "as", place)
    if not isinstance(form, str):
        raise SelectorError(f"expected a name, found {_kind(form)}", place=_below(place, "as"))
    return _Plan(lambda parts: ExploreInterpretAs(form, parts[0]), [part])


_FORMS: dict[str, Callable[[_Json, str], _Plan]] = {
    ".": _matcher,
    "a": _all,
    "f": _fields,
    "i": _index,
    "r": _range,
    "R": _recursive,
    "|": _union,
    "@": _edge,
    "~": _interpret_as,
}
