"""How blocks get into a node: asked for first, then sent some at a time, and the answer held against the CIDs."""

from __future__ import annotations

import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any

from carv2.cid import CID
from carv2.errors import IntegrityError
from carv2.ipfs.kubo._answers import nonsense
from carv2.ipfs.kubo._calls import Multipart
from carv2.ipfs.kubo._claims import Claims
from carv2.section import BlockChecker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.ipfs.kubo._calls import Calls

    Pair: TypeAlias = tuple[CID, bytes]

_BATCH = 64
_BATCH_BYTES = 4 << 20


class _Batch:
    """Blocks that were given to a ``put_many``, and are to be sent together."""

    def __init__(self) -> None:
        self.blocks: list[Pair] = []
        self.size = self.stored = 0


class Writing:
    """Puts blocks into a node.

    A ``put_many`` holds some blocks back to send them together. What the same thread reads meanwhile must see
    them, so a read calls :meth:`settle` first.

    Args:
        calls: of the node.
        which_are_there: of some CIDs, for each whether the node has it.
        allow_big_blocks: also blocks that nodes do not send each other.
    """

    def __init__(
        self,
        calls: Calls,
        which_are_there: Callable[[Sequence[CID]], Sequence[bool]],
        *,
        allow_big_blocks: bool,
    ) -> None:
        self._calls, self._which_are_there = calls, which_are_there
        self._options: dict[str, Any] = {"allow_big_block": True} if allow_big_blocks else {}
        self._checker, self._claims = BlockChecker(), Claims()
        self._here = threading.local()

    def put(self, cid: CIDLike, data: bytes) -> bool:
        """Store one block; whether it was new."""
        return self.put_many([(cid, data)]) == 1

    def put_many(self, blocks: Iterable[tuple[CIDLike, bytes]]) -> int:
        """Store each pair, up to the first that fails; how many were new."""
        batch, batches = _Batch(), self._batches()
        batches.append(batch)
        try:
            for cid, data in blocks:
                self._add(batch, CID.of(cid), data)
        finally:
            batches.remove(batch)
            self._store(batch)  # what came before a failure is stored
        return batch.stored

    def _batches(self) -> list[_Batch]:
        """The batches that this thread has under way: one, unless a ``put_many`` is fed by another."""
        batches: list[_Batch] | None = getattr(self._here, "batches", None)
        if batches is None:
            batches = self._here.batches = []
        return batches

    def _add(self, batch: _Batch, cid: CID, data: bytes) -> None:
        self._calls.check_open()
        self._checker.check(bytes(cid), data, position=0)
        if cid.is_identity:
            return
        batch.blocks.append((cid, bytes(data)))
        batch.size += len(data)
        if len(batch.blocks) >= _BATCH or batch.size >= _BATCH_BYTES:
            self._store(batch)

    def settle(self) -> None:
        """Store what this thread's ``put_many`` holds back."""
        for batch in list(self._batches()):
            self._store(batch)

    def _store(self, batch: _Batch) -> None:
        pairs = list(_each_once(batch.blocks))
        batch.blocks, batch.size = [], 0
        if not pairs:
            return
        with self._claims.on({cid.multihash for cid, _ in pairs}):
            there = self._which_are_there([cid for cid, _ in pairs])
            missing = [pair for pair, is_there in zip(pairs, there, strict=True) if not is_there]
            for kind, group in groupby(missing, key=lambda pair: _kind_of(pair[0])):
                batch.stored += self._send(kind, list(group))

    def _send(self, kind: tuple[int, str, int], pairs: list[Pair]) -> int:
        codec, hash_name, size = kind
        body = Multipart.of_blocks([data for _, data in pairs])
        options: dict[str, Any] = {"cid_codec": codec, "mhtype": hash_name, "mhlen": size, **self._options}
        with self._calls.call("block/put", body=body, **options) as answer:
            values = answer.values()
            for cid, _ in pairs:
                self._compare(cid, next(values, None))
            if next(values, None) is not None:
                raise nonsense(self._calls.url, "block/put")
        return len(pairs)

    def _compare(self, cid: CID, value: dict[str, Any] | None) -> None:
        try:
            stored = CID.of(str((value or {})["Key"]))
        except (KeyError, ValueError):
            raise nonsense(self._calls.url, "block/put") from None
        if stored != cid.to_v1():
            why = f"the node at {self._calls.url} stored {stored.short()} where {cid.short()} was sent"
            raise IntegrityError(why, cid=cid, position=0)


def _kind_of(cid: CID) -> tuple[int, str, int]:
    """What the blocks of one request have in common."""
    return cid.codec, cid.hash_name, cid.parts.digest_size


def _each_once(blocks: Iterable[Pair]) -> Iterator[Pair]:
    """The first pair of each multihash."""
    seen: set[bytes] = set()
    for cid, data in blocks:
        if cid.multihash not in seen:
            seen.add(cid.multihash)
            yield cid, data
