"""In which order the blocks of an archive stand, and whether they are repeated, told block by block.

The words are those of the trustless gateway specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
``dfs`` is depth-first: each block before those that it links to, links in the order they stand in the block; with
``dups`` a block stands there again each time a link leads to it, with all that it leads to. Identity CIDs are
never sent.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carv2.cid import CID
from carv2.dag._gather import is_identity
from carv2.dag.walking import as_roots, followed
from carv2.errors import BudgetError, CodecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from carv2.cid import CIDLike


__all__ = ["Order", "OrderDetector", "detect_order"]

MAX_REMEMBERED = 1 << 20
"""CIDs that are remembered before an order is given up; each takes around 200 bytes."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a sequence of blocks looks like."""

    order: Literal["dfs", "bfs", "unknown"]
    """``"dfs"`` where both would do, as for a single block."""
    dups: bool
    """Blocks are repeated: where there is an order, each time that a link leads to them. False also where no link
    leads to a block that was there before, so that nothing could be repeated."""
    gaps: bool
    """Blocks that links lead to are not there. The others stand in the order of a walk that passes them over."""


class OrderDetector:
    """Takes blocks as they come, and tells at any time in which order they came so far.

    Blocks are compared by multihash. Blocks of identity CIDs are passed over. A block whose links cannot be read
    is taken for one without links, as is an identity CID that is too long to be looked into.

    Args:
        roots: where the walk starts: one CID or several; with none, the first block is taken for the root.
        max_remembered: CIDs to remember, of blocks that came and of links that wait, before an order that needs
            more is given up.

    >>> detector = OrderDetector(CID.of_data(b"fish"))
    >>> detector.add(CID.of_data(b"fish").raw, b"fish")
    >>> detector.result()
    Order(order='dfs', dups=False, gaps=False)
    """

    def __init__(self, roots: CIDLike | Iterable[CIDLike] = (), *, max_remembered: int = MAX_REMEMBERED) -> None:
        self._max = max_remembered
        self._arrived: set[bytes] = set()
        self._repeated = False
        self._candidates: dict[tuple[Literal["dfs", "bfs"], bool], _Candidate] | None = None
        first = [bytes(CID.of(root)) for root in as_roots(roots)]
        if first:
            self._start(first)

    def _start(self, roots: list[bytes]) -> None:
        arrived = self._arrived
        self._candidates = {
            ("dfs", False): _DepthFirst(roots, arrived, repeats=False),
            ("dfs", True): _DepthFirst(roots, arrived, repeats=True),
            ("bfs", False): _BreadthFirst(roots, arrived, repeats=False),
            ("bfs", True): _BreadthFirst(roots, arrived, repeats=True),
        }

    def add(self, cid_bytes: bytes, data: bytes) -> None:
        """Take the next block, ``cid_bytes`` being its binary CID."""
        if is_identity(cid_bytes):
            return
        if self._candidates is None:
            self._start([cid_bytes])
        key = multihash_of(cid_bytes)
        again = key in self._arrived
        self._repeated = self._repeated or again
        candidates = self._candidates or {}
        if not candidates and (again or len(self._arrived) >= self._max):
            return
        links = _Links(data)
        for kind, candidate in list(candidates.items()):
            taken = candidate.take(key, links, again=again)
            if not taken or candidate.pending + len(candidate.skipped) + len(self._arrived) > self._max:
                del candidates[kind]
        self._arrived.add(key)

    def result(self) -> Order:
        """The order of the blocks so far."""
        for (order, dups), candidate in (self._candidates or {}).items():
            if self._arrived:
                return Order(order=order, dups=dups, gaps=candidate.has_gaps())
        return Order(order="unknown", dups=self._repeated, gaps=False)


