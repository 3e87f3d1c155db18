"""IPLD selectors: which blocks of a DAG are wanted, in a language of its own, and walks that they steer.

Source: the selector specification (https://ipld.io/specs/selectors/) and, where that is silent, go-ipld-prime
0.23, whose walks load the same blocks in the same order: maps in the order of the block, fields and indexes in the
order of the selector. A selector is written in DAG-JSON, as ``car get-dag`` takes it.

>>> parse('{"R":{"l":{"none":{}},":>":{"a":{">":{"@":{}}}}}}') == EVERYTHING
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carv2.cid import CID, DAG_PB
from carv2.dag._selector_forms import (
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
    selector_for_path,
)
from carv2.dag._selector_parse import parse
from carv2.dag._values import children, data_model, decoded, is_container, segments_of
from carv2.dag.walking import Budget, Fetch, Visit, depth_first, followed
from carv2.errors import BudgetError, UnknownCodecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from carv2.cid import CIDLike
    from carv2.dag._values import Segment
    from carv2.dag.walking import OnMissing, OnUnknown, Store

__all__ = [
    "EVERYTHING",
    "MATCH_EVERYTHING",
    "MATCH_POINT",
    "ExploreAll",
    "ExploreFields",
    "ExploreIndex",
    "ExploreInterpretAs",
    "ExploreRange",
    "ExploreRecursive",
    "ExploreUnion",
    "Matcher",
    "RecursiveEdge",
    "Selector",
    "parse",
    "select",
    "selector_for_path",
]

MAX_STEPS = 10_000_000
"""Steps of a walk unless told otherwise, not counting those that the size of its blocks allows."""

_STEPS_PER_BYTE = 10
_STEPS_OF_LOADING = 20
_BYTES_PER_STEP = 16
_MAX_AROUND_LINK = 64  # bytes of a block that is nothing but a link


def select(
    store: Store,
    root: CIDLike,
    selector: Selector | str,
    *,
    repeats: bool = False,
    max_depth: int | None = None,
    max_blocks: int | None = None,
    max_bytes: int | None = None,
    max_steps: int | None = None,
    on_missing: OnMissing = "raise",
    on_unknown: OnUnknown = "raise",
) -> Iterator[Visit]:
    """Yield the blocks that a walk from ``root`` by ``selector`` loads, in that order.

    A block comes once for each whole CID, where it is first met, but is looked at again where the selector is
    another one then, as ``car get-dag --selector`` does: what two parts of a selector want of it may differ.

    Args:
        store: where the blocks come from.
        root: the block to begin with.
        selector: one of this module's, or the text of one.
        repeats: let a block come out each time that it is met; set ``max_blocks`` as well.
        max_depth: links between the root and a block; None for as many as there are.
        max_blocks: blocks that may come out.
        max_bytes: bytes of data that may come out.
        max_steps: children of values that may be looked at within the blocks, once for each member of a union
            that is asked about them, and more for blocks that are loaded again. None for 10,000,000, and 10 more
            for each byte of the blocks; none are counted where the selector takes everything.
        on_missing: ``"raise"``, or what is called with each CID that the store does not have.
        on_unknown: ``"leaf"`` takes a block whose codec is not known here for one without links.

    Raises:
        SelectorError: ``selector`` is text that is no selector, or it comes to an interpretation (``~``), of which
            none is known here.
        UnknownCodecError: a block cannot be decoded.
        BlockNotFoundError, BudgetError, CodecError: as :func:`carv2.dag.walk` does.

    >>> from carv2.blockstore import MemoryBlockstore
    >>> from carv2.codec import dag_pb
    >>> blocks = [(CID.of_data(data), data) for data in (b"fish", b"lobster")]
    >>> node = dag_pb.encode(dag_pb.PBNode([dag_pb.PBLink(cid.raw) for cid, _ in blocks]))
    >>> root = CID.of_data(node, codec="dag-pb")
    >>> store = MemoryBlockstore([(root, node), *blocks])
    >>> second = '{"f":{"f>":{"Links":{"i":{"i":1,">":{"f":{"f>":{"Hash":{".":{}}}}}}}}}}'
    >>> [visit.data for visit in select(store, root, second)][1:]
    [b'lobster']
    """
    chosen = parse(selector) if isinstance(selector, str) else selector
    first, fetch, budget = bytes(CID.of(root)), Fetch(store, on_missing), Budget(max_depth, max_blocks, max_bytes)
    if chosen in {EVERYTHING, MATCH_EVERYTHING} and max_steps is None:  # no need to decode anything
        return depth_first(fetch, [first], budget, repeats=repeats, on_unknown=on_unknown, follow=_followed_within)
    steps = _Steps(max_steps)
    return _Evaluation(fetch, budget, steps, repeats=repeats, on_unknown=on_unknown).run(first, chosen)


def _followed_within(cid: bytes, data: bytes, *, on_unknown: OnUnknown) -> list[bytes]:
    """The links within the value of a block. One that is the whole value leads nowhere, as in go-ipld-prime."""
    links = followed(cid, data, on_unknown=on_unknown)
    if len(links) == 1 and len(data) <= 2 * len(links[0]) + _MAX_AROUND_LINK:
        return [] if isinstance(decoded(CID.trusted(cid), data), CID) else links
    return links


class _Steps:
    """Counts what a walk does within blocks, so that a selector cannot keep it busy without end."""

    def __init__(self, allowed: int | None) -> None:
        self._by_bytes = allowed is None
        self._allowed = MAX_STEPS if allowed is None else allowed
        self._done = 0

    def count(self, steps: int) -> None:
        """Count explorations."""
        self._done += steps
        if self._done > self._allowed:
            raise BudgetError("steps of a selector", allowed=self._allowed)

    def load(self, size: int, *, again: bool) -> None:
        """Count a block. One that comes again is decoded again; the others make for more steps."""
        if again:
            self.count(_STEPS_OF_LOADING + size // _BYTES_PER_STEP)
        elif self._by_bytes:
            self._allowed += _STEPS_PER_BYTE * size


class _Evaluation:
    """One walk: a stack of values, each with the children that are still to be looked at."""

    def __init__(
        self, fetch: Fetch, budget: Budget, steps: _Steps, *, repeats: bool, on_unknown: OnUnknown
    ) -> None:
        self._fetch, self._budget, self._steps = fetch, budget, steps
        self._repeats, self._on_unknown = repeats, on_unknown
        self._out: set[bytes] = set()
        self._explored: set[tuple[bytes, Selector]] = set()

    def run(self, root: bytes, selector: Selector) -> Iterator[Visit]:
        """Walk; the order is that of a depth-first walk over values."""
        pending: list[Iterator[tuple[Any, Selector, int]]] = [iter([(CID.trusted(root), selector, -1)])]
        while pending:
            found = next(pending[-1], None)
            if found is None:
                pending.pop()
                continue
            value, wanted, depth = found
            if isinstance(value, CID):
                visit = self._load(bytes(value), wanted, depth + 1)
                if visit is None:
                    continue
                self._steps.load(len(visit.data), again=visit.cid_bytes in self._out)
                if self._repeats or visit.cid_bytes not in self._out:
                    self._out.add(visit.cid_bytes)
                    self._budget.take(len(visit.data))
                    yield visit
                value, depth = self._decoded(visit), visit.depth
            pending.append(self._children_of(value, wanted, depth))

    def _load(self, cid: bytes, selector: Selector, depth: int) -> Visit | None:
        """The block, unless the same selector was there before: it would find the same again."""
        if not self._repeats:
            if (cid, selector) in self._explored:
                return None
            self._explored.add((cid, selector))
        if self._repeats or cid not in self._out:
            self._budget.enter(depth)
        data = self._fetch.one(cid)
        return None if data is None else Visit(cid, data, depth)

    def _decoded(self, visit: Visit) -> Any:
        try:
            value = decoded(visit.cid, visit.data)
        except UnknownCodecError:
            if self._on_unknown == "raise":
                raise
            return None
        return data_model(value) if visit.cid.codec == DAG_PB else value

    def _children_of(self, value: Any, selector: Selector, depth: int) -> Iterator[tuple[Any, Selector, int]]:
        """The children of ``value`` that ``selector`` leads to, each with the selector for it."""
        if not is_container(value):
            return
        selector.enter()
        self._steps.count(selector.cost(None) - 1)
        interests = selector.interests(value)
        looked_at: set[Segment] = set()
        for segment in segments_of(value) if interests is None else interests:
            self._steps.count(1)
            if interests is not None:
                if segment in looked_at:
                    continue
                looked_at.add(segment)
            found = children(value, segment)
            if not found:
                continue
            self._steps.count(selector.cost(segment) - 1)
            following = selector.explore(value, segment, found[0])
            if following is not None:
                yield found[0], following, depth
