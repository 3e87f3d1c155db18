"""A trustless gateway in a few lines: what it would send, in the order that the specification demands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers import archives
from helpers.unixfs import DIRECTORY, FILE, HAMT, RAW, hash_of, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Blocks = list[tuple[bytes, bytes]]


class Gateway:
    """Answers requests for what is in ``blocks``; knows raw blocks and dag-pb."""

    def __init__(self, blocks: Mapping[bytes, bytes]) -> None:
        self.blocks = blocks

    def answer(
        self,
        root: bytes,
        path: str = "",
        *,
        scope: str = "all",
        byte_range: tuple[int, int | None] | None = None,
        dups: bool = True,
    ) -> Blocks:
        """The blocks of the response; what of the path is not there ends it."""
        cids = list(self._along(root, [name for name in path.split("/") if name], scope, byte_range))
        sent: Blocks = []
        seen: set[bytes] = set()
        for cid in cids:
            if cid[:1] == b"\x01" and cid[2] == 0:  # an identity CID is never sent
                continue
            if dups or cid[-32:] not in seen:
                seen.add(cid[-32:])
                sent.append((cid, self.blocks[cid]))
        return sent

    def _along(
        self, cid: bytes, names: Sequence[str], scope: str, byte_range: tuple[int, int | None] | None
    ) -> Iterator[bytes]:
        for name in names:
            child: bytes | None = cid
            used = 0
            while True:
                assert child is not None
                yield child
                node = parsed(self._data(child))
                if node.kind != HAMT:
                    child = dict(reversed(node.links)).get(name)
                    break
                bits = node.fanout.bit_length() - 1
                prefix = (
                    f"{hash_of(name) >> (64 - used - bits) & (node.fanout - 1):0{len(f'{node.fanout - 1:X}')}X}"
                )
                links = {link[: len(prefix)]: (link[len(prefix) :], found) for link, found in node.links}
                rest, child = links.get(prefix, ("no", None))
                used += bits
                if rest:
                    child = child if rest == name else None
                    break
            if child is None:
                return
            cid = child
        if scope == "all":
            yield from self._everything(cid)
        elif scope == "block":
            yield cid
        else:
            yield from self._entity(cid, byte_range)

    def _data(self, cid: bytes) -> bytes:
        return cid[4:] if cid[:1] == b"\x01" and cid[2] == 0 else self.blocks[cid]

    def _is_raw(self, cid: bytes) -> bool:
        return cid[:2] == b"\x01\x55"

    def _everything(self, cid: bytes) -> Iterator[bytes]:
        yield cid
        if not self._is_raw(cid):
            for _, child in parsed(self._data(cid)).links:
                yield from self._everything(child)

    def _entity(self, cid: bytes, byte_range: tuple[int, int | None] | None) -> Iterator[bytes]:
        node = None if self._is_raw(cid) else parsed(self._data(cid))
        if node is None or node.kind in {None, DIRECTORY}:
            yield cid
        elif node.kind == HAMT:
            yield from self._shards(cid)
        elif node.kind in {FILE, RAW}:
            size = len(node.data) + sum(node.sizes)
            first, last = byte_range or (0, None)
            first = max(0, size + first) if first < 0 else first
            last = size - 1 if last is None else size + last if last < 0 else last
            yield from self._bytes(cid, 0, first, last, whole=True)
        else:
            yield cid

    def _shards(self, cid: bytes) -> Iterator[bytes]:
        yield cid
        node = parsed(self._data(cid))
        width = len(f"{node.fanout - 1:X}")
        for name, child in node.links:
            if len(name) == width:
                yield from self._shards(child)

    def _bytes(self, cid: bytes, at: int, first: int, last: int, *, whole: bool = False) -> Iterator[bytes]:
        """The blocks that hold bytes ``first`` to ``last``, both included; the file's root comes in any case."""
        yield cid
        if self._is_raw(cid):
            return
        node = parsed(self._data(cid))
        at += len(node.data)
        for size, (_, child) in zip(node.sizes, node.links, strict=True):
            if size and first <= last and at <= last and at + size > first:
                yield from self._bytes(child, at, first, last)
            at += size


def stream(blocks: Blocks, roots: Sequence[bytes] = ()) -> bytes:
    return archives.v1(roots, blocks)