def detect_order(
    blocks: Iterable[tuple[bytes, bytes]],
    roots: CIDLike | Iterable[CIDLike] = (),
    *,
    max_remembered: int = MAX_REMEMBERED,
) -> Order:
    """In which order ``blocks`` (pairs of binary CID and data, :class:`carv2.Block` being one) come.

    See :class:`OrderDetector`, which takes them one by one, and gives up at ``max_remembered`` CIDs.

    >>> import carv2
    >>> fish = CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([fish], [(fish, b"fish")]))
    >>> with carv2.open(archive) as car:
    ...     detect_order(car, car.roots).order
    'dfs'
    """
    detector = OrderDetector(roots, max_remembered=max_remembered)
    for cid_bytes, data in blocks:
        detector.add(cid_bytes, data)
    return detector.result()


def multihash_of(cid: bytes) -> bytes:
    """The multihash of a binary CID."""
    if cid[1] < 128 and cid[0] == 1:
        return cid[2:]
    return CID.trusted(cid).multihash


class _Links:
    """The links of a block, read once for all that ask; by the CID that led to it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._found: dict[bytes, list[bytes]] = {}

    def of(self, cid: bytes) -> list[bytes]:
        found = self._found.get(cid)
        if found is None:
            found = self._found[cid] = _links_or_none(cid, self._data)
        return found


def _links_or_none(cid: bytes, data: bytes) -> list[bytes]:
    try:
        return followed(cid, data, on_unknown="leaf")
    except (CodecError, BudgetError):  # the latter for an identity CID that is too long
        return []


class _Candidate:
    """A walk that may be the one that gave the blocks: it is gone on with up to each block that arrives.

    Links on the way that lead to other blocks are taken to lead to nothing: should such a block arrive later,
    the walk was another one.
    """

    def __init__(self, roots: list[bytes], arrived: set[bytes], *, repeats: bool) -> None:
        self._arrived, self._repeats = arrived, repeats
        self.pending = 0
        """Links yet to be followed."""
        self.skipped: set[bytes] = set()
        """Multihashes of blocks that should have arrived by now."""
        self._push(roots)

    def _push(self, links: list[bytes]) -> None:
        raise NotImplementedError

    def _pop(self) -> bytes | None:
        raise NotImplementedError

    def take(self, key: bytes, links: _Links, *, again: bool) -> bool:
        """Go on to the block ``key``; whether the walk comes to it now."""
        if key in self.skipped or (again and not self._repeats):
            return False
        while (link := self._pop()) is not None:
            self.pending -= 1
            if is_identity(link):
                self._push(_links_or_none(link, CID.trusted(link).digest))
                continue
            found = multihash_of(link)
            if found == key:
                self._push(links.of(link))
                return True
            if found not in self._arrived:
                self.skipped.add(found)
            elif self._repeats:  # it would have come again
                return False
        return False

    def has_gaps(self) -> bool:
        """Whether links led, or would lead, to blocks that did not arrive."""
        if self.skipped:
            return True
        left = list(self._left())
        while left:
            link = left.pop()
            if is_identity(link):
                left += _links_or_none(link, CID.trusted(link).digest)
            elif self._repeats or multihash_of(link) not in self._arrived:
                return True
        return False

    def _left(self) -> Iterable[bytes]:
        raise NotImplementedError


class _DepthFirst(_Candidate):
    def __init__(self, roots: list[bytes], arrived: set[bytes], *, repeats: bool) -> None:
        self._levels: list[list[bytes]] = []
        super().__init__(roots, arrived, repeats=repeats)

    def _push(self, links: list[bytes]) -> None:
        if links:
            self._levels.append(links[::-1])
            self.pending += len(links)

    def _pop(self) -> bytes | None:
        while self._levels:
            if self._levels[-1]:
                return self._levels[-1].pop()
            self._levels.pop()
        return None

    def _left(self) -> Iterable[bytes]:
        return (link for level in self._levels for link in level)


class _BreadthFirst(_Candidate):
    def __init__(self, roots: list[bytes], arrived: set[bytes], *, repeats: bool) -> None:
        self._queue: deque[bytes] = deque()
        super().__init__(roots, arrived, repeats=repeats)

    def _push(self, links: list[bytes]) -> None:
        self._queue.extend(links)
        self.pending += len(links)

    def _pop(self) -> bytes | None:
        return self._queue.popleft() if self._queue else None

    def _left(self) -> Iterable[bytes]:
        return self._queue
