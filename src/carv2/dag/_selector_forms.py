"""The forms of selectors, each an immutable value that says where to go from a value of the data model.

How many forms there may be, one in another, is limited by the parser; unions are kept flat and without repeats, or
a walk could make them grow without end.

Source: the selector specification (https://ipld.io/specs/selectors/).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from carv2.dag._values import Segment, index_of, list_length
from carv2.errors import BudgetError, SelectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carv2.cid import CID

MAX_DEPTH = 128
"""Selectors within selectors."""

MAX_MEMBERS = 4096
"""Members of a union that a walk makes."""


class Selector:
    """What all forms have in common; one that says nothing else leads nowhere."""

    __slots__ = ("_hash",)
    __match_args__: tuple[str, ...]
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:  # made once: a walk asks often, and what is within may be large
            made = hash((type(self), *(getattr(self, name) for name in self.__match_args__)))
            object.__setattr__(self, "_hash", made)
            return made

    def enter(self) -> None:
        """Called when a map or list is about to be explored; raises where that cannot be done here."""

    def interests(self, _value: Any) -> Iterable[Segment] | None:
        """Segments to look at, in that order, some of them repeatedly; None for all."""
        return ()

    def cost(self, _segment: Segment | None) -> int:
        """Selectors that :meth:`explore` asks about a segment; with None, those that are asked about all."""
        return 1

    def explore(self, _value: Any, _segment: Segment, _child: Any) -> Selector | None:
        """The selector for the child behind a segment."""
        return None


@dataclass(frozen=True, slots=True)
class Matcher(Selector):
    """``.``: the value is wanted, and nothing below it. ``subset`` is a range of its bytes or characters."""

    subset: tuple[int, int] | None = None
    __hash__ = Selector.__hash__


@dataclass(frozen=True, slots=True)
class ExploreAll(Selector):
    """``a``: every child of a map or list."""

    next: Selector
    __hash__ = Selector.__hash__

    def interests(self, _value: Any) -> None:
        return None

    def explore(self, _value: Any, _segment: Segment, _child: Any) -> Selector | None:
        return self.next


@dataclass(frozen=True, slots=True)
class ExploreFields(Selector):
    """``f``: some children by name; in a list, a number in text is a name."""

    fields: tuple[tuple[str, Selector], ...]
    _by_name: dict[str, Selector] = field(init=False, repr=False, compare=False)
    __hash__ = Selector.__hash__

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", dict(reversed(self.fields)))  # of the same name, the first

    @property
    def names(self) -> Iterable[str]:
        """Of the children, each once."""
        return self._by_name

    def interests(self, _value: Any) -> Iterable[Segment]:
        return (name for name, _ in self.fields)

    def explore(self, _value: Any, segment: Segment, _child: Any) -> Selector | None:
        return self._by_name.get(str(segment))


@dataclass(frozen=True, slots=True)
class ExploreIndex(Selector):
    """``i``: one item of a list."""

    index: int
    next: Selector
    __hash__ = Selector.__hash__

    def interests(self, _value: Any) -> Iterable[Segment]:
        return (self.index,)

    def explore(self, value: Any, segment: Segment, _child: Any) -> Selector | None:
        return self.next if isinstance(value, list) and index_of(segment) == self.index else None


@dataclass(frozen=True, slots=True)
class ExploreRange(Selector):
    """``r``: items of a list from ``start`` up to ``end``, which is not one of them."""

    start: int
    end: int
    next: Selector
    __hash__ = Selector.__hash__

    def interests(self, value: Any) -> Iterable[Segment]:
        return range(max(0, self.start), min(self.end, list_length(value)))

    def explore(self, value: Any, segment: Segment, _child: Any) -> Selector | None:
        at = index_of(segment) if isinstance(value, list) else None
        return self.next if at is not None and self.start <= at < self.end else None


@dataclass(frozen=True, slots=True)
class RecursiveEdge(Selector):
    """``@``: from here, go on with the sequence of the recursion around."""

    __hash__ = Selector.__hash__


@dataclass(frozen=True, slots=True)
class ExploreUnion(Selector):
    """``|``: what any of its members wants. Made by :func:`union`."""

    members: tuple[Selector, ...]
    _named: dict[str, list[int]] = field(init=False, repr=False, compare=False)
    """Places of the members that know a field, by its name."""
    _others: list[int] = field(init=False, repr=False, compare=False)
    """Places of the members that must be asked about everything."""
    _wanting: list[int] = field(init=False, repr=False, compare=False)
    """Places of all these."""
    __hash__ = Selector.__hash__

    def __post_init__(self) -> None:
        named: dict[str, list[int]] = {}
        others: list[int] = []
        for at, member in enumerate(self.members):
            if isinstance(member, ExploreFields):
                for name in member.names:
                    named.setdefault(name, []).append(at)
            elif not isinstance(member, (Matcher, RecursiveEdge)):
                others.append(at)
        object.__setattr__(self, "_named", named)
        object.__setattr__(self, "_others", others)
        object.__setattr__(self, "_wanting", sorted({*others, *chain.from_iterable(named.values())}))

    def enter(self) -> None:
        for at in self._others:
            self.members[at].enter()

    def interests(self, value: Any) -> Iterable[Segment] | None:
        found = {at: self.members[at].interests(value) for at in self._others}
        if None in found.values():
            return None
        return chain.from_iterable(
            found.get(at) or self.members[at].interests(value) or () for at in self._wanting
        )

    def _asked(self, segment: Segment | None) -> Sequence[Selector]:
        """The members that may know ``segment``, in their order."""
        named = None if segment is None else self._named.get(str(segment))
        places = sorted(self._others + named) if named else self._others
        return [self.members[at] for at in places]

    def cost(self, segment: Segment | None) -> int:
        return 1 + sum(member.cost(segment) for member in self._asked(segment))

    def explore(self, value: Any, segment: Segment, child: Any) -> Selector | None:
        return union([member.explore(value, segment, child) for member in self._asked(segment)])


@dataclass(frozen=True, slots=True)
class ExploreRecursive(Selector):
    """``R``: ``sequence`` again and again, wherever an edge in it is reached.

    ``limit`` is how many times, None for no limit; a link to ``stop_at`` is not followed. ``current`` is what is
    left of the sequence at this point of a walk.
    """

    sequence: Selector
    limit: int | None = None
    stop_at: CID | None = None
    current: Selector | None = None
    __hash__ = Selector.__hash__

    def enter(self) -> None:
        self._now.enter()

    @property
    def _now(self) -> Selector:
        return self.sequence if self.current is None else self.current

    def interests(self, value: Any) -> Iterable[Segment] | None:
        return self._now.interests(value)

    def cost(self, segment: Segment | None) -> int:
        return self._now.cost(segment)

    def explore(self, value: Any, segment: Segment, child: Any) -> Selector | None:
        if self.stop_at is not None and child == self.stop_at:
            return None
        following = self._now.explore(value, segment, child)
        if following is None:
            return None
        if not _has_edge(following):
            return ExploreRecursive(self.sequence, self.limit, self.stop_at, following)
        if self.limit is not None and self.limit < 2:
            return _with_edges_as(following, None)
        limit = None if self.limit is None else self.limit - 1
        current = _with_edges_as(following, self.sequence)
        return ExploreRecursive(self.sequence, limit, self.stop_at, current)


@dataclass(frozen=True, slots=True)
class ExploreInterpretAs(Selector):
    """``~``: ``next``, of the value as ``form`` (such as ``unixfs``) shows it. Parsed, but none is known here."""

    form: str
    next: Selector
    __hash__ = Selector.__hash__

    def enter(self) -> None:
        raise SelectorError(f"values cannot be interpreted as {self.form!r} here", place="~")


def union(members: Sequence[Selector | None]) -> Selector | None:
    """A selector for what any of ``members`` wants: flat, each of them once; None where there is none."""
    found = [member for member in members if member is not None]
    if len(found) == 1:
        return found[0]
    flat: dict[Selector, None] = {}
    for member in found:
        if isinstance(member, ExploreUnion):
            flat.update(dict.fromkeys(member.members))
        else:
            flat[member] = None
    if len(flat) > MAX_MEMBERS:
        raise BudgetError("selectors at once", allowed=MAX_MEMBERS)
    return next(iter(flat)) if len(flat) == 1 else ExploreUnion(tuple(flat)) if flat else None


def _members(selector: Selector) -> tuple[Selector, ...]:
    return selector.members if isinstance(selector, ExploreUnion) else (selector,)


def _has_edge(selector: Selector) -> bool:
    return any(isinstance(member, RecursiveEdge) for member in _members(selector))


def _with_edges_as(selector: Selector, replacement: Selector | None) -> Selector | None:
    members = _members(selector)
    return union([replacement if isinstance(member, RecursiveEdge) else member for member in members])


EVERYTHING = ExploreRecursive(ExploreAll(RecursiveEdge()))
"""All that a root leads to, as ``car get-dag`` does without a selector."""

MATCH_POINT = Matcher()
"""The root alone."""

MATCH_EVERYTHING = ExploreRecursive(ExploreUnion((Matcher(), ExploreAll(RecursiveEdge()))))
"""The same blocks as :data:`EVERYTHING`, each value of which is wanted."""


def selector_for_path(path: str | Sequence[Segment], target: Selector = MATCH_POINT) -> Selector:
    """A selector for what ``path`` (``a/b/0``, or its segments) leads to, with ``target`` for what is there.

    Segments are keys of maps and places in lists as the blocks have them: those of dag-pb are ``Links/0/Hash``.

    >>> selector_for_path("a/0")
    ExploreFields(fields=(('a', ExploreFields(fields=(('0', Matcher(subset=None)),))),))
    """
    segments = path.strip("/").split("/") if isinstance(path, str) else list(path)
    if len(segments) >= MAX_DEPTH:
        raise BudgetError("selectors within one another", allowed=MAX_DEPTH)
    selector = target
    for segment in reversed(segments):
        if segment != "":
            selector = ExploreFields(((str(segment), selector),))
    return selector
